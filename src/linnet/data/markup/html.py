"""HTML to plain text.

A web page is mostly navigation: trafilatura tells the main text (Barbaresi,
"Trafilatura", ACL 2021; its standard settings, the best on its evaluation set,
see benchmarks/extraction.py). It tells only *what* is main text: its own trees
lose the line ends of code and the rows of tables, so the page itself is written
out, block by block, and the blocks that are in the main text are kept. Where
that is next to nothing (a page that is a list, a table or a form) all are.
Nothing is ever fetched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from linnet.data.markup.main_text import Block, joined, main_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

# A main text of fewer characters and a smaller share of the page's text is not believed.
_LEAST_CHARACTERS, _LEAST_SHARE = 150, 0.1
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_SPACES = re.compile(r"\s+")

# The second rows are the names in trafilatura's trees, which follow TEI.
_SILENT = {
    "script", "style", "template", "noscript", "head", "svg", "math", "iframe", "object",
    "select", "button", "textarea", "graphic",
}  # fmt: skip
_NAVIGATION = {"nav", "navigation", "search"}  # tags, and roles of any element
_HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
_PARAGRAPHS = _HEADINGS | {
    "p", "ul", "ol", "dl", "table", "blockquote", "pre",
    "section", "article", "header", "footer", "main", "aside", "nav", "figure", "hr", "form",
    "head", "list", "quote",
}  # fmt: skip
_LINES = {
    "div", "li", "tr", "dt", "dd", "caption", "figcaption", "address",
    "item", "row",
}  # fmt: skip
_IN_CELLS = _HEADINGS | {"p", "div"}  # what may be around the text of a cell
_CELLS = {"td", "th", "cell"}
_ITEMS = {"li", "item"}
_LISTS = {"ul", "ol", "list"}
_FORCED = {"br", "lb"}


def html_text(source: str) -> str:
    """The main text of a page, or all of its text where there is no main text."""
    import trafilatura

    root = _parsed(source)
    if root is None:
        return ""
    everything = joined(_Writer().write(root, _SILENT))
    blocks = _Writer().write(root, _SILENT | _NAVIGATION)
    found: Any = trafilatura.bare_extraction(source, include_comments=False, include_tables=True)
    if found is None or found.body is None:
        return everything
    main = joined(main_blocks(blocks, _Writer().write(found.body, _SILENT - {"head"})))
    believed = len(main) >= min(_LEAST_CHARACTERS, _LEAST_SHARE * len(everything))
    return main if believed else everything


def all_text(source: str) -> str:
    """All visible text of an HTML document or fragment."""
    root = _parsed(source)
    return "" if root is None else joined(_Writer().write(root, _SILENT))


def _parsed(source: str) -> Any:
    from lxml import etree, html

    parser = html.HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        return html.document_fromstring(_DECLARATION.sub("", source), parser=parser)
    except (etree.ParserError, ValueError):  # nothing but blanks or comments
        return None


class _Writer:
    """Writes a tree as blocks of text, breaking lines where a browser would.

    ``breaks`` is how many line ends come before the next text; they only count
    when it comes, so blanks between blocks leave no trace.
    """

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self.breaks = 0
        self.between_cells = False
        self.mark = ""
        self.depth = 0  # of lists
        self.verbatim = 0
        self.heading = 0
        self.cells: list[int] = []  # blocks in each cell that is open

    def write(self, root: Any, silent: set[str]) -> list[Block]:
        for event, element, tag in _walk(root, silent):
            if event == "start":
                self._open(element, tag)
                self._text(element.text)
            else:
                self._close(element, tag)
                if element is not root:
                    self._text(element.tail)
        return self.blocks

    def _open(self, element: Any, tag: str) -> None:
        if tag in _FORCED:
            self._break_line()
            return
        self._break(tag)
        if tag in _LISTS:
            self.depth += 1
        elif tag in _ITEMS:
            self.mark = "  " * max(self.depth - 1, 0) + "- "
        elif tag in _CELLS:
            self.between_cells = self.breaks == 0
            self.cells.append(0)
        self.heading += tag in _HEADINGS
        self.verbatim += tag == "pre" or _is_code_block(element, tag)

    def _close(self, element: Any, tag: str) -> None:
        if tag in _LISTS:
            self.depth -= 1
        self.heading -= tag in _HEADINGS
        self.verbatim -= tag == "pre" or _is_code_block(element, tag)
        self._break(tag)
        if _is_code_block(element, tag):
            self.breaks = 2
        if tag in _CELLS and self.cells and self.cells.pop() == 1:
            self.breaks = 0  # a paragraph that is all of its cell breaks no row

    def _break(self, tag: str) -> None:
        if self.cells and not self.cells[-1] and tag in _IN_CELLS:
            return
        if tag in _PARAGRAPHS and not (tag in _LISTS and self.depth):
            self.breaks = 2
        elif tag in _LINES or tag in _LISTS:
            self.breaks = max(self.breaks, 1)

    def _break_line(self) -> None:
        """A forced line end; two of them part paragraphs."""
        self.breaks = min(self.breaks + 1, 2)

    def _text(self, text: str | None) -> None:
        if not text:
            return
        last = self.blocks[-1].parts[-1] if self.blocks else ""
        if not self.verbatim:
            text = _SPACES.sub(" ", text)
            if not self.blocks or self.breaks or self.between_cells or last[-1:] == " ":
                text = text.lstrip(" ")
        if not text:
            return
        if self.cells:
            self.cells[-1] += self.breaks > 0 or not self.cells[-1]
        if not self.blocks or self.breaks:
            self.blocks.append(Block(self.breaks, self.verbatim > 0, self.heading > 0))
        elif self.between_cells:
            self.blocks[-1].parts[-1] = last.rstrip(" ")
            text = f" | {text}"
        self.blocks[-1].parts += [self.mark, text] if self.mark else [text]
        self.breaks, self.between_cells, self.mark = 0, False, ""


def _walk(root: Any, silent: set[str]) -> Iterator[tuple[str, Any, str]]:
    from lxml import etree

    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start" and (
            not tag or tag in silent or element.get("role") in silent or _is_anchor(element, tag)
        ):
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
