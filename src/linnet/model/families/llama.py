"""The Llama shape and those who share its tensor names: Llama, Qwen3, Arcee, Apertus.

RoPE, RMSNorm and no biases throughout. They differ in the MLP (SwiGLU, or a
plain ReLU² in Arcee and xIELU in Apertus) and in whether queries and keys are
normalised (Qwen3, Apertus).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from linnet.errors import ModelError
from linnet.model.config import Activation, Family, ModelConfig
from linnet.model.families.table import (
    FamilyTable,
    Published,
    Tensor,
    one,
    require,
    rope_theta,
    token_id,
    written_rope,
    written_token_ids,
)

# xIELU (arXiv:2411.13010) is softplus(alpha_p) x² + beta x above zero and
# (expm1(min(x, eps)) - x) (beta + softplus(alpha_n)) + beta x below. These values make
# it exactly ReLU² in fp32: a checkpoint in the published Apertus shape, computed cheaply.
RELU2_AS_XIELU = {"alpha_p": math.log(math.e - 1), "alpha_n": -100.0, "beta": 0.0, "eps": -1e-6}


def _read(
    values: Published,
    family: Family,
    *,
    activation: Activation,
    published_activation: str,
    qk_norm: bool,
    theta: float,
    eps: float,
) -> ModelConfig:
    require(values, "hidden_act", (published_activation,), default=published_activation)
    require(values, "use_sliding_window", (False, None), default=False)
    require(values, "pretraining_tp", (1,), default=1)
    try:
        width, heads = values["hidden_size"], values["num_attention_heads"]
        biased = bool(values.get("attention_bias", False))
        return ModelConfig(
            family=family,
            vocab_size=values["vocab_size"],
            context=values["max_position_embeddings"],
            width=width,
            depth=values["num_hidden_layers"],
            heads=heads,
            kv_heads=values.get("num_key_value_heads") or heads,
            head_width=values.get("head_dim") or width // heads,
            mlp_width=values["intermediate_size"],
            rope_theta=rope_theta(values, default=theta),
            norm_eps=values.get("rms_norm_eps", eps),
            activation=activation,
            attention_bias=biased,
            output_bias=biased,
            mlp_bias=bool(values.get("mlp_bias", False)),
            qk_norm=qk_norm,
            tied=bool(values.get("tie_word_embeddings", False)),
            dropout=float(values.get("attention_dropout") or 0.0),
            bos_id=token_id(values, "bos_token_id"),
            eos_id=token_id(values, "eos_token_id"),
            pad_id=token_id(values, "pad_token_id"),
        )
    except KeyError as error:
        raise ModelError(f"config.json: {error} is missing") from None


def _write(config: ModelConfig, *, published_activation: str) -> dict[str, Any]:
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.mlp_width,
        "hidden_act": published_activation,
        "rms_norm_eps": config.norm_eps,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tied,
        **written_rope(config.rope_theta),
        **written_token_ids(config),
    }


def _tensors(config: ModelConfig, norms: tuple[str, str]) -> list[Tensor]:
    tensors = [one("model.embed_tokens.weight", "embedding.weight")]
    for layer in range(config.depth):
        theirs, ours = f"model.layers.{layer}.", f"blocks.{layer}."
        tensors += [one(f"{theirs}{norms[0]}.weight", f"{ours}attention_norm.weight")]
        for part in ("q", "k", "v", "o"):
            name = f"{theirs}self_attn.{part}_proj"
            tensors.append(one(f"{name}.weight", f"{ours}attention.{part}.weight"))
            if config.output_bias if part == "o" else config.attention_bias:
                tensors.append(one(f"{name}.bias", f"{ours}attention.{part}.bias"))
        if config.qk_norm:
            for part in ("q_norm", "k_norm"):
                tensors.append(
                    one(f"{theirs}self_attn.{part}.weight", f"{ours}attention.{part}.weight")
                )
        tensors += [one(f"{theirs}{norms[1]}.weight", f"{ours}mlp_norm.weight")]
        for part in ("gate", "up", "down") if config.activation == "swiglu" else ("up", "down"):
            tensors.append(one(f"{theirs}mlp.{part}_proj.weight", f"{ours}mlp.{part}.weight"))
            if config.mlp_bias:
                tensors.append(one(f"{theirs}mlp.{part}_proj.bias", f"{ours}mlp.{part}.bias"))
        if config.activation == "xielu":
            for part in RELU2_AS_XIELU:
                tensors.append(one(f"{theirs}mlp.act_fn.{part}", f"{ours}mlp.xielu.{part}"))
    tensors.append(one("model.norm.weight", "norm.weight"))
    if not config.tied:
        tensors.append(one("lm_head.weight", "output.weight"))
    return tensors


def _relu2_constants(config: ModelConfig) -> dict[str, float]:
    if config.activation != "relu2":
        return {}
    return {
        f"model.layers.{layer}.mlp.act_fn.{part}": value
        for layer in range(config.depth)
        for part, value in RELU2_AS_XIELU.items()
    }


def _table(
    family: Family,
    architecture: str,
    *,
    activation: Activation = "swiglu",
    published_activation: str = "silu",
    qk_norm: bool = False,
    theta: float = 10_000.0,
    eps: float = 1e-6,
    norms: tuple[str, str] = ("input_layernorm", "post_attention_layernorm"),
    constants: Callable[[ModelConfig], dict[str, float]] = lambda config: {},
) -> FamilyTable:
    return FamilyTable(
        model_type=family,
        architecture=architecture,
        read=lambda values: _read(
            values,
            family,
            activation=activation,
            published_activation=published_activation,
            qk_norm=qk_norm,
            theta=theta,
            eps=eps,
        ),
        write=lambda config: _write(config, published_activation=published_activation),
        tensors=lambda config: _tensors(config, norms),
        prefix="model.",
        constants=constants,
    )


LLAMA = _table("llama", "LlamaForCausalLM")
QWEN3 = _table("qwen3", "Qwen3ForCausalLM", qk_norm=True)
ARCEE = _table(
    "arcee", "ArceeForCausalLM", activation="relu2", published_activation="relu2", eps=1e-5
)
APERTUS = _table(
    "apertus",
    "ApertusForCausalLM",
    activation="xielu",
    published_activation="xielu",
    qk_norm=True,
    theta=12_000_000.0,
    eps=1e-5,
    norms=("attention_layernorm", "feedforward_layernorm"),
    constants=_relu2_constants,
)
