"""Text as fingerprints: whatever shares enough letters in a row with it is found, whoever wrote it.

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

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.routing.readings import skeleton

Hashes: TypeAlias = npt.NDArray[np.uint64]
Counts: TypeAlias = npt.NDArray[np.uint8]
Units: TypeAlias = npt.NDArray[np.uint32]
Places: TypeAlias = npt.NDArray[np.int64]

LETTERS = 24
"""Letters and digits in a row that a text shares with a document for it to be the document's."""
WINDOW = 4
SLACK = 2 * (WINDOW - 1)
"""So many more are found for certain."""
COMMON = 8
SHORTEST = 8
"""Letters and digits of an identifier, a number or a short document."""
BATCH = 4 << 20
"""Fingerprints that are sorted at a time."""
_SHORTEST_NAME = 12  # of a file
_LONGEST_SHORT = 48
_BASE = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
_SEPARATOR = 0x110000  # is no character


def units(own: str) -> Units:
    """The skeleton of a text as numbers; characters that are half a word count three times."""
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
    found, size = wide, 1
    for bit in f"{length:b}"[1:]:  # that of a whole from those of its halves
        found = found[:-size] * np.uint64(pow(_BASE, size, 1 << 64)) + found[size:]
        size *= 2
        if bit == "1":
            found = found[:-1] * np.uint64(_BASE) + wide[size:]
            size += 1
    found = found ^ (found >> np.uint64(29))
    found *= np.uint64(0xBF58476D1CE4E5B9)
    found ^= found >> np.uint64(32)
    mixed: Hashes = found
    return mixed


def winnowed(found: Hashes) -> Hashes:
    """The least hash of every window, so that each window has one that is kept."""
    if len(found) <= WINDOW:
        return found
    view = np.lib.stride_tricks.sliding_window_view(found, WINDOW)
    places: Places = view.argmin(axis=1) + np.arange(len(view))
    kept: Hashes = found[places[np.concatenate(([True], places[1:] != places[:-1]))]]
    return kept


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


@dataclass(frozen=True)
class Hit:
    """Text of a document in one of several texts; ``text``: which of them."""

    text: int
    units: int
    """About how long it is."""


class Compared:
    """Texts that are compared with fingerprints, one after the other in one row."""

    def __init__(self, skeletons: Sequence[str]) -> None:
        parts: list[Units] = []
        for number, own in enumerate(skeletons):  # with what is in no text between them
            parts += [units(own), np.array([_SEPARATOR + number], np.uint32)]
        self.values = np.concatenate([np.empty(0, np.uint32), *parts])
        lengths = [len(part) + 1 for part in parts[::2]]
        self._ends = np.cumsum(np.array(lengths, np.int64))
        self._hashes: dict[int, Hashes] = {}

    def hashes(self, length: int) -> Hashes:
        """Of each stretch of so many units."""
        if length not in self._hashes:
            self._hashes[length] = hashes(self.values, length)
        return self._hashes[length]

    def text_at(self, places: Places) -> Places:
        """By places in the row: which text each is of."""
        found: Places = np.searchsorted(self._ends, places, side="right")
        return found


class Fingerprints:
    """Those of some documents; nothing of their text can be read from them."""

    def __init__(self, letters: int, grams: Hashes, counts: Counts, shorts: Shorts) -> None:
        """``grams``: in order, with the number of documents that each is in."""
        self.letters, self.grams, self.counts, self.shorts = letters, grams, counts, shorts
        self._filter, self._shift = _filter(grams)

    @property
    def bytes(self) -> int:
        """What they take."""
        return self.grams.nbytes + self.counts.nbytes + self.shorts.bytes

    @property
    def digest(self) -> str:
        """What a few are known by."""
        parts = (self.grams, self.counts, self.shorts.lengths, self.shorts.wholes)
        own = hashlib.blake2b(str(self.letters).encode(), digest_size=20)
        for part in parts:
            own.update(str(len(part)).encode() + part.tobytes())
        return own.hexdigest()

    def find(self, texts: Compared) -> Iterator[Hit]:
        """Where text of the documents stands in some texts."""
        if len(self.grams):
            found = texts.hashes(_gram(self.letters))
            bits = found >> self._shift
            near = np.flatnonzero(
                self._filter[bits >> np.uint64(3)] >> (bits & np.uint64(7)).astype(np.uint8) & 1
            )
            places = np.searchsorted(self.grams, found[near])
            places[places == len(self.grams)] = 0
            same = self.grams[places] == found[near]
            yield from self._runs(near[same], self.counts[places[same]], texts)
        for begin, length in self.shorts.find(texts):
            yield Hit(int(texts.text_at(np.array([begin]))[0]), length)

    def _runs(self, at: Places, counts: Counts, texts: Compared) -> Iterator[Hit]:
        """Hits that belong together; of what is common only long ones."""
        if not len(at):
            return
        owners = texts.text_at(at)
        gram = _gram(self.letters)
        apart = (np.diff(at) > gram) | (np.diff(owners) != 0)
        cuts = np.flatnonzero(apart) + 1
        rows = (np.split(each, cuts) for each in (at, counts >= COMMON, owners))
        for own, usual, owner in zip(*rows, strict=True):
            length = int(own[-1] - own[0]) + gram
            if length < self.letters:
                continue
            said = np.zeros(length, np.bool_)
            for place in (own[usual] - own[0]).tolist():
                said[place : place + gram] = True
            rare = length - int(np.count_nonzero(said))
            if rare >= self.letters or length >= 2 * self.letters:
                yield Hit(int(owner[0]), length)


