"""Gemma 2 and 3 (text): norms before and after each part, windowed blocks, scaled embeddings.

A norm's stored weight is what its gain differs from 1 by. Gemma 2 (arXiv:2408.00118)
bends scores and logits; Gemma 3 (arXiv:2503.19786) normalises queries and keys
instead, and its windowed blocks turn RoPE faster than the others.

The language model inside a Gemma 3 that also sees pictures is read as Gemma 3 text.
"""

from __future__ import annotations

from typing import Any

from linnet.errors import ModelError
from linnet.model.config import ModelConfig
from linnet.model.families.llama import llama_like_tensors, read_llama_like, write_llama_like
from linnet.model.families.rope import read_rope, write_rope
from linnet.model.families.table import (
    FULL,
    SLIDING,
    FamilyTable,
    Published,
    Tensor,
    read_layer_types,
    require,
    written_layer_types,
)

ACTIVATION = "gelu_pytorch_tanh"
GLOBAL_EVERY = 6  # blocks of Gemma 3, where nothing else is said
NORMS = {
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "attention_post_norm",
    "pre_feedforward_layernorm": "mlp_norm",
    "post_feedforward_layernorm": "mlp_post_norm",
}


def _shared(values: Published) -> dict[str, Any]:
    """What both generations have in common."""
    require(values, "use_bidirectional_attention", (False, None), default=False)
    return {
        "norm": "rmsnorm_offset",
        "norm_place": "both",
        "activation": "geglu",
        "embedding_scale": values["hidden_size"] ** 0.5,
        "attention_scale": float(values.get("query_pre_attn_scalar", 256)) ** -0.5,
        "attention_softcap": values.get("attn_logit_softcapping"),
        "logit_softcap": values.get("final_logit_softcapping"),
    }


def _read_2(values: Published) -> ModelConfig:
    capped = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, **values}
    return read_llama_like(
        values,
        "gemma2",
        {
            **_shared(capped),
            **read_layer_types(values, lambda layer: layer % 2 == 0, window=4096),
        },
        published_activation=ACTIVATION,
        activation_key="hidden_activation",
        head_width=256,
        tied=True,
    )


def _read_3(values: Published) -> ModelConfig:
    each = values.get("sliding_window_pattern", GLOBAL_EVERY)
    nested = values.get("rope_parameters") or {}
    whole = values.get("rope_scaling") or nested.get(FULL) or {}
    local = nested.get(SLIDING) or {}
    if local.get("rope_type", "default") != "default":
        raise ModelError("config.json: RoPE of sliding_attention must be of type 'default'")
    width = values.get("head_dim") or 256
    return read_llama_like(
        values,
        "gemma3_text",
        {
            **_shared(values),
            **read_layer_types(values, lambda layer: (layer + 1) % each != 0, window=4096),
            **read_rope(
                values, theta=1_000_000.0, head_width=width, kinds=("linear", "yarn"), nested=whole
            ),
            "rope_local_theta": float(
                local.get("rope_theta") or values.get("rope_local_base_freq") or 10_000.0
            ),
            "qk_norm": True,
        },
        published_activation=ACTIVATION,
        activation_key="hidden_activation",
        head_width=256,
        tied=True,
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    assert config.attention_scale is not None
    written = write_llama_like(config, published_activation=ACTIVATION)
    return written | {
        "hidden_activation": ACTIVATION,
        "query_pre_attn_scalar": round(config.attention_scale**-2),
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logit_softcap,
        **written_layer_types(config),
    }


def _write_3(config: ModelConfig) -> dict[str, Any]:
    rope = write_rope(config)
    whole = rope.pop("rope_parameters")
    local = {"rope_type": "default", "rope_theta": config.rope_local_theta}
    return {
        **_write(config),
        **rope,
        "rope_local_base_freq": config.rope_local_theta,
        "rope_parameters": {FULL: whole, SLIDING: local},
    }


def _tensors(config: ModelConfig) -> list[Tensor]:
    return llama_like_tensors(config, norms=NORMS)


GEMMA2 = FamilyTable(
    model_type="gemma2",
    architecture="Gemma2ForCausalLM",
    read=_read_2,
    write=_write,
    tensors=_tensors,
    prefix="model.",
)
GEMMA3 = FamilyTable(
    model_type="gemma3_text",
    architecture="Gemma3ForCausalLM",
    read=_read_3,
    write=_write_3,
    tensors=_tensors,
    prefix="model.",
)
