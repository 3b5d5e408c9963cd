"""What documents must not leave, and how their text is known wherever it turns up.

A document's place is decided by the owner's patterns of sources and by collections. Passages say
which document they are from; but a sentence that somebody pastes into a question, that a tool gives
or that an answer quoted does not. So the text of documents that stay is kept as fingerprints, and
what is to leave is compared with them.

A fingerprint is the hash of some letters and digits in a row, without case, accents, punctuation
and blanks (``readings.skeleton``); of those that follow each other the least of every
:data:`WINDOW` is kept (winnowing: Schleimer, Wilkerson and Aiken, SIGMOD 2003), so the length of
what a text shares with a document is known to within six letters. :data:`LETTERS` count, about five
words; whatever shares six more is found for certain. A character of a script without blanks
between words counts three times. What stands in :data:`COMMON` documents or more is how people
write, or a header: it counts only where twice as much stands in a row. Identifiers and long numbers
are kept whole, as are short documents and long names of files.
"""

from __future__ import annotations

import fnmatch
import glob
import re
import threading
import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.config import Config, option
from linnet.errors import ConfigError
from linnet.respond.pieces import Place
from linnet.retrieval import Index, Passage
from linnet.retrieval.index import Filters
from linnet.retrieval.segments import IndexedDocument
from linnet.routing.readings import skeleton

Hashes: TypeAlias = npt.NDArray[np.uint64]
Units: TypeAlias = npt.NDArray[np.uint32]

FARNESS: Mapping[str, int] = {"here": 0, "network": 1, "elsewhere": 2}
"""How far away a place is."""
LETTERS = 24
"""Letters and digits in a row that a text shares with a document for it to be the document's."""
WINDOW = 4
SLACK = 2 * (WINDOW - 1)
"""So many more are found for certain."""
COMMON = 8
SHORTEST = 8
"""Letters and digits of an identifier, a number or a short document."""
_SHORTEST_NAME = 12  # of a file
_LONGEST_SHORT = 48
_BATCH = 4 << 20  # units that are fingerprinted at a time
_BASE = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_SEPARATOR = 0x110000  # is no character
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


# Fingerprints.


def units(text: str) -> Units:
    """The skeleton of a text as numbers; characters that are half a word count three times."""
    own = skeleton(text)
    if own.isascii():
        return np.frombuffer(own.encode(), np.uint8).astype(np.uint32)
    codes = np.frombuffer(own.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32)
    wide = ((codes >= 0x2E80) & (codes <= 0x9FFF)) | ((codes >= 0xF900) & (codes <= 0xFAFF))
    wide |= codes >= 0x20000
    return np.repeat(codes, np.where(wide, 3, 1)) if wide.any() else codes


def hashes(values: Units, length: int) -> Hashes:
    """The hash of each stretch of so many units, by where it begins."""
    count = len(values) - length + 1
    if count <= 0:
        return np.empty(0, np.uint64)
    wide = values.astype(np.uint64)
    found = np.zeros(count, np.uint64)
    for place in range(length):
        found *= np.uint64(_BASE)
        found += wide[place : place + count]
    found ^= found >> np.uint64(29)
    found *= np.uint64(0xBF58476D1CE4E5B9)
    return found ^ (found >> np.uint64(32))


def winnowed(found: Hashes) -> Hashes:
    """The least hash of every window, so that each window has one that is kept."""
    if len(found) <= WINDOW:
        return found
    view = np.lib.stride_tricks.sliding_window_view(found, WINDOW)
    places = view.argmin(axis=1) + np.arange(len(view))
    return found[places[np.concatenate(([True], places[1:] != places[:-1]))]]


def _whole(values: Sequence[int]) -> int:
    """The hash of a stretch of any length, and of its length."""
    found = len(values)
    for value in values:
        found = (found * _BASE + value) & _MASK
    return found


_DIGITS = re.compile(r"[^\s,;|<>(){}\[\]\"]*\d[^\s;|<>(){}\[\]\"]*")
_DATE = re.compile(r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[T ]?[\d:.]*Z?)?|\d{1,2}:\d{2}(?::\d{2})?")