def _filter(grams: Hashes) -> tuple[npt.NDArray[np.uint8], np.uint64]:
    """A bit for the first bits of every hash, by which most that are none are told at once."""
    width = max(13, (8 * len(grams)).bit_length())
    shift = np.uint64(64 - width)
    filled = np.zeros(1 << width - 3, np.uint8)
    for start in range(0, len(grams), BATCH):
        bits = grams[start : start + BATCH] >> shift
        np.bitwise_or.at(
            filled, bits >> np.uint64(3), np.uint8(1) << (bits & np.uint64(7)).astype(np.uint8)
        )
    return filled, shift


def _gram(letters: int) -> int:
    """The letters of a fingerprint: a few less than what counts, so that this has several."""
    return letters - WINDOW


class Shorts:
    """Short strings that are known whole, in the order of the hashes of their beginnings."""

    def __init__(self, begins: Hashes, lengths: Counts, wholes: Hashes) -> None:
        self.begins, self.lengths, self.wholes = begins, lengths, wholes

    @classmethod
    def of(cls, found: Mapping[int, tuple[int, int]]) -> Shorts:
        """``found``: by the hash of the whole, that of its beginning and its length."""
        rows = sorted((begin, length, whole) for whole, (begin, length) in found.items())
        return cls(
            np.array([row[0] for row in rows], np.uint64),
            np.array([row[1] for row in rows], np.uint8),
            np.array([row[2] for row in rows], np.uint64),
        )

    @property
    def bytes(self) -> int:
        """What they take."""
        return self.begins.nbytes + self.lengths.nbytes + self.wholes.nbytes

    def find(self, texts: Compared) -> Iterator[tuple[int, int]]:
        """Where one begins in the row of texts, and how long it is."""
        values = texts.values
        if not len(self.begins) or len(values) < SHORTEST:
            return
        begins = texts.hashes(SHORTEST)
        low = np.searchsorted(self.begins, begins)
        low[low == len(self.begins)] = 0
        for at in np.flatnonzero(self.begins[low] == begins).tolist():
            row = int(low[at])
            while row < len(self.begins) and self.begins[row] == begins[at]:
                length = int(self.lengths[row])
                whole = values[at : at + length]
                if len(whole) == length and _whole(whole.tolist()) == int(self.wholes[row]):
                    yield at, length
                    break
                row += 1


class Builder:
    """Puts fingerprints together, a batch of documents at a time."""

    def __init__(self, letters: int) -> None:
        self._letters, self._gram = letters, _gram(letters)
        self._grams: list[Hashes] = []
        self._counts: list[Counts] = []
        self._batch: list[Hashes] = []
        self._size = 0
        self._shorts: dict[int, list[int]] = {}  # by the whole's hash: beginning, length, documents

    def add(self, texts: Iterable[str], names: Iterable[str] = ()) -> None:
        """A document, or a part of one: its text, what this stands under, and its names."""
        own: list[Hashes] = []
        shorts: dict[int, tuple[int, int]] = {}
        body = True
        for each in texts:
            values = units(skeleton(each))
            if len(values) >= self._gram:
                own.append(winnowed(hashes(values, self._gram)))
            elif body and len(values) >= SHORTEST:
                _add_short(shorts, values)
            for token in identifiers(each):
                _add_short(shorts, units(skeleton(token)))
            body = False
        for name in names:
            values = units(skeleton(name))
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
        if self._size >= BATCH:
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
        return Fingerprints(self._letters, grams, counts, Shorts.of(rare))


def _add_short(shorts: dict[int, tuple[int, int]], values: Units) -> None:
    if SHORTEST <= len(values) < 256:
        begin = int(hashes(values[:SHORTEST], SHORTEST)[0])
        shorts[_whole(values.tolist())] = (begin, len(values))


def fingerprints(texts: Iterable[str], *, letters: int = LETTERS) -> Fingerprints:
    """Those of a few texts, each taken as a document of its own."""
    builder = Builder(letters)
    for text in texts:
        builder.add([text])
    return builder.build()
