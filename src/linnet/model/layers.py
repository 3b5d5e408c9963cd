"""The parts of a Transformer block.

Parameters are kept in fp32 for training and activations in whatever format the
residual stream has: each layer casts its weights to the format of its input,
which is all that mixed precision needs (matrix products in bf16, updates in fp32).

Letters: ``B`` batch, ``T`` queries, ``S`` keys, ``D`` width, ``H`` heads,
``G`` key/value heads, ``K`` head width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.model.activations import ACTIVATIONS
from linnet.model.rope import Rope, rotate

if TYPE_CHECKING:
    from linnet.model.cache import LayerCache
    from linnet.model.config import ModelConfig

WRITTEN_OUT_LENGTH = 512  # tokens; beyond it the table of scores outgrows the cache


class Linear(nn.Linear):
    """A matrix product that computes in the format of its input."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)

    def table(self) -> Tensor:
        """The whole matrix ``(out, in)`` that it multiplies by."""
        return self.weight

    def offset(self) -> Tensor | None:
        """What it adds ``(out,)``, where it adds something."""
        return self.bias


class Embedding(nn.Embedding):
    """A vector for every token."""

    def reset_parameters(self) -> None:
        """Draw the weights. Where there are only shapes torch would import its compiler for it,
        which takes seconds."""
        if not self.weight.is_meta:
            super().reset_parameters()

    def output_table(self) -> Tensor:
        """The matrix ``(V, D)`` of an output layer that shares the table."""
        return self.weight


class RMSNorm(nn.Module):
    """Scale a vector to unit root mean square, then by a learned gain (arXiv:1910.07467).

    ``offset``: the weight is what the gain differs from 1 by, as in Gemma.
    """

    def __init__(self, width: int, eps: float, *, offset: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width) if offset else torch.ones(width))
        self.eps = eps
        self.offset = offset

    def forward(self, x: Tensor) -> Tensor:
        # In fp32: squares of bf16 numbers lose too much.
        x32 = x.float()
        scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.eps)
        if self.offset:
            return (x32 * scale * (1 + self.weight.float())).to(x.dtype)
        return self.weight.to(x.dtype) * (x32 * scale).to(x.dtype)


class LayerNorm(nn.LayerNorm):
    """Subtract the mean, scale to unit variance, then gain and bias (arXiv:1607.06450)."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        gain, bias = self.weight.float(), None if self.bias is None else self.bias.float()
        return F.layer_norm(x.float(), self.normalized_shape, gain, bias, self.eps).to(x.dtype)


class NormPerHead(nn.ModuleList):
    """A normalisation with a gain of its own for every head: ``(..., H, K)``."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([norm(part) for norm, part in zip(self, x.unbind(-2), strict=True)], -2)


def make_norm(config: ModelConfig, width: int | None = None, *, bias: bool = True) -> nn.Module:
    """The kind of normalisation that ``config`` asks for."""
    width = width or config.width
    if config.norm == "layernorm":
        return LayerNorm(width, config.norm_eps, bias=bias and config.norm_bias)
    return RMSNorm(width, config.norm_eps, offset=config.norm == "rmsnorm_offset")


def make_head_norm(config: ModelConfig, heads: int) -> nn.Module:
    """What normalises ``heads`` queries or keys."""
    if config.qk_norm_kind == "each":
        norms = (make_norm(config, config.head_width, bias=False) for _ in range(heads))
        return NormPerHead(norms)
    whole = config.qk_norm_kind == "whole"
    return make_norm(config, config.head_width * (heads if whole else 1), bias=not whole)


def visible(
    queries: Tensor,
    keys: Tensor,
    *,
    causal: bool,
    window: int | None,
    segments: Tensor | None,
) -> Tensor:
    """Which keys each query may attend to: True where it may.

    ``queries`` ``(T,)`` and ``keys`` ``(S,)`` are places in the row. Gives ``(T, S)``;
    with ``segments`` ``(B, S)``, which confine attention to equal numbers, ``(B, 1, T, S)``.
    """
    back = queries[:, None] - keys[None, :]  # (T, S): how far back a key lies
    mask = back >= 0 if causal else torch.ones_like(back, dtype=torch.bool)
    if window is not None:
        mask = mask & ((back if causal else back.abs()) < window)
    if segments is None:
        return mask
    same = segments[:, queries, None] == segments[:, None, :]  # (B, T, S)
    return (mask & same)[:, None]


