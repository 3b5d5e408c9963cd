"""How readers of documents write what they found, so that all formats look alike.

Paragraphs are parted by a blank line, list items are ``- text`` on lines of
their own, table rows are ``a | b | c`` on lines of their own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_PARAGRAPH, _TABLE = -1, -2  # and for items their level
_DEEPEST = 8
_TYPED_BULLET = re.compile("[•◦▪‣●■□➢❖✓\uf0b7\uf0a7](?:\\s+|$)")


PAGE_NUMBER = "\uffff"
"""Stands for a page number in a paragraph until ``without_page_numbers``."""

_PAGE_WORDS = 3  # a stretch with a page number and no more words than these is only that
_STRETCHES = re.compile(r"([\t\n]+| {3,})")


class Layout:
    """Blocks of text in reading order. Blocks without text leave no trace."""

    def __init__(self) -> None:
        self._blocks: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._blocks)

    @property
    def has_table(self) -> bool:
        return any(kind == _TABLE for kind, _ in self._blocks)

    def paragraph(self, text: str) -> None:
        """A paragraph, or an item where someone typed the bullet by hand."""
        text = text.strip()
        if bullet := _TYPED_BULLET.match(text):
            self.item(text[bullet.end() :])
        else:
            self._add(_PARAGRAPH, text)

    def item(self, text: str, level: int = 0) -> None:
        """An item of a list; the level of outer items is lower."""
        self._add(max(level, 0), text.strip())

    def table(self, rows: Iterable[Sequence[str]]) -> None:
        self._add(_TABLE, "\n".join(row_lines(dict(enumerate(row)) for row in rows)))

    def cells(self, rows: Iterable[Sequence[Layout]]) -> None:
        """A table whose cells hold blocks; each is written on one line.

        Where a table only arranges a page (it has one column, a row holds nothing
        but one cell of several blocks, or tables lie in tables), the blocks come
        one after another.
        """
        rows = list(rows)
        single = max(map(len, rows), default=0) == 1
        pending: list[list[str]] = []
        for row in rows:
            filled = [cell for cell in row if len(cell)]
            arranged = single or (len(filled) == 1 and len(filled[0]) > 1)
            if arranged or any(cell.has_table for cell in filled):
                self.table(pending)
                pending = []
                for cell in filled:
                    self.extend(cell)
            else:
                pending.append([cell.text() for cell in row])
        self.table(pending)

    def extend(self, other: Layout) -> None:
        self._blocks += other._blocks

    def distinct(self) -> Layout:
        """The blocks with those that say the same as an earlier one left out, and mere rules."""
        found = Layout()
        said = (block for block in self._blocks if any(map(str.isalnum, block[1])))
        found._blocks = list({text: (kind, text) for kind, text in said}.values())
        return found

    def text(self) -> str:
        parts: list[str] = []
        levels: list[int] = []  # of the items that are open, outermost first
        for kind, text in self._blocks:
            if parts:
                parts.append("\n" if levels and kind >= 0 else "\n\n")
            if kind >= 0:
                while levels and levels[-1] >= kind:
                    levels.pop()
                indent = "  " * min(len(levels), _DEEPEST)
                levels.append(kind)
                text = f"{indent}- " + text.replace("\n", f"\n{indent}  ")
            else:
                levels.clear()
            parts.append(text)
        return "".join(parts)

    def _add(self, kind: int, text: str) -> None:
        if text:
            self._blocks.append((kind, text))


def row_lines(rows: Iterable[Mapping[int, str]]) -> Iterator[str]:
    """The lines of a table. A row holds its cells by column; cells without text may be left out.

    Rows and columns without text are dropped; blanks within a cell become one.
    """
    tidy = ({column: " ".join(text.split()) for column, text in row.items()} for row in rows)
    filled = [row for row in ({c: text for c, text in row.items() if text} for row in tidy) if row]
    columns = sorted({column for row in filled for column in row})
    for row in filled:
        last = max(row)
        yield " | ".join(row.get(column, "") for column in columns if column <= last)


def without_page_numbers(text: str) -> str:
    """A paragraph without its page numbers, and without what only goes with them: "Page 3 of 7"."""
    if PAGE_NUMBER not in text:
        return text
    stretches = (
        "" if PAGE_NUMBER in stretch and len(stretch.split()) <= _PAGE_WORDS + 1 else stretch
        for stretch in _STRETCHES.split(text)
    )
    return "".join(stretches).replace(PAGE_NUMBER, "")
