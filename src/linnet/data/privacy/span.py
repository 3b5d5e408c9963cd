"""Where in a text something personal stands, and which of several findings counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Iterator

_LONGEST_LINE = 2000  # of a table, in characters


class Span(NamedTuple):
    """``text[start:end]`` is of this kind: ``EMAIL``, ``PHONE``, ..."""

    start: int
    end: int
    kind: str


def without_overlaps(spans: Iterable[Span]) -> Iterator[Span]:
    """From left to right, of those that begin together the longest."""
    end = 0
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if span.start >= end:
            yield span
            end = span.end


class Columns:
    """The columns of a table (``a | b`` in each line) whose title holds a word."""

    def __init__(self, text: str, word: re.Pattern[str]) -> None:
        titles = text[:_LONGEST_LINE].partition("\n")[0].split("|")
        self._text = text
        self._numbers = {number for number, title in enumerate(titles) if word.search(title)}

    def hold(self, at: int) -> bool:
        """Whether what stands at this place is in one of them."""
        if not self._numbers:
            return False
        line = self._text.rfind("\n", max(0, at - _LONGEST_LINE), at) + 1
        return self._text.count("|", line, at) in self._numbers


def lowered(text: str) -> str:
    """Lower case of the same length: ``İ`` alone would become two characters."""
    return text.replace("İ", "i").lower()


def positions(text: str, word: str) -> Iterator[int]:
    """Where ``word`` begins in ``text``; much faster than a pattern where it is rare."""
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + len(word))
