"""Training a model from scratch.

In reading order: ``config``, ``objectives`` (what is minimised; ``supervised``, ``masking``),
``optimizers``, ``schedule``, ``stream`` (where batches come from), ``warm_start``, ``machine`` and
``execution``, ``distributed``, ``loop`` (where they meet; every kind of training shares it),
``validation``, ``state`` (exact resume), ``metrics``, ``pretraining`` (what the loop gets for a
new model).
"""

from typing import TYPE_CHECKING

from linnet.lazy import lazy
from linnet.train.config import ShapeConfig, TrainConfig

if TYPE_CHECKING:
    from linnet.train.pretraining import train

__all__ = ["ShapeConfig", "TrainConfig", "train"]

__getattr__, __dir__ = lazy(__name__, {"train": ("linnet.train.pretraining", "train")})
