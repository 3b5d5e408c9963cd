"""Walking a folder to its end, past what no person wrote and what patterns leave out.

Symbolic links are followed, but a folder is entered once, so a loop ends; a
folder's own place is preferred to a link to it. Files may come and go while the
walk is under way: a cloud drive at work. Of documents nothing is opened, as a
pipe or a device could block for ever; of other files only ``.gitignore``,
Linnet's ``manifest.json`` and ``CACHEDIR.TAG``, which marks folders whose content
can be had again (https://bford.info/cachedir/).
"""

from __future__ import annotations

import os
import stat
from collections import deque
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.data import kinds
from linnet.data.sources.gitignore import Patterns, is_left_out, outer_scopes, read_scopes
from linnet.data.sources.scan import explain
from linnet.output import create_file, make_inner_directory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from linnet.data.sources.gitignore import Scope
    from linnet.data.sources.scan import Scan

_JUNK_FOLDERS = {"__pycache__", "node_modules", "bower_components", "venv", "__MACOSX"}
_JUNK_FILES = {"thumbs.db", "desktop.ini", "icon\r", "package-lock.json", "npm-shrinkwrap.json"}
_JUNK_ENDINGS = (
    "~", ".swp", ".tmp", ".bak", ".crdownload", ".partial", ".min.js", ".min.css", ".map",
)  # fmt: skip
_LEFT_OUT = "left out by a pattern"
TAG_NAME = "CACHEDIR.TAG"
TAG_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"


def is_junk(name: str) -> bool:
    """Whether a file or folder of this (base) name is hidden or made by tools."""
    return _junk(name, folder=True) is not None or _junk(name, folder=False) is not None


def _junk(name: str, *, folder: bool) -> str | None:
    if name.startswith("."):
        return "hidden"
    lowered = name.lower()
    if folder:
        junk = name in _JUNK_FOLDERS
    else:
        junk = lowered in _JUNK_FILES or lowered.startswith("~$")
        junk = junk or lowered.endswith(_JUNK_ENDINGS)
    return "made by tools" if junk else None


@dataclass(frozen=True)
class Selection:
    """Which files of a folder are wanted: patterns relative to the folder.

    ``include`` empty: all. ``glob``: a pattern below the folder that a file or a
    folder above it must match as a whole; empty for none.
    """

    include: Sequence[str] = ()
    ignore: Sequence[str] = ()
    gitignore: bool = False
    glob: str = ""


@dataclass(frozen=True, slots=True)
class _Folder:
    path: str
    below: str
    """Its place below the root, empty or ending in a slash."""
    wanted: tuple[bool, ...]
    """Per set of patterns to include: whether it holds for all inside, unless a rule differs."""
    scopes: tuple[Scope, ...]
    """What leaves entries out; the first that decides is right."""


def walk(
    label: str, root: str, selection: Selection, found: Scan, excluded: AbstractSet[object]
) -> None:
    """Enter the files of a folder into ``found``, their names below ``label``.

    ``excluded``: the ``identity`` of each folder to pass over. What cannot be
    read is listed as skipped; nothing is raised.
    """
    try:
        _Walk(label, root, selection, found, excluded).run()
    except OSError as error:  # of a .gitignore above
        found.skip(label, explain(error))


