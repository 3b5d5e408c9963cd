"""Files of rows, read one row at a time whatever the size of the file.

JSON follows RFC 8259, CSV RFC 4180 with the delimiter found by looking; Parquet
is read by pyarrow, a batch at a time.
"""

from __future__ import annotations

import csv
import itertools
import json
import re
from typing import TYPE_CHECKING, Any

from linnet.data.decoding import read_chunks, read_lines
from linnet.data.document import Dropped, UnreadableError
from linnet.data.json_stream import JsonError, JsonStream, LongValueError

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CHATS = ("messages", "conversations", "conversation", "dialog", "turns")  # a column of turns
_DELIMITERS, _NO_DELIMITER = ",;\t|", "\x1f"  # the last one for a file of one column
_QUOTED_CELL = re.compile(r'(?:^|(?<=[,;\t|]))"[^"]*(?:""[^"]*)*(?:"|\Z)', re.MULTILINE)
# The first line of a table for Excel.
_NAMED_DELIMITER = re.compile(r'\ufeff?\s*"?sep=([^\r\n"])"?[;,\t|\s]*', re.IGNORECASE)
_SAMPLE_LINES = 50
_BATCH_ROWS, _BUFFER = 256, 1 << 20
_TOO_LONG = Dropped("row larger than max_document_bytes")


def read_json_lines(
    path: Path, *, limit: int, changes: Counter[str] | None = None
) -> Iterator[Any | Dropped]:
    """The value on each line; a line that is not JSON is dropped alone."""
    for line in read_lines(path, limit=limit, changes=changes):
        if line is None:
            yield _TOO_LONG
        elif line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield Dropped("line is not valid JSON")


def read_json(path: Path, *, limit: int, changes: Counter[str] | None = None) -> Iterator[Any]:
    """The rows of a JSON file: the elements of an array, or the value (or values) it holds.

    ``changes`` counts what is left out. Raises UnreadableError where the file stops being JSON.
    """
    stream = JsonStream(read_chunks(path, changes=changes), limit=limit)
    try:
        if stream.peek() == "[":
            yield from (row for _, row in stream.elements())
            return
        while stream.peek():
            yield from _rows_within(stream.take(), changes)
    except LongValueError:
        raise UnreadableError(
            "larger than max_document_bytes", "one JSON value is too long"
        ) from None
    except JsonError as error:
        raise UnreadableError("not valid JSON", str(error)) from None


def read_csv(path: Path, *, limit: int) -> Iterator[dict[str, str]]:
    """The rows of a CSV file by the names in its first row."""
    return named_rows(row for _, row in read_cells(path, limit=limit))


def read_cells(
    path: Path, *, limit: int, changes: Counter[str] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file that hold something, the first one included, with their numbers."""
    lines = _short_lines(read_lines(path, limit=limit, changes=changes))
    delimiter, lines, _ = cells_divided(lines, is_tsv=path.suffix.lower() == ".tsv")
    csv.field_size_limit(limit)
    try:
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter), 1):
            if any(cell.strip() for cell in row):
                yield number, row
    except csv.Error as error:
        raise UnreadableError("not valid CSV", str(error)) from None


def cells_divided(lines: Iterator[str], *, is_tsv: bool) -> tuple[str, Iterator[str], int]:
    """By what cells are divided, the lines of the table, and how many lines stand before it.

    Excel names the delimiter in a line of its own, ``sep=;``; elsewhere it is found by looking.
    """
    head = list(itertools.islice(lines, _SAMPLE_LINES))
    named = _NAMED_DELIMITER.fullmatch(head[0]) if head else None
    if named:
        return named[1], itertools.chain(head[1:], lines), 1
    delimiter = "\t" if is_tsv else _delimiter(head)
    return delimiter, itertools.chain(head, lines), 0


def named_rows(rows: Iterable[list[str]]) -> Iterator[dict[str, str]]:
    """Rows by the names in the first of them; an empty or repeated name gets its number."""
    rows = iter(rows)
    names = _column_names(next(rows, []))
    for row in rows:
        names += [f"column {n + 1}" for n in range(len(names), len(row))]
        yield dict(zip(names, row, strict=False))


def read_parquet(path: Path, *, limit: int) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file, of ``limit`` bytes as they are in memory.

    Raises UnreadableError where there is more, and for a file that is damaged or encrypted.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
            for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
                limit -= batch.nbytes
                if limit < 0:
                    raise UnreadableError("expands to more than max_expanded_bytes")
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        encrypted = "encrypt" in str(error).lower()
        reason = "encrypted" if encrypted else "damaged parquet"
        raise UnreadableError(reason, str(error)[:200]) from None


def _rows_within(value: Any, changes: Counter[str] | None) -> Iterable[Any]:
    """The rows of an object that wraps a single list of them, such as ``{"data": [...]}``."""
    if isinstance(value, dict):
        lists = {k: v for k, v in value.items() if isinstance(v, list) and v}
        rows = [name for name, inner in lists.items() if isinstance(inner[0], dict)]
        if len(rows) == 1 and len(lists[rows[0]]) > 1 and rows[0].lower() not in CHATS:
            beside = sum(inner not in (None, "", [], {}) for inner in value.values()) - 1
            if changes is not None and beside:
                changes["values beside the rows"] += beside
            return list(lists[rows[0]])
    return [value]


def _short_lines(lines: Iterator[str | None]) -> Iterator[str]:
    for line in lines:
        if line is None:
            raise UnreadableError("larger than max_document_bytes", "one line is too long")
        yield line + "\n"


def _delimiter(lines: list[str]) -> str:
    """The delimiter that most often cuts all lines into equally many cells."""
    lines = _QUOTED_CELL.sub("", "".join(lines)).split("\n")
    unquoted = [line for line in lines if line.strip(" \r")]  # a tab may be all that is left

    def fit(delimiter: str) -> tuple[float, int]:
        found = [line.count(delimiter) for line in unquoted]
        usual = max(set(found), key=found.count, default=0)
        return (found.count(usual) / len(found) if usual else 0.0, usual)

    best = max(_DELIMITERS, key=fit)
    return best if fit(best)[1] else _NO_DELIMITER


def _column_names(header: list[str]) -> list[str]:
    """The names in a header; an empty or repeated one gets its number."""
    names: dict[str, None] = {}
    for number, cell in enumerate(header, start=1):
        name = cell.strip()
        names[name if name and name not in names else f"{name or 'column'} {number}"] = None
    return list(names)
