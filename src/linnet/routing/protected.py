"""Documents that must not leave: which they are, and how their text is known wherever it turns up.

A document's place is decided by the owner's patterns of sources and by collections. Passages say
which document they are from; but a sentence that somebody pastes into a question, that a tool gives
or that an answer quoted does not. So the text of documents that stay is kept as fingerprints
(``fingerprints``), and what is to leave is compared with them. They are made of an index, follow
it, and are kept in a directory of their owner where one is named.
"""

from __future__ import annotations

import contextlib
import fnmatch
import glob
import hashlib
import shutil
import sys
import threading
import time
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from linnet import output
from linnet.config import Config, option, read_json, to_mapping
from linnet.errors import ArtifactError, ConfigError, LinnetError
from linnet.respond.pieces import Place
from linnet.retrieval import Index, Passage, Searchable
from linnet.retrieval.index import Filters
from linnet.routing.fingerprints import (
    BATCH,
    LETTERS,
    Builder,
    Compared,
    Fingerprints,
    Hit,
    Shorts,
)

FORMAT = 1
FARNESS: Mapping[str, int] = {"here": 0, "network": 1, "elsewhere": 2}
"""How far away a place is."""
_STAYING: tuple[Place, ...] = ("here", "network")
_FEW = 32  # new documents that are taken up at once
_MOST_LAYERS = 12
_STALE = 0.1  # share of documents that are gone, from which on all is made anew
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class DocumentRule(Config):
    """How far documents may go, by their sources, their collections, or both."""

    sources: tuple[str, ...] = option((), "Patterns of their sources, such as public/**.")
    collections: tuple[str, ...] = option((), "Collections that they are in.")
    farthest: Place = option("here", "Where they may go at most: here, network or elsewhere.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.sources and not self.collections:
            raise ConfigError("documents are named by sources or collections; ** is all of them")

    def says_otherwise(self, other: DocumentRule) -> bool:
        """Whether another rule is about the same documents and lets them go elsewhere."""
        return (
            self.farthest != other.farthest
            and set(self.collections) == set(other.collections)
            and (self.sources == other.sources or bool(set(self.sources) & set(other.sources)))
        )

    def concerns(self, source: str, collection: str | None) -> bool:
        """Whether a document falls under it; without a known collection only by its source."""
        return (not self.sources or any(matches(source, each) for each in self.sources)) and (
            not self.collections or collection in self.collections
        )


def matches(source: str, pattern: str) -> bool:
    """Whether a document is meant by a pattern: ``*`` and ``**`` are any characters, ``hr`` and
    ``hr/`` all that is in a folder, wherever it lies. Case does not count."""
    name = unicodedata.normalize("NFC", source).casefold().replace("\\", "/")
    wanted = unicodedata.normalize("NFC", pattern).casefold().replace("\\", "/")
    wanted = wanted.removeprefix("./").rstrip("/")
    return any(
        fnmatch.fnmatchcase(name, each)
        for start in {wanted, wanted.removeprefix("**/")}
        for own in (start, f"*/{start}")
        for each in (own, f"{own}/*")
    )


def covers(pattern: str, other: str) -> bool:
    """Whether every document that ``other`` means is one that ``pattern`` means."""
    if "[" in other:
        return pattern == other
    # A star stands for anything, so for nothing as for what occurs nowhere else.
    return all(
        matches(other.replace("**", "*").replace("*", star).replace("?", "\ue000"), pattern)
        for star in ("", "\ue001", "\ue001/\ue002")
    )


@dataclass(frozen=True)
class DocumentRules:
    """All that the owner says of documents: what stays wins over what may leave."""

    rules: tuple[DocumentRule, ...] = ()
    local_only: tuple[str, ...] = ()
    letters: int = LETTERS
    """How many in a row are text of a document."""

    @property
    def patterns(self) -> tuple[str, ...]:
        """All patterns of sources."""
        every = (*self.local_only, *(each for rule in self.rules for each in rule.sources))
        return tuple(dict.fromkeys(every))

    @property
    def collections(self) -> tuple[str, ...]:
        """All collections that are named."""
        return tuple(dict.fromkeys(each for rule in self.rules for each in rule.collections))

    def farthest(self, source: str, collection: str | None = None) -> tuple[Place, str]:
        """Where a document may go at most, and the rule that says so."""
        for pattern in self.local_only:
            if matches(source, pattern):
                return "here", f"local_only '{pattern}'"
        found = [rule for rule in self.rules if rule.concerns(source, collection)]
        if not found:
            return "here", "no rule of [[policy.documents]]"
        rule = min(found, key=lambda rule: FARNESS[rule.farthest])
        named = ", ".join((*rule.sources, *(f"collection {name}" for name in rule.collections)))
        return rule.farthest, f"documents '{named}'"


# Documents of an index.


@dataclass
class _Text:
    """What of a document is fingerprinted."""

    parts: list[tuple[int, int, str]] = field(default_factory=list)
    above: dict[str, None] = field(default_factory=dict)

    def add(self, passage: Passage, start: int, end: int) -> None:
        self.parts.append((start, end, passage.text))
        for text in (passage.title, passage.context, " ".join(passage.headings)):
            if text:
                self.above[text] = None

    def texts(self) -> Iterator[str]:
        """Its stretches in order, each character once, and what they stand under."""
        self.parts.sort(key=lambda part: part[:2])
        joined: list[str] = []
        at = 0
        for start, end, text in self.parts:
            if end > at:
                joined.append(text[at - start :] if start < at else text)
                at = end
        yield "\n".join(joined)
        yield from self.above


class ProtectedIndex:
    """The documents of one index that may not go everywhere, as fingerprints."""

    def __init__(self, rules: DocumentRules, index: Searchable, keep: Path | None = None) -> None:
        """``keep``: a directory of its own in which they are kept."""
        self._rules, self._keep = rules, keep
        # One of its own, since whoever answers closes theirs as they please.
        self._index: Index | None = Index(index.path) if isinstance(index, Index) else None
        self._lock = threading.Lock()
        self._layers: dict[Place, list[Fingerprints]] = {}
        self._known: dict[str, str] = {}
        """The recipes of documents by their sources."""
        self._places: dict[str, tuple[Place, str]] = {}
        self._gone = 0
        self.version = 0
        """Another one whenever its documents have changed."""
        self._followed = False
        self._looked = -_LOOK_SECONDS
        if self._index is None:
            self._take_passages(index)
        self.refresh()

    @property
    def bytes(self) -> int:
        """What the fingerprints take."""
        return sum(each.bytes for layers in self._layers.values() for each in layers)

    def farthest(self, source: str) -> tuple[Place, str] | None:
        """Where one of its documents may go at most, and the rule that says so."""
        return self._places.get(source)

    def find(self, texts: Compared, place: Place) -> Iterator[Hit]:
        """Text of documents that may not go to a place, in some texts."""
        self.refresh()
        for farthest, layers in list(self._layers.items()):
            if FARNESS[farthest] < FARNESS[place]:
                for layer in layers:
                    yield from layer.find(texts)

    def close(self) -> None:
        """Have no more need of the index."""
        if self._index is not None:
            self._index.close()

    def unmatched(self) -> list[str]:
        """See :class:`Protected`."""
        documents = self._index.documents() if self._index is not None else []
        names = [document.source for document in documents] or list(self._places)
        collections = {document.collection for document in documents}
        found = [
            pattern
            for pattern in self._rules.patterns
            if not any(matches(name, pattern) for name in names)
        ]
        return found + [
            f"collection {name}" for name in self._rules.collections if name not in collections
        ]

    def refresh(self) -> None:
        """Take up documents that changed; nothing is compared until that is done."""
        index = self._index
        if index is None or time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        with self._lock:
            if time.monotonic() - self._looked < _LOOK_SECONDS:
                return
            changed = not self._followed
            with contextlib.suppress(ArtifactError):  # what was read stays protected
                changed = index.reload() or changed
            if changed:
                self._followed = False  # where this fails it is tried again
                self._follow(index)
                self._followed = True
                self.version += 1
            self._looked = time.monotonic()

    def _follow(self, index: Index) -> None:
        places: dict[str, tuple[Place, str]] = {}
        wanted: dict[str, str] = {}
        for document in index.documents():
            farthest, rule = self._rules.farthest(document.source, document.collection)
            places[document.source] = farthest, rule
            if farthest in _STAYING:
                parts = (document.source, document.id, document.collection, farthest)
                recipe = hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"))
                wanted[document.source] = recipe.hexdigest()[:32]
        if not self._layers and self._read(wanted):
            self._known, self._places = wanted, places
            return
        known = set(self._known.values())
        new = {source for source, recipe in wanted.items() if recipe not in known}
        self._gone += len(known - set(wanted.values()))
        if (
            not self._layers
            or len(new) > _FEW
            or self._gone > _STALE * len(wanted)
            or max(map(len, self._layers.values())) >= _MOST_LAYERS
        ):
            self._layers = {farthest: [own] for farthest, own in
                            self._made(index, set(wanted), places).items()}  # fmt: skip
            self._gone = 0
            self._write(wanted)
        elif new:
            for farthest, own in self._made(index, new, places).items():
                self._layers[farthest] = [*self._layers[farthest], own]
        self._known, self._places = wanted, places

    def _made(
        self, index: Index, sources: set[str], places: Mapping[str, tuple[Place, str]]
    ) -> dict[Place, Fingerprints]:
        """The fingerprints of some documents, by how far these may go."""
        filters = None
        if len(sources) <= _FEW:
            filters = Filters(sources=tuple(map(glob.escape, sources)))
        passages = index.passages(filters=filters) if sources else iter(())
        builders = {farthest: Builder(self._rules.letters) for farthest in _STAYING}
        texts: dict[str, _Text] = {}
        characters = 0

        def take() -> None:
            for source, text in texts.items():
                names = {source, source.rpartition("/")[2]}
                builders[places[source][0]].add(text.texts(), names)
            texts.clear()

        for passage in passages:
            for place in passage.places:
                if place.source in sources:
                    texts.setdefault(place.source, _Text()).add(passage, place.start, place.end)
                    characters += len(passage.text)
            if characters > BATCH:
                take()
                characters = 0
        take()
        return {farthest: builder.build() for farthest, builder in builders.items()}

    def _take_passages(self, index: Searchable) -> None:
        """Those of passages in memory, which never change."""
        builders = {farthest: Builder(self._rules.letters) for farthest in _STAYING}
        for passage in index.passages():
            for place in passage.places:
                found = self._rules.farthest(place.source, passage.collection)
                self._places[place.source] = found
                if found[0] in builders:
                    builders[found[0]].add([passage.text, passage.title], [place.source])
        self._layers = {farthest: [each.build()] for farthest, each in builders.items()}

    # -- what is kept ------------------------------------------------------------------------

    @property
    def _recipe(self) -> str:
        return hashlib.blake2b(repr((FORMAT, to_mapping(self._rules))).encode()).hexdigest()[:32]

    def _read(self, wanted: Mapping[str, str]) -> bool:
        """Take what is kept, if it is of these very documents."""
        if self._keep is None:
            return False
        try:
            state = read_json(self._keep / "state.json")
            if state["recipe"] != self._recipe or state["documents"] != sorted(wanted.values()):
                return False
            found: dict[Place, list[Fingerprints]] = {}
            for farthest in _STAYING:
                grams, counts, begins, lengths, wholes = (
                    np.load(
                        self._keep / f"{farthest}.{name}.npy",
                        mode if _may_map() else None,
                        allow_pickle=False,
                    )
                    for name, mode in _ARRAYS.items()
                )
                if len(grams) != len(counts) or not len(begins) == len(lengths) == len(wholes):
                    return False
                shorts = Shorts(begins, lengths, wholes)
                found[farthest] = [Fingerprints(self._rules.letters, grams, counts, shorts)]
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return False
        self._layers = found
        return True

    def _write(self, wanted: Mapping[str, str]) -> None:
        """Keep them; where that cannot be, they are made again the next time."""
        if self._keep is None:
            return
        with contextlib.suppress(OSError, LinnetError), output.lock(self._keep):
            partial = self._keep.with_name(f"{self._keep.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            output.make_directory(partial)
            for farthest, (own,) in self._layers.items():
                shorts = own.shorts
                arrays: list[npt.NDArray[Any]]
                arrays = [own.grams, own.counts, shorts.begins, shorts.lengths, shorts.wholes]
                for name, array in zip(_ARRAYS, arrays, strict=True):
                    with output.create_file(partial / f"{farthest}.{name}.npy") as file:
                        np.save(file, array, allow_pickle=False)
            state = {"recipe": self._recipe, "documents": sorted(wanted.values())}
            output.write_json(partial / "state.json", state)
            shutil.rmtree(self._keep, ignore_errors=True)
            output.move(partial, self._keep)


_ARRAYS: Mapping[str, Literal["r"] | None] = {
    "grams": "r", "counts": "r", "begins": None, "lengths": None, "wholes": None,
}  # fmt: skip
"""What is kept of fingerprints, and how it is opened: what is large through the memory map."""


def _may_map() -> bool:
    """Whether files that are mapped can be replaced, as they are when documents change."""
    return sys.platform != "win32"


class Protected:
    """How far documents may go, and the text of those that stay."""

    def __init__(self, rules: DocumentRules, *, keep: Path | None = None) -> None:
        """``keep``: a directory in which the fingerprints of indexes are kept."""
        self.rules = rules
        self._keep = keep
        self._lock = threading.Lock()
        self._indexes: dict[str, ProtectedIndex] = {}

    @property
    def bytes(self) -> int:
        """What the fingerprints take."""
        return sum(each.bytes for each in self._indexes.values())

    def add(self, index: Searchable) -> None:
        """Know the documents of an index from now on; reads those that may not go everywhere,
        unless what was made of them is kept. One that is known already is not read again."""
        path = str(index.path.resolve()) if isinstance(index, Index) else f"in memory {id(index)}"
        with self._lock:
            if path in self._indexes:
                return
            name = hashlib.blake2b(path.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
            keep = self._keep / name if self._keep is not None else None
            self._indexes[path] = ProtectedIndex(self.rules, index, keep)

    def farthest(self, source: str) -> tuple[Place, str]:
        """Where a document may go at most, and the rule that says so. One that no index has goes by
        its name alone, so that no rule of a collection lets it out."""
        found = [known for each in list(self._indexes.values())
                 if (known := each.farthest(source)) is not None]  # fmt: skip
        if not found:
            return self.rules.farthest(source)
        return min(found, key=lambda known: FARNESS[known[0]])

    def version(self) -> tuple[tuple[str, int], ...]:
        """Another one whenever documents have changed, or indexes were added."""
        found = []
        for path, index in list(self._indexes.items()):
            index.refresh()
            found.append((path, index.version))
        return tuple(found)

    def find(self, texts: Compared, place: Place) -> Iterator[Hit]:
        """Text of documents that may not go to a place, in some texts."""
        for index in list(self._indexes.values()):
            yield from index.find(texts, place)

    def close(self) -> None:
        """Have no more need of the indexes."""
        with self._lock:
            for index in self._indexes.values():
                index.close()
            self._indexes = {}

    def unmatched(self) -> list[str]:
        """Patterns and collections of the owner that no document falls under: they may be
        misspelt, and protect nothing."""
        every = [set(index.unmatched()) for index in list(self._indexes.values())]
        return sorted(set.intersection(*every)) if every else []
