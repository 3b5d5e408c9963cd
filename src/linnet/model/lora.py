"""Adapters on a model: put on, found, activated, scaled (LoRA, arXiv:2106.09685).

A model holds any number of adapters by name, of which one or none is active: changing
that costs nothing. The layers that compute with them are in ``linnet.model.lora_layers``.

Where a family stores several of our projections as one (GPT-2's ``c_attn``), an
adapter has one ``A`` for them, as PEFT has, and each has its rows of ``B``.

Letters: ``R`` the rank.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from linnet.errors import ConfigError, ModelError
from linnet.model.families import family
from linnet.model.lora_config import (
    ALL_LINEAR,
    BASE,
    LoRAConfig,
    is_meant,
    require_adapter_name,
)
from linnet.model.lora_layers import (
    REPLACEABLE,
    Adapters,
    LoRALinear,
    LowRank,
    Replaceable,
    ReplaceableEmbedding,
    module_key,
)
from linnet.model.weights import split_rows

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
    interleaved: int = 0
    """Whether the rows of its parts lie head by head, and of how many."""

    @property
    def within_block(self) -> str:
        """The name without the place of its block: ``self_attn.q_proj``."""
        return re.split(r"\.\d+\.", self.published, maxsplit=1)[-1]

    @property
    def is_output(self) -> bool:
        """Whether it belongs to the head, which an adapter changes only by name."""
        return self.parts == (OUTPUT,) or self.parts[0].startswith("head.")

    @property
    def leaf(self) -> str:
        """The last part of the name: ``q_proj``."""
        return self.published.rpartition(".")[2]


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
            found.append(Projection(published, parts, entry.transposed, entry.interleaved))
    return found


def select(model: Transformer, targets: tuple[str, ...]) -> list[Projection]:
    """The projections that ``targets`` name. Raises ConfigError for a name that means none."""
    every = projections(model)
    chosen: set[str] = set()
    for target in targets:
        if target.lower() == ALL_LINEAR:
            chosen |= {p.published for p in every if not p.is_output}
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
    matrices: Mapping[str, tuple[Tensor, Tensor]],
    *,
    lengths: Mapping[str, Tensor] | None = None,
    replaced: Mapping[str, Tensor] | None = None,
) -> None:
    """Put an adapter with these ``A`` (R, in) and ``B`` (out, R), by published name, on the model.

    ``lengths``: DoRA's of the rows, by published name. ``replaced``: parameters that the adapter
    has of its own, by their names in the model. It is neither active nor trainable. Raises
    ModelError for a name that is taken or cannot be one.
    """
    adapters = adapters_of(model) or Adapters()
    _require_name(name, adapters)
    by_name = {p.published: p for p in projections(model)}
    for own, value in (replaced or {}).items():
        _replace(model, name, own, value, adapters)
    for published, (a, b) in matrices.items():
        projection = by_name[published]
        layers = [_adapted(model, part, adapters) for part in projection.parts]
        scaling = config.scaling_of(published, a.shape[0])
        device = layers[0].weight.device
        shared = nn.Parameter(a.to(device=device, dtype=torch.float32), requires_grad=False)
        counts = [n.out_features for n in layers]
        split = partial(split_rows, rows=counts, interleaved=projection.interleaved)
        rows = split(b.to(device=device, dtype=torch.float32))
        long = (lengths or {}).get(published)
        for index, layer in enumerate(layers):
            mine = nn.Parameter(rows[index].contiguous(), requires_grad=False)
            part = LowRank(shared, mine, scaling, config.dropout)
            if (before := layer.part(name)) is not None:
                part.bias = before.bias
            if long is not None:
                part.set_lengths(split(long)[index], layer.weight.detach())
            layer.low_rank[module_key(name)] = part.train(layer.training)
    adapters.configs[name] = config


def can_be_replaced(model: Transformer, own: str) -> bool:
    """Whether an adapter may have a parameter of its own: of linear layers, norms, the tables."""
    place = own.rpartition(".")[0]
    if place == OUTPUT and model.config.tied:
        return model.config.head != "none"
    module = model.get_submodule(place)
    return isinstance(module, nn.Linear | Replaceable) or type(module) in REPLACEABLE


def _replace(model: Transformer, name: str, own: str, value: Tensor, adapters: Adapters) -> None:
    """Give an adapter its own value of a parameter of the model."""
    place, _, kind = own.rpartition(".")
    tied = place == OUTPUT and model.config.tied
    module = model.embedding if tied else model.get_submodule(place)
    like = module.weight
    assert isinstance(like, Tensor)
    mine = nn.Parameter(value.to(like), requires_grad=False)
    if isinstance(module, nn.Linear):
        layer = _adapted(model, place, adapters)
        part = layer.part(name) or LowRank(None, None)
        setattr(part, kind, mine)
        layer.low_rank[module_key(name)] = part.train(layer.training)
        return
    if not isinstance(module, Replaceable):
        plain = copy.copy(module)  # with the same parameters
        plain._modules = {}
        module.__class__ = REPLACEABLE[type(module)]
        assert isinstance(module, Replaceable)
        module.adapters, module.copies, module._plain = adapters, nn.ModuleDict(), (plain,)
        if isinstance(module, ReplaceableEmbedding):
            module.outputs = nn.ParameterDict()
    if tied:
        assert isinstance(module, ReplaceableEmbedding)
        module.outputs[module_key(name)] = mine
        return
    if module_key(name) not in module.copies:  # its other parameters stay the base's
        own_copy = copy.copy(module.chosen(None))
        own_copy._parameters = dict(own_copy._parameters)
        module.copies[module_key(name)] = own_copy
    setattr(module.copies[module_key(name)], kind, mine)


def replaceable_modules(model: Transformer) -> Iterator[tuple[str, Replaceable]]:
    """The modules of which adapters have copies, with their names."""
    for name, module in model.named_modules():
        if isinstance(module, Replaceable):
            yield name, module


def changed_parameters(
    model: Transformer, name: str
) -> Iterator[tuple[Tensor, Callable[[], object]]]:
    """Each parameter of the base that an adapter changes, with what changes it in place."""
    for _, layer in adapted_layers(model):
        part = layer.part(name)
        if part is None:
            continue
        if part.a is not None or part.weight is not None:
            yield layer.weight, partial(_add, layer.weight, partial(part.delta, layer))
        if part.bias is not None:
            own = part.bias
            yield layer.bias, partial(torch.lerp, layer.bias, own, part.strength, out=layer.bias)
    for _, module in replaceable_modules(model):
        if module_key(name) in module.copies:
            copied = module.copies[module_key(name)]
            for kind, base in module.chosen(None).named_parameters():
                if (own := copied.get_parameter(kind)) is not base:
                    yield base, partial(base.copy_, own)


def _add(parameter: Tensor, change: Callable[[], Tensor]) -> None:
    parameter.add_(change())


def separates_tables(model: Transformer, name: str) -> bool:
    """Whether embedding and output layer, which share a table, have two with this adapter."""
    table = model.embedding
    return (
        model.config.tied
        and isinstance(table, ReplaceableEmbedding)
        and (module_key(name) in table.copies or module_key(name) in table.outputs)
    )


def own_tables(model: Transformer) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Embeddings ``(V, D)``, and matrices of the output layer, that adapters have of their own."""
    embeddings: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    adapters, table = adapters_of(model), model.embedding
    for name in adapters.configs if adapters else ():
        if isinstance(table, ReplaceableEmbedding):
            if module_key(name) in table.copies:
                embeddings[name] = table.chosen(name).get_parameter("weight")
            if module_key(name) in table.outputs:
                outputs[name] = table.output_of(name)
        output = getattr(model, OUTPUT, None)
        part = output.part(name) if isinstance(output, LoRALinear) else None
        if part is not None and part.weight is not None and part.is_whole:
            outputs[name] = part.weight
    return embeddings, outputs


