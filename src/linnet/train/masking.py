"""Batches for an encoder: some tokens are hidden, to be guessed from both sides.

BERT's recipe (arXiv:1810.04805): of every hundred tokens 15 are guessed; of those
12 read as the mask token, 1.5 as any other token, and 1.5 as they are, so that the
model cannot tell where it has to guess. Which ones is drawn from the seed and the
number of the batch, so that a resumed run hides the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy

from linnet.shards.batches import Batch

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.train.stream import Context, Stream
    from linnet.train.validation import HeldOutLoss

GUESSED, MASKED, REPLACED = 0.15, 0.8, 0.1
CHUNK = 256  # states whose scores are held at once


@dataclass(frozen=True)
class Masking:
    """How tokens are hidden: by the ``mask`` token, and a vocabulary to draw others from."""

    mask: int
    vocab_size: int
    special: tuple[int, ...] = ()
    """Tokens that are never hidden."""


def mask_tokens(batch: Batch, masking: Masking, *, generator: torch.Generator) -> Batch:
    """The batch with tokens hidden; its targets are the tokens as they were.

    Where the batch has a loss mask, only inside it. At least one token of the batch is hidden.
    """
    tokens = batch.tokens
    allowed = torch.ones_like(tokens, dtype=torch.bool)
    if batch.loss_mask is not None:
        allowed &= batch.loss_mask
    for token in masking.special:
        allowed &= tokens != token
    luck = torch.rand(tokens.shape, generator=generator)
    asked = (luck < GUESSED) & allowed
    if not asked.any() and allowed.any():
        lowest = torch.where(allowed, luck, 2.0).argmin()
        asked.view(-1)[lowest] = True
    how = torch.rand(tokens.shape, generator=generator)
    others = torch.randint(masking.vocab_size, tokens.shape, generator=generator)
    shown = torch.where(asked & (how < MASKED), masking.mask, tokens)
    replaced = asked & (how >= MASKED) & (how < MASKED + REPLACED)
    return Batch(torch.where(replaced, others, shown), tokens, asked, batch.segment_ids)


@dataclass(frozen=True)
class MaskedLoss:
    """The mean loss in nats of hidden tokens of held-out text, and the share of them guessed."""

    batches: list[Batch]
    device: str

    @classmethod
    def of(cls, data: HeldOutLoss, masking: Masking) -> MaskedLoss:
        """Of the same batches with tokens hidden, always the same ones."""
        generator = torch.Generator().manual_seed(0)
        batches = [mask_tokens(batch, masking, generator=generator) for batch in data.batches]
        return cls(batches, data.device)

    def __call__(self, model: Transformer) -> dict[str, float]:
        """The figures of a model in evaluation mode."""
        loss, guessed, asked = 0.0, 0, 0
        for batch in (batch.to(self.device) for batch in self.batches):
            chosen = batch.loss_mask
            assert chosen is not None
            states = model.hidden(batch.tokens, segment_ids=batch.segment_ids)[chosen]  # (N, D)
            targets = batch.targets[chosen]
            for some, ids in zip(states.split(CHUNK), targets.split(CHUNK), strict=True):
                scores = model.logits(some)
                loss += cross_entropy(scores, ids, reduction="sum").item()
                guessed += int((scores.argmax(1) == ids).sum())
            asked += len(targets)
        return {"loss": loss / max(1, asked), "accuracy": guessed / max(1, asked)}


class MaskedBatches:
    """A stream of batches with tokens hidden, made from a stream of whole ones."""

    def __init__(self, stream: Stream, masking: Masking, *, seed: int) -> None:
        self.stream, self.masking, self.seed = stream, masking, seed
        self.drawn = 0

    def next(self, context: Context | None = None) -> Batch:
        """The next batch, with tokens hidden."""
        # Two numbers in one: a seed and a count never give what another pair gives.
        generator = torch.Generator().manual_seed((self.seed << 32) + self.drawn)
        self.drawn += 1
        return mask_tokens(self.stream.next(context), self.masking, generator=generator)

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` goes on from."""
        return {"drawn": self.drawn, "stream": self.stream.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        self.drawn = state["drawn"]
        self.stream.restore(state["stream"])
