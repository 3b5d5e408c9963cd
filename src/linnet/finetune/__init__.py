"""Adapting a model that exists: from rows of examples to a model or an adapter.

In reading order: ``row_schema`` (what a row may look like), ``rows`` (files of them),
``examples`` and ``encoding`` (tokens, and which of them are trained), ``packing`` (batches),
``replay`` (general text), ``budget`` and ``memory`` (how long a run is and what it takes),
``finetune`` (the run put together), ``forgetting`` and ``strength`` (what it costs).
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy

if TYPE_CHECKING:
    from linnet.finetune.examples import Example, Examples, ExamplesConfig, load_examples
    from linnet.finetune.packing import Mixture, PackedBatches, held_out_batches

__all__ = [
    "Example",
    "Examples",
    "ExamplesConfig",
    "Mixture",
    "PackedBatches",
    "held_out_batches",
    "load_examples",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Example": ("linnet.finetune.examples", "Example"),
        "Examples": ("linnet.finetune.examples", "Examples"),
        "ExamplesConfig": ("linnet.finetune.examples", "ExamplesConfig"),
        "Mixture": ("linnet.finetune.packing", "Mixture"),
        "PackedBatches": ("linnet.finetune.packing", "PackedBatches"),
        "held_out_batches": ("linnet.finetune.packing", "held_out_batches"),
        "load_examples": ("linnet.finetune.examples", "load_examples"),
    },
)
