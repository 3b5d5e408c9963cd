"""The processes that train one model together, and what they decide together.

Each has a rank. All make the same steps, each on its part of a batch, so whatever decides
over a step (the clock, Ctrl-C, saving) must be decided once and shared, or they would wait
for one another for ever; and rank 0 alone writes. The loop asks all of it here. There is
one implementation yet, a world of one process.

Ctrl-C is a request: finish the step, save, then stop. A second one stops at once.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


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


@dataclass
class Interrupt:
    """Whether someone has asked to stop."""

    requested: bool = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Turn SIGINT and SIGTERM into a request while the block runs.

    Only the main thread may set signal handlers; elsewhere nothing changes.
    """
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return

    def request(number: int, frame: Any) -> None:
        if interrupt.requested:
            raise KeyboardInterrupt
        interrupt.requested = True

    signals = signal.SIGINT, signal.SIGTERM
    previous = {number: signal.signal(number, request) for number in signals}
    try:
        yield interrupt
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
