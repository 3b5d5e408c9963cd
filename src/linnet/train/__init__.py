"""Training a model from scratch, and planning it.

In reading order: ``config``, ``objective`` (what is minimised), ``optimizers``,
``schedule``, ``warm_start``, ``loop`` (where they meet), ``state`` (exact resume).
"""

from linnet.train.config import ShapeConfig, TrainConfig
from linnet.train.loop import train

__all__ = ["ShapeConfig", "TrainConfig", "train"]
