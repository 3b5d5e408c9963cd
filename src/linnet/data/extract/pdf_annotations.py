"""What people wrote onto a page: fields of forms, typed text, comments (ISO 32000-1, 12.5)."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from linnet.data.extract.pdf_span import Span

if TYPE_CHECKING:
    from collections.abc import Iterator

_MOST = 5000  # of a page
_LARGEST = 12.0  # points: the text of a field is no taller
_LONGEST = 1 << 20  # bytes of a text


def written_on(page: Any) -> tuple[list[Span], list[str]]:
    """Text to be read where it stands (fields, typed text), and comments on what stands there."""
    import pypdfium2.raw as pdfium

    typed: list[Span] = []
    notes: list[str] = []
    for number in range(min(pdfium.FPDFPage_GetAnnotCount(page), _MOST)):
        annotation = pdfium.FPDFPage_GetAnnot(page, number)
        if not annotation:
            continue
        kind = pdfium.FPDFAnnot_GetSubtype(annotation)
        if kind == pdfium.FPDF_ANNOT_WIDGET:
            typed += _placed(annotation, _string(annotation, b"V"))
        elif kind == pdfium.FPDF_ANNOT_FREETEXT:
            typed += _placed(annotation, _string(annotation, b"Contents"))
        elif kind not in (pdfium.FPDF_ANNOT_LINK, pdfium.FPDF_ANNOT_POPUP):
            notes.append(_string(annotation, b"Contents"))
        pdfium.FPDFPage_CloseAnnot(annotation)
    return typed, list(filter(None, notes))


def _string(annotation: Any, key: bytes) -> str:
    import pypdfium2.raw as pdfium

    size = pdfium.FPDFAnnot_GetStringValue(annotation, key, None, 0)
    if not 2 < size <= _LONGEST:
        return ""
    buffer = (ctypes.c_ushort * (size // 2))()
    pdfium.FPDFAnnot_GetStringValue(annotation, key, buffer, size)
    text = bytes(buffer).decode("utf-16-le", "replace").rstrip("\0")
    return "\n".join(text.splitlines()).strip()


def _placed(annotation: Any, text: str) -> Iterator[Span]:
    """The lines of a text in the box of its annotation."""
    import pypdfium2.raw as pdfium

    box = pdfium.FS_RECTF()
    if not text or not pdfium.FPDFAnnot_GetRect(annotation, box):
        return
    lines = text.split("\n")
    step = abs(box.top - box.bottom) / len(lines)
    size = max(min(step * 0.8, _LARGEST), 1.0)
    for number, line in enumerate(lines):
        y = max(box.top, box.bottom) - step * (number + 0.5) - size * 0.3
        yield Span(box.left, max(box.right, box.left + 1), y, size, line)
