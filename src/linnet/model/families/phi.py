"""Phi-1, 1.5 and 2 (arXiv:2306.11644): parallel parts behind one LayerNorm, biases everywhere."""

from __future__ import annotations

from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.llama import decoder_heads, read_llama_like, write_llama_like
from linnet.model.families.record import ALL_BIASES, GGUF, Family, Settings, Tensor, both, one
from linnet.model.families.rope import read_rope, write_rope
from linnet.model.families.section import Section


def _read(settings: Section) -> ModelConfig:
    heads = settings.integer("num_attention_heads")
    width = settings.integer("head_dim", settings.integer("hidden_size") // heads)
    return read_llama_like(
        settings,
        "phi",
        {
            "norm": "layernorm",
            "attention_bias": True,
            "output_bias": True,
            "mlp_bias": True,
            "parallel": True,
            "shared_norm": True,
            "qk_norm": settings.flag("qk_layernorm", False),
            "logit_bias": True,
            "dropout": settings.number("resid_pdrop", 0.0),
            **read_rope(settings, theta=10_000.0, head_width=width, partial=True, share=0.5),
        },
        activation="gelu_tanh",
        eps=1e-5,
        eps_key="layer_norm_eps",
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    return {
        **write_llama_like(config, eps_key="layer_norm_eps"),
        **write_rope(config, partial=True),
        "hidden_act": "gelu_new" if config.activation == "gelu_tanh" else "gelu",
        "qk_layernorm": config.qk_norm,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
    }


def _body(config: ModelConfig) -> list[Tensor]:
    parts = {
        "input_layernorm": "attention_norm",
        "self_attn.q_proj": "attention.q",
        "self_attn.k_proj": "attention.k",
        "self_attn.v_proj": "attention.v",
        "self_attn.dense": "attention.o",
        "mlp.fc1": "mlp.up",
        "mlp.fc2": "mlp.down",
    }
    if config.qk_norm:
        parts |= {
            "self_attn.q_layernorm": "attention.q_norm",
            "self_attn.k_layernorm": "attention.k_norm",
        }
    tensors = [one("model.embed_tokens.weight", "embedding.weight")]
    for layer in range(config.depth):
        for published, own in parts.items():
            tensors += both(f"model.layers.{layer}.{published}", f"blocks.{layer}.{own}")
    return tensors + both("model.final_layernorm", "norm")


def _from_gguf(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    return common | {
        "layer_norm_eps": float(file.own("attention.layer_norm_epsilon")),
        "partial_rotary_factor": int(file.own("rope.dimension_count")) / common["head_dim"],
    }


PHI = Family(
    model_type="phi",
    reader=_read,
    write=_write,
    body=_body,
    heads=decoder_heads("Phi"),
    prefix="model.",
    gguf=GGUF(
        "phi2",
        activations=("gelu_tanh",),
        biases=ALL_BIASES,
        output="needed",
        lacks={"qk_norm": "norms of queries and keys"},
        published=_from_gguf,
    ),
    harmless=frozenset({"embd_pdrop"}),
    fixed={"tie_word_embeddings": (False, None)},
)
