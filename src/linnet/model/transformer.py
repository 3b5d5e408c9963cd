"""The Transformer: token ids in, a score for every possible next token out.

    tokens -> embedding -> block x depth -> norm -> output layer -> logits

One class serves every family: ``ModelConfig`` says which kind of position,
normalisation, activation and attention is used (see ``linnet.model.layers``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.model.layers import Block, make_norm, rope_angles

if TYPE_CHECKING:
    from linnet.model.cache import KVCache
    from linnet.model.config import ModelConfig


class Transformer(nn.Module):
    """A language model.

    ``compute_dtype`` is the format of the residual stream and of the matrix
    products; ``None`` means that of the parameters.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.compute_dtype: torch.dtype | None = None
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        if config.positions == "learned":
            self.position_embedding = nn.Embedding(config.context, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = make_norm(config)
        if not config.tied:
            self.output = nn.Linear(config.width, config.vocab_size, bias=False)

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits ``(B, T, V)`` in fp32 for ``tokens`` ``(B, T)``.

        With a cache, ``tokens`` continue what it holds. Raises ModelError when
        they do not fit in the context.
        """
        return self.logits(self.hidden(tokens, cache))

    def hidden(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """The normalised last state ``(B, T, D)``, before the output layer."""
        config = self.config
        T = tokens.shape[1]
        start = 0
        if cache is not None:
            cache.require_room(T)
            start = cache.length
        positions = torch.arange(start, start + T, device=tokens.device)  # (T,)
        x = self.embedding(tokens)  # (B, T, D)
        if config.positions == "learned":
            x = x + self.position_embedding(positions)
        x = self.dropout(x.to(self.compute_dtype or x.dtype))
        rope = None
        if config.positions == "rope":
            cos, sin = rope_angles(positions, config.head_width, config.rope_theta)
            rope = cos.to(x.dtype), sin.to(x.dtype)
        mask = None
        if start and T > 1:  # new rows see all cached ones, and each other causally
            keys = torch.arange(start + T, device=tokens.device)
            mask = keys[None, :] <= positions[:, None]  # (T, S)
        for index, block in enumerate(self.blocks):
            x = block(x, rope, mask, None if cache is None else cache.layers[index])
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores over the vocabulary, ``(..., V)`` in fp32, for states ``(..., D)``."""
        return F.linear(hidden, self.output_table.to(hidden.dtype)).float()

    @property
    def output_table(self) -> Tensor:
        """The output layer's weight ``(V, D)``: one row for every token."""
        return self.embedding.weight if self.config.tied else self.output.weight

    def initialise(self, generator: torch.Generator) -> None:
        """Draw fresh weights.

        Projections that write to the residual stream start at zero, so every
        block starts as the identity and depth costs nothing at first
        (arXiv:2203.03466 recommends it for the last layers of residual branches).
        """
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.ones_(parameter)
            elif name.endswith(("attention.o.weight", "mlp.down.weight")):
                nn.init.zeros_(parameter)
            elif "embedding" in name or name == "output.weight":
                nn.init.normal_(parameter, std=0.02, generator=generator)
            else:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5, generator=generator)
