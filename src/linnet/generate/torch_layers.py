"""A model's layers as decoding computes them: few rows, each matrix read once.

What they compute is in ``linnet.model.layers``.

Queries, keys and values are three products of the same input, gate and up two: side by side in
memory they are one. A matrix that lies as (in, out) is multiplied with few rows in up to half the
time of one that lies as (out, in), as parameters do. A wide one is cut into blocks of columns, each
in one piece of memory: its rows would lie so far apart that looking up where takes as long as
reading them, which costs a third (docs/experiments.md).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.errors import ConfigError
from linnet.model.activations import ACTIVATIONS, Function
from linnet.model.layers import LayerNorm, RMSNorm
from linnet.model.lora_layers import LoRALinear, Replaceable
from linnet.model.packed import FEW_ROWS, PackedLinear, PackedMatrix
from linnet.runtime import bf16_pays

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.model.layers import Attention, Block

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
        return Int8Product(torch.cat([weight.detach().float() for weight in weights]), bias)
    return DenseProduct(
        [weight.detach().to(dtype) for weight in weights], bias, shared=form == "shared"
    )


class DenseProduct:
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


class Int8Product:
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


class PackedProduct:
    """A matrix that is packed (``linnet.model.packed``), with inputs in bf16."""

    def __init__(self, matrix: PackedMatrix, bias: Tensor | None, dtype: torch.dtype) -> None:
        """``dtype``: of inputs, and of products with matrices that are unpacked for many rows."""
        self.matrix, self.bias = matrix, bias
        self.few = FEW_ROWS[matrix.bits]
        self.many_in = torch.bfloat16 if bf16_pays() else dtype

    def into(self, x: Tensor, out: Tensor) -> None:
        out.copy_(self._product(x))
        if self.bias is not None:
            out.add_(self.bias)

    def add_to(self, x: Tensor, out: Tensor) -> None:
        out.add_(self._product(x))
        if self.bias is not None:
            out.add_(self.bias)

    def _product(self, x: Tensor) -> Tensor:
        return self.matrix.multiply(x.to(torch.bfloat16 if len(x) <= self.few else self.many_in))


class SideBySide:
    """Several products of the same input, of which some are packed."""

    def __init__(self, products: Sequence[tuple[Product, int]]) -> None:
        """``products``: with the number of their outputs."""
        self.products, start = [], 0
        for product, count in products:
            self.products.append((product, slice(start, start + count)))
            start += count

    def into(self, x: Tensor, out: Tensor) -> None:
        for product, columns in self.products:
            product.into(x, out[:, columns])

    def add_to(self, x: Tensor, out: Tensor) -> None:
        for product, columns in self.products:
            product.add_to(x, out[:, columns])


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


AdapterRows = list[tuple[str, Tensor | None]]
"""The adapters of a step with the places of their tokens; None: all of them."""


class Norm:
    """A normalisation over the last dimension, in as few calls as torch allows."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self.copies: dict[str, Norm] = {}
        if isinstance(module, Replaceable):
            self.copies = {name: Norm(copy, dtype) for name, copy in module.by_adapter()}
            module = module.chosen(None)
        self.module = module
        plain = dtype == torch.float32
        self.weight = self.least = None
        if plain and isinstance(module, RMSNorm):
            width = len(module.weight)
            gain = module.weight.detach() + module.offset
            self.weight = gain * width**0.5
            self.least = torch.tensor((width * module.eps) ** 0.5, device=module.weight.device)
        self.layer = module if plain and isinstance(module, LayerNorm) else None

    def __call__(self, x: Tensor, parts: AdapterRows) -> Tensor:
        """The tokens ``x`` (N, D) normalised, each as its adapter does."""
        normed = self._plain(x)
        for name, rows in parts:
            if name in self.copies:
                own = self.copies[name]._plain(x if rows is None else x[rows])
                if rows is None:
                    return own
                normed[rows] = own
        return normed

    def _plain(self, x: Tensor) -> Tensor:
        if self.weight is not None and self.least is not None:
            # x / sqrt(mean(x ** 2) + eps) in three calls, where ``F.rms_norm`` makes six of it.
            length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
            return (x * self.weight).div_(torch.hypot(length, self.least))
        if self.layer is not None:
            own = self.layer
            return F.layer_norm(x, own.normalized_shape, own.weight, own.bias, own.eps)
        return self.module(x)  # type: ignore[no-any-return]


