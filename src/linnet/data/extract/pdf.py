"""PDF, read with PDFium.

Each page is cut into its columns (``pdf_columns``), lines become tables
(``pdf_tables``) and paragraphs (``pdf_paragraphs``), which go on over columns
and pages.

Running headers and footers are left out: lines with the same words, digits aside, that
stand at the same height on other pages nearby, and those that hold the number of the page:
one that grows as the pages do, at the same height or on a line of its own. Only lines
in the margin that nothing else stands outside of go, and never most of a page.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass
from itertools import chain, count, islice, repeat, takewhile
from typing import TYPE_CHECKING, Any

from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract import scans
from linnet.data.extract.layout import FIELD_ERROR, Layout
from linnet.data.extract.pdf_columns import regions
from linnet.data.extract.pdf_page import Page, read_page
from linnet.data.extract.pdf_paragraphs import Block, blocks, goes_on, join, leading
from linnet.data.extract.pdf_tables import lines_of, rows_of, with_tables
from linnet.data.positions import Edited

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context
    from linnet.data.extract.pdf_page import Page, Span


_KIND = "pdf"
_MOST_DAMAGED = 1000  # pages; what comes after more is not looked for
_LARGER, _LONGEST_HEADING, _DEEPEST_HEADING = 1.1, 200, 6
_BEHIND = 3  # blocks (notes, captions) that may stand between a paragraph and its rest


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    """The text of a PDF as one document.

    ``changes``: running headers (lines of headers and footers left out), pages
    without text, damaged pages, slanted text (characters of watermarks left out), errors of
    fields; pages that need OCR, that it had no time for, or that it failed on.
    """
    changes = Counter[str]()
    with scans.Scans(context, changes) as ocr:
        text = _text(path, context, changes, ocr)
        if not text and changes["pages without text"]:
            if context.config.ocr != "docling":
                raise ocr.refused()
            text = scans.by_docling(path)
            _checked(len(text), context)
    if not text.strip():
        raise UnreadableError("damaged pdf" if changes["damaged pages"] else "no text in it")
    yield Extracted(text, context.group, _KIND, changes=+changes)


def _text(path: Path, context: Context, changes: Counter[str], ocr: scans.Scans) -> str:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if re.search("password|security", str(error), re.I):
            raise UnreadableError("encrypted") from None
        raise UnreadableError("damaged pdf", str(error)) from None
    with document:
        layout, size = Layout("page"), 0
        found: list[tuple[int, Block]] = []  # with its place in the layout
        for block in _flowing(without_running(_pages(document, changes, ocr), changes)):
            edited = Edited(block.text)
            changes["errors of fields"] += edited.sub(FIELD_ERROR, "")
            starts = edited.positions.forwards([at for at, _ in block.pages]).tolist()
            block.text, numbers = edited.text, [page for _, page in block.pages]
            block.pages = list(zip(starts, numbers, strict=True))
            length = len(block.text) + sum(len(cell) for row in block.rows for cell in row)
            context.allowance.spend(length)
            size = _checked(size + length, context)
            found.append((len(layout), block))
            _write(block, layout)
        _mark_headings(found, layout)
    return layout.text()


def _mark_headings(found: list[tuple[int, Block]], layout: Layout) -> None:
    """Short paragraphs in larger letters than most of the text are headings, the largest of the
    highest level; then those in bold letters that end no sentence."""
    letters = Counter[float]()
    for _, block in found:
        letters[round(2 * block.size)] += len(block.text)
    usual = max(letters, key=letters.__getitem__, default=0)
    larger = sorted({
        size for _, block in found
        if len(block.text) <= _LONGEST_HEADING and (size := round(2 * block.size)) > _LARGER * usual
    })  # fmt: skip
    for place, block in found:
        size = round(2 * block.size)
        if not block.text or len(block.text) > _LONGEST_HEADING:
            continue
        if size in larger:
            layout.make_heading(place, min(len(larger) - larger.index(size), _DEEPEST_HEADING))
        elif block.bold and size >= usual and block.text[-1:] not in ".,;":
            layout.make_heading(place, min(len(larger) + 1, _DEEPEST_HEADING))


def _checked(size: int, context: Context) -> int:
    if size > context.config.max_document_bytes:
        raise UnreadableError("larger than max_document_bytes", f"{size:,} characters")
    return size


def _pages(document: Any, changes: Counter[str], ocr: scans.Scans) -> Iterator[Page]:
    import pypdfium2

    for number in range(len(document)):
        if changes["damaged pages"] > _MOST_DAMAGED:
            break
        try:
            page = document[number]
            found = read_page(page)
            letters = sum(len(span.text) for layer in found.layers for span in layer)
            is_scan = scans.is_scan(page, letters)
            page.close()
            if is_scan:
                _add_scan(found, letters, ocr.of_page(document, number))
        except pypdfium2.PdfiumError:
            changes["damaged pages"] += 1
            continue
        changes["pages without text"] += not (found.layers or found.scanned)
        changes["slanted text"] += found.slanted
        found.number = number + 1
        yield found


def _add_scan(page: Page, letters: int, read: list[str]) -> None:
    """What OCR reads of a page instead of the letters that it has beside its image, unless it reads
    hardly more than these."""
    if sum(map(len, read)) > 2 * letters:
        page.layers, page.scanned = [], read


def _flowing(pages: Iterable[Page]) -> Iterator[Block]:
    """The blocks of all pages, paragraphs joined over the ends of columns and pages."""
    held: list[Block] = []
    for page in pages:
        for region in _laid_out(page):
            for block in region:
                block.pages = [(0, page.number)]
            if region and (
                begun := next((b for b in reversed(held) if goes_on(b, region[0])), None)
            ):
                join(begun, region[0])
                del region[0]
            held += region
            yield from held[:-_BEHIND]
            del held[:-_BEHIND]
    yield from held


def _laid_out(page: Page) -> Iterator[list[Block]]:
    """The blocks of each region of a page, in reading order."""
    parts = [
        with_tables(rows_of(part), rules)
        for layer, rules in zip(page.layers, chain([page.rules], repeat([])), strict=False)
        for part in regions(layer, rules)
    ]
    usual = leading(parts)
    for rows in parts:
        yield blocks(rows, usual)
    yield [Block("paragraph", text) for text in page.scanned]
    yield [Block("paragraph", note) for note in page.notes]


def _write(block: Block, layout: Layout) -> None:
    layout.number = block.pages[0][1]
    if block.kind == "table":
        layout.table(block.rows)
    elif block.kind == "item":
        layout.item(block.text, block.level, marks=block.pages)
    elif block.kind == "code":
        layout.code(block.text, marks=block.pages)
    else:
        layout.paragraph(block.text, marks=block.pages)


_NEARBY = 12  # pages each way
_LEAST = 3  # of them
_OUTERMOST = 3  # lines
_MARGIN = 0.15  # of the page's height
_HEIGHT = 4.0  # points: as far may the lines be from each other
_MOST_NUMBERS = 4  # in the line that holds the page's
_NUMBER = re.compile(r"\d{1,5}")

_Key = tuple[str, int, str | int]  # which edge, its distance, words or number
_ANYWHERE = "anywhere"  # a number at either edge, at any height


@dataclass
class _Edged:
    """A page, the number of its lines, and its outermost ones with what tells them apart."""

    page: Page
    lines: int
    edges: list[list[tuple[list[Span], list[_Key]]]]

    @property
    def keys(self) -> set[_Key]:
        return {key for edge in self.edges for _, keys in edge for key in keys}


def without_running(pages: Iterable[Page], changes: Counter[str]) -> Iterator[Page]:
    """The pages without their running headers and footers, counted in ``changes``.

    Holds two dozen pages at a time.
    """
    window: deque[_Edged] = deque()
    seen = Counter[_Key]()
    done = 0  # of the window
    for edged in map(_edged, pages, count()):
        window.append(edged)
        seen.update(edged.keys)
        if len(window) - done > _NEARBY:
            yield _stripped(window[done], seen, changes)
            done += 1
        if len(window) > 2 * _NEARBY:
            seen.subtract(window.popleft().keys)
            done -= 1
    for edged in islice(window, done, None):
        yield _stripped(edged, seen, changes)


def _edged(page: Page, number: int) -> _Edged:
    lines = lines_of(page.layers[0]) if page.layers else []
    margin = _MARGIN * (page.top - page.bottom)
    top = [line for line in lines[:_OUTERMOST] if line[0].y > page.top - margin]
    rest = lines[len(top) :][: -_OUTERMOST - 1 : -1]
    edges = {"top": top, "bottom": [line for line in rest if line[0].y < page.bottom + margin]}
    return _Edged(
        page,
        len(lines),
        [
            [(line, list(_keys(line, name, page.top, number))) for line in edge]
            for name, edge in edges.items()
        ],
    )


def _keys(line: list[Span], edge: str, top: float, page: int) -> Iterator[_Key]:
    """What a line has in common with those of other pages if it is a running header."""
    height = round((top - line[0].y) / _HEIGHT)
    text = "".join("".join(span.text for span in line).split()).lower()
    numbers = _NUMBER.findall(text)
    if any(map(str.isalpha, text)):
        yield edge, height, _NUMBER.sub("#", text)
    if len(numbers) <= _MOST_NUMBERS:
        for number in numbers:
            yield edge, height, int(number) - page
            yield _ANYWHERE, 0, int(number) - page


def _stripped(edged: _Edged, seen: Counter[_Key], changes: Counter[str]) -> Page:
    running = [
        line
        for edge in edged.edges
        for line, _ in takewhile(lambda item: _is_running(*item, seen, edged.lines), edge)
    ]
    if running and 2 * len(running) <= max(edged.lines, 2):
        gone = {id(span) for line in running for span in line}
        edged.page.layers[0] = [span for span in edged.page.layers[0] if id(span) not in gone]
        changes["running headers"] += len(running)
    return edged.page


def _is_running(line: list[Span], keys: list[_Key], seen: Counter[_Key], lines: int) -> bool:
    alone = "".join(span.text for span in line).strip().isdigit()
    # The only line of a page is a header if it has the page's number.
    telling = (key for key in keys if lines > 1 or isinstance(key[2], int))
    return any(_pages_with(key, seen) >= _LEAST for key in telling if alone or key[0] != _ANYWHERE)


def _pages_with(key: _Key, seen: Counter[_Key]) -> int:
    edge, height, text = key
    return sum(seen[edge, near, text] for near in (height - 1, height, height + 1))
