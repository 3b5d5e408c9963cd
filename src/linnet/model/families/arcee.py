"""Arcee: Llama with a plain MLP and ReLU² (arXiv:2109.08668)."""

from __future__ import annotations

from linnet.model.families.llama import llama_like
from linnet.model.families.record import GGUF

ARCEE = llama_like(
    "arcee",
    "Arcee",
    gguf=GGUF("arcee", activations=("relu2",), pairs=True),
    scratch={"activation": "relu2"},
    activation="relu2",
    eps=1e-5,
)