class HeadNorm:
    """Normalises queries and keys, in place: ``(N, H + G, K)``."""

    def __init__(self, attention: Attention, dtype: torch.dtype) -> None:
        self.queries = attention.config.heads
        self.kind = attention.config.qk_norm_kind
        if self.kind == "each":
            every = [*attention.q_norm, *attention.k_norm]  # type: ignore[misc]
            self.each = [Norm(norm, dtype) for norm in every]
        else:
            self.q, self.k = Norm(attention.q_norm, dtype), Norm(attention.k_norm, dtype)

    def __call__(self, heads: Tensor, parts: AdapterRows) -> None:
        if self.kind == "each":
            for norm, own in zip(self.each, heads.unbind(1), strict=True):
                own.copy_(norm(own, parts))
            return
        for norm, own in (
            (self.q, heads[:, : self.queries]),
            (self.k, heads[:, self.queries :]),
        ):
            vectors = own.flatten(1) if self.kind == "whole" else own
            own.copy_(norm(vectors, parts).view_as(own))


@dataclass(frozen=True)
class Layer:
    """One block of a Transformer; see ``linnet.model.layers`` for what it computes."""

    attention_norm: Norm | None
    qkv: Product
    qkv_adapted: Adapted
    qk_norm: HeadNorm | None
    o: Product
    o_adapted: Adapted
    attention_post_norm: Norm | None
    mlp_norm: Norm | None
    """None: where results alone are normalised, or it is attention's."""
    wide: Product
    """Gate and up, or up alone."""
    wide_adapted: Adapted
    activation: Function
    """It may write over its input."""
    down: Product
    down_adapted: Adapted
    mlp_post_norm: Norm | None


def _packed_product(
    layers: Sequence[nn.Module], biases: Sequence[Tensor | None], dtype: torch.dtype, form: Form
) -> Product:
    """One product where the matrices lie together, else one for each."""
    first = layers[0]
    if isinstance(first, PackedLinear):
        whole = first.shared or first.matrix
        together = all(
            isinstance(layer, PackedLinear) and (layer.shared or layer.matrix) is whole
            for layer in layers
        )
        if together and whole.shape[0] == sum(layer.out_features for layer in layers):  # type: ignore[misc]
            held = [bias.to(dtype) for bias in biases if bias is not None]
            return PackedProduct(whole, torch.cat(held) if held else None, dtype)
    found: list[tuple[Product, int]] = []
    for layer, bias in zip(layers, biases, strict=True):
        own = None if bias is None else bias.detach().to(dtype)
        if isinstance(layer, PackedLinear):
            found.append((PackedProduct(layer.matrix, own, dtype), layer.out_features))
        else:
            assert isinstance(layer, nn.Linear)
            found.append((product_of([layer.weight], [bias], dtype, form), layer.out_features))
    return SideBySide(found)


def layers_of(model: Transformer, dtype: torch.dtype, form: Form) -> list[Layer]:
    """The blocks of a causal model, computed in ``dtype``."""
    return [_layer(block, dtype, form) for block in model.blocks]  # type: ignore[arg-type]


def table_of(model: Transformer, dtype: torch.dtype, form: Form) -> Product:
    """The output layer, less what adapters add."""
    own = model.embedding.weight if model.config.tied else model.output.weight
    bias = model.output.bias if model.config.logit_bias else None
    return product_of([own], [bias], dtype, form)


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


def _layer(block: Block, dtype: torch.dtype, form: Form) -> Layer:
    def product(*layers: nn.Linear) -> Product:
        biases = [layer.bias for layer in layers]
        if any(isinstance(layer, PackedLinear) for layer in layers):
            return _packed_product(layers, biases, dtype, form)
        return product_of([layer.weight for layer in layers], biases, dtype, form)

    attention, mlp = block.attention, block.mlp
    qkv = (attention.q, attention.k, attention.v)
    wide = (mlp.gate, mlp.up) if mlp.gated else (mlp.up,)

    def norm(name: str) -> Norm | None:
        module = getattr(block, name, None)
        return None if module is None else Norm(module, dtype)

    return Layer(
        attention_norm=norm("attention_norm"),
        qkv=product(*qkv),
        qkv_adapted=Adapted(qkv),
        qk_norm=HeadNorm(attention, dtype) if attention.config.qk_norm else None,
        o=product(attention.o),
        o_adapted=Adapted((attention.o,)),
        attention_post_norm=norm("attention_post_norm"),
        mlp_norm=norm("mlp_norm"),
        wide=product(*wide),
        wide_adapted=Adapted(wide),
        activation=ACTIVATIONS[attention.config.activation].decoding(mlp.activation),
        down=product(mlp.down),
        down_adapted=Adapted((mlp.down,)),
        mlp_post_norm=norm("mlp_post_norm"),
    )
