"""Texts of any length as documents: divided at separator lines, cut where they are long.

A text longer than ``longest`` is cut into sections at the strongest border within
reach: a heading, a blank line, the end of a sentence, of a line, of a word, any
character. Of equal borders the text behind them decides (the least hash, as in
content-defined chunking), so that an edit moves the cuts near it and no others.

Characters come as a stream and at most ``longest`` of them are held. How the
stream was cut into chunks leaves no trace.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from linnet.data.blocks import line_ends

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

SECTION = 1 << 19  # characters of a section at most; at least half as many
_TELLING = 64  # characters behind a border that decide between equals
_LONGEST_LINE = 1 << 16  # characters of a line that may be a separator

_HEADING = re.compile(
    r"\#{1,3} \S|[=*]{1,3} \S|[^\n]{1,80}\n(?:={3,}|-{3,})\n|(?:chapter|part|book|section|kapitel"
    r"|teil|buch|chapitre|partie|livre|cap[ií]tulo|capitolo|hoofdstuk|rozdzia[łl]|глава|часть)"
    r" +[\divxlc]+\b|第[\d一二三四五六七八九十百]+[章回节部]",
    re.IGNORECASE,
)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*+\n)++|\f")  # linear, also on long runs of them
_SENTENCE = re.compile(r"""[.!?…]["'”’»)\]]*(\s+)|[。！？][」』”]*(\s*)""")
_LINE, _BLANK = re.compile(r"\n"), re.compile(r"\s+")
_PAUSE = 4  # line ends together that set off what follows

Border = Callable[[str, int, int], list[tuple[int, int]]]
"""The borders of one kind in a stretch: where each starts and ends."""


def _matches(pattern: re.Pattern[str]) -> Border:
    def find(text: str, start: int, end: int) -> list[tuple[int, int]]:
        return [found.span(found.lastindex or 0) for found in pattern.finditer(text, start, end)]

    return find


def _headings(text: str, start: int, end: int) -> list[tuple[int, int]]:
    return [
        found.span()
        for found in _BLANK_LINES.finditer(text, start, end)
        if found[0] == "\f"
        or found[0].count("\n") >= _PAUSE
        or _HEADING.match(text, found.end(), end)
    ]


CODE = tuple(map(_matches, (_BLANK_LINES, _LINE, _BLANK)))
LINES = CODE[1:]
"""Borders of logs and tables."""
PROSE = (_headings, CODE[0], _matches(_SENTENCE), *LINES)
"""Borders of written text, the strongest first."""


class Section(NamedTuple):
    """A stretch of text between separators. ``cut``: one of several, as the text was too long;
    ``line``: the number of its first line in the whole."""

    text: str
    cut: bool
    line: int


def sections(
    chunks: Iterable[str],
    *,
    longest: int,
    separator: str = "",
    borders: Sequence[Border] = PROSE,
    size: int = SECTION,
) -> Iterator[Section]:
    """The texts between separator lines, those of more than ``longest`` characters in sections.

    Put together, with the blanks at the cuts, sections are the text. Without
    ``separator`` there is one text.
    """
    size = min(size, longest)
    held: list[str] = []
    length = 0
    cutting = False
    line = 1  # of what is held
    for stretch, ends in _stretches(chunks, separator):
        held.append(stretch)
        length += len(stretch)
        cutting = cutting or length > longest + 1  # the last line's end does not count
        if cutting and (ends or length >= 2 * size + _TELLING):
            text = "".join(held)
            least = size + (0 if ends else _TELLING)
            while len(text) > least:
                end, resume = _border(text, size, borders)
                yield Section(text[:end], True, line)
                line += line_ends(text[:resume])
                text = text[resume:]
            held, length = [text], len(text)
        if ends:
            text = "".join(held)
            yield Section(text.removesuffix("\n"), cutting, line)
            line += line_ends(text) + 1  # with the separator
            held, length, cutting = [], 0, False
    if length:
        text = "".join(held)
        while cutting and len(text) > size:
            end, resume = _border(text, size, borders)
            yield Section(text[:end], True, line)
            line += line_ends(text[:resume])
            text = text[resume:]
        yield Section(text.removesuffix("\n"), cutting, line)


def _stretches(chunks: Iterable[str], separator: str) -> Iterator[tuple[str, bool]]:
    """Stretches of text, each with whether a separator line follows it."""
    if not separator:
        yield from ((chunk, False) for chunk in chunks)
        return
    line = re.compile(rf"^[^\S\n]*{re.escape(separator)}[^\S\n]*(?:\n|\Z)", re.MULTILINE)
    rest = ""  # a line whose end has not come
    within = False  # a line too long for a separator, of which a part has gone
    for chunk in chunks:
        text = rest + chunk
        start = 0
        if within:
            start = text.find("\n") + 1
            if not start:
                yield text, False
                rest = ""
                continue
            yield text[:start], False
            within = False
        end = text.rfind("\n") + 1
        if end > start:
            yield from _divided(text[start:end], separator, line)
        rest = text[max(start, end) :]
        if len(rest) > _LONGEST_LINE:
            yield rest, False
            rest, within = "", True
    if rest:
        yield from _divided(rest, separator, line)


def _divided(text: str, separator: str, line: re.Pattern[str]) -> Iterator[tuple[str, bool]]:
    """Whole lines, parted at those that are separators."""
    start = 0
    if separator in text:
        for found in line.finditer(text):
            if len(found[0]) <= _LONGEST_LINE:
                yield text[start : found.start()], True
                start = found.end()
    if start < len(text):
        yield text[start:], False


def _border(text: str, size: int, borders: Sequence[Border]) -> tuple[int, int]:
    """Where a section of at most ``size`` characters ends, and where the next one starts."""
    for find in borders:
        if spans := [span for span in find(text, size // 2, size) if span[1] < len(text)]:
            return min(spans, key=lambda span: _hash(text[span[1] : span[1] + _TELLING]))
    end = size
    while end > size // 2 and unicodedata.combining(text[end]):
        end -= 1
    return end, end


def _hash(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
