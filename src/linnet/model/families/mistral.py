"""Mistral 7B and its like: Llama with a window, which later versions dropped again."""

from __future__ import annotations

from linnet.model.families.llama import LLAMA, llama_like

MISTRAL = llama_like(
    "mistral",
    "Mistral",
    gguf=LLAMA.gguf,
    scratch={"activation": "swiglu"},
    fields=lambda settings: {
        "window": settings.integer_or_none("sliding_window", 4096),
        "attention_bias": False,
        "output_bias": False,
    },
    written=lambda config: {"sliding_window": config.window},
    kv_heads=8,
)
