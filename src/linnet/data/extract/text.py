"""Files that are text already: plain, marked up, logs, source code."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

from linnet.data import kinds, python_library
from linnet.data.decoding import read_lines, read_text
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.markup.html import all_text, html_text
from linnet.data.markup.markdown import markdown_text
from linnet.data.markup.org import org_text
from linnet.data.markup.origin import is_web_page
from linnet.data.markup.rst import rst_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context
    from linnet.data.kinds import Family

    Found = Iterator[Extracted | Dropped]

_LATEX = {".tex", ".sty", ".cls"}
_INCLUSION = re.compile(
    r"^[^%\n]{0,200}?\\(?:input|include|subfile|subimport|import)\s*\{"
    r"|^[ \t]*\.\. (?:literal)?include::|^[ \t]*#\+INCLUDE:",
    re.MULTILINE | re.IGNORECASE,
)


def read_markdown(path: Path, context: Context) -> Found:
    return _marked_up(path, context, kinds.MARKDOWN, markdown_text)


def read_rst(path: Path, context: Context) -> Found:
    return _marked_up(path, context, kinds.RST, rst_text)


def read_org(path: Path, context: Context) -> Found:
    return _marked_up(path, context, "org", org_text)


def read_html(path: Path, context: Context) -> Found:
    """A page: its main text, or all of it. Only text from the web is judged as such."""
    source = _whole(path, context)
    family: Family = "prose"
    if context.config.html == "full":
        text = all_text(source, context.changes)
    else:
        family = "web" if is_web_page(source) else "prose"
        text = html_text(source, context.changes)
    yield Extracted(text, context.group, kinds.HTML, family=family)


def read_code(path: Path, context: Context) -> Found:
    source = _whole(path, context)
    if path.suffix.lower() in _LATEX:
        _count_inclusions(source, context)
    yield Extracted(source, context.group, kinds.CODE)


def read_log(path: Path, context: Context) -> Found:
    """A log as it is, cut at line ends into documents of at most ``max_document_bytes``."""
    limit = context.config.max_document_bytes
    pieces = _pieces(read_lines(path, limit=limit, changes=context.changes), limit)
    first = list(itertools.islice(pieces, 2))
    for number, text in enumerate(itertools.chain(first, pieces), 1):
        part = f"#{number}" if len(first) > 1 else ""
        if text is None:
            yield Dropped("line larger than max_document_bytes", part)
        else:
            yield Extracted(text, context.group, "log", part)


def read_library_module(path: Path, context: Context) -> Found:
    return python_library.read_module(_whole(path, context), context.group)


def read_library_topics(path: Path, context: Context) -> Found:
    return python_library.read_topics(_whole(path, context))


def read_text_file(path: Path, context: Context) -> Found:
    """A text file: one document, or several between separator lines.

    The parts of a divided file are documents on their own, so that they fall
    into different splits; an undivided file is known by its name.
    """
    parts = _parts(path, context)
    first = list(itertools.islice(parts, 2))
    if len(first) < 2:
        if None in first:
            raise UnreadableError("larger than max_document_bytes", "one undivided document")
        yield Extracted("".join(filter(None, first)), context.group, kinds.TEXT)
        return
    for number, part in enumerate(itertools.chain(first, parts), 1):
        if part is None:
            yield Dropped("document larger than max_document_bytes", f"#{number}")
        elif part.strip():
            yield Extracted(part, None, kinds.TEXT, part=f"#{number}")


def _whole(path: Path, context: Context) -> str:
    return read_text(path, limit=context.config.max_document_bytes, changes=context.changes)


def _count_inclusions(source: str, context: Context) -> None:
    r"""Files that a document draws in by name: ``\input``, ``.. include::``, ``#+INCLUDE:``.

    They are documents of their own where they lie in a source. Written into this one as well
    their text would be trained on twice, and would stay in it when they are forgotten.
    """
    if count := sum(1 for _ in _INCLUSION.finditer(source)):
        context.changes["files included by name"] += count


def _marked_up(path: Path, context: Context, kind: str, plain: Callable[[str], str]) -> Found:
    source = _whole(path, context).replace("\r\n", "\n")
    if kind in (kinds.RST, "org"):
        _count_inclusions(source, context)
    yield Extracted(plain(source), context.group, kind)


def _parts(path: Path, context: Context) -> Iterator[str | None]:
    """What lies between separator lines; None for a part of more characters than the limit."""
    separator, limit = context.config.separator, context.config.max_document_bytes
    lines: list[str] = []
    length = 0
    for line in read_lines(path, limit=limit, changes=context.changes):
        if line is not None and line.strip() == separator:
            yield "\n".join(lines) if length <= limit else None
            lines.clear()
            length = 0
            continue
        length += limit + 1 if line is None else len(line) + 1
        if length <= limit:
            lines.append(line or "")
        else:
            lines.clear()
    if length:
        yield "\n".join(lines) if length <= limit else None


def _pieces(lines: Iterator[str | None], limit: int) -> Iterator[str | None]:
    """As many whole lines together as stay below ``limit`` bytes; None for a line that does not."""
    piece: list[str] = []
    size = 0
    for line in lines:
        length = limit if line is None else len(line.encode("utf-8", "surrogatepass")) + 1
        if size + length > limit and piece:
            yield "\n".join(piece)
            piece, size = [], 0
        if line is None or length > limit:
            yield None
        else:
            piece.append(line)
            size += length
    if piece:
        yield "\n".join(piece)
