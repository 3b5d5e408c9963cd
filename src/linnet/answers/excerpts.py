"""The text around a citation, as it is shown to people: blocks, tables with their header, a mail's
headers, and where in the file each stands.

It is read from the stored text, so it can be shown where the file itself has changed or is gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from linnet.data import stored_texts
from linnet.data.blocks import Block, BlockKind, Place
from linnet.data.locating import StoredText
from linnet.errors import DataError

AROUND = 1_200
"""Characters that are shown before and after what is cited, up to the ends of their blocks."""
LONGEST_PAGE = 12_000
"""A page or slide of at most so many characters is shown whole."""
LONGEST_CITED = 100_000
_LONGEST_BLOCK = 4_000
"""A longer block is shown from line to line around what is cited."""
_READ_AROUND = 20_000
"""Characters before and after what is cited in which private values are looked for: so many that
one which begins or ends outside of what is shown is found whole."""
_SIGNS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
"""Characters that no text has, one for each kind of private value."""
_BETWEEN_CELLS = re.compile(r"(?:(?<![ \t])[ \t]++)?(?<!\\)\|[ \t]*")
_RULE = re.compile(r"(?=[|:+ \t]*-)[|:+\- \t]+")
"""Below a table's header in Markdown."""

PrivateSpans = Callable[[str], Iterable[tuple[int, int, str]]]
"""Where private values begin and end in a text, and their kinds."""
Part = tuple[str, bool]
"""Text, and whether it is cited."""


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    cells: tuple[tuple[Part, ...], ...]
    where: str
    cited: bool


@dataclass(frozen=True)
class Shown:
    """A block of an excerpt. A table has ``rows``, everything else ``parts``.

    ``gap``: whether something that is not shown stands before it, though a block is shown above; in
    a table, between the header and the other rows.
    """

    kind: BlockKind
    level: int
    where: str
    parts: tuple[Part, ...] = ()
    rows: tuple[Row, ...] = ()
    has_header: bool = False
    """Whether the first row is the table's header."""
    gap: bool = False


@dataclass(frozen=True)
class Excerpt:
    """A cited stretch of a document, with what stands around it."""

    source: str
    start: int
    end: int
    headings: tuple[str, ...]
    where: str
    """In the format's own words: "page 3", "rows 2 to 9"."""
    page: int | None
    text: str
    """What is cited."""
    blocks: tuple[Shown, ...]
    before: bool
    """Whether more stands before what is shown."""
    after: bool


def masked(shown: Excerpt, mask: Callable[[str], str]) -> Excerpt:
    """The excerpt with its texts masked: whole blocks, cells and headings, so that nothing is left
    of a value that begins where a citation ends. Where something is, marks go."""

    def parts(given: tuple[Part, ...]) -> tuple[Part, ...]:
        whole = "".join(text for text, _ in given)
        kept = mask(whole)
        return given if kept == whole else ((kept, any(cited for _, cited in given)),)

    return _each_text(shown, mask, parts)


def excerpt(
    corpus: Path | str,
    source: str,
    start: int,
    end: int,
    *,
    private: PrivateSpans | None = None,
) -> Excerpt:
    """What is cited, and the text around it. Raises DataError where there is no such stretch.

    ``private`` finds what is not to be shown. Nothing is shown of such a value, wherever what is
    cited, or what stands around it, begins and ends: not even the half that no longer looks like
    one.
    """
    if not 0 <= start < end:
        raise DataError(
            f"a stretch of {source} is START:END with an end after it. Got {start}:{end}"
        )
    if end - start > LONGEST_CITED:
        raise DataError(f"at most {LONGEST_CITED:,} characters are shown. Got {end - start:,}")
    stored = next(
        (text for text in stored_texts(corpus, source) if text.source == source), None
    )  # fmt: skip
    if stored is None:
        raise DataError(f"no document '{source}' in this corpus")
    kinds: dict[str, str] = {}
    if private is not None:
        stored = replace(stored, text=_hidden(stored, start, end, private, kinds))
    found = stored.locate(start, end)
    blocks = _whole(stored)
    first, last = _window(stored, blocks, start, end)
    shown = tuple(_shown(stored, blocks, first, last, start, end))
    cited = Excerpt(
        source, start, end, found.headings, str(found.place), _page(found.place), found.text,
        shown, before=bool(stored.text[:first].strip()), after=bool(stored.text[last:].strip()),
    )  # fmt: skip
    return _named(cited, kinds) if kinds else cited


