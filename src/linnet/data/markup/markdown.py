"""Markdown (CommonMark and tables) to plain text, from markdown-it's tokens.

Emphasis, link targets and fences go; words, code, list marks and table cells
stay. A paragraph is one line, as it is where it is shown; embedded HTML is
reduced to its text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from linnet.data.markup.html import all_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n.*?\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)


def markdown_text(source: str) -> str:
    """The readable text of a Markdown document, without its front matter."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    return _Renderer().render(parser.parse(_FRONT_MATTER.sub("", source, count=1)))


class _Renderer:
    """Walks the flat list of tokens.

    ``close`` says that no blank line comes before the next block.
    """

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.close = False
        self.lists: list[int | None] = []  # the next number of each open list, None for bullets
        self.first = False  # whether the next item is the first of its list
        self.mark = ""  # the list mark that the next block carries
        self.cells: list[str] = []
        self.in_cell = False

    def render(self, tokens: Sequence[Token]) -> str:
        for token in tokens:
            self._take(token)
        return "".join(self.parts)

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
            case "inline" if self.in_cell:
                self.cells.append(_inline_text(token.children or []).replace("\n", " "))
            case "inline":
                self._add(_inline_text(token.children or []))
            case "fence" | "code_block":
                self._add(token.content.rstrip("\n"))
            case "html_block":
                self._add(all_text(token.content))
            case "th_open" | "td_open":
                self.in_cell = True
            case "th_close" | "td_close":
                self.in_cell = False
            case "tr_close":
                self._add(" | ".join(self.cells))
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

    def _add(self, text: str) -> None:
        if not text.strip():
            return
        if self.parts:
            self.parts.append("\n" if self.close else "\n\n")
        depth = len(self.lists)
        first = "  " * (depth - 1) + self.mark if self.mark else "  " * depth
        self.parts.append(first + text.replace("\n", "\n" + "  " * depth))
        self.mark, self.close = "", False


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
