"""Apertus: Llama with normalised queries and keys and a plain MLP with xIELU.

The default shape here is an Apertus whose xIELU is set to be exactly ReLU².
"""

from __future__ import annotations

import math

from linnet.model.config import ModelConfig
from linnet.model.families.llama import llama_like, llama_like_tensors
from linnet.model.families.table import Tensor, one

# xIELU (arXiv:2411.13010) is softplus(alpha_p) x² + beta x above zero and
# (expm1(min(x, eps)) - x) (beta + softplus(alpha_n)) + beta x below. These values make
# it exactly ReLU² in fp32: a checkpoint in the published Apertus shape, computed cheaply.
RELU2_AS_XIELU = {"alpha_p": math.log(math.e - 1), "alpha_n": -100.0, "beta": 0.0, "eps": -1e-6}


NORMS = {"attention_layernorm": "attention_norm", "feedforward_layernorm": "mlp_norm"}


def _tensors(config: ModelConfig) -> list[Tensor]:
    tensors = llama_like_tensors(config, norms=NORMS)
    if config.activation == "xielu":
        for layer in range(config.depth):
            theirs, ours = f"model.layers.{layer}.mlp.act_fn", f"blocks.{layer}.mlp.xielu"
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


APERTUS = llama_like(
    "apertus",
    "ApertusForCausalLM",
    fields=lambda values: {"activation": "xielu", "qk_norm": True},
    published_activation="xielu",
    theta=12_000_000.0,
    eps=1e-5,
    tensors=_tensors,
    constants=_relu2_constants,
)
