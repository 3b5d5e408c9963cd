"""Adapting a model that exists: from rows of examples to a model or an adapter.

In reading order: ``row_schema`` (what a row may look like), ``rows`` (files of them),
``examples`` and ``encoding`` (tokens, and which of them are trained), ``packing`` (batches),
``replay`` (general text), ``budget`` and ``memory`` (how long a run is and what it takes),
``finetune`` (the run put together), ``forgetting`` and ``strength`` (what it costs).
"""
