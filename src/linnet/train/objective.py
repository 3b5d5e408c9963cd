"""What training minimises. An objective maps a model and a batch to a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.shards.batches import Batch

Metrics: TypeAlias = dict[str, float]
Objective: TypeAlias = "Callable[[Transformer, Batch], tuple[Tensor, Metrics]]"

CHUNK_LOGITS = 1 << 25  # logits held at once (128 MB in fp32)


def next_token(model: Transformer, batch: Batch) -> tuple[Tensor, Metrics]:
    """Mean negative log-likelihood of each next token, in nats.

    The logits of a large vocabulary are the biggest thing in memory, so beyond
    a size they are made in chunks, and again in the backward pass.
    """
    hidden = model.hidden(batch.tokens).flatten(0, 1)  # (B*T, D)
    targets = batch.targets.flatten()
    rows = max(1, CHUNK_LOGITS // model.config.vocab_size)
    if len(targets) <= rows:
        total = summed_loss(hidden, model.output_table, targets)
    else:
        total = torch.zeros((), device=hidden.device)
        for states, ids in zip(hidden.split(rows), targets.split(rows), strict=True):
            total = total + checkpoint(
                summed_loss, states, model.output_table, ids, use_reentrant=False
            )
    return total / len(targets), {}


def summed_loss(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """The summed cross-entropy in fp32 of states ``(N, D)`` against ids ``(N,)``."""
    logits = F.linear(hidden, table.to(hidden.dtype)).float()  # (N, V)
    return F.cross_entropy(logits, targets, reduction="sum")
