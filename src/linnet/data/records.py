"""Files of rows: JSON, JSON lines, CSV. Each row is a document.

The text of a row: the columns that were asked for; else the first column with
a name that says text; else all columns as ``name: value`` lines. JSON follows
RFC 8259, CSV RFC 4180 with the delimiter found by looking. Rows are read one at
a time, whatever the size of the file.
"""

from __future__ import annotations

import csv
import itertools
import json
from typing import TYPE_CHECKING, Any

from linnet.data.clean import replace_lone_surrogates
from linnet.data.decoding import read_chunks, read_lines
from linnet.data.document import Dropped, UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from linnet.data.config import DataConfig

TEXT_COLUMNS = ("text", "content", "body", "document", "article", "story", "passage", "markdown")
# Shown in ``name: value`` lines they would only teach a model to make up identifiers.
_IDENTIFIERS = {"id", "_id", "uuid", "guid", "url", "uri", "href", "hash", "sha1", "sha256"}
_IN_NUMBERS = "+-.eE0123456789"
_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 50
_TOO_LONG = Dropped("row larger than max_document_bytes")


def read_json_lines(path: Path, *, limit: int) -> Iterator[Any | Dropped]:
    """The value on each line; a line that is not JSON is dropped alone."""
    for line in read_lines(path, limit=limit):
        if line is None:
            yield _TOO_LONG
        elif line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield Dropped("line is not valid JSON")


def read_json(path: Path, *, limit: int) -> Iterator[Any]:
    """The rows of a JSON file: the elements of an array, or the value (or values) it holds.

    Raises UnreadableError where the file stops being JSON.
    """
    stream = _JsonStream(read_chunks(path), limit)
    if stream.peek() != "[":
        while stream.peek():
            yield from _rows_within(stream.value())
        return
    stream.take()
    if stream.peek() == "]":
        return
    while True:
        yield stream.value()
        mark = stream.peek()
        stream.take()
        if mark == "]":
            return
        if mark != ",":
            raise UnreadableError("not valid JSON", f"expected ',' or ']', got {mark!r}")


def read_csv(path: Path, *, limit: int) -> Iterator[dict[str, str]]:
    """The rows of a CSV file by the names in its first row."""
    lines = _short_lines(read_lines(path, limit=limit))
    head = list(itertools.islice(lines, _SAMPLE_LINES))
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(head)
    csv.field_size_limit(limit)
    rows = csv.reader(itertools.chain(head, lines), delimiter=delimiter)
    try:
        names = _column_names(next((row for row in rows if any(row)), []))
        for row in rows:
            if any(cell.strip() for cell in row):
                names += [f"column {n + 1}" for n in range(len(names), len(row))]
                yield dict(zip(names, row, strict=False))
    except csv.Error as error:
        raise UnreadableError("not valid CSV", str(error)) from None


def row_text(row: Any, config: DataConfig) -> str:
    """The text of a row (see the module)."""
    if not isinstance(row, dict):
        return _rendered(row)
    if config.text_columns:
        parts = [_rendered(row[name]) for name in config.text_columns if row.get(name) is not None]
        return "\n\n".join(part for part in parts if part)
    lowered = {str(name).lower(): value for name, value in row.items()}
    for name in TEXT_COLUMNS:
        if isinstance(lowered.get(name), str):
            return str(lowered[name])
    shown = {k: v for k, v in row.items() if str(k).lower() not in _IDENTIFIERS}
    return _rendered(shown)


def row_group(row: Any, config: DataConfig) -> str | None:
    """What keeps a row's relatives in its split, or None if it has none."""
    value = row.get(config.group_column) if isinstance(row, dict) else None
    if not isinstance(value, str | int) or not str(value):
        return None
    return replace_lone_surrogates(str(value))


class _JsonStream:
    """Values out of a stream of characters, holding no more than one value of them."""

    def __init__(self, chunks: Iterator[str], limit: int) -> None:
        self.chunks = chunks
        self.limit = limit
        self.text = ""
        self.at = 0
        self.decoder = json.JSONDecoder()

    def peek(self) -> str:
        """The next character that is not blank; empty at the end."""
        while True:
            while self.at < len(self.text):
                if not self.text[self.at].isspace():
                    return self.text[self.at]
                self.at += 1
            if not self._more():
                return ""

    def take(self) -> None:
        self.at += 1

    def value(self) -> Any:
        """The value that begins here. Retried with twice the text, so the work stays linear."""
        self.peek()
        while True:
            try:
                value, end = self.decoder.raw_decode(self.text, self.at)
            except RecursionError:
                raise UnreadableError("not valid JSON", "nested too deeply") from None
            except ValueError as error:
                if not self._more(at_least=len(self.text) - self.at):
                    raise UnreadableError("not valid JSON", str(error)) from None
                continue
            ended = end < len(self.text) and self.text[end] not in _IN_NUMBERS
            if ended or not self._more():  # a number may go on in the next chunk
                self.at = end
                return value

    def _more(self, *, at_least: int = 1) -> bool:
        parts = [self.text[self.at :]]
        added = 0
        while added < at_least and (chunk := next(self.chunks, "")):
            parts.append(chunk)
            added += len(chunk)
        self.text, self.at = "".join(parts), 0
        if len(self.text) > self.limit + 2 * added:
            raise UnreadableError("larger than max_document_bytes", "one JSON value is too long")
        return added > 0


def _rows_within(value: Any) -> Iterable[Any]:
    """The rows of an object that wraps a single list of them, such as ``{"data": [...]}``."""
    if isinstance(value, dict):
        lists = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        if len(lists) == 1 and len(lists[0]) > 1:
            return list(lists[0])
    return [value]


def _rendered(value: Any, depth: int = 0) -> str:
    """A value as a person would write it down: ``name: value`` lines, lists with dashes."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        lines = []
        for name, inner in value.items():
            text = _rendered(inner, depth + 1)
            nested = isinstance(inner, dict) or (isinstance(inner, list) and "\n" in text)
            if text:
                lines.append(f"{name}:{chr(10) if nested else ' '}{text}")
        return "\n".join(lines)
    if isinstance(value, list):
        items = [item for item in (_rendered(inner, depth + 1) for inner in value) if item]
        if all(isinstance(inner, str | int | float) for inner in value):
            return ", ".join(items)
        return "\n".join(f"- {item}" for item in items)
    return str(value)


def _short_lines(lines: Iterator[str | None]) -> Iterator[str]:
    for line in lines:
        if line is None:
            raise UnreadableError("larger than max_document_bytes", "one line is too long")
        yield line + "\n"


def _delimiter(lines: list[str]) -> str:
    """The delimiter that most often cuts all lines into equally many cells."""
    counts = {d: [line.count(d) for line in lines if line.strip()] for d in _DELIMITERS}

    def fit(delimiter: str) -> tuple[float, int]:
        found = counts[delimiter]
        usual = max(set(found), key=found.count, default=0)
        return (found.count(usual) / len(found) if usual else 0.0, usual)

    return max(_DELIMITERS, key=fit)


def _column_names(header: list[str]) -> list[str]:
    """The names in a header; an empty or repeated one gets its number."""
    names: list[str] = []
    for number, cell in enumerate(header, start=1):
        name = cell.strip()
        names.append(name if name and name not in names else f"{name or 'column'} {number}")
    return names
