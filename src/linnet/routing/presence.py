"""Which of the processes that share a file live.

Each holds a lock beside the file, which the system drops when it dies, however it does.
"""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path

from filelock import FileLock, Timeout

from linnet import output
from linnet.database import StoreError


class Presence:
    """The mark of this process beside a file, and those of others."""

    def __init__(self, file: Path) -> None:
        self.name = secrets.token_hex(8)
        """Of this process."""
        self._file = file
        self._lock: FileLock | None = None

    def show(self) -> None:
        """Show other processes that this one lives, until ``end``. Raises StoreError."""
        if self._lock is not None:
            return
        lock = FileLock(self._lock_file(self.name), thread_local=False)
        try:
            lock.acquire(timeout=1)
        except (OSError, Timeout) as error:
            raise StoreError(f"{self._file}: nothing can be written beside it ({error})") from None
        self._lock = lock

    def end(self) -> None:
        """Remove the mark, if there is one."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                Path(self._lock.lock_file).unlink()
            self._lock.release()
            self._lock = None

    def is_alive(self, name: str) -> bool:
        """Whether the process of that name lives. The mark of a dead one is removed."""
        if name == self.name:
            return True
        lock = self._lock_file(name)
        if not lock.exists():
            return False
        try:
            with output.hold(lock, timeout=0):
                return False
        except Timeout:
            return True

    def remove_dead(self) -> None:
        """Remove the marks of processes that died. Raises OSError."""
        start = f".{self._file.name}."
        for mark in list(self._file.parent.iterdir()):
            if mark.name.startswith(start) and mark.suffix == ".lock":
                self.is_alive(mark.name.removeprefix(start).removesuffix(".lock"))

    def _lock_file(self, name: str) -> Path:
        return self._file.with_name(f".{self._file.name}.{name}.lock")
