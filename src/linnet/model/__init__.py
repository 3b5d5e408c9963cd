"""The Transformer, its families and its checkpoints.

In reading order: ``config`` (the shape), ``layers`` (attention and MLP),
``transformer`` (the whole), ``cache`` (what generation reuses), ``families``
(published names), ``checkpoint`` (loading and saving).
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy
from linnet.model.config import ModelConfig

if TYPE_CHECKING:
    from linnet.model.cache import KVCache
    from linnet.model.checkpoint import Checkpoint, load_checkpoint, load_model, save_checkpoint
    from linnet.model.transformer import Transformer

__all__ = [
    "Checkpoint",
    "KVCache",
    "ModelConfig",
    "Transformer",
    "load_checkpoint",
    "load_model",
    "save_checkpoint",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "KVCache": ("linnet.model.cache", "KVCache"),
        "Transformer": ("linnet.model.transformer", "Transformer"),
        **{
            name: ("linnet.model.checkpoint", name)
            for name in ("Checkpoint", "load_checkpoint", "load_model", "save_checkpoint")
        },
    },
)
