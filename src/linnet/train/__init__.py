"""Training a model from scratch.

In reading order: ``config``, ``objective`` (what is minimised), ``optimizers``,
``schedule``, ``warm_start``, ``loop`` (where they meet; every kind of training shares
it), ``state`` (exact resume), ``pretraining`` (what the loop gets for a new model).
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy
from linnet.train.config import ShapeConfig, TrainConfig

if TYPE_CHECKING:
    from linnet.train.pretraining import train

__all__ = ["ShapeConfig", "TrainConfig", "train"]

__getattr__, __dir__ = lazy(__name__, {"train": ("linnet.train.pretraining", "train")})
