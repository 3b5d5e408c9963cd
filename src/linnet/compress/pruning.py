"""Pruning: a smaller model of the same family, of what mattered most over text of the owner's.

What can go: blocks, hidden units of MLPs, groups of heads that share keys and values, coordinates
of the residual stream. What matters is measured by activations alone, without a gradient, over a
few thousand tokens ("Compact Language Models via Pruning and Knowledge Distillation",
arXiv:2407.14679): the mean size of what a unit, head or coordinate carries, and of a block how far
it turns the stream (arXiv:2403.03853). A pruned model is damaged: it is meant to be distilled
(``linnet.distil.divergence``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from linnet.errors import ConfigError, ModelError
from linnet.model import Transformer
from linnet.model.families import family
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from linnet.model import ModelConfig

MULTIPLE = 64
"""What sizes that are chosen here are multiples of."""
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Scores:
    """How much each part of a model matters; larger is more."""

    blocks: Tensor
    """``(depth,)``."""
    units: Tensor
    """Of MLPs, ``(depth, mlp_width)``."""
    groups: Tensor
    """Of heads that share keys and values, ``(depth, kv_heads)``."""
    coordinates: Tensor
    """Of the residual stream, ``(width,)``."""


@torch.no_grad()
def measure_scores(
    model: Transformer, rows: Iterable[Tensor], *, total: int = 0, progress: Progress = SILENT
) -> Scores:
    """What matters, over texts as tokens ``(1, T)``."""
    config = model.config
    depth, per_group = config.depth, config.heads // config.kv_heads * config.head_width
    units = torch.zeros(depth, config.mlp_width)
    groups = torch.zeros(depth, config.kv_heads)
    coordinates, turned, count = torch.zeros(config.width), torch.zeros(depth), 0

    def watch(layer: int) -> list[Any]:
        block: Any = model.blocks[layer]

        def carried(module: Any, given: tuple[Tensor, ...]) -> None:
            units[layer] += given[0].reshape(-1, config.mlp_width).float().abs().sum(0).cpu()

        def attended(module: Any, given: tuple[Tensor, ...]) -> None:
            states = given[0].reshape(-1, config.kv_heads, per_group).float()
            groups[layer] += states.norm(dim=-1).sum(0).cpu()

        def normed(module: Any, given: Any, made: Tensor) -> None:
            coordinates.add_(made.reshape(-1, config.width).float().abs().sum(0).cpu())

        def passed(module: Any, given: tuple[Any, ...], made: Tensor) -> None:
            before = given[0].reshape(-1, config.width).float()
            after = made.reshape(-1, config.width).float()
            turned[layer] += (1 - torch.cosine_similarity(before, after, dim=-1)).sum().cpu()

        return [
            block.mlp.down.register_forward_pre_hook(carried),
            block.attention.o.register_forward_pre_hook(attended),
            block.attention_norm.register_forward_hook(normed),
            block.mlp_norm.register_forward_hook(normed),
            block.register_forward_hook(passed),
        ]

    require_prunable(config)
    hooks = [hook for layer in range(depth) for hook in watch(layer)]
    model.eval()
    try:
        with progress.task("what matters", total=total, unit="tokens") as task:
            for row in rows:
                model.hidden(row)
                count += row.numel()
                task.advance(row.numel())
    finally:
        for hook in hooks:
            hook.remove()
    if not count:
        raise ConfigError("expected text to see what matters. Got none")
    return Scores(turned / count, units / count, groups / count, coordinates / count)


@dataclass(frozen=True)
class PrunedShape:
    """The sizes that a pruned model has."""

    depth: int
    mlp_width: int
    kv_heads: int
    width: int

    @classmethod
    def of(cls, config: ModelConfig) -> PrunedShape:
        """Those of a model as it is."""
        return cls(config.depth, config.mlp_width, config.kv_heads, config.width)


def pruned_config(config: ModelConfig, shape: PrunedShape) -> ModelConfig:
    """The configuration of a pruned model. Raises ConfigError for sizes that are none of it."""
    own = PrunedShape.of(config)
    for name in ("depth", "mlp_width", "kv_heads", "width"):
        wanted, most = getattr(shape, name), getattr(own, name)
        if not 1 <= wanted <= most:
            raise ConfigError(f"{name} must be between 1 and {most}, the model's. Got {wanted}")
    scale = config.embedding_scale
    if scale == config.width**0.5:  # Gemma's, which follows from the width
        scale = shape.width**0.5
    return dataclasses.replace(
        config,
        depth=shape.depth,
        mlp_width=shape.mlp_width,
        kv_heads=shape.kv_heads,
        heads=config.heads // config.kv_heads * shape.kv_heads,
        width=shape.width,
        embedding_scale=scale,
    )


def require_publishable(config: ModelConfig) -> None:
    """Raise ConfigError where the family's ``config.json`` cannot say these sizes.

    Some families have no setting for the width of a head: it is the model's by its heads.
    """
    if not _is_publishable(config):
        raise ConfigError(
            f"a {config.family} model must be as wide as its heads together. Got a width of "
            f"{config.width}, and {config.heads} heads of {config.head_width}: choose --width and "
            "--kv-heads that agree"
        )


def _is_publishable(config: ModelConfig) -> bool:
    table = family(config.family)
    try:
        found = table.read(table.written(config))
    except ModelError:
        return False
    names = ("width", "heads", "kv_heads", "head_width", "mlp_width", "depth")
    return all(getattr(found, name) == getattr(config, name) for name in names)


def shape_for(config: ModelConfig, keep: float, *, depth: int = 0) -> PrunedShape:
    """Sizes with at most this share of the parameters, narrower in all dimensions alike.

    Width goes before depth (arXiv:2407.14679); ``depth``: of blocks, where some are to go as well.
    Raises ConfigError where no sizes are so small.
    """
    own = PrunedShape.of(config)
    wanted = keep * config.parameters
    best: tuple[float, PrunedShape] | None = None
    # Whether width and heads can differ: one that is wider for the same heads tells.
    free = _is_publishable(dataclasses.replace(config, width=2 * config.width))
    of_group = config.heads // config.kv_heads * config.head_width
    for groups in range(1, own.kv_heads + 1):
        for width in _sizes(own.width) if free else (groups * of_group,):
            for mlp in _sizes(own.mlp_width):
                shape = PrunedShape(depth or own.depth, mlp, groups, width)
                if pruned_config(config, shape).parameters > wanted:
                    break  # wider ones have more
                shares = (groups / own.kv_heads, width / own.width, mlp / own.mlp_width)
                # As large as may be, and as even as that allows.
                rank = pruned_config(config, shape).parameters / wanted
                rank -= max(shares) - min(shares)
                if best is None or rank > best[0]:
                    best = rank, shape
    if best is None:
        raise ConfigError(
            f"no sizes of this model have {100 * keep:.2g}% of its parameters; keep more"
        )
    return best[1]


def prune(model: Transformer, shape: PrunedShape, scores: Scores) -> Transformer:
    """A new model of these sizes with the weights that mattered most, in their order.

    Raises ModelError for a family with parts that there is no rule for.
    """
    config = model.config
    require_prunable(config)
    smaller = pruned_config(config, shape)
    blocks = _largest(scores.blocks, shape.depth).tolist()
    coordinates = _largest(scores.coordinates, shape.width)
    with torch.device("meta"):
        made = Transformer(smaller)
    state = model.state_dict()
    found: dict[str, Tensor] = {}
    for name, empty in made.state_dict().items():
        inside = _BLOCK.fullmatch(name)
        if inside is None:
            values = _taken(name, state[name], coordinates, None, None)
        else:
            layer = blocks[int(inside[1])]
            units = _largest(scores.units[layer], shape.mlp_width)
            groups = _largest(scores.groups[layer], shape.kv_heads)
            values = _taken(
                inside[2], state[f"blocks.{layer}.{inside[2]}"], coordinates, units,
                _head_rows(config, groups),
            )  # fmt: skip
        if values.shape != empty.shape:
            raise ModelError(
                f"pruning has no rule for '{name}' of a {config.family} model: it would have the "
                f"shape {tuple(values.shape)}, and needs {tuple(empty.shape)}"
            )
        found[name] = values.clone()
    made.load_state_dict(found, assign=True)
    return made


def require_prunable(config: ModelConfig) -> None:
    """Raise ModelError for what differs from layer to layer, or has an order of its own."""
    for name, wrong in (
        ("an encoder", not config.causal),
        ("windows of attention", bool(config.window_layers)),
        ("layers without RoPE", bool(config.rope_layers)),
        ("learned positions", config.positions != "rope"),
        ("norms over all heads", config.qk_norm and config.qk_norm_kind != "shared"),
        ("norms after its blocks", config.norm_place != "pre"),
        ("one norm for attention and MLP", config.shared_norm),
    ):
        if wrong:
            raise ModelError(f"pruning has no rule for {name} ({config.family})")


@dataclass(frozen=True)
class _HeadRows:
    queries: Tensor
    keys: Tensor


def _head_rows(config: ModelConfig, groups: Tensor) -> _HeadRows:
    """The rows of queries, and of keys and values, that belong to groups of heads."""
    per_group = config.heads // config.kv_heads * config.head_width

    def rows(each: int) -> Tensor:
        return (groups[:, None] * each + torch.arange(each)).flatten()

    return _HeadRows(rows(per_group), rows(config.head_width))


def _taken(
    name: str, values: Tensor, coordinates: Tensor, units: Tensor | None, heads: _HeadRows | None
) -> Tensor:
    """The part of a parameter that stays."""
    part = name.rpartition(".")[0]
    if part in ("embedding", "output"):
        return values[:, coordinates] if values.dim() > 1 else values
    if part in ("norm", "attention_norm", "mlp_norm"):
        return values[coordinates]
    if part in ("attention.q_norm", "attention.k_norm", "mlp.activation"):
        return values  # one for all heads, or all units
    assert units is not None
    assert heads is not None
    rows = {
        "attention.q": heads.queries, "attention.k": heads.keys, "attention.v": heads.keys,
        "mlp.gate": units, "mlp.up": units,
    }.get(part)  # fmt: skip
    if rows is not None:
        values = values[rows]
        return values[:, coordinates] if values.dim() > 1 else values
    columns = {"attention.o": heads.queries, "mlp.down": units}.get(part)
    if columns is not None:
        return values[coordinates][:, columns] if values.dim() > 1 else values[coordinates]
    raise ModelError(f"pruning has no rule for '{name}'")


def _largest(scores: Tensor, count: int) -> Tensor:
    """The places of the largest, in order."""
    return scores.topk(count).indices.sort().values


def _sizes(most: int) -> Iterator[int]:
    yield from range(MULTIPLE, most, MULTIPLE)
    yield most
