"""The families that generation is tested on, each with what sets it apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from linnet.model.config import RopeScaling

LAYERNORM = {
    "norm": "layernorm", "norm_eps": 1e-5, "attention_bias": True, "output_bias": True,
    "mlp_bias": True,
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "positions": "learned", "norm": "layernorm", "activation": "gelu_tanh",
        "attention_bias": True, "output_bias": True, "mlp_bias": True, "norm_eps": 1e-5,
        "tied": False,
    },
    "llama": {"kv_heads": 2},
    "qwen3": {"kv_heads": 2, "qk_norm": True, "tied": False},
    "mistral": {"kv_heads": 2, "window": 9},
    # Texts of the tests grow over the 24 tokens, where all positions turn otherwise.
    "phi3": {"rope_scaling": RopeScaling(
        "longrope", 64 / 24, 24, short_factors=(1.0, 1.1, 1.2, 1.5), long_factors=(1.0, 2, 4, 9),
    )},
    "gemma2": {
        "norm": "rmsnorm_offset", "norm_place": "both", "activation": "geglu", "window": 9,
        "window_layers": (True, False), "attention_softcap": 5.0, "logit_softcap": 7.0,
        "embedding_scale": 32**0.5, "attention_scale": 0.25,
    },
    "smollm3": {"kv_heads": 2, "rope_layers": (False, True)},
    "olmo2": {"norm_place": "after", "qk_norm": True, "qk_norm_kind": "whole", "tied": False},
    "granite": {
        "embedding_scale": 3.0, "attention_scale": 0.2, "residual_scale": 0.4, "logit_scale": 0.3,
        "tied": False,
        "attention_bias": True, "output_bias": True, "mlp_bias": True,
    },
    "gpt_neox": {
        **LAYERNORM, "rotary_width": 2, "activation": "gelu", "parallel": True, "tied": False,
    },
    "phi": {
        **LAYERNORM, "kv_heads": 2, "rotary_width": 4, "activation": "gelu_tanh",
        "parallel": True, "shared_norm": True, "logit_bias": True, "tied": False,
    },
    "stablelm": {
        "norm": "layernorm", "norm_eps": 1e-5, "rotary_width": 2, "kv_heads": 2, "qk_norm": True,
        "qk_norm_kind": "each", "parallel": True, "shared_norm": True, "tied": False,
    },
    "arcee": {"activation": "relu2", "norm_eps": 1e-5, "tied": False},
    "apertus": {"activation": "xielu", "qk_norm": True, "norm_eps": 1e-5, "tied": False},
}  # fmt: skip

MakeModel = Callable[..., Path]
