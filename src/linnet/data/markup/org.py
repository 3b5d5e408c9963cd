"""Org (Emacs) to plain text, line by line, by the syntax of orgmode.org/worg/org-syntax.html.

Words, lists, tables, code and footnotes stay; drawers, planning, settings,
comments and blocks for other programs go. No file is included.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from linnet.data.blocks import Text, from_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADING = re.compile(r"^\*+\s+(.*)$")
_TODO = re.compile(r"^(?:TODO|DONE|NEXT|WAITING|HOLD|CANCELLED|CANCELED|STARTED)\s+(?=\S)")
_PRIORITY = re.compile(r"^\[#\w\]\s*")
_TAGS = re.compile(r"\s:(?:[\w@#%]{1,40}:)+\s*$")
_DRAWER = re.compile(r"^\s*:(?:PROPERTIES|LOGBOOK|CLOCK|RESULTS):\s*$", re.IGNORECASE)
_END_OF_DRAWER = re.compile(r"^\s*:END:\s*$", re.IGNORECASE)
# Planning, clocks, the marks of other drawers, comments.
_PASSED_OVER = re.compile(
    r"^\s*(?:(?:SCHEDULED|DEADLINE|CLOSED):\s*[<\[]|CLOCK:\s*\[|:[\w-]+:\s*$|#(?:\s|$))"
)
_BLOCK = re.compile(r"^\s*#\+BEGIN_(\w+)", re.IGNORECASE)
_END_OF_BLOCK = re.compile(r"^\s*#\+END_(\w+)", re.IGNORECASE)
_ESCAPED = re.compile(r"^(\s*),(?=[*,#])")
_KEYWORD = re.compile(r"^\s*#\+(\w+):?\s*(.*)$")
_FIXED = re.compile(r"^\s*:(?:\s(.*))?$")
_RULE = re.compile(r"^\s*(?:-{5,}|\|[-+:=|\s]*)$")  # of a page or a table, or an empty row
_ITEM = re.compile(r"^(\s*)(?:[-+]|\*(?<=\s\*))\s+(?:\[[ xX-]\]\s+)?(?=\S)")
_NUMBERED = re.compile(r"^(\s*\d+)[.)]\s+(?:\[[ xX-]\]\s+)?(?=\S)")
_PARAGRAPH, _LIST, _TABLE, _CODE, _HEAD, _DRAWERS = "text", "list", "table", "code", "head", ":"
_SHOWN_KEYWORDS = {"TITLE", "SUBTITLE", "CAPTION"}
_VERBATIM, _UNREAD = {"SRC", "EXAMPLE"}, {"COMMENT", "EXPORT", "HTML", "LATEX"}

_LINK = re.compile(r"\[\[([^\[\]]{1,2000})\](?:\[([^\[\]]{1,2000})\])?\]")
_TARGET = re.compile(r"<{2,3}([^<>\n]{1,200})>{2,3}")
_NOTE = re.compile(r"\[fn:([\w-]{1,60})\]")
_STATISTICS = re.compile(r"\s?\[\d*(?:/\d*|%)\]")
# What marks are around, between what may come before and after them.
_EMPHASIS = re.compile(
    r"(?:(?<=[\s\-({'\"])|^)([*/_=~+])(?=\S)([^\n]{0,300}?\S)\1(?=[\s\-.,;:!?'\")}\[]|$)"
)


def org_text(source: str, *, first: int = 1) -> Text:
    """The readable text of an Org document. ``first``: the number of its first line."""
    parts: list[tuple[str, int, int]] = []
    last = ""
    for kind, line, number, level in _lines(source):
        if kind == _PARAGRAPH and last == _LIST and line[:1].isspace():
            kind = _LIST  # an item goes on
        if last and line.strip() and kind != last:
            parts.append(("", first + number, 0))
        parts.append((line, first + number, level))
        last = kind if line.strip() else ""
    return from_lines(parts).trimmed("\n")


def _lines(source: str) -> Iterator[tuple[str, str, int, int]]:
    """The lines that are read, with what they are part of, their number and level as a heading."""
    inside = ""  # a block whose lines are not Org, or a drawer
    for number, line in enumerate(source.split("\n")):
        heading = _HEADING.match(line)
        if inside and not (inside == _DRAWERS and heading):
            if _ends(line, inside):
                inside = ""
            elif inside in _VERBATIM:
                yield _CODE, _ESCAPED.sub(r"\1", line), number, 0
        elif heading:
            inside = ""
            level = line.index(" ") if " " in line else 1
            yield _HEAD, _heading(heading[1]), number, level
            yield _HEAD, "", number, 0
        elif (block := _BLOCK.match(line)) and block[1].upper() in _VERBATIM | _UNREAD:
            inside = block[1].upper()
        elif _DRAWER.match(line):
            inside = _DRAWERS
        elif keyword := _KEYWORD.match(line):
            if (name := keyword[1].upper()) in _SHOWN_KEYWORDS:
                yield _HEAD, _plain(keyword[2]), number, int(name == "TITLE")
                yield _HEAD, "", number, 0
        elif not (_PASSED_OVER.match(line) or _RULE.match(line)):
            yield *_line(line), number, 0


def _line(line: str) -> tuple[str, str]:
    if line.lstrip().startswith("|"):
        cells = line.strip().strip("|").split("|")
        return _TABLE, " | ".join(_plain(cell.strip()) for cell in cells)
    if fixed := _FIXED.match(line):
        return _CODE, fixed[1] or ""
    item = _NUMBERED.sub(r"\1. ", _ITEM.sub(r"\1- ", line))
    return (_PARAGRAPH if item == line and not _ITEM.match(line) else _LIST), _plain(item)


def _ends(line: str, inside: str) -> bool:
    if inside == _DRAWERS:
        return bool(_END_OF_DRAWER.match(line))
    end = _END_OF_BLOCK.match(line)
    return bool(end) and end[1].upper() == inside  # type: ignore[index]


def _heading(text: str) -> str:
    text = _PRIORITY.sub("", _TODO.sub("", text))
    return _plain(_STATISTICS.sub("", _TAGS.sub("", text))).strip()


def _plain(line: str) -> str:
    line = _LINK.sub(lambda found: found[2] or found[1].removeprefix("file:"), line)
    line = _NOTE.sub(r"[\1]", _TARGET.sub(r"\1", line))
    return _EMPHASIS.sub(r"\2", line)
