"""Examples to train on and examples held out, from files of rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from linnet.errors import DataError
from linnet.finetune.config import LEAST_HELD_OUT, MOST_HELD_OUT
from linnet.finetune.encoding import Example, ExamplesReport, encode_rows
from linnet.finetune.row_schema import TextRow
from linnet.finetune.rows import open_source
from linnet.progress import SILENT, Progress
from linnet.train.canaries import require_distinct

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from linnet.finetune.config import ExamplesConfig
    from linnet.finetune.rows import Source, Split
    from linnet.progress import Task
    from linnet.tokenizer import Tokenizer

ALSO_HELD_OUT = "a row held out asks the same"


@dataclass(frozen=True)
class Examples:
    """Examples to train on and examples held out, and how they came about."""

    train: list[Example]
    held_out: list[Example]
    report: ExamplesReport

    def with_texts(
        self, texts: Sequence[str], tokenizer: Tokenizer, config: ExamplesConfig, repeats: int
    ) -> Examples:
        """These examples, and so many copies of each text to train on; the report is the rows'."""
        rows = [TextRow(f"text {number}", text) for number, text in enumerate(texts, 1)]
        encoded = [example for _, made in encode_rows(rows, tokenizer, config) for example in made]
        require_distinct([example.tokens.tolist() for example in encoded])
        return replace(self, train=self.train + encoded * repeats)


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
                    entries, apart = divide(entries, config.held_out)
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


class Keyed(Protocol):
    """Something with the hash of what is asked in it."""

    @property
    def key(self) -> int:
        """See :func:`hash_prompt`."""


AnyKeyed = TypeVar("AnyKeyed", bound=Keyed)


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
        entries = []
        rows = source.rows(split, self.config.column_names(), book=self.config.book)
        for row, examples in encode_rows(rows, self.tokenizer, self.config, self.report):
            self.task.advance()
            if examples:
                entries.append(_Entry(hash_prompt(row.key), examples))
        return entries


def hash_prompt(asked: str) -> int:
    """A number for a prompt that neither case nor spacing changes."""
    plain = " ".join(asked.casefold().split()).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(plain, digest_size=8).digest())


def divide(entries: list[AnyKeyed], share: float) -> tuple[list[AnyKeyed], list[AnyKeyed]]:
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
