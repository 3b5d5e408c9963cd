"""PDF whose pages are images: what OCR reads of them, where it was asked for.

Tesseract is a program and runs as those for old formats do (``linnet.data.converter``): confined,
page by page, for half of the time that a file has. Pages for which that is not enough are counted.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.data import converter, kinds
from linnet.data.document import UnreadableError
from linnet.data.extract.layout import Layout

if TYPE_CHECKING:
    from collections import Counter
    from typing import Any

    from linnet.data.extract.context import Context

_SHARE = 0.5  # of the time for a file
_DPI = 300  # what tesseract was trained for
_MOST_PIXELS = 25_000_000  # of a page: A3 at that
_LATE = "pages that OCR had no time for"
_NEEDED = "needs OCR: its pages are images"


def read(path: Path, context: Context, changes: Counter[str]) -> str:
    """The text of the pages. ``changes``: pages without text, also those that hold none for OCR;
    pages for which there was no time."""
    if context.config.ocr == "docling":
        return _by_docling(path)
    if context.config.ocr == "none":
        raise UnreadableError(_NEEDED)
    if kinds.program(kinds.OCR) is None:
        raise UnreadableError("needs OCR: install tesseract (on Debian: apt install tesseract-ocr)")
    return _by_tesseract(path, context, changes)


def _by_tesseract(path: Path, context: Context, changes: Counter[str]) -> str:
    import pypdfium2

    layout = Layout("page")
    changes["pages without text"] = 0
    end = time.monotonic() + _SHARE * context.config.file_timeout
    with (
        pypdfium2.PdfDocument(path) as document,
        converter.running(context.scratch, memory_mb=context.config.file_memory) as running,
        tempfile.TemporaryDirectory(dir=context.scratch, ignore_cleanup_errors=True) as folder,
    ):
        for number in range(len(document)):
            image = Path(folder) / f"{number}.pgm"
            try:
                _write_image(document, number, image)
            except pypdfium2.PdfiumError:
                changes["damaged pages"] += 1
                continue
            try:
                made = running.convert(
                    image, kinds.PAGE_IMAGE, seconds=max(end - time.monotonic(), 0),
                    limit=max(context.allowance.left, 0),
                )  # fmt: skip
            except UnreadableError as error:
                if time.monotonic() < end:
                    raise UnreadableError("needs OCR: tesseract failed", error.detail) from None
                changes[_LATE] = len(document) - number
                break
            text = made.path.read_text("utf-8", "replace")
            context.allowance.spend(len(text))
            before = len(layout)
            for paragraph in text.replace("\f", "").split("\n\n"):
                layout.paragraph(_joined(paragraph), marks=[(0, number + 1)])
            changes["pages without text"] += len(layout) == before
            image.unlink()
            made.path.unlink()
    if not len(layout) and changes[_LATE]:
        raise UnreadableError("needs OCR: tesseract took longer than half of file_timeout")
    return layout.text()


def _write_image(document: Any, number: int, image: Path) -> None:
    """A page in grey, as PGM (https://netpbm.sourceforge.net/doc/pgm.html)."""
    page = document[number]
    try:
        width, height = page.get_size()
        scale = min(_DPI / 72, (_MOST_PIXELS / max(width * height, 1)) ** 0.5)
        bitmap = page.render(scale=scale, grayscale=True)
        pixels = bitmap.to_numpy()
        rows, columns = pixels.shape[:2]
        with image.open("wb") as file:
            file.write(b"P5 %d %d 255\n" % (columns, rows))
            file.write(pixels.tobytes())
        bitmap.close()
    finally:
        page.close()


def _joined(paragraph: str) -> str:
    """A paragraph without the ends of its lines, and without hyphens that only those needed."""
    found = ""
    for line in paragraph.split("\n"):
        line = line.strip()
        if found.endswith("-") and found[-2:-1].isalpha() and line[:1].islower():
            found = found[:-1] + line
        else:
            found = f"{found} {line}".strip()
    return found


def _by_docling(path: Path) -> str:
    try:
        from docling.document_converter import DocumentConverter
    except ModuleNotFoundError:
        raise UnreadableError("needs OCR: pip install docling") from None
    try:
        text: str = DocumentConverter().convert(path).document.export_to_text()
    except Exception as error:  # whatever its models and engines raise
        raise UnreadableError("needs OCR: docling cannot read it", str(error)) from None
    return text
