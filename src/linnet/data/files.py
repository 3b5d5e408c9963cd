"""Which files the sources hold, in an order that is the same on every machine.

Sources are files, folders and ``python:library``. Folders are walked to the
end; symbolic links are followed, but a directory is entered once, so a loop
ends. Nothing is opened here: a pipe or a device could block for ever.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.data import kinds, python_library
from linnet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_JUNK_FOLDERS = {"__pycache__", "node_modules", "bower_components", "venv", "__MACOSX"}
_JUNK_FILES = {"thumbs.db", "desktop.ini", "package-lock.json", "npm-shrinkwrap.json"}
_JUNK_ENDINGS = ("~", ".swp", ".tmp", ".bak", ".min.js", ".min.css", ".map")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read. ``name`` is the source's label and the path below it, as valid Unicode."""

    name: str
    group: str
    path: str
    kind: str | None
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file or folder that is not read, and why."""

    name: str
    reason: str
    detail: str = ""


@dataclass
class Scan:
    """What the sources hold."""

    files: list[SourceFile] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """Hidden files and junk, counted but not listed."""


def scan(sources: Sequence[str | Path], *, exclude: Sequence[Path] = ()) -> Scan:
    """List the files of all sources, sorted by name. Raises DataError for a missing source.

    ``exclude``: directories to pass over, such as the one being written.
    """
    if not sources:
        raise DataError("no documents given: name at least one file or folder")
    found = Scan()
    excluded = {os.path.realpath(path) for path in exclude}
    for label, source in _labelled(sources):
        if source == python_library.SOURCE:
            _scan_library(label, found)
        elif os.path.isdir(source):
            _scan_folder(label, source, found, excluded)
        elif os.path.lexists(source):
            _consider(source, label, kinds.printable(os.path.basename(source)), found)
        else:
            raise DataError(f"{kinds.printable(source)}: no such file or folder")
    found.files.sort(key=lambda file: (file.name, file.path))
    found.skipped.sort(key=lambda file: (file.name, file.reason))
    return found


def _labelled(sources: Sequence[str | Path]) -> Iterator[tuple[str, str]]:
    """Each source once, with its own short name; a second ``notes`` is ``notes#2``."""
    seen: set[str] = set()
    uses: Counter[str] = Counter()
    for source in map(str, sources):
        if source == python_library.SOURCE:
            place, name = source, source
        else:
            source = os.path.expanduser(source)
            place = os.path.realpath(source)
            name = kinds.printable(os.path.basename(os.path.abspath(source))) or "root"
        if place in seen:
            continue
        seen.add(place)
        uses[name] += 1
        yield (name if uses[name] == 1 else f"{name}#{uses[name]}"), source


def _scan_library(label: str, found: Scan) -> None:
    for path, relative, kind in python_library.files():
        status = os.stat(path)
        found.files.append(
            SourceFile(
                f"{label}/{relative}", relative, path, kind, status.st_size, status.st_mtime_ns
            )
        )


def _scan_folder(label: str, root: str, found: Scan, excluded: set[str]) -> None:
    entered: set[tuple[int, int]] = set()
    waiting = [(root, "")]
    while waiting:
        folder, below = waiting.pop()
        name = f"{label}/{kinds.printable(below)}" if below else label
        try:
            status = os.stat(folder)
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            found.skipped.append(SkippedFile(name, explain(error)))
            continue
        if (status.st_dev, status.st_ino) in entered:
            found.skipped.append(SkippedFile(name, "link to a folder that was already read"))
            continue
        entered.add((status.st_dev, status.st_ino))
        for entry in entries:
            if ignored := _ignored(entry, excluded):
                found.ignored[ignored] += 1
                continue
            inner = f"{below}/{entry.name}" if below else entry.name
            if _is_folder(entry):
                waiting.append((entry.path, inner))
            else:
                inner = kinds.printable(inner)
                _consider(entry.path, f"{label}/{inner}", inner, found)


def _ignored(entry: os.DirEntry[str], excluded: set[str]) -> str | None:
    """Why an entry is passed over without being listed, or None."""
    if entry.name.startswith("."):
        return "hidden"
    if _is_folder(entry):
        if entry.name in _JUNK_FOLDERS:
            return "made by tools"
        if os.path.realpath(entry.path) in excluded or _is_artifact(entry.path):
            return "made by linnet"
        return None
    lowered = entry.name.lower()
    if lowered in _JUNK_FILES or lowered.endswith(_JUNK_ENDINGS) or lowered.startswith("~$"):
        return "made by tools"
    return None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _is_artifact(folder: str) -> bool:
    """Whether Linnet wrote this folder; other programs have a ``manifest.json`` too."""
    try:
        with open(os.path.join(folder, "manifest.json"), "rb") as file:
            start = file.read(400)
    except OSError:
        return False
    return b'"kind"' in start and b'"format"' in start and b'"config"' in start


def _consider(path: str, name: str, group: str, found: Scan) -> None:
    base = os.path.basename(path)
    if reason := kinds.refusal(base):
        found.skipped.append(SkippedFile(name, reason))
        return
    try:
        status = os.stat(path)
    except OSError as error:
        reason = "broken link" if os.path.islink(path) else explain(error)
        found.skipped.append(SkippedFile(name, reason))
        return
    if not stat.S_ISREG(status.st_mode):
        found.skipped.append(SkippedFile(name, "not a regular file"))
        return
    found.files.append(
        SourceFile(name, group, path, kinds.kind_of(base), status.st_size, status.st_mtime_ns)
    )


def explain(error: OSError) -> str:
    """An operating system's error as a reason for skipping a file."""
    if isinstance(error, PermissionError):
        return "permission denied"
    return (error.strerror or "cannot be read").lower()
