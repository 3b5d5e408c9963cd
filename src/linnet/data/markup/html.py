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

import dataclasses
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

# A main text of fewer characters and a smaller share of the page's text is not believed.
_LEAST_CHARACTERS, _LEAST_SHARE = 150, 0.1
_RUN = 4  # words: texts that share a run of so many share more than phrases
_SHARED = 0.9  # of a block's runs
_FOUND = 0.8  # of the main text must be found in the page: elsewhere it is in scripts
_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")
_SPACES = re.compile(r"\s+")
# Words; a character each in scripts that write without blanks.
_WORD = re.compile("[\u0e00-\u0eff\u2e80-\u31ff\u3400-\u9fff]|[^\\W\u0e00-\u0eff\u2e80-\u9fff]+")

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
    everything = _joined(_Writer().write(root, _SILENT))
    blocks = _Writer().write(root, _SILENT | _NAVIGATION)
    found: Any = trafilatura.bare_extraction(source, include_comments=False, include_tables=True)
    if found is None or found.body is None:
        return everything
    main = _joined(_kept(blocks, _Writer().write(found.body, _SILENT - {"head"})))
    believed = len(main) >= min(_LEAST_CHARACTERS, _LEAST_SHARE * len(everything))
    return main if believed else everything


def all_text(source: str) -> str:
    """All visible text of an HTML document or fragment."""
    root = _parsed(source)
    return "" if root is None else _joined(_Writer().write(root, _SILENT))


def _parsed(source: str) -> Any:
    from lxml import etree, html

    parser = html.HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        return html.document_fromstring(_DECLARATION.sub("", source), parser=parser)
    except (etree.ParserError, ValueError):  # nothing but blanks or comments
        return None


@dataclass(slots=True)
class _Block:
    """Text that a browser sets apart. ``breaks``: line ends before it."""

    breaks: int
    verbatim: bool
    heading: bool
    parts: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.parts).rstrip(" ")


def _joined(blocks: list[_Block]) -> str:
    return "".join("\n" * block.breaks + block.text for block in blocks).strip("\n")


def _kept(blocks: list[_Block], main: list[_Block]) -> list[_Block]:
    """The blocks of a page that are in its main text.

    A block is if most of its runs of words are. What is shorter than a run, code
    and headings are judged by the text around them as well.
    """
    whole = [word for block in main for word in _words(block.text)]
    runs = set(_runs(whole))
    lines = (line for block in main for line in block.text.replace(" | ", "\n").split("\n"))
    short = {unit for unit in map(_words, lines) if len(unit) < _RUN}
    words = [_words(block.text) for block in blocks]
    solid = [_share(text, runs) for text in words]  # None for short ones
    decided = [
        None if block.verbatim or block.heading else share
        for block, share in zip(blocks, solid, strict=True)
    ]
    before, after = _nearest(decided), _nearest(decided[::-1])[::-1]
    documentation = any(
        block.verbatim and "\n" in block.text and (b or a)
        for block, b, a in zip(blocks, before, after, strict=True)
    )
    kept, breaks = [], 0
    for block, text, inside, above, below in zip(blocks, words, solid, before, after, strict=True):
        if block.verbatim:
            keep = above or below
        elif block.heading and documentation:
            keep = bool(inside) or below
        elif inside is None:
            cells = map(_words, block.text.split(" | "))
            keep = bool(text) and (above or below) and all(cell in short for cell in cells)
        else:
            keep = inside
        breaks = max(breaks, block.breaks)
        if keep:
            kept.append(dataclasses.replace(block, breaks=breaks))
            breaks = 0
    found = sum(len(_words(block.text)) for block in kept)
    return kept if found >= _FOUND * len(whole) else main


def _share(words: tuple[str, ...], runs: set[tuple[str, ...]]) -> bool | None:
    """Are most of the runs of a text among ``runs``? None for a text without runs."""
    mine = _runs(words)
    return sum(run in runs for run in mine) >= _SHARED * len(mine) if mine else None


def _runs(words: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(*(words[start:] for start in range(_RUN)), strict=False))


def _nearest(decided: Iterable[bool | None]) -> list[bool]:
    """For each place the last of what was decided up to it."""
    found, last = [], False
    for this in decided:
        last = last if this is None else this
        found.append(last)
    return found


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


class _Writer:
    """Writes a tree as blocks of text, breaking lines where a browser would.

    ``breaks`` is how many line ends come before the next text; they only count
    when it comes, so blanks between blocks leave no trace.
    """

    def __init__(self) -> None:
        self.blocks: list[_Block] = []
        self.breaks = 0
        self.between_cells = False
        self.mark = ""
        self.depth = 0  # of lists
        self.verbatim = 0
        self.heading = 0
        self.cells: list[int] = []  # blocks in each cell that is open

    def write(self, root: Any, silent: set[str]) -> list[_Block]:
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
            self.blocks.append(_Block(self.breaks, self.verbatim > 0, self.heading > 0))
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
