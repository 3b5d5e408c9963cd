"""Adapting a model that exists: from rows of examples to a model or an adapter.

The data first: ``forms`` (what a row may look like), ``rows`` (files of them),
``examples`` (tokens, and which of them are trained), ``packing`` (batches),
``mixing`` (several streams in one) and ``preview`` (how it looks).
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy

if TYPE_CHECKING:
    from linnet.finetune.examples import Example, Examples, ExamplesConfig, load_examples
    from linnet.finetune.mixing import Mixture
    from linnet.finetune.packing import PackedBatches, held_out_batches

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
        "Mixture": ("linnet.finetune.mixing", "Mixture"),
        "PackedBatches": ("linnet.finetune.packing", "PackedBatches"),
        "held_out_batches": ("linnet.finetune.packing", "held_out_batches"),
        "load_examples": ("linnet.finetune.examples", "load_examples"),
    },
)