def identifiers(text: str) -> Iterator[str]:
    """Numbers of seven digits and more, and words of letters and at least three digits: what
    tells a case, an account or a person by itself. Dates are none."""
    for match in _DIGITS.finditer(text):
        token = match[0].strip(".,:;!?'-_/")
        if len(token) > 2 * _LONGEST_SHORT or _DATE.fullmatch(token):
            continue
        digits = sum(c.isdigit() for c in token)
        letters = sum(c.isalpha() for c in token)
        if digits >= (3 if letters else 7) and SHORTEST <= digits + letters <= _LONGEST_SHORT:
            yield token


@dataclass
class _Text:
    """What of a document is fingerprinted."""

    document: IndexedDocument
    parts: list[tuple[int, int, str]] = field(default_factory=list)
    above: dict[str, None] = field(default_factory=dict)

    def add(self, passage: Passage, start: int, end: int) -> None:
        self.parts.append((start, end, passage.text))
        for text in (passage.title, passage.context, " ".join(passage.headings)):
            if text:
                self.above[text] = None

    def texts(self) -> Iterator[str]:
        """Its stretches without a gap, each character once, and what they stand under."""
        self.parts.sort(key=lambda part: part[:2])
        joined: list[str] = []
        at = 0
        for start, end, text in self.parts:
            if end <= at:
                continue
            joined.append(text[at - start :] if start < at else text)
            at = end
        yield "\n".join(joined)
        yield from self.above


@dataclass(frozen=True)
class Hit:
    """Text of a document in one of several texts; ``text``: which of them."""

    text: int
    units: int
    """About how long it is."""


class Fingerprints:
    """Those of some documents; nothing of their text can be read from them."""

    def __init__(
        self, letters: int, grams: Hashes, counts: npt.NDArray[np.uint8], shorts: _Shorts
    ) -> None:
        """``grams``: in order, with the number of documents that each is in."""
        self.letters, self.grams, self.counts, self.shorts = letters, grams, counts, shorts

    @property
    def bytes(self) -> int:
        """What they take."""
        return self.grams.nbytes + self.counts.nbytes + self.shorts.bytes

    def find(self, texts: Sequence[Units]) -> Iterator[Hit]:
        """Where text of the documents stands in some texts."""
        joined, owners = _joined(texts)
        found = hashes(joined, _gram(self.letters))
        if len(self.grams) and len(found):
            places = np.searchsorted(self.grams, found)
            places[places == len(self.grams)] = 0
            at = np.flatnonzero(self.grams[places] == found)
            yield from self._runs(at, self.counts[places[at]], owners)
        for begin, length in self.shorts.find(joined):
            yield Hit(int(owners[begin]), length)

    def _runs(
        self, at: npt.NDArray[np.int64], counts: npt.NDArray[np.uint8], owners: Units
    ) -> Iterator[Hit]:
        """Hits that belong together; of what is common only long ones."""
        if not len(at):
            return
        gram = _gram(self.letters)
        apart = (np.diff(at) > gram) | (np.diff(owners[at].astype(np.int64)) != 0)
        cuts = np.flatnonzero(apart) + 1
        for own, usual in zip(np.split(at, cuts), np.split(counts >= COMMON, cuts), strict=True):
            length = int(own[-1] - own[0]) + gram
            if length < self.letters:
                continue
            said = np.zeros(length, np.bool_)
            for place in (own[usual] - own[0]).tolist():
                said[place : place + gram] = True
            rare = length - int(np.count_nonzero(said))
            if rare >= self.letters or length >= 2 * self.letters:
                yield Hit(int(owners[own[0]]), length)


def _gram(letters: int) -> int:
    """The letters of a fingerprint: a few less than what counts, so that this has several."""
    return letters - WINDOW


class _Shorts:
    """Short strings that are known whole, sorted by the hash of their first units."""

    def __init__(self, found: Mapping[int, tuple[int, int]]) -> None:
        """``found``: by the hash of the whole, that of its beginning and its length."""
        rows = sorted((begin, length, whole) for whole, (begin, length) in found.items())
        self._begins = np.array([row[0] for row in rows], np.uint64)
        self._lengths = np.array([row[1] for row in rows], np.uint8)
        self._wholes = np.array([row[2] for row in rows], np.uint64)

    @property
    def bytes(self) -> int:
        return self._begins.nbytes + self._lengths.nbytes + self._wholes.nbytes

    def find(self, values: Units) -> Iterator[tuple[int, int]]:
        """Where one begins, and how long it is."""
        begins = hashes(values, SHORTEST)
        if not len(self._begins) or not len(begins):
            return
        low = np.searchsorted(self._begins, begins)
        low[low == len(self._begins)] = 0
        for at in np.flatnonzero(self._begins[low] == begins).tolist():
            row = int(low[at])
            while row < len(self._begins) and self._begins[row] == begins[at]:
                length = int(self._lengths[row])
                whole = values[at : at + length]
                if len(whole) == length and _whole(whole.tolist()) == int(self._wholes[row]):
                    yield at, length
                    break
                row += 1


