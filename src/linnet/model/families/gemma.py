"""Gemma 2 and 3 (text): norms before and after each part, windowed blocks, scaled embeddings.

A norm's stored weight is what its gain differs from 1 by. Gemma 2 (arXiv:2408.00118)
caps scores and logits; Gemma 3 (arXiv:2503.19786) normalises queries and keys
instead, and its windowed blocks rotate faster than the others.

Of a Gemma 3 that also sees pictures (``gemma3``: 4B, 12B, 27B) the language model is read,
and written as Gemma 3 text (``gemma3_text``). Its configuration leaves out what is as in
transformers' own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.llama import (
    decoder_heads,
    llama_like_tensors,
    output_layer,
    read_llama_like,
    write_llama_like,
)
from linnet.model.families.record import (
    FULL,
    GGUF,
    SLIDING,
    Family,
    PublishedHead,
    Settings,
    Tensor,
    read_layer_types,
    written_layer_types,
)
from linnet.model.families.rope import read_rope, write_rope
from linnet.model.families.section import FIXED, HARMLESS, Section

GLOBAL_EVERY = 6  # blocks of Gemma 3, where nothing else is said
NORMS = {
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "attention_post_norm",
    "pre_feedforward_layernorm": "mlp_norm",
    "post_feedforward_layernorm": "mlp_post_norm",
}


_HARMLESS = frozenset({"hidden_act", "sliding_window_size", "_sliding_window_pattern"})
_DEFAULTS_3 = {
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "max_position_embeddings": 131_072,
    "bos_token_id": 2,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
"""What transformers takes where a Gemma 3 does not say, as the published ones do not."""


def _shared(settings: Section, *, capped: bool) -> dict[str, Any]:
    """What both generations have in common; ``capped``: whether scores are capped by default."""
    settings.require("use_bidirectional_attention", (False, None), default=False)
    return {
        "norm": "rmsnorm_offset",
        "norm_place": "both",
        "embedding_scale": settings.integer("hidden_size") ** 0.5,
        "attention_scale": settings.number("query_pre_attn_scalar", 256, above=0) ** -0.5,
        "attention_softcap": settings.number_or_none(
            "attn_logit_softcapping", 50.0 if capped else None
        ),
        "logit_softcap": settings.number_or_none(
            "final_logit_softcapping", 30.0 if capped else None
        ),
    }


def _read_2(settings: Section) -> ModelConfig:
    return read_llama_like(
        settings,
        "gemma2",
        {
            **_shared(settings, capped=True),
            **read_layer_types(settings, lambda layer: layer % 2 == 0, window=4096),
        },
        activation="geglu",
        activation_key="hidden_activation",
        head_width=256,
        kv_heads=4,
        tied=True,
    )


def _read_3(settings: Section) -> ModelConfig:
    settings.assume(_DEFAULTS_3)
    settings.require("attn_logit_softcapping", (None,))  # transformers reads and ignores it
    each = settings.integer("sliding_window_pattern", GLOBAL_EVERY)
    return read_llama_like(
        settings,
        "gemma3_text",
        {
            **_shared(settings, capped=False),
            **read_layer_types(settings, lambda layer: (layer + 1) % each != 0, window=4096),
            **_rope_3(settings),
            "qk_norm": True,
        },
        activation="geglu",
        activation_key="hidden_activation",
        head_width=256,
        kv_heads=4,
        tied=True,
    )


def _rope_3(settings: Section) -> dict[str, Any]:
    """RoPE of both kinds of blocks: the windowed ones have a base of their own."""
    both = settings.section("rope_parameters")
    local = both.section(SLIDING) if both else None
    whole = both.section(FULL) if both else None
    if (stretched := settings.section("rope_scaling")) is not None:
        stretched.assume(whole.values if whole else {})  # transformers puts one into the other
        if whole is not None:
            whole.skip(*whole.values)
        whole = stretched
    if whole is not None:
        whole.require("truncate", (True, None))  # transformers looks for it elsewhere
    found = read_rope(
        settings,
        theta=1_000_000.0,
        head_width=settings.integer("head_dim", 256),
        kinds=("linear", "yarn"),
        nested=whole or Section({}, model_type=settings.model_type),
    )
    if settings.get("original_max_position_embeddings") is not None:
        raise settings.error("original_max_position_embeddings", "belongs into rope_scaling")
    theta = settings.number("rope_local_base_freq", 10_000.0, above=0)
    if local is not None:
        local.require("rope_type", ("default", None))
        local.require("type", ("default", None))
        local.require("partial_rotary_factor", (1.0, 1, None))
        theta = local.number("rope_theta", theta, above=0)
    return {**found, "rope_local_theta": theta}


def _read_3_with_pictures(settings: Section) -> ModelConfig:
    text = settings.section("text_config", model_type="gemma3_text", harmless=HARMLESS | _HARMLESS)
    if text is None:
        raise settings.error("text_config", "is missing")
    text.require("model_type", ("gemma3_text", None))
    for key, allowed in FIXED.items():
        text.require(key, allowed)
    config = _read_3(text)
    return replace(
        config,
        tied=settings.flag("tie_word_embeddings", True),
        bos_id=settings.token_id("bos_token_id", config.bos_id),
        eos_id=settings.token_id("eos_token_id", config.eos_id),
        pad_id=settings.token_id("pad_token_id", config.pad_id),
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    assert config.attention_scale is not None
    written = write_llama_like(config)
    return written | {
        "hidden_activation": written["hidden_act"],
        "query_pre_attn_scalar": round(config.attention_scale**-2),
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.logit_softcap,
        **written_layer_types(config),
    }


def _write_3(config: ModelConfig) -> dict[str, Any]:
    rope = write_rope(config)
    whole = rope.pop("rope_parameters")
    local = {"rope_type": "default", "rope_theta": config.rope_local_theta}
    return {
        **_write(config),
        **rope,
        "rope_local_base_freq": config.rope_local_theta,
        "rope_parameters": {FULL: whole, SLIDING: local},
    }


def _tensors(config: ModelConfig) -> list[Tensor]:
    return llama_like_tensors(config, norms=NORMS)


_HARMLESS_BESIDE_PICTURES = frozenset({
    "vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index",
    "image_token_index", "boi_token_id", "eoi_token_id", "image_token_id",
})  # fmt: skip

# As transformers stores it up to release 4.51 (and the hub does), and as it calls it since.
_RENAMED = {
    "language_model.model.": "model.",
    "language_model.lm_head.": "lm_head.",
    "model.language_model.": "model.",
}


_WIDE_SCALE_DEPTH = {"gemma2": 46, "gemma3_text": 62}
"""By its blocks llama.cpp knows the 27B, whose scores have a scale of their own."""


def _from_gguf(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    wide = _WIDE_SCALE_DEPTH[common["model_type"]] == common["num_hidden_layers"]
    scale = common["hidden_size"] // common["num_attention_heads"] if wide else common["head_dim"]
    window = file.own("attention.sliding_window", common["max_position_embeddings"])
    local = file.own("rope.freq_base_swa", 0)
    return {
        **common,
        **({"rope_local_base_freq": float(local)} if local else {}),
        "rms_norm_eps": float(file.own("attention.layer_norm_rms_epsilon")),
        "sliding_window": int(window),
        "query_pre_attn_scalar": scale,
        "attn_logit_softcapping": file.own("attn_logit_softcapping", False) or None,
        "final_logit_softcapping": file.own("final_logit_softcapping", False) or None,
    }


GEMMA3 = Family(
    model_type="gemma3_text",
    reader=_read_3,
    write=_write_3,
    body=_tensors,
    heads=decoder_heads("Gemma3Text", output="Gemma3ForCausalLM", token=False),
    prefix="model.",
    gguf=GGUF(
        "gemma3",
        activations=("geglu",),
        windows=lambda layer: layer % 6 != 5,
        wide_scale_depth=_WIDE_SCALE_DEPTH["gemma3_text"],
        published=_from_gguf,
    ),
    renamed=_RENAMED,
    harmless=_HARMLESS,
)

GEMMA2 = Family(
    model_type="gemma2",
    reader=_read_2,
    write=_write,
    body=_tensors,
    heads=decoder_heads("Gemma2"),
    prefix="model.",
    gguf=GGUF(
        "gemma2",
        activations=("geglu",),
        windows=lambda layer: layer % 2 == 0,
        output="tied",
        wide_scale_depth=_WIDE_SCALE_DEPTH["gemma2"],
        published=_from_gguf,
    ),
    harmless=_HARMLESS,
)
GEMMA3_WITH_PICTURES = replace(
    GEMMA3,
    model_type="gemma3",
    reader=_read_3_with_pictures,
    heads={"output": PublishedHead(("Gemma3ForConditionalGeneration",), output_layer)},
    other_inputs=r"(model\.)?(vision_tower|multi_modal_projector)\.",
    harmless=_HARMLESS_BESIDE_PICTURES,
)
