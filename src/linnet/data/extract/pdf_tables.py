"""Rows of text, and those of them that make a table.

Cells stand in columns: over several rows in a row, the same upright strips are
empty. Lines between the rows are not needed, but where there are some they tell
which lines of text make one row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING

from linnet.data.extract.pdf_page import WIDE_GAP, Span
from linnet.data.extract.typeface import lowered, raised

if TYPE_CHECKING:
    from collections.abc import Sequence

    Strip = tuple[float, float]

_SAME_LINE = 0.45  # of the height: baselines are no further apart
_RAISED, _SMALL, _LONGEST_RAISED = 0.65, 0.85, 4  # where one is a raised or lowered character
_OVERLAP = 0.3  # of the width: texts that share more of it do not stand side by side
_COMPARED = 8  # spans of a line
_WORD_GAP = 0.13
_SHIFT = 0.12  # of the height, between the baselines of a raised character and its line
_NARROWEST = 0.5
_FARTHEST = 3.2  # line heights from one row of a table to the next
_MOST_CELLS = 100  # in a row
_SENTENCE = 45  # characters: a first column of longer cells is no list of names
_SHORT = 12  # characters: shorter texts are no items of a list
_MARKER = re.compile(r"\W|\(?\w{1,3}[.)]|\d+(\.\d+)+|\[\w+\]")
_LEADERS = re.compile(r"\s*(?:[.·…]\s?){4,}\s*")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff]")


@dataclass(slots=True)
class Row:
    """What stands on one line, from left to right."""

    cells: list[Span]
    y: float
    size: float
    leaders: bool = False  # dots led from one cell to the next, as in a table of contents

    @property
    def mono(self) -> bool:
        return all(cell.mono for cell in self.cells)


@dataclass(slots=True)
class Table:
    """Rows of cells; all rows have the same number."""

    rows: list[list[str]]
    y: float


def rows_of(spans: Sequence[Span]) -> list[Row]:
    """The spans of a region by lines, from the top; neighbours without a wide gap are joined."""
    return [_row(line) for line in lines_of(spans)]


def lines_of(spans: Sequence[Span]) -> list[list[Span]]:
    """The spans that stand on one line, lines from the top."""
    lines: list[list[Span]] = []
    tallest: Span | None = None
    for span in sorted(spans, key=lambda span: -span.y):
        last = lines[-1][-_COMPARED:] if lines else []
        if tallest and _on_one_line(tallest, span) and not any(_is_below(span, o) for o in last):
            lines[-1].append(span)
            tallest = max(tallest, span, key=lambda other: other.size)
        else:
            lines.append([span])
            tallest = span
    return lines


def _on_one_line(a: Span, b: Span) -> bool:
    small, large = (a, b) if a.size < b.size else (b, a)
    near = min(abs(a.x0 - b.x1), abs(b.x0 - a.x1)) < large.size
    raised = near and small.size < _SMALL * large.size and len(small.text) <= _LONGEST_RAISED
    return abs(a.y - b.y) < large.size * (_RAISED if raised else _SAME_LINE)


def _is_below(a: Span, b: Span) -> bool:
    """Does a text stand under another, with a line of its own? Beside larger letters both may
    seem to be on the line of those."""
    shared = min(a.x1, b.x1) - max(a.x0, b.x0)
    return (
        shared > _OVERLAP * min(a.x1 - a.x0, b.x1 - b.x0)
        and abs(a.y - b.y) > _SAME_LINE * min(a.size, b.size)
        and len(min(a, b, key=lambda span: span.size).text) > _LONGEST_RAISED
    )


def _row(line: list[Span]) -> Row:
    line.sort(key=lambda span: span.x0)
    longest = max(line, key=lambda span: len(span.text))
    for left, span in pairwise(line):
        if _is_raised(span, left, longest):
            span.text = raised(span.text) if span.y > longest.y else lowered(span.text)
    cells: list[Span] = []
    for span in line:
        before = cells[-1] if cells else None
        gap = span.x0 - before.x1 if before else 0.0
        if before is None or gap > WIDE_GAP * longest.size:
            cells.append(span)
        elif before.text != span.text or gap > -0.8 * (span.x1 - span.x0):  # or printed twice
            cells[-1] = _joined(before, span, " " if gap > _WORD_GAP * longest.size else "")
    leaders = [cell for cell in cells if _LEADERS.search(cell.text)]
    for cell in leaders:
        cell.text = _LEADERS.sub(" ", cell.text)
    cells = [cell for cell in cells if cell.text.strip()] or cells
    return Row(cells, longest.y, longest.size, bool(leaders))


def _is_raised(span: Span, before: Span, line: Span) -> bool:
    """Does a span stand above or below the line, close to what it belongs to?"""
    return (
        span.size < _SMALL * line.size
        and len(span.text) <= _LONGEST_RAISED
        and any(map(str.isdecimal, span.text))
        and abs(span.y - line.y) > _SHIFT * line.size
        and span.x0 - before.x1 < _WORD_GAP * line.size
    )


def _joined(a: Span, b: Span, between: str) -> Span:
    first, second = (b, a) if _RIGHT_TO_LEFT.search(a.text + b.text) else (a, b)
    text = first.text + between + second.text
    longest = max(a, b, key=lambda span: len(span.text))
    return Span(
        a.x0, max(a.x1, b.x1), longest.y, longest.size, text, a.bold and b.bold, a.mono and b.mono
    )


def with_tables(rows: list[Row], rules: Sequence[tuple[float, float, float]]) -> list[Row | Table]:
    """The rows, those of tables put together."""
    found: list[Row | Table] = []
    at = 0
    while at < len(rows):
        end, strips = _extent(rows, at)
        if strips and _is_table(rows[at:end], strips):
            found.append(_table(rows[at:end], strips, rules))
            at = end
        else:  # past a good part of what is none, so that the work stays in proportion
            step = max((end - at) // 4, 1)
            found += rows[at : at + step]
            at += step
    return found


def _extent(rows: list[Row], start: int) -> tuple[int, list[Strip]]:
    """The end of the rows from ``start`` that have strips in common, and these strips."""
    strips = _gaps(rows[start])
    end, full = start + 1, 1
    while strips and end < len(rows):
        row = rows[end]
        if (
            rows[end - 1].y - row.y > _FARTHEST * row.size
            or row.mono
            or row.leaders
            or len(row.cells) > _MOST_CELLS
        ):
            break
        left = _common(strips, row)
        if len(row.cells) > 1:
            if not left or (full >= 3 and 2 * len(left) < len(strips)):
                break
            full += 1
        elif len(left) < len(strips):  # a line across the table, if the table goes on
            follows = rows[end + 1] if end + 1 < len(rows) else None
            if (
                follows is None
                or len(follows.cells) < 2
                or 2 * len(_common(strips, follows)) < len(strips)
                or row.cells[0].x0 > strips[0][0]
            ):
                break
            left = strips
        strips = left
        end += 1
    while end > start and len(rows[end - 1].cells) == 1 and (
        not strips or rows[end - 1].cells[0].x0 < strips[0][0]
    ):  # fmt: skip
        end -= 1
    return end, strips


def _gaps(row: Row) -> list[Strip]:
    if row.mono or row.leaders or len(row.cells) > _MOST_CELLS:
        return []
    return [(a.x1, b.x0) for a, b in pairwise(row.cells) if b.x0 > a.x1]


def _common(strips: list[Strip], row: Row) -> list[Strip]:
    """What of each strip the row leaves free: its widest piece, if that is wide enough."""
    found = []
    for strip in strips:
        pieces = [strip]
        for cell in row.cells:
            pieces = [
                piece
                for x0, x1 in pieces
                for piece in ((x0, min(x1, cell.x0)), (max(x0, cell.x1), x1))
                if piece[1] - piece[0] >= _NARROWEST * row.size
            ] if cell.x0 < strip[1] and cell.x1 > strip[0] else pieces  # fmt: skip
        if pieces:
            found.append(max(pieces, key=lambda piece: piece[1] - piece[0]))
    return found


def _is_table(rows: list[Row], strips: list[Strip]) -> bool:
    columns = len(strips) + 1
    full = [row for row in rows if len(row.cells) > 1]
    if len(full) < (2 if columns > 2 else 3) or len(full) < 0.3 * len(rows):
        return False
    first = [row.cells[0].text for row in full]
    if columns == 2:
        listed = median(len(row.cells[1].text) for row in full) > _SHORT
        if listed and all(_MARKER.fullmatch(text) for text in first):  # with its numbers
            return False
        return median(map(len, first)) <= _SENTENCE
    return True


def _table(
    rows: list[Row], strips: list[Strip], rules: Sequence[tuple[float, float, float]]
) -> Table:
    cells = [[_column(row, number, strips) for number in range(len(strips) + 1)] for row in rows]
    starts = _starts_by_rules(rows, cells, rules) or _starts_by_text(rows, cells)
    merged: list[list[str]] = []
    for row, starts_row in zip(cells, starts, strict=True):
        if starts_row or not merged:
            merged.append(row)
        else:
            merged[-1] = [
                f"{above}\n{cell}" if above and cell else above or cell
                for above, cell in zip(merged[-1], row, strict=True)
            ]
    return Table(merged, rows[0].y)


def _column(row: Row, number: int, strips: list[Strip]) -> str:
    left = (strips[number - 1][0] + strips[number - 1][1]) / 2 if number else float("-inf")
    right = sum(strips[number]) / 2 if number < len(strips) else float("inf")
    return " ".join(cell.text for cell in row.cells if left <= cell.x0 < right)


def _starts_by_rules(
    rows: list[Row], cells: list[list[str]], rules: Sequence[tuple[float, float, float]]
) -> list[bool]:
    """Which lines of text come first below a rule; empty if the rules do not part the rows."""
    middle = (min(row.cells[0].x0 for row in rows) + max(row.cells[-1].x1 for row in rows)) / 2
    heights = [y for x0, x1, y in rules if x0 < middle < x1]
    starts = [True] + [
        any(below.y + below.size * 0.3 < y < above.y + above.size * 0.3 for y in heights)
        for above, below in pairwise(rows)
    ]
    named = sum(bool(row[0]) for row in cells)
    return starts if sum(starts) >= max(3, 0.3 * named) else []


def _starts_by_text(rows: list[Row], cells: list[list[str]]) -> list[bool]:
    """A line without a first cell, close below another, goes on with that one's cells.

    So does one in lower case, if rows are further apart or it leaves cells empty.
    """
    lower = [all(cell[0].islower() for cell in line if cell) for line in cells]
    telling = sum(lower) < 0.6 * len(lower)  # not where most begin in lower case
    pitch = [above.y - below.y for above, below in pairwise(rows)]
    widest = max(pitch, default=0.0)
    starts = [True]
    for distance, row, line, continued in zip(pitch, rows[1:], cells[1:], lower[1:], strict=True):
        tight = distance < 0.85 * widest or (telling and not all(line))
        goes_on = not line[0] or (continued and tight)
        starts.append(not (goes_on and distance < 1.45 * row.size))
    return starts
