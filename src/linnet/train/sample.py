"""A glance at what the model writes while it trains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from linnet.model import KVCache, Transformer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.tokenizer import Tokenizer

TOKENS = 48
TEMPERATURE = 0.8


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
    length = min(TOKENS, model.config.context - 1)
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
