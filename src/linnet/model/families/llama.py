"""The Llama shape: RoPE, RMSNorm, SwiGLU, grouped queries, no biases.

Llama 1, 2 and 3.x, TinyLlama and SmolLM2 are this family; others share its names
and differ in a detail, so they are built from the pieces here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linnet.errors import ModelError
from linnet.model.config import GATED, Family, ModelConfig
from linnet.model.families.rope import read_rope, write_rope
from linnet.model.families.table import (
    FamilyTable,
    Published,
    Tensor,
    one,
    require,
    token_id,
    written_token_ids,
)

Fields = Mapping[str, Any]
NORMS = {"input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"}
"""The norms of a block: as published, and as ours."""


def read_llama_like(
    values: Published,
    family: Family,
    fields: Fields,
    *,
    published_activation: str = "silu",
    activation_key: str = "hidden_act",
    theta: float = 10_000.0,
    eps: float = 1e-6,
    head_width: int | None = None,
    tied: bool = False,
) -> ModelConfig:
    """The shape in a ``config.json`` with Llama's names.

    ``fields``: what the family fixes or reads itself. The rest are its defaults
    for what the file may leave out.
    """
    require(values, activation_key, (published_activation,), default=published_activation)
    require(values, "pretraining_tp", (1,), default=1)
    try:
        width, heads = values["hidden_size"], values["num_attention_heads"]
        each = values.get("head_dim") or head_width or width // heads
        biased = bool(values.get("attention_bias", False))
        found = {
            "vocab_size": values["vocab_size"],
            "context": values["max_position_embeddings"],
            "width": width,
            "depth": values["num_hidden_layers"],
            "heads": heads,
            "kv_heads": values.get("num_key_value_heads") or heads,
            "head_width": each,
            "mlp_width": values["intermediate_size"],
            "norm_eps": values.get("rms_norm_eps", eps),
            "attention_bias": biased,
            "output_bias": biased,
            "mlp_bias": bool(values.get("mlp_bias", False)),
            "tied": bool(values.get("tie_word_embeddings", tied)),
            "dropout": float(values.get("attention_dropout") or 0.0),
            "bos_id": token_id(values, "bos_token_id"),
            "eos_id": token_id(values, "eos_token_id"),
            "pad_id": token_id(values, "pad_token_id"),
        }
        rope = {} if "rope_theta" in fields else read_rope(values, theta=theta, head_width=each)
        return ModelConfig(family=family, **{**found, **rope, **fields})
    except KeyError as error:
        raise ModelError(f"config.json: {error} is missing") from None


def write_llama_like(config: ModelConfig, *, published_activation: str = "silu") -> dict[str, Any]:
    """The ``config.json`` of a shape with Llama's names."""
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
        **write_rope(config),
        **written_token_ids(config),
    }


def llama_like_tensors(
    config: ModelConfig, *, norms: Mapping[str, str] = NORMS, fused: bool = False
) -> list[Tensor]:
    """The published tensors.

    ``fused``: queries, keys and values in one tensor, gate and up in another.
    """
    tensors = [one("model.embed_tokens.weight", "embedding.weight")]
    for layer in range(config.depth):
        theirs, ours = f"model.layers.{layer}.", f"blocks.{layer}."
        gate_up = ("gate", "up") if config.activation in GATED else ("up",)
        parts: list[tuple[str, tuple[str, ...], bool]] = [
            *_grouped(
                "self_attn", "attention", ("q", "k", "v"), "qkv", fused, config.attention_bias
            ),
            ("self_attn.o_proj", ("attention.o",), config.output_bias),
            *_grouped("mlp", "mlp", gate_up, "gate_up", fused, config.mlp_bias),
            ("mlp.down_proj", ("mlp.down",), config.mlp_bias),
        ]
        for name, own, biased in parts:
            for kind in ("weight", "bias") if biased else ("weight",):
                named = tuple(f"{ours}{part}.{kind}" for part in own)
                tensors.append(Tensor(f"{theirs}{name}.{kind}", named))
        if config.qk_norm:
            for part in ("q_norm", "k_norm"):
                tensors.append(
                    one(f"{theirs}self_attn.{part}.weight", f"{ours}attention.{part}.weight")
                )
        for published, own_norm in norms.items():
            tensors.append(one(f"{theirs}{published}.weight", f"{ours}{own_norm}.weight"))
    tensors.append(one("model.norm.weight", "norm.weight"))
    if not config.tied:
        tensors.append(one("lm_head.weight", "output.weight"))
    return tensors


def _grouped(
    theirs: str, ours: str, parts: tuple[str, ...], joined: str, fused: bool, biased: bool
) -> list[tuple[str, tuple[str, ...], bool]]:
    """Published name, own names, has a bias: of projections stored together or apart."""
    if fused:
        return [(f"{theirs}.{joined}_proj", tuple(f"{ours}.{part}" for part in parts), biased)]
    return [(f"{theirs}.{part}_proj", (f"{ours}.{part}",), biased) for part in parts]


def llama_like(
    family: Family,
    architecture: str,
    *,
    fields: Callable[[Published], Fields] = lambda values: {},
    written: Callable[[ModelConfig], dict[str, Any]] = lambda config: {},
    published_activation: str = "silu",
    theta: float = 10_000.0,
    eps: float = 1e-6,
    head_width: int | None = None,
    tensors: Callable[[ModelConfig], list[Tensor]] = llama_like_tensors,
    constants: Callable[[ModelConfig], dict[str, float]] = lambda config: {},
) -> FamilyTable:
    """The table of a family with Llama's names.

    ``fields`` and ``written``: what it reads and writes besides.
    """
    return FamilyTable(
        model_type=family,
        architecture=architecture,
        read=lambda values: read_llama_like(
            values,
            family,
            fields(values),
            published_activation=published_activation,
            theta=theta,
            eps=eps,
            head_width=head_width,
        ),
        write=lambda config: {
            **write_llama_like(config, published_activation=published_activation),
            **written(config),
        },
        tensors=tensors,
        prefix="model.",
        constants=constants,
    )


LLAMA = llama_like("llama", "LlamaForCausalLM")
