"""What describes a family: how its ``config.json`` reads and what its tensors are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from linnet.errors import ModelError
from linnet.model.config import ModelConfig

Published = Mapping[str, Any]
"""A ``config.json``, as plain values."""

SLIDING, FULL = "sliding_attention", "full_attention"


@dataclass(frozen=True)
class Tensor:
    """One tensor of a published checkpoint, and which of ours it holds.

    Several of ours are joined along the output dimension (fused projections);
    ``transposed`` says that it is stored (in, out).
    """

    published: str
    own: tuple[str, ...]
    transposed: bool = False
    aliases: tuple[str, ...] = ()
    """Other published names under which it may lie."""


@dataclass(frozen=True)
class FamilyTable:
    """A two-way translation between a published model type and :class:`ModelConfig`."""

    model_type: str
    architecture: str
    read: Callable[[Published], ModelConfig]
    write: Callable[[ModelConfig], dict[str, Any]]
    tensors: Callable[[ModelConfig], list[Tensor]]
    prefix: str
    """What a published name may lack, or have besides: some checkpoints hold the base model
    alone, under its own names, and some the whole."""
    constants: Callable[[ModelConfig], dict[str, float]] = lambda config: {}
    """Tensors that the family stores but that are fixed by the configuration."""
    ignored: tuple[str, ...] = ()
    """Regular expressions, found anywhere in a published name, of tensors that may lie in a
    checkpoint and are left out: buffers of old releases, heads for other tasks."""


def one(published: str, own: str) -> Tensor:
    """The common case: one published tensor holds one of ours, as it is."""
    return Tensor(published, (own,))


def require(values: Published, key: str, allowed: tuple[Any, ...], *, default: Any) -> None:
    """Raise ModelError unless ``values[key]`` is something that the Transformer here can do."""
    found = values.get(key, default)
    if found not in allowed:
        shown = " or ".join(repr(item) for item in allowed)
        raise ModelError(
            f"config.json: {key} must be {shown} for model type "
            f"'{values.get('model_type')}'. Got {found!r}"
        )


def read_layer_types(
    values: Published, windowed: Callable[[int], bool], *, window: int
) -> dict[str, Any]:
    """The fields of ``ModelConfig`` that say which blocks are windowed.

    ``windowed``: what the family does where ``layer_types`` does not say. ``window``:
    its default.
    """
    depth = values["num_hidden_layers"]
    kinds = values.get("layer_types")
    if kinds is None:
        layers = tuple(windowed(layer) for layer in range(depth))
    else:
        unknown = set(kinds) - {SLIDING, FULL}
        if unknown or len(kinds) != depth:
            raise ModelError(
                f"config.json: layer_types must name '{SLIDING}' or '{FULL}' for each of {depth} "
                f"layers. Got {len(kinds)}{f' with {sorted(unknown)[0]!r}' if unknown else ''}"
            )
        layers = tuple(kind == SLIDING for kind in kinds)
    found = values.get("sliding_window", window)
    if found is None or not any(layers):
        return {}
    return {"window": found, "window_layers": layers}


def written_layer_types(config: ModelConfig) -> dict[str, Any]:
    """The same as published."""
    layers = [config.is_windowed(layer) for layer in range(config.depth)]
    return {
        "sliding_window": config.window,
        "layer_types": [SLIDING if windowed else FULL for windowed in layers],
    }


def token_id(values: Published, key: str) -> int | None:
    """A special token's id; of several end tokens the first."""
    found = values.get(key)
    if isinstance(found, list):
        found = found[0] if found else None
    return found if isinstance(found, int) else None


def written_token_ids(config: ModelConfig) -> dict[str, int | None]:
    """The special token ids under their published names."""
    return {
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "pad_token_id": config.pad_id,
    }
