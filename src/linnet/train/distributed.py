"""The processes that train one model together, and what they decide together.

Each has a rank. All draw the same batches and compute a part of each, so whatever decides
over a step (the clock, Ctrl-C, saving) must be decided once and shared, or they would wait
for one another for ever; and rank 0 alone writes. The loop asks all of it here. Commands train
in a world of one process; :class:`ProcessGroup` is for a :class:`linnet.train.loop.Loop` of
your own.

Ctrl-C is a request: finish the step, save, then stop. A second one stops at once.
"""

from __future__ import annotations

import signal
import threading
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Value = TypeVar("Value")


class World(Protocol):
    """The processes of a run, as one of them sees them. All must make the same calls."""

    rank: int
    size: int

    def wrap(self, step: nn.Module) -> nn.Module:
        """The module whose call is the forward pass, with gradients averaged over all ranks."""

    def accumulate(self, step: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Around a piece of a batch: gradients are averaged once, in its ``last`` piece."""

    def broadcast(self, value: float) -> float:
        """What rank 0 says: its clock, or whether it is time to save."""

    def any(self, value: bool) -> bool:
        """Whether one of the ranks says so."""

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        """Each value by its name, added up over the ranks; a rank may lack some."""


class SingleProcess:
    """A world of one: everything is as this process says."""

    rank, size = 0, 1

    def wrap(self, step: nn.Module) -> nn.Module:
        return step

    def accumulate(self, step: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        return nullcontext()

    def broadcast(self, value: float) -> float:
        return value

    def any(self, value: bool) -> bool:
        return value

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        return dict(values)


class ProcessGroup:
    """The ranks of ``torch.distributed``'s default group, each with a copy of the model (DDP).

    Its batches have a unit for every rank at least. Random numbers are the same on all of them,
    so that what rank 0 saves is what each goes on from; dropout draws one mask for all.
    """

    def __init__(self) -> None:
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()

    def wrap(self, step: nn.Module) -> nn.Module:
        return DistributedDataParallel(step)

    def accumulate(self, step: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        assert isinstance(step, DistributedDataParallel)
        return nullcontext() if last else step.no_sync()

    def broadcast(self, value: float) -> float:
        return self._gather(value)[0]

    def any(self, value: bool) -> bool:
        return any(self._gather(value))

    def sum(self, values: Mapping[str, float]) -> dict[str, float]:
        total: dict[str, float] = {}
        for of_rank in self._gather(dict(values)):
            for name, value in of_rank.items():
                total[name] = total.get(name, 0.0) + value
        return total

    def _gather(self, value: Value) -> list[Value]:
        """What each rank says, in their order."""
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value)
        return found


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