def _joined(texts: Sequence[Units]) -> tuple[Units, Units]:
    """Texts in a row, with what is in none of them between; and by unit the text it is of."""
    parts: list[Units] = []
    owners: list[Units] = []
    for number, text in enumerate(texts):
        parts += [text, np.array([_SEPARATOR + number], np.uint32)]
        owners.append(np.full(len(text) + 1, number, np.uint32))
    nothing = np.empty(0, np.uint32)
    return np.concatenate([nothing, *parts]), np.concatenate([nothing, *owners])


class _Builder:
    """Puts fingerprints together, a batch of documents at a time."""

    def __init__(self, letters: int) -> None:
        self._letters, self._gram = letters, _gram(letters)
        self._grams: list[Hashes] = []
        self._counts: list[npt.NDArray[np.uint8]] = []
        self._batch: list[Hashes] = []
        self._size = 0
        self._shorts: dict[int, list[int]] = {}  # by the whole's hash: beginning, length, documents

    def add(self, text: _Text) -> None:
        """A document, or a part of one."""
        own: list[Hashes] = []
        shorts: dict[int, tuple[int, int]] = {}
        body = True
        for each in text.texts():
            values = units(each)
            if len(values) >= self._gram:
                own.append(winnowed(hashes(values, self._gram)))
            elif body and len(values) >= SHORTEST:
                _add_short(shorts, values)
            for token in identifiers(each):
                _add_short(shorts, units(token))
            body = False
        for name in {text.document.source, text.document.source.rpartition("/")[2]}:
            values = units(name)
            if len(values) >= self._gram:
                own.append(winnowed(hashes(values, self._gram)))
            elif len(values) >= _SHORTEST_NAME:
                _add_short(shorts, values)
        for whole, (begin, length) in shorts.items():
            self._shorts.setdefault(whole, [begin, length, 0])[2] += 1
        if own:
            distinct = np.unique(np.concatenate(own))
            self._batch.append(distinct)
            self._size += len(distinct)
        if self._size >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._batch:
            found, counts = np.unique(np.concatenate(self._batch), return_counts=True)
            self._grams.append(found)
            self._counts.append(np.minimum(counts, 255).astype(np.uint8))
        self._batch, self._size = [], 0

    def build(self) -> Fingerprints:
        """All of them."""
        self._flush()
        grams = np.concatenate([np.empty(0, np.uint64), *self._grams])
        counts = np.concatenate([np.empty(0, np.uint8), *self._counts])
        self._grams, self._counts = [], []
        order = np.argsort(grams, kind="stable")
        grams, counts = grams[order], counts[order]
        if len(grams):
            first = np.flatnonzero(np.concatenate(([True], grams[1:] != grams[:-1])))
            sums = np.add.reduceat(counts.astype(np.uint32), first)
            grams, counts = grams[first], np.minimum(sums, 255).astype(np.uint8)
        rare = {
            whole: (begin, length)
            for whole, (begin, length, documents) in self._shorts.items()
            if documents < COMMON
        }
        return Fingerprints(self._letters, grams, counts, _Shorts(rare))


def _add_short(shorts: dict[int, tuple[int, int]], values: Units) -> None:
    if SHORTEST <= len(values) < 256:
        begin = int(hashes(values[:SHORTEST], SHORTEST)[0])
        shorts[_whole(values.tolist())] = (begin, len(values))


def fingerprints(texts: Iterable[str], *, letters: int = LETTERS) -> Fingerprints:
    """Those of a few texts, each taken as a document of its own."""
    builder = _Builder(letters)
    for text in texts:
        own = _Text(IndexedDocument("", "", "", "", "", "", 0, len(text)))
        own.parts.append((0, len(text), text))
        builder.add(own)
    return builder.build()


# Documents of an index.


