"""The matrix products of decoding: few rows, each matrix read once.

Queries, keys and values are three products of the same input, gate and up two: side by side in
memory they are one. A matrix that lies as (in, out) is multiplied with few rows in up to half the
time of one that lies as (out, in), as parameters do. A wide one is cut into blocks of columns, each
in one piece of memory: its rows would lie so far apart that looking up where takes as long as
reading them, which costs a third (docs/experiments.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

import torch
from torch import Tensor, nn

from linnet.errors import ConfigError
from linnet.model.lora_layers import LoRALinear

Form: TypeAlias = Literal["copied", "shared", "int8"]
"""How weights are held: copied so that they lie well; as the parameters themselves, which takes
no memory; or rounded to 8 bits."""

WORTH_CUTTING = 2048
"""Matrices of as many columns are cut into blocks."""

BLOCK_COLUMNS = (384, 128)
"""Widths of blocks, the most and the least."""

WORTH_ROUNDING = 400_000
"""Smaller matrices are multiplied sooner than their input is rounded."""


class Product(Protocol):
    """A product of ``x`` (N, in) with a matrix (in, out)."""

    def into(self, x: Tensor, out: Tensor) -> None:
        """Write the product into ``out`` (N, out)."""

    def add_to(self, x: Tensor, out: Tensor) -> None:
        """Add the product to ``out`` (N, out)."""


def product_of(
    weights: Sequence[Tensor],
    biases: Sequence[Tensor | None],
    dtype: torch.dtype,
    form: Form,
) -> Product:
    """One product for linear layers of the same input, given their parameters."""
    held = [bias.detach().to(dtype) for bias in biases if bias is not None]
    bias = torch.cat(held) if held else None
    if form == "int8" and sum(weight.numel() for weight in weights) >= WORTH_ROUNDING:
        return Rounded(torch.cat([weight.detach().float() for weight in weights]), bias)
    return Exact([weight.detach().to(dtype) for weight in weights], bias, shared=form == "shared")


class Exact:
    """The matrices as they are."""

    def __init__(self, weights: Sequence[Tensor], bias: Tensor | None, *, shared: bool) -> None:
        """``weights``: (out, in) each."""
        self.weights = [weight.mT for weight in weights]
        if not shared:
            self.weights = [torch.cat(self.weights, 1).contiguous()]
        self.columns, start = [], 0
        for weight in self.weights:
            self.columns.append(slice(start, start + weight.shape[1]))
            start += weight.shape[1]
        self.bias = bias
        self.blocks: Tensor | None = None  # (blocks, in, columns)
        width = _block_width(start)
        if width and not shared and start >= WORTH_CUTTING and self.weights[0].device.type == "cpu":
            (whole,) = self.weights
            cut = whole.view(len(whole), start // width, width)
            self.blocks = cut.transpose(0, 1).contiguous()
            self.weights = []

    def into(self, x: Tensor, out: Tensor) -> None:
        if self.blocks is not None:
            # Into one piece of memory: torch would take the blocks one by one otherwise.
            product = torch.bmm(x.expand(len(self.blocks), *x.shape), self.blocks)
            out.view(len(out), len(self.blocks), -1).copy_(product.transpose(0, 1))
        elif len(self.weights) == 1:
            torch.mm(x, self.weights[0], out=out)
        else:
            for weight, columns in zip(self.weights, self.columns, strict=True):
                torch.mm(x, weight, out=out[:, columns])
        if self.bias is not None:
            out.add_(self.bias)

    def add_to(self, x: Tensor, out: Tensor) -> None:
        if self.blocks is not None:
            product = torch.empty(out.shape, dtype=out.dtype)
            self.into(x, product)
            out.add_(product)
            return
        for weight, columns in zip(self.weights, self.columns, strict=True):
            out[:, columns].addmm_(x, weight)
        if self.bias is not None:
            out.add_(self.bias)


class Rounded:
    """The matrix rounded to 8 bits, each of its outputs by a scale of its own.

    Inputs are rounded too, all rows by one scale: so a text depends a little on those beside it.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """``weight``: (out, in) in fp32. Raises ConfigError where torch has no such product."""
        if weight.device.type != "cpu" or not _has_rounded_products():
            raise ConfigError("int8 needs torch's products of 8 bits, which this machine lacks")
        scales = weight.abs().amax(1).clamp_min(1e-12).double() / 127
        zeros = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():  # torch is to replace these, and has not yet
            warnings.simplefilter("ignore", UserWarning)
            rounded = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        bias = None if bias is None else bias.float()
        self.packed = torch.ops.quantized.linear_prepack(rounded, bias)

    def into(self, x: Tensor, out: Tensor) -> None:
        out.copy_(torch.ops.quantized.linear_dynamic(x.float(), self.packed))

    def add_to(self, x: Tensor, out: Tensor) -> None:
        out.add_(torch.ops.quantized.linear_dynamic(x.float(), self.packed))


class Adapted:
    """What adapters add to a product, by their names."""

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
            if not part.is_plain:
                if rows is None:
                    out[:, start:end] += part.added(x, layer)
                else:
                    out[:, start:end].index_add_(0, rows, part.added(x[rows], layer))
                continue
            assert part.a is not None
            assert part.b is not None
            a, b = part.a.to(x.dtype).mT, part.b.to(x.dtype).mT
            strength = part.scaling * part.strength
            if rows is None:
                out[:, start:end].addmm_(x @ a, b, alpha=strength)
            else:
                out[:, start:end].index_add_(0, rows, x[rows] @ a @ b, alpha=strength)


def _block_width(columns: int) -> int:
    """The widest block that a matrix can be cut into without a rest; 0: none."""
    most, least = BLOCK_COLUMNS
    return next((width for width in range(most, least - 1, -1) if columns % width == 0), 0)


def _has_rounded_products() -> bool:
    return any(name in torch.backends.quantized.supported_engines for name in ("x86", "onednn"))
