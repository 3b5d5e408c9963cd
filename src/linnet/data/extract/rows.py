"""Files of rows: each row is a document, and a table without written text is one as a whole.

The text of a row: the template or the columns that were asked for; else the
first column with a name that says text; else the turns of a conversation; else
a question with its answer; else all columns as ``name: value`` lines.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import string
from typing import TYPE_CHECKING, Any

from linnet.data import kinds, records
from linnet.data.blocks import Builder, from_lines, placed
from linnet.data.clean import replace_lone_surrogates
from linnet.data.document import Dropped, Extracted, UnreadableError
from linnet.data.extract.layout import numbered_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from linnet.data.config import DataConfig
    from linnet.data.extract.context import Context
    from linnet.data.kinds import Family

    Found = Iterator[Extracted | Dropped]

TEXT_COLUMNS = ("text", "content", "body", "document", "article", "story", "passage", "markdown")
# What a model is taught with: of each group the first that is there, in this order.
_SYSTEM = ("system", "system_prompt")
_ASKED = ("instruction", "question", "prompt", "query")
_GIVEN = ("input", "context")
_ANSWERED = ("output", "response", "completion", "answer", "answers", "chosen")
# Shown in ``name: value`` lines they would only teach a model to make up identifiers.
_IDENTIFIERS = {"id", "_id", "uuid", "guid", "url", "uri", "href", "hash", "sha1", "sha256"}
_BELONGING = ("document_id", "doc_id", "conversation_id", "thread_id", "url", "uri", "filename")

_MEDIA = ("image", "audio", "video", "file", "document")

_SAMPLE = 100  # rows that tell what a file holds
_SHORT_TEXT, _WRITTEN = 20, 80  # characters on average: of a text column; of one without a name
_TABLE_ROWS, _TABLE_CHARACTERS = 200, 64_000  # of a table's document
_DEEPEST = 12  # values within values; what is deeper is written as JSON
_MOST_EXPANSION = 100  # columns of equal values pack that well


def read_json(path: Path, context: Context) -> Found:
    limit = context.config.max_document_bytes
    rows = records.read_json(path, limit=limit, changes=context.changes)
    return _documents(enumerate(rows, 1), kinds.JSON, context)


def read_json_lines(path: Path, context: Context) -> Found:
    limit = context.config.max_document_bytes
    rows = records.read_json_lines(path, limit=limit, changes=context.changes)
    return _documents(enumerate(rows, 1), kinds.JSON_LINES, context)


def read_parquet(path: Path, context: Context) -> Found:
    limit = context.config.max_expanded_bytes + _MOST_EXPANSION * path.stat().st_size
    rows = records.read_parquet(path, limit=limit)
    return _documents(enumerate(rows, 1), kinds.PARQUET, context)


def read_csv(path: Path, context: Context) -> Found:
    """Rows with written text as documents of prose; other rows as the table that they are."""
    limit = context.config.max_document_bytes
    cells = records.read_cells(path, limit=limit, changes=context.changes)
    head = list(itertools.islice(cells, _SAMPLE + 1))
    cells = itertools.chain(head, cells)
    if _holds_texts(list(records.named_rows(row for _, row in head)), context.config):
        yield from _documents(_named(cells), kinds.CSV, context, family="prose")
    else:
        yield from _tables(cells, context, long=path.stat().st_size > context.config.cut_above)


def _named(cells: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, dict[str, str]]]:
    numbers: list[int] = []

    def rows() -> Iterator[list[str]]:
        for number, row in cells:
            numbers.append(number)
            yield row

    for row in records.named_rows(rows()):
        yield numbers.pop(), row


def row_text(row: Any, config: DataConfig) -> str:
    """The text of a row (see the module)."""
    if not isinstance(row, dict):
        return _turns(row) or _rendered(row)
    if config.template:
        return _filled(config.template, row)
    if config.text_columns:
        parts = [_rendered(row[name]) for name in config.text_columns if row.get(name) is not None]
        return "\n\n".join(part for part in parts if part)
    lowered = {str(name).lower(): value for name, value in row.items()}
    for name in TEXT_COLUMNS:
        if isinstance(lowered.get(name), str):
            return str(lowered[name])
    return (
        _conversation(lowered)
        or _lesson(lowered)
        or _rendered({k: v for k, v in row.items() if str(k).lower() not in _IDENTIFIERS})
    )


def row_group(row: Any, config: DataConfig) -> str | None:
    """What keeps a row's relatives in its split, or None if it has none."""
    if not isinstance(row, dict):
        return None
    for name in (config.group_column, *_BELONGING):
        value = row.get(name)
        if isinstance(value, str | int) and str(value):
            return replace_lone_surrogates(str(value))
    return None


