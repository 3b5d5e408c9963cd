"""Pages that are images: what OCR reads of them, where it was asked for.

Tesseract is a program and runs as those for old formats do (``linnet.data.converter``): confined,
page by page, for half of the time that a file has. Pages for which that is not enough are counted.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.data import converter, kinds
from linnet.data.document import MISSED_PAGES, Extracted, UnreadableError
from linnet.data.extract.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from linnet.data.extract.context import Context

_SHARE = 0.5  # of the time for a file
_DPI = 300  # what tesseract was trained for
_MOST_PIXELS = 25_000_000  # of a page: A3 at that
_UNREAD, _LATE, _FAILED, _ = MISSED_PAGES
_NEEDED = "needs OCR: its pages are images"
_MISSING = "needs OCR: install tesseract (on Debian: apt install tesseract-ocr)"
_COVERED = 0.5  # of a page by images: more is a scan
_MOST_LETTERS = 200  # that a scan has beside it: a stamp, a number, what a program put below it


def is_scan(page: Any, letters: int) -> bool:
    """Whether most of a page of a PDF is an image, though it may have some letters beside it."""
    import pypdfium2.raw as pdfium

    if letters > _MOST_LETTERS:
        return False
    if not letters and not any(True for _ in page.get_objects(max_depth=1)):
        return False  # it is empty
    if not letters:
        return True
    left, bottom, right, top = page.get_bbox()
    covered = 0.0
    for image in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=3):
        x0, y0, x1, y1 = image.get_bounds()
        wide, high = min(x1, right) - max(x0, left), min(y1, top) - max(y0, bottom)
        covered += max(wide, 0) * max(high, 0)
    return covered > _COVERED * float((right - left) * (top - bottom))


class Scans:
    """Reads pages of one file that are images, as far as that can be done."""

    def __init__(self, context: Context, changes: Counter[str]) -> None:
        """``changes``: of pages those that OCR had no time for, failed on, or was not there for."""
        self._context, self._changes = context, changes
        self._stack = contextlib.ExitStack()
        self._running: converter.Converter | None = None
        self._folder = Path()
        self._end = 0.0
        self._detail = ""

    def __enter__(self) -> Scans:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def refused(self) -> UnreadableError:
        """Why nothing was read of a file that has nothing but such pages."""
        if self._context.config.ocr == "none":
            return UnreadableError(_NEEDED)
        if not self._can_read:
            return UnreadableError(_MISSING)
        if self._changes[_FAILED]:
            return UnreadableError("needs OCR: tesseract failed", self._detail)
        if self._changes[_LATE]:
            return UnreadableError("needs OCR: tesseract took longer than half of file_timeout")
        return UnreadableError("no text in it")

    def of_page(self, document: Any, number: int) -> list[str]:
        """The paragraphs of a page of a PDF. Raises PdfiumError for one that is damaged."""
        if not self._can_read:
            self._changes[_UNREAD] += 1
            return []
        self._start()
        image = self._folder / f"{number}.pgm"
        _write_image(document, number, image)
        found = self._read(image)
        image.unlink()
        return found

    def of_image(self, path: Path) -> list[str]:
        """The paragraphs of a file that is an image."""
        if not self._can_read:
            self._changes[_UNREAD] += 1
            return []
        self._start()
        image = self._folder / f"image{path.suffix.lower()}"
        shutil.copyfile(path, image)  # where the program may read it, and under a plain name
        return self._read(image)

    @property
    def _can_read(self) -> bool:
        return self._context.config.ocr == "tesseract" and kinds.program(kinds.OCR) is not None

    def _start(self) -> None:
        if self._running is not None:
            return
        scratch, config = self._context.scratch, self._context.config
        self._end = time.monotonic() + _SHARE * config.file_timeout
        self._running = self._stack.enter_context(
            converter.running(scratch, memory_mb=config.file_memory)
        )
        folder = tempfile.TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True)
        self._folder = Path(self._stack.enter_context(folder))

    def _read(self, image: Path) -> list[str]:
        assert self._running is not None
        try:
            made = self._running.convert(
                image, kinds.PAGE_IMAGE, seconds=max(self._end - time.monotonic(), 0),
                limit=max(self._context.allowance.left, 0),
            )  # fmt: skip
        except UnreadableError as error:
            is_late = time.monotonic() >= self._end
            self._changes[_LATE if is_late else _FAILED] += 1
            self._detail = self._detail or error.detail
            return []
        text = made.path.read_text("utf-8", "replace")
        self._context.allowance.spend(len(text))
        made.path.unlink()
        paragraphs = map(_joined, text.replace("\f", "").split("\n\n"))
        return [paragraph for paragraph in paragraphs if paragraph]


def read_image(path: Path, context: Context) -> Iterator[Extracted]:
    """The text of a file that is an image, such as a photograph of a page."""
    if context.config.ocr != "tesseract":
        raise UnreadableError("not a text format")
    changes = Counter[str]()
    layout = Layout()
    with Scans(context, changes) as scans:
        for paragraph in scans.of_image(path):
            layout.paragraph(paragraph)
        if not len(layout):
            raise scans.refused()
    yield Extracted(layout.text(), context.group, kinds.IMAGE, changes=+changes)


def by_docling(path: Path) -> str:
    """The text of a PDF as docling reads it."""
    try:
        from docling.document_converter import DocumentConverter
    except ModuleNotFoundError:
        raise UnreadableError("needs OCR: pip install docling") from None
    try:
        text: str = DocumentConverter().convert(path).document.export_to_text()
    except Exception as error:  # whatever its models and engines raise
        raise UnreadableError("needs OCR: docling cannot read it", str(error)) from None
    return text


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
