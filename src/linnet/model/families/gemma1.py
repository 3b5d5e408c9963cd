"""Gemma 1 (arXiv:2403.08295): Llama with a gated GELU, offset norms and scaled embeddings."""

from __future__ import annotations

from typing import Any

from linnet.model.families.llama import llama_like
from linnet.model.families.record import GGUF
from linnet.model.families.section import Section


def _fields(settings: Section) -> dict[str, Any]:
    fields = {
        "norm": "rmsnorm_offset",
        "embedding_scale": settings.integer("hidden_size") ** 0.5,
    }
    # The first configurations say "gelu" and mean the approximation, as transformers knows.
    return fields | ({"activation": "geglu"} if settings.get("hidden_act") == "gelu" else {})


GEMMA1 = llama_like(
    "gemma",
    "Gemma",
    gguf=GGUF("gemma", activations=("geglu",), output="tied"),
    fields=_fields,
    activation="geglu",
    head_width=256,
    kv_heads=16,
    tied=True,
    fixed={
        "hidden_activation": ("gelu_pytorch_tanh", None),
        "use_bidirectional_attention": (False, None),
    },
)
