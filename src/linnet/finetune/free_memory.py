"""How much memory this process may still take: of the machine, its control group, its limits."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import runtime

if TYPE_CHECKING:
    from collections.abc import Iterator

UNLIMITED = 1 << 60  # what control groups write for no limit is above this


def available_memory(device: str = "cpu", *, root: Path = Path("/")) -> int | None:
    """Bytes that this process may still take; None where the system does not say.

    On CPU the least of what the machine has free, of what its control groups allow
    (version 1 and 2) and of its own limit on addresses. ``root``: where ``/proc`` and
    ``/sys`` lie.
    """
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    found = [*_free_memory(root), *_group_room(root), *_address_room(root)]
    return min(found) if found else None


def _free_memory(root: Path) -> Iterator[int]:
    """What the machine has free, caches that it would give up included."""
    try:
        for line in (root / "proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                yield int(line.split()[1]) * 1024
                return
    except (OSError, ValueError, IndexError):
        pass
    whole = runtime.memory_bytes()
    if whole is not None:  # macOS: half of it is usually free
        yield whole // 2


def _group_room(root: Path) -> Iterator[int]:
    """What the control groups of this process leave, the innermost and all around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            top, names = root / "sys/fs/cgroup", ("memory.max", "memory.current")
        elif "memory" in controllers.split(","):
            top = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        else:
            continue
        group = Path(place.lstrip("/"))
        for part in (group, *group.parents):
            limit, used = (_number(top / part / name) for name in names)
            if limit is not None and limit < UNLIMITED:
                yield max(0, limit - (used or 0))


def _address_room(root: Path) -> Iterator[int]:
    """What ``ulimit -v`` leaves."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY or limit >= UNLIMITED:
        return
    pages = 0
    with contextlib.suppress(OSError, ValueError, IndexError):
        pages = int((root / "proc/self/statm").read_text(encoding="utf-8").split()[0])
    yield max(0, limit - pages * resource.getpagesize())


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # "max" is no number
        return None
