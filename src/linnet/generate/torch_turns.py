"""How far RoPE turns each token of a decoding step: tables that are looked up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from linnet.model.rope import rope_angles

if TYPE_CHECKING:
    from linnet.model.config import ModelConfig

FIRST_POSITIONS = 512
"""How many positions are computed at first; the tables double when texts are longer."""


class Turns:
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
        """The length of a text after which LongRoPE turns all its positions otherwise."""
        scaling = self.config.rope_scaling
        return scaling.original_context if scaling and scaling.kind == "longrope" else None

    def of(
        self, positions: Sequence[int], places: Tensor, long: Sequence[bool]
    ) -> dict[bool, tuple[Tensor, Tensor]]:
        """Cosine, and sine negative in its first half, ``(N, 1, R)`` each, by kind of layer.

        ``places``: the positions as a tensor; ``long``: whether LongRoPE turns a token's text as
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
