"""The key/value cache: what attention has already computed for earlier tokens.

A token's keys and values never change once computed, so generating one token
needs only its own row; the rest is read from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from linnet.errors import ModelError

if TYPE_CHECKING:
    from linnet.model.config import ModelConfig


class LayerCache:
    """Keys and values of one layer: ``(B, G, capacity, K)`` each, ``length`` positions filled."""

    def __init__(
        self,
        batch: int,
        capacity: int,
        config: ModelConfig,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        shape = (batch, config.kv_heads, capacity, config.head_width)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store ``(B, G, T, K)`` new rows; return all rows so far, ``(B, G, S, K)``."""
        end = self.length + k.shape[2]
        self.keys[:, :, self.length : end] = k
        self.values[:, :, self.length : end] = v
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def keep(self, rows: Tensor) -> None:
        """Drop all rows of the batch but these."""
        self.keys = self.keys[rows]
        self.values = self.values[rows]


class KVCache:
    """One :class:`LayerCache` per block; all rows of a batch have the same length."""

    def __init__(
        self,
        config: ModelConfig,
        *,
        batch: int = 1,
        capacity: int | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.reach = 0
        """Tokens in the text whose pieces are being read, on which LongRoPE depends."""
        self.capacity = config.context if capacity is None else min(capacity, config.context)
        self.layers = [
            LayerCache(batch, self.capacity, config, torch.device(device), dtype)
            for _ in range(config.depth)
        ]

    @property
    def length(self) -> int:
        """How many positions are filled."""
        return self.layers[0].length

    def clear(self) -> None:
        """Hold nothing."""
        for layer in self.layers:
            layer.length = 0

    def keep(self, rows: Sequence[int]) -> None:
        """Drop all rows of the batch but these: the others need no more work."""
        chosen = torch.tensor(rows, device=self.layers[0].keys.device)
        for layer in self.layers:
            layer.keep(chosen)

    def require_capacity(self, tokens: int) -> None:
        """Raise ModelError unless ``tokens`` more positions fit."""
        if self.length + tokens > self.capacity:
            raise ModelError(
                f"the context holds {self.capacity} tokens. Got {self.length + tokens}; "
                "shorten the prompt"
            )
