"""reStructuredText to plain text, line by line.

No document processor is run, so no directive can read a file, fetch a page or
execute anything. Directives whose body is prose or code give their body, the
others (images, includes, raw HTML, settings) go with all that is indented
under them; roles, links and emphasis are reduced to their words.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from linnet.data.blocks import Text, from_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

_ADORNMENT = re.compile(r"""^([!-/:-@\[-`{-~])\1{2,}\s*$""")
_GRID = re.compile(r"^\s*\+[-=+]+\+\s*$|^\s*=+( +=+)+\s*$")
_DIRECTIVE = re.compile(r"^(\s*)\.\. (?:\|[^|]+\| )?([\w:.+-]+?)::(?:\s+(.*))?$")
_EXPLICIT = re.compile(r"^(\s*)\.\.(?:\s|$)")
_FOOTNOTE = re.compile(r"^\s*\.\. \[([^\]]+)\] ")
_BULLET = re.compile(r"^(\s*)[-*+\u2022]\s+(?=\S)")
_LONGEST_LINE = 4000  # characters; a longer one is data, over which the patterns would take long
_OPTION = re.compile(r"^\s*:[\w-]+:")

_PROSE = {
    "note", "warning", "tip", "hint", "important", "caution", "danger", "attention", "error",
    "admonition", "seealso", "topic", "sidebar", "epigraph", "pull-quote", "rubric", "centered",
    "versionadded", "versionchanged", "deprecated", "deprecated-removed", "glossary", "table",
    "container", "compound", "list-table", "function", "method", "class", "attribute", "data",
    "module", "exception", "describe", "option", "cmdoption", "envvar", "term",
}  # fmt: skip
_CODE = {"code", "code-block", "sourcecode", "doctest", "testcode", "parsed-literal", "highlight"}
_ARGUMENT_IS_TEXT = _PROSE - {"table", "container", "list-table", "glossary"}

_INLINE = (
    (re.compile(r"``(.+?)``"), r"\1"),
    (re.compile(r":[\w:+.-]{1,60}:`~?!?([^`<]+?)\s*<[^`>]+>`"), r"\1"),
    (re.compile(r":[\w:+.-]{1,60}:`[~!]?([^`]+)`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?"), r"\1"),
    (re.compile(r"`([^`]+)`_{0,2}"), r"\1"),
    (re.compile(r"(?<![\w*])\*\*(\S(?:[^*]*\S)?)\*\*(?![\w*])"), r"\1"),
    (re.compile(r"(?<![\w*])\*(\S(?:[^*]*\S)?)\*(?![\w*])"), r"\1"),
    (re.compile(r"\|(\w[^|\n]*)\|_{0,2}"), r"\1"),
    (re.compile(r"(\w)__?(?=[\s.,;:)]|$)"), r"\1"),
    (re.compile(r"\\(\W)"), r"\1"),
)


def rst_text(source: str, *, first: int = 1) -> Text:
    """The readable text of a reStructuredText document. ``first``: the number of its first line."""
    reader = _Reader(source.expandtabs(8).split("\n"))
    return from_lines((line, first + reader.at - 1, reader.level()) for line in reader.read())


class _Reader:
    """Goes through the lines once; ``at`` is the next one."""

    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0
        self.adornments: list[str] = []  # of headings, the highest first

    def level(self) -> int:
        """Of the heading that the line read last is; 0 for what is none."""
        line = self.lines[self.at - 1]
        under = self.lines[self.at] if self.at < len(self.lines) else ""
        if not line.strip() or line[:1].isspace() or not _ADORNMENT.match(under):
            return 0
        if _ADORNMENT.match(line) or len(under.rstrip()) < len(line.rstrip()):
            return 0
        over = self.at > 1 and self.lines[self.at - 2].rstrip() == under.rstrip()
        sign = under[0] * (1 + over)
        if sign not in self.adornments:
            self.adornments.append(sign)
        return self.adornments.index(sign) + 1

    def read(self) -> Iterator[str]:
        while self.at < len(self.lines):
            line = self.lines[self.at]
            self.at += 1
            directive = _DIRECTIVE.match(line)
            footnote = _FOOTNOTE.match(line)
            if directive:
                yield from self._directive(directive[1], directive[2], directive[3] or "")
            elif footnote:
                yield f"[{footnote[1]}] {_plain(line[footnote.end() :])}"
            elif explicit := _EXPLICIT.match(line):  # a comment or a link target
                self._skip_body(len(explicit[1]))
            elif _ADORNMENT.match(line) or _GRID.match(line):
                continue
            elif line.rstrip().endswith("::"):
                yield _plain(line.rstrip()[:-2].rstrip() + ":") if line.strip() != "::" else ""
                yield from self._literal(len(line) - len(line.lstrip()))
            else:
                yield _plain(_cells(line))

    def _directive(self, indent: str, name: str, argument: str) -> Iterator[str]:
        name = name.rpartition(":")[2]
        if name in _CODE:
            self._skip_options()
            yield from self._literal(len(indent))
        elif name in _PROSE:
            if argument and name in _ARGUMENT_IS_TEXT:
                yield indent + _plain(argument)
            self._skip_options()
        else:
            self._skip_body(len(indent))

    def _skip_options(self) -> None:
        while self.at < len(self.lines) and _OPTION.match(self.lines[self.at]):
            self.at += 1

    def _skip_body(self, indent: int) -> None:
        while self.at < len(self.lines) and self._in_body(self.lines[self.at], indent):
            self.at += 1

    def _literal(self, indent: int) -> Iterator[str]:
        """The indented lines that follow, as they are."""
        while self.at < len(self.lines) and self._in_body(self.lines[self.at], indent):
            self.at += 1
            yield self.lines[self.at - 1]

    @staticmethod
    def _in_body(line: str, indent: int) -> bool:
        return not line.strip() or len(line) - len(line.lstrip()) > indent


def _cells(line: str) -> str:
    """A row of a grid table without its outer borders."""
    stripped = line.strip()
    if len(stripped) > 2 and stripped[0] == stripped[-1] == "|" and stripped.count("|") > 1:
        cells = (cell.strip() for cell in stripped[1:-1].split("|"))
        return " | ".join(cell for cell in cells if cell)
    return line


def _plain(line: str) -> str:
    line = _BULLET.sub(r"\1- ", line)
    if len(line) > _LONGEST_LINE:
        return line
    for pattern, replacement in _INLINE:
        line = pattern.sub(replacement, line)
    return line