@dataclass(frozen=True)
class PackedTexts:
    """The texts that share the rows of a batch, by their lengths: rows end to end."""

    lengths: tuple[int, ...]
    mask: Tensor | None = None
    """Of the longest alone, where being causal, or not, does not say all."""

    def of(self, length: int) -> Tensor | None:
        """The mask of a text of this length."""
        return None if self.mask is None else self.mask[..., :length, :length]


Mask = Tensor | PackedTexts | None
"""What limits attention: a mask as of :func:`visible` (or numbers to add to scores), texts side
by side, or nothing."""


class DistanceBias(Embedding):
    """What the distance between two places adds to scores (T5's, arXiv:1910.10683).

    Half of the buckets are for keys behind a query and half for those ahead. In each half the
    nearest have a bucket each; then the buckets grow up to a distance of 128.
    """

    FURTHEST = 128

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:  # type: ignore[override]
        """Numbers ``(H, T, S)`` for places ``(T,)`` and ``(S,)``."""
        back = queries[:, None] - keys[None, :]
        half = self.num_embeddings // 2
        near, far = half // 2, back.abs()
        growth = (far.clamp_min(1) / near).log() / math.log(self.FURTHEST / near)
        grown = (near + (growth * (half - near)).long()).clamp_max(half - 1)
        bucket = torch.where(far < near, far, grown) + half * (back < 0)
        return super().forward(bucket).permute(2, 0, 1)


def attend_packed(
    q: Tensor,  # (B, H, T, K)
    k: Tensor,  # (B, G, T, K)
    v: Tensor,  # (B, G, T, K)
    packed: PackedTexts,
    *,
    scale: float,
    causal: bool,
    dropout: float,
) -> Tensor:
    """Attention of every text to itself alone ``(B, H, T, K)``.

    On CPU this takes a quarter of the time of one large mask: a text of n tokens costs
    n² scores and not n times the row; and the fused kernel is faster in fp32.
    """
    B, _, T, _ = q.shape
    queries, keys, values = (
        x.transpose(0, 1).flatten(1, 2).float()[None].split(packed.lengths, 2) for x in (q, k, v)
    )
    texts = [
        F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=packed.of(query.shape[2]),
            dropout_p=dropout,
            is_causal=causal and packed.mask is None,
            scale=scale,
            enable_gqa=q.shape[1] != k.shape[1],
        )[0]
        for query, key, value in zip(queries, keys, values, strict=True)
    ]
    return torch.cat(texts, 1).unflatten(1, (B, T)).transpose(0, 1).to(q.dtype)


def attend(
    q: Tensor,  # (B, H, T, K)
    k: Tensor,  # (B, G, S, K)
    v: Tensor,  # (B, G, S, K)
    mask: Tensor | None,
    *,
    scale: float,
    causal: bool = True,
    softcap: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention written out: ``softmax(scale q kᵀ) v`` ``(B, H, T, K)``.

    On CPU, compiled, this trains short sequences faster than the fused kernel; and
    no fused kernel caps scores (``softcap``, arXiv:2408.00118). Without a mask,
    ``causal`` needs T = S.
    """
    B, H, T, K = q.shape
    G, S = k.shape[1:3]
    grouped = G != H
    if grouped:
        q, k, v = q.view(B, G, H // G, T, K), k[:, :, None], v[:, :, None]
        mask = mask[:, :, None] if mask is not None and mask.dim() == 4 else mask
    scores = (q @ k.mT).float() * scale  # (B, H, T, S), or (B, G, H / G, T, S)
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        hidden = mask.dtype == torch.bool
        scores = scores.masked_fill(~mask, float("-inf")) if hidden else scores + mask
    elif causal and T > 1:
        later = torch.ones(T, S, dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, float("-inf"))
    weights = F.dropout(scores.softmax(-1).to(q.dtype), dropout, training=dropout > 0)
    y = weights @ v
    return y.reshape(B, H, T, K) if grouped else y


class Attention(nn.Module):
    """Every position attends to the positions before it and takes a weighted mean of their values.

    Grouped queries (arXiv:2305.13245) when G < H: several query heads share one
    key/value head, which shrinks the cache.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        # Training sets this where it is the faster way; no other can cap scores.
        self.written_out = config.attention_softcap is not None
        self.attend_packed = attend_packed  # a compiled model leaves it uncompiled
        self.scale = config.attention_scale or config.head_width**-0.5
        query_width = config.heads * config.head_width
        kv_width = config.kv_heads * config.head_width
        self.q = Linear(config.width, query_width, bias=config.attention_bias)
        self.k = Linear(config.width, kv_width, bias=config.attention_bias)
        self.v = Linear(config.width, kv_width, bias=config.attention_bias)
        self.o = Linear(query_width, config.width, bias=config.output_bias)
        if config.qk_norm:
            self.q_norm = make_head_norm(config, config.heads)
            self.k_norm = make_head_norm(config, config.kv_heads)

    def forward(
        self,
        x: Tensor,  # (B, T, D)
        rope: Rope | None,
        mask: Mask,
        cache: LayerCache | None,
    ) -> Tensor:
        config = self.config
        B, T, _ = x.shape
        q, k = self.q(x), self.k(x)
        if config.qk_norm and config.qk_norm_kind == "whole":
            q, k = self.q_norm(q), self.k_norm(k)
        q = q.view(B, T, config.heads, config.head_width)
        k = k.view(B, T, config.kv_heads, config.head_width)
        v = self.v(x).view(B, T, config.kv_heads, config.head_width).transpose(1, 2)
        if config.qk_norm and config.qk_norm_kind != "whole":
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = q.transpose(1, 2), k.transpose(1, 2)  # (B, H, T, K), (B, G, T, K)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        if cache is not None:
            k, v = cache.append(k, v)  # (B, G, S, K)
        dropout = config.dropout if self.training else 0.0
        if isinstance(mask, PackedTexts):
            y = self.attend_packed(
                q, k, v, mask, scale=self.scale, causal=config.causal, dropout=dropout
            )
        elif self.written_out and (
            config.attention_softcap is not None or q.shape[-2] <= WRITTEN_OUT_LENGTH
        ):
            y = attend(
                q,
                k,
                v,
                mask,
                scale=self.scale,
                causal=config.causal,
                softcap=config.attention_softcap,
                dropout=dropout,
            )
        else:
            y = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask if mask is None or mask.dtype == torch.bool else mask.to(q.dtype),
                dropout_p=dropout,
                is_causal=mask is None and config.causal and T > 1,
                scale=self.scale,
                enable_gqa=config.kv_heads != config.heads,
            )  # (B, H, T, K)
        return self.o(y.transpose(1, 2).reshape(B, T, -1))


