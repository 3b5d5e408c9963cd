"""The families that generation is tested on, each with what sets it apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {
        "positions": "learned", "norm": "layernorm", "activation": "gelu_tanh",
        "attention_bias": True, "output_bias": True, "mlp_bias": True, "norm_eps": 1e-5,
        "tied": False,
    },
    "llama": {"kv_heads": 2},
    "qwen3": {"kv_heads": 2, "qk_norm": True, "tied": False},
    "arcee": {"activation": "relu2", "norm_eps": 1e-5, "tied": False},
    "apertus": {"activation": "xielu", "qk_norm": True, "norm_eps": 1e-5, "tied": False},
}  # fmt: skip

MakeModel = Callable[..., Path]
