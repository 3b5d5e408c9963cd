"""Batches for an encoder: some tokens are hidden, to be guessed from both sides.

BERT's recipe (arXiv:1810.04805): of every hundred tokens 15 are guessed; of those
12 read as the mask token, 1.5 as any other token, and 1.5 as they are, so that the
model cannot tell where it will be asked. Which ones is drawn from the seed and the
number of the batch, so that a resumed run asks the same questions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from linnet.shards.batches import Batch

if TYPE_CHECKING:
    from linnet.train.loop import Stream

GUESSED, MASKED, REPLACED = 0.15, 0.8, 0.1


def mask_tokens(
    batch: Batch,
    *,
    mask: int,
    vocab_size: int,
    special: tuple[int, ...],
    generator: torch.Generator,
) -> Batch:
    """The batch with tokens hidden; its targets are the tokens as they were.

    ``special`` tokens are never asked for. Where the batch has a loss mask, tokens
    are asked for inside it only. At least one token of the batch is asked for.
    """
    tokens = batch.tokens
    allowed = torch.ones_like(tokens, dtype=torch.bool)
    if batch.loss_mask is not None:
        allowed &= batch.loss_mask
    for token in special:
        allowed &= tokens != token
    luck = torch.rand(tokens.shape, generator=generator)
    asked = (luck < GUESSED) & allowed
    if not asked.any() and allowed.any():
        lowest = torch.where(allowed, luck, 2.0).argmin()
        asked.view(-1)[lowest] = True
    how = torch.rand(tokens.shape, generator=generator)
    others = torch.randint(vocab_size, tokens.shape, generator=generator)
    shown = torch.where(asked & (how < MASKED), mask, tokens)
    replaced = asked & (how >= MASKED) & (how < MASKED + REPLACED)
    return Batch(torch.where(replaced, others, shown), tokens, asked, batch.segment_ids)


class Masked:
    """A stream of batches with tokens hidden, made from a stream of whole ones."""

    def __init__(
        self, stream: Stream, *, mask: int, vocab_size: int, special: tuple[int, ...], seed: int
    ) -> None:
        self.stream, self.seed = stream, seed
        self.mask, self.vocab_size, self.special = mask, vocab_size, special
        self.drawn = 0

    def next(self) -> Batch:
        """The next batch, with its questions."""
        # Two numbers in one: a seed and a count never give what another pair gives.
        generator = torch.Generator().manual_seed((self.seed << 32) + self.drawn)
        self.drawn += 1
        return mask_tokens(
            self.stream.next(),
            mask=self.mask,
            vocab_size=self.vocab_size,
            special=self.special,
            generator=generator,
        )

    def state(self) -> dict[str, Any]:
        """Plain numbers from which :meth:`restore` goes on."""
        return {"drawn": self.drawn, "stream": self.stream.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        self.drawn = state["drawn"]
        self.stream.restore(state["stream"])
