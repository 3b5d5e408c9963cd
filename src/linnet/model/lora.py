"""Low-rank adapters on the linear layers of a Transformer (LoRA, arXiv:2106.09685).

A frozen ``W`` computes ``W x + scaling * B A dropout(x)`` with a small trained
``A`` (R, in) and ``B`` (out, R). A model holds any number of adapters by name,
of which one or none is active: choosing another costs nothing. The base keeps
its names, its format and its bits.

Where a family stores several of our projections as one (GPT-2's ``c_attn``), an
adapter has one ``A`` for them, as PEFT has, and each has its rows of ``B``.

Letters: ``R`` the rank.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.errors import ConfigError, ModelError
from linnet.model.families import family
from linnet.model.layers import Linear
from linnet.model.lora_config import (
    ALL_LINEAR,
    BASE,
    LoRAConfig,
    is_meant,
    require_adapter_name,
)

if TYPE_CHECKING:
    from linnet.model.transformer import Transformer

OUTPUT = "output"


@dataclass(frozen=True)
class Projection:
    """A linear layer under its published name, and which of our modules it is."""

    published: str
    parts: tuple[str, ...]
    transposed: bool = False
    """Whether it is stored (in, out)."""

    @property
    def within_block(self) -> str:
        """The name without the place of its block: ``self_attn.q_proj``."""
        return re.split(r"\.\d+\.", self.published, maxsplit=1)[-1]

    @property
    def leaf(self) -> str:
        """The last part of the name: ``q_proj``."""
        return self.published.rpartition(".")[2]


@dataclass
class Adapters:
    """The adapters of one model; all its adapted layers share this object."""

    active: str | None = None
    merged: str | None = None
    configs: dict[str, LoRAConfig] = field(default_factory=dict)


class LowRank(nn.Module):
    """What one adapter adds to one linear layer."""

    def __init__(self, a: nn.Parameter, b: nn.Parameter, scaling: float, dropout: float) -> None:
        super().__init__()
        self.a = a  # (R, in)
        self.b = b  # (out, R)
        self.scaling = scaling
        self.strength = 1.0
        self.dropout = dropout

    def forward(self, base: Tensor, x: Tensor) -> Tensor:
        """``base`` (..., out) plus the adapter's answer to ``x`` (..., in)."""
        if self.dropout and self.training:
            x = F.dropout(x, self.dropout)
        inner = F.linear(x, self.a.to(x.dtype)) * (self.scaling * self.strength)  # (..., R)
        # Added within the matrix product: the full width is written only once.
        flat = torch.addmm(base.flatten(0, -2), inner.flatten(0, -2), self.b.to(x.dtype).mT)
        return flat.view(base.shape)

    def delta(self) -> Tensor:
        """What it adds to the weight, ``(out, in)`` in fp32."""
        return (self.b.float() @ self.a.float()) * (self.scaling * self.strength)


class LoRALinear(Linear):
    """A linear layer with adapters. Its own parameters stay where and what they were."""

    def __init__(self, base: nn.Linear, adapters: Adapters) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.train(base.training)
        self.low_rank = nn.ModuleDict()
        self.adapters = adapters
        self.before_merge: Tensor | None = None

    def part(self, name: str | None) -> LowRank | None:
        """What the adapter of this name does here, if anything."""
        if name is None or _key(name) not in self.low_rank:
            return None
        part = self.low_rank[_key(name)]
        assert isinstance(part, LowRank)
        return part

    def forward(self, x: Tensor) -> Tensor:
        base, chosen = super().forward(x), self.part(self.adapters.active)
        return base if chosen is None else chosen(base, x)

    def table(self) -> Tensor:
        """The whole matrix that it multiplies by, adapter included."""
        chosen = self.part(self.adapters.active)
        if chosen is None:
            return self.weight
        return self.weight + chosen.delta().to(self.weight.dtype)


def projections(model: Transformer) -> list[Projection]:
    """Every linear layer of the model, in the order of its family's table."""
    modules = dict(model.named_modules())
    found = []
    for entry in family(model.config.family).tensors(model.config):
        parts = tuple(own.removesuffix(".weight") for own in entry.own)
        if all(
            own.endswith(".weight") and isinstance(modules.get(part), nn.Linear)
            for own, part in zip(entry.own, parts, strict=True)
        ):
            published = entry.published.removesuffix(".weight")
            found.append(Projection(published, parts, entry.transposed))
    return found


def select(model: Transformer, targets: tuple[str, ...]) -> list[Projection]:
    """The projections that ``targets`` name. Raises ConfigError for a name that means none."""
    every = projections(model)
    chosen: set[str] = set()
    for target in targets:
        if target.lower() == ALL_LINEAR:
            chosen |= {p.published for p in every if p.parts != (OUTPUT,)}
            continue
        meant = {p.published for p in every if is_meant(p.published, (target,))}
        if not meant:
            known = ", ".join(dict.fromkeys(p.leaf for p in every))
            hint = "; its output layer is the embedding table" if target == "lm_head" else ""
            raise ConfigError(
                f"there is nothing called '{target}' to adapt in a {model.config.family} model"
                f"{hint}; it has: {known} (or {ALL_LINEAR})"
            )
        chosen |= meant
    return [p for p in every if p.published in chosen]


def shape_of(model: Transformer, projection: Projection) -> tuple[int, int]:
    """Outputs (of all its parts) and inputs of a projection."""
    weights = [model.get_parameter(f"{part}.weight") for part in projection.parts]
    return sum(weight.shape[0] for weight in weights), weights[0].shape[1]


