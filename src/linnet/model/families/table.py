"""What describes a family: how its ``config.json`` reads and what its tensors are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from linnet.errors import ModelError
from linnet.model.config import ModelConfig

Published = Mapping[str, Any]
"""A ``config.json``, as plain values."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a published checkpoint, and which of ours it holds.

    Several of ours are joined along the output dimension (fused projections);
    ``transposed`` says that it is stored (in, out).
    """

    published: str
    own: tuple[str, ...]
    transposed: bool = False


@dataclass(frozen=True)
class FamilyTable:
    """A two-way translation between a published model type and :class:`ModelConfig`."""

    model_type: str
    architecture: str
    read: Callable[[Published], ModelConfig]
    write: Callable[[ModelConfig], dict[str, Any]]
    tensors: Callable[[ModelConfig], list[Tensor]]
    prefix: str
    """What a published name may lack: some checkpoints leave the base model's name out."""
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


def rope_theta(values: Published, *, default: float) -> float:
    """The RoPE base, as transformers 4 (``rope_theta``) or 5 (``rope_parameters``) spells it.

    Raises ModelError for a scaled RoPE, which would silently be computed wrong.
    """
    nested = values.get("rope_parameters") or values.get("rope_scaling") or {}
    kind = nested.get("rope_type", nested.get("type", "default"))
    if kind != "default":
        raise ModelError(f"config.json: RoPE of type '{kind}' is not supported; expected 'default'")
    partial = nested.get("partial_rotary_factor", values.get("partial_rotary_factor", 1.0))
    if partial not in (None, 1.0):
        raise ModelError(f"config.json: partial_rotary_factor must be 1. Got {partial}")
    theta = nested.get("rope_theta") or values.get("rope_theta") or default
    return float(theta)


def written_rope(theta: float) -> dict[str, Any]:
    """The RoPE base in both spellings."""
    return {
        "rope_theta": theta,
        "rope_scaling": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
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
