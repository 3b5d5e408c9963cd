"""Arcee: Llama with a plain MLP and ReLU² (arXiv:2109.08668)."""

from __future__ import annotations

from linnet.model.families.llama import llama_like

ARCEE = llama_like(
    "arcee",
    "ArceeForCausalLM",
    fields=lambda settings: {"activation": "relu2"},
    published_activation="relu2",
    eps=1e-5,
)
