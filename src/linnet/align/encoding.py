"""From prompts and completions to tokens, and to batches of them.

A completion is encoded as fine-tuning encodes it (``linnet.finetune.encoding``): by the chat
template where there is one; trained is what the assistant says in it. Where a prompt with its
completion is longer than the context, the prompt's middle is taken out, of both completions of a
pair alike, or the row is left out and counted; a completion is never cut.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from linnet.align.preferences import Judged, Pair
from linnet.errors import DataError
from linnet.finetune.encoding import Flags, Ids, encode_rows
from linnet.finetune.examples import hash_prompt
from linnet.finetune.row_schema import ChatRow, PromptRow
from linnet.shards.batches import Batch
from linnet.tokenizer import encode_chat

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.finetune.config import ExamplesConfig
    from linnet.tokenizer import Tokenizer

_ANY = 1 << 30  # tokens: nothing is cut while rows are encoded
_LEAST_PROMPT = 16
"""Tokens of a prompt that must stay; with fewer, a completion answers nothing."""
LONG = "longer than the context"
CUT = "cut"
OTHER_PROMPT = (
    "more was asked than the log has (earlier turns, a system prompt, passages), or it was another "
    "model"
)
UNOPPOSED = "no other example has a wrong answer for it"
SAME = "the chat template makes both completions equal"


@dataclass(frozen=True)
class Completion:
    """A prompt and a completion; ``trained`` where the completion's tokens are."""

    tokens: Ids
    trained: Flags

    @property
    def places(self) -> int:
        """Places in a row that it fills: its last token is only ever a target."""
        return len(self.tokens) - 1

    @property
    def start(self) -> int:
        """Where the completion begins."""
        return int(self.trained.argmax())


@dataclass(frozen=True)
class Unit:
    """What is trained together: the completions of a pair, or one that was judged."""

    source: str
    key: int
    """The hash of what is asked."""
    completions: tuple[Completion, ...]
    margin: float = 0.0
    desirable: bool = True

    @property
    def places(self) -> int:
        """Of the longest."""
        return max(each.places for each in self.completions)


@dataclass
class UnitsReport:
    """What became of the rows."""

    rows: int = 0
    cut: int = 0
    """Rows whose prompts were shortened."""
    unseen: int = 0
    """Tokens that were taken out of them."""
    dropped: dict[str, int] = field(default_factory=dict)
    """Rows left out, by reason."""

    def leave_out(self, reason: str) -> None:
        """Count a row that is not used."""
        self.rows += 1
        self.dropped[reason] = self.dropped.get(reason, 0) + 1

    def losses(self, context: int, *, remedies: Mapping[str, str] | None = None) -> list[str]:
        """What was not used as it came, a line each. ``remedies``: what to do about rows that are
        left out, by the reason, and about those that are cut (``CUT``)."""
        remedies = remedies or {}
        lines = [
            f"{count:,} of {self.rows:,} rows left out: {reason}{_remedy(remedies, reason)}"
            for reason, count in self.dropped.items()
        ]
        if self.cut:
            lines.append(
                f"{self.cut:,} of {self.rows:,} rows are longer than the context of {context:,} "
                f"tokens: {self.unseen:,} tokens were taken out of the middle of their prompts"
                f"{_remedy(remedies, CUT)}"
            )
        return lines


def _remedy(remedies: Mapping[str, str], reason: str) -> str:
    return f"; {remedies[reason]}" if reason in remedies else ""


def remedies_for(context: int, too_long: Literal["cut", "drop"], *, longest: int) -> dict[str, str]:
    """What to set so that rows fit. ``longest``: the model's own context."""
    larger = (
        f"{longest:,} tokens are all that the model has (--context)"
        if context >= longest
        else f"raise --context ({context:,}), up to {longest:,}"
    )
    shorter = "shorten prompts by --too-long cut, or " if too_long == "drop" else ""
    kept = "their completions leave less than a prompt needs: " if too_long == "cut" else ""
    return {LONG: f"{kept}{shorter}{larger}", CUT: f"{larger}, or leave them out (--too-long drop)"}


def encode_units(
    rows: Iterable[Pair | Judged],
    tokenizer: Tokenizer,
    config: ExamplesConfig,
    *,
    too_long: Literal["cut", "drop"] = "cut",
    tail: Sequence[int] = (),
    report: UnitsReport | None = None,
) -> list[Unit]:
    """The units of rows, in order. What happens to rows is counted in ``report``. ``tail``: what
    comes behind a completion, and is not trained.

    The texts of few rows are in memory at a time. Raises DataError, naming the row, for a
    conversation that the template refuses.
    """
    report = report or UnitsReport()
    whole = dataclasses.replace(config, context=_ANY, train_on="completion")
    read, again = itertools.tee(rows)  # the encoder reads a few rows ahead
    parts = (_last_turn(part) for row in again for part in _parts(row))
    encoded = encode_rows(parts, tokenizer, whole)
    units = []
    for row in read:
        completions = []
        for _ in _parts(row):
            _, made = next(encoded)
            completions += [_followed(Completion(each.tokens, each.trained), tail) for each in made]
        report.rows += 1
        key = hash_prompt(_parts(row)[0].key)
        unit = _unit(row, key, tuple(completions))
        if len(completions) > 1 and np.array_equal(completions[0].tokens, completions[1].tokens):
            _drop(report, SAME)
        elif row.prompt_tokens not in (None, completions[0].start):
            _drop(report, OTHER_PROMPT)
        elif (fitted := _fitted(unit, config.context, too_long, report)) is not None:
            units.append(fitted)
    return units


