"""Documents cut into chunks: stretches that are found, and cited, as a whole.

A chunk follows the structure of its document. It stands under one heading; paragraphs are packed
up to about a length; what leads to a list or a table stays with it; code and messages are whole
where they fit. A table that is too long is cut between rows, and the header goes with every part
as its ``context``. What is longer than a chunk may be is cut at sentences, lines or blanks.
Every letter of a document is in a chunk, or in a heading of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from linnet.data.blocks import Block, BlockKind
    from linnet.data.locating import StoredText

_LETTER = re.compile(r"\w")
_SENTENCE_END = re.compile(r"[.!?][\"'”’»)\]]{0,3}(?=\s)|[。！？]|\n[ \t]*\n")
_ROW_END = re.compile(r"\n")
_BLANK = re.compile(r"\s")
_WHOLE = 2.0  # times a chunk's length up to which code, lists and messages stay whole
_LONGEST_CONTEXT = 300
_LONGEST_TITLE = 200
_FAR = 2000  # characters from which on the highest heading is no title any more


@dataclass(frozen=True, slots=True)
class Chunk:
    """``text[start:end]`` of a document. ``context``: the header of the table it is cut from."""

    start: int
    end: int
    kind: BlockKind
    headings: tuple[str, ...]
    context: str = ""


def title_of(stored: StoredText, blocks: Sequence[Block]) -> str:
    """A document's first heading of the highest level; empty where it has no heading."""
    heads = [block for block in blocks if block.kind == "heading"]
    if not heads:
        return ""
    first = min(heads, key=lambda block: (block.level, block.start))
    if first.start > _FAR and heads[0].start <= _FAR:
        first = heads[0]
    return _heading(stored.text, first)


def chunks(stored: StoredText, blocks: Sequence[Block], characters: int) -> Iterator[Chunk]:
    """The chunks of a document in order, of about so many characters at most."""
    text = stored.text
    group: list[_Part] = []
    heading: _Part | None = None  # one under which nothing stood yet
    for part in _whole_tables(text, _parts(text, blocks)):
        if part.kind == "heading":
            yield from _cut(text, group, characters)
            group = []
            if heading is not None and not _is_above(heading, part):
                yield Chunk(heading.start, heading.end, "heading", heading.headings)
            heading = part
            if part.end - part.start > _LONGEST_TITLE:  # a path has only its beginning
                yield from _cut(text, [part], characters)
                heading = None
            continue
        heading = None
        if group and not _belongs(text, group, part, characters):
            yield from _cut(text, group, characters)
            group = []
        group.append(part)
    yield from _cut(text, group, characters)
    if heading is not None:
        yield Chunk(heading.start, heading.end, "heading", heading.headings)


@dataclass(frozen=True, slots=True)
class _Part:
    kind: BlockKind
    start: int
    end: int
    level: int
    headings: tuple[str, ...]


def _parts(text: str, blocks: Sequence[Block]) -> Iterator[_Part]:
    """The blocks, without blanks around them, and what stands between them and has letters."""
    done = 0
    path: tuple[str, ...] = ()
    for block in blocks:
        start = max(block.start, done)
        if start >= block.end:
            continue
        yield from _trimmed(text, "paragraph", done, start, 0, path)
        headings = tuple(filter(None, map(_shortened, block.headings)))
        yield from _trimmed(text, block.kind, start, block.end, block.level, headings)
        done = block.end
        path = headings
        if block.kind == "heading" and (own := _heading(text, block)):
            path = (*headings, own)
    yield from _trimmed(text, "paragraph", done, len(text), 0, path)


def _whole_tables(text: str, parts: Iterable[_Part]) -> Iterator[_Part]:
    """The parts, rows that follow one another as one table: some readers give each row as a
    block, and only the first of them says what the columns are called."""
    before: _Part | None = None
    for part in parts:
        if (
            before is not None
            and before.kind == part.kind == "table"
            and before.headings == part.headings
            and text[before.end : part.start].strip(" \t\r") == "\n"
        ):
            before = replace(before, end=part.end)
            continue
        if before is not None:
            yield before
        before = part
    if before is not None:
        yield before


def _trimmed(
    text: str, kind: BlockKind, start: int, end: int, level: int, headings: tuple[str, ...]
) -> Iterator[_Part]:
    found = text[start:end]
    if _LETTER.search(found):
        start += len(found) - len(found.lstrip())
        end -= len(found) - len(found.rstrip())
        yield _Part(kind, start, end, level, headings)


def _is_above(heading: _Part, below: _Part) -> bool:
    """Whether a heading is in the path of another one that follows it."""
    return below.level > heading.level and len(below.headings) > len(heading.headings)


def _belongs(text: str, group: list[_Part], part: _Part, characters: int) -> bool:
    """Whether a part makes a chunk with those before it."""
    if part.end - group[0].start <= characters:
        return True
    before = group[-1]
    short = before.end - before.start < characters / 2
    return len(group) == 1 and short and text[before.end - 1] in ":："  # it leads to this


def _cut(text: str, group: list[_Part], characters: int) -> Iterator[Chunk]:
    """One chunk of a group, or several where it is far too long."""
    if not group:
        return
    start, end, headings = group[0].start, group[-1].end, group[0].headings
    kind = max(group, key=lambda part: part.end - part.start).kind
    most = characters * (_WHOLE if kind in ("code", "list", "message", "table") else 1.25)
    if end - start <= most or (len(group) > 1 and end - start <= _WHOLE * characters):
        yield Chunk(start, end, kind, headings)
        return
    context, table = "", group[-1]
    if table.kind == "table":
        head_end = text.find("\n", table.start, table.end)
        if head_end >= 0:
            context = " ".join(text[table.start : head_end].split())[:_LONGEST_CONTEXT]
    for first, last in _pieces(text, start, end, kind, characters):
        beyond = first > table.start  # the first part has the header itself
        yield Chunk(first, last, kind, headings, context if beyond else "")


def _pieces(
    text: str, start: int, end: int, kind: BlockKind, characters: int
) -> Iterator[tuple[int, int]]:
    """A stretch cut into pieces of about equal length at the best places."""
    prose = kind in ("paragraph", "message")
    patterns = (_SENTENCE_END, _ROW_END, _BLANK) if prose else (_ROW_END, _SENTENCE_END, _BLANK)
    count = -(-(end - start) // characters)
    length = (end - start) / count
    low = start
    while low < end:
        high = end if end - low <= 1.25 * length else _border(text, low, int(length), patterns)
        found = text[low:high]
        if _LETTER.search(found):
            yield low + len(found) - len(found.lstrip()), low + len(found.rstrip())
        low = high


def _border(text: str, low: int, length: int, patterns: tuple[re.Pattern[str], ...]) -> int:
    """The best place to cut within half and five quarters of a length."""
    first, last = low + length // 2, low + length + length // 4
    for pattern in patterns:
        found = [match.end() for match in pattern.finditer(text, first, last)]
        if found:
            return min(found, key=lambda place: abs(place - low - length))
    return low + max(length, 1)


def _heading(text: str, block: Block) -> str:
    return _shortened(" ".join(text[block.start : block.end].split()).strip("#*= \u00b6"))


def _shortened(heading: str) -> str:
    if len(heading) <= _LONGEST_TITLE:
        return heading
    return f"{heading[:_LONGEST_TITLE].rsplit(maxsplit=1)[0]} …"