class _Walk:
    def __init__(
        self,
        label: str,
        root: str,
        selection: Selection,
        found: Scan,
        excluded: AbstractSet[object],
    ) -> None:
        self.label = label
        self.root = root
        self.found = found
        self.excluded = excluded
        self.gitignore = selection.gitignore
        self.glob = selection.glob.strip("/").split("/") if selection.glob else []
        includes = (selection.include, [f"/{selection.glob}"] if selection.glob else ())
        self.includes = [Patterns(lines) for lines in includes if lines]
        self.lead, outer = outer_scopes(root) if self.gitignore else ("", ())
        self.scopes = ((len(self.lead), Patterns(selection.ignore)), *outer)
        self.entered: set[object] = set()
        self.waiting: deque[_Folder] = deque()

    def run(self) -> None:
        nothing = tuple(False for _ in self.includes)
        self.waiting.append(_Folder(self.root, "", nothing, self.scopes))
        while self.waiting:
            self._enter(self.waiting.pop())

    def _enter(self, folder: _Folder) -> None:
        name = f"{self.label}/{kinds.printable(folder.below)}".removesuffix("/")
        try:
            itself = identity(folder.path)
            if itself in self.entered:
                self.found.skip(name, "link to a folder that was already read")
                return
            entries = sorted(os.scandir(folder.path), key=lambda entry: entry.name)
            names = {entry.name for entry in entries}
            inner = tuple(self._own_scopes(folder, names))
        except OSError as error:
            self.found.skip(name, explain(error))
            return
        self.entered.add(itself)
        if folder.below and (maker := self._maker(folder.path, itself, names)):
            self.found.ignore(name, maker)
            return
        scopes = (self.scopes[0], *inner, *folder.scopes[1:]) if inner else folder.scopes
        for entry in entries:
            self._consider(entry, folder, scopes, names)

    def _consider(
        self, entry: os.DirEntry[str], folder: _Folder, scopes: tuple[Scope, ...], names: set[str]
    ) -> None:
        is_folder = _is_folder(entry)
        below = folder.below + entry.name
        shown = f"{self.label}/{kinds.printable(below)}"
        if junk := _junk(entry.name, folder=is_folder):
            if junk == "hidden" and not is_folder and entry.name.endswith(".icloud"):
                self.found.skip(shown, "not downloaded from the cloud")
            else:
                self.found.ignore(shown, junk)
            return
        if not is_folder and _describes_dataset(entry.name, names):
            self.found.ignore(shown, "made by tools")
            return
        if entry.name.endswith(".arrow") and _describes_dataset("state.json", names):
            self.found.skip(shown, "rows of a data set: name its folder as hf:FOLDER")
            return
        if is_folder and not _leads_to(self.glob, below):
            return
        decided = [include.decide(below, folder=is_folder) for include in self.includes]
        wanted = tuple(
            before if now is None else now
            for before, now in zip(folder.wanted, decided, strict=True)
        )
        if is_left_out(scopes, self.lead + below, is_folder) or not (is_folder or all(wanted)):
            self.found.ignore(shown, _LEFT_OUT)
        elif is_folder:
            inner = _Folder(entry.path, below + "/", wanted, scopes)
            if entry.is_symlink():
                self.waiting.appendleft(inner)  # after all that is not a link
            else:
                self.waiting.append(inner)
        else:
            self.found.add(entry.path, shown, kinds.printable(below))

    def _own_scopes(self, folder: _Folder, names: set[str]) -> Iterator[Scope]:
        if self.gitignore and not names.isdisjoint((".gitignore", ".git")):
            yield from read_scopes(folder.path, len(self.lead) + len(folder.below))

    def _maker(self, path: str, itself: object, names: set[str]) -> str | None:
        """What program wrote this folder, or None for none that is known."""
        if itself in self.excluded:
            return "made by linnet"
        if "manifest.json" in names and _is_artifact(os.path.join(path, "manifest.json")):
            return "made by linnet"
        if TAG_NAME in names:
            tag = _start(os.path.join(path, TAG_NAME))
            return "made by tools" if tag.startswith(TAG_SIGNATURE) else None
        return None


def identity(folder: str) -> object:
    """What tells that two paths lead to one folder. Raises OSError."""
    status = os.stat(folder)
    # Some network drives give no numbers.
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(folder)


def _leads_to(glob: Sequence[str], folder: str) -> bool:
    """Whether a folder may hold what a glob matches. When in doubt it may."""
    for pattern, name in zip(glob, folder.split("/"), strict=False):
        if pattern == "**":
            return True
        if not ("[" in pattern or "\\" in pattern or fnmatchcase(name, pattern)):
            return False
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _describes_dataset(name: str, names: set[str]) -> bool:
    """Whether a file tells of a data set in the format of Hugging Face's ``save_to_disk``."""
    if name in ("dataset_info.json", "state.json"):
        return "dataset_info.json" in names and "state.json" in names
    return name == "dataset_dict.json"


def _is_artifact(manifest: str) -> bool:
    """Whether Linnet wrote this file; other programs have a ``manifest.json`` too."""
    start = _start(manifest)
    return b'"kind"' in start and b'"format"' in start and b'"config"' in start


def _start(path: str) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b""
        with open(path, "rb") as file:
            return file.read(400)
    except OSError:
        return b""


def make_cache_folder(folder: Path) -> None:
    """Make a folder with the mark. Backup programs pass over it, and so does a scan."""
    make_inner_directory(folder)
    tag = folder / TAG_NAME
    if not tag.exists():
        with create_file(tag) as file:
            file.write(
                TAG_SIGNATURE + b"\n# What linnet fetched. See https://bford.info/cachedir/\n"
            )
