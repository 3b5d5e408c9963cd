"""Phi-3, 3.5 and 4-mini: Llama with fused projections, LongRoPE and, in Phi-4-mini, only a
part of each head rotated."""

from __future__ import annotations

import math
from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.llama import (
    decoder_heads,
    llama_like_tensors,
    read_llama_like,
    write_llama_like,
)
from linnet.model.families.record import GATE_UP, GGUF, QKV, Family, Settings
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


def _from_gguf(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    window = file.own("attention.sliding_window", 2047)  # as llama.cpp has it for Phi-3
    scaling = common["rope_scaling"]
    original = int(file.own("rope.scaling.original_context_length", 0))
    if scaling:  # the factor that follows from the contexts need not be said
        stretch = max(common["max_position_embeddings"] / max(original, 1), 1.0)
        follows = math.sqrt(1 + math.log(stretch) / math.log(max(original, 2)))
        if math.isclose(scaling["attention_factor"], follows, rel_tol=1e-6):
            scaling = {key: value for key, value in scaling.items() if key != "attention_factor"}
    return common | {
        "rms_norm_eps": float(file.own("attention.layer_norm_rms_epsilon")),
        "rope_scaling": scaling,
        "original_max_position_embeddings": original or common["max_position_embeddings"],
        "sliding_window": int(window) if 0 < window < common["max_position_embeddings"] else None,
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
        published=_from_gguf,
    ),
    scratch={"activation": "swiglu"},
    harmless=frozenset({"embd_pdrop"}),
    fixed={
        "full_attn_mod": (1, None),
        "interpolate_factor": (1, None),
        "lm_head_bias": (False, None),
    },
)
