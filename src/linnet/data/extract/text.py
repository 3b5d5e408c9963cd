"""Files that are text already: plain, marked up, logs, source code, molecules one a line."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Protocol

from linnet.data import kinds, python_library
from linnet.data.blocks import Text, numbered, placed
from linnet.data.decoding import read_chunks, read_lines, read_text
from linnet.data.document import Dropped, Extracted
from linnet.data.extract import sections
from linnet.data.markup.html import all_text, html_text, is_web_page
from linnet.data.markup.markdown import markdown_text
from linnet.data.markup.org import org_text
from linnet.data.markup.rst import rst_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from linnet.data.extract.context import Context
    from linnet.data.kinds import Family

    Found = Iterator[Extracted | Dropped]


class Plain(Protocol):
    """Makes text of a source, of which the first line has this number in its file."""

    def __call__(self, source: str, *, first: int = 1) -> Text: ...


_SYMBOL_HEADERS = {"smiles", "canonical_smiles", "isomeric_smiles", "selfies", "sequence"}
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
    if _is_long(path, context):
        return _in_sections(path, context, kinds.CODE, sections.CODE, plain=_code)
    source = _whole(path, context)
    if path.suffix.lower() in _LATEX:
        _count_inclusions(source, context)
    return iter([Extracted(numbered(source, "code"), context.group, kinds.CODE)])


def read_log(path: Path, context: Context) -> Found:
    """A log as it is; a long one is cut at line ends."""
    return _in_sections(path, context, "log", sections.LINES)


def _code(source: str, *, first: int = 1) -> Text:
    return numbered(source, "code", first=first)


def _prose(source: str, *, first: int = 1) -> Text:
    return numbered(source, "prose", first=first)


def read_library_module(path: Path, context: Context) -> Found:
    return python_library.read_module(_whole(path, context), context.group)


def read_library_topics(path: Path, context: Context) -> Found:
    return python_library.read_topics(_whole(path, context))


def read_text_file(path: Path, context: Context) -> Found:
    """A text file: one document, or several between separator lines.

    The parts of a divided file are documents on their own, so that they fall
    into different splits; an undivided file is known by its name.
    """
    return _in_sections(
        path, context, kinds.TEXT, sections.PROSE, separator=context.config.separator
    )


def _whole(path: Path, context: Context) -> str:
    return read_text(path, limit=context.config.max_document_bytes, changes=context.changes)


def _count_inclusions(source: str, context: Context) -> None:
    r"""Files that a document draws in by name: ``\input``, ``.. include::``, ``#+INCLUDE:``.

    They are documents of their own where they lie in a source. Written into this one as well
    their text would be trained on twice, and would stay in it when they are forgotten.
    """
    if count := sum(1 for _ in _INCLUSION.finditer(source)):
        context.changes["files included by name"] += count


def _marked_up(path: Path, context: Context, kind: str, plain: Plain) -> Found:
    if _is_long(path, context):
        return _in_sections(path, context, kind, sections.PROSE, plain=plain)
    source = _whole(path, context).replace("\r\n", "\n")
    if kind in (kinds.RST, "org"):
        _count_inclusions(source, context)
    return iter([Extracted(plain(source), context.group, kind)])


def _is_long(path: Path, context: Context) -> bool:
    return path.stat().st_size > _longest(context)


def _longest(context: Context) -> int:
    """Characters of a text that is not cut; even at 4 bytes each they are a document."""
    return min(context.config.cut_above, context.config.max_document_bytes // 4)


def _in_sections(
    path: Path,
    context: Context,
    kind: str,
    borders: Sequence[sections.Border],
    *,
    separator: str = "",
    plain: Plain = _prose,
) -> Found:
    """The documents of a text file of any size (``linnet.data.extract.sections``).

    Sections of a long text are divided into splits one by one: so long a text
    would fill one of them alone.
    """
    found = sections.sections(
        read_chunks(path, changes=context.changes),
        longest=_longest(context),
        separator=separator,
        borders=borders,
    )
    first = list(itertools.islice(found, 2))
    for number, (text, cut, line) in enumerate(itertools.chain(first, found), 1):
        if len(first) == 1 and not cut:
            yield Extracted(plain(text, first=line), context.group, kind)
        elif text.strip():
            group = f"{context.group}#{number}" if cut else None
            written = plain(text, first=line)
            yield Extracted(written, group, kind, part=f"#{number}", cut=cut)


def read_symbols(path: Path, context: Context) -> Found:
    """Molecules as SMILES (Daylight, OpenSMILES), one a line, each a document.

    What follows the first blank of a line names the molecule: it is left out.
    """
    limit = context.config.max_document_bytes
    for number, line in enumerate(read_lines(path, limit=limit, changes=context.changes), 1):
        if line is None:
            yield Dropped("line larger than max_document_bytes", f"#{number}")
            continue
        text = line.split(maxsplit=1)[0] if line.strip() else ""
        if text and not (number == 1 and text.lower() in _SYMBOL_HEADERS):
            text = placed(text, "symbols", "line", number)
            yield Extracted(text, None, "symbols", f"#{number}", "symbols")
