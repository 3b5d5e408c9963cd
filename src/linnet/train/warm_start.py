"""A head start: fit the bigrams before training.

With the residual branches at zero a fresh model sees only the current token,
so the best it can be is a bigram model; gradient descent spends its first
hundreds of steps getting there. But a bigram model depends on the text only
through the counts of adjacent pairs. Those fit in one V x V table, and the
embedding and output layer can be fitted to all of them at once, in seconds.
Training then starts where it would otherwise arrive much later
(figures in docs/experiments.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.model import Transformer
    from linnet.shards.reader import TokenSplit

LARGEST_VOCABULARY = 8192  # the table has V² entries of 4 bytes
COUNTED_TOKENS = 50_000_000
UPDATES = 60
PEAK_LR = 0.03


def bigram_counts(split: TokenSplit, vocab_size: int, *, tokens: int = COUNTED_TOKENS) -> Tensor:
    """How often each token (column) follows each token (row), in the first ``tokens``."""
    counts = torch.zeros(vocab_size * vocab_size)
    block = 1 << 20
    end = min(split.tokens, tokens)
    for start in range(0, end - 1, block):
        ids = torch.from_numpy(split.read(start, min(start + block + 1, end)).astype("int64"))
        counts += torch.bincount(ids[:-1] * vocab_size + ids[1:], minlength=vocab_size * vocab_size)
    return counts.view(vocab_size, vocab_size)


def fit_bigrams(model: Transformer, counts: Tensor, *, dtype: torch.dtype) -> float:
    """Fit embedding and output layer to the counts; return the loss reached, nats per token.

    Only for a model whose blocks still add nothing, with an untied output layer
    (a tied one can express only symmetric tables).
    """
    embedding, table = model.embedding.weight, model.output_table
    share = (counts / counts.sum()).to(embedding.device)  # (V, V), sums to one
    row_share = share.sum(1, keepdim=True)
    optimizer = torch.optim.AdamW(
        [embedding, table], lr=PEAK_LR, betas=(0.9, 0.95), weight_decay=0.0, fused=True
    )
    for update in range(UPDATES):
        for group in optimizer.param_groups:
            group["lr"] = PEAK_LR * (1 - update / UPDATES)
        states = model.norm(embedding).to(dtype)  # (V, D): the state after each token
        logits = F.linear(states, table.to(dtype))  # (V, V)
        # The gradient of the cross-entropy, by hand: it saves half of the passes over V x V.
        gradient = logits.detach().float().softmax(1).mul_(row_share).sub_(share)
        logits.backward(gradient.to(dtype))
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        logits = F.linear(model.norm(embedding).to(dtype), table.to(dtype)).float()
        loss = -(share * logits.log_softmax(1)).sum()
    model.zero_grad(set_to_none=True)
    return loss.item()
