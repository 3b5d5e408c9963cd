"""Where the tokens of a decoding step are computed: buffers that stay from layer to layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from linnet.model.config import ModelConfig


class Buffers:
    """Memory for ``N`` tokens, with the views that each layer needs.

    A view takes as long to make as a small sum, so they are made once. Letters as in the model;
    ``R`` coordinates that RoPE turns, ``F`` width of the MLP.
    """

    def __init__(
        self, config: ModelConfig, count: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        H, G, K = config.heads, config.kv_heads, config.head_width
        R = config.rotary_width or K

        def make(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=dtype, device=device)

        self.qkv = make(count, (H + 2 * G) * K)
        whole = self.qkv.view(count, H + 2 * G, K)
        self.heads = whole[:, : H + G]  # (N, H + G, K)
        self.queries = whole[:, :H]  # (N, H, K)
        self.keys_values = self.qkv[:, H * K :]  # (N, 2 G K)
        self.turned = self.heads[..., :R]
        # Its second half and its first, and where these stand the other way round.
        self.halves = (self.turned[..., R // 2 :], self.turned[..., : R // 2])
        self.swapped = make(count, H + G, R)
        self.seen = make(count, H * K)
        self.wide = make(count, config.mlp_width * (1 + config.gated))
        self.gate = self.wide[:, : config.mlp_width]  # (N, F)
        self.up = self.wide[:, -config.mlp_width :]  # (N, F)

    def turn(self, cos: Tensor, sin: Tensor) -> None:
        """Turn queries and keys; ``sin`` is negative in its first half (``linnet.model.rope``)."""
        torch.cat(self.halves, -1, out=self.swapped)
        self.turned.mul_(cos).addcmul_(self.swapped, sin)
