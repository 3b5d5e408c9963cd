"""The kind of a file by its first bytes, for names that say nothing or something untrue."""

from __future__ import annotations

import codecs
import contextlib
import re
import tarfile
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
# Packages that are not read, by members, so that their metadata is not taken for texts.
_PACKAGES = {
    "xlsb": (r"xl/workbook\.bin",),
    "vsdx": (r"\[Content_Types\]\.xml", r"visio/.*"),
    "thmx": (r"\[Content_Types\]\.xml", r"theme/theme/.*"),
    "xps": (r"\[Content_Types\]\.xml", r"(?i:.*\.f(?:page|dseq))"),
    "3mf": (r"\[Content_Types\]\.xml", r"(?i:3D/.*\.model)"),
    "iWork": (r"Index/Document\.iwa|Index\.zip|index\.apxl|index\.xml(?:\.gz)?", r"[\w/]*\.plist"),
    "apk": (r"AndroidManifest\.xml", r".*\.dex"),
    "ipa": (r"Payload/[^/]+\.app/.*",),
    "jar": (r"META-INF/MANIFEST\.MF", r".*\.class"),
    "idml": (r"designmap\.xml",),
    "kmz": (r"doc\.kml",),
    "sketch": (r"document\.json", r"meta\.json", r"pages/.*\.json"),
    "this package": (r"\[Content_Types\]\.xml",),
}
_ARCHIVES = {"", "zip", "zipx"}  # suffixes of ZIP files whose members are files of their own
_OPEN_DOCUMENT = {  # what the member "mimetype" begins with
    b"application/vnd.oasis.opendocument.text": "odt",
    b"application/vnd.oasis.opendocument.presentation": "odt",
    b"application/vnd.oasis.opendocument.spreadsheet": "ods",
}
# The reader of docx says of what is encrypted that it is.
_OLE = {"encrypted": "docx", "doc": "doc", "ppt": "ppt", "xls": "xls"}
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


def is_tar(start: bytes) -> bool:
    """Whether the first 512 bytes are those of a tar archive, old ones without a mark included."""
    with contextlib.suppress(tarfile.TarError):
        tarfile.TarInfo.frombuf(start, "utf-8", "surrogateescape")
        return True
    return False


def package_kind(path: Path) -> str | None:
    """The kind of a document that is a ZIP archive; None for an archive of files.

    Raises UnreadableError for a package that is not read, which is no archive of texts.
    """
    try:
        with zipfile.ZipFile(path) as package:
            members = package.namelist()
            if "mimetype" in members and "content.xml" in members:
                with package.open("mimetype") as file:
                    return _open_document(file.read(100).strip())
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError, OSError):
        return None
    names = set(members)
    if found := next((kind for member, kind in _ZIPPED if member in names), None):
        return found
    for name, patterns in _PACKAGES.items():
        if all(any(map(re.compile(pattern).fullmatch, members)) for pattern in patterns):
            raise UnreadableError(f"{name} is not supported")
    if members[:1] == ["mimetype"]:
        raise UnreadableError("this package is not supported", "it names a type of its own")
    return None


def _open_document(mimetype: bytes) -> str:
    kind = next((k for t, k in _OPEN_DOCUMENT.items() if mimetype.startswith(t)), None)
    if kind is None and mimetype.startswith(b"application/vnd.oasis.opendocument."):
        raise UnreadableError(f"opendocument {mimetype[35:].decode('latin-1')} is not supported")
    return kind or "odt"


def _zipped(path: Path) -> str:
    if kind := package_kind(path):
        return kind
    suffix = path.suffix.removeprefix(".").lower()
    if suffix in _ARCHIVES or suffix in kinds.KIND_BY_SUFFIX:
        return "archive"
    raise UnreadableError(
        f"{suffix} is not supported", "a ZIP archive; one of texts is read if it is named .zip"
    )


def _in_ole(path: Path, content: str) -> str:
    import olefile  # type: ignore[import-untyped]

    with contextlib.suppress(OSError, ValueError, LookupError), olefile.OleFileIO(path) as file:
        if file.exists("__properties_version1.0"):  # a mail, whatever is attached to it
            return "msg"
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
