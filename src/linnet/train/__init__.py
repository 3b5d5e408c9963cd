"""Training a model from scratch.

In reading order: ``config``, ``objective`` (what is minimised), ``optimizers``,
``schedule``, ``warm_start``, ``loop`` (where they meet), ``state`` (exact resume).
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy
from linnet.train.config import ShapeConfig, TrainConfig

if TYPE_CHECKING:
    from linnet.train.loop import train

__all__ = ["ShapeConfig", "TrainConfig", "train"]

__getattr__ = lazy(__name__, {"train": ("linnet.train.loop", "train")})
