"""Files of rows: each row is a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linnet.data import kinds, records
from linnet.data.document import Dropped, Extracted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from linnet.data.extract.context import Context

    Found = Iterator[Extracted | Dropped]


def read_json(path: Path, context: Context) -> Found:
    limit = context.config.max_document_bytes
    return _documents(records.read_json(path, limit=limit), kinds.JSON, context)


def read_json_lines(path: Path, context: Context) -> Found:
    limit = context.config.max_document_bytes
    return _documents(records.read_json_lines(path, limit=limit), kinds.JSON_LINES, context)


def read_csv(path: Path, context: Context) -> Found:
    limit = context.config.max_document_bytes
    return _documents(records.read_csv(path, limit=limit), kinds.CSV, context)


def _documents(rows: Iterable[Any], kind: str, context: Context) -> Found:
    config = context.config
    for number, row in enumerate(rows, 1):
        if isinstance(row, Dropped):
            yield Dropped(row.reason, f"#{number}")
            continue
        text = records.row_text(row, config)
        yield Extracted(text, records.row_group(row, config), kind, part=f"#{number}")
