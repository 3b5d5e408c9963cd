"""One example, and the file of them: ``examples.jsonl``, an object on each line."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from linnet import artifact
from linnet.config import from_mapping, parse_json, show, to_mapping
from linnet.errors import ConfigError, DataError, typed
from linnet.examples.decisions import Decisions, decisions_file

EXAMPLES_FILE = "examples.jsonl"
LONGEST_ROW = 16 << 20  # bytes

Kind = Literal[
    "question",  # and its answer, with the quote that answers
    "cloze",  # a sentence with a number, date or name left out
    "instruction",
    "summary",  # of a section
    "extraction",  # to a JSON schema
    "follow_up",  # the last question of a conversation
    "multi_part",
    "unanswerable",  # its passage was taken out of what may be cited
    "near_miss",  # a name of an answerable question was changed
    "off_topic",
]
Split = Literal["train", "validation", "test"]

KINDS: tuple[Kind, ...] = get_args(Kind)
REFUSED: tuple[Kind, ...] = ("unanswerable", "near_miss", "off_topic")
"""The kinds whose right answer is that the documents do not say."""


@dataclass(frozen=True)
class Quote:
    """A stretch of a document's stored text, in characters."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Turn:
    """An earlier question of the conversation, and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Example:
    """A question with its answer and where it stands, or with a refusal for an answer."""

    id: str
    kind: Kind
    question: str
    answer: str
    quote: str | None
    """Exactly the source's stored text from ``start`` to ``end``; None where none answers."""
    source: str | None
    """The document, as its owner knows it."""
    start: int | None
    end: int | None
    """In characters of the source's stored text."""
    split: Split
    generator: str = ""
    """What made it."""
    language: str = ""
    """ISO 639-1; empty where it needs no words."""
    headings: tuple[str, ...] = ()
    """What the passage stands under."""
    passage: tuple[int, int] | None = None
    """The stretch of the stored text around the quote that answers on its own; of a refusal, the
    stretch that was taken out or that nearly answers."""
    turns: tuple[Turn, ...] = ()
    quotes: tuple[Quote, ...] = ()
    """Of an answer in several parts: all of them."""
    schema: dict[str, Any] | None = None
    """What the answer is to be valid against."""

    @property
    def answerable(self) -> bool:
        """Whether the documents answer it."""
        return self.kind not in REFUSED

    def to_json(self) -> dict[str, Any]:
        """As plain values: the nine fields that every row has, and of the others those in use."""
        values = to_mapping(self)
        return {name: values.get(name) for name in ALWAYS} | {
            name: value for name, value in values.items() if value and name not in ALWAYS
        }


ALWAYS = tuple(field.name for field in fields(Example))[:9]
"""The fields that every row has."""


def write_examples(path: Path, examples: Iterable[Example]) -> None:
    """Write a file of them."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for example in examples:
            file.write(json.dumps(example.to_json(), ensure_ascii=False) + "\n")


def read_examples(
    place: Path | str,
    *,
    split: Split | None = None,
    kinds: Collection[Kind] | None = None,
    decided: bool = True,
) -> Iterator[Example]:
    """The examples of a directory or file, in order. Raises DataError, naming the line.

    ``decided``: as people decided about them (``linnet.examples.decisions``): those rejected are
    left out, those mended are as they were mended.
    """
    path = examples_file(place)
    decisions = Decisions(decisions_file(path)).latest if decided else {}
    for example in _rows(path):
        if (split is not None and example.split != split) or (
            kinds is not None and example.kind not in kinds
        ):
            continue
        decision = decisions.get(example.id)
        kept = example if decision is None else decision.applied(example)
        if kept is not None:
            yield kept


def examples_file(place: Path | str) -> Path:
    """The file of a directory of examples, of a project with one, or itself. Raises DataError."""
    path = artifact.within(place, "examples")
    if path.is_dir():
        path = path / EXAMPLES_FILE
    if not path.is_file():
        run = "linnet examples"
        if Path(place).is_dir():
            made = Path(place, "examples")
            run += f" {typed(str(place))} --out {typed(str(made))}"
        raise DataError(f"{path}: expected examples, but there is no such file; run {run}")
    return path


def is_examples(place: Path | str) -> bool:
    """Whether this is a directory of examples, a project with one, or a file of them."""
    path = artifact.within(place, "examples")
    if path.is_dir():
        return artifact.is_artifact(path) and (path / EXAMPLES_FILE).is_file()
    if path.suffix != ".jsonl" or not path.is_file():
        return False
    with path.open("rb") as file:
        line = file.readline(LONGEST_ROW)
    try:
        row = parse_json(line.decode("utf-8"))
    except ValueError:
        return False
    return isinstance(row, dict) and row.keys() >= set(ALWAYS)


def _rows(path: Path) -> Iterator[Example]:
    with path.open("rb") as file:
        number = 0
        while line := file.readline(LONGEST_ROW + 1):
            number += 1
            where = f"{path}, line {number}"
            if len(line) > LONGEST_ROW:
                raise DataError(f"{where}: expected an example of at most {LONGEST_ROW:,} bytes")
            if not line.strip():
                continue
            try:
                values = parse_json(line.decode("utf-8"))
                if not isinstance(values, dict):
                    raise ValueError(f"Got {show(values)}")
                example = from_mapping(Example, values, where=where)
                _check(example)
            except (ValueError, ConfigError) as error:
                raise DataError(f"{where}: expected an example. {error}") from None
            yield example


def _check(example: Example) -> None:
    """Raise ValueError for a quote without its place, or of another length than its place has."""
    if len({value is None for value in (example.quote, example.start, example.end)}) > 1:
        raise ValueError("quote, start and end are all there, or all null")
    if example.passage is not None and len(example.passage) != 2:
        raise ValueError(f"passage is a start and an end. Got {show(example.passage)}")
    stretches = list(example.quotes)
    if example.quote is not None:
        assert example.start is not None
        assert example.end is not None
        stretches.append(Quote(example.quote, example.start, example.end))
    for quote in stretches:
        if quote.start < 0 or quote.end - quote.start != len(quote.text):
            raise ValueError(
                f"a quote of {len(quote.text):,} characters cannot stand from {quote.start} to "
                f"{quote.end}"
            )
