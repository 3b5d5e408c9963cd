"""Lines to paragraphs, list items, code and tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Literal

from linnet.data.extract.pdf_tables import Row, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_BULLET = re.compile("[•◦▪‣●■○➢⮚❖∙\uf0b7\uf0a7\uf076\uf0d8]\\s*|[-–—*o]\\s+(?=\\S)")
_NUMBER = re.compile(
    r"(?:\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,4})[.)]|\d{1,2}(?:\.\d{1,2})+[.:]?)\s+\S|\d{1,2} [A-Z]"
)
_HYPHENATED = re.compile(r"[^\W\d_][-\u2010\xad]\Z")
_SENTENCE_END = re.compile(r"[.!?:。！？][\"'”’)\]]*\Z")
_INDEX_ENTRY = re.compile(r", ?\d[\d,\s–-]*\Z")
_UNSPACED = re.compile("[\u2e80-\u31ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef]")  # not Korean

_INDENT = 0.7  # of the size
_LOOSE = 1.25  # of the usual distance of lines: more parts paragraphs
_LOOSE_CODE = 3.3  # two blank lines
_OTHER_SIZE = 0.12
_LONG = 0.85  # of the width: a line of prose that was broken
_LONGEST = 20_000  # characters of a paragraph that still goes on
_LONGEST_VERSE = 60  # characters
_FILLED = 0.6  # of the width: a line of prose, though the next word had fitted
_USUAL_LEADING = 1.25

Kind = Literal["paragraph", "item", "code", "table"]
Link = Literal[" ", "\n", "\n\n"]


@dataclass(slots=True)
class Block:
    """``open``: the text may go on in the next column or page. ``left``: where it begins.
    ``level``: of an item in a list of lists. ``full``: prose up to the right edge. ``pages``:
    the page that it begins on and those it goes on to, each with where in the text."""

    kind: Kind
    text: str = ""
    rows: list[list[str]] = field(default_factory=list)
    size: float = 0.0
    left: float = 0.0
    level: int = 0
    full: bool = False
    open: bool = False
    bold: bool = False
    pages: list[tuple[int, int]] = field(default_factory=list)


@dataclass(slots=True)
class _Line:
    x0: float
    x1: float
    y: float
    size: float
    text: str
    bold: bool
    mono: bool
    leaders: bool
    mark: str  # "-" for a bullet, "1" for a number

    @property
    def first_word(self) -> float:
        """Its width with a blank."""
        word = len(self.text.split(" ", 1)[0]) + 1
        return word * (self.x1 - self.x0) / max(len(self.text), 1)


def leading(regions: Sequence[Sequence[Row | Table]]) -> float:
    """The usual distance of lines on a page, in line heights."""
    distances = [
        (above.y - below.y) / below.size
        for rows in regions
        for above, below in pairwise(rows)
        if isinstance(above, Row) and isinstance(below, Row)
        and abs(above.size - below.size) < 0.05 * below.size
        and 0.7 * below.size < above.y - below.y < 2.5 * below.size
    ]  # fmt: skip
    return median(distances) if len(distances) >= 3 else _USUAL_LEADING


def blocks(rows: Sequence[Row | Table], usual: float) -> list[Block]:
    """The blocks of a region; ``usual`` is the distance of lines on the page."""
    found = list(_blocks(rows, usual))
    lefts: list[float] = []  # of the lists that are open
    for block in found:
        if block.kind != "item":
            lefts.clear()
            continue
        while lefts and block.left < lefts[-1] - _INDENT * block.size:
            lefts.pop()
        if not lefts or block.left > lefts[-1] + _INDENT * block.size:
            lefts.append(block.left)
        block.level = len(lefts) - 1
    return found


def _blocks(rows: Sequence[Row | Table], usual: float) -> Iterator[Block]:
    lines: list[_Line] = []
    for row in rows:
        if isinstance(row, Table):
            yield from _text_blocks(lines, usual)
            lines.clear()
            yield Block("table", rows=row.rows)
        else:
            lines.append(_line(row))
    yield from _text_blocks(lines, usual)


def _line(row: Row) -> _Line:
    cells = row.cells
    mono = row.mono
    text = _spaced(row) if mono else " ".join(" ".join(cell.text for cell in cells).split())
    mark = "-" if _BULLET.match(text) else "1" if _NUMBER.match(text) else ""
    return _Line(
        cells[0].x0, max(cell.x1 for cell in cells), row.y, row.size, text,
        all(cell.bold for cell in cells), mono, row.leaders, "" if mono else mark,
    )  # fmt: skip


def _spaced(row: Row) -> str:
    """Monospaced cells with the blanks that are between them."""
    text = row.cells[0].text
    pitch = _pitch(row.cells[0].x0, row.cells[0].x1, text)
    for cell in row.cells[1:]:
        wanted = round((cell.x0 - row.cells[0].x0) / pitch) if pitch else 0
        text += " " * max(1, min(wanted, 200) - len(text)) + cell.text
    return text


def _pitch(x0: float, x1: float, text: str) -> float:
    return (x1 - x0) / max(len(text), 1)


def _text_blocks(lines: list[_Line], usual: float) -> Iterator[Block]:
    right = max((line.x1 for line in lines), default=0.0)
    at = 0
    while at < len(lines):
        end = at + 1
        if lines[at].mono:
            while end < len(lines) and lines[end].mono and _close(lines, end, _LOOSE_CODE * usual):
                end += 1
            yield Block("code", _code(lines[at:end], usual), size=lines[at].size)
        else:
            while (
                end < len(lines)
                and not lines[end].mono
                and abs(lines[end].size - lines[end - 1].size) <= _OTHER_SIZE * lines[end - 1].size
                and _close(lines, end, _LOOSE * usual)
            ):
                end += 1
            yield from _paragraphs(lines[at:end], right)
        at = end


def _close(lines: list[_Line], number: int, most: float) -> bool:
    above, below = lines[number - 1], lines[number]
    return above.y - below.y <= most * max(above.size, below.size)


def _code(lines: list[_Line], usual: float) -> str:
    left = min(line.x0 for line in lines)
    longest = max(lines, key=lambda line: len(line.text))
    pitch = _pitch(longest.x0, longest.x1, longest.text) or 1.0
    parts: list[str] = []
    for number, line in enumerate(lines):
        if number and not _close(lines, number, 1.6 * usual):
            parts.append("")
        indent = min(round((line.x0 - left) / pitch), 200)
        parts.append(" " * indent + line.text.rstrip())
    return "\n".join(parts)


def _edges(lines: list[_Line], right: float) -> tuple[float, float]:
    """Where lines begin, and where they are broken: most lines of prose end close to it.

    Lines that do not (addresses) could have gone on to the edge of the region, and verses,
    which all begin with a capital, anywhere.
    """
    left, end = min(line.x0 for line in lines), max(line.x1 for line in lines)
    if len(lines) > 2 and all(
        line.text[:1].isupper() and len(line.text) <= _LONGEST_VERSE for line in lines
    ):
        return left, left + 2 * (end - left)
    long = sum(line.x1 > left + _LONG * (end - left) for line in lines[:-1])
    return left, end if len(lines) > 2 and long >= 0.7 * (len(lines) - 1) else right


def _paragraphs(lines: list[_Line], right: float) -> Iterator[Block]:
    """The paragraphs of lines that are evenly spaced and of one size."""
    left, right = _edges(lines, right)
    start = 0
    parts = [lines[0].text]
    for number in range(1, len(lines) + 1):
        link = _link(lines, start, number, left, right) if number < len(lines) else "\n\n"
        if link == "\n\n":
            yield _block("".join(parts), lines[start:number], right)
            start = number
            parts.clear()
        else:
            parts.append(_between(lines[number - 1].text, lines[number].text, link))
        parts += [line.text for line in lines[number : number + 1]]


def _block(text: str, lines: list[_Line], right: float) -> Block:
    first, last = lines[0], lines[-1]
    if first.mark == "-":
        text = _BULLET.sub("", text, count=1)
    is_open = not last.leaders and not _SENTENCE_END.search(last.text)
    full = is_open and len(lines) > 2 and last.x1 > right - last.size
    kind: Kind = "item" if first.mark == "-" else "paragraph"
    bold = all(line.bold for line in lines)
    return Block(kind, text, size=first.size, left=first.x0, open=is_open, full=full, bold=bold)


def _between(before: str, after: str, link: Link) -> str:
    """What stands between two lines that ``link`` joins."""
    if link == " " and _HYPHENATED.search(before) and after[:1].islower():
        return "\n"  # cleaning decides whether the hyphen is the word's own
    if link == " " and _UNSPACED.match(before[-1:]) and _UNSPACED.match(after[:1]):
        return ""
    return link


def _link(lines: list[_Line], start: int, number: int, left: float, right: float) -> Link:
    """How line ``number`` follows the line before it in the paragraph begun at ``start``."""
    first, before, line = lines[start], lines[number - 1], lines[number]
    after = lines[number + 1] if number + 1 < len(lines) else None
    single = start == number - 1
    room = right - before.x1 > line.first_word + 0.1 * line.size
    if line.mark and (first.mark == line.mark or room or before.leaders):
        return "\n" if line.mark == "1" and first.mark == "1" else "\n\n"
    if before.leaders or (_INDEX_ENTRY.search(before.text) and _INDEX_ENTRY.search(line.text)):
        return "\n"
    if line.bold != before.bold and (room or not line.bold):
        return "\n\n" if line.bold or single else " "
    if line.bold and before.bold and line.size > 0 and room:
        return " " if single and not _SENTENCE_END.search(before.text) else "\n"
    indent = (line.x0 - before.x0) / line.size
    if abs((before.x0 + before.x1) - (line.x0 + line.x1)) < 0.8 * line.size and abs(indent) > 0.3:
        return "\n"  # centred
    if indent > _INDENT:
        hangs = after is not None and abs(after.x0 - line.x0) < 0.3 * line.size
        return " " if single and not room and (first.mark or hangs) else "\n\n"
    if indent < -_INDENT:
        return " " if single and not first.mark and not room else "\n\n"
    ended = _SENTENCE_END.search(before.text)
    lower = line.text[:1].islower()
    filled = (before.x1 - left) / max(right - left, 1.0)
    if not room or (not ended and filled > (_FILLED if lower else _LONG)):
        return " "
    return "\n\n" if ended and not lower and (not single or len(line.text) > 60) else "\n"


def goes_on(block: Block, after: Block) -> bool:
    """Is ``after``, the first of a column or page, the rest of ``block``?"""
    return (
        block.open
        and len(block.text) < _LONGEST
        and block.kind in ("paragraph", "item")
        and after.kind == "paragraph"
        and abs(block.size - after.size) < _OTHER_SIZE * max(block.size, 0.1)
        and (block.full or after.text[:1].islower() or bool(_HYPHENATED.search(block.text[-2:])))
    )


def join(block: Block, after: Block) -> None:
    """Put the rest of a paragraph to its beginning."""
    block.text += _between(block.text[-2:], after.text, " ")
    block.pages += [(len(block.text) + at, page) for at, page in after.pages]
    block.text += after.text
    block.open, block.full = after.open, after.full
