"""Texts that the student writes in training, for its teacher to grade (arXiv:2306.13649).

A student that only reads right texts never sees where its own mistakes lead. The engine that
writes is alignment's (``linnet.align.rollouts``): the one that serves, on the weights in training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from linnet.align.prompts import EncodedPrompt, Prompt
from linnet.align.rewards import Sample
from linnet.align.rollouts import batch_of, seed_of
from linnet.errors import ConfigError, DataError
from linnet.finetune.encoding import Example
from linnet.finetune.packing import make_batch
from linnet.shards.batches import Batch

if TYPE_CHECKING:
    from linnet.align.rollouts import Policy
    from linnet.finetune.packing import PackedBatches
    from linnet.train.stream import Context


@dataclass
class OwnSamples:
    """As a stream: rows of text, and behind them rows that the student wrote.

    ``prompts``: examples whose beginnings are given. Of a row that is what is not trained; with
    ``continues``, of plain text, it is up to the first half, drawn anew each time.
    """

    text: PackedBatches | None
    """None: all rows are the student's."""
    prompts: Sequence[Example]
    policy: Policy
    rows: int
    """That the student writes."""
    length: int
    seed: int
    continues: bool = False
    drawn: int = 0
    """Prompts so far."""

    def __post_init__(self) -> None:
        longest = self.length - self.policy.max_tokens
        if longest < 1:
            raise ConfigError(
                f"max_tokens must be below the context, {self.length}. Got {self.policy.max_tokens}"
            )
        found = [each for each in self.prompts if self.continues or _begin(each) <= longest]
        if not found:
            raise DataError(
                f"expected prompts of at most {longest} tokens, which --context and --max-tokens "
                f"leave. Got {len(self.prompts)} that are longer"
            )
        self.left_out = len(self.prompts) - len(found)
        """Prompts that are too long to be continued."""
        self.prompts = found

    def batches_in(self, epochs: float) -> int:
        """Batches until all text, or without any all prompts, were read so many times."""
        if self.text is not None:
            return self.text.batches_in(epochs)
        return math.ceil(epochs * len(self.prompts) / self.rows)

    def next(self, context: Context | None = None) -> Batch:
        """The next batch. Raises ConfigError outside a run."""
        if context is None:
            raise ConfigError("texts of the student are sampled in a run only")
        rows = self._prompted()
        given = [prompt for row in rows for prompt in row]
        first = self.drawn - len(given)
        seeds = [seed_of(self.seed, first + place) for place in range(len(given))]
        with context.at_rest():
            written = self.policy.write(given, seeds)
        examples = iter(_examples(batch_of(given, written, masked=False)))
        made = make_batch([[next(examples) for _ in row] for row in rows], length=self.length)
        assert made.loss_mask is not None
        parts = [made.replaced({**made.tensors, "sampled": made.loss_mask.clone()})]
        if self.text is not None:
            batch = self.text.next(context)
            nothing = torch.zeros_like(batch.tokens, dtype=torch.bool)
            parts.insert(0, batch.replaced({**batch.tensors, "sampled": nothing}))
        names = parts[0].tensors
        return Batch(**{name: torch.cat([part[name] for part in parts]) for name in names})  # type: ignore[arg-type]

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` goes on from."""
        text = {} if self.text is None else self.text.state()
        return {"drawn": self.drawn, "text": text}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        self.drawn = int(state["drawn"])
        if self.text is not None:
            self.text.restore(state["text"])

    def _prompted(self) -> list[list[EncodedPrompt]]:
        """The next prompts, as many in each row as fit with what may be written."""
        rows: list[list[EncodedPrompt]] = [[]]
        used = 0
        while True:
            prompt = self._prompt(self.drawn)
            places = len(prompt.tokens) + self.policy.max_tokens
            if rows[-1] and used + places > self.length:
                if len(rows) == self.rows:
                    return rows
                rows.append([])
                used = 0
            rows[-1].append(prompt)
            used += places
            self.drawn += 1

    def _prompt(self, number: int) -> EncodedPrompt:
        """Each prompt once an epoch, in an order of its own."""
        epoch, place = divmod(number, len(self.prompts))
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.prompts))
        example = self.prompts[int(order[place])]
        end = _begin(example)
        if self.continues:
            longest = min(self.length - self.policy.max_tokens, max(end, len(example.tokens) // 2))
            draw = np.random.default_rng([self.seed, number, 1])
            end = int(draw.integers(min(end, longest), longest, endpoint=True))
        tokens = tuple(example.tokens[:end].astype(int).tolist())
        return EncodedPrompt(Prompt(example.source, (), Sample("", "")), tokens)


def _begin(example: Example) -> int:
    """Where what is trained begins; the first token is never."""
    return max(1, int(example.trained.argmax()))


def _examples(batch: Batch) -> list[Example]:
    """The rows of a padded batch as examples."""
    assert batch.loss_mask is not None
    assert batch.segment_ids is not None
    found = []
    for row in range(len(batch.tokens)):
        places = int((batch.segment_ids[row] == 0).sum())
        last = batch.targets[row, places - 1 : places]
        ids = torch.cat((batch.tokens[row, :places], last)).numpy().astype(np.uint32)
        trained = np.concatenate([[False], batch.loss_mask[row, :places].numpy()])
        found.append(Example(ids, trained, "written by the student"))
    return found
