"""The kind of a file whose name says nothing, by its first bytes."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from linnet.data import kinds

if TYPE_CHECKING:
    from pathlib import Path

_STARTS = {b"%PDF-": "pdf", b"{\\rtf": "rtf", b"\x1f\x8b": "archive"}
_ZIPPED = (  # a member that tells the format
    ("word/document.xml", "docx"),
    ("ppt/presentation.xml", "pptx"),
    ("xl/workbook.xml", "xlsx"),
    ("META-INF/container.xml", "epub"),
)


def sniff(path: Path) -> str:
    """The kind; text where nothing else shows (its reader refuses what is binary)."""
    with path.open("rb") as file:
        start = file.read(8)
    for mark, kind in _STARTS.items():
        if start.startswith(mark):
            return kind
    if start.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        return _zipped(path)
    return kinds.TEXT


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
    except (zipfile.BadZipFile, ValueError, OSError):
        return "archive"
    return next((kind for member, kind in _ZIPPED if member in members), "archive")