def beyond_low_rank(model: Transformer, name: str) -> str | None:
    """What an adapter does besides adding ``B A``, in a few words; None: nothing."""
    parts = list(_parts(model, name))
    if any(part.gain is not None for part in parts):
        return "it scales rows (DoRA)"
    if any(part.bias is not None for part in parts):
        return "it has biases of its own"
    if any(part.weight is not None for part in parts) or _has_copies(model, name):
        return "it has whole tensors of its own (modules_to_save)"
    return None


def _has_copies(model: Transformer, name: str) -> bool:
    return any(
        module_key(name) in module.copies
        or (isinstance(module, ReplaceableEmbedding) and module_key(name) in module.outputs)
        for _, module in replaceable_modules(model)
    )


def adapters_of(model: Transformer) -> Adapters | None:
    """What adapters the model has; None for a model that never had one."""
    for _, layer in adapted_layers(model):
        return layer.adapters
    for _, module in replaceable_modules(model):
        return module.adapters
    return None


def adapted_layers(model: Transformer) -> Iterator[tuple[str, LoRALinear]]:
    """The layers that can hold adapters, with their names."""
    for name, module in model.named_modules():
        if isinstance(module, LoRALinear):
            yield name, module


def adapter_parameters(model: Transformer, name: str) -> dict[str, nn.Parameter]:
    """The numbers of one adapter by their names in the model, each once."""
    mark = f".low_rank.{module_key(name)}."
    return {own: value for own, value in model.named_parameters() if mark in own}


def activate(model: Transformer, name: str | None) -> None:
    """Compute with this adapter from now on; None or ``"base"``: with none.

    Raises ModelError listing the adapters when there is none of that name, and while one
    is merged.
    """
    adapters = adapters_of(model)
    chosen = resolve_adapter(adapters, name)
    if adapters is not None:
        adapters.active = chosen


def resolve_adapter(adapters: Adapters | None, name: str | None) -> str | None:
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
    if strength != 1 and _has_copies(model, name):
        raise ModelError(
            f"the adapter '{name}' replaces whole tensors (modules_to_save), so its strength "
            f"can only be 1. Got {strength}"
        )
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


def _require_name(name: str, adapters: Adapters) -> None:
    require_adapter_name(name)
    if name in adapters.configs:
        raise ModelError(f"the model already has an adapter '{name}'; choose another name")
    if adapters.merged is not None:
        raise ModelError(f"the adapter '{adapters.merged}' is merged; unmerge it first")
