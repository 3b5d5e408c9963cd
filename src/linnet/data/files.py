"""Which files the sources hold, in an order that is the same on every machine.

A source is a file, a folder, a pattern such as ``docs/**/*.pdf``, the address of
one web page or file, a data set of Hugging Face (``hf:NAME``) or
``python:library``. See ``sources.folder`` for what is passed over in folders,
``fetch`` and ``hub`` for what comes from elsewhere.
"""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.data import hub, kinds, python_library
from linnet.data.sources.folder import Selection, identity, is_junk, walk
from linnet.data.sources.scan import Scan, SkippedFile, SourceFile, explain
from linnet.errors import DataError
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Scan", "SkippedFile", "SourceFile", "absolute", "explain", "is_junk", "scan"]

_MAGIC = re.compile(r"[*?\[]")


def scan(
    sources: Sequence[str | Path],
    *,
    exclude: Sequence[Path] = (),
    include: Sequence[str] = (),
    ignore: Sequence[str] = (),
    gitignore: bool = False,
    images: bool = False,
    cache: Path | None = None,
    refresh: bool = False,
    progress: Progress = SILENT,
) -> Scan:
    """List the files of all sources, sorted by name. Raises DataError for a missing source.

    ``exclude``: directories to pass over, such as the one being written.
    ``include`` (empty: all) and ``ignore``: patterns with the meaning that
    .gitignore gives them, relative to each folder; a file named as a source is
    read in any case. ``gitignore``: pass over what git would. ``images``: whether
    OCR reads these. ``cache``: where what comes from elsewhere is kept; ``refresh``: get it anew.
    """
    if not sources:
        raise DataError("no documents given: name at least one file or folder")
    found = Scan(reads_images=images)
    excluded = set(_identities([*exclude, *([cache] if cache else [])]))
    labels = _Labels()
    for source in _distinct(sources):
        if source == python_library.SOURCE:
            for path, relative, kind in python_library.files():
                found.add(path, f"{source}/{relative}", relative, kind)
        elif _is_url(source):
            _add_page(source, _required(cache, source), refresh, labels, found)
        elif source.startswith(hub.PREFIX):
            files = hub.fetch_dataset(
                source, _required(cache, source), refresh=refresh, progress=progress
            )
            label = labels.give(*hub.parse(source).label_and_owner)
            for place in files:
                found.add(str(place), f"{label}/{place.name}", place.name)
        else:
            selection = Selection(include, ignore, gitignore)
            _scan_local(os.path.expanduser(source), selection, labels, found, excluded)
    found.files = _without_repeats(found.files)
    found.skipped = sorted(set(found.skipped), key=lambda file: (file.name, file.reason))
    return found


def absolute(source: str) -> str:
    """The source by a name that holds wherever the next run is started from."""
    if source == python_library.SOURCE or _is_url(source):
        return source
    if source.startswith(hub.PREFIX):
        wanted = hub.parse(source)
        if wanted.folder is None:
            return source
        rest = source.removeprefix(hub.PREFIX).removeprefix(wanted.name)
        return f"{hub.PREFIX}{wanted.folder}{rest}"
    return str(Path(source).expanduser().absolute())


def names_a_path(source: str) -> bool:
    """Whether the source is one file or folder here, and no pattern for several."""
    elsewhere = source == python_library.SOURCE or _is_url(source) or source.startswith(hub.PREFIX)
    return not elsewhere and (os.path.lexists(source) or not _MAGIC.search(source))


def labels(sources: Iterable[str | Path]) -> dict[str, Path]:
    """The files and folders among the sources, by what names of their documents begin with."""
    given, found = _Labels(), {}
    for source in _distinct(sources):
        if names_a_path(source):
            local = os.path.expanduser(source)
            found[_label(local, given)] = Path(local)
        elif source != python_library.SOURCE and _MAGIC.search(source) and not _is_url(source):
            base, _ = _split_pattern(os.path.expanduser(source))
            found[_label(base, given)] = Path(base)
    return found


def _distinct(sources: Iterable[str | Path]) -> Iterable[str]:
    """Each source once, whatever names it is given by."""
    seen: set[str] = set()
    for source in map(str, sources):
        local = os.path.expanduser(source)
        place = os.path.realpath(local) if os.path.lexists(local) else source
        if place not in seen:
            seen.add(place)
            yield source


class _Labels:
    """Short names of sources. A second ``notes`` is ``notes#2``, unless it is the same."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}

    def give(self, name: str, owner: str) -> str:
        for number in itertools.count(1):
            label = name if number == 1 else f"{name}#{number}"
            if self.owners.setdefault(label, owner) == owner:
                return label
        raise AssertionError("count has no end")


def _is_url(source: str) -> bool:
    return source[:8].lower().startswith(("http://", "https://"))


def _add_page(source: str, cache: Path, refresh: bool, labels: _Labels, found: Scan) -> None:
    from linnet.data import fetch  # loads ssl, which takes as long as all else here

    place = fetch.fetch(source, cache, refresh=refresh)
    host, name = fetch.named(source)
    label = labels.give(host, source.partition(":")[0].lower() + host)
    found.add(str(place), f"{label}/{name}", name)


def _scan_local(
    source: str, selection: Selection, labels: _Labels, found: Scan, excluded: set[object]
) -> None:
    if not os.path.lexists(source):
        base, pattern = _split_pattern(source)
        if not pattern or not os.path.isdir(base):
            raise DataError(f"{kinds.printable(source)}: no such file or folder")
        before = len(found.files) + len(found.skipped)
        selection = Selection(selection.include, selection.ignore, selection.gitignore, pattern)
        walk(_label(base, labels), base, selection, found, excluded)
        if len(found.files) + len(found.skipped) == before:
            raise DataError(f"{kinds.printable(source)}: no file matches")
    elif os.path.isdir(source):
        walk(_label(source, labels), source, selection, found, excluded)
    else:
        found.add(source, _label(source, labels), kinds.printable(os.path.basename(source)))


def _label(source: str, labels: _Labels) -> str:
    name = kinds.printable(os.path.basename(os.path.abspath(source))) or "root"
    return labels.give(name, os.path.realpath(source))


def _split_pattern(source: str) -> tuple[str, str]:
    """The folder that a pattern begins at, and the pattern below it: ``a/b``, ``*.txt``."""
    parts = source.replace(os.sep, "/").split("/")
    first = next((n for n, part in enumerate(parts) if _MAGIC.search(part)), len(parts))
    base = "/".join(parts[:first]) or ("/" if first and source.startswith("/") else ".")
    return base, "/".join(parts[first:])


def _identities(folders: Iterable[Path]) -> Iterable[object]:
    for folder in folders:
        try:
            yield identity(str(folder))
        except OSError:  # it is not there, so there is nothing to pass over
            continue


def _required(cache: Path | None, source: str) -> Path:
    if cache is None:
        raise DataError(f"{source}: there is no place to keep what comes from elsewhere")
    return cache


def _without_repeats(files: Iterable[SourceFile]) -> list[SourceFile]:
    """Sorted by name, and once where sources overlap."""
    kept: list[SourceFile] = []
    for file in sorted(files, key=lambda file: (file.name, file.path)):
        if not (kept and kept[-1].name == file.name and _is_same(kept[-1].path, file.path)):
            kept.append(file)
    return kept


def _is_same(path: str, other: str) -> bool:
    try:
        return path == other or os.path.samefile(path, other)
    except OSError:
        return False
