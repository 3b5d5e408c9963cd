"""Granite 3: Llama with four multipliers (of embeddings, scores, residuals and logits)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.llama import decoder_heads, llama_like
from linnet.model.families.record import ALL_BIASES, GGUF, Settings
from linnet.model.families.section import Section

_MULTIPLIERS = {
    "embedding_multiplier": "embedding_scale",
    "attention_multiplier": "attention_scale",
    "residual_multiplier": "residual_scale",
}


def _fields(settings: Section) -> dict[str, Any]:
    fields = {own: settings.number(name, 1.0, above=0) for name, own in _MULTIPLIERS.items()}
    return fields | {"logit_scale": 1 / settings.number("logits_scaling", 1.0, above=0)}


def _written(config: ModelConfig) -> dict[str, Any]:
    values = {name: getattr(config, own) for name, own in _MULTIPLIERS.items()}
    return values | {"logits_scaling": 1 / config.logit_scale}


def _gguf_settings(config: ModelConfig, state: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "granite.embedding_scale": float(config.embedding_scale),
        "granite.residual_scale": float(config.residual_scale),
        "granite.attention.scale": float(config.attention_scale or 1.0),
        "granite.logit_scale": 1 / config.logit_scale,
    }


def _from_gguf(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    return common | {
        "rms_norm_eps": float(file.own("attention.layer_norm_rms_epsilon")),
        "embedding_multiplier": float(file.own("embedding_scale", 1.0)),
        "residual_multiplier": float(file.own("residual_scale", 1.0)),
        "attention_multiplier": float(file.own("attention.scale", 1.0)),
        "logits_scaling": float(file.own("logit_scale", 1.0)),
    }


GRANITE = llama_like(
    "granite",
    "Granite",
    gguf=GGUF(
        "granite",
        pairs=True,
        biases=ALL_BIASES,
        reads_scale=True,
        settings=_gguf_settings,
        published=_from_gguf,
    ),
    heads=decoder_heads("Granite", sequence=False, token=False),
    fields=_fields,
    written=_written,
)
