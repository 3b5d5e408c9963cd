"""The Transformer: token ids in, a score for every possible next token out.

    tokens -> embedding -> block x depth -> norm -> output layer -> logits

One class serves every family: ``ModelConfig`` says which kind of position,
normalisation, activation and attention is used (see ``linnet.model.layers``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.errors import ModelError
from linnet.model.heads import make_head, text_positions
from linnet.model.layers import (
    Block,
    DistanceBias,
    Embedding,
    Linear,
    Mask,
    PackedTexts,
    make_norm,
    visible,
)
from linnet.model.rope import Rope, rope_angles

if TYPE_CHECKING:
    from linnet.model.cache import KVCache
    from linnet.model.config import ModelConfig


class Transformer(nn.Module):
    """A language model, or an encoder.

    ``compute_dtype`` is the format of the residual stream and of the matrix
    products; ``None`` means that of the parameters.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype: torch.dtype | None = None
        self.embedding = Embedding(config.vocab_size, config.width)
        if config.positions == "learned":
            places = config.context + config.position_offset
            self.position_embedding = Embedding(places, config.width)
        if config.token_types:
            self.type_embedding = Embedding(config.token_types, config.width)
        if config.distance_buckets:
            self.distance_embedding = DistanceBias(config.distance_buckets, config.heads)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        if config.embedding_norm:
            self.embedding_norm = make_norm(config)
            self.blocks[0].attention_norm = nn.Identity()
        # At the end; where blocks end with a norm already (BERT), after the embeddings.
        self.norm = make_norm(config)
        if (head := make_head(config)) is not None:
            self.head = head
        if config.head in ("output", "masked") and not config.tied:
            self.output = Linear(config.width, config.vocab_size, bias=config.logit_bias)

    def forward(
        self,
        tokens: Tensor,
        cache: KVCache | None = None,
        *,
        segment_ids: Tensor | None = None,
        token_types: Tensor | None = None,
    ) -> Tensor:
        """What the head gives in fp32 for ``tokens`` ``(B, T)``.

        Scores of the next or masked tokens ``(B, T, V)``, of each token's labels, or of those of
        each row's first text ``(B, labels)``. With a cache, ``tokens`` continue what it holds.
        Raises ModelError when they do not fit in the context.
        """
        hidden = self.hidden(tokens, cache, segment_ids=segment_ids, token_types=token_types)
        if self.config.head != "sequence":
            return self.logits(hidden)
        segments = torch.zeros_like(tokens) if segment_ids is None else segment_ids
        later = (segments != segments[:, :1]).cumsum(1) > 0  # behind each row's first text
        if self.config.head_pooling == "mean":
            read = (~later)[..., None]
            return self.logits((hidden * read).sum(1) / read.sum(1))
        places = text_positions(later, causal=self.config.causal)
        return self.logits(hidden.flatten(0, 1)[places[~later.flatten()[places]]])

    def hidden(
        self,
        tokens: Tensor,
        cache: KVCache | None = None,
        *,
        segment_ids: Tensor | None = None,
        token_types: Tensor | None = None,
    ) -> Tensor:
        """The normalised last state ``(B, T, D)``, before the output layer.

        ``segment_ids`` ``(B, T)``: texts that share a row. Attention stays among equal
        numbers, and positions begin anew where the number changes, so that a text
        is computed as if it were alone. Padding is a text of its own.
        ``token_types`` ``(B, T)``: zero where not given.
        """
        config = self.config
        T = tokens.shape[1]
        start, reach = 0, T
        if cache is not None:
            if segment_ids is not None or not config.causal:
                raise ModelError("a cache is for causal models and one text per row")
            cache.require_capacity(T)
            start = cache.length
            reach = max(start + T, cache.reach)
        elif config.positions == "learned" and config.context < T and segment_ids is None:
            raise ModelError(f"the context holds {config.context} tokens. Got {T}")
        places = torch.arange(start, start + T, device=tokens.device)  # (T,)
        positions = (
            places if segment_ids is None else restarting_positions(segment_ids)
        )  # or (B, T)
        x = self.embed(tokens, positions, token_types)
        kinds = {config.is_windowed(layer) for layer in range(config.depth)}
        length = reach if segment_ids is None else text_lengths(positions)
        ropes = {kind: self._rope(positions, length, kind, x.dtype) for kind in kinds}
        masks = {kind: self._mask(places, start, segment_ids, kind) for kind in kinds}
        for index, block in enumerate(self.blocks):
            kind = config.is_windowed(index)
            rope = ropes[kind] if config.is_rotary(index) else None
            x = block(x, rope, masks[kind], None if cache is None else cache.layers[index])
        return x if config.norm_place == "post" else self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores in fp32 over the vocabulary, or the labels, for states ``(..., D)``."""
        if self.config.labels:
            return self.head(hidden)  # type: ignore[no-any-return]
        states = self.readout(hidden)
        bias = None if self.output_bias is None else self.output_bias.to(states.dtype)
        scores = F.linear(states, self.output_table.to(states.dtype), bias).float()
        cap = self.config.logit_softcap
        return scores if cap is None else cap * torch.tanh(scores / cap)

    def readout(self, hidden: Tensor) -> Tensor:
        """What the output layer reads, ``(..., D)``: the states, or what the masked head made."""
        if self.config.head == "masked":
            return self.head(hidden)  # type: ignore[no-any-return]
        return hidden if self.config.logit_scale == 1 else hidden * self.config.logit_scale

    @property
    def output_table(self) -> Tensor:
        """The output layer's weight ``(V, D)``: one row for every token."""
        if self.config.head not in ("output", "masked"):
            raise ModelError("this model has no output layer: it scores no tokens")
        return self.embedding.output_table() if self.config.tied else self.output.table()

    @property
    def output_bias(self) -> Tensor | None:
        """The output layer's bias ``(V,)``, where it has one."""
        if self.config.head == "masked":
            return self.head.bias  # type: ignore[return-value]
        return self.output.offset() if self.config.logit_bias else None

    def embed(
        self,
        tokens: Tensor,
        positions: Tensor,
        token_types: Tensor | None = None,
        *,
        table: Tensor | None = None,
    ) -> Tensor:
        """The stream ``(..., D)`` before the first block, of tokens and where they stand.

        ``table``: vectors ``(V, D)`` to take instead of the embedding's.
        """
        config = self.config
        x = self.embedding(tokens) if table is None else F.embedding(tokens, table)  # (B, T, D)
        if config.embedding_scale != 1:  # rounded to the weights' format, as those of Gemma are
            x = x * torch.tensor(config.embedding_scale, dtype=x.dtype, device=x.device)
        if config.positions == "learned":
            x = x + self.position_embedding(positions + config.position_offset)
        if config.token_types:
            types = torch.zeros_like(tokens) if token_types is None else token_types
            x = x + self.type_embedding(types)
        x = x.to(self.compute_dtype or x.dtype)
        if config.norm_place == "post":
            x = self.norm(x)
        if config.embedding_norm:
            x = self.embedding_norm(x)
        return self.dropout(x)

    def _rope(
        self, positions: Tensor, length: int | Tensor, windowed: bool, dtype: torch.dtype
    ) -> Rope | None:
        if self.config.positions != "rope":
            return None
        cos, sin = rope_angles(self.config, positions, length=length, local=windowed)
        return cos.to(dtype), sin.to(dtype)

    def _mask(self, places: Tensor, start: int, segment_ids: Tensor | None, windowed: bool) -> Mask:
        """What limits attention in a kind of block; None where being causal, or not, says all."""
        on_cpu = places.device.type == "cpu"
        if segment_ids is not None and on_cpu and self.config.attention_softcap is None:
            found = packed_texts(segment_ids)
            alone = places[: max(found.lengths)]
            return replace(found, mask=self._limits(alone, alone, None, windowed))
        keys = torch.arange(start + len(places), device=places.device)
        return self._limits(places, keys, segment_ids, windowed)

    def _limits(
        self, queries: Tensor, keys: Tensor, segment_ids: Tensor | None, windowed: bool
    ) -> Tensor | None:
        """The same as one mask: ``queries`` ``(T,)`` are the last of ``keys`` ``(S,)``."""
        config = self.config
        window = config.window if windowed else None
        bounded = window is not None and len(keys) > window
        later = len(keys) > len(queries) > 1  # new rows see all cached ones, and each other
        mask = None
        if bounded or later or segment_ids is not None:
            mask = visible(queries, keys, causal=config.causal, window=window, segments=segment_ids)
        if not config.distance_buckets:
            return mask
        bias = self.distance_embedding(queries, keys)  # (H, T, S)
        return bias if mask is None else torch.where(mask, bias, -torch.inf)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights, the same on every device: ``generator`` is one of the CPU.

        Projections that write to the residual stream start at zero, so every
        block starts as the identity and depth costs nothing at first
        (arXiv:2203.03466 recommends it for the last layers of residual branches).
        """
        gain = 0.0 if self.config.norm == "rmsnorm_offset" else 1.0
        for name, parameter in self.named_parameters():
            if ".activation." in name:
                continue  # has good values from the start
            if parameter.dim() < 2:
                nn.init.constant_(parameter, 0.0 if name.endswith("bias") else gain)
            elif name.endswith(("attention.o.weight", "mlp.down.weight")):
                nn.init.zeros_(parameter)
            else:
                table = "embedding" in name or name == "output.weight"
                std = 0.02 if table else parameter.shape[1] ** -0.5
                drawn = torch.empty(parameter.shape).normal_(std=std, generator=generator)
                with torch.no_grad():
                    parameter.copy_(drawn)


def restarting_positions(segment_ids: Tensor) -> Tensor:
    """Positions ``(B, T)`` that begin at zero wherever ``segment_ids`` ``(B, T)`` change."""
    places = torch.arange(segment_ids.shape[1], device=segment_ids.device)
    begins = torch.ones_like(segment_ids, dtype=torch.bool)
    begins[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    return places - torch.where(begins, places, 0).cummax(dim=1).values


def packed_texts(segment_ids: Tensor) -> PackedTexts:
    """The lengths of the texts in rows of ``segment_ids`` ``(B, T)``."""
    T = segment_ids.shape[1]
    begins = torch.ones_like(segment_ids, dtype=torch.bool)
    begins[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    starts = begins.flatten().nonzero()[:, 0]
    ends = starts.new_tensor([segment_ids.shape[0] * T])
    return PackedTexts(tuple(torch.cat((starts, ends)).diff().tolist()))


def text_lengths(positions: Tensor) -> Tensor:
    """How long the text at each place is, ``(B, T)``, from restarting ``positions`` ``(B, T)``."""
    ends = torch.ones_like(positions, dtype=torch.bool)
    ends[:, :-1] = positions[:, 1:] == 0
    # Read backwards, the last position of a text stands before all its others.
    last = torch.where(ends, positions, -1).flip(1)
    places = torch.arange(positions.shape[1], device=positions.device)
    seen = torch.where(last >= 0, places, 0).cummax(dim=1).values
    return last.gather(1, seen).flip(1) + 1
