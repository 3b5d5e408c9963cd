"""Qwen2 and 2.5 (biases on queries, keys and values) and Qwen3 (queries and keys normalised).

Their upper blocks may be windowed, where ``use_sliding_window`` says so.
"""

from __future__ import annotations

from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.llama import llama_like
from linnet.model.families.record import GGUF, read_layer_types, written_layer_types
from linnet.model.families.section import Section

_FIXED = {"use_mrope": (False, None)}


def _window(settings: Section) -> dict[str, Any]:
    first = settings.integer("max_window_layers", 28, least=0)
    found = read_layer_types(settings, lambda layer: layer >= first, window=4096)
    return found if settings.flag("use_sliding_window", False) else {}


def _written_window(config: ModelConfig) -> dict[str, Any]:
    if config.window is None:
        return {"use_sliding_window": False}
    return {"use_sliding_window": True, **written_layer_types(config)}


QWEN2 = llama_like(
    "qwen2",
    "Qwen2",
    gguf=GGUF("qwen2", biases=("attention_bias",)),
    scratch={"activation": "swiglu", "attention_bias": True},
    fields=lambda settings: {"attention_bias": True, "output_bias": False, **_window(settings)},
    written=_written_window,
    kv_heads=32,
    fixed=_FIXED,
)
QWEN3 = llama_like(
    "qwen3",
    "Qwen3",
    gguf=GGUF("qwen3"),
    scratch={"activation": "swiglu", "qk_norm": True},
    fields=lambda settings: {"qk_norm": True, **_window(settings)},
    written=_written_window,
    head_width=128,
    kv_heads=32,
    fixed=_FIXED,
)
