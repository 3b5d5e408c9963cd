"""Phi-3, 3.5 and 4-mini: Llama with fused projections, LongRoPE and, in Phi-4-mini, only a
part of each head rotated."""

from __future__ import annotations

from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.llama import (
    decoder_heads,
    llama_like_tensors,
    read_llama_like,
    write_llama_like,
)
from linnet.model.families.record import GATE_UP, GGUF, QKV, Family
from linnet.model.families.rope import read_rope
from linnet.model.families.section import Section

_LEGACY = {"su": "longrope", "yarn": "longrope"}  # as the first configurations named it


def _read(settings: Section) -> ModelConfig:
    heads = settings.integer("num_attention_heads")
    width = settings.integer("head_dim", settings.integer("hidden_size") // heads)
    settings.integer("original_max_position_embeddings", 4096)
    return read_llama_like(
        settings,
        "phi3",
        {
            "window": settings.integer_or_none("sliding_window", None),
            "dropout": settings.number("resid_pdrop", 0.0),
            "attention_bias": False,
            "output_bias": False,
            **read_rope(
                settings,
                theta=10_000.0,
                head_width=width,
                kinds=("longrope",),
                partial=True,
                original=4096,
                legacy=_LEGACY,
            ),
        },
        eps=1e-5,
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    written = write_llama_like(config)
    original = config.rope_scaling.original_context if config.rope_scaling else config.context
    return written | {
        "original_max_position_embeddings": original,
        "sliding_window": config.window,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
    }


PHI3 = Family(
    model_type="phi3",
    reader=_read,
    write=_write,
    body=lambda config: llama_like_tensors(config, fused=True),
    heads=decoder_heads("Phi3"),
    prefix="model.",
    gguf=GGUF(
        "phi3",
        fused=(QKV, GATE_UP),
        # Without the key it takes Phi-3's own window.
        settings=lambda config, state: {"phi3.attention.sliding_window": 0},
    ),
    scratch={"activation": "swiglu"},
    harmless=frozenset({"embd_pdrop"}),
    fixed={
        "full_attn_mod": (1, None),
        "interpolate_factor": (1, None),
        "lm_head_bias": (False, None),
    },
)
