"""Attention of a decoding step: of a bucket's texts, one query each, and of a piece of a prompt.

What is the same for every layer (which keys are seen, where new ones go) is made once a step.
Letters as in the model; ``n`` texts of a bucket, ``L`` layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.model.layers import attend, visible

if TYPE_CHECKING:
    from linnet.generate.kv_cache import Bucket, PromptCache, SlotCache
    from linnet.generate.torch_decoder import Buffers
    from linnet.model.config import ModelConfig


@dataclass
class PrefillChunk:
    """Tokens to be read into a cache: the next of a prompt, or a draft."""

    cache: PromptCache | SlotCache
    tokens: Sequence[int]
    adapter: str | None
    long: bool = False
    """Whether LongRoPE turns this text as a long one."""


class BucketAttention:
    """One step's attention of the texts of a bucket."""

    def __init__(self, config: ModelConfig, bucket: Bucket, buffers: Buffers, first: int) -> None:
        """``first``: the place of the bucket's first token in the step."""
        self.config = config
        count = len(bucket.slots)
        own = slice(first, first + count)
        grouped = (count, config.kv_heads, config.heads // config.kv_heads, config.head_width)
        self.queries = buffers.queries[own].view(grouped)  # (n, G, H / G, K)
        self.seen = buffers.seen[own].view(grouped)
        self.new = buffers.keys_values[own]  # (n, 2 G K)
        self.memory = bucket.flat  # (rows * capacity, 2 G K) for each layer
        written = [slot.length for slot in bucket.slots]
        self.reach = max(written) + 1
        self.keys, self.values = bucket.seen(count, self.reach)  # L of (n, G, S, K)
        self.lengths = torch.tensor(written, device=self.queries.device)
        starts = torch.arange(count, device=self.queries.device) * bucket.capacity
        self.places = starts + self.lengths
        self.uneven = min(written) + 1 < self.reach
        self.masks: dict[bool, Tensor | None] = {}

    def __call__(self, layer: int, *, windowed: bool) -> None:
        """Note the new keys and values, and look at all."""
        self.memory[layer].index_copy_(0, self.places, self.new)
        keys, values, mask = self.keys[layer], self.values[layer], self._mask(windowed)
        scale, cap = scale_of(self.config), self.config.attention_softcap
        if cap is None:
            seen = F.scaled_dot_product_attention(
                self.queries, keys, values, attn_mask=mask, scale=scale
            )
        else:
            scores = cap * torch.tanh((self.queries @ keys.mT).float() * scale / cap)
            if mask is not None:
                scores = scores + mask.float()
            seen = scores.softmax(-1).to(values.dtype) @ values
        self.seen.copy_(seen)

    def _mask(self, windowed: bool) -> Tensor | None:
        """What each text must not look at as minus infinity ``(n, 1, 1, S)``; None: nothing."""
        if windowed not in self.masks:
            window = self.config.window if windowed else None
            bounded = window is not None and self.reach > window
            self.masks[windowed] = None
            if self.uneven or bounded:
                keys = torch.arange(self.reach, device=self.lengths.device)
                hidden = keys > self.lengths[:, None]
                if window is not None:
                    hidden |= keys <= self.lengths[:, None] - window
                mask = torch.zeros(hidden.shape, dtype=self.new.dtype, device=hidden.device)
                self.masks[windowed] = mask.masked_fill_(hidden, -torch.inf)[:, None, None]
        return self.masks[windowed]


class PrefillAttention:
    """One step's attention of a piece to its text so far."""

    def __init__(
        self, config: ModelConfig, piece: PrefillChunk, buffers: Buffers, first: int
    ) -> None:
        """``first``: the place of the piece's first token in the step."""
        self.config, self.cache = config, piece.cache
        self.count, self.start = len(piece.tokens), piece.cache.length
        own = slice(first, first + self.count)
        self.queries = buffers.queries[own].transpose(0, 1)[None]  # (1, H, T, K)
        self.seen = buffers.seen[own].view(self.count, config.heads, -1)
        self.new = buffers.keys_values[own]
        self.masks: dict[bool, Tensor | None] = {}

    def __call__(self, layer: int, *, windowed: bool) -> None:
        """Note the new keys and values, and look at all up to each token."""
        config, end = self.config, self.start + self.count
        self.cache.flat[layer][self.start : end] = self.new
        # (1, G, S, K) each
        keys, values = self.cache.layers[layer][:end].permute(1, 2, 0, 3)[:, None].unbind(0)
        mask, cap = self._mask(windowed), config.attention_softcap
        if cap is not None:
            seen = attend(
                self.queries.contiguous(), keys, values, mask, scale=scale_of(config), softcap=cap
            )
        else:
            seen = F.scaled_dot_product_attention(
                self.queries,
                keys,
                values,
                attn_mask=mask,
                is_causal=mask is None and self.count > 1,
                scale=scale_of(config),
                enable_gqa=config.heads != config.kv_heads,
            )
        self.seen.copy_(seen[0].transpose(0, 1))

    def _mask(self, windowed: bool) -> Tensor | None:
        """Which keys each token may look at ``(T, S)``; None where being causal says all."""
        if windowed not in self.masks:
            window = self.config.window if windowed else None
            end = self.start + self.count
            self.masks[windowed] = None
            if (window is not None and end > window) or (self.start and self.count > 1):
                places = torch.arange(end, device=self.new.device)
                self.masks[windowed] = visible(
                    places[self.start :], places, causal=True, window=window, segments=None
                )
        return self.masks[windowed]


def scale_of(config: ModelConfig) -> float:
    """What scores are multiplied by."""
    return config.attention_scale or config.head_width**-0.5
