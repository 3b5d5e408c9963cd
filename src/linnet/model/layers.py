"""The parts of a Transformer block.

Parameters are kept in fp32 for training and activations in whatever format the
residual stream has: each layer casts its weights to the format of its input,
which is all that mixed precision needs (matrix products in bf16, updates in fp32).

Letters: ``B`` batch, ``T`` queries, ``S`` keys, ``D`` width, ``H`` heads,
``G`` key/value heads, ``K`` head width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from linnet.model.cache import LayerCache
    from linnet.model.config import ModelConfig


class Linear(nn.Linear):
    """A matrix product that computes in the format of its input."""

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)


class RMSNorm(nn.Module):
    """Scale a vector to unit root mean square, then by a learned gain (arXiv:1910.07467)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # In fp32: squares of bf16 numbers lose too much.
        x32 = x.float()
        scale = torch.rsqrt(x32.square().mean(-1, keepdim=True) + self.eps)
        return self.weight.to(x.dtype) * (x32 * scale).to(x.dtype)


class LayerNorm(nn.LayerNorm):
    """Subtract the mean, scale to unit variance, then gain and bias (arXiv:1607.06450)."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        normed = F.layer_norm(x.float(), self.normalized_shape, self.weight, self.bias, self.eps)
        return normed.to(x.dtype)


def make_norm(config: ModelConfig, width: int | None = None) -> nn.Module:
    """The kind of normalisation that ``config`` asks for."""
    kind = RMSNorm if config.norm == "rmsnorm" else LayerNorm
    return kind(width or config.width, config.norm_eps)


def rope_angles(positions: Tensor, head_width: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the rotation at each position, both ``(T, K)`` in fp32.

    RoPE (arXiv:2104.09864) turns pairs of coordinates by an angle proportional
    to the position, so that a query and a key see only how far apart they are.
    Pair i turns at ``theta ** (-2i / K)`` radians per token.
    """
    steps = torch.arange(0, head_width, 2, dtype=torch.float32, device=positions.device)
    frequencies = 1.0 / theta ** (steps / head_width)  # (K/2,)
    angles = positions.float()[:, None] * frequencies  # (T, K/2)
    angles = torch.cat((angles, angles), dim=-1)  # (T, K)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair (i, i + K/2) of ``x`` ``(B, H, T, K)``: the "half" layout of Llama."""
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat((-second, first), dim=-1)
    return x * cos.to(x.dtype) + turned * sin.to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention written out: ``softmax(q kᵀ / sqrt(K)) v``, all ``(B, H, T, K)``.

    On CPU, compiled, this trains short sequences faster than the fused kernel.
    """
    T = q.shape[2]
    scores = (q @ k.mT).float() * q.shape[-1] ** -0.5  # (B, H, T, S)
    later = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    weights = scores.masked_fill(later, float("-inf")).softmax(-1).to(q.dtype)
    return weights @ v


class Attention(nn.Module):
    """Every position looks at the positions before it and takes a weighted mean of their values.

    Grouped queries (arXiv:2305.13245) when G < H: several query heads share one
    key/value head, which shrinks the cache.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.written_out = False  # set by training where it is the faster way
        query_width = config.heads * config.head_width
        kv_width = config.kv_heads * config.head_width
        self.q = Linear(config.width, query_width, bias=config.attention_bias)
        self.k = Linear(config.width, kv_width, bias=config.attention_bias)
        self.v = Linear(config.width, kv_width, bias=config.attention_bias)
        self.o = Linear(query_width, config.width, bias=config.output_bias)
        if config.qk_norm:
            self.q_norm = RMSNorm(config.head_width, config.norm_eps)
            self.k_norm = RMSNorm(config.head_width, config.norm_eps)

    def forward(
        self,
        x: Tensor,  # (B, T, D)
        rope: tuple[Tensor, Tensor] | None,
        mask: Tensor | None,
        cache: LayerCache | None,
    ) -> Tensor:
        config = self.config
        B, T, _ = x.shape
        q = self.q(x).view(B, T, config.heads, config.head_width)
        k = self.k(x).view(B, T, config.kv_heads, config.head_width)
        v = self.v(x).view(B, T, config.kv_heads, config.head_width).transpose(1, 2)
        if config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = q.transpose(1, 2), k.transpose(1, 2)  # (B, H, T, K), (B, G, T, K)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        if cache is not None:
            k, v = cache.append(k, v)  # (B, G, S, K)
        if self.written_out:
            y = attend(q, k, v)
        else:
            y = F.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=mask,
                dropout_p=config.dropout if self.training else 0.0,
                is_causal=mask is None and config.causal and T > 1,
                enable_gqa=config.kv_heads != config.heads,
            )  # (B, H, T, K)
        return self.o(y.transpose(1, 2).reshape(B, T, -1))


class XIELU(nn.Module):
    """The activation of Apertus (arXiv:2411.13010): a square above zero, bounded slope below."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha_p = nn.Parameter(torch.tensor([0.2035]))  # softplus gives 0.8
        self.alpha_n = nn.Parameter(torch.tensor([-1.0502]))  # softplus gives 0.3
        self.register_buffer("beta", torch.tensor(0.5))
        self.register_buffer("eps", torch.tensor(-1e-6))

    beta: Tensor
    eps: Tensor

    def forward(self, x: Tensor) -> Tensor:
        beta = self.beta.to(x.dtype)
        above = F.softplus(self.alpha_p).to(x.dtype) * x.square()
        slope = (self.beta + F.softplus(self.alpha_n)).to(x.dtype)
        below = (torch.expm1(torch.minimum(x, self.eps.to(x.dtype))) - x) * slope
        return torch.where(x > 0, above, below) + beta * x


class MLP(nn.Module):
    """The same small network at every position: widen, bend, narrow."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.activation = config.activation
        if config.activation == "swiglu":
            self.gate = Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.up = Linear(config.width, config.mlp_width, bias=config.mlp_bias)
        self.down = Linear(config.mlp_width, config.width, bias=config.mlp_bias)
        if config.activation == "xielu":
            self.xielu = XIELU()

    def forward(self, x: Tensor) -> Tensor:
        if self.activation == "swiglu":  # arXiv:2002.05202
            return self.down(F.silu(self.gate(x)) * self.up(x))
        if self.activation == "relu2":  # arXiv:2109.08668
            return self.down(F.relu(self.up(x)).square())
        if self.activation == "xielu":
            return self.down(self.xielu(self.up(x)))
        return self.down(F.gelu(self.up(x), approximate="tanh"))  # arXiv:1606.08415


class Block(nn.Module):
    """Attention, then the MLP; each reads a normalised copy of the stream and adds to it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = make_norm(config)
        self.attention = Attention(config)
        self.mlp_norm = make_norm(config)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x: Tensor,  # (B, T, D)
        rope: tuple[Tensor, Tensor] | None = None,
        mask: Tensor | None = None,
        cache: LayerCache | None = None,
    ) -> Tensor:
        x = x + self.dropout(self.attention(self.attention_norm(x), rope, mask, cache))
        return x + self.dropout(self.mlp(self.mlp_norm(x)))
