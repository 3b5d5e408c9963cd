"""OLMo 2 (arXiv:2501.00656): Llama that norms what parts made, and whole queries and keys."""

from __future__ import annotations

from linnet.model.families.llama import llama_like, llama_like_tensors
from linnet.model.families.record import GGUF

NORMS = {
    "post_attention_layernorm": "attention_post_norm",
    "post_feedforward_layernorm": "mlp_post_norm",
}

OLMO2 = llama_like(
    "olmo2",
    "Olmo2",
    gguf=GGUF("olmo2", output="needed"),
    fields=lambda settings: {"norm_place": "after", "qk_norm": True, "qk_norm_kind": "whole"},
    eps=1e-5,
    body=lambda config: llama_like_tensors(config, norms=NORMS),
)
