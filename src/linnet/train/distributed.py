"""The processes that train one model together, and what they decide together.

Each has a rank. All make the same steps, each on its part of a batch, so whatever decides
over a step (the clock, Ctrl-C, saving) must be decided once and shared, or they would wait
for one another for ever; and rank 0 alone writes. The loop asks all of it here. There is
one implementation yet, a world of one process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import nn


class World(Protocol):
    """The processes of a run, as one of them sees them. All must make the same calls."""

    rank: int
    size: int

    def wrap(self, step: nn.Module) -> nn.Module:
        """The module whose call is the forward pass, with gradients averaged over all ranks."""

    def broadcast(self, value: float) -> float:
        """What rank 0 says: its clock, or whether it is time to save."""

    def any(self, value: bool) -> bool:
        """Whether one of the ranks says so."""

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value, added up over the ranks."""


class SingleProcess:
    """A world of one: everything is as this process says."""

    rank, size = 0, 1

    def wrap(self, step: nn.Module) -> nn.Module:
        return step

    def broadcast(self, value: float) -> float:
        return value

    def any(self, value: bool) -> bool:
        return value

    def sum(self, values: Sequence[float]) -> list[float]:
        return list(values)