def _hidden(
    stored: StoredText, start: int, end: int, private: PrivateSpans, kinds: dict[str, str]
) -> str:
    """The text with a sign in the place of each character of a private value, so that places stay
    as they are; the sign of each kind is noted in ``kinds``."""
    text = stored.text
    first, last = max(0, start - _READ_AROUND), min(len(text), end + _READ_AROUND)
    columns = ""
    for block in _whole(stored):
        if block.kind == "table" and block.start < first < block.end:  # its header is far above
            columns = text[block.start : block.end].partition("\n")[0] + "\n"
            first = max(block.start, text.rfind("\n", block.start, first) + 1)
    for low, high, header in ((0, min(first, _READ_AROUND), ""), (first, last, columns)):
        pieces, at = [], low  # (the headers of a mail are above)
        for begin, finish, kind in private(header + text[low:high]):
            begin, finish = begin + low - len(header), finish + low - len(header)
            if begin < low:
                continue
            sign = kinds.setdefault(kind, _SIGNS[min(len(kinds), len(_SIGNS) - 1)])
            value = re.sub(r"[^\n|]", sign, text[begin:finish])  # rows stay rows
            pieces += [text[at:begin], value]
            at = finish
        text = text[:low] + "".join(pieces) + text[at:]
    return text


def _named(shown: Excerpt, kinds: dict[str, str]) -> Excerpt:
    """The excerpt with the names of kinds where their signs are."""
    names = {sign: f"<{kind}>" for kind, sign in kinds.items()}
    signs = re.compile("|".join(f"{sign}+" for sign in names))

    def named(text: str) -> str:
        return signs.sub(lambda match: names[match[0][0]], text)

    def parts(given: tuple[Part, ...]) -> tuple[Part, ...]:
        return tuple((named(text), cited) for text, cited in given)

    return _each_text(shown, named, parts)


def _each_text(
    shown: Excerpt, one: Callable[[str], str], parts: Callable[[tuple[Part, ...]], tuple[Part, ...]]
) -> Excerpt:
    """The excerpt with all of its texts changed."""
    blocks = tuple(
        replace(
            block, parts=parts(block.parts), where=one(block.where),
            rows=tuple(
                replace(row, cells=tuple(map(parts, row.cells)), where=one(row.where))
                for row in block.rows
            ),
        )
        for block in shown.blocks
    )  # fmt: skip
    headings = tuple(map(one, shown.headings))
    where = one(shown.where)
    return replace(shown, text=one(shown.text), headings=headings, where=where, blocks=blocks)


def _page(place: Place) -> int | None:
    return place.first if place.unit in ("page", "slide") else None


def _whole(stored: StoredText) -> list[Block]:
    """The blocks, rows that follow one another as one table, and what stands in none as
    paragraphs."""
    found: list[Block] = []
    at = 0
    for block in stored.blocks():
        found += _between(stored, at, block.start)
        before = found[-1] if found else block
        if before.kind == block.kind == "table" and stored.text[at : block.start] == "\n":
            place = stored.structure.place(before.start, block.end) if stored.structure else Place()
            found[-1] = replace(before, end=block.end, place=place)
        else:
            found.append(block)
        at = max(at, block.end)
    return found + _between(stored, at, len(stored.text))


def _between(stored: StoredText, start: int, end: int) -> list[Block]:
    if not stored.text[start:end].strip():
        return []
    place = stored.structure.place(start, end) if stored.structure else Place()
    return [Block("paragraph", start, end, 0, (), place)]


