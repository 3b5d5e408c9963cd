"""From rows to examples: token ids, and which of them the loss is taken over.

* A conversation (``messages``) is written by the tokenizer's chat template; what
  the assistant says is trained, with the token that ends its turn.
* ``prompt`` and ``completion`` are one turn of a conversation where the
  tokenizer has a chat template. Without one, or with ``template="none"``, they
  are plain text one after the other, and the completion is trained with the
  end-of-text token that closes it.
* What is longer than the context is left out or becomes several examples that together
  train every answer to its end: a conversation is divided between turns of the user, a
  prompt loses its middle, and an answer that is too long by itself goes on in the next
  example, after the same prompt.
* ``text`` is trained throughout, its closing end-of-text token included. What is
  longer than the context is cut into examples that train every token once.

An example ends with its last trained token: what a template writes after that
(a line break, say) no token is ever predicted from.
"""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.config import Config, option
from linnet.errors import ConfigError, DataError
from linnet.finetune import row_schema
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from linnet.finetune.rows import Source, Split
    from linnet.progress import Task
    from linnet.tokenizer import Tokenizer

Ids: TypeAlias = npt.NDArray[np.uint32]
Flags: TypeAlias = npt.NDArray[np.bool_]

LEAST_HELD_OUT = 8  # rows
MOST_HELD_OUT = 500  # rows of a source
ALSO_HELD_OUT = "a row held out asks the same"


@dataclass(frozen=True)
class ExamplesConfig(Config):
    """Which examples to make of which rows."""

    context: int = option(1024, "Longest example, in tokens; no more than the model's context.")
    train_on: Literal["completion", "all"] = option(
        "completion",
        "What the loss is taken over: what is answered, or prompts as well.",
        group="Examples",
    )
    template: Literal["auto", "chatml", "none"] = option(
        "auto",
        "Prompts by the model's chat template where it has one (auto), by ChatML where it has none "
        "(chatml), or as plain text (none).",
        group="Examples",
    )
    too_long: Literal["cut", "drop"] = option(
        "cut",
        "An example longer than the context: cut it into several, all answers kept to their end, "
        "or leave it out.",
        group="Examples",
    )
    columns: tuple[str, ...] = option(
        (), "A column by another name, such as question=prompt.", group="Examples"
    )
    validation: str = option("", "File of held-out rows; empty: a share of the others.")
    held_out: float = option(
        0.05,
        "Share of the prompts to hold out for validation, up to "
        f"{MOST_HELD_OUT} rows; of few, more.",
        group="Examples",
    )
    seed: int = option(1, "Seed of the order.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.context < 2:
            raise ConfigError(f"context must be at least 2 tokens. Got {self.context}")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out is a share from 0 to below 1. Got {self.held_out}")
        for ours in self.column_names().values():
            if ours not in row_schema.COLUMNS:
                near = difflib.get_close_matches(ours, row_schema.COLUMNS, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(
                    f"columns: expected one of {', '.join(row_schema.COLUMNS)}. Got '{ours}'{hint}"
                )

    def column_names(self) -> dict[str, str]:
        """``columns`` as a mapping from the name in the file to ours."""
        pairs = [pair.partition("=") for pair in self.columns]
        for wrong in (pair for pair in pairs if not (pair[0].strip() and pair[2].strip())):
            raise ConfigError(
                f"a column is given as NAME_IN_FILE=NAME, such as question=prompt. "
                f"Got '{''.join(wrong)}'"
            )
        return {theirs.strip(): ours.strip() for theirs, _, ours in pairs}


@dataclass(frozen=True)
class Example:
    """One example. It fills no more places than the context has."""

    tokens: Ids
    trained: Flags
    """Which tokens are to be predicted; never the first, which nothing comes before."""
    source: str
    """Where it came from, such as ``train.jsonl:17``."""
    trained_bytes: int = 0
    """Bytes of UTF-8 that the trained tokens stand for (special tokens: none)."""

    @property
    def places(self) -> int:
        """Places in a row that it fills: its last token is only ever a target."""
        return len(self.tokens) - 1


@dataclass
class ExamplesReport:
    """What became of the rows."""

    rows: int = 0
    forms: dict[str, int] = field(default_factory=dict)
    """Rows by form: ``messages``, ``prompt``, ``text``."""
    train: int = 0
    held_out: int = 0
    tokens: int = 0
    """Of the examples to train on; of them are trained:"""
    trained_tokens: int = 0
    longest: int = 0
    """Tokens of the longest row, before it was cut."""
    held_out_tokens: int = 0
    cut: int = 0
    """Rows that were cut, because they were longer than the context."""
    pieces: int = 0
    """Examples that these became."""
    unseen: int = 0
    """Tokens of prompts and earlier turns that were taken off to make them fit."""
    unheeded_flags: int = 0
    """Turns of others than the assistant that their rows say to train."""
    untrained_turns: int = 0
    """Turns of the assistant that the chat template shows otherwise than they were said."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows left out, by reason."""
    unused_files: list[str] = field(default_factory=list)
    """Files of test splits, which are not read."""

    def losses(self, context: int) -> list[str]:
        """What was not used as it came, a line each."""
        lines = [
            f"{count:,} of {self.rows:,} rows left out: {reason}"
            for reason, count in self.dropped.items()
        ]
        if self.cut:
            lines.append(
                f"{self.cut:,} of {self.rows:,} rows are longer than the context of {context:,} "
                f"tokens (the longest has {self.longest:,}): cut into {self.pieces:,} examples, "
                f"which train every answer to its end but do not see {self.unseen:,} tokens of "
                "prompts and earlier turns"
            )
        if self.unheeded_flags:
            lines.append(
                f"{self.unheeded_flags:,} turns of others than the assistant are flagged to be "
                "trained and are not (--train-on all trains everything)"
            )
        if self.untrained_turns:
            lines.append(
                f"{self.untrained_turns:,} turns of the assistant are not trained, because the "
                "chat template shows them otherwise later on"
            )
        return lines + [f"{file} is a test split and is not read" for file in self.unused_files]

    def to_mapping(self) -> dict[str, Any]:
        """As plain values, for a manifest or a report."""
        return asdict(self)


@dataclass(frozen=True)
class Examples:
    """Examples to train on and examples held out, and how they came about."""

    train: list[Example]
    held_out: list[Example]
    report: ExamplesReport


def load_examples(
    paths: Sequence[str | Path],
    tokenizer: Tokenizer,
    config: ExamplesConfig,
    *,
    progress: Progress = SILENT,
) -> Examples:
    """Read files, directories or data sets of rows and encode them.

    Held out are, in this order: the rows of ``config.validation``; the validation split of
    a source that has one; a share of the prompts, chosen by their hashes, so that it stays the
    same when rows are added and no prompt is on both sides.
    Raises DataError, naming file and line, for what is no row of a known form,
    for a prompt that leaves no room for anything to train, and when nothing is left.
    """
    from linnet.finetune.rows import open_source

    report = ExamplesReport()
    train: list[_Entry] = []
    held_out: list[_Entry] = []
    with progress.task("reading examples", unit="rows") as task:
        reading = _Reading(tokenizer, config, report, task)
        for path in paths:
            source = open_source(path)
            report.unused_files += map(str, source.unused)
            entries = reading.read(source, "train")
            apart: list[_Entry] = []
            if config.held_out and not config.validation:
                apart = _at_most(reading.read(source, "validation"))
                if not apart:
                    entries, apart = _divide(entries, config.held_out)
            train += entries
            held_out += apart
        if config.validation:
            source = open_source(config.validation)
            held_out = reading.read(source, "validation") or reading.read(source, "train")
    train = _without(train, held_out, report)
    result = Examples(_joined(train), _joined(held_out), report)
    _summarise(result, config, progress)
    if not result.train:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in report.dropped.items())
        raise DataError(
            f"expected rows to train on in {', '.join(map(str, paths))}. "
            f"Got {report.rows}, and none can be used{f' ({reasons})' if reasons else ''}"
        )
    return result


class _Entry(NamedTuple):
    """A row's examples, and the hash of what is asked in it."""

    key: int
    examples: list[Example]


@dataclass(frozen=True)
class _Reading:
    tokenizer: Tokenizer
    config: ExamplesConfig
    report: ExamplesReport
    task: Task

    def read(self, source: Source, split: Split) -> list[_Entry]:
        from linnet.finetune.encoding import encode_rows

        entries = []
        rows = source.rows(split, self.config.column_names())
        for row, examples in encode_rows(rows, self.tokenizer, self.config, self.report):
            self.task.advance()
            if examples:
                entries.append(_Entry(_hash(row.key), examples))
        return entries


def _hash(asked: str) -> int:
    """A number for a prompt that neither case nor spacing changes."""
    plain = " ".join(asked.casefold().split()).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest())


