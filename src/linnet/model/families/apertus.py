"""Apertus: Llama with normalised queries and keys and a plain MLP with xIELU.

What Linnet first made from scratch is an Apertus whose xIELU is set to be exactly
ReLU²: such a checkpoint is read and written as it is, computed cheaply, and made no more, since
transformers' CUDA kernel of xIELU takes ``beta`` from its own default and not from the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.llama import decoder_heads, llama_like, llama_like_tensors
from linnet.model.families.record import GGUF, Tensor, one
from linnet.model.families.rope import read_rope
from linnet.model.families.section import Section

# xIELU (arXiv:2411.13010) is softplus(alpha_p) x² + beta x above zero and
# (expm1(min(x, eps)) - x) (beta + softplus(alpha_n)) + beta x below. These values make
# it exactly ReLU² in fp32.
RELU2_AS_XIELU = {"alpha_p": math.log(math.e - 1), "alpha_n": -100.0, "beta": 0.0, "eps": -1e-6}


NORMS = {"attention_layernorm": "attention_norm", "feedforward_layernorm": "mlp_norm"}


def _tensors(config: ModelConfig) -> list[Tensor]:
    tensors = llama_like_tensors(config, norms=NORMS)
    if config.activation == "xielu":
        for layer in range(config.depth):
            theirs, ours = f"model.layers.{layer}.mlp.act_fn", f"blocks.{layer}.mlp.activation"
            tensors += [one(f"{theirs}.{part}", f"{ours}.{part}") for part in RELU2_AS_XIELU]
    return tensors


def _relu2_constants(config: ModelConfig) -> dict[str, float]:
    if config.activation != "relu2":
        return {}
    return {
        f"model.layers.{layer}.mlp.act_fn.{part}": value
        for layer in range(config.depth)
        for part, value in RELU2_AS_XIELU.items()
    }


def _gguf_settings(config: ModelConfig, state: Mapping[str, Any]) -> dict[str, Any]:
    """xIELU's numbers, which llama.cpp has as lists: one of each for every block."""

    def value(part: str, layer: int) -> float:
        if config.activation == "relu2":
            return RELU2_AS_XIELU[part]
        return float(state[f"blocks.{layer}.mlp.activation.{part}"])

    layers = range(config.depth)
    return {f"xielu.{part}": [value(part, layer) for layer in layers] for part in RELU2_AS_XIELU}


_THETA = 12_000_000.0
_USUAL_ROPE = {
    "rope_type": "llama3",
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
"""Where a configuration says nothing of RoPE; a ``rope_scaling`` of null says that it is plain."""


def _fields(settings: Section) -> dict[str, Any]:
    fields: dict[str, Any] = {"qk_norm": True}
    if "rope_scaling" in settings or settings.get("rope_parameters") is not None:
        return fields
    heads = settings.integer("num_attention_heads")
    width = settings.integer("head_dim", settings.integer("hidden_size") // heads)
    usual = Section(_USUAL_ROPE, model_type="apertus")
    return fields | read_rope(settings, theta=_THETA, head_width=width, nested=usual)


APERTUS = llama_like(
    "apertus",
    "Apertus",
    gguf=GGUF(
        "apertus",
        activations=("relu2", "xielu"),
        biases=("attention_bias", "output_bias"),
        output="needed",
        settings=_gguf_settings,
    ),
    heads=decoder_heads("Apertus", sequence=False),
    scratch={"activation": "xielu", "qk_norm": True},
    fields=_fields,
    written=lambda config: {"hidden_act": "xielu"},
    activation="xielu",
    theta=_THETA,
    eps=1e-5,
    body=_tensors,
    constants=_relu2_constants,
    harmless=frozenset({"hidden_dropout"}),
    fixed={"qk_norm": (True, None), "post_norm": (False, None)},
)
