"""ModernBERT (arXiv:2412.13663): an encoder with RoPE, a gated MLP and no biases.

Two of three blocks see only the tokens near each, and turn RoPE faster. The embeddings are
normalised, so the first block has no norm before its attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linnet.errors import ModelError
from linnet.model.config import MOST_LAYERS, MOST_TOKENS, ModelConfig
from linnet.model.families.bert import masked_head
from linnet.model.families.record import (
    FULL,
    GATE_UP,
    GGUF,
    QKV,
    SLIDING,
    Family,
    PublishedHead,
    Settings,
    Tensor,
    both,
    one,
    read_layer_types,
    written_layer_types,
    written_token_ids,
)
from linnet.model.families.section import Section

_EVERY = 3  # blocks one sees the whole text, where nothing else is said
_LOCAL = 128  # tokens of a window, half of them ahead
_THETA = {FULL: 160_000.0, SLIDING: 10_000.0}


def _read(settings: Section) -> ModelConfig:
    width, heads = settings.integer("hidden_size"), settings.integer("num_attention_heads")
    settings.require("hidden_activation", ("gelu",), default="gelu")
    for key, usual in (("norm_bias", False), ("attention_bias", False), ("mlp_bias", False)):
        settings.require(key, (usual,), default=usual)
    every = settings.integer("global_attn_every_n_layers", _EVERY)
    local = settings.integer("local_attention", _LOCAL, least=2)
    settings.assume({"sliding_window": local // 2 + 1})
    windows = read_layer_types(settings, lambda layer: layer % every != 0, window=local)
    return ModelConfig(
        family="modernbert",
        vocab_size=settings.integer("vocab_size"),
        context=settings.integer("max_position_embeddings", 8192, most=MOST_TOKENS),
        width=width,
        depth=settings.integer("num_hidden_layers", most=MOST_LAYERS),
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=settings.integer("intermediate_size"),
        **_read_thetas(settings),
        norm="layernorm",
        norm_eps=settings.number("norm_eps", 1e-5, above=0),
        norm_bias=False,
        embedding_norm=True,
        activation="geglu_exact",
        **windows,
        head="none",
        causal=False,
        tied=settings.flag("tie_word_embeddings", True),
        dropout=settings.number("attention_dropout", 0.0),
        head_pooling=settings.require("classifier_pooling", ("cls", "mean"), default="cls"),
        bos_id=settings.token_id("bos_token_id", 50281),
        eos_id=settings.token_id("eos_token_id", 50282),
        pad_id=settings.token_id("pad_token_id", 50283),
    )


def _read_thetas(settings: Section) -> dict[str, Any]:
    """The bases of RoPE, as transformers 4 or 5 has them; neither stretches it."""
    settings.require("rope_scaling", (None,))
    found = {
        FULL: settings.number("global_rope_theta", _THETA[FULL], above=0),
        SLIDING: settings.number("local_rope_theta", _THETA[SLIDING], above=0),
    }
    both = settings.section("rope_parameters")
    for kind in found:
        own = both.section(kind) if both is not None else None
        if own is not None:
            own.require("rope_type", ("default", None))
            found[kind] = own.number("rope_theta", found[kind], above=0)
    return {"rope_theta": found[FULL], "rope_local_theta": found[SLIDING]}


def _write(config: ModelConfig) -> dict[str, Any]:
    if config.head_width * config.heads != config.width:
        raise ModelError(
            f"the modernbert shape needs width = heads x head_width. "
            f"Got {config.width}, {config.heads} and {config.head_width}"
        )
    local = config.rope_local_theta or config.rope_theta
    types = written_layer_types(config)
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_activation": "gelu",
        "norm_eps": config.norm_eps,
        "norm_bias": False,
        "attention_bias": False,
        "mlp_bias": False,
        "decoder_bias": True,
        "classifier_bias": False,
        "classifier_activation": "gelu",
        "classifier_pooling": config.head_pooling,
        "attention_dropout": config.dropout,
        "local_attention": _LOCAL if config.window is None else 2 * (config.window - 1),
        "layer_types": types["layer_types"],
        "global_rope_theta": config.rope_theta,
        "local_rope_theta": local,
        "rope_parameters": {
            FULL: {"rope_type": "default", "rope_theta": config.rope_theta},
            SLIDING: {"rope_type": "default", "rope_theta": local},
        },
        "tie_word_embeddings": config.tied,
        **written_token_ids(config),
    }


def _tensors(config: ModelConfig) -> list[Tensor]:
    tensors = [
        one("model.embeddings.tok_embeddings.weight", "embedding.weight"),
        one("model.embeddings.norm.weight", "embedding_norm.weight"),
    ]
    parts = {
        "attn_norm": ("attention_norm",),
        "attn.Wqkv": ("attention.q", "attention.k", "attention.v"),
        "attn.Wo": ("attention.o",),
        "mlp_norm": ("mlp_norm",),
        "mlp.Wi": ("mlp.gate", "mlp.up"),
        "mlp.Wo": ("mlp.down",),
    }
    for layer in range(config.depth):
        for name, own in parts.items():
            if layer or name != "attn_norm":
                named = tuple(f"blocks.{layer}.{part}.weight" for part in own)
                tensors.append(Tensor(f"model.layers.{layer}.{name}.weight", named))
    return [*tensors, one("model.final_norm.weight", "norm.weight")]


def _gguf_settings(config: ModelConfig, state: Mapping[str, Any]) -> dict[str, Any]:
    local = _LOCAL if config.window is None else 2 * (config.window - 1)
    return {
        "modern-bert.attention.sliding_window": local,
        "modern-bert.attention.sliding_window_pattern": _EVERY,
    }


def _from_gguf(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    shared = (
        "model_type", "vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers",
        "intermediate_size", "num_attention_heads", "bos_token_id", "eos_token_id", "pad_token_id",
    )  # fmt: skip
    return {key: common[key] for key in shared} | {
        "architectures": [],
        "norm_eps": float(file.own("attention.layer_norm_epsilon")),
        "global_rope_theta": common["rope_theta"],
        "local_rope_theta": float(file.own("rope.freq_base_swa", common["rope_theta"])),
        "local_attention": int(file.own("attention.sliding_window")),
        "global_attn_every_n_layers": int(file.own("attention.sliding_window_pattern", _EVERY)),
        "rope_scaling": common["rope_scaling"],
    }


_HEAD = {"head_activation": "gelu", "head_norm": True, "head_bias": True}


def _classifier(config: ModelConfig) -> list[Tensor]:
    return [
        one("head.dense.weight", "head.dense.weight"),
        one("head.norm.weight", "head.norm.weight"),
        *both("classifier", "head.output"),
    ]


MODERNBERT = Family(
    model_type="modernbert",
    reader=_read,
    write=_write,
    body=_tensors,
    heads={
        "masked": PublishedHead(
            ("ModernBertForMaskedLM",), masked_head("head.dense", "head.norm", "decoder")
        ),
        "sequence": PublishedHead(("ModernBertForSequenceClassification",), _classifier, _HEAD),
        "token": PublishedHead(("ModernBertForTokenClassification",), _classifier, _HEAD),
        "none": PublishedHead(("ModernBertModel",)),
    },
    head="none",
    prefix="model.",
    gguf=GGUF(
        "modern-bert",
        activations=("geglu_exact",),
        fused=(QKV, GATE_UP),
        windows=lambda layer: layer % _EVERY != 0,
        settings=_gguf_settings,
        published=_from_gguf,
    ),
    ignored=(r"^(head|decoder|classifier|qa_outputs)\.",),
    harmless=frozenset({
        "initializer_cutoff_factor", "embedding_dropout", "mlp_dropout",
        "deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index",
        "reference_compile", "repad_logits_with_grad", "position_embedding_type",
        "layer_norm_eps",
    }),
    fixed={
        "decoder_bias": (True, None),
        "classifier_bias": (False, None),
        "classifier_activation": ("gelu", None),
    },
)  # fmt: skip
