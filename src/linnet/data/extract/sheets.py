"""The sheets of a spreadsheet as documents.

A sheet comes as its rows, each with its number (from 1) and the text of its cells by
column. Blank rows part blocks; each block is a table of its own, without the
columns that are empty in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linnet.data.blocks import NOWHERE, Builder, from_lines
from linnet.data.document import Dropped, Extracted
from linnet.data.extract.layout import numbered_lines

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping

    from linnet.data.extract.context import Context

    Rows = Iterable[tuple[int, Mapping[int, str]]]

UNCOMPUTED = "formulas without a stored value"
_HELD = 10_000  # rows whose columns are looked at together
_BETWEEN_CELLS = 3  # characters


class _TooLargeError(Exception):
    pass


def sheet_document(
    name: str,
    rows: Rows,
    *,
    kind: str,
    context: Context,
    after: str = "",
    changes: Counter[str] | None = None,
) -> Extracted | Dropped | None:
    """A sheet with what lies ``after`` its cells; None if it has no text.

    ``changes`` counts what is left out while the rows come.
    """
    limit = context.config.max_document_bytes
    lines: list[tuple[str, int, int]] = []
    try:
        for line in _lines(_bounded(rows, limit)):
            limit -= len(line[0]) + 1
            if limit < 0:
                raise _TooLargeError
            lines.append(line)
    except _TooLargeError:
        return Dropped("document larger than max_document_bytes", name)
    written = Builder("row")
    if lines:
        written.include(from_lines(lines, unit="row", family="table"))
    if after:
        written.include(after, number=NOWHERE)
    text = written.text()
    left_out = dict(changes or {})
    if not text and UNCOMPUTED in left_out:
        return Dropped(UNCOMPUTED, name)
    return Extracted(text, context.group, kind, part=name, changes=left_out) if text else None


def _lines(rows: Rows) -> Iterator[tuple[str, int, int]]:
    block: list[tuple[int, Mapping[int, str]]] = []
    last: int | None = None
    for number, row in rows:
        parted = last is not None and number != last + 1
        if parted or len(block) == _HELD:
            yield from numbered_lines(block)
            block = []
        if parted:
            yield "", number, 0
        block.append((number, row))
        last = number
    yield from numbered_lines(block)


def _bounded(rows: Rows, limit: int) -> Rows:
    """The rows, as long as their text stays below the limit: one string may stand in all cells."""
    for number, row in rows:
        limit -= sum(map(len, row.values())) + _BETWEEN_CELLS * len(row)
        if limit < 0:
            raise _TooLargeError
        yield number, row
