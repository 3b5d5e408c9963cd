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
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.generate.torch_weights import (
    Adapted,
    Layer,
    Matrix,
    Norm,
    bytes_of,
    layers_of,
    table_of,
    version_of,
)
from linnet.model.layers import attend, bend
from linnet.model.rope import rope_angles

if TYPE_CHECKING:
    from linnet.generate.torch_memory import Shelf, Strip
    from linnet.model import Transformer
    from linnet.model.config import ModelConfig

FIRST_POSITIONS = 512
"""How many positions' turns are computed at first; it doubles when texts are longer."""

KEPT_BUFFERS = 64
"""Steps of up to this many tokens keep their buffers; larger ones are worth an allocation."""


@dataclass
class Piece:
    """The next tokens of a prompt, to be read into its strip."""

    strip: Strip
    tokens: Sequence[int]
    adapter: str | None
    long: bool = False
    """Whether LongRoPE turns this text as a long one."""


@dataclass
class _Buffers:
    """Where the ``N`` tokens of a step are computed, with the views that each layer needs."""

    qkv: Tensor  # (N, (H + 2 G) K)
    turned: Tensor  # (N, H + G, R): the part of qkv that RoPE turns
    halves: tuple[Tensor, Tensor]  # its second half and its first
    swapped: Tensor  # (N, H + G, R)
    heads: Tensor  # (N, H + G, K)
    queries: Tensor  # (N, H, K)
    keys_values: Tensor  # (N, 2 G K)
    seen: Tensor  # (N, H K)
    wide: Tensor  # (N, F), or (N, 2 F) where there is a gate
    gate: Tensor  # (N, F)
    up: Tensor  # (N, F)


@dataclass
class _Look:
    """What one shelf's texts look at in this step, the same for every layer."""

    first: int
    last: int
    queries: Tensor  # (n, G, H / G, K)
    seen: Tensor  # (n, G, H / G, K)
    new: Tensor  # (n, 2 G K)
    places: Tensor  # (n,)
    memory: tuple[Tensor, ...]  # for each layer (rows * capacity, 2 G K)
    keys: tuple[Tensor, ...]  # for each layer (n, G, S, K)
    values: tuple[Tensor, ...]
    masks: dict[bool, Tensor | None]  # by kind of layer (n, 1, 1, S), to be added


@dataclass
class _Reading:
    """What one piece looks at, the same for every layer."""

    first: int
    last: int
    piece: Piece
    masks: dict[bool, Tensor | None]  # by kind of layer (T, S): True where a query may look


