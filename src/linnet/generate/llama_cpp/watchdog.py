"""Notices native code that computes without getting anywhere.

All texts of a llama.cpp are computed in one loop, which reports every token and every batch
of a prompt that it has read. When nothing is reported for long, the loop hangs. On a busy
machine an honest step takes longer too; so the processor time that the process had counts,
and the time on the clock only where it is a multiple of that.
"""

from __future__ import annotations

import time
from collections.abc import Callable

_CLOCK_MULTIPLE = 10
"""A process that has no processor time and reports nothing is given up after so many stalls."""
_SLOWEST_WEIGHTS = 25 << 20
"""Bytes of weights that a step reads in a second, where it reads a whole batch of a prompt."""


def allowed_seconds(stall_seconds: float, weight_bytes: int) -> float:
    """How long one step of a model may take."""
    return stall_seconds + weight_bytes / _SLOWEST_WEIGHTS


class Watchdog:
    """Judges one loop by what is reported of it."""

    def __init__(
        self,
        cpu_seconds: Callable[[], float | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``cpu_seconds``: what the process has used so far; None where that is not known."""
        self._cpu_seconds = cpu_seconds
        self._clock = clock
        self._since = clock()
        self._used: float | None = None
        self._looked = False

    def progress(self) -> None:
        """Something was reported, or is only expected from now on."""
        self._since = self._clock()
        self._looked = False

    def is_stalled(self, allowed: float) -> bool:
        """Whether more than ``allowed`` seconds were spent since; to be called every second."""
        if not self._looked:
            self._looked = True
            self._used = self._cpu_seconds()
        silent = self._clock() - self._since
        if silent < allowed:
            return False
        now = self._cpu_seconds()
        if self._used is None or now is None:
            return True
        return now - self._used >= 0.8 * allowed or silent >= _CLOCK_MULTIPLE * allowed
