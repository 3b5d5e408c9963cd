"""How the learning rate moves, and how a run keeps to its time.

The rate depends on *progress*, a number from 0 to 1. With a number of steps it
is simply step / steps. With a time limit the number of steps is an estimate
from the measured pace, corrected as the run goes: each step then moves progress
by its share of what is left, so that the rate never jumps and reaches its end
when the time is up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


def rate(
    progress: float, *, schedule: Literal["wsd", "cosine"], warmup: float, decay: float
) -> float:
    """The learning rate as a share of its peak, at ``progress`` in [0, 1].

    ``wsd``: warm-up, stable, decay in a line to zero (arXiv:2404.06395).
    ``cosine``: warm-up, then half a cosine to zero (arXiv:1608.03983).
    """
    if progress < warmup:
        return progress / warmup
    if schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))
    return min(1.0, (1 - progress) / decay) if decay else 1.0


@dataclass
class Pace:
    """Progress of a run towards its last step.

    ``steps`` is the number of steps in all: given, or estimated from time.
    """

    steps: int
    step: int = 0
    progress: float = 0.0
    previous: float = 0.0
    """Progress before the last step."""

    @property
    def done(self) -> bool:
        return self.step >= self.steps

    def advance(self) -> None:
        """One more step is made."""
        left = self.steps - self.step
        self.previous = self.progress
        self.progress = 1.0 if left <= 1 else self.progress + (1 - self.progress) / left
        self.step += 1

    def passed(self, times: int) -> bool:
        """Whether the last step reached one of ``times`` evenly spaced points of the run."""
        return math.floor(self.progress * times) > math.floor(self.previous * times)

    def retime(self, seconds_left: float, seconds_per_step: float) -> None:
        """Set the number of steps from the time that is left and the measured pace."""
        self.steps = self.step + max(0, int(seconds_left / seconds_per_step))
