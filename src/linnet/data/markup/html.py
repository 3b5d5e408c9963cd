"""HTML to plain text.

A web page is mostly navigation: trafilatura finds the main text (Barbaresi,
"Trafilatura", ACL 2021; its standard settings, the best on its evaluation set,
see benchmarks/extraction.py). Where it finds next to nothing (a page that is a
list, a table or a form) the text of the whole page is taken. Both are trees,
written out by the same rules. Nothing is ever fetched.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

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
_PARAGRAPHS = {
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "dl", "table", "blockquote", "pre",
    "section", "article", "header", "footer", "main", "aside", "nav", "figure", "hr", "form",
    "head", "list", "quote",
}  # fmt: skip
_LINES = {
    "div", "li", "tr", "dt", "dd", "caption", "figcaption", "address",
    "item", "row",
}  # fmt: skip
_CELLS = {"td", "th", "cell"}
_ITEMS = {"li", "item"}
_LISTS = {"ul", "ol", "list"}
_FORCED = {"br", "lb"}


def html_text(source: str) -> str:
    """The main text of a page, or all of its text where there is no main text."""
    import trafilatura

    everything = all_text(source)
    found: Any = trafilatura.bare_extraction(source, include_comments=False, include_tables=True)
    if found is None or found.body is None:
        return everything
    main = _Writer().write(found.body, silent=_SILENT - {"head"})
    believed = len(main) >= min(_LEAST_CHARACTERS, _LEAST_SHARE * len(everything))
    return main if believed else everything


def all_text(source: str) -> str:
    """All visible text of an HTML document or fragment."""
    from lxml import etree, html

    parser = html.HTMLParser(remove_comments=True, remove_pis=True, huge_tree=True)
    try:
        root = html.document_fromstring(_DECLARATION.sub("", source), parser=parser)
    except (etree.ParserError, ValueError):  # nothing but blanks or comments
        return ""
    return _Writer().write(root, silent=_SILENT)


class _Writer:
    """Writes a tree as text, breaking lines where a browser would.

    ``breaks`` is how many line ends come before the next text; they are only
    written when it comes, so blanks between blocks leave no trace.
    """

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.breaks = 0
        self.between_cells = False
        self.mark = ""
        self.depth = 0  # of lists
        self.verbatim = 0

    def write(self, root: Any, *, silent: set[str]) -> str:
        for event, element, tag in _walk(root, silent):
            if event == "start":
                self._open(element, tag)
                self._text(element.text)
            else:
                self._close(element, tag)
                if element is not root:
                    self._text(element.tail)
        return "".join(self.parts).strip("\n")

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
        self.verbatim += tag == "pre" or _is_code_block(element, tag)

    def _close(self, element: Any, tag: str) -> None:
        if tag in _LISTS:
            self.depth -= 1
        self.verbatim -= tag == "pre" or _is_code_block(element, tag)
        self._break(tag)
        if _is_code_block(element, tag):
            self.breaks = 2

    def _break(self, tag: str) -> None:
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
        if not self.verbatim:
            text = _SPACES.sub(" ", text)
            if not self.parts or self.breaks or self.between_cells or self.parts[-1][-1:] == " ":
                text = text.lstrip(" ")
        if not text:
            return
        if self.parts and (self.breaks or self.between_cells):
            self.parts[-1] = self.parts[-1].rstrip(" ")
            self.parts.append("\n" * self.breaks or " | ")
        self.parts += [self.mark, text] if self.mark else [text]
        self.breaks, self.between_cells, self.mark = 0, False, ""


def _walk(root: Any, silent: set[str]) -> Iterator[tuple[str, Any, str]]:
    from lxml import etree

    walk = etree.iterwalk(root, events=("start", "end"))
    for event, element in walk:
        tag = element.tag if isinstance(element.tag, str) else ""
        if event == "start" and (tag in silent or not tag):
            walk.skip_subtree()
        else:
            yield event, element, "" if tag in silent else tag


def _is_code_block(element: Any, tag: str) -> bool:
    """trafilatura calls a ``<pre>`` code too; one with line ends is a block."""
    return tag == "code" and "\n" in "".join(element.itertext())
