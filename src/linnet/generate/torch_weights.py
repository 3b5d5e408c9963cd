"""A model's weights as decoding reads them: few products, each of a whole matrix.

Queries, keys and values are three products of the same input, gate and up two: side by side in
memory they are one. A matrix that lies as (in, out) is multiplied with few rows in up to half the
time of one that lies as (out, in), as parameters do (docs/experiments.md). So where there
is memory, matrices are copied; where not, the parameters themselves are read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.model.layers import XIELU, LayerNorm, RMSNorm
from linnet.model.lora import LoRALinear

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.model.layers import Attention, Block


class Matrix:
    """One product for linear layers of the same input: ``x`` (N, in) to (N, all their outs)."""

    def __init__(self, layers: Sequence[nn.Linear], dtype: torch.dtype, *, copied: bool) -> None:
        weights = [layer.weight.detach().to(dtype).mT for layer in layers]  # (in, out) each
        if copied:
            weights = [torch.cat(weights, 1).contiguous()]
        self.weights, self.columns, start = weights, [], 0
        for weight in weights:
            self.columns.append(slice(start, start + weight.shape[1]))
            start += weight.shape[1]
        biases = [layer.bias.detach().to(dtype) for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None

    def into(self, x: Tensor, out: Tensor) -> None:
        """Write the product into ``out``."""
        if len(self.weights) == 1:
            torch.mm(x, self.weights[0], out=out)
        else:
            for weight, columns in zip(self.weights, self.columns, strict=True):
                torch.mm(x, weight, out=out[:, columns])
        if self.bias is not None:
            out.add_(self.bias)

    def add_to(self, x: Tensor, out: Tensor) -> None:
        """Add the product to ``out``."""
        for weight, columns in zip(self.weights, self.columns, strict=True):
            out[:, columns].addmm_(x, weight)
        if self.bias is not None:
            out.add_(self.bias)


class Adapted:
    """What adapters add to the product of a :class:`Matrix`, by their names."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.columns: list[tuple[LoRALinear, int, int]] = []
        start = 0
        for layer in layers:
            end = start + layer.out_features
            if isinstance(layer, LoRALinear):
                self.columns.append((layer, start, end))
            start = end

    def add(self, name: str, rows: Tensor | None, x: Tensor, out: Tensor) -> None:
        """Add an adapter's answers to ``rows`` of ``x`` (all where None) to those of ``out``."""
        for layer, start, end in self.columns:
            part = layer.part(name)
            if part is None:
                continue
            a, b = part.a.to(x.dtype).mT, part.b.to(x.dtype).mT
            strength = part.scaling * part.strength
            if rows is None:
                out[:, start:end].addmm_(x @ a, b, alpha=strength)
            else:
                out[:, start:end].index_add_(0, rows, x[rows] @ a @ b, alpha=strength)


class Norm:
    """A normalisation over the last dimension, in one call where torch has one."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self.module = module
        plain = dtype == torch.float32
        self.rms = module if plain and isinstance(module, RMSNorm) and not module.offset else None
        self.layer = module if plain and isinstance(module, LayerNorm) else None

    def __call__(self, x: Tensor) -> Tensor:
        if self.rms is not None:
            return F.rms_norm(x, x.shape[-1:], self.rms.weight, self.rms.eps)
        if self.layer is not None:
            own = self.layer
            return F.layer_norm(x, own.normalized_shape, own.weight, own.bias, own.eps)
        return self.module(x)


class HeadNorm:
    """Normalises queries and keys per head, in place: ``(N, H + G, K)``."""

    def __init__(self, attention: Attention, dtype: torch.dtype) -> None:
        self.queries = attention.config.heads
        self.q, self.k = Norm(attention.q_norm, dtype), Norm(attention.k_norm, dtype)

    def __call__(self, heads: Tensor) -> None:
        for norm, own in (
            (self.q, heads[:, : self.queries]),
            (self.k, heads[:, self.queries :]),
        ):
            own.copy_(norm(own))


@dataclass(frozen=True)
class Layer:
    """One block of a Transformer; see ``linnet.model.layers`` for what it computes."""

    attention_norm: Norm
    qkv: Matrix
    qkv_adapted: Adapted
    qk_norm: HeadNorm | None
    o: Matrix
    o_adapted: Adapted
    attention_post_norm: Norm | None
    mlp_norm: Norm
    wide: Matrix
    """Gate and up, or up alone."""
    wide_adapted: Adapted
    xielu: XIELU | None
    down: Matrix
    down_adapted: Adapted
    mlp_post_norm: Norm | None


def layers_of(model: Transformer, dtype: torch.dtype, *, copied: bool) -> list[Layer]:
    """The blocks of a causal model, computed in ``dtype``; ``copied``: laid out for speed."""
    return [_layer(block, dtype, copied) for block in model.blocks]  # type: ignore[arg-type]


def table_of(model: Transformer, dtype: torch.dtype, *, copied: bool) -> Tensor:
    """The output layer ``(D, V)``, less what adapters add."""
    own = model.embedding.weight if model.config.tied else model.output.weight
    table = own.detach().to(dtype).mT
    return table.contiguous() if copied else table


def bytes_of(model: Transformer, dtype: torch.dtype) -> int:
    """Memory that copies of the matrices take."""
    config = model.config
    blocks = sum(parameter.numel() for parameter in model.blocks.parameters())
    return (blocks + config.vocab_size * config.width) * dtype.itemsize


def version_of(model: Transformer) -> int:
    """Another number whenever a parameter was written to, or is another tensor."""
    return hash(tuple(
        (value.data_ptr(), 0 if value.is_inference() else value._version)
        for value in model.parameters()
    ))  # fmt: skip


def _layer(block: Block, dtype: torch.dtype, copied: bool) -> Layer:
    attention, mlp = block.attention, block.mlp
    qkv = (attention.q, attention.k, attention.v)
    wide = (mlp.gate, mlp.up) if hasattr(mlp, "gate") else (mlp.up,)
    twice = block.norm_place == "both"
    return Layer(
        attention_norm=Norm(block.attention_norm, dtype),
        qkv=Matrix(qkv, dtype, copied=copied),
        qkv_adapted=Adapted(qkv),
        qk_norm=HeadNorm(attention, dtype) if attention.config.qk_norm else None,
        o=Matrix((attention.o,), dtype, copied=copied),
        o_adapted=Adapted((attention.o,)),
        attention_post_norm=Norm(block.attention_post_norm, dtype) if twice else None,
        mlp_norm=Norm(block.mlp_norm, dtype),
        wide=Matrix(wide, dtype, copied=copied),
        wide_adapted=Adapted(wide),
        xielu=mlp.xielu if hasattr(mlp, "xielu") else None,
        down=Matrix((mlp.down,), dtype, copied=copied),
        down_adapted=Adapted((mlp.down,)),
        mlp_post_norm=Norm(block.mlp_post_norm, dtype) if twice else None,
    )
