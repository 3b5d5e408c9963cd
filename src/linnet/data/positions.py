"""Where the characters of a text are after it has been edited, and where they were before.

A text is changed in steps (cleaning, masking, taking out lines). ``Edited`` makes such steps
and notes for each which stretches gave way to what; ``Positions`` takes places through all of
them, forwards or backwards. A place inside a stretch that was replaced goes with its
beginning, as far as what stands there now is long.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Offsets: TypeAlias = npt.NDArray[np.int64]
Edit: TypeAlias = tuple[int, int, str]
"""``text[start:end]`` gives way to a string. Of one step, in order and apart."""

# What normalising may change, with the ASCII letter that the first of it may be put on.
_NOT_ASCII = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")
_MOST_COMPARED = 1_000_000  # characters of a line times those of another
_VOWELS_AND_FINALS = range(0x1160, 0x1200)  # jamo, which become part of the syllable before


@dataclass(frozen=True)
class _Step:
    """One step: the stretches that were replaced, and how long each is now."""

    starts: Offsets
    ends: Offsets
    lengths: Offsets

    @classmethod
    def of(cls, edits: list[tuple[int, int, int]]) -> _Step:
        starts, ends, lengths = np.array(edits, np.int64).T
        return cls(starts, ends, lengths)

    def moved(self, places: Offsets) -> Offsets:
        shifts = np.concatenate([[0], np.cumsum(self.lengths - (self.ends - self.starts))])
        behind = np.searchsorted(self.ends, places, "right")  # edits that end before a place
        at = np.minimum(behind, len(self.starts) - 1)
        start = self.starts[at]
        inside = (behind < len(self.starts)) & (places > start)
        within = start + np.minimum(places - start, self.lengths[at])
        moved: Offsets = np.where(inside, within, places) + shifts[behind]
        return moved

    def reversed(self) -> _Step:
        before = np.concatenate([[0], np.cumsum(self.lengths - (self.ends - self.starts))])[:-1]
        starts = self.starts + before
        return _Step(starts, starts + self.lengths, self.ends - self.starts)


@dataclass(frozen=True)
class Positions:
    """The steps from one text to another."""

    steps: tuple[_Step, ...] = ()

    @classmethod
    def of(cls, edits: Iterable[tuple[int, int, int]]) -> Positions:
        """One step: start, end, and how long what is there now is."""
        edits = list(edits)
        return cls((_Step.of(edits),) if edits else ())

    @classmethod
    def from_lists(cls, steps: list[list[list[int]]]) -> Positions:
        """What ``as_lists`` gave."""
        return cls(tuple(_Step(*(np.array(row, np.int64) for row in step)) for step in steps))

    def as_lists(self) -> list[list[list[int]]]:
        """As JSON can hold it."""
        return [
            [step.starts.tolist(), step.ends.tolist(), step.lengths.tolist()] for step in self.steps
        ]

    def __add__(self, later: Positions) -> Positions:
        return Positions(self.steps + later.steps)

    def forwards(self, places: npt.ArrayLike) -> Offsets:
        """Where these places of the first text are in the last one."""
        found = np.asarray(places, np.int64)
        for step in self.steps:
            found = step.moved(found)
        return found

    def backwards(self, places: npt.ArrayLike) -> Offsets:
        """Where these places of the last text are in the first one."""
        found = np.asarray(places, np.int64)
        for step in reversed(self.steps):
            found = step.reversed().moved(found)
        return found


@dataclass
class Edited:
    """A text that is edited in steps."""

    text: str
    steps: list[_Step] = field(default_factory=list)

    @property
    def positions(self) -> Positions:
        return Positions(tuple(self.steps))

    def apply(self, edits: Iterable[Edit]) -> int:
        """Replace stretches; gives how many they were."""
        parts, noted, done = [], [], 0
        for start, end, new in edits:
            parts += [self.text[done:start], new]
            noted.append((start, end, len(new)))
            done = end
        if noted:
            self.text = "".join([*parts, self.text[done:]])
            self.steps.append(_Step.of(noted))
        return len(noted)

    def sub(self, pattern: re.Pattern[str], new: str | Callable[[re.Match[str]], str]) -> int:
        """Replace what matches, as ``pattern.sub`` does (``new`` without references to groups);
        gives how often."""
        found = pattern.finditer(self.text)
        if isinstance(new, str):
            return self.apply((*match.span(), new) for match in found)
        return self.apply((*match.span(), new(match)) for match in found)

    def strip(self, characters: str) -> None:
        """Without these characters at either end."""
        start = len(self.text) - len(self.text.lstrip(characters))
        end = max(len(self.text.rstrip(characters)), start)
        ends = [(0, start, ""), (end, len(self.text), "")]
        self.apply(edit for edit in ends if edit[0] < edit[1])

    def normalize(self) -> None:
        """In Unicode's form NFC."""
        if not unicodedata.is_normalized("NFC", self.text):
            self.apply(
                edit
                for found in _NOT_ASCII.finditer(self.text)
                if not unicodedata.is_normalized("NFC", found[0])
                for edit in _composed(found[0], found.start())
            )


def _composed(text: str, offset: int) -> list[Edit]:
    """What normalising changes in a text, character by character where these are independent."""
    cuts = [n for n, character in enumerate(text) if n and _begins(character)]
    edits, whole = [], []
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        new = unicodedata.normalize("NFC", text[start:end])
        whole.append(new)
        if new != text[start:end]:
            edits.append((offset + start, offset + end, new))
    composed = unicodedata.normalize("NFC", text)
    if "".join(whole) != composed:
        return [(offset, offset + len(text), composed)]
    return edits


def _begins(character: str) -> bool:
    """Does no character before this one become one with it?"""
    return (
        not unicodedata.combining(character)
        and unicodedata.category(character)[0] != "M"
        and ord(character) not in _VOWELS_AND_FINALS
    )


def differences(before: str, after: str, *, offset: int = 0) -> Iterator[Edit]:
    """The edits that make one line of the other."""
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    if len(before) * len(after) > _MOST_COMPARED:
        yield offset, offset + len(before), after
        return
    for tag, start, end, first, last in matcher.get_opcodes():
        if tag != "equal":
            yield offset + start, offset + end, after[first:last]
