"""GPT-NeoX (arXiv:2204.06745), Pythia: parallel parts, LayerNorm, a part of each head rotated.

Queries, keys and values are stored in one tensor, head by head.
"""

from __future__ import annotations

from typing import Any

from linnet.errors import ModelError
from linnet.model.config import MOST_LAYERS, MOST_TOKENS, ModelConfig
from linnet.model.families.llama import classifier
from linnet.model.families.record import (
    ALL_BIASES,
    GGUF,
    QKV,
    Family,
    PublishedHead,
    Settings,
    Tensor,
    both,
    one,
    read_activation,
    written_activation,
    written_token_ids,
)
from linnet.model.families.rope import read_rope, write_rope
from linnet.model.families.section import Section


def _read(settings: Section) -> ModelConfig:
    width, heads = settings.integer("hidden_size"), settings.integer("num_attention_heads")
    biased = settings.flag("attention_bias", True)
    rope = read_rope(
        settings,
        theta=10_000.0,
        head_width=width // heads,
        partial=True,
        share=0.25,
        keys=("rotary_emb_base", "rotary_pct"),
    )
    # The last releases of transformers 4 write these besides.
    share = rope["rotary_width"] / (width // heads) if rope["rotary_width"] else 1.0
    for key, value in {"rope_theta": rope["rope_theta"], "partial_rotary_factor": share}.items():
        if settings.number(key, value) != value:
            raise settings.error(key, f"must be {value:g}, as said elsewhere")
    return ModelConfig(
        family="gpt_neox",
        vocab_size=settings.integer("vocab_size"),
        context=settings.integer("max_position_embeddings", most=MOST_TOKENS),
        width=width,
        depth=settings.integer("num_hidden_layers", most=MOST_LAYERS),
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=settings.integer("intermediate_size"),
        norm="layernorm",
        norm_eps=settings.number("layer_norm_eps", 1e-5, above=0),
        activation=read_activation(settings, "hidden_act", "gelu"),
        attention_bias=biased,
        output_bias=biased,
        mlp_bias=True,
        parallel=settings.flag("use_parallel_residual", True),
        tied=settings.flag("tie_word_embeddings", False),
        dropout=settings.number("hidden_dropout", 0.0),
        bos_id=settings.token_id("bos_token_id", 0),
        eos_id=settings.token_id("eos_token_id", 2),
        pad_id=settings.token_id("pad_token_id"),
        **rope,
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    if config.head_width * config.heads != config.width:
        raise ModelError(
            f"the gpt_neox shape needs width = heads x head_width. "
            f"Got {config.width}, {config.heads} and {config.head_width}"
        )
    rope = write_rope(config, partial=True)
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_act": written_activation(config),
        "layer_norm_eps": config.norm_eps,
        "attention_bias": config.attention_bias,
        "use_parallel_residual": config.parallel,
        "hidden_dropout": config.dropout,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tied,
        "rotary_emb_base": rope["rope_theta"],
        "rotary_pct": rope["partial_rotary_factor"],
        "rope_scaling": rope["rope_scaling"],
        "rope_parameters": rope["rope_parameters"],
        **written_token_ids(config),
    }


def _body(config: ModelConfig) -> list[Tensor]:
    tensors = [one("gpt_neox.embed_in.weight", "embedding.weight")]
    for layer in range(config.depth):
        theirs, ours = f"gpt_neox.layers.{layer}.", f"blocks.{layer}."
        for kind in ("weight", "bias") if config.attention_bias else ("weight",):
            fused = tuple(f"{ours}attention.{part}.{kind}" for part in "qkv")
            tensors += [
                Tensor(
                    f"{theirs}attention.query_key_value.{kind}", fused, interleaved=config.heads
                ),
                one(f"{theirs}attention.dense.{kind}", f"{ours}attention.o.{kind}"),
            ]
        for published, own in {
            "input_layernorm": "attention_norm",
            "post_attention_layernorm": "mlp_norm",
            "mlp.dense_h_to_4h": "mlp.up",
            "mlp.dense_4h_to_h": "mlp.down",
        }.items():
            tensors += both(theirs + published, ours + own)
    return tensors + both("gpt_neox.final_layer_norm", "norm")


def _output(config: ModelConfig) -> list[Tensor]:
    return [] if config.tied else [one("embed_out.weight", "output.weight")]


def _from_gguf(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    shared = (
        "model_type", "vocab_size", "max_position_embeddings", "hidden_size",
        "num_hidden_layers", "intermediate_size", "num_attention_heads", "tie_word_embeddings",
        "attention_bias", "rope_scaling", "bos_token_id", "eos_token_id", "pad_token_id",
    )  # fmt: skip
    return {
        **{key: common[key] for key in shared},
        "layer_norm_eps": float(file.own("attention.layer_norm_epsilon")),
        "use_parallel_residual": bool(file.own("use_parallel_residual", True)),
        "rotary_emb_base": common["rope_theta"],
        "rotary_pct": int(file.own("rope.dimension_count")) / common["head_dim"],
    }


GPT_NEOX = Family(
    model_type="gpt_neox",
    reader=_read,
    write=_write,
    body=_body,
    heads={
        "output": PublishedHead(("GPTNeoXForCausalLM",), _output),
        "sequence": PublishedHead(("GPTNeoXForSequenceClassification",), classifier("score")),
        "token": PublishedHead(
            ("GPTNeoXForTokenClassification",),
            classifier("classifier", bias=True),
            {"head_bias": True},
        ),
        "none": PublishedHead(("GPTNeoXModel",)),
    },
    prefix="gpt_neox.",
    gguf=GGUF(
        "gptneox",
        activations=("gelu", "gelu_tanh"),
        fused=(QKV,),
        biases=ALL_BIASES,
        output="needed",
        settings=lambda config, state: {"gptneox.use_parallel_residual": config.parallel},
        published=_from_gguf,
    ),
    ignored=(r"\.attention\.(masked_)?bias$",),  # buffers of old releases
    harmless=frozenset({"attention_dropout"}),
)
