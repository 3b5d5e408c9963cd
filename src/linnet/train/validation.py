"""The loss on held-out text during training: quick, always the same rows, no gradient.

Consecutive rows as in training, so a row's first tokens see little context and
the figure is a little above what ``linnet evaluate`` reports.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from linnet.shards.batches import Batch
from linnet.train.objective import next_token

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.shards.reader import TokenSplit


@dataclass(frozen=True)
class HeldOut:
    """Batches of one shape, and how many bytes of text their tokens stand for."""

    batches: list[Batch]
    bytes_per_token: float


def held_out(split: TokenSplit, *, rows: int, length: int, tokens: int) -> HeldOut | None:
    """The first ``tokens`` of a split as batches; None when it is too short for one row."""
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
    return HeldOut(batches, split.bytes / split.tokens)


def validate(model: Transformer, *, data: HeldOut, device: str) -> dict[str, float]:
    """Mean loss in nats per token, and bits per byte, of a model in evaluation mode.

    Of the next token, whatever is minimised: so it can be compared between runs.
    """
    losses = [next_token(model, batch.to(device)) for batch in data.batches]
    loss = sum(each.sum.item() for each in losses) / sum(each.weight for each in losses)
    return {"loss": loss, "bits_per_byte": loss / math.log(2) / data.bytes_per_token}
