"""A tree of HTML (or of trafilatura's TEI) as blocks of text, broken where a browser would.

List items carry their dash or number, cells of a row stand between ``|`` in their own
columns: a cell that spans others leaves their places empty, as in tables of documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from linnet.data.blocks import BlockKind, Builder, Text

# The second rows are the names in trafilatura's trees, which follow TEI.
SILENT = frozenset({
    "script", "style", "template", "noscript", "head", "svg", "math", "iframe", "object",
    "select", "button", "textarea", "graphic",
})  # fmt: skip
_NAVIGATION = {"nav", "navigation", "search", "doc-toc"}  # tags, and roles of any element
# Classes and ids of the same; where one holds mostly links, it is that.
_NAVIGATION_NAMES = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navigation|nav(?:header|footer|path|links?|row)|menu|menubar|topnav"
    r"|sidenav|breadcrumbs?|sphinxsidebar|pagination|pager|toc|tableofcontents|skip-?(?:link|nav))"
    r"(?:$|[\s_-])",
    re.IGNORECASE,
)
_MOSTLY_LINKS = 0.6  # of the characters
_CONTAINERS = {"div", "ul", "ol", "table", "tr", "td", "p", "header", "footer", "section", "aside"}
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_PARAGRAPHS = _HEADINGS | {
    "p", "ul", "ol", "dl", "table", "blockquote", "pre",
    "section", "article", "header", "footer", "main", "aside", "nav", "figure", "hr", "form",
    "details", "fieldset",
    "head", "list", "quote",
}  # fmt: skip
_LINES = {
    "div", "li", "tr", "dt", "dd", "caption", "figcaption", "address", "summary", "legend",
    "item", "row",
}  # fmt: skip
_IN_CELLS = _HEADINGS | {"p", "div"}  # what may be around the text of a cell
_CELLS = {"td", "th", "cell"}
_ITEMS = {"li", "item"}
_LISTS = {"ul", "ol", "list"}
_FORCED = {"br", "lb"}
_BREAKING_CELLS = (*_PARAGRAPHS - _IN_CELLS, "li", "dt", "dd")
_SPACES = re.compile(r"\s+")
_MOST_COLUMNS, _MOST_CELLS = 100, 100_000  # of a table whose columns are kept
_LONGEST_ANCHOR = 100
_WIDEST_SPAN, _TALLEST_SPAN = 100, 1000


@dataclass(slots=True)
class Block:
    """Text that a browser sets apart. ``breaks``: line ends before it; ``mark``: of a list;
    ``links``: characters of it that are links; ``quote``: how deep it is quoted; ``heading``:
    its level if it is one; ``row``: of a table; ``anchor``: the last id before it."""

    breaks: int
    verbatim: bool = False
    heading: int = 0
    navigation: bool = False
    quote: int = 0
    mark: str = ""
    links: int = 0
    row: bool = False
    anchor: str = ""
    parts: list[str] = field(default_factory=list)

    @property
    def words(self) -> str:
        """The text without the mark of a list."""
        return "".join(self.parts).rstrip(" ")

    @property
    def text(self) -> str:
        return self.mark + self.words

    @property
    def lines(self) -> int:
        return self.text.count("\n") + 1

    @property
    def kind(self) -> BlockKind:
        if self.heading:
            return "heading"
        if self.verbatim:
            return "code"
        return "list" if self.mark else "table" if self.row else "paragraph"


def joined(blocks: list[Block], *, quotes: bool = False) -> Text:
    """The text of blocks. ``quotes``: with ``>`` before lines that are quoted."""
    builder, above = Builder("section"), 0
    numbers: dict[str, int] = {}  # of the ids, in the order of the page
    for block in blocks:
        before, text = "\n" * block.breaks, block.text
        if quotes:
            marks = ">" * block.quote + " " * bool(block.quote)
            between = ">" * min(block.quote, above)
            before = "\n" + (between + "\n") * (block.breaks - 1) if block.breaks else ""
            text = marks + text.replace("\n", "\n" + marks)
            above = block.quote
        builder.write(before)
        if block.anchor:
            builder.mark(numbers.setdefault(block.anchor, len(numbers) + 1), f"#{block.anchor}")
        builder.add(text, block.kind, level=block.heading, before="")
    return builder.text().trimmed("\n")


def blocks_of(root: Any, silent: frozenset[str] = SILENT) -> list[Block]:
    """The blocks of a tree, in order; the text of ``silent`` elements is left out."""
    return _Writer(silent).write(root)


class _Writer:
    """``breaks`` is how many line ends come before the next text; they only count when it
    comes, so blanks between blocks leave no trace."""

    def __init__(self, silent: frozenset[str]) -> None:
        self.silent = silent
        self.blocks: list[Block] = []
        self.breaks = 0
        self.mark = ""
        self.lists: list[_Numbers | None] = []
        self.verbatim = self.heading = self.links = self.navigation = self.quote = 0
        self.level = 0  # of the heading that is open
        self.anchor = ""
        self.cells: list[_Cell] = []  # those that are open
        self.rows: list[int] = []  # for each open row the column that was written last
        self.columns: dict[Any, int] = {}  # of cells in tables whose columns are known

    def write(self, root: Any) -> list[Block]:
        navigation = _navigation(root) if "nav" not in self.silent else set()
        for event, element, tag in _walk(root, self.silent):
            if event == "start":
                self.navigation += element in navigation
                self._open(element, tag)
                self._text(element.text)
            else:
                self._close(element, tag)
                self.navigation -= element in navigation
                if element is not root:
                    self._text(element.tail)
        return self.blocks

    def _open(self, element: Any, tag: str) -> None:
        if tag in _FORCED:
            if self.cells and self.cells[-1].column is not None:
                self._text(" ")
            else:
                self.breaks = min(self.breaks + 1, 2)  # two of them part paragraphs
            return
        self._break(tag)
        if tag in _LISTS:
            self.lists.append(_Numbers(element) if tag == "ol" else None)
        elif tag in _ITEMS:
            numbers = self.lists[-1] if self.lists else None
            sign = numbers.next(element) if numbers else "-"
            self.mark = "  " * max(len(self.lists) - 1, 0) + f"{sign} "
        elif tag == "table":
            self.columns.update(_columns(element))
        elif tag == "tr":
            self.rows.append(0)
        elif tag in _CELLS:
            follows = bool(self.blocks) and self.breaks == 0
            self.cells.append(_Cell(self.columns.get(element), follows))
        elif tag == "a":
            self.links += 1
        elif tag == "blockquote":
            self.quote += 1
        self.anchor = element.get("id") or self.anchor
        if tag in _HEADINGS:
            self.heading, self.level = self.heading + 1, int(tag[1])
        self.verbatim += tag == "pre" or _is_code_block(element, tag)

    def _close(self, element: Any, tag: str) -> None:
        if tag in _LISTS and self.lists:
            self.lists.pop()
        elif tag == "tr" and self.rows:
            self.rows.pop()
        elif tag == "a":
            self.links -= 1
        elif tag == "blockquote":
            self.quote -= 1
        self.heading -= tag in _HEADINGS
        self.verbatim -= tag == "pre" or _is_code_block(element, tag)
        self._break(tag)
        if _is_code_block(element, tag):
            self.breaks = 2
        if tag in _CELLS and self.cells:
            cell = self.cells.pop()
            if cell.blocks == 1 or (cell.column is not None and cell.blocks):
                self.breaks = 0  # a paragraph that is all of its cell breaks no row

    def _break(self, tag: str) -> None:
        if self.cells and not self.cells[-1].blocks and tag in _IN_CELLS:
            return
        if tag in _PARAGRAPHS and not (tag in _LISTS and self.lists):
            self.breaks = 2
        elif tag in _LINES or tag in _LISTS:
            self.breaks = max(self.breaks, 1)

    def _text(self, text: str | None) -> None:
        if not text:
            return
        last = self.blocks[-1].parts[-1] if self.blocks else ""
        cell = self.cells[-1] if self.cells else None
        first_of_cell = cell is not None and not cell.blocks
        if not self.verbatim:
            text = _SPACES.sub(" ", text)
            if not self.blocks or self.breaks or first_of_cell or last[-1:] == " ":
                text = text.lstrip(" ")
        if not text:
            return
        follows = bool(self.blocks) and not self.breaks
        separators = 0
        if cell is not None and first_of_cell:
            if cell.column is not None and self.rows:
                separators = cell.column - self.rows[-1]
                self.rows[-1] = cell.column
            else:
                separators = int(cell.follows and follows)
        if cell is not None:
            cell.blocks += self.breaks > 0 or not cell.blocks
        if not follows:
            self.blocks.append(self._new_block())
        elif separators:
            self.blocks[-1].parts[-1] = last.rstrip(" ")
        if separators:
            text = " | " * separators + text
        self.blocks[-1].parts.append(text)
        self.blocks[-1].links += len(text) * (self.links > 0)
        self.breaks, self.mark = 0, ""

    def _new_block(self) -> Block:
        return Block(
            self.breaks,
            self.verbatim > 0,
            self.level if self.heading > 0 else 0,
            self.navigation > 0,
            self.quote,
            self.mark,
            row=bool(self.cells) and self.cells[-1].column is not None,
            anchor=self.anchor[:_LONGEST_ANCHOR],
        )


@dataclass
class _Cell:
    """An open cell. ``column``: its place, where the table has places; ``follows``: text
    stands before it in its row; ``blocks``: how many of its own."""

    column: int | None
    follows: bool
    blocks: int = 0


class _Numbers:
    """The numbers of an ordered list."""

    def __init__(self, element: Any) -> None:
        self.kind = element.get("type") or "1"
        self.step = 1 if element.get("reversed") is None else -1
        first = 1 if self.step > 0 else sum(1 for _ in element.iterchildren("li"))
        self.number = _whole(element.get("start"), first) - self.step

    def next(self, item: Any) -> str:
        self.number = _whole(item.get("value"), self.number + self.step)
        return f"{_numeral(self.number, self.kind)}."


def _numeral(number: int, kind: str) -> str:
    if kind in ("a", "A") and 1 <= number <= 26:
        return chr(ord(kind) + number - 1)
    if kind in ("i", "I") and 1 <= number < 4000:
        roman = ""
        for value, sign in _ROMAN:
            roman += sign * (number // value)
            number %= value
        return roman if kind == "I" else roman.lower()
    return str(number)


_ROMAN = (
    (1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"), (50, "L"),
    (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I"),
)  # fmt: skip


def _whole(value: str | None, default: int) -> int:
    value = (value or "").strip()
    return int(value) if re.fullmatch(r"-?[0-9]{1,9}", value) else default


def _columns(table: Any) -> dict[Any, int]:
    """The column of each cell of a table that is one, by the algorithm of HTML; columns
    without text are not counted.

    Nothing for tables that arrange a page: in which lie others, or cells of several blocks.
    """
    if next(table.iterdescendants(*_BREAKING_CELLS), None) is not None:
        return {}
    places: dict[Any, int] = {}
    held: dict[int, int] = {}  # column -> rows that a cell above still takes
    for row in table.iter("tr"):
        column = 0
        taken, held = held, {c: n - 1 for c, n in held.items() if n > 1}
        for cell in row.iterchildren("td", "th"):
            while taken.get(column, 0):
                column += 1
            width = min(max(_whole(cell.get("colspan"), 1), 1), _WIDEST_SPAN)
            height = min(_whole(cell.get("rowspan"), 1) or _TALLEST_SPAN, _TALLEST_SPAN)
            if sum(1 for _ in cell.iterchildren("p", "div")) > 1:
                return {}
            places[cell] = column
            if height > 1:
                held |= dict.fromkeys(range(column, column + width), height - 1)
            column += width
            if column > _MOST_COLUMNS or len(places) > _MOST_CELLS:
                return {}
    filled = sorted({place for cell, place in places.items() if "".join(cell.itertext()).strip()})
    numbers = {column: number for number, column in enumerate(filled)}
    return {cell: numbers[place] for cell, place in places.items() if place in numbers}


def _navigation(root: Any) -> set[Any]:
    """The outermost elements that lead to other pages, by their tags, roles and names."""
    from lxml import etree

    lengths = _lengths(root)
    found = set()
    walk = etree.iterwalk(root, events=("start",))
    for _, element in walk:
        if not isinstance(element.tag, str):
            continue
        known = element.tag in _NAVIGATION or element.get("role") in _NAVIGATION
        whole, links = lengths.get(element, (0, 0))
        if known or (links >= _MOSTLY_LINKS * whole > 0):
            found.add(element)
            walk.skip_subtree()
    return found


def _lengths(root: Any) -> dict[Any, tuple[int, int]]:
    """For containers with a name of navigation: characters of text, and of links."""
    from lxml import etree

    lengths: dict[Any, tuple[int, int]] = {}
    open_ones: list[tuple[Any, int, int]] = []
    whole = links = within = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start":
            if tag in _CONTAINERS and _NAVIGATION_NAMES.search(_names(element)):
                open_ones.append((element, whole, links))
            within += tag == "a"
            text = element.text if tag not in SILENT else None
        else:
            if open_ones and open_ones[-1][0] is element:
                _, before, links_before = open_ones.pop()
                lengths[element] = whole - before, links - links_before
            within -= tag == "a"
            text = element.tail
        length = len((text or "").strip())
        whole += length
        links += length * (within > 0)
    return lengths


def _names(element: Any) -> str:
    return f"{element.get('class', '')} {element.get('id', '')}"


def _walk(root: Any, silent: frozenset[str]) -> Iterator[tuple[str, Any, str]]:
    from lxml import etree

    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start" and (not tag or tag in silent or _is_anchor(element, tag)):
            walk.skip_subtree()
        else:
            yield event, element, "" if tag in silent else tag


def _is_anchor(element: Any, tag: str) -> bool:
    """The sign behind a heading that links to itself."""
    if tag != "a" or len(element) or not (element.get("href") or "").startswith("#"):
        return False
    text = (element.text or "").strip()
    return 0 < len(text) < 3 and not any(map(str.isalnum, text))


def _is_code_block(element: Any, tag: str) -> bool:
    """trafilatura calls a ``<pre>`` code too; one with line ends is a block."""
    return tag == "code" and "\n" in "".join(element.itertext())
