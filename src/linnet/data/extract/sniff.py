"""The kind of a file by its first bytes, for names that say nothing or something untrue."""

from __future__ import annotations

import codecs
import contextlib
import re
import zipfile
import zlib
from typing import TYPE_CHECKING

from linnet.data import kinds
from linnet.data.document import UnreadableError
from linnet.data.extract.package import ole_content

if TYPE_CHECKING:
    from pathlib import Path

_START = 4096
_BINARY = {
    b"{\\rtf": "rtf",
    b"PAR1": kinds.PARQUET,
    b"\x1f\x8b": "archive",
    b"BZh": "archive",
    b"\xfd7zXZ\x00": "archive",
}
_PDF_WITHIN = 1024  # bytes that may stand before the mark, as all viewers have it
_ZIPPED = (  # a member that tells the format
    ("word/document.xml", "docx"),
    ("ppt/presentation.xml", "pptx"),
    ("xl/workbook.xml", "xlsx"),
    ("META-INF/container.xml", "epub"),
)
_OPEN_DOCUMENT = {  # what the member "mimetype" begins with
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.presentation": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods",
}
_OLE = {"encrypted": "docx", "xls": "xls"}  # the reader of docx says that it is encrypted
_PAGE = re.compile(
    r"(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,500}?-->\s*)?"
    r"<(?:!doctype html|html|head|body|div|p|h[1-6]|meta|table|ul|span|center)\b",
    re.IGNORECASE | re.DOTALL,
)
_TEXTUAL = (  # the first that fits is right
    (_PAGE, kinds.HTML),
    (re.compile(r"<\?xml\b"), "xml"),
    (re.compile(r"From \S.{0,200}\d\d:\d\d.{0,100}\d{4}\s*\n[\w-]{1,60}:"), "mbox"),
    (re.compile(r"WEBVTT\b|1\s*\n\d{1,2}:\d\d:\d\d,\d{3} -->"), "transcript"),
    (re.compile(r"\{\s*\"(?:cells|metadata|nbformat)\"\s*:(?s:.*)\"cell_type\""), "notebook"),
    (re.compile(r"\{\s*\"[^\"\n]{1,200}\"\s*:.{0,3000}\}[ \t]*\n\{\s*\""), kinds.JSON_LINES),
    (re.compile(r"\{\s*\"[^\"\n]{1,200}\"\s*:|\[\s*(?:\{\s*\"|\[\s*[\"\d\[{])"), kinds.JSON),
    (re.compile(r"#!\s*/|<\?php\b"), kinds.CODE),
    (re.compile(r"<!|<[a-zA-Z][\w:.-]{0,60}(?:\s[^<>]{0,500})?>"), "xml"),
)
_HEADER = re.compile(
    r"^(?:from|to|cc|subject|date|received|message-id|mime-version|return-path|delivered-to"
    r"|content-type|reply-to|in-reply-to|references|x-[\w-]{1,60}):",
    re.IGNORECASE,
)
_ANY_HEADER = re.compile(r"^(?:[\w-]{1,60}:|[ \t]+\S)")
_LEAST_HEADERS = 3


def sniff(path: Path) -> str:
    """The kind; text where nothing else shows (its reader refuses what is binary).

    Raises UnreadableError for a format that is known and not read.
    """
    from linnet.data.extract.archive import is_tar

    with path.open("rb") as file:
        start = file.read(_START)
    if b"%PDF-" in start[:_PDF_WITHIN]:
        return "pdf"
    for mark, kind in _BINARY.items():
        if start.startswith(mark):
            return kind
    if start.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path):
        return _zipped(path)
    if found := ole_content(path):
        return _in_ole(path, found)
    return "archive" if is_tar(start[:512]) else _textual(_decoded(start))


def _zipped(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as package:
            members = set(package.namelist())
            if "mimetype" in members and "content.xml" in members:
                with package.open("mimetype") as file:
                    return _OPEN_DOCUMENT.get(file.read(100).strip(), "odt")
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError):
        return "archive"
    return next((kind for member, kind in _ZIPPED if member in members), "archive")


def _in_ole(path: Path, content: str) -> str:
    import olefile  # type: ignore[import-untyped]

    with contextlib.suppress(OSError, ValueError, LookupError), olefile.OleFileIO(path) as file:
        if file.exists("__properties_version1.0"):  # a mail, whatever is attached to it
            return "msg"
    if content in kinds.REFUSED:
        raise UnreadableError(kinds.REFUSED[content])
    return _OLE.get(content, kinds.TEXT)


def _decoded(start: bytes) -> str:
    wide = start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return start.decode("utf-16" if wide else "utf-8", "ignore").lstrip("\ufeff \t\r\n")


def _textual(start: str) -> str:
    for pattern, kind in _TEXTUAL:
        if pattern.match(start):
            return kind
    return "eml" if _is_mail(start) else kinds.TEXT


def _is_mail(start: str) -> bool:
    """Whether it begins with lines of a mail's head: several known ones, and no others."""
    known = 0
    for line in start.splitlines():
        known += bool(_HEADER.match(line))
        if known >= _LEAST_HEADERS:
            return True
        if not _ANY_HEADER.match(line):
            return False
    return False