def _documents(
    rows: Iterable[tuple[int, Any]], kind: str, context: Context, family: Family | None = None
) -> Found:
    """``rows``: with their numbers in the file."""
    config = context.config
    rows = iter(rows)
    if config.template:
        head = list(itertools.islice(rows, _SAMPLE))
        _require_columns(config.template, [row for _, row in head])
        rows = itertools.chain(head, rows)
    for count, (number, row) in enumerate(rows, 1):
        part = f"#{count}"
        if isinstance(row, Dropped):
            yield dataclasses.replace(row, part=part)
            continue
        try:
            text = row_text(row, config)
        except RecursionError:
            yield Dropped("row nested too deep", part)
            continue
        if len(text) > config.max_document_bytes:
            yield Dropped("row larger than max_document_bytes", part)
        else:
            text = placed(text, family or kinds.KINDS[kind].family, "row", number)
            yield Extracted(text, row_group(row, config), kind, part, family)


def _tables(rows: Iterator[tuple[int, list[str]]], context: Context, *, long: bool) -> Found:
    """A table in documents of a bounded length, each under the first row.

    Those of a ``long`` one are divided into splits one by one.
    """
    header = next(rows, (1, []))
    pieces = _chunks(rows)
    first = list(itertools.islice(pieces, 2))
    for number, piece in enumerate(itertools.chain(first, pieces), 1):
        cells = ((number, dict(enumerate(row))) for number, row in (header, *piece))
        text = from_lines(numbered_lines(cells), unit="row", family="table")
        part = f"#{number}" if len(first) > 1 else ""
        group = f"{context.group}{part}" if long else context.group
        yield Extracted(text, group, kinds.CSV, part, "table")


def _chunks(rows: Iterator[tuple[int, list[str]]]) -> Iterator[list[tuple[int, list[str]]]]:
    piece: list[tuple[int, list[str]]] = []
    length = 0
    for number, row in rows:
        size = sum(map(len, row))
        if piece and (len(piece) >= _TABLE_ROWS or length + size > _TABLE_CHARACTERS):
            yield piece
            piece, length = [], 0
        piece.append((number, row))
        length += size
    yield piece


def _holds_texts(rows: Sequence[dict[str, str]], config: DataConfig) -> bool:
    """Whether rows are texts with a few facts beside them, or lines of a table."""
    if not rows:
        return False
    if config.template or not set(config.text_columns).isdisjoint(rows[0]):
        return True
    names = {name.lower() for name in rows[0]}
    if not names.isdisjoint(_ASKED) and not names.isdisjoint(_ANSWERED):
        return True
    for name in rows[0]:
        cells = [cell for row in rows if (cell := row.get(name, "").strip())]
        least = _SHORT_TEXT if name.lower() in TEXT_COLUMNS else _WRITTEN
        if sum(map(len, cells)) >= least * max(len(cells), 1):
            return True
    return False


def _filled(template: str, row: dict[str, Any]) -> str:
    """A template with the values of a row. Braces hold a column's name and nothing else."""
    return "".join(
        literal + (_rendered(row.get(name)) if name is not None else "")
        for literal, name in _fields(template)
    )


def _fields(template: str) -> list[tuple[str, str | None]]:
    """The literal parts, each with the column after it. Raises UnreadableError."""
    try:
        parsed = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UnreadableError("template is not valid", str(error)) from None
    if any(spec or conversion for _, _, spec, conversion in parsed):
        raise UnreadableError("template is not valid", "only names of columns go into braces")
    return [(literal, name) for literal, name, _, _ in parsed]


