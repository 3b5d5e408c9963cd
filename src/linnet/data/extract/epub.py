"""EPUB books: the documents of the spine in their order, as one text.

EPUB 3.3 (W3C) and EPUB 2 (IDPF). Navigation documents are left out, books under
digital rights management refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.package import attribute, open_package, resolve
from linnet.data.markup.html import all_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context
    from linnet.data.extract.package import Package

KIND = "epub"
_PAGES = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml"}
_FONTS_ONLY = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_ENCODING = re.compile(rb"""\A\s*<\?xml[^>]{0,100}?encoding=["']([\w.-]+)""")
# XML closes an element in one tag; to a parser of HTML the rest of the page would lie in it.
_CLOSED = re.compile(r"<(title|script|style|textarea|iframe|a|div|p|span|td|li)(\s[^<>]*)?/>")


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    with open_package(path, context, KIND) as package:
        _refuse_encrypted(package)
        pages = []
        left = context.config.max_document_bytes
        for name in _spine(package):
            if text := all_text(_markup(package.read(name))).strip():
                pages.append(text)
                left -= len(text)
                if left < 0:
                    raise UnreadableError("larger than max_document_bytes", "one book")
    if not pages:
        raise UnreadableError("no text in it")
    yield Extracted("\n\n".join(pages), context.group, KIND)


def _refuse_encrypted(package: Package) -> None:
    """Fonts may be disguised; anything else that is encrypted needs a key that is not here."""
    root = package.xml_or_none("META-INF/encryption.xml")
    for method in root.iter("EncryptionMethod") if root is not None else ():
        if not attribute(method, "Algorithm").startswith(_FONTS_ONLY):
            raise UnreadableError("encrypted")


def _spine(package: Package) -> Iterator[str]:
    """The members with the text of the book, each once, in reading order."""
    container = package.xml("META-INF/container.xml")
    book = next((attribute(e, "full-path") for e in container.iter("rootfile")), "")
    root = package.xml(book)
    items = {attribute(e, "id"): e for e in root.iterfind("manifest/item")}
    contents = {
        _target(book, attribute(e, "href"))
        for e in root.iterfind("guide/reference")
        if attribute(e, "type") == "toc"
    }
    seen: set[str] = set()
    for entry in root.iterfind("spine/itemref"):
        item = items.get(attribute(entry, "idref"))
        if item is None or not _is_page(item):
            continue
        name = _target(book, attribute(item, "href"))
        if name in package and name not in seen and name not in contents:
            seen.add(name)
            yield name


def _is_page(item: Any) -> bool:
    navigation = "nav" in attribute(item, "properties").split()
    return attribute(item, "media-type") in _PAGES and not navigation


def _target(base: str, reference: str) -> str:
    return resolve(base, unquote(urlsplit(reference).path))


def _markup(data: bytes) -> str:
    """XHTML as text that a parser of HTML understands."""
    declared = _ENCODING.search(data)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    else:
        encoding = declared[1].decode("ascii") if declared else "utf-8-sig"
    try:
        text = data.decode(encoding, errors="replace")
    except LookupError:
        text = data.decode("utf-8-sig", errors="replace")
    return _CLOSED.sub(r"<\1\2></\1>", text)