class MLP(nn.Module):
    """The same small network at every position: widen, activate, narrow."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gated = config.gated
        if self.gated:
            self.gate = Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.up = Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.down = Linear(config.mlp_width, config.width, bias=config.mlp_bias)
        self.activation = ACTIVATIONS[config.activation].make()

    def forward(self, x: Tensor) -> Tensor:
        if self.gated:
            return self.down(self.activation(self.gate(x)) * self.up(x))  # type: ignore[no-any-return]
        return self.down(self.activation(self.up(x)))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Attention, then the MLP; each adds what it made of the stream to the stream.

    Where the stream is normalised (``norm_place``): before each part; after each sum (BERT);
    before each part, and its result once more (Gemma); or the results alone (OLMo 2).
    Parallel (GPT-NeoX, Phi): both parts read the same stream.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm_place = config.norm_place
        self.parallel, self.shared_norm = config.parallel, config.shared_norm
        self.residual_scale = config.residual_scale
        self.norms_results = config.norm_place in ("both", "after")
        if config.norm_place != "after":
            self.attention_norm = make_norm(config)
        self.attention = Attention(config)
        if config.norm_place != "after" and not config.shared_norm:
            self.mlp_norm = make_norm(config)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)
        if self.norms_results:
            self.attention_post_norm = make_norm(config)
            self.mlp_post_norm = make_norm(config)

    def forward(
        self,
        x: Tensor,  # (B, T, D)
        rope: Rope | None = None,
        mask: Mask = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        if self.norm_place == "post":
            x = self.attention_norm(x + self.dropout(self.attention(x, rope, mask, cache)))
            return self.mlp_norm(x + self.dropout(self.mlp(x)))
        normed = x if self.norm_place == "after" else self.attention_norm(x)
        attended = self.attention(normed, rope, mask, cache)
        if self.norms_results:
            attended = self.attention_post_norm(attended)
        if self.parallel:
            inner = self.mlp(normed if self.shared_norm else self.mlp_norm(x))
            return x + self._scaled(attended) + self._scaled(inner)
        x = x + self._scaled(attended)
        inner = self.mlp(x if self.norm_place == "after" else self.mlp_norm(x))
        if self.norms_results:
            inner = self.mlp_post_norm(inner)
        return x + self._scaled(inner)

    def _scaled(self, result: Tensor) -> Tensor:
        """What a part made, as it is added to the stream."""
        result = self.dropout(result)
        return result if self.residual_scale == 1 else result * self.residual_scale