def template_tail(tokenizer: Tokenizer) -> list[int]:
    """What the chat template writes behind an answer, such as a line break: a model that scores
    reads it as well, as it looks at the last token that transformers gives it."""
    messages = [{"role": role, "content": "Yes."} for role in ("user", "assistant")]
    chat = encode_chat(tokenizer, messages)
    last = max((place for place, is_said in enumerate(chat.trained) if is_said), default=-1)
    return list(chat.ids[last + 1 :]) if last >= 0 else []


def _followed(completion: Completion, tail: Sequence[int]) -> Completion:
    if not tail:
        return completion
    return Completion(
        np.concatenate([completion.tokens, np.array(tail, np.uint32)]),
        np.concatenate([completion.trained, np.zeros(len(tail), bool)]),
    )


def _unit(row: Pair | Judged, key: int, completions: tuple[Completion, ...]) -> Unit:
    if isinstance(row, Pair):
        return Unit(row.source, key, completions, margin=row.margin)
    return Unit(row.source, key, completions, desirable=row.desirable)


def _parts(row: Pair | Judged) -> tuple[ChatRow | PromptRow, ...]:
    return (row.chosen, row.rejected) if isinstance(row, Pair) else (row.row,)


def _last_turn(row: ChatRow | PromptRow) -> ChatRow | PromptRow:
    """A row of which the completion is trained: of earlier questions and answers none is."""
    if not isinstance(row, PromptRow) or not row.history:
        return row
    row = row.as_chat()
    return dataclasses.replace(row, trained_turns=(*(False,) * len(row.trained_turns[1:]), True))


def _fitted(
    unit: Unit, context: int, too_long: Literal["cut", "drop"], report: UnitsReport
) -> Unit | None:
    """The unit within the context; None where it is left out."""
    over = unit.places - context
    if over <= 0:
        return unit
    prompt = min(each.start for each in unit.completions)
    if too_long == "drop" or prompt - over < min(_LEAST_PROMPT, prompt):
        _drop(report, LONG)
        return None
    report.cut += 1
    report.unseen += over
    # The same places of each: their prompts are the same tokens as far as this.
    cut = tuple(shortened(each, over, prompt=prompt) for each in unit.completions)
    return dataclasses.replace(unit, completions=cut)


def shortened(completion: Completion, over: int, *, prompt: int) -> Completion:
    """Without so many tokens of the middle of its prompt, the first ``prompt`` of its tokens."""
    kept = prompt - over
    head, tail = (kept + 1) // 2, prompt - kept // 2
    return Completion(
        np.concatenate([completion.tokens[:head], completion.tokens[tail:]]),
        np.concatenate([completion.trained[:head], completion.trained[tail:]]),
    )


def _drop(report: UnitsReport, reason: str) -> None:
    report.dropped[reason] = report.dropped.get(reason, 0) + 1


def pad(completions: Sequence[Completion], *, units: int | None = None, **others: Tensor) -> Batch:
    """Completions in one batch, a row each, padded to the longest: see ``align.objectives``."""
    longest = max(each.places for each in completions)
    tokens = torch.zeros(len(completions), longest, dtype=torch.long)
    targets, mask = torch.zeros_like(tokens), torch.zeros_like(tokens, dtype=torch.bool)
    padding = torch.ones_like(tokens)
    for row, each in enumerate(completions):
        ids = torch.from_numpy(each.tokens.astype(np.int64))
        length = each.places
        tokens[row, :length], targets[row, :length] = ids[:-1], ids[1:]
        mask[row, :length] = torch.from_numpy(each.trained[1:].copy())
        padding[row, :length] = 0
    return Batch(tokens, targets, mask, padding, units=units, **others)


def require_units(
    units: Sequence[Unit], report: UnitsReport, what: str, *, remedies: Mapping[str, str]
) -> None:
    """Raise DataError where nothing is left to train on."""
    if not units:
        reasons = "; ".join(
            f"{count} {reason}{_remedy(remedies, reason)}"
            for reason, count in report.dropped.items()
        )
        raise DataError(
            f"expected {what} to train on. Got {report.rows} rows, and none can be used"
            f"{f' ({reasons})' if reasons else ''}"
        )
