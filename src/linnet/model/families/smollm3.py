"""SmolLM3: Llama, with every fourth block without positions (NoPE, arXiv:2501.18795)."""

from __future__ import annotations

from typing import Any

from linnet.model.config import MOST_LAYERS, ModelConfig
from linnet.model.families.llama import llama_like
from linnet.model.families.record import ALL_BIASES, GGUF, read_layer_types, written_layer_types
from linnet.model.families.section import Section, shown


def _fields(settings: Section) -> dict[str, Any]:
    rotary = _rotary(settings)
    windowed = settings.flag("use_sliding_window", False)
    return {
        "rope_layers": () if all(rotary) else rotary,
        **read_layer_types(settings, lambda layer: windowed and not rotary[layer], window=None),
    }


def _rotary(settings: Section) -> tuple[bool, ...]:
    """Which blocks rotate queries and keys: those with a 1 in ``no_rope_layers``."""
    depth = settings.integer("num_hidden_layers", most=MOST_LAYERS)
    each = settings.integer("no_rope_layer_interval", 4)
    listed = settings.get("no_rope_layers")
    if listed is None:
        return tuple((layer + 1) % each != 0 for layer in range(depth))
    good = isinstance(listed, list) and len(listed) >= depth
    if not good or any(type(one) is not int or one not in (0, 1) for one in listed):
        raise settings.error(
            "no_rope_layers", f"must be a 0 or 1 for each of {depth} layers. Got {shown(listed)}"
        )
    return tuple(bool(one) for one in listed[:depth])


def _written(config: ModelConfig) -> dict[str, Any]:
    return {
        "no_rope_layers": [int(config.is_rotary(layer)) for layer in range(config.depth)],
        "use_sliding_window": config.window is not None,
        **written_layer_types(config),
    }


SMOLLM3 = llama_like(
    "smollm3",
    "SmolLM3",
    gguf=GGUF("smollm3", pairs=True, biases=ALL_BIASES, rotary=lambda layer: (layer + 1) % 4 != 0),
    fields=_fields,
    written=_written,
    theta=2_000_000.0,
    kv_heads=4,
    tied=True,
    harmless=frozenset({"max_window_layers", "pretraining_tp"}),
)
