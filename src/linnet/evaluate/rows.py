"""Rows of local files: JSONL, JSON, CSV, TSV and Parquet, as dictionaries of plain values."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from linnet.config import parse_json, read_json, show
from linnet.errors import DataError

Row = dict[str, Any]

SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
MOST_ROWS = 1_000_000
LONGEST_LINE = 1 << 24
LARGEST_JSON = 1 << 28


def read_rows(path: Path) -> list[Row]:
    """All rows of a file. Raises DataError, naming the line."""
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise DataError(f"{path}: expected a file of rows, but it does not exist")
    try:
        rows: list[Row] = []
        for row in _READERS[path.suffix.lower()](path):
            if len(rows) == MOST_ROWS:
                raise DataError(f"{path}: expected at most {MOST_ROWS:,} rows")
            rows.append(row)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: expected UTF-8, but byte {error.start} of a block is not"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    return rows


def chosen(rows: list[Row], where: Mapping[str, Any], origin: str) -> list[Row]:
    """The rows whose columns have these values, or one of a list of them."""
    for column in where:
        if not any(column in row for row in rows):
            raise DataError(
                f"{origin} names the column {show(column)}, but there is {_columns(rows)}"
            )
    found = rows
    for column, wanted in where.items():
        values = wanted if isinstance(wanted, list) else [wanted]
        found = [row for row in found if any(_same(row.get(column), each) for each in values)]
    return found


def columns_of(rows: list[Row]) -> list[str]:
    """The columns that at least one row has, in order."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _columns(rows: list[Row]) -> str:
    names = columns_of(rows)
    return f"only {', '.join(names[:20])}" if names else "no row"


def _same(value: Any, wanted: Any) -> bool:
    return value == wanted or (isinstance(value, str) and value == str(wanted))


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        number = 0
        while line := file.readline(LONGEST_LINE + 1):
            number += 1
            if len(line) > LONGEST_LINE:
                raise DataError(
                    f"{path}, line {number}: expected at most {LONGEST_LINE:,} characters"
                )
            if not line.strip():
                continue
            try:
                row = parse_json(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: not valid JSON: {error}") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: expected a JSON object")
            if "\\u" in line:
                _require_whole(row, f"{path}, line {number}")
            yield row


def _json(path: Path) -> Iterator[Row]:
    """A list of objects; or lines of them, as many published sets have it (HaluEval)."""
    if _has_lines(path):
        yield from _jsonl(path)
        return
    try:
        rows = read_json(path, limit=LARGEST_JSON)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON: {error}") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path}: expected a list of JSON objects")
    for number, row in enumerate(rows, 1):
        _require_whole(row, f"{path}, row {number}")
        yield row


def _has_lines(path: Path) -> bool:
    """Whether the first line is an object of its own, and more follows."""
    with path.open(encoding="utf-8-sig") as file:
        line = file.readline(LONGEST_LINE)
        try:
            return isinstance(parse_json(line), dict) and bool(file.readline(LONGEST_LINE).strip())
        except ValueError:
            return False


def _require_whole(row: Row, where: str) -> None:
    """Refuse half of a surrogate pair, which JSON can spell but no text file can hold."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(str(error.object)[error.start])[1:-1]
        raise DataError(f"{where}: expected whole characters. Got {half} alone") from None


def _separated(delimiter: str) -> Any:
    def read(path: Path) -> Iterator[Row]:
        csv.field_size_limit(LONGEST_LINE)
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            try:
                names = next(reader, [])
                if len(set(names)) < len(names):
                    raise DataError(f"{path}, line 1: expected names that differ, one per column")
                for cells in reader:
                    if not cells:
                        continue
                    if len(cells) != len(names):
                        raise DataError(
                            f"{path}, line {reader.line_num}: expected {len(names)} cells, as in "
                            f"line 1. Got {len(cells)}"
                        )
                    yield dict(zip(names, cells, strict=True))
            except csv.Error as error:
                raise DataError(f"{path}, line {reader.line_num}: {error}") from None

    return read


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for row in batch.to_pylist():
                    yield {name: _plain(value) for name, value in row.items()}
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path}: not valid Parquet: {str(error).splitlines()[0]}") from None


def _plain(value: Any) -> Any:
    """As JSON has it: times, bytes and decimals as text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


_READERS: dict[str, Any] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
    ".parquet": _parquet,
}
