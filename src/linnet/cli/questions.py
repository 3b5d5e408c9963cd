"""Files of questions, a row of JSON each, as ``linnet ask`` and ``linnet search`` take them.

A row that holds no question is named by its line, and the others are answered: a file may be long,
and whoever sent it wants to know all that is wrong with it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import typer

from linnet.cli.terminal import err
from linnet.config import parse_json, show
from linnet.errors import ConfigError, DataError, LinnetError, StoppedError

LONGEST_LINE = 4 << 20
"""Bytes of a line of questions."""

Row = dict[str, Any]


def answer_each(
    file: Path, answer: Callable[[Row], Row], *, read: Callable[[Row], Row] = dict
) -> None:
    """A line out for each line in. What is wrong with a row, or went wrong with its answer, is its
    line's ``error``; LinnetError is raised at the end where there was such a line.

    ``read`` is given a row with ``id`` and ``question`` and gives it as ``answer`` takes it, or
    raises ValueError or ConfigError.
    """
    bad = failed = 0
    for where, row in _rows(file, read):
        if isinstance(row, DataError):
            bad += 1
            found: Row = {"id": None, "error": str(row)}
        else:
            try:
                found = answer(row)
            except StoppedError:
                raise
            except Exception as error:  # one of many: whatever it is, the others are answered
                failed += 1
                found = {"id": row["id"], "error": f"{where}: {_what(error)}"}
        if "error" in found:
            err.print(found["error"], markup=False)
        typer.echo(as_line(found))
        sys.stdout.flush()
    said = [f"{_amount(bad, 'line')} held no question"] * bool(bad)
    said += [f"{_amount(failed, 'question')} failed"] * bool(failed)
    if said:
        raise (DataError if bad else LinnetError)(f"{file}: {', '.join(said)}; see above")


def _what(error: Exception) -> str:
    """An error in a line; one that nobody foresaw with its kind, which may be all that it says."""
    if isinstance(error, LinnetError):
        return str(error)
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _amount(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def as_line(value: Any) -> str:
    """JSON in UTF-8, whatever the text in it is."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


def _rows(file: Path, read: Callable[[Row], Row]) -> Iterator[tuple[str, Row | DataError]]:
    """The place of each row, and the row, or what is wrong with it. Raises DataError where the file
    cannot be read."""
    with ExitStack() as stack:
        lines: IO[bytes]
        if str(file) == "-":
            lines = sys.stdin.buffer
        else:
            try:
                lines = stack.enter_context(file.open("rb"))
            except OSError as error:
                raise DataError(
                    f"{file}: expected JSON Lines of questions, but {error.strerror}"
                ) from None
        number = 0
        while line := lines.readline(LONGEST_LINE + 1):
            number += 1
            where = f"{file}, line {number}"
            if len(line) > LONGEST_LINE:
                while line and not line.endswith(b"\n"):
                    line = lines.readline(LONGEST_LINE)
                yield where, DataError(f"{where}: expected at most {LONGEST_LINE:,} bytes")
            elif line.strip():
                yield where, _row(line, number, where, read)


def _row(
    line: bytes, number: int, where: str, read: Callable[[Row], Row]
) -> Row | DataError:  # fmt: skip
    try:
        values = parse_json(line.decode("utf-8-sig"))
        if not isinstance(values, dict):
            raise ValueError(f"Got {show(values)}")
        given = values.get("id", str(number))
        if isinstance(given, bool) or not isinstance(given, str | int):
            raise ValueError(f"id is a string or a number. Got {show(given)}")
        if not isinstance(values.get("question"), str):
            raise ValueError(f"question is a string. Got {show(values.get('question'))}")
        return read({**values, "id": given})
    except (ValueError, ConfigError) as error:
        return DataError(f'{where}: expected {{"id": ..., "question": "..."}}. {error}')
