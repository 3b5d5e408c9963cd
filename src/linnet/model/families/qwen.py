"""Qwen2 and 2.5 (biases on queries, keys and values) and Qwen3 (queries and keys normalised).

Their upper blocks may be windowed, where ``use_sliding_window`` says so.
"""

from __future__ import annotations

from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.llama import llama_like
from linnet.model.families.table import Published, read_layer_types, written_layer_types


def _window(values: Published) -> dict[str, Any]:
    if not values.get("use_sliding_window", False):
        return {}
    first = values.get("max_window_layers", 28)
    return read_layer_types(values, lambda layer: layer >= first, window=4096)


def _written_window(config: ModelConfig) -> dict[str, Any]:
    if config.window is None:
        return {"use_sliding_window": False}
    return {"use_sliding_window": True, **written_layer_types(config)}


QWEN2 = llama_like(
    "qwen2",
    "Qwen2ForCausalLM",
    fields=lambda values: {"attention_bias": True, "output_bias": False, **_window(values)},
    written=_written_window,
)
QWEN3 = llama_like(
    "qwen3",
    "Qwen3ForCausalLM",
    fields=lambda values: {"qk_norm": True, **_window(values)},
    written=_written_window,
    head_width=128,
)