def add_adapter(
    model: Transformer,
    name: str = "default",
    config: LoRAConfig | None = None,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Put a fresh adapter on the model, active and ready to train; everything else is frozen.

    It starts as PEFT's does: ``A`` uniform within ``1 / sqrt(in)``, ``B`` zero, so that at first
    it changes nothing. Raises ConfigError for an unknown target and ModelError for a bad name.
    """
    config = config or LoRAConfig()
    chosen = select(model, config.targets)
    matrices = {}
    for projection in chosen:
        rows, width = shape_of(model, projection)
        a = torch.empty(config.rank_of(projection.published), width)
        nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
        matrices[projection.published] = (a, torch.zeros(rows, a.shape[0]))
    place_adapter(model, name, config, matrices)
    model.requires_grad_(False)
    for parameter in adapter_parameters(model, name).values():
        parameter.requires_grad_(True)
    activate(model, name)


def place_adapter(
    model: Transformer,
    name: str,
    config: LoRAConfig,
    matrices: dict[str, tuple[Tensor, Tensor]],
) -> None:
    """Put an adapter with these ``A`` (R, in) and ``B`` (out, R), by published name, on the model.

    It is neither active nor trainable. Raises ModelError for a name that is taken or cannot be one.
    """
    adapters = adapters_of(model) or Adapters()
    _require_name(name, adapters)
    by_name = {p.published: p for p in projections(model)}
    for published, (a, b) in matrices.items():
        layers = [_adapted(model, part, adapters) for part in by_name[published].parts]
        scaling = config.scaling_of(published, a.shape[0])
        device = layers[0].weight.device
        shared = nn.Parameter(a.to(device=device, dtype=torch.float32), requires_grad=False)
        rows = b.to(device=device, dtype=torch.float32).split([n.out_features for n in layers])
        for layer, own in zip(layers, rows, strict=True):
            mine = nn.Parameter(own.contiguous(), requires_grad=False)
            part = LowRank(shared, mine, scaling, config.dropout)
            layer.low_rank[_key(name)] = part.train(layer.training)
    adapters.configs[name] = config


def adapters_of(model: Transformer) -> Adapters | None:
    """What adapters the model has; None for a model that never had one."""
    return next((layer.adapters for _, layer in adapted_layers(model)), None)


def adapted_layers(model: Transformer) -> Iterator[tuple[str, LoRALinear]]:
    """The layers that can hold adapters, with their names."""
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            yield name, module


def adapter_parameters(model: Transformer, name: str) -> dict[str, nn.Parameter]:
    """The numbers of one adapter by their names in the model, each once."""
    mark = f".low_rank.{_key(name)}."
    return {own: value for own, value in model.named_parameters() if mark in own}


def activate(model: Transformer, name: str | None) -> None:
    """Compute with this adapter from now on; None or ``"base"``: with none.

    Raises ModelError listing the adapters when there is none of that name, and while one
    is merged.
    """
    adapters = adapters_of(model)
    chosen = choice(adapters, name)
    if adapters is not None:
        adapters.active = chosen


def choice(adapters: Adapters | None, name: str | None) -> str | None:
    """The adapter that a name means, None for the base. Raises ModelError as ``activate`` does."""
    if adapters is not None and adapters.merged is not None:
        raise ModelError(
            f"the adapter '{adapters.merged}' is merged into the weights; unmerge it before "
            "another is chosen"
        )
    if name is None or name == BASE:
        return None
    require_adapter(adapters, name)
    return name


def set_strength(model: Transformer, name: str, strength: float) -> None:
    """Multiply what an adapter adds: 0 is the base, 1 the adapter as it was trained."""
    adapters = require_adapter(adapters_of(model), name)
    if not math.isfinite(strength):
        raise ConfigError(f"an adapter's strength must be a finite number. Got {strength}")
    if adapters.merged == name:
        raise ModelError(f"the adapter '{name}' is merged; unmerge it to change its strength")
    for part in _parts(model, name):
        part.strength = strength


def strength_of(model: Transformer, name: str) -> float:
    """What ``set_strength`` set; 1 for an adapter as it was trained."""
    require_adapter(adapters_of(model), name)
    return next((part.strength for part in _parts(model, name)), 1.0)


def require_adapter(adapters: Adapters | None, name: str) -> Adapters:
    """Raise ModelError listing the adapters unless there is one of that name."""
    names = sorted(adapters.configs) if adapters else []
    if adapters is None or name not in names:
        there = f"it has: {', '.join(names)}" if names else "it has none"
        raise ModelError(f"the model has no adapter '{name}'; {there}")
    return adapters


def _parts(model: Transformer, name: str) -> Iterator[LowRank]:
    for _, layer in adapted_layers(model):
        part = layer.part(name)
        if part is not None:
            yield part


def _adapted(model: Transformer, path: str, adapters: Adapters) -> LoRALinear:
    """The layer at ``path``, made adaptable where it is not yet."""
    layer = model.get_submodule(path)
    if isinstance(layer, LoRALinear):
        return layer
    assert isinstance(layer, nn.Linear)
    parent, _, leaf = path.rpartition(".")
    adapted = LoRALinear(layer, adapters)
    setattr(model.get_submodule(parent), leaf, adapted)
    return adapted


def _key(name: str) -> str:
    """Torch keeps modules as attributes, so a plain ``type`` or ``half`` would clash."""
    return f"for_{name}"


def _require_name(name: str, adapters: Adapters) -> None:
    require_adapter_name(name)
    if name in adapters.configs:
        raise ModelError(f"the model already has an adapter '{name}'; choose another name")
    if adapters.merged is not None:
        raise ModelError(f"the adapter '{adapters.merged}' is merged; unmerge it first")
