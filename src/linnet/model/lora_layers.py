"""The layers of a Transformer that can hold adapters (LoRA, arXiv:2106.09685).

A frozen ``W`` computes ``W x + scaling * B A dropout(x)`` with a small trained ``A`` (R, in) and
``B`` (out, R). The base keeps its names, its format and its bits. What acts on a whole model is in
``linnet.model.lora``.

Letters: ``R`` the rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.model.layers import Embedding, LayerNorm, Linear, RMSNorm
from linnet.model.lora_config import LoRAConfig


@dataclass
class Adapters:
    """The adapters of one model; all its adapted layers share this object."""

    active: str | None = None
    merged: str | None = None
    configs: dict[str, LoRAConfig] = field(default_factory=dict)
    undo: list[Callable[[], object]] | None = None
    """What takes the merged adapter out again; None: nothing does."""


class LowRank(nn.Module):
    """What one adapter changes in one linear layer.

    Most add ``B A`` alone. DoRA (arXiv:2402.09353) scales each row of the sum besides, to a
    length that it learned. Some adapters bring a bias or a whole matrix of their own.
    """

    def __init__(
        self,
        a: nn.Parameter | None,
        b: nn.Parameter | None,
        scaling: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.a = a  # (R, in)
        self.b = b  # (out, R)
        self.scaling = scaling
        self.strength = 1.0
        self.dropout = dropout
        self.gain: nn.Parameter | None = None  # (out), DoRA's
        self.weight: nn.Parameter | None = None  # (out, in)
        self.bias: nn.Parameter | None = None  # (out)

    @property
    def is_whole(self) -> bool:
        """Whether it replaces the matrix, and changes nothing else."""
        return self.weight is not None and self.bias is None and self.strength == 1

    @property
    def is_plain(self) -> bool:
        """Whether it adds ``B A`` and does nothing else."""
        return self.gain is self.weight is self.bias is None

    def set_lengths(self, lengths: Tensor, weight: Tensor) -> None:
        """DoRA: the length that each row of ``weight`` ``(out, in)`` with ``B A`` is to have."""
        found = torch.linalg.vector_norm(weight.float() + self._product(), dim=1)
        self.gain = nn.Parameter(lengths.to(found) / found, requires_grad=False)

    def forward(self, base: Tensor, x: Tensor, layer: nn.Linear) -> Tensor:
        """``base`` (..., out), the layer's answer to ``x`` (..., in), with the adapter's."""
        if not self.is_plain:
            return base + self.added(x, layer)
        assert self.a is not None
        assert self.b is not None
        if self.dropout and self.training:
            x = F.dropout(x, self.dropout)
        inner = F.linear(x, self.a.to(x.dtype)) * (self.scaling * self.strength)  # (..., R)
        # Added within the matrix product: the full width is written only once.
        flat = torch.addmm(base.flatten(0, -2), inner.flatten(0, -2), self.b.to(x.dtype).mT)
        return flat.view(base.shape)

    def added(self, x: Tensor, layer: nn.Linear) -> Tensor:
        """What it adds to the layer's answer to ``x`` (..., in), whatever it consists of."""
        before = F.linear(x, layer.weight.to(x.dtype))
        after = before if self.weight is None else F.linear(x, self.weight.to(x.dtype))
        if self.a is not None and self.b is not None:
            low = F.linear(F.linear(x, self.a.to(x.dtype)), self.b.to(x.dtype))
            after = after + low * self.scaling
        if self.gain is not None:
            after = after * self.gain.to(x.dtype)
        change = after - before
        if self.bias is not None:
            change = change + (self.bias - layer.bias).to(x.dtype)
        return change * self.strength

    def delta(self, layer: nn.Linear) -> Tensor:
        """What it adds to the layer's weight, ``(out, in)`` in fp32."""
        if self.gain is None and self.weight is None:
            return self._product() * self.strength
        before = layer.weight.float()
        after = before if self.weight is None else self.weight.float()
        after = after + self._product()
        if self.gain is not None:
            after = after * self.gain.float()[:, None]
        return (after - before) * self.strength

    def _product(self) -> Tensor:
        if self.a is None or self.b is None:
            return torch.zeros((), device=None if self.weight is None else self.weight.device)
        return (self.b.float() @ self.a.float()) * self.scaling


class Replaceable(nn.Module):
    """A module of which adapters may have copies of their own: a norm, the embedding.

    It takes the place of the base's by changing that one's class, so that names stay.
    """

    adapters: Adapters
    copies: nn.ModuleDict

    def forward(self, x: Tensor) -> Tensor:
        """What the active adapter's copy gives, or the base's own."""
        return self.chosen(self.adapters.active)(x)  # type: ignore[no-any-return]

    def chosen(self, name: str | None) -> nn.Module:
        """The copy of this adapter; the base's where it has none."""
        if name is not None and module_key(name) in self.copies:
            return self.copies[module_key(name)]
        return self._plain[0]

    def by_adapter(self) -> Iterator[tuple[str, nn.Module]]:
        """The copies with the names of their adapters."""
        for name in self.adapters.configs:
            if module_key(name) in self.copies:
                yield name, self.copies[module_key(name)]

    _plain: tuple[nn.Module]


class ReplaceableRMSNorm(Replaceable, RMSNorm):
    """An RMSNorm that adapters replace."""


class ReplaceableLayerNorm(Replaceable, LayerNorm):
    """A LayerNorm that adapters replace."""


class ReplaceableEmbedding(Replaceable, Embedding):
    """An embedding that adapters replace, or the output layer that shares its table."""

    outputs: nn.ParameterDict

    def output_table(self) -> Tensor:
        return self.output_of(self.adapters.active)

    def output_of(self, name: str | None) -> Tensor:
        """The output layer's matrix with this adapter. A replaced embedding does not change it."""
        if name is not None and module_key(name) in self.outputs:
            found = self.outputs[module_key(name)]
            assert isinstance(found, Tensor)
            return found
        return self.weight


REPLACEABLE: dict[type[nn.Module], type[Replaceable]] = {
    RMSNorm: ReplaceableRMSNorm,
    LayerNorm: ReplaceableLayerNorm,
    Embedding: ReplaceableEmbedding,
}


class LoRALinear(Linear):
    """A linear layer with adapters. Its own parameters stay where and what they were."""

    def __init__(self, base: nn.Linear, adapters: Adapters) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.train(base.training)
        self.low_rank = nn.ModuleDict()
        self.adapters = adapters

    def part(self, name: str | None) -> LowRank | None:
        """What the adapter of this name does here, if anything."""
        if name is None or module_key(name) not in self.low_rank:
            return None
        part = self.low_rank[module_key(name)]
        assert isinstance(part, LowRank)
        return part

    def forward(self, x: Tensor) -> Tensor:
        base, chosen = super().forward(x), self.part(self.adapters.active)
        return base if chosen is None else chosen(base, x, self)

    def table(self) -> Tensor:
        """The whole matrix that it multiplies by, adapter included."""
        chosen = self.part(self.adapters.active)
        if chosen is None:
            return self.weight
        return self.weight + chosen.delta(self).to(self.weight.dtype)

    def offset(self) -> Tensor | None:
        """What it adds, the adapter's own bias if it has one."""
        chosen = self.part(self.adapters.active)
        if chosen is None or chosen.bias is None:
            return self.bias
        return torch.lerp(self.bias, chosen.bias, chosen.strength)


def module_key(name: str) -> str:
    """Torch keeps modules as attributes, so a plain ``type`` or ``half`` would clash."""
    return f"for_{name}"
