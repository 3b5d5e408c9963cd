"""``linnet ask``: questions answered from documents, with what the answers rest on."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.answers import Assistant, GatherConfig, Turn
from linnet.answers.opening import open_assistant
from linnet.cli.chat import open_routing, say_who_wrote
from linnet.cli.options import (
    GroupedCommand,
    ModelKeyOption,
    ModelNameOption,
    ModelOption,
    RoutingOption,
    configured,
)
from linnet.cli.questions import Row, answer_each, as_line
from linnet.cli.terminal import err, terminal_progress
from linnet.cli.terminal import out as terminal
from linnet.config import from_mapping, replace, show
from linnet.errors import ConfigError
from linnet.examples.writer import is_address
from linnet.respond.address import Address
from linnet.respond.pieces import Attribution, Decision
from linnet.retrieval import Index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.answers import Answer
    from linnet.respond import Responder

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
    routing: RoutingOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Answer a question from documents, citing them, or say that they do not tell.

    Example: linnet ask notes-index "When does the lease end?"
    """
    if (question is None) == (questions is None):
        raise ConfigError("expected a question, or --questions FILE.jsonl")
    if routing is not None and is_address(model) and Address.parse(model).place != "here":
        raise ConfigError(
            f"--model {model}: with --routing, models beyond this machine are those of {routing}, "
            "which its policy and budget are about"
        )
    assistant = open_assistant(
        index, model=model or None, model_name=model_name, model_key=model_key,
        config=replace(GatherConfig(), settings), progress=terminal_progress(),
    )  # fmt: skip
    if collection and isinstance(assistant.index, Index):
        assistant.index.require(collection)
    with contextlib.closing(_Asking(assistant, index, routing, collection)) as asking:
        if questions is not None:
            answer_each(questions, asking.answer_row, read=_with_turns)
            return
        assert question is not None
        answer, wrote = asking.ask(question)
    if as_json:
        typer.echo(as_line(answer.to_json() | _as_json(wrote)))
    else:
        show_answer(answer)
        if wrote is not None:
            say_who_wrote(wrote)


# Many questions.


class _Asking:
    """Asks an assistant, or whoever is to write for it."""

    def __init__(
        self,
        assistant: Assistant,
        index: Path,
        routing: Path | None,
        collections: list[str] | None,
    ) -> None:
        self._assistant, self._collections = assistant, collections
        self._whole: list[Answer] = []
        self._routed: Responder | None = None
        self._opened = opened = open_routing(routing)
        if opened is not None:
            from linnet.answers.responder import DocumentsResponder

            local = DocumentsResponder(assistant, name=index.name, watch=self._whole.append)
            self._routed = opened.auto(local, place=index)

    def ask(
        self, question: str, turns: Sequence[Turn] = (), *, id: str = ""
    ) -> tuple[Answer, Attribution | None]:
        """The answer, and who wrote it where that was chosen."""
        if self._routed is None:
            found = self._assistant.ask(question, turns, id=id, collections=self._collections)
            return found, None
        from linnet.respond import Context, Message, Record, conversation, run

        said = [(turn.question, turn.answer) for turn in turns]
        messages = [
            message
            for asked, answered in said
            for message in (Message.of("user", asked), Message.of("assistant", answered))
        ]
        record = Record(id) if id else Record()
        seen = None if self._collections is None else tuple(self._collections)
        context = Context(interval=float("inf"), record=record, collections=seen)
        asked_now = conversation([*messages, Message.of("user", question)])
        self._whole.clear()
        (answer,) = run(self._routed, asked_now, context)
        wrote = next(piece for piece in answer.pieces if isinstance(piece, Attribution))
        return self._answered(answer), wrote

    def _answered(self, given: Any) -> Answer:
        """The answer that was given out, whoever else wrote one. What a model answered without the
        documents rests on none of them."""
        from linnet.respond.pieces import Refusal, Text

        said = "".join(piece.text for piece in given.pieces if isinstance(piece, Text | Refusal))
        for whole in reversed(self._whole):
            if whole.answer.strip() == said.strip():
                return whole
        refused = not any(isinstance(piece, Text) for piece in given.pieces)
        return dataclasses.replace(
            self._whole[-1], answer=said, refused=refused, probability=None, citations=(),
            claims=(), nearest=(), written_by="model",
            interventions=tuple(
                f"{piece.subject}: {piece.reason}" for piece in given.pieces
                if isinstance(piece, Decision) and piece.subject == "documents"
            ),
        )  # fmt: skip

    def close(self) -> None:
        """Charge nothing any more."""
        if self._opened is not None:
            self._opened.close()

    def answer_row(self, row: Row) -> Row:
        """A row of a file of questions, answered."""
        answer, wrote = self.ask(row["question"], row["turns"], id=row["id"])
        return answer.to_json() | _as_json(wrote)


def _as_json(wrote: Attribution | None) -> Row:
    return {} if wrote is None else {"attribution": wrote.as_json()}


def _with_turns(row: Row) -> Row:
    turns = row.get("turns") or []
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise ValueError(f"turns are rows of question and answer. Got {show(turns)}")
    read = tuple(from_mapping(Turn, turn, where="turns") for turn in turns)
    return {**row, "id": str(row["id"]), "turns": read}


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
        if step.outcome in ("late", "failed") or step.name in ("understand", "list", "check"):
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
