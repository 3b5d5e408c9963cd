"""PDF, read with PDFium.

Each page is cut into its columns (``pdf_columns``), lines become tables
(``pdf_tables``) and paragraphs (``pdf_paragraphs``), which go on over columns
and pages. What stands at the same height at the edge of many pages is left out
(``pdf_running``).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.layout import Layout
from linnet.data.extract.pdf_columns import regions
from linnet.data.extract.pdf_page import Page, read_page
from linnet.data.extract.pdf_paragraphs import Block, blocks, goes_on, join, leading
from linnet.data.extract.pdf_running import without_running
from linnet.data.extract.pdf_tables import rows_of, with_tables

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context

_KIND = "pdf"
_BEHIND = 3  # blocks (notes, captions) that may stand between a paragraph and its rest


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    """The text of a PDF as one document.

    ``changes``: running headers (lines of headers and footers left out), pages
    without text, slanted text (characters of watermarks left out).
    """
    changes = Counter[str]()
    text = _text(path, context, changes)
    if not text:
        text = _scanned(path, context) if changes["pages without text"] else ""
    if not text.strip():
        raise UnreadableError("no text in it")
    yield Extracted(text, context.group, _KIND, changes=+changes)


def _text(path: Path, context: Context, changes: Counter[str]) -> str:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(path)
    except pypdfium2.PdfiumError as error:
        if "password" in str(error).lower() or "security" in str(error).lower():
            raise UnreadableError("encrypted") from None
        raise UnreadableError("damaged pdf", str(error)) from None
    with document:
        layout, size = Layout(), 0
        for block in _flowing(without_running(_pages(document, changes), changes)):
            size += sum(len(cell) for row in block.rows for cell in row) + len(block.text)
            if size > context.config.max_document_bytes:
                raise UnreadableError("larger than max_document_bytes", f"{size:,} characters")
            _write(block, layout)
    return layout.text()


def _pages(document: Any, changes: Counter[str]) -> Iterator[Page]:
    import pypdfium2

    for number in range(len(document)):
        try:
            page = document[number]
        except pypdfium2.PdfiumError:
            changes["damaged pages"] += 1
            continue
        found = read_page(page)
        page.close()
        changes["pages without text"] += not found.layers
        changes["slanted text"] += found.slanted
        yield found


def _flowing(pages: Iterable[Page]) -> Iterator[Block]:
    """The blocks of all pages, paragraphs joined over the ends of columns and pages."""
    held: list[Block] = []
    for page in pages:
        for region in _laid_out(page):
            for number, block in enumerate(region):
                if number == 0 and (begun := _begun(held, block)):
                    join(begun, block)
                else:
                    held.append(block)
            yield from held[:-_BEHIND]
            del held[:-_BEHIND]
    yield from held


def _begun(held: list[Block], block: Block) -> Block | None:
    return next((before for before in reversed(held) if goes_on(before, block)), None)


def _laid_out(page: Page) -> Iterator[list[Block]]:
    parts = [
        with_tables(rows_of(part), page.rules if number == 0 else [])
        for number, layer in enumerate(page.layers)
        for part in regions(layer, page.rules if number == 0 else [])
    ]
    usual = leading(parts)
    for rows in parts:
        yield list(blocks(rows, usual))


def _write(block: Block, layout: Layout) -> None:
    if block.kind == "table":
        layout.table(block.rows)
    elif block.kind == "item":
        layout.item(block.text)
    else:
        layout.paragraph(block.text)


def _scanned(path: Path, context: Context) -> str:
    """The text of a PDF whose pages are images."""
    if context.config.ocr != "docling":
        raise UnreadableError("needs OCR: its pages are images")
    try:
        from docling.document_converter import DocumentConverter
    except ModuleNotFoundError:
        raise UnreadableError("needs OCR: pip install 'linnet[ocr]'") from None
    text: str = DocumentConverter().convert(path).document.export_to_text()
    return text
