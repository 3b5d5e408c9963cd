"""Cutting long documents at paragraph borders, for corpora of few documents.

The cuts follow the content (Muthitacharoen et al., "A Low-bandwidth Network
File System", SOSP 2001): a paragraph ends a piece when its own hash says so, so
that an edit moves the cuts near it and no others, and pieces keep their splits.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST, MOST = 2_000, 8_000  # characters of a piece
_ENDS_PIECE = 4  # one paragraph in so many

_PARAGRAPH_BORDER = re.compile(r"\n[ \t]*\n\s*")
# Where a paragraph alone is too long: at the end of a line, a sentence or a word.
_BORDERS = (re.compile(r"\n"), re.compile(r"(?<=[.!?。！？])\s+"), re.compile(r"\s+"))


def cut(text: str) -> list[tuple[str, str]]:
    """The pieces of a text, each with the blanks that followed it.

    Put together, pieces and blanks are the text. A short text is one piece.
    """
    if len(text) <= MOST:
        return [(text, "")]
    pieces = []
    start = 0
    for end, resume in _cuts(text):
        pieces.append((text[start:end], text[end:resume]))
        start = resume
    return pieces


def _cuts(text: str) -> Iterator[tuple[int, int]]:
    """Where each piece ends and where the next one starts."""
    start = paragraph = before = 0  # of the piece, of the paragraph, end of the one before
    for end, resume in _borders(text):
        if end - start > MOST and paragraph > start:  # full without this paragraph
            yield before, paragraph
            start = paragraph
        if end - start > MOST:  # this paragraph alone is too long
            for inner in _inner_borders(text, start, end):
                yield inner
                start = inner[1]
        digest = zlib.crc32(text[paragraph:end].encode("utf-8"))
        if end - start >= LEAST and digest % _ENDS_PIECE == 0:
            yield end, resume
            start = resume
        paragraph, before = resume, end
    if start < len(text):
        yield len(text), len(text)


def _borders(text: str) -> Iterator[tuple[int, int]]:
    """The end of each paragraph and the start of the next."""
    for border in _PARAGRAPH_BORDER.finditer(text):
        yield border.span()
    yield len(text), len(text)


def _inner_borders(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Cuts within a paragraph that is too long, as gentle as it allows."""
    while end - start > MOST:
        for border in _BORDERS:
            spans = [m.span() for m in border.finditer(text, start + LEAST, start + MOST)]
            if spans:
                span = spans[-1]
                break
        else:
            span = (start + MOST, start + MOST)
        yield span
        start = span[1]
