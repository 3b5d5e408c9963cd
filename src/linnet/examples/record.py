"""One example, and the file of them: ``examples.jsonl``, an object on each line."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from linnet.config import from_mapping, parse_json, to_mapping
from linnet.errors import ConfigError, DataError

EXAMPLES_FILE = "examples.jsonl"

Kind = Literal[
    "question",  # and its answer, with the quote that answers
    "cloze",  # a sentence with a number, date or name left out
    "instruction",
    "summary",  # of a section
    "extraction",  # to a JSON schema
    "follow_up",  # the last question of a conversation
    "multi_part",
    "unanswerable",  # its passage was taken out of what may be cited
    "near_miss",  # one number, name or date of an answerable question was changed
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
        always = [field.name for field in fields(self)][:9]
        return {name: values.get(name) for name in always} | {
            name: value for name, value in values.items() if value and name not in always
        }


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
) -> Iterator[Example]:
    """The examples of a directory or file, in order. Raises DataError, naming the line."""
    path = Path(place)
    if path.is_dir():
        path = path / EXAMPLES_FILE
    if not path.is_file():
        raise DataError(
            f"{path}: expected examples, but there is no such file; run linnet examples"
        )
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                example = from_mapping(Example, parse_json(line), where=where)
            except (ValueError, ConfigError) as error:
                raise DataError(f"{where}: expected an example. {error}") from None
            if (split is None or example.split == split) and (
                kinds is None or example.kind in kinds
            ):
                yield example
