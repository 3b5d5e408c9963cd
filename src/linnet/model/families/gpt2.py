"""The GPT-2 shape: learned positions, LayerNorm, GELU, biases, dropout.

Its projections are stored (in, out), queries, keys and values in one tensor.
"""

from __future__ import annotations

from typing import Any

from linnet.errors import ModelError
from linnet.model.config import MOST_LAYERS, MOST_TOKENS, ModelConfig
from linnet.model.families.llama import classifier, output_layer
from linnet.model.families.record import (
    ALL_BIASES,
    GGUF,
    QKV,
    Family,
    PublishedHead,
    Settings,
    Tensor,
    one,
    read_activation,
    written_activation,
    written_token_ids,
)
from linnet.model.families.section import Section


def _read(settings: Section) -> ModelConfig:
    width, heads = settings.integer("n_embd"), settings.integer("n_head")
    return ModelConfig(
        family="gpt2",
        vocab_size=settings.integer("vocab_size"),
        context=settings.integer("n_positions", most=MOST_TOKENS),
        width=width,
        depth=settings.integer("n_layer", most=MOST_LAYERS),
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=settings.integer("n_inner", 4 * width),
        positions="learned",
        norm="layernorm",
        norm_eps=settings.number("layer_norm_epsilon", 1e-5, above=0),
        activation=read_activation(settings, "activation_function", "gelu_tanh"),
        attention_bias=True,
        output_bias=True,
        mlp_bias=True,
        tied=settings.flag("tie_word_embeddings", True),
        dropout=settings.number("resid_pdrop", 0.1),
        bos_id=settings.token_id("bos_token_id"),
        eos_id=settings.token_id("eos_token_id"),
        pad_id=settings.token_id("pad_token_id"),
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    if config.head_width * config.heads != config.width:
        raise ModelError(
            f"the gpt2 shape needs width = heads x head_width. "
            f"Got {config.width}, {config.heads} and {config.head_width}"
        )
    return {
        "vocab_size": config.vocab_size,
        "n_positions": config.context,
        "n_ctx": config.context,
        "n_embd": config.width,
        "n_layer": config.depth,
        "n_head": config.heads,
        "n_inner": config.mlp_width,
        "activation_function": written_activation(config),
        "layer_norm_epsilon": config.norm_eps,
        "resid_pdrop": config.dropout,
        "embd_pdrop": config.dropout,
        "attn_pdrop": config.dropout,
        "tie_word_embeddings": config.tied,
        **written_token_ids(config),
    }


def _tensors(config: ModelConfig) -> list[Tensor]:
    tensors = [
        one("transformer.wte.weight", "embedding.weight"),
        one("transformer.wpe.weight", "position_embedding.weight"),
    ]
    for layer in range(config.depth):
        theirs, ours = f"transformer.h.{layer}.", f"blocks.{layer}."
        for kind in ("weight", "bias"):
            flipped = kind == "weight"
            fused = tuple(f"{ours}attention.{part}.{kind}" for part in "qkv")
            tensors += [
                one(f"{theirs}ln_1.{kind}", f"{ours}attention_norm.{kind}"),
                Tensor(f"{theirs}attn.c_attn.{kind}", fused, flipped),
                Tensor(f"{theirs}attn.c_proj.{kind}", (f"{ours}attention.o.{kind}",), flipped),
                one(f"{theirs}ln_2.{kind}", f"{ours}mlp_norm.{kind}"),
                Tensor(f"{theirs}mlp.c_fc.{kind}", (f"{ours}mlp.up.{kind}",), flipped),
                Tensor(f"{theirs}mlp.c_proj.{kind}", (f"{ours}mlp.down.{kind}",), flipped),
            ]
    tensors += [one(f"transformer.ln_f.{kind}", f"norm.{kind}") for kind in ("weight", "bias")]
    return tensors


def _from_gguf(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    shared = (
        "model_type", "vocab_size", "tie_word_embeddings", "bos_token_id", "eos_token_id",
        "pad_token_id",
    )  # fmt: skip
    return {
        **{key: common[key] for key in shared},
        "n_embd": common["hidden_size"],
        "n_layer": common["num_hidden_layers"],
        "n_head": common["num_attention_heads"],
        "n_positions": common["max_position_embeddings"],
        "n_inner": common["intermediate_size"],
        "layer_norm_epsilon": float(file.own("attention.layer_norm_epsilon")),
    }


_HARMLESS = frozenset({
    "n_ctx", "attn_pdrop", "embd_pdrop", "reorder_and_upcast_attn", "predict_special_tokens",
    "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
    "summary_first_dropout",
})  # fmt: skip

GPT2 = Family(
    model_type="gpt2",
    reader=_read,
    write=_write,
    body=_tensors,
    heads={
        "output": PublishedHead(("GPT2LMHeadModel",), output_layer),
        "sequence": PublishedHead(("GPT2ForSequenceClassification",), classifier("score")),
        "token": PublishedHead(
            ("GPT2ForTokenClassification",),
            classifier("classifier", bias=True),
            {"head_bias": True},
        ),
        "none": PublishedHead(("GPT2Model",)),
    },
    prefix="transformer.",
    gguf=GGUF(
        "gpt2",
        activations=("gelu_tanh",),
        fused=(QKV,),
        biases=ALL_BIASES,
        published=_from_gguf,
    ),
    scratch={
        "positions": "learned",
        "norm": "layernorm",
        "norm_eps": 1e-5,
        "activation": "gelu_tanh",
        "attention_bias": True,
        "output_bias": True,
        "mlp_bias": True,
    },
    harmless=_HARMLESS,
    fixed={
        "scale_attn_weights": (True, None),
        "scale_attn_by_inverse_layer_idx": (False, None),
    },
)