def _window(stored: StoredText, blocks: Sequence[Block], start: int, end: int) -> tuple[int, int]:
    """Where what is shown begins and ends: a whole page if it is not long, else some blocks."""
    structure, size = stored.structure, len(stored.text)
    place = structure.place(start, end) if structure else Place()
    if structure is not None and place.unit in ("page", "slide"):
        inside = [
            block for block in blocks
            if block.place.first <= place.last and block.place.last >= place.first
        ]  # fmt: skip
        if inside:
            first, last = min(start, inside[0].start), max(end, inside[-1].end)
            if last - first <= LONGEST_PAGE:
                return first, last
    first, last = max(0, start - AROUND), min(size, end + AROUND)
    for block in blocks:  # whole blocks, unless they are long
        if block.start < first < block.end and first - block.start <= AROUND:
            first = block.start
        if block.start < last < block.end and block.end - last <= AROUND:
            last = block.end
    return first, last


def _shown(
    stored: StoredText, blocks: Sequence[Block], first: int, last: int, start: int, end: int
) -> Iterator[Shown]:
    head = blocks[0]
    gap = head.kind == "message" and head.end <= first
    if gap:  # whose mail it is
        low, high = _lines(stored.text, head, head.start, min(head.end, head.start + AROUND))
        yield Shown("message", 0, str(head.place), _parts(stored.text, low, high, 0, 0))
        gap = bool(stored.text[head.end : first].strip())
    for block in blocks:
        low, high = max(block.start, first), min(block.end, last)
        if low >= high:
            continue
        if block.kind == "table":
            yield _table(stored, block, low, high, start, end)
        else:
            low, high = _lines(stored.text, block, low, high)
            parts = _parts(stored.text, low, high, start, end)
            yield Shown(block.kind, block.level, str(block.place), parts, gap=gap)
        gap = False


def _lines(text: str, block: Block, low: int, high: int) -> tuple[int, int]:
    """A stretch of a long block from line to line, or else from word to word."""
    if block.end - block.start <= _LONGEST_BLOCK:
        return low, high
    for sign in ("\n", " "):
        if low > block.start and (found := text.find(sign, low, low + AROUND // 2)) >= 0:
            low = found + 1
            break
    for sign in ("\n", " "):
        if high < block.end and (found := text.rfind(sign, high - AROUND // 2, high)) >= 0:
            high = found
            break
    return low, high


def _parts(text: str, low: int, high: int, start: int, end: int) -> tuple[Part, ...]:
    """The stretch, cut where what is cited begins and ends."""
    inner, outer = min(max(start, low), high), max(min(end, high), low)
    cut = ((low, inner, False), (inner, outer, True), (outer, high, False))
    return tuple((text[a:b], cited) for a, b, cited in cut if a < b)


def _table(stored: StoredText, block: Block, low: int, high: int, start: int, end: int) -> Shown:
    """The rows around what is cited, under the table's header."""
    text = stored.text
    lines: list[tuple[int, int]] = []
    at = block.start
    for line in text[block.start : block.end].splitlines(keepends=True):
        lines.append((at, at + len(line.rstrip("\r\n"))))
        at += len(line)
    lines = [line for line in lines if not _RULE.fullmatch(text, *line)]
    header, rest = lines[0], lines[1:]
    inside = [(a, b) for a, b in rest if b >= low and a <= high]
    has_header = bool(rest) and len(_cells(text, *header)) > 1
    whole = [header, *inside] if has_header or header[1] >= low else inside
    rows = tuple(_row(stored, a, b, start, end) for a, b in whole)
    skipped = bool(inside) and inside[0] != rest[0]
    return Shown("table", 0, str(block.place), (), rows, has_header, gap=skipped)


def _row(stored: StoredText, low: int, high: int, start: int, end: int) -> Row:
    cells = tuple(_parts(stored.text, a, b, start, end) for a, b in _cells(stored.text, low, high))
    where = str(stored.structure.place(low, high)) if stored.structure else ""
    return Row(cells, where, start < high and end > low)


def _cells(text: str, low: int, high: int) -> list[tuple[int, int]]:
    """Where the cells of a line begin and end, with or without bars around them."""
    found: list[tuple[int, int]] = []
    at = low
    for border in _BETWEEN_CELLS.finditer(text, low, high):
        if border.start() > low or found:
            found.append((at, border.start()))
        at = border.end()
    if at < high or not found or text[high - 1] != "|":
        found.append((at, high))
    return found
