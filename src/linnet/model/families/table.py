"""What describes a family: how its ``config.json`` reads and what its tensors are called."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from linnet.errors import ConfigError, ModelError
from linnet.model.config import MOST_LAYERS, ModelConfig
from linnet.model.families.section import FIXED, HARMLESS, Section, shown

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
    reader: Callable[[Section], ModelConfig]
    """Reads the settings; those that it does not read must be harmless."""
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
    other_inputs: str | None = None
    """A regular expression for names of the parts that read something else than text."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """Beginnings of names as they are stored, and as ``tensors`` has them."""
    harmless: frozenset[str] = frozenset()
    """Settings besides ``HARMLESS`` that change nothing about what a trained model computes."""
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    """Settings with the values that they may have."""

    def read(self, values: Published) -> ModelConfig:
        """The shape in a ``config.json``.

        Raises ModelError for a setting that is missing, cannot be, or is not known.
        """
        harmless = HARMLESS | self.harmless
        settings = Section(values, model_type=self.model_type, harmless=harmless)
        for key, allowed in {**FIXED, **self.fixed}.items():
            settings.require(key, allowed)
        try:
            config = self.reader(settings)
        except ConfigError as error:
            raise ModelError(f"config.json: {error}") from None
        settings.refuse_unread()
        return config

    def name_of(self, stored: str) -> str:
        """The name in ``tensors`` of a tensor as it is stored."""
        for beginning, name in self.renamed.items():
            if stored.startswith(beginning):
                return name + stored.removeprefix(beginning)
        return stored

    def reads_other_inputs(self, stored: str) -> bool:
        """Whether a stored tensor belongs to a part that reads pictures or sound."""
        return self.other_inputs is not None and bool(re.match(self.other_inputs, stored))


def one(published: str, own: str) -> Tensor:
    """The common case: one published tensor holds one of ours, as it is."""
    return Tensor(published, (own,))


def read_layer_types(
    settings: Section, windowed: Callable[[int], bool], *, window: int
) -> dict[str, Any]:
    """The fields of ``ModelConfig`` that say which blocks are windowed.

    ``windowed``: what the family does where ``layer_types`` does not say. ``window``:
    its default.
    """
    depth = settings.integer("num_hidden_layers", most=MOST_LAYERS)
    kinds = settings.get("layer_types")
    if kinds is None:
        layers = [windowed(layer) for layer in range(depth)]
    elif not isinstance(kinds, list) or len(kinds) != depth:
        raise settings.error("layer_types", f"must name each of {depth} layers. Got {shown(kinds)}")
    else:
        unknown = [kind for kind in kinds if kind not in (SLIDING, FULL)]
        if unknown:
            raise settings.error(
                "layer_types", f"must be '{SLIDING}' or '{FULL}' for each. Got {shown(unknown[0])}"
            )
        layers = [kind == SLIDING for kind in kinds]
    found = settings.integer_or_none("sliding_window", window)
    if found is None or not any(layers):
        return {}
    return {"window": found, "window_layers": tuple(layers)}


def written_layer_types(config: ModelConfig) -> dict[str, Any]:
    """The same as published."""
    layers = [config.is_windowed(layer) for layer in range(config.depth)]
    return {
        "sliding_window": config.window,
        "layer_types": [SLIDING if windowed else FULL for windowed in layers],
    }


def written_token_ids(config: ModelConfig) -> dict[str, int | None]:
    """The special token ids under their published names."""
    return {
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "pad_token_id": config.pad_id,
    }
