"""Files as Windows treats them: what this process has open, or mapped, is neither moved nor
removed, and nor is a directory that it lies in. (Linux tells what is open in ``/proc``.)"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from linnet import output

OPEN = Path("/proc/self/fd")
MAPPED = Path("/proc/self/maps")


def in_use(place: str | os.PathLike[str]) -> set[str]:
    """The files at a place or below it that this process has open or mapped."""
    whole = os.path.realpath(os.path.dirname(place)) + os.sep + os.path.basename(place)
    found = set()
    for each in os.listdir(OPEN):
        try:
            found.add(os.readlink(OPEN / each))
        except OSError:  # that of the list itself
            continue
    found |= {line.split(maxsplit=5)[-1] for line in MAPPED.read_text("utf-8").splitlines()}
    return {
        name
        for name in found
        if (name == whole or name.startswith(whole + os.sep)) and not _is_lock(Path(name))
    }


def _is_lock(file: Path) -> bool:
    """``output.hold`` leaves the removal of these to what knows how, on Windows."""
    return file.suffix == ".lock" or file.parent.name == "readers"


def as_on_windows(patch: pytest.MonkeyPatch) -> list[set[str]]:
    """From here on the system refuses as Windows does. Gives what it refused, as it comes."""
    refused: list[set[str]] = []

    def guarded(name: str, places: int) -> None:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            for place in arguments[:places]:
                if used := in_use(place):
                    refused.append(used)
                    raise PermissionError(
                        13, f"in use: {', '.join(sorted(used))}", os.fspath(place)
                    )
            return real(*arguments, **options)

        patch.setattr(os, name, call)

    for name, places in (("unlink", 1), ("remove", 1), ("replace", 2), ("rename", 2)):
        guarded(name, places)
    patch.setattr(shutil, "_use_fd_functions", False)  # by names, not within open directories
    patch.setattr(output, "_MOVES_WHAT_IS_OPEN", False)
    patch.setattr(output, "SWAP_SECONDS", 0.2)
    return refused