class Decoder:
    """Takes texts further; knows nothing of requests."""

    def __init__(self, model: Transformer, *, memory: int) -> None:
        """``memory``: bytes that a copy of the weights may take, which makes it faster."""
        self.model = model
        self.config: ModelConfig = model.config
        table = model.embedding.weight
        self.device = table.device
        self.dtype = model.compute_dtype or table.dtype
        self.version = version_of(model)
        copied = bytes_of(model, self.dtype) <= memory
        self.layers = layers_of(model, self.dtype, copied=copied)
        self.norm = Norm(model.norm, self.dtype)
        self.table = table_of(model, self.dtype, copied=copied)
        self.output = None if model.config.tied else Adapted((model.output,))
        config = self.config
        self.scale = config.attention_scale or config.head_width**-0.5
        self.kinds = tuple(config.is_windowed(layer) for layer in range(config.depth))
        self.rotary = config.rotary_width or config.head_width
        self._tables: dict[bool, tuple[Tensor, Tensor]] = {}
        self._positions = 0
        self._buffers: dict[int, _Buffers] = {}
        self._scores: dict[int, Tensor] = {}

    @property
    def is_current(self) -> bool:
        """Whether the model's weights are what they were when this was made."""
        return self.version == version_of(self.model)

    @property
    def turning_point(self) -> int | None:
        """The length of a text after which LongRoPE turns all its positions otherwise."""
        scaling = self.config.rope_scaling
        return scaling.original_context if scaling and scaling.kind == "longrope" else None

    @torch.inference_mode()
    def step(
        self, shelves: Sequence[Shelf], tokens: Sequence[int], pieces: Sequence[Piece]
    ) -> Tensor:
        """Take in one more token for each text on the shelves, and the pieces; states ``(N, D)``.

        ``tokens``: those for the shelves' texts, in order.
        """
        ids = [*tokens, *(token for piece in pieces for token in piece.tokens)]
        rows = [row for shelf in shelves for row in shelf.rows]
        positions = [row.length for row in rows]
        adapters = [row.adapter for row in rows]
        turns = [row.long for row in rows]
        for piece in pieces:
            count = len(piece.tokens)
            positions += range(piece.strip.length, piece.strip.length + count)
            adapters += [piece.adapter] * count
            turns += [piece.long] * count
        known, places = torch.tensor([ids, positions], device=self.device)
        x = self.model.embed(known, places)  # (N, D)
        ropes = self._ropes(positions, places, turns)
        parts = self._adapter_rows(adapters)
        buffers = self._buffers_for(len(ids))
        looks, start = [], 0
        for shelf in shelves:
            looks.append(self._look(shelf, start, buffers))
            start += len(shelf.rows)
        reads = []
        for piece in pieces:
            reads.append(self._reading(piece, start))
            start += len(piece.tokens)
        for index, layer in enumerate(self.layers):
            kind = self.kinds[index]
            normed = layer.attention_norm(x)
            layer.qkv.into(normed, buffers.qkv)
            for name, own in parts:
                layer.qkv_adapted.add(name, own, normed, buffers.qkv)
            if layer.qk_norm is not None:
                layer.qk_norm(buffers.heads)
            if ropes:
                cos, sin = ropes[kind]
                torch.cat(buffers.halves, -1, out=buffers.swapped)
                buffers.turned.mul_(cos).addcmul_(buffers.swapped, sin)
            for look in looks:
                self._attend(look, index, kind)
            for read in reads:
                self._read(read, index, kind, buffers)
            self._add(layer.o, layer.o_adapted, layer.attention_post_norm, buffers.seen, x, parts)
            normed = layer.mlp_norm(x)
            layer.wide.into(normed, buffers.wide)
            for name, own in parts:
                layer.wide_adapted.add(name, own, normed, buffers.wide)
            inner = self._bent(layer, buffers)
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
        normed, count = self.norm(states), len(states)
        scores = self._scores.get(count)
        if scores is None:
            shape = (count, self.config.vocab_size)
            scores = torch.empty(shape, dtype=self.dtype, device=self.device)
            if count <= KEPT_BUFFERS:
                self._scores[count] = scores
        torch.mm(normed, self.table, out=scores)
        if self.output is not None:
            for name, rows in self._adapter_rows(adapters):
                self.output.add(name, rows, normed, scores)
        scores = scores.float()
        cap = self.config.logit_softcap
        return (scores if cap is None else cap * torch.tanh(scores / cap)).cpu()

    def _add(
        self,
        matrix: Matrix,
        adapted: Adapted,
        norm: Norm | None,
        inner: Tensor,
        x: Tensor,
        parts: list[tuple[str, Tensor | None]],
    ) -> None:
        """Add a part's result to the stream ``x``."""
        if norm is None:
            matrix.add_to(inner, x)
            for name, rows in parts:
                adapted.add(name, rows, inner, x)
            return
        out = torch.empty_like(x)
        matrix.into(inner, out)
        for name, rows in parts:
            adapted.add(name, rows, inner, out)
        x.add_(norm(out))

    def _bent(self, layer: Layer, buffers: _Buffers) -> Tensor:
        """The wide state ``(N, F)`` after its nonlinearity."""
        activation = self.config.activation
        if activation == "swiglu":
            return F.silu(buffers.gate, inplace=True).mul_(buffers.up)
        if activation == "geglu":
            return bend(buffers.gate, activation).mul_(buffers.up)
        if layer.xielu is not None:
            return layer.xielu(buffers.wide)
        return bend(buffers.wide, activation)

    def _attend(self, look: _Look, index: int, kind: bool) -> None:
        """One layer's attention of a shelf's texts, one query each."""
        look.memory[index].index_copy_(0, look.places, look.new)
        keys, values, mask = look.keys[index], look.values[index], look.masks[kind]
        cap = self.config.attention_softcap
        if cap is None:
            seen = F.scaled_dot_product_attention(
                look.queries, keys, values, attn_mask=mask, scale=self.scale
            )
        else:
            scores = cap * torch.tanh((look.queries @ keys.mT).float() * self.scale / cap)
            if mask is not None:
                scores = scores + mask.float()
            seen = scores.softmax(-1).to(values.dtype) @ values
        look.seen.copy_(seen)

    def _read(self, read: _Reading, index: int, kind: bool, buffers: _Buffers) -> None:
        """One layer's attention of a piece to its text so far."""
        strip, first, last = read.piece.strip, read.first, read.last
        end = strip.length + last - first
        strip.flat[index][strip.length : end] = buffers.keys_values[first:last]
        keys, values = strip.layers[index][:end].permute(1, 2, 0, 3)[:, None].unbind(0)
        queries = buffers.queries[first:last].transpose(0, 1)[None]  # (1, H, T, K)
        mask, config = read.masks[kind], self.config
        if config.attention_softcap is not None:
            seen = attend(
                queries.contiguous(), keys, values, mask, scale=self.scale,
                softcap=config.attention_softcap,
            )  # fmt: skip
        else:
            seen = F.scaled_dot_product_attention(
                queries, keys, values, attn_mask=mask, is_causal=mask is None and last - first > 1,
                scale=self.scale, enable_gqa=config.heads != config.kv_heads,
            )  # fmt: skip
        buffers.seen[first:last].view(last - first, config.heads, -1).copy_(seen[0].transpose(0, 1))

    def _look(self, shelf: Shelf, first: int, buffers: _Buffers) -> _Look:
        config, count = self.config, len(shelf.rows)
        last = first + count
        written = [row.length for row in shelf.rows]
        reach = max(written) + 1
        grouped = (count, config.kv_heads, config.heads // config.kv_heads, config.head_width)
        keys, values = shelf.seen(count, reach)
        lengths = torch.tensor(written, device=self.device)
        starts = torch.arange(count, device=self.device) * shelf.capacity
        return _Look(
            first, last,
            buffers.queries[first:last].view(grouped),
            buffers.seen[first:last].view(grouped),
            buffers.keys_values[first:last],
            starts + lengths,
            shelf.flat, keys, values,
            {
                kind: self._shelf_mask(lengths, min(written), reach, kind)
                for kind in set(self.kinds)
            },
        )  # fmt: skip

    def _shelf_mask(
        self, lengths: Tensor, shortest: int, reach: int, windowed: bool
    ) -> Tensor | None:
        """What each text of a shelf must not look at as minus infinity; None where it may all."""
        window = self.config.window if windowed else None
        bounded = window is not None and reach > window
        if not bounded and shortest + 1 == reach:
            return None
        keys = torch.arange(reach, device=self.device)
        allowed = keys <= lengths[:, None]
        if bounded:
            assert window is not None
            allowed &= keys > lengths[:, None] - window
        mask = torch.zeros(allowed.shape, dtype=self.dtype, device=self.device)
        return mask.masked_fill_(~allowed, -torch.inf)[:, None, None]

    def _reading(self, piece: Piece, first: int) -> _Reading:
        count, start = len(piece.tokens), piece.strip.length
        masks: dict[bool, Tensor | None] = {}
        for kind in set(self.kinds):
            window = self.config.window if kind else None
            bounded = window is not None and start + count > window
            masks[kind] = None
            if bounded or (start and count > 1):
                queries = torch.arange(start, start + count, device=self.device)[:, None]
                keys = torch.arange(start + count, device=self.device)
                allowed = keys <= queries
                masks[kind] = allowed if window is None else allowed & (keys > queries - window)
        return _Reading(first, first + count, piece, masks)

    def _buffers_for(self, count: int) -> _Buffers:
        found = self._buffers.get(count)
        if found is None:
            found = self._make_buffers(count)
            if count <= KEPT_BUFFERS:
                self._buffers[count] = found
        return found

    def _make_buffers(self, count: int) -> _Buffers:
        config = self.config
        H, G, K, R = config.heads, config.kv_heads, config.head_width, self.rotary
        gated = config.activation in ("swiglu", "geglu")

        def make(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=self.dtype, device=self.device)

        qkv = make(count, (H + 2 * G) * K)
        whole = qkv.view(count, H + 2 * G, K)
        turned = whole[:, : H + G, :R]
        wide = make(count, config.mlp_width * (1 + gated))
        return _Buffers(
            qkv=qkv,
            turned=turned,
            halves=(turned[..., R // 2 :], turned[..., : R // 2]),
            swapped=make(count, H + G, R),
            heads=whole[:, : H + G],
            queries=whole[:, :H],
            keys_values=qkv[:, H * K :],
            seen=make(count, H * K),
            wide=wide,
            gate=wide[:, : config.mlp_width],
            up=wide[:, -config.mlp_width :],
        )

    def _ropes(
        self, positions: list[int], places: Tensor, long: list[bool]
    ) -> dict[bool, tuple[Tensor, Tensor]]:
        """Cosine and signed sine ``(N, 1, R)`` of each token, by kind of layer."""
        if self.config.positions != "rope":
            return {}
        furthest = max(positions) + 1
        if furthest > self._positions:
            self._positions = max(FIRST_POSITIONS, 1 << (furthest - 1).bit_length())
            self._tables = {kind: self._table(kind) for kind in set(self.kinds)}
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

    def _adapter_rows(self, adapters: Sequence[str | None]) -> list[tuple[str, Tensor | None]]:
        """The adapters of a step with the places of their tokens; None: all of them."""
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
