"""Where a run computes and how: chosen at its start, and kept when it is resumed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from linnet import runtime
from linnet.runtime import DtypeName
from linnet.train.state import damage_named, read_numbers, state_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from linnet.runtime import DeviceName, Runtime

_MOST_THREADS = 4096


@dataclass(frozen=True)
class Machine:
    """Device, number format and threads, and whether blocks are compiled."""

    runtime: Runtime
    compiled: bool

    def pinned(self) -> dict[str, Any]:
        """What must stay the same for a resumed run to end with the same bits."""
        return {
            "dtype": self.runtime.dtype,
            "threads": self.runtime.threads,
            "compile": self.compiled,
        }


def choose_machine(
    directory: Path,
    *,
    device: DeviceName,
    dtype: DtypeName,
    threads: int,
    compiled: Callable[[Runtime], bool],
) -> Machine:
    """What the settings ask for, or what the run saved in ``directory`` began with.

    Raises ConfigError when the device is not on this machine.
    """
    file = state_file(directory)
    pinned: dict[str, Any] = {}
    with damage_named(file):
        if file.is_file():
            pinned = dict(read_numbers(file)["pinned"])
        dtype, threads = pinned.get("dtype", dtype), pinned.get("threads", threads)
        known: bool | None = pinned.get("compile")
        if dtype not in get_args(DtypeName) or not 0 < int(threads or 1) <= _MOST_THREADS:
            raise ValueError("it names no number format and threads")
    found = runtime.detect(device, dtype, threads)
    return Machine(found, compiled(found) if known is None else known)
