"""A model's blocks as decoding reads them; what they compute is in ``linnet.model.layers``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.generate.torch_products import Adapted, Form, Product, product_of
from linnet.model.activations import ACTIVATIONS, Function
from linnet.model.layers import LayerNorm, RMSNorm
from linnet.model.lora_layers import Replaceable

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.model.layers import Attention, Block


Parts = list[tuple[str, Tensor | None]]
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

    def __call__(self, x: Tensor, parts: Parts) -> Tensor:
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

    def __call__(self, heads: Tensor, parts: Parts) -> None:
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
        weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
        return product_of(weights, biases, dtype, form)

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
