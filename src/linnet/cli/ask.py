"""``linnet ask``: questions answered from documents, with what the answers rest on."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from linnet.answers import Assistant, GatherConfig, Turn
from linnet.answers.opening import open_assistant
from linnet.cli.options import (
    GroupedCommand,
    ModelKeyOption,
    ModelNameOption,
    ModelOption,
    configured,
)
from linnet.cli.terminal import err, terminal_progress
from linnet.cli.terminal import out as terminal
from linnet.config import from_mapping, parse_json, replace, show
from linnet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from linnet.answers import Answer

LONGEST_LINE = 4 << 20
"""Bytes of a line of questions."""

_SNIPPET = 300  # characters of a citation or passage
_NEAREST = 3

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=GroupedCommand)
@configured(GatherConfig)
def ask(
    index: Annotated[Path, typer.Argument(help="A directory from 'linnet index'.")],
    question: Annotated[str | None, typer.Argument(help="What to ask.")] = None,
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help='Rows of {"id", "question"} instead, - for standard input; earlier questions of '
            'a conversation in "turns", rows of {"question", "answer"}.',
        ),
    ] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="Search this collection alone; may be repeated.")
    ] = None,
    model: ModelOption = "",
    model_name: ModelNameOption = "",
    model_key: ModelKeyOption = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Answer a question from documents, citing them, or say that they do not tell.

    Example: linnet ask notes-index "When does the lease end?"
    """
    if (question is None) == (questions is None):
        raise ConfigError("expected a question, or --questions FILE.jsonl")
    assistant = open_assistant(
        index, model=model or None, model_name=model_name, model_key=model_key,
        config=replace(GatherConfig(), settings), progress=terminal_progress(),
    )  # fmt: skip
    if questions is not None:
        _answer_all(assistant, questions, collection)
        return
    assert question is not None
    answer = assistant.ask(question, collections=collection)
    if as_json:
        typer.echo(_json(answer.to_json()))
    else:
        show_answer(answer)


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode()


# Many questions.


@dataclass(frozen=True)
class _Row:
    """A line of a file of questions."""

    id: str
    question: str
    turns: tuple[Turn, ...] = ()


def _answer_all(assistant: Assistant, file: Path, collections: list[str] | None) -> None:
    """A line out for each line in; one that holds no question says why, and is counted."""
    bad = 0
    for row in _rows(file):
        if isinstance(row, DataError):
            bad += 1
            typer.echo(_json({"id": None, "error": str(row)}))
            err.print(str(row), markup=False)
            continue
        answer = assistant.ask(row.question, row.turns, id=row.id, collections=collections)
        typer.echo(_json(answer.to_json()))
        sys.stdout.flush()
    if bad:
        raise DataError(f"{file}: {bad:,} line{'s' if bad > 1 else ''} held no question; see above")


def _rows(file: Path) -> Iterator[_Row | DataError]:
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
                yield DataError(f"{where}: expected at most {LONGEST_LINE:,} bytes")
            elif line.strip():
                yield _row(line, number, where)


def _row(line: bytes, number: int, where: str) -> _Row | DataError:
    try:
        values = parse_json(line.decode("utf-8-sig"))
        if not isinstance(values, dict):
            raise ValueError(f"Got {show(values)}")
        given = values.get("id", number)
        if isinstance(given, bool) or not isinstance(given, str | int):
            raise ValueError(f"id is a string or a number. Got {show(given)}")
        if not isinstance(values.get("question"), str):
            raise ValueError(f"question is a string. Got {show(values.get('question'))}")
        turns = values.get("turns") or []
        if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
            raise ValueError(f"turns are rows of question and answer. Got {show(turns)}")
        read = tuple(from_mapping(Turn, turn, where="turns") for turn in turns)
        return _Row(str(given), values["question"], read)
    except (ValueError, ConfigError) as error:
        return DataError(f'{where}: expected {{"id": ..., "question": "..."}}. {error}')


# For people.


def show_answer(answer: Answer) -> None:
    """Print an answer with its citations, or the nearest passages."""
    terminal.print(_marked(answer), markup=False)
    if answer.refused:
        if answer.nearest:
            terminal.print("\nNearest passages:", markup=False)
        for found in answer.nearest[:_NEAREST]:
            place = found.passage.place
            _cite("-", place.source, place.page, place.where, found.passage.text)
    else:
        terminal.print("")
        for number, citation in enumerate(answer.citations, 1):
            _cite(f"[{number}]", citation.source, citation.page, citation.where, citation.text)
    if answer.probability is not None:
        terminal.print(f"\nprobability that this is right: {answer.probability:.0%}", markup=False)
    for step in answer.steps:
        if step.outcome in ("late", "failed") or step.name in ("understand", "list"):
            err.print(f"{step.name}: {step.text}", style="dim", markup=False)
    for text in answer.interventions:
        err.print(text, style="dim", markup=False)


def _marked(answer: Answer) -> str:
    """The answer with the numbers of its citations behind each statement."""
    text, done = "", 0
    for claim in answer.claims:
        text += answer.answer[done : claim.end]
        done = claim.end
        if len(claim.citations) <= _NEAREST:
            text += "".join(f" [{number + 1}]" for number in claim.citations)
    return text + answer.answer[done:]


def _cite(mark: str, source: str, page: int | None, where: str, text: str) -> None:
    place = where or (f"page {page}" if page is not None else "")
    terminal.print(f"{mark} {source}{f', {place}' if place else ''}", style="bold", markup=False)
    line = " ".join(text.split())
    line = line if len(line) <= _SNIPPET else f"{line[:_SNIPPET]} …"
    terminal.print(f"    {line}", markup=False)
