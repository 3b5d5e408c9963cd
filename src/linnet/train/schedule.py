"""How the learning rate moves, and how a run keeps to its time.

The rate depends on *progress*, a number from 0 to 1, read in the middle of each
step. With a number of steps, progress is the share of them that is made, and
nothing else matters. With a time limit two things are kept apart:

* How far the schedule has come: each step moves progress by the share that its
  time is of the training time that was left before it. What is no training
  (compiling, a stall) shortens what is left instead, so later steps move further.
* When to stop: when less is left than a step takes.

Both are taken anew at every step from what the clock says. No estimate outlives
the next measurement, progress reaches 1 only at the end, and so the rate is
above zero until then, however the speed of the machine changes.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

REMEMBERED = 9  # steps, whose median is what a step usually takes
MEASURED = 3  # steps that it takes to call something usual
LONGEST = 4.0  # times the usual: beyond it a step stalled, or compiled again
FIRST_SHARE = 1 / 3  # of a process's first step, which warms up, is what a step may take
UNMEASURED_SHARE = 0.01  # of the run that a step is taken for while none was measured
SLACK = 1.03  # a run with steps and a time limit may be so much late before it is shortened


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
    """Progress of a run towards its end: after so many steps, in time, or whichever comes first.

    Where ``left`` is taken, it is the seconds that training still has; None: no limit.
    """

    steps: int
    """Steps to make; 0: as many as there is time for."""
    step: int = 0
    progress: float = 0.0
    previous: float = 0.0
    """Progress before the last step."""
    recent: list[float] = field(default_factory=list)
    """Seconds of the last steps, less the first one of each process."""
    first: float | None = None
    """Seconds of this process's first step; 0 where it compiled and says nothing."""

    @property
    def done(self) -> bool:
        return self.progress >= 1.0

    @property
    def usual(self) -> float | None:
        """Seconds that a step takes; None while nothing is known."""
        return statistics.median(self.recent) if self.recent else None

    def middle(self, left: float | None) -> float:
        """Progress in the middle of the step that comes now."""
        if left is None or not self._follows_time(left):
            share = 1 / (self.steps - self.step)
        elif self.usual is None:
            share = UNMEASURED_SHARE
        else:
            share = min(1.0, self.usual / max(left, self.usual))
        return self.progress + (1 - self.progress) * share / 2

    def advance(self, seconds: float, left: float | None, *, compiled: bool = False) -> None:
        """A step was made in ``seconds``, and ``left`` remain.

        ``compiled``: whether the first step of this process includes compiling.
        """
        follows_time = left is not None and self._follows_time(left)
        usual, is_first = self.usual, self.first is None
        if is_first:
            self.first = 0.0 if compiled else seconds
            counted = min(seconds, usual or 0.0)
        else:
            counted = min(seconds, LONGEST * usual) if usual else seconds
            self.recent = [*self.recent[1 - REMEMBERED :], seconds]
        share = 1 / (self.steps - self.step) if self.steps else 0.0
        if left is not None and follows_time and counted:
            share = max(share, counted / (max(0.0, left) + counted))
        self.previous = self.progress
        self.progress = 1.0 if share >= 1 else self.progress + (1 - self.progress) * share
        self.step += 1

    def end(self) -> None:
        """The last step was made."""
        self.progress = 1.0

    def fits(self, left: float | None) -> bool:
        """Whether there is time for another step.

        While little is known, the shortest guess counts: an end cannot be taken back.
        """
        if left is None:
            return True
        if self.usual is None:
            return left > FIRST_SHARE * (self.first or 0.0)
        return left > (self.usual if len(self.recent) >= MEASURED else min(self.recent))

    def passed(self, times: int) -> bool:
        """Whether the last step reached one of ``times`` evenly spaced points of the run."""
        return math.floor(self.progress * times) > math.floor(self.previous * times)

    def expected_steps(self, left: float | None) -> int | None:
        """Steps in all, as it looks now; None while it is not known."""
        if left is None or not self._follows_time(left):
            return self.steps
        if self.usual is None or len(self.recent) < MEASURED:
            return None
        return self.step + max(0, int(left / self.usual))

    def shortened(self, left: float | None) -> bool:
        """Whether the time is too short for the steps."""
        return bool(self.steps) and left is not None and self._follows_time(left)

    def state(self) -> dict[str, Any]:
        """Plain values from which a later process goes on: ``Pace(**state)``."""
        return {**asdict(self), "first": None}

    def _follows_time(self, left: float) -> bool:
        """Whether time decides, and not the number of steps."""
        if not self.steps:
            return True
        if self.usual is None or len(self.recent) < MEASURED:
            return False
        return (self.steps - self.step) * self.usual > left * SLACK
