"""Documents that are ZIP archives of XML: Office Open XML, OpenDocument, EPUB.

Nothing is unpacked to disk, no entity is expanded, and what a member may
expand to is taken from the allowance before it is read: ``zipfile`` never gives
more than the size that the archive declares.
"""

from __future__ import annotations

import contextlib
import mmap
import posixpath
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any

from linnet.data.document import UnreadableError

if TYPE_CHECKING:
    from pathlib import Path

    from linnet.data.extract.context import Context

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
# Streams of an OLE file ([MS-CFB]; their names stand in it as UTF-16) that tell what it is.
_STREAMS = {
    "EncryptedPackage": "encrypted",
    "WordDocument": "doc",
    "PowerPoint Document": "ppt",
    "Workbook": "xls",
    "Book": "xls",
}
_SAFE = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}
_ENCRYPTED_FLAG = 1
_METHODS = {  # of packing (APPNOTE.TXT 4.4.5) that zipfile does not know
    1: "shrink", 2: "reduce", 3: "reduce", 4: "reduce", 5: "reduce", 6: "implode",
    9: "Deflate64", 10: "implode", 16: "CMPSC", 18: "TERSE", 19: "LZ77", 20: "Zstandard",
    93: "Zstandard", 94: "MP3", 95: "XZ", 96: "JPEG", 97: "WavPack", 98: "PPMd", 99: "AES",
}  # fmt: skip


class Package:
    """The members of an archive, by their names in lower case with forward slashes."""

    def __init__(self, archive: zipfile.ZipFile, context: Context, kind: str) -> None:
        self._archive = archive
        self._context = context
        self._kind = kind
        self._members = {_key(info.filename): info for info in archive.infolist()}

    def __contains__(self, name: str) -> bool:
        return _key(name) in self._members

    def open(self, name: str) -> IO[bytes]:
        """A member as a stream. Raises UnreadableError if it is not there."""
        info = self._members.get(_key(name))
        if info is None:
            raise UnreadableError(f"damaged {self._kind}", f"{name} is missing")
        if info.flag_bits & _ENCRYPTED_FLAG:
            raise UnreadableError("encrypted")
        self._context.allowance.spend(info.file_size)
        return open_member(self._archive, info)

    def read(self, name: str) -> bytes:
        """A whole member. Raises UnreadableError if it is not there or too large."""
        with self.open(name) as file:
            limit = self._context.config.max_document_bytes
            data = file.read(limit + 1)
        if len(data) > limit:
            raise UnreadableError("larger than max_document_bytes", f"{name}; limit {limit:,}")
        return data

    def xml(self, name: str) -> Any:
        """The root of an XML member, its tags without their namespaces.

        Strict and transitional documents differ in nothing else, and within one
        format the local names are enough.
        """
        from lxml import etree

        parser = etree.XMLParser(remove_comments=True, remove_pis=True, **_SAFE)
        root = etree.fromstring(self.read(name), parser)
        for element in root.iter("{*}*"):
            element.tag = local(element.tag)
        return root

    def xml_or_none(self, name: str) -> Any | None:
        """The root of a member that need not be there."""
        return self.xml(name) if name in self else None

    def stream(self, name: str, *tags: str) -> Iterator[Any]:
        """The elements of these local names, one after another, each forgotten after its turn.

        Of elements within one another the outer comes last and is empty by then.
        """
        from lxml import etree

        with self.open(name) as file:
            wanted = [f"{{*}}{tag}" for tag in tags]
            for _, element in etree.iterparse(file, tag=wanted, remove_comments=True, **_SAFE):
                yield element
                element.clear()
                while element.getprevious() is not None:
                    del element.getparent()[0]


def open_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
    """A member as a stream. Raises UnreadableError for a method of packing that is not read."""
    try:
        return archive.open(info)
    except NotImplementedError as error:
        method = _METHODS.get(info.compress_type)
        if method is None:
            raise UnreadableError("packed in a way that is not supported", str(error)) from None
        reason = f"packed by {method}, which is not supported: pack it anew"
        raise UnreadableError(reason) from None


@contextlib.contextmanager
def open_package(path: Path, context: Context, kind: str) -> Iterator[Package]:
    """A document as a package. Whatever is wrong with it is raised as UnreadableError."""
    from lxml import etree

    found = ole_content(path)
    if found == "encrypted":
        raise UnreadableError("encrypted")
    if found:
        raise UnreadableError(f"damaged {kind}", "an OLE file")
    if path.stat().st_size == 0:
        raise UnreadableError("empty file")
    try:
        with zipfile.ZipFile(path) as archive:
            yield Package(archive, context, kind)
    except RecursionError:
        raise UnreadableError(f"damaged {kind}", "nested too deep") from None
    except (
        zipfile.BadZipFile, zlib.error, etree.LxmlError,
        ArithmeticError, EOFError, LookupError, OSError, RuntimeError, ValueError,
    ) as error:  # fmt: skip
        raise UnreadableError(f"damaged {kind}", str(error)[:200]) from None


def ole_content(path: Path) -> str | None:
    """What an OLE file holds: "encrypted", "doc", "ppt", "xls" or "other"; None for other files."""
    with path.open("rb") as file:
        if file.read(len(_OLE)) != _OLE:
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            held = {n for n in _STREAMS if data.find(f"{n}\0".encode("utf-16-le")) >= 0}
    # Documents may lie within one another: then the streams of the outermost tell.
    named = _outermost(path) & held or held
    return next((kind for name, kind in _STREAMS.items() if name in named), "other")


def _outermost(path: Path) -> set[str]:
    import olefile  # type: ignore[import-untyped]

    try:
        with olefile.OleFileIO(path) as file:
            return {entry[0] for entry in file.listdir() if len(entry) == 1}
    except (OSError, ValueError, LookupError, TypeError, struct.error):
        return set()


def local(name: Any) -> str:
    """The name of an element or attribute without its namespace; empty for what is no element."""
    return name.rpartition("}")[2] if isinstance(name, str) else ""


def attribute(element: Any, name: str, default: str = "") -> str:
    """An attribute by its local name."""
    found = element.get(name)
    if found is not None:
        return str(found)
    ending = "}" + name
    return next((str(v) for k, v in element.attrib.items() if k.endswith(ending)), default)


def resolve(base: str, target: str) -> str:
    """The member that a reference within the member ``base`` means."""
    if target.startswith("/"):
        return target.lstrip("/")
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), target))


def _key(name: str) -> str:
    return name.replace("\\", "/").lstrip("/").lower()
