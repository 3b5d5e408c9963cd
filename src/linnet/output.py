"""The place to write to: locked, ours, with room; and files written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from linnet.errors import BusyError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold the right to write to ``path``; the lock file ``.NAME.lock`` lies beside it.

    The operating system drops the lock when the process dies, however it dies.
    """
    file_lock = FileLock(path.parent / f".{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file_lock.acquire(timeout=0)
    except Timeout:
        raise BusyError(
            f"{path}: another linnet process is writing here; wait for it, or choose another --out"
        ) from None
    except OSError as error:
        raise OutputError(f"{path.parent}: cannot write here ({error.strerror})") from None
    try:
        yield
    finally:
        file_lock.release()


@contextlib.contextmanager
def full_disk_named(path: Path) -> Iterator[None]:
    """Turn the many ways in which libraries report a full disk into one OutputError."""
    try:
        yield
    except Exception as error:
        codes = (errno.ENOSPC, errno.EDQUOT)
        # Libraries written in Rust raise errors of their own, with the system's words in them.
        if getattr(error, "errno", None) in codes or os.strerror(errno.ENOSPC) in str(error):
            raise OutputError(
                f"{path}: the disk is full; what was finished is kept: "
                "free some space and run the same command again"
            ) from error
        raise


def refuse_foreign(path: Path, *, allowed: tuple[str, ...]) -> None:
    """Raise OutputError if ``path`` exists and is neither empty nor Linnet's."""
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"{path} is a file; choose another output directory")
    if any(path.iterdir()) and not any((path / name).exists() for name in allowed):
        raise OutputError(
            f"{path} holds something that linnet did not write; choose another output directory"
        )


def require_space(path: Path, needed: int, *, purpose: str) -> None:
    """Raise OutputError unless ``needed`` bytes (and a little more) are free at ``path``."""
    existing = path.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed + (16 << 20):
        raise OutputError(
            f"{path}: {purpose} needs {human_bytes(needed)}, but only {human_bytes(free)} "
            "are free on that disk; free some, or choose another --out"
        )


def human_bytes(count: float) -> str:
    """``1536`` as ``1.5 KB`` (powers of 1000, as disks are sold)."""
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8 whole or not at all: to a neighbour, synced, then renamed."""
    neighbour = path.with_name(f".{path.name}.partial")
    try:
        with neighbour.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    except BaseException:
        neighbour.unlink(missing_ok=True)
        raise
