"""From rows to examples: token ids, and which of them the loss is taken over.

* A conversation (``messages``) is written by the tokenizer's chat template; what
  the assistant says is trained, with the token that ends its turn.
* ``prompt`` and ``completion`` are one turn of a conversation where the
  tokenizer has a chat template. Without one, or with ``template="none"``, they
  are plain text one after the other, and the completion is trained with the
  end-of-text token that closes it.
* ``text`` is trained throughout, its closing end-of-text token included. What is
  longer than the context is cut into examples that train every token once.

An example ends with its last trained token: what a template writes after that
(a line break, say) no token is ever predicted from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.config import option
from linnet.errors import ConfigError
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from linnet.tokenizer import Tokenizer

Ids: TypeAlias = npt.NDArray[np.uint32]
Flags: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ExamplesConfig:
    """Which examples to make of which rows."""

    context: int = option(1024, "Longest example, in tokens; no more than the model's context.")
    train_on: Literal["completion", "all"] = option(
        "completion", "What the loss is taken over: what is answered, or prompts as well."
    )
    template: Literal["auto", "none"] = option(
        "auto", "Prompts by the model's chat template (auto) or as plain text (none)."
    )
    too_long: Literal["cut", "drop"] = option(
        "cut", "An example longer than the context: cut its end off, or leave it out."
    )
    columns: tuple[str, ...] = option((), "A column by another name, such as question=prompt.")
    validation: str = option("", "File of held-out rows; empty: a share of the others.")
    held_out: float = option(
        0.05, "Share of the prompts to hold out for validation, up to 500 rows."
    )
    seed: int = option(1, "Seed of the order, of new weights and of dropout.")

    def __post_init__(self) -> None:
        if self.context < 2:
            raise ConfigError(f"context must be at least 2 tokens. Got {self.context}")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"held_out is a share from 0 to below 1. Got {self.held_out}")
        self.column_names()

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
    """One example, no longer than the context."""

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
    trained_tokens: int = 0
    longest: int = 0
    """Tokens of the longest row, before it was cut."""
    cut: int = 0
    """Examples that lost their end, because they were longer than the context."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows left out, by reason."""

    def to_mapping(self) -> dict[str, Any]:
        """As plain values, for a manifest or a report."""
        return {**vars(self), "forms": dict(self.forms), "dropped": dict(self.dropped)}


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

    Raises DataError, naming file and line, for what is no row of a known form,
    for a prompt that leaves no room for anything to train, and when nothing is left.
    """
    raise NotImplementedError
