"""What is looked at on the way: the loss on held-out text, and samples of what the model writes.

Always the same rows, no gradient. Of a corpus these are consecutive ones, as in training, so a
row's first tokens see little context and the figure is a little above what ``linnet
evaluate`` reports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from linnet.model import KVCache, Transformer
from linnet.shards.batches import Batch
from linnet.train.objectives import next_token

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.shards.reader import TokenSplit
    from linnet.tokenizer import Tokenizer

SAMPLE_TOKENS = 48
TEMPERATURE = 0.8


@dataclass(frozen=True)
class HeldOutLoss:
    """The mean loss of the next token, and in bits per byte of the text it is taken over.

    Whatever is minimised: so it can be compared between runs.
    """

    batches: list[Batch]
    text_bytes: float
    """That the trained tokens stand for; 0: not known."""
    device: str

    def __call__(self, model: Transformer) -> dict[str, float]:
        """The figures of a model in evaluation mode."""
        nats, tokens = 0.0, 0.0
        for batch in self.batches:
            loss = next_token(model, batch.to(self.device))
            nats, tokens = nats + loss.sum.item(), tokens + loss.weight
        figures = {"loss": nats / tokens}
        if self.text_bytes:
            figures["bits_per_byte"] = nats / math.log(2) / self.text_bytes
        return figures


def held_out(
    split: TokenSplit, *, rows: int, length: int, tokens: int, device: str
) -> HeldOutLoss | None:
    """Over the first ``tokens`` of a split; None when it is too short for one row."""
    count = min(split.tokens - 1, tokens) // length  # rows in all
    if count == 0:
        return None
    rows = min(rows, count)
    stream = torch.from_numpy(split.read(0, count * length + 1).astype(np.int64))
    tokens_in, targets = stream[:-1].view(count, length), stream[1:].view(count, length)
    full = count // rows * rows  # one shape only, or torch.compile would work twice
    batches = [
        Batch(tokens_in[start : start + rows], targets[start : start + rows])
        for start in range(0, full, rows)
    ]
    return HeldOutLoss(batches, full * length * split.bytes / split.tokens, device)


def sample_text(model: Transformer, *, tokenizer: Tokenizer, seed: int) -> str:
    """A short text from the beginning of a document.

    Draws from its own generator, so that sampling does not disturb the run.
    """
    generator = torch.Generator().manual_seed(seed)
    end = tokenizer.end_of_text
    return tokenizer.decode(continue_text(model, [end], stop_ids=(end,), generator=generator))


def continue_text(
    model: Transformer,
    tokens: Sequence[int],
    *,
    stop_ids: tuple[int, ...],
    generator: torch.Generator,
) -> list[int]:
    """A few tokens after ``tokens`` (of which the last are read, as many as fit).

    Ends where the scores are not numbers.
    """
    device = model.embedding.weight.device
    dtype = model.compute_dtype or model.embedding.weight.dtype
    length = min(SAMPLE_TOKENS, model.config.context - 1)
    seen = list(tokens)[-(model.config.context - length) :]
    capacity = len(seen) + length
    cache = KVCache(model.config, capacity=capacity, device=device, dtype=dtype)
    written: list[int] = []
    while len(written) < length:
        fed = [written[-1:] or seen]
        logits = model.logits(model.hidden(torch.tensor(fed, device=device), cache)[:, -1])[0]
        chances = (logits.float().cpu() / TEMPERATURE).softmax(-1)
        if not bool(chances.isfinite().all()):  # a run that went wrong; the loop says so
            break
        chosen = int(torch.multinomial(chances, 1, generator=generator))
        if chosen in stop_ids:
            break
        written.append(chosen)
    return written
