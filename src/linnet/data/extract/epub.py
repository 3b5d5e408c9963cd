"""EPUB books: the documents of the spine in their order, as one text.

EPUB 3.3 (W3C) and EPUB 2 (IDPF). Navigation documents and pages of contents are left out
and counted, books under digital rights management refused.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from linnet.data.blocks import Builder
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.package import attribute, open_package, resolve
from linnet.data.markup.html import share_of_links
from linnet.data.markup.page_tree import page_tree
from linnet.data.markup.page_writer import blocks_of, joined

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context
    from linnet.data.extract.package import Package

KIND = "epub"
_PAGES = {"application/xhtml+xml", "text/html", "application/x-dtbook+xml"}
_MOSTLY_LINKS = 0.5  # of the text of a page of contents
_FONTS_ONLY = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_ENCODING = re.compile(rb"""\A\s*<\?xml[^>]{0,100}?encoding=["']([\w.-]+)""")
# XML closes an element in one tag; to a parser of HTML the rest of the page would lie in it.
_CLOSED = re.compile(r"<(title|script|style|textarea|iframe|a|div|p|span|td|li)(\s[^<>]*)?/>")


def read(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    with open_package(path, context, KIND) as package:
        _refuse_encrypted(package)
        book = Builder("section")
        left = context.config.max_document_bytes
        for number, (name, is_contents) in enumerate(_spine(package, context.changes), 1):
            if text := _text(package, name, is_contents=is_contents, changes=context.changes):
                book.include(text, number=number, name=name)
                left -= len(text)
                if left < 0:
                    raise UnreadableError("larger than max_document_bytes", "one book")
    if not book.length:
        raise UnreadableError("no text in it")
    yield Extracted(book.text(), context.group, KIND)


def _refuse_encrypted(package: Package) -> None:
    """Fonts may be disguised; anything else that is encrypted needs a key that is not here."""
    root = package.xml_or_none("META-INF/encryption.xml")
    for method in root.iter("EncryptionMethod") if root is not None else ():
        if not attribute(method, "Algorithm").startswith(_FONTS_ONLY):
            raise UnreadableError("encrypted")


def _text(package: Package, name: str, *, is_contents: bool, changes: Counter[str]) -> str:
    """The text of a page; empty where it is said to be a table of contents and is mostly links.

    (A guide's reference often leads into the page on which the first chapter begins.)
    """
    root = page_tree(_markup(package.read(name)), changes)
    blocks = [] if root is None else blocks_of(root)
    if is_contents and share_of_links(blocks) > _MOSTLY_LINKS:
        changes["pages of contents"] += 1
        return ""
    return joined(blocks).trimmed()


def _spine(package: Package, changes: Counter[str]) -> Iterator[tuple[str, bool]]:
    """The members with the text of the book, each once, in reading order; whether the book
    calls it a table of contents."""
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
        name = _target(book, attribute(item, "href")) if item is not None else ""
        if item is None or name not in package or attribute(item, "media-type") not in _PAGES:
            changes["missing pages"] += 1
        elif name not in seen:
            seen.add(name)
            is_navigation = "nav" in attribute(item, "properties").split()
            yield name, is_navigation or name in contents


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
