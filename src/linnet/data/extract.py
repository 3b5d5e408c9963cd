"""One file to its documents, as a stream."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from linnet.data import kinds, python_library, records
from linnet.data.decoding import read_lines, read_text
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.markup.html import html_text
from linnet.data.markup.markdown import markdown_text
from linnet.data.markup.rst import rst_text
from linnet.data.normalize import normalize_code, normalize_prose

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from linnet.data.config import DataConfig

FORMAT = 1  # raised when the same file comes to yield other documents

_MARKUP = {kinds.MARKDOWN: markdown_text, kinds.RST: rst_text, kinds.HTML: html_text}


def extract(
    path: Path, *, kind: str | None, group: str, config: DataConfig
) -> Iterator[Extracted | Dropped]:
    """The documents of a file, normalised, and what was dropped of it.

    Raises UnreadableError when the file yields nothing: it is binary, too
    large, damaged or not text.
    """
    short = Dropped("shorter than min_characters")
    for found in _found(path, kind or kinds.TEXT, group, config):
        if isinstance(found, Extracted) and len(found.text.strip()) < config.min_characters:
            yield short
        else:
            yield found


def _found(path: Path, kind: str, group: str, config: DataConfig) -> Iterator[Extracted | Dropped]:
    limit = config.max_document_bytes
    if kind == kinds.TEXT:
        yield from _divided_text(path, group, config)
    elif kind in _MARKUP:
        source = read_text(path, limit=limit).replace("\r\n", "\n")
        yield Extracted(normalize_prose(_MARKUP[kind](source)), group, kind)
    elif kind == kinds.CODE:
        yield Extracted(normalize_code(read_text(path, limit=limit)), group, kind)
    elif kind == kinds.LIBRARY_MODULE:
        yield from python_library.read_module(read_text(path, limit=limit), group)
    elif kind == kinds.LIBRARY_TOPICS:
        yield from python_library.read_topics(read_text(path, limit=limit))
    else:
        yield from _rows(path, kind, config)


def _divided_text(path: Path, group: str, config: DataConfig) -> Iterator[Extracted | Dropped]:
    """A text file: one document, or several between separator lines.

    The parts of a divided file are documents on their own, so that they fall
    into different splits; an undivided file is known by its name.
    """
    parts = _parts(path, config.separator, config.max_document_bytes)
    first = list(itertools.islice(parts, 2))
    if len(first) < 2:
        if None in first:
            raise UnreadableError("larger than max_document_bytes", "one undivided document")
        yield Extracted(normalize_prose("".join(filter(None, first))), group, kinds.TEXT)
        return
    for part in itertools.chain(first, parts):
        if part is None:
            yield Dropped("document larger than max_document_bytes")
        elif text := normalize_prose(part):
            yield Extracted(text, None, kinds.TEXT)


def _parts(path: Path, separator: str, limit: int) -> Iterator[str | None]:
    """What lies between separator lines; None for a part of more than ``limit`` characters."""
    lines: list[str] = []
    length = 0
    for line in read_lines(path, limit=limit):
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


def _rows(path: Path, kind: str, config: DataConfig) -> Iterator[Extracted | Dropped]:
    read = {
        kinds.JSON: records.read_json,
        kinds.JSON_LINES: records.read_json_lines,
        kinds.CSV: records.read_csv,
    }[kind]
    for row in read(path, limit=config.max_document_bytes):
        if isinstance(row, Dropped):
            yield row
        else:
            text = normalize_prose(records.row_text(row, config))
            yield Extracted(text, records.row_group(row, config), kind)