class Protected:
    """The documents of an index: how far each may go, and the fingerprints of those that stay."""

    def __init__(self, rules: DocumentRules, index: Index | None = None) -> None:
        """Reads all documents that may not go everywhere; see :meth:`refresh`."""
        self.rules = rules
        self._index = index
        self._lock = threading.Lock()
        self._layers: dict[Place, list[Fingerprints]] = {}
        self._known: dict[str, tuple[str, str, Place]] = {}
        self._stale = 0
        self._generation: int | None = None
        self._looked = -_LOOK_SECONDS
        self.refresh()

    @property
    def bytes(self) -> int:
        """What the fingerprints take."""
        return sum(each.bytes for layers in self._layers.values() for each in layers)

    def unmatched(self) -> list[str]:
        """Patterns and collections of the owner that no document of the index falls under: they
        may be misspelt, and protect nothing."""
        if self._index is None:
            return []
        documents = self._index.documents()
        names = [document.source for document in documents]
        collections = {document.collection for document in documents}
        patterns = (*self.rules.local_only, *(p for rule in self.rules.rules for p in rule.sources))
        found = [p for p in dict.fromkeys(patterns) if not any(matches(name, p) for name in names)]
        wanted = dict.fromkeys(name for rule in self.rules.rules for name in rule.collections)
        return found + [f"collection {name}" for name in wanted if name not in collections]

    def farthest(self, source: str) -> tuple[Place, str]:
        """Where a document may go at most, and the rule that says so. One that the index does not
        have goes by its name alone; rules of collections then let nothing out."""
        known = self._known.get(source)
        return self.rules.farthest(source, known[1] if known else None)

    def find(self, texts: Sequence[Units], place: Place) -> Iterator[Hit]:
        """Text of documents that may not go to a place, in some texts."""
        self.refresh()
        for farthest, layers in list(self._layers.items()):
            if FARNESS[farthest] < FARNESS[place]:
                for layer in layers:
                    yield from layer.find(texts)

    def refresh(self) -> None:
        """Take up documents that changed. Nothing is looked up until they are."""
        index = self._index
        if index is None or time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        with self._lock:
            self._looked = time.monotonic()
            if index.generation == self._generation:
                return
            generation = index.generation
            documents = {each.source: each for each in index.documents()}
            wanted = {
                source: (each.id, each.collection, self.rules.farthest(source, each.collection)[0])
                for source, each in documents.items()
            }
            new = {s for s, key in wanted.items() if self._known.get(s) != key}
            gone = sum(1 for source, key in self._known.items() if wanted.get(source) != key)
            self._stale += gone
            whole = (
                len(new) > _FEW
                or self._stale > _STALE * max(len(wanted), 1)
                or max(map(len, self._layers.values()), default=0) >= _MOST_LAYERS
            )
            if whole:
                self._layers, self._stale = self._built(documents, wanted, set(documents)), 0
            elif new:
                for farthest, layers in self._built(documents, wanted, new).items():
                    self._layers[farthest] = [*self._layers.get(farthest, ()), *layers]
            self._known = wanted
            self._generation = generation

    def _built(
        self,
        documents: Mapping[str, IndexedDocument],
        wanted: Mapping[str, tuple[str, str, Place]],
        sources: set[str],
    ) -> dict[Place, list[Fingerprints]]:
        """The fingerprints of some documents, by how far these may go."""
        assert self._index is not None
        builders: dict[Place, _Builder] = {
            "here": _Builder(self.rules.letters), "network": _Builder(self.rules.letters),
        }  # fmt: skip
        texts: dict[str, _Text] = {}
        characters = 0

        def take() -> None:
            for source, text in texts.items():
                builders[wanted[source][2]].add(text)
            texts.clear()

        filters = None
        if len(sources) <= _FEW:
            filters = Filters(sources=tuple(map(glob.escape, sources)))
        for passage in self._index.passages(filters=filters):
            for place in passage.places:
                source = place.source
                if source in sources and source in wanted and wanted[source][2] in builders:
                    if source not in texts:
                        texts[source] = _Text(documents[source])
                    texts[source].add(passage, place.start, place.end)
                    characters += len(passage.text)
            if characters > _BATCH:
                take()
                characters = 0
        take()
        return {farthest: [builder.build()] for farthest, builder in builders.items()}