def _require_columns(template: str, rows: list[Any]) -> None:
    columns = list(dict.fromkeys(name for row in rows if isinstance(row, dict) for name in row))
    missing = [n for _, n in _fields(template) if n is not None and n not in columns]
    if columns and missing:
        shown = ", ".join(map(str, columns))
        raise UnreadableError("template names no column", f"{missing[0]!r} is none of {shown}")


def _conversation(row: dict[str, Any]) -> str:
    """Chats: a column of turns, what the system says before and the preferred answer after."""
    for name in records.CHATS:
        if turns := _turns(row.get(name)):
            chosen = row.get("chosen")
            answer = _turns(chosen if isinstance(chosen, list) else [chosen])
            system = next((row[name] for name in _SYSTEM if isinstance(row.get(name), str)), "")
            found = Builder()
            if system.strip():
                found.add(f"system: {system.strip()}", "message")
            for part in filter(None, (turns, answer)):
                found.include(part)
            return found.text()
    return ""


def _turns(value: Any) -> str:
    """``role: content`` paragraphs of a list of turns; empty if it is none."""
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        return ""
    found = Builder()
    for turn in value:
        role = turn.get("role", turn.get("from"))
        content = turn.get("content", turn.get("value"))
        if isinstance(content, list):  # text among pictures
            content = "\n".join(filter(None, map(_part, content)))
        calls = _calls(turn.get("tool_calls"))
        if not isinstance(role, str) or not isinstance(content, str if not calls else str | None):
            return ""
        said = "\n".join(filter(None, ((content or "").strip(), *calls)))
        found.add(f"{role}: {said}", "message")
    return found.text()


def _part(part: Any) -> str:
    """A part of a message: its text, or what it is instead, such as ``[image]``."""
    if not isinstance(part, dict):
        return _rendered(part)
    if isinstance(part.get("text"), str):
        return _rendered(part["text"])
    if kind := next((name for name in _MEDIA if name in str(part.get("type"))), ""):
        return f"[{kind}]"
    said = {k: v for k, v in part.items() if k != "type" and k not in _IDENTIFIERS}
    return _rendered(said)


def _calls(calls: Any) -> list[str]:
    """Calls of tools, a line each: ``look({"where": "shed"})``."""
    found = []
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function", call) if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            given = function.get("arguments", "")
            given = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
            found.append(f"{function['name']}({given})")
    return found


def _lesson(row: dict[str, Any]) -> str:
    """Instruction, input, output; question, answer; prompt, completion: as paragraphs."""
    if not any(row.get(name) for name in _ASKED) or not any(row.get(n) for n in _ANSWERED):
        return ""
    values = (
        next((row[name] for name in group if row.get(name)), None)
        for group in (_SYSTEM, _ASKED, _GIVEN, _ANSWERED)
    )
    return "\n\n".join(text for value in values if (text := _turns(value) or _rendered(value)))


def _rendered(value: Any) -> str:
    """A value as a person would write it down: ``name: value`` lines, lists with dashes."""
    text = _on_one_line(value)
    return "\n".join(_lines(value, 0)) if text is None else text


def _lines(value: Any, depth: int) -> Iterator[str]:
    indent = "  " * depth
    named = value.items() if isinstance(value, dict) else ((None, inner) for inner in value)
    for name, inner in named:
        text = _on_one_line(inner) if depth < _DEEPEST else json.dumps(inner, default=str)
        if text:
            yield f"{indent}- {text}" if name is None else f"{indent}{name}: {text}"
        elif text is None:
            lines = _lines(inner, depth + 1)
            if first := next(lines, ""):
                yield f"{indent}- {first.lstrip()}" if name is None else f"{indent}{name}:"
                if name is not None:
                    yield first
                yield from lines


def _on_one_line(value: Any) -> str | None:
    """A value that has no values with names in it; None for others."""
    if value is None or isinstance(value, bytes):
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return None
    if isinstance(value, list):
        if any(isinstance(inner, dict | list) for inner in value):
            return None
        return ", ".join(text for inner in value if (text := _on_one_line(inner)))
    return str(value)
