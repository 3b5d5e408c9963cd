"""A glance at what the model writes while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from linnet.model import KVCache, Transformer

if TYPE_CHECKING:
    from linnet.tokenizer import Tokenizer

TOKENS = 48
TEMPERATURE = 0.8


def sample_text(model: Transformer, *, tokenizer: Tokenizer, seed: int) -> str:
    """A short text from the beginning of a document.

    Draws from its own generator, so that sampling does not disturb the run.
    """
    device = model.embedding.weight.device
    generator = torch.Generator().manual_seed(seed)
    dtype = model.compute_dtype or torch.float32
    length = min(TOKENS, model.config.context - 1)
    cache = KVCache(model.config, capacity=length + 1, device=device, dtype=dtype)
    ids = [tokenizer.end_of_text]
    for _ in range(length):
        logits = model(torch.tensor([ids[-1:]], device=device), cache)[0, -1]
        chances = (logits.cpu() / TEMPERATURE).softmax(-1)
        ids.append(int(torch.multinomial(chances, 1, generator=generator)))
        if ids[-1] == tokenizer.end_of_text:
            break
    return tokenizer.decode([i for i in ids if i != tokenizer.end_of_text])
