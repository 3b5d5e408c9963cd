"""Documents of Word and PowerPoint 97 to 2003, [MS-DOC] and [MS-PPT], by a program that reads them.

What LibreOffice makes of them is read as a document of today; antiword and
catdoc give their text alone.
"""

from __future__ import annotations

import dataclasses
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.data import converter, kinds
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.layout import Layout
from linnet.data.extract.package import ole_content

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.data.extract.context import Context

_SHARE = 0.5  # of the time for a file, so that what lies beside a document is still read
_ENCRYPTED_DOC = 0x0100  # in the flags of the information block
_ENCRYPTED_PPT = 0xF3D1C4DF
_PARAGRAPHS = {"antiword": re.compile(r"\n{2,}"), "catdoc": re.compile(r"\n+")}


def read_doc(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    yield from _read(path, "doc", context)


def read_ppt(path: Path, context: Context) -> Iterator[Extracted | Dropped]:
    yield from _read(path, "ppt", context)


def _read(path: Path, kind: str, context: Context) -> Iterator[Extracted | Dropped]:
    if path.stat().st_size == 0:
        raise UnreadableError("empty file")
    content = ole_content(path)
    if content == "encrypted" or (content == kind and _is_encrypted(path, kind)):
        raise UnreadableError("encrypted")
    if content != kind:
        raise UnreadableError(f"damaged {kind}", "it does not begin as one")
    if lacking := kinds.lacking(kind, path):
        raise UnreadableError(lacking)
    with tempfile.TemporaryDirectory(dir=context.scratch, ignore_cleanup_errors=True) as folder:
        source = Path(folder) / f"document.{kind}"
        shutil.copyfile(path, source)
        with converter.running(context.scratch, memory_mb=context.config.file_memory) as running:
            made = running.convert(
                source,
                kind,
                seconds=_SHARE * context.config.file_timeout,
                limit=max(context.allowance.left, 0),
            )
        if made.kind == kinds.TEXT:
            yield _plain(made, kind, context)
            return
        context.allowance.spend(made.path.stat().st_size)
        yield from _today(made, kind, context)


def _today(
    made: converter.Conversion, kind: str, context: Context
) -> Iterator[Extracted | Dropped]:
    from linnet.data.extract import extract

    for found in extract(made.path, kind=made.kind, context=context):
        yield dataclasses.replace(found, kind=kind) if isinstance(found, Extracted) else found


def _plain(made: converter.Conversion, kind: str, context: Context) -> Extracted:
    with made.path.open("rb") as file:
        data = file.read(context.config.max_document_bytes + 1)
    if len(data) > context.config.max_document_bytes:
        raise UnreadableError("larger than max_document_bytes", "one document")
    context.allowance.spend(len(data))
    found = Layout()
    text = data.decode("utf-8", "replace").replace("\f", "\n\n")
    for paragraph in _PARAGRAPHS[made.program].split(text):
        found.paragraph(paragraph)
    if not len(found):
        raise UnreadableError("no text in it")
    return Extracted(found.text(), context.group, kind)


def _is_encrypted(path: Path, kind: str) -> bool:
    """Is a key needed, by the headers ([MS-DOC] 2.5.2, [MS-PPT] 2.3.2)?"""
    import olefile  # type: ignore[import-untyped]

    name = "WordDocument" if kind == "doc" else "Current User"
    try:
        with olefile.OleFileIO(path) as file, file.openstream(name) as stream:
            head = stream.read(16)
    except (OSError, ValueError, LookupError, TypeError):
        return False
    if kind == "doc":
        return bool(int.from_bytes(head[10:12], "little") & _ENCRYPTED_DOC)
    return int.from_bytes(head[12:16], "little") == _ENCRYPTED_PPT
