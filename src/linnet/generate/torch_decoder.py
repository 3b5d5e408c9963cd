"""A Transformer laid out for writing: many texts, each a few tokens further, in one pass.

``linnet.model.Transformer`` says what is computed; this computes the same with less around it.
Between the products of matrices there is little work for one token, so what counts is how many
calls there are: projections that read the same input are one product, sums go into the product
before them, and buffers with all their views stay from layer to layer.

The tokens of a step stand in one row ``(N, D)``: first one for each text on each shelf (see
``linnet.generate.torch_memory``), then the pieces of prompts that are being read. Products are
taken of all of them together, attention of each shelf and of each piece.

Letters as in the model; ``N`` tokens of a step, ``R`` coordinates that RoPE turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.generate.torch_attention import Piece, PieceAttention, ShelfAttention
from linnet.generate.torch_buffers import Buffers
from linnet.generate.torch_products import Adapted, Form, Product
from linnet.generate.torch_turns import Turns
from linnet.generate.torch_weights import (
    Layer,
    Norm,
    Parts,
    bytes_of,
    layers_of,
    table_of,
    version_of,
)
from linnet.model.lora import own_tables

if TYPE_CHECKING:
    from linnet.generate.torch_memory import Shelf
    from linnet.model import Transformer
    from linnet.model.config import ModelConfig

KEPT_BUFFERS = 64
"""Steps of up to this many tokens keep their buffers; larger ones are worth an allocation."""


class Decoder:
    """Takes texts further; knows nothing of requests."""

    def __init__(self, model: Transformer, *, memory: int, int8: bool = False) -> None:
        """``memory``: bytes that a copy of the weights may take, which makes it faster.

        ``int8``: with weights rounded to 8 bits. Raises ConfigError where torch has no such
        products.
        """
        self.model = model
        self.config: ModelConfig = model.config
        table = model.embedding.weight
        self.device = table.device
        self.dtype = model.compute_dtype or table.dtype
        self.version = version_of(model)
        fits = bytes_of(model, self.dtype) <= memory
        form: Form = "int8" if int8 else "copied" if fits else "shared"
        self.layers = layers_of(model, self.dtype, form)
        self.norm = Norm(model.norm, self.dtype)
        self.table = table_of(model, self.dtype, form)
        self.output = None if model.config.tied else Adapted((model.output,))
        self.embeddings, self.outputs = own_tables(model)
        config = self.config
        self.gated = config.gated
        self.kinds = tuple(config.is_windowed(layer) for layer in range(config.depth))
        self.turns = Turns(config, self.kinds, dtype=self.dtype, device=self.device)
        self._buffers: dict[int, Buffers] = {}
        self._scores: dict[int, Tensor] = {}

    @property
    def is_current(self) -> bool:
        """Whether the model's weights are what they were when this was made."""
        return self.version == version_of(self.model)

    @property
    def turning_point(self) -> int | None:
        """The length of a text after which LongRoPE turns all its positions otherwise."""
        return self.turns.turning_point

    @torch.inference_mode()
    def step(
        self, shelves: Sequence[Shelf], tokens: Sequence[int], pieces: Sequence[Piece]
    ) -> Tensor:
        """Take in one more token for each text on the shelves, and the pieces; states ``(N, D)``.

        ``tokens``: those for the shelves' texts, in order.
        """
        rows = [row for shelf in shelves for row in shelf.rows]
        ids = [*tokens, *(token for piece in pieces for token in piece.tokens)]
        positions = [row.length for row in rows]
        adapters = [row.adapter for row in rows]
        long = [row.long for row in rows]
        for piece in pieces:
            count = len(piece.tokens)
            positions += range(piece.strip.length, piece.strip.length + count)
            adapters += [piece.adapter] * count
            long += [piece.long] * count
        known, places = torch.tensor([ids, positions], device=self.device)
        parts = self._adapter_places(adapters)
        x = self._embed(known, places, parts)  # (N, D)
        buffers = self._buffers_for(len(ids))
        turns = self.turns.of(positions, places, long)
        attentions: list[ShelfAttention | PieceAttention] = []
        first = 0
        for shelf in shelves:
            attentions.append(ShelfAttention(self.config, shelf, buffers, first))
            first += len(shelf.rows)
        for piece in pieces:
            attentions.append(PieceAttention(self.config, piece, buffers, first))
            first += len(piece.tokens)
        for index, layer in enumerate(self.layers):
            windowed = self.kinds[index]
            turn = turns.get(windowed) if self.config.is_rotary(index) else None
            normed = self._look(layer, x, buffers, turn, parts)
            for attention in attentions:
                attention(index, windowed=windowed)
            if self.config.parallel:  # both read the stream as it was
                inner = self._think(layer, x, normed, buffers, parts)
            self._add(layer.o, layer.o_adapted, layer.attention_post_norm, buffers.seen, x, parts)
            if not self.config.parallel:
                inner = self._think(layer, x, None, buffers, parts)
            self._add(layer.down, layer.down_adapted, layer.mlp_post_norm, inner, x, parts)
        for row in rows:
            row.length += 1
        for piece in pieces:
            piece.strip.length += len(piece.tokens)
        return x

    @torch.inference_mode()
    def logits(self, states: Tensor, adapters: Sequence[str | None]) -> Tensor:
        """Scores over the vocabulary ``(n, V)`` in fp32, on the CPU, of states ``(n, D)``.

        They lie in a buffer, which the next call writes over.
        """
        parts = self._adapter_places(adapters)
        normed, count = self.norm(states, parts), len(states)
        if self.config.logit_scale != 1:
            normed = normed * self.config.logit_scale
        scores = self._scores.get(count)
        if scores is None:
            shape = (count, self.config.vocab_size)
            scores = torch.empty(shape, dtype=self.dtype, device=self.device)
            if count <= KEPT_BUFFERS:
                self._scores[count] = scores
        self.table.into(normed, scores)
        for name, rows in parts:
            if name in self.outputs:
                table = self.outputs[name].to(normed.dtype)
                places = slice(None) if rows is None else rows
                bias = self.model.output.bias if self.config.logit_bias else None
                scores[places] = F.linear(
                    normed[places], table, None if bias is None else bias.to(table.dtype)
                )
            elif self.output is not None:
                self.output.add(name, rows, normed, scores)
        scores = scores.float()
        cap = self.config.logit_softcap
        return (scores if cap is None else cap * torch.tanh(scores / cap)).cpu()

    def _embed(self, tokens: Tensor, positions: Tensor, parts: Parts) -> Tensor:
        """The stream before the first layer, each token by the table of its adapter."""
        embed = self.model.embed
        x = embed(tokens, positions, table=self.model.embedding.weight)
        for name, rows in parts:
            if name in self.embeddings:
                places = slice(None) if rows is None else rows
                table = self.embeddings[name]
                x[places] = embed(tokens[places], positions[places], table=table)
        return x

    def _add(
        self,
        product: Product,
        adapted: Adapted,
        norm: Norm | None,
        inner: Tensor,
        x: Tensor,
        parts: Parts,
    ) -> None:
        """Add a part's result to the stream ``x``."""
        scale = self.config.residual_scale
        if norm is None and scale == 1:
            product.add_to(inner, x)
            for name, rows in parts:
                adapted.add(name, rows, inner, x)
            return
        out = torch.empty_like(x)
        product.into(inner, out)
        for name, rows in parts:
            adapted.add(name, rows, inner, out)
        x.add_(out if norm is None else norm(out, parts), alpha=scale)

    def _look(
        self,
        layer: Layer,
        x: Tensor,
        buffers: Buffers,
        turns: tuple[Tensor, Tensor] | None,
        parts: Parts,
    ) -> Tensor:
        """Queries, keys and values of a layer, turned, into their buffer; gives their input."""
        normed = x if layer.attention_norm is None else layer.attention_norm(x, parts)
        layer.qkv.into(normed, buffers.qkv)
        for name, places in parts:
            layer.qkv_adapted.add(name, places, normed, buffers.qkv)
        if layer.qk_norm is not None:
            layer.qk_norm(buffers.heads, parts)
        if turns is not None:
            buffers.turn(*turns)
        return normed

    def _think(
        self, layer: Layer, x: Tensor, normed: Tensor | None, buffers: Buffers, parts: Parts
    ) -> Tensor:
        """The inner state of a layer's MLP ``(N, F)``; ``normed``: what attention has read."""
        if layer.mlp_norm is not None:
            normed = layer.mlp_norm(x, parts)
        elif not self.config.shared_norm:
            normed = x
        assert normed is not None
        layer.wide.into(normed, buffers.wide)
        for name, places in parts:
            layer.wide_adapted.add(name, places, normed, buffers.wide)
        if self.gated:
            return layer.activation(buffers.gate).mul_(buffers.up)
        return layer.activation(buffers.wide)

    def _buffers_for(self, count: int) -> Buffers:
        found = self._buffers.get(count)
        if found is None:
            found = Buffers(self.config, count, dtype=self.dtype, device=self.device)
            if count <= KEPT_BUFFERS:
                self._buffers[count] = found
        return found

    def _adapter_places(self, adapters: Sequence[str | None]) -> Parts:
        names = set(adapters)
        if len(names) == 1:
            (name,) = names
            return [] if name is None else [(name, None)]
        return [
            (name, torch.tensor(
                [place for place, own in enumerate(adapters) if own == name], device=self.device
            ))
            for name in sorted(name for name in names if name is not None)
        ]  # fmt: skip
