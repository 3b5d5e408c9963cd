"""StableLM: Llama with LayerNorm and a part of each head rotated; in some, parallel parts, biases
on queries, keys and values, or a norm of its own for every head's queries and keys."""

from __future__ import annotations

from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.llama import NORMS, llama_like, llama_like_tensors
from linnet.model.families.record import GGUF, Settings, Tensor
from linnet.model.families.rope import read_rope, write_rope
from linnet.model.families.section import Section


def _fields(settings: Section) -> dict[str, Any]:
    width = settings.integer("hidden_size") // settings.integer("num_attention_heads")
    parallel = settings.flag("use_parallel_residual", False)
    return {
        "head_width": width,
        "norm": "layernorm",
        "attention_bias": settings.flag("use_qkv_bias", False),
        "output_bias": False,
        "qk_norm": settings.flag("qk_layernorm", False),
        "qk_norm_kind": "each",
        "parallel": parallel,
        "shared_norm": parallel,
        "dropout": settings.number("hidden_dropout", 0.0),
        **read_rope(settings, theta=10_000.0, head_width=width, partial=True, share=0.25),
    }


def _written(config: ModelConfig) -> dict[str, Any]:
    return {
        **write_rope(config, partial=True),
        "use_qkv_bias": config.attention_bias,
        "qk_layernorm": config.qk_norm,
        "use_parallel_residual": config.parallel,
        "hidden_dropout": config.dropout,
    }


def _body(config: ModelConfig) -> list[Tensor]:
    norms = {theirs: own for theirs, own in NORMS.items() if own == "attention_norm"}
    return llama_like_tensors(
        config, norms=norms if config.shared_norm else NORMS, qk_norms="layernorm"
    )


def _from_gguf(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    file.own("use_parallel_residual", False)  # the tensors decide, in llama.cpp too
    return common | {
        "layer_norm_eps": float(file.own("attention.layer_norm_epsilon")),
        "partial_rotary_factor": int(file.own("rope.dimension_count")) / common["head_dim"],
        "use_qkv_bias": common["attention_bias"],
        "use_parallel_residual": "blk.0.ffn_norm.weight" not in file.tensors,
        "qk_layernorm": "blk.0.attn_q_norm.weight" in file.tensors,
    }


STABLELM = llama_like(
    "stablelm",
    "StableLm",
    gguf=GGUF(
        "stablelm",
        biases=("attention_bias",),
        output="needed",
        settings=lambda config, state: {"stablelm.use_parallel_residual": config.parallel},
        published=_from_gguf,
    ),
    fields=_fields,
    written=_written,
    eps=1e-5,
    eps_key="layer_norm_eps",
    kv_heads=32,
    body=_body,
)