def _divide(entries: list[_Entry], share: float) -> tuple[list[_Entry], list[_Entry]]:
    """Those to train on and those to hold out: all below a threshold, but not too many.

    Of few rows more than the share is held out, up to a tenth: validation on one or two would
    stop a run by chance. At least one prompt is, where that leaves most rows to train on.
    """
    sizes = Counter(entry.key for entry in entries)
    ordered = sorted(sizes)
    chosen: set[int] = set()
    rows = 0
    least = min(LEAST_HELD_OUT, len(entries) // 10) if share else 0
    for key in ordered:
        if key >= share * (1 << 64) and rows >= least:
            break
        if rows + sizes[key] <= min(MOST_HELD_OUT, len(entries) // 2):
            chosen.add(key)
            rows += sizes[key]
    if not chosen:
        chosen.update([key for key in ordered if sizes[key] <= len(entries) // 2][:1])
    return (
        [entry for entry in entries if entry.key not in chosen],
        [entry for entry in entries if entry.key in chosen],
    )


def _at_most(entries: list[_Entry]) -> list[_Entry]:
    """Not too many of them, spread over all."""
    return sorted(entries, key=lambda entry: entry.key)[:MOST_HELD_OUT]


def _without(train: list[_Entry], held_out: list[_Entry], report: ExamplesReport) -> list[_Entry]:
    """What to train on, less the rows that ask what a row held out asks."""
    keys = {entry.key for entry in held_out}
    kept = [entry for entry in train if entry.key not in keys]
    if len(kept) < len(train):
        report.dropped[ALSO_HELD_OUT] = len(train) - len(kept)
    return kept


def _joined(entries: list[_Entry]) -> list[Example]:
    return [example for entry in entries for example in entry.examples]


def _summarise(examples: Examples, config: ExamplesConfig, progress: Progress) -> None:
    """Fill in the report's sums, and say what was left out."""
    report = examples.report
    report.train, report.held_out = len(examples.train), len(examples.held_out)
    report.tokens = sum(len(example.tokens) for example in examples.train)
    report.trained_tokens = sum(int(example.trained.sum()) for example in examples.train)
    report.held_out_tokens = sum(len(example.tokens) for example in examples.held_out)
    for line in report.losses(config.context):
        progress.warn(line)
