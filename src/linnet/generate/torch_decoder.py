"""A Transformer laid out for writing: many texts, each a few tokens further, in one pass.

``linnet.model.Transformer`` says what is computed; this computes the same with less around it.
Between the products of matrices there is little work for one token, so what counts is how many
calls there are: projections that read the same input are one product, sums go into the product
before them, and buffers with all their views stay from layer to layer.

The tokens of a step stand in one row ``(N, D)``: first one for each text of each bucket (see
``linnet.generate.kv_cache``), then the pieces of prompts that are being read. Products are
taken of all of them together, attention of each bucket and of each piece.

Letters as in the model; ``N`` tokens of a step, ``R`` coordinates that RoPE rope.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.generate.torch_attention import BucketAttention, PrefillAttention, PrefillChunk
from linnet.generate.torch_layers import (
    Adapted,
    AdapterRows,
    Form,
    Layer,
    Norm,
    Product,
    bytes_of,
    layers_of,
    table_of,
    version_of,
)
from linnet.model.lora import own_tables
from linnet.model.rope import rope_angles

if TYPE_CHECKING:
    from linnet.generate.kv_cache import Bucket
    from linnet.model import Transformer
    from linnet.model.config import ModelConfig

FIRST_POSITIONS = 512
"""How many positions are computed at first; the tables double when texts are longer."""

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
        self.copied_bytes = (
            0 if form == "shared" else bytes_of(model, self.dtype) // (4 if int8 else 1)
        )
        """Memory of weights of its own, beside the model's."""
        self.layers = layers_of(model, self.dtype, form)
        self.norm = Norm(model.norm, self.dtype)
        self.table = table_of(model, self.dtype, form)
        self.output = None if model.config.tied else Adapted((model.output,))
        self.embeddings, self.outputs = own_tables(model)
        config = self.config
        self.gated = config.gated
        self.kinds = tuple(config.is_windowed(layer) for layer in range(config.depth))
        self.rope = RopeTables(config, self.kinds, dtype=self.dtype, device=self.device)
        self._buffers: dict[int, Buffers] = {}
        self._scores: dict[int, Tensor] = {}

    @property
    def is_current(self) -> bool:
        """Whether the model's weights are what they were when this was made."""
        return self.version == version_of(self.model)

    @torch.inference_mode()
    def step(
        self, buckets: Sequence[Bucket], tokens: Sequence[int], pieces: Sequence[PrefillChunk]
    ) -> Tensor:
        """Take in one more token for each text on the buckets, and the pieces; states ``(N, D)``.

        ``tokens``: those for the buckets' texts, in order.
        """
        slots = [slot for bucket in buckets for slot in bucket.slots]
        ids = [*tokens, *(token for piece in pieces for token in piece.tokens)]
        positions = [slot.length for slot in slots]
        adapters = [slot.adapter for slot in slots]
        long = [slot.long for slot in slots]
        for piece in pieces:
            count = len(piece.tokens)
            positions += range(piece.cache.length, piece.cache.length + count)
            adapters += [piece.adapter] * count
            long += [piece.long] * count
        known, places = torch.tensor([ids, positions], device=self.device)
        parts = self._adapter_places(adapters)
        x = self._embed(known, places, parts)  # (N, D)
        buffers = self._buffers_for(len(ids))
        rope = self.rope.of(positions, places, long)
        attentions: list[BucketAttention | PrefillAttention] = []
        first = 0
        for bucket in buckets:
            attentions.append(BucketAttention(self.config, bucket, buffers, first))
            first += len(bucket.slots)
        for piece in pieces:
            attentions.append(PrefillAttention(self.config, piece, buffers, first))
            first += len(piece.tokens)
        for index, layer in enumerate(self.layers):
            windowed = self.kinds[index]
            turn = rope.get(windowed) if self.config.is_rotary(index) else None
            normed = self._project_qkv(layer, x, buffers, turn, parts)
            for attention in attentions:
                attention(index, windowed=windowed)
            if self.config.parallel:  # both read the stream as it was
                inner = self._mlp(layer, x, normed, buffers, parts)
            self._add(layer.o, layer.o_adapted, layer.attention_post_norm, buffers.seen, x, parts)
            if not self.config.parallel:
                inner = self._mlp(layer, x, None, buffers, parts)
            self._add(layer.down, layer.down_adapted, layer.mlp_post_norm, inner, x, parts)
        for slot in slots:
            slot.length += 1
        for piece in pieces:
            piece.cache.length += len(piece.tokens)
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

    def _embed(self, tokens: Tensor, positions: Tensor, parts: AdapterRows) -> Tensor:
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
        parts: AdapterRows,
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

    def _project_qkv(
        self,
        layer: Layer,
        x: Tensor,
        buffers: Buffers,
        rope: tuple[Tensor, Tensor] | None,
        parts: AdapterRows,
    ) -> Tensor:
        """Queries, keys and values of a layer, turned, into their buffer; gives their input."""
        normed = x if layer.attention_norm is None else layer.attention_norm(x, parts)
        layer.qkv.into(normed, buffers.qkv)
        for name, places in parts:
            layer.qkv_adapted.add(name, places, normed, buffers.qkv)
        if layer.qk_norm is not None:
            layer.qk_norm(buffers.heads, parts)
        if rope is not None:
            buffers.turn(*rope)
        return normed

    def _mlp(
        self, layer: Layer, x: Tensor, normed: Tensor | None, buffers: Buffers, parts: AdapterRows
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

    def _adapter_places(self, adapters: Sequence[str | None]) -> AdapterRows:
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


class Buffers:
    """Memory for ``N`` tokens, with the views that each layer needs.

    A view takes as long to make as a small sum, so they are made once. Letters as in the model;
    ``R`` coordinates that RoPE rope, ``F`` width of the MLP.
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


class RopeTables:
    """Cosine and sine of every position, for each kind of layer: windowed or not."""

    def __init__(
        self,
        config: ModelConfig,
        kinds: Sequence[bool],
        *,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.config = config
        self.kinds = set(kinds)
        self.dtype = dtype
        self.device = device
        self._positions = 0
        self._tables: dict[bool, tuple[Tensor, Tensor]] = {}

    @property
    def turning_point(self) -> int | None:
        """The length of a text after which LongRoPE rope all its positions otherwise."""
        scaling = self.config.rope_scaling
        return scaling.original_context if scaling and scaling.kind == "longrope" else None

    def of(
        self, positions: Sequence[int], places: Tensor, long: Sequence[bool]
    ) -> dict[bool, tuple[Tensor, Tensor]]:
        """Cosine, and sine negative in its first half, ``(N, 1, R)`` each, by kind of layer.

        ``places``: the positions as a tensor; ``long``: whether LongRoPE rope a token's text as
        a long one. Nothing for a model without RoPE.
        """
        if self.config.positions != "rope":
            return {}
        furthest = max(positions) + 1
        if furthest > self._positions:
            self._positions = max(FIRST_POSITIONS, 1 << (furthest - 1).bit_length())
            self._tables = {kind: self._table(kind) for kind in self.kinds}
        if any(long):  # the second half of the table
            places = places + torch.tensor(long, device=self.device) * self._positions
        return {
            kind: (cos.index_select(0, places), sin.index_select(0, places))
            for kind, (cos, sin) in self._tables.items()
        }

    def _table(self, windowed: bool) -> tuple[Tensor, Tensor]:
        lengths = [0]
        if self.turning_point is not None:
            lengths.append(self.turning_point + 1)
        places = torch.arange(self._positions, device=self.device)
        found = [
            rope_angles(self.config, places, length=length, local=windowed) for length in lengths
        ]
        cos = torch.cat([cos for cos, _ in found])
        sin = torch.cat([sin for _, sin in found])
        first, second = sin.chunk(2, -1)
        signed = torch.cat((-first, second), -1)
        return cos.to(self.dtype)[:, None], signed.to(self.dtype)[:, None]
