"""Phi-3, 3.5 and 4-mini: Llama with fused projections, LongRoPE and, in Phi-4-mini, only a
part of each head turned."""

from __future__ import annotations

from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.llama import llama_like_tensors, read_llama_like, write_llama_like
from linnet.model.families.rope import read_rope
from linnet.model.families.table import FamilyTable, Published


def _read(values: Published) -> ModelConfig:
    width = values.get("head_dim") or values["hidden_size"] // values["num_attention_heads"]
    scaling = dict(values.get("rope_scaling") or values.get("rope_parameters") or {})
    if "yarn" in (scaling.get("type"), scaling.get("rope_type")):
        scaling["rope_type"] = "longrope"  # as the first configurations named it
    return read_llama_like(
        values,
        "phi3",
        {
            "window": values.get("sliding_window"),
            "dropout": float(values.get("resid_pdrop") or 0.0),
            "attention_bias": False,
            "output_bias": False,
            **read_rope(
                values, theta=10_000.0, head_width=width, kinds=("longrope",), nested=scaling
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


PHI3 = FamilyTable(
    model_type="phi3",
    architecture="Phi3ForCausalLM",
    read=_read,
    write=_write,
    tensors=lambda config: llama_like_tensors(config, fused=True),
    prefix="model.",
)
