"""Markdown (CommonMark and tables) to plain text, from markdown-it's tokens.

Emphasis, link targets and fences go; words, code, list marks and table cells
stay. A paragraph is one line, as it is where it is shown; embedded HTML is
reduced to its text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from linnet.data.blocks import BlockKind, Builder, Text
from linnet.data.markup.html import all_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


def markdown_text(source: str, *, first: int = 1) -> Text:
    """The readable text of a Markdown document, without its front matter. ``first``: the number
    of its first line."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    front = _FRONT_MATTER.match(source)
    start = front.end() if front else 0
    first += source.count("\n", 0, start)
    return _Renderer(first).render(parser.parse(source[start:]))


class _Renderer:
    """Walks the flat list of tokens.

    ``close`` says that no blank line comes before the next block.
    """

    def __init__(self, first: int) -> None:
        self.first_line = first
        self.builder = Builder("line")
        self.heading = 0  # the level of the one that is open
        self.close = False
        self.lists: list[int | None] = []  # the next number of each open list, None for bullets
        self.first = False  # whether the next item is the first of its list
        self.mark = ""  # the list mark that the next block carries
        self.cells: list[str] = []
        self.row: Sequence[int] | None = None  # the lines of the row that is open
        self.in_cell = False

    def render(self, tokens: Sequence[Token]) -> Text:
        for token in tokens:
            self._take(token)
        return self.builder.text()

    def _take(self, token: Token) -> None:
        match token.type:
            case "bullet_list_open" | "ordered_list_open":
                self.close = bool(self.lists)
                self.lists.append(
                    int(token.attrs.get("start", 1)) if token.type[0] == "o" else None
                )
                self.first = True
            case "bullet_list_close" | "ordered_list_close":
                self.lists.pop()
                self.close, self.first = False, False
            case "list_item_open":
                self._open_item()
            case "paragraph_open" if not token.hidden:
                self.close = False
            case "heading_open":
                self.heading = int(token.tag[1])
            case "heading_close":
                self.heading = 0
            case "inline" if self.in_cell:
                self.cells.append(_inline_text(token.children or []).replace("\n", " "))
                self.row = token.map
            case "inline":
                text, lines = _written(token.children or [])
                kind: BlockKind = "list" if self.lists else "paragraph"
                self._add(text, "heading" if self.heading else kind, token.map, lines)
            case "fence" | "code_block":
                text = token.content.rstrip("\n")
                fenced = int(token.type == "fence")
                ends = [found.end() for found in re.finditer("\n", text)]
                lines = [(at, fenced + line) for line, at in enumerate([0, *ends])]
                self._add(text, "code", token.map, lines)
            case "html_block":
                self._add(all_text(token.content), "paragraph", token.map)
            case "th_open" | "td_open":
                self.in_cell = True
            case "th_close" | "td_close":
                self.in_cell = False
            case "tr_close":
                self._add(" | ".join(self.cells), "table", self.row)
                self.cells, self.close = [], True
            case "table_close":
                self.close = False

    def _open_item(self) -> None:
        number = self.lists[-1]
        self.mark = "- " if number is None else f"{number}. "
        if number is not None:
            self.lists[-1] = number + 1
        self.close = self.close or not self.first
        self.first = False

    def _add(
        self,
        text: str,
        kind: BlockKind,
        place: Sequence[int] | None,
        lines: Sequence[tuple[int, int]] = ((0, 0),),
    ) -> None:
        """``place``: the lines of the source; ``lines``: what in the text begins how many lines
        after the first of them."""
        if not text.strip():
            return
        depth = len(self.lists)
        line = self.first_line + place[0] if place is not None else 0
        self.builder.add(
            text,
            kind,
            level=self.heading,
            before="\n" if self.close else "\n\n",
            marks=[(at, line + more) for at, more in lines] if line else (),
            first="  " * (depth - 1) + self.mark if self.mark else "  " * depth,
            further="  " * depth,
        )
        self.mark, self.close = "", False


def _written(tokens: Sequence[Token]) -> tuple[str, list[tuple[int, int]]]:
    """The text of inline tokens, and where in it each further line of the source begins."""
    parts: list[str] = []
    length, lines = 0, [(0, 0)]
    for token in tokens:
        parts.append(_inline_piece(token))
        length += len(parts[-1])
        if token.type in ("softbreak", "hardbreak"):
            lines.append((length, len(lines)))
    return "".join(parts), lines


def _inline_text(tokens: Sequence[Token]) -> str:
    return "".join(map(_inline_piece, tokens))


def _inline_piece(token: Token) -> str:
    match token.type:
        case "text" | "code_inline":
            return token.content
        case "softbreak":
            return " "
        case "hardbreak":
            return "\n"
        case "html_inline" if token.content.lower().startswith("<br"):
            return "\n"
        case "image":
            return _inline_text(token.children or [])
    return ""
