"""The directory of an assistant: which documents it answers from, and what became of each.

    DIR/assistant.json   the sources, and what people took out of them
    DIR/added/           documents that people added on the page
    DIR/corpus, DIR/index, DIR/examples, DIR/reranker, DIR/gate, DIR/feedback.jsonl

Files of the owner's own folders are never touched: a document that is taken out of the assistant
is left out from then on, and only what lies in ``added`` is removed with it. ``upkeep`` makes
everything else of these.
"""

from __future__ import annotations

import contextlib
import filecmp
import os
import threading
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal, get_args

from linnet import artifact
from linnet.answers.excerpts import Excerpt, PrivateSpans, excerpt
from linnet.config import Config, from_mapping, option, read_json, to_mapping
from linnet.data import DataConfig, kinds, list_files
from linnet.data.files import absolute, is_junk, labels
from linnet.errors import ArtifactError, ConfigError, DataError, OutputError
from linnet.output import (
    lock,
    make_directory,
    make_inner_directory,
    move,
    refuse_links,
    write_json,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.data import ListedFile

SETTINGS = "assistant.json"
CORPUS, ADDED = "corpus", "added"
_UPLOADS = ".uploads"
_DEEPEST, _LONGEST_NAME, _LONGEST_PATH = 8, 200, 1_000
_RESERVED = {
    "con", "prn", "aux", "nul", "conin$", "conout$",
    *(f"{n}{k}" for n in ("com", "lpt") for k in range(1, 10)),
}  # fmt: skip
_FORBIDDEN = frozenset('<>:"|?*\\')

Taken = Literal["refuse", "replace", "keep"]
"""What to do where there is a document of that name: refuse, put the new one in its place, or keep
both, the new one under another name."""
Ocr = Literal["none", "tesseract", "docling"]
State = Literal["searchable", "reading", "unreadable", "removed"]


class TakenNameError(ConfigError):
    """There is another document of that name."""


@dataclass(frozen=True)
class Sources(Config):
    """What an assistant answers from, and how it is read."""

    sources: tuple[str, ...] = option((), "files, folders, patterns, addresses")
    removed: tuple[str, ...] = option((), "documents that are left out, by their names")
    ocr: Ocr = option("none", "what reads scanned pages", choices=get_args(Ocr))


@dataclass(frozen=True)
class DocumentState:
    """A file, as the list of documents shows it. ``is_added``: whether it is a copy in the
    assistant's own directory, so that removing it removes the file."""

    name: str
    kind: str
    bytes: int
    documents: int
    state: State
    reason: str = ""
    is_added: bool = False


class Workspace:
    """The documents of an assistant; may be used by several threads at once."""

    def __init__(self, path: Path | str) -> None:
        """Of a directory that ``linnet assistant`` or ``linnet index`` made.

        Raises ArtifactError where it is none.
        """
        self.path = Path(path)
        self._lock = threading.RLock()
        self._reading: dict[str, int] = {}
        """Documents that were added and are not searchable yet, with their bytes."""
        file = self.path / SETTINGS
        try:
            self._sources = from_mapping(Sources, read_json(file), where=str(file))
        except FileNotFoundError:
            if not (self.path / CORPUS).is_dir():
                raise ArtifactError(
                    f"{path} has no documents of an assistant; make some with 'linnet assistant "
                    f"DOCS --out {path}'"
                ) from None
            self._sources = Sources()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: expected the settings of an assistant: {error}") from None

    @classmethod
    def of(
        cls, sources: Sequence[str | Path], path: Path | str, *, ocr: Ocr | None = None
    ) -> Workspace:
        """The workspace in ``path``, with these sources from now on, and scanned pages read so;
        made where there is none.

        Raises DataError for a new source that is not there.
        """
        path = Path(path)
        known = path / SETTINGS
        is_new = not path.exists() or (path.is_dir() and not any(path.iterdir()))
        if not is_new and not known.exists() and not artifact.is_artifact(path / CORPUS):
            raise OutputError(
                f"{path} holds something that linnet did not write; choose another --out"
            )
        wanted = tuple(dict.fromkeys(absolute(str(source)) for source in sources))
        before = cls(path)._sources.sources if known.exists() else ()
        for root in labels([source for source in wanted if source not in before]).values():
            if not root.exists():  # what was named before may be on a drive that is not connected
                raise DataError(f"{root} is not there; name a file or folder that is")
        make_directory(path)
        make_inner_directory(path / ADDED)
        if not known.exists():
            write_json(known, to_mapping(Sources()))
        found = cls(path)
        if wanted and wanted != found._sources.sources:
            found._write(replace(found._sources, sources=wanted))
        if not found._sources.sources:
            raise ConfigError(f"{path}: name the documents to answer from, such as a folder")
        if ocr is not None and ocr != found._sources.ocr:
            found._write(replace(found._sources, ocr=ocr))
        return found

    @property
    def corpus(self) -> Path:
        """Where the documents are as they were read."""
        return self.path / CORPUS

    @property
    def sources(self) -> tuple[str, ...]:
        """All sources, that of added documents last."""
        with self._lock:
            own = self._sources.sources
        return (*own, str(self.path / ADDED)) if any_file(self.path / ADDED) else own

    @property
    def owner_sources(self) -> tuple[str, ...]:
        """The sources that the owner named."""
        with self._lock:
            return self._sources.sources

    def reading_settings(self, config: DataConfig | None = None) -> DataConfig:
        """How documents are read: as given, without those that were taken out."""
        config = config or DataConfig(privacy="keep")
        with self._lock:
            sources = self._sources
        left_out = tuple(_pattern(name) for name in sources.removed if "/" in name)
        return replace(config, exclude=(*config.exclude, *left_out), ocr=sources.ocr)

    @property
    def reads_images(self) -> bool:
        """Whether files that are images are documents, too."""
        with self._lock:
            return self._sources.ocr == "tesseract"

    # What there is

    def documents(
        self, *, containing: str = "", after: str = "", limit: int = 100
    ) -> list[DocumentState]:
        """The documents by name, ``limit`` at most: those that come after ``after``, with
        ``containing`` in their name."""
        with self._lock:
            reading, removed = dict(self._reading), self._sources.removed
        found = self._listed(containing, after, limit + len(removed))
        states = {
            each.name: DocumentState(
                each.name, each.kind, each.bytes, each.documents,
                "searchable" if each.documents else "unreadable", each.reason,
                self._added(each.name) is not None,
            )
            for each in found if each.name not in removed
        }  # fmt: skip
        part = containing.casefold()

        def wanted(name: str) -> bool:
            return name > after and part in name.casefold()

        for name, size in reading.items():
            if wanted(name):
                kind = kinds.kind_of(name) or ""
                states[name] = DocumentState(name, kind, size, 0, "reading", is_added=True)
        for name in removed:
            if wanted(name):
                states[name] = DocumentState(name, kinds.kind_of(name) or "", 0, 0, "removed")
        return [states[name] for name in sorted(states)][:limit]

    def counts(self) -> dict[str, int]:
        """How many documents are searchable, being read and unreadable."""
        with self._lock:
            reading = len(self._reading)
        found = self._listed("", "", -1)
        searchable = sum([each.documents > 0 for each in found])
        return {"searchable": searchable, "reading": reading, "unreadable": len(found) - searchable}

    def excerpt(
        self, source: str, start: int, end: int, *, private: PrivateSpans | None = None
    ) -> Excerpt:
        """What is cited, with the text around it; ``private`` finds what is not shown of it.

        Raises DataError where it is not there.
        """
        return excerpt(self.corpus, source, start, end, private=private)

    def file_of(self, source: str) -> Path | None:
        """The file that a document was read from; None where it is gone or not on this machine."""
        label, _, rest = source.partition("/")
        root = labels(self.sources).get(label)
        if root is None:
            return None
        place = root
        for name in PurePosixPath(rest).parts:  # a document within a file is named below it
            if not place.is_dir():
                break
            if name in ("..", "."):
                return None
            place = place / name
        return place if place.is_file() else None

    # What people change

    def add(self, name: str, content: Path, *, taken: Taken = "refuse") -> str:
        """Take over a file, which is moved, as a document; the name that it has then.

        Raises ConfigError for a name that no document can have, and TakenNameError.
        """
        parts = list(check_name(name, images=self.reads_images))
        with self._lock, lock(self.path / ADDED):
            place, number = self.path.joinpath(ADDED, *parts), 1
            stem, suffix = os.path.splitext(parts[-1])
            while place.exists() or self._left_out(place):
                if place.is_file() and filecmp.cmp(place, content, shallow=False):
                    content.unlink()
                    return self._name_of(place)
                if place.is_file() and taken == "replace" and not self._left_out(place):
                    break
                if place.exists() and taken == "refuse":
                    raise TakenNameError(f"there is another document named '{name}'")
                number += 1
                place = place.with_name(f"{stem} ({number}){suffix}")
            make_inner_directory(self.path / ADDED)
            refuse_links(self.path / ADDED)
            make_directory(place.parent)
            size = content.stat().st_size
            move(content, place)
            found = self._name_of(place)
            self._reading[found] = size
        return found

    def remove(self, name: str) -> bool:
        """Take a document out; whether its file was removed, being one that people added.

        Raises DataError where there is no such document, ConfigError for one that cannot be.
        """
        with self._lock:
            if (place := self._added(name)) is not None:
                folders = [each for each in place.parents if each.is_relative_to(self.path / ADDED)]
                if any(folder.is_symlink() for folder in folders):
                    raise ConfigError(f"'{name}' lies behind a link, and is not removed")
                if place.is_file() or place.is_symlink():
                    place.unlink()
                elif name not in self._reading and not self._is_listed(name):
                    raise DataError(f"there is no document '{name}'")
                self._reading.pop(name, None)
                return True
            if not self._is_listed(name):
                raise DataError(f"there is no document '{name}'")
            root = labels(self._sources.sources).get(name.partition("/")[0])
            if root is None or not root.is_dir():
                raise ConfigError(
                    f"'{name}' is a source of its own: leave it out where 'linnet assistant' is "
                    "started"
                )
            removed = tuple(sorted({*self._sources.removed, name}))
            self._write(replace(self._sources, removed=removed))
            return False

    def restore(self, name: str) -> None:
        """Take a document in again that was taken out. Raises DataError where there is none."""
        with self._lock:
            if name not in self._sources.removed:
                raise DataError(f"no document '{name}' was taken out")
            removed = tuple(each for each in self._sources.removed if each != name)
            self._write(replace(self._sources, removed=removed))

    def upload_place(self) -> Path:
        """A private directory for files that are still arriving."""
        place = self.path / _UPLOADS
        make_inner_directory(place)
        return place

    def begin_reading(self) -> frozenset[str]:
        """The added documents that what begins now will read; see :meth:`end_reading`."""
        with self._lock:
            return frozenset(self._reading)

    def end_reading(self, names: frozenset[str]) -> None:
        """They have been read, and what could be is searchable."""
        with self._lock:
            for name in names:
                self._reading.pop(name, None)

    def _listed(self, containing: str, after: str, limit: int) -> list[ListedFile]:
        if not artifact.is_artifact(self.corpus):
            return []
        return list_files(self.corpus, containing=containing, after=after, limit=limit)

    def _is_listed(self, name: str) -> bool:
        return any(each.name == name for each in self._listed(name, "", -1))

    def _added(self, name: str) -> Path | None:
        """The file of an added document, of whichever name; None for all others."""
        label, _, rest = name.partition("/")
        if not rest or labels((*self.owner_sources, str(self.path / ADDED))).get(label) != (
            self.path / ADDED
        ):
            return None
        with contextlib.suppress(ConfigError):
            return self.path.joinpath(ADDED, *check_name(rest, images=True))
        return None

    def _name_of(self, place: Path) -> str:
        named = labels((*self._sources.sources, str(self.path / ADDED)))
        label = next(label for label, root in named.items() if root == self.path / ADDED)
        return f"{label}/{place.relative_to(self.path / ADDED).as_posix()}"

    def _left_out(self, place: Path) -> bool:
        """Whether patterns for what was taken out of other folders would leave it out."""
        below = place.relative_to(self.path / ADDED).as_posix()
        return any(name.partition("/")[2] == below for name in self._sources.removed)

    def _write(self, sources: Sources) -> None:
        write_json(self.path / SETTINGS, to_mapping(sources))
        self._sources = sources


def check_name(name: str, *, images: bool = False) -> tuple[str, ...]:
    """The parts of a document's name below the folder of added ones. ``images``: whether these are
    read.

    Raises ConfigError for one that leads elsewhere, that some system cannot have or that is passed
    over as made by tools, and for a kind of file that is not read.
    """
    name = unicodedata.normalize("NFC", name)
    parts = tuple(name.split("/"))
    if len(parts) > _DEEPEST or len(name) > _LONGEST_PATH:
        raise ConfigError(
            f"a document's name has at most {_DEEPEST} parts and {_LONGEST_PATH:,} characters"
        )
    for part in parts:
        if (
            not part.strip(". ")
            or part != part.strip()
            or part.endswith(".")
            or not part.isprintable()
            or _FORBIDDEN & set(part)
            or len(part.encode("utf-8", "replace")) > _LONGEST_NAME
            or unicodedata.normalize("NFKC", part.partition(".")[0]).strip().lower() in _RESERVED
        ):
            raise ConfigError(
                f"a document cannot be named {part[:60]!r}; rename it, and add it again"
            )
        if is_junk(part):
            raise ConfigError(f"'{part[:60]}' is hidden or made by a program, and is not read")
    if (why := kinds.refusal(parts[-1], images=images)) is not None:
        raise ConfigError(f"'{parts[-1][:60]}' is not read: {why}")
    return parts


def any_file(folder: Path) -> bool:
    """Whether a folder holds a file, however deep."""
    return any(names for _, _, names in os.walk(folder))


def _pattern(name: str) -> str:
    """The pattern that leaves out one document, whatever characters its name has."""
    below = name.partition("/")[2]
    return "/" + "".join(f"\\{sign}" if sign in "*?[]!#\\ " else sign for sign in below)
