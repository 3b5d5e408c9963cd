"""The Llama shape: RoPE, RMSNorm, SwiGLU, grouped queries, no biases.

Llama 1, 2 and 3.x, TinyLlama and SmolLM2 are this family; others share its names
and differ in a detail, so they are built from the pieces here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linnet.model.config import MOST_LAYERS, MOST_TOKENS, Head, ModelConfig
from linnet.model.families.record import (
    ALL_BIASES,
    GGUF,
    Family,
    PublishedHead,
    Tensor,
    both,
    one,
    read_activation,
    written_activation,
    written_token_ids,
)
from linnet.model.families.rope import read_rope, write_rope
from linnet.model.families.section import Section

Fields = Mapping[str, Any]
NORMS = {"input_layernorm": "attention_norm", "post_attention_layernorm": "mlp_norm"}
"""The norms of a block: as published, and as ours."""


def read_llama_like(
    settings: Section,
    family: str,
    fields: Fields,
    *,
    activation: str = "swiglu",
    activation_key: str = "hidden_act",
    theta: float = 10_000.0,
    eps: float = 1e-6,
    eps_key: str = "rms_norm_eps",
    head_width: int | None = None,
    kv_heads: int | None = None,
    tied: bool = False,
) -> ModelConfig:
    """The shape in a ``config.json`` with Llama's names.

    ``fields``: what the family fixes or reads itself. The rest are its defaults for what the
    file may leave out.
    """
    if "pretraining_tp" not in settings.harmless:
        settings.require("pretraining_tp", (1, None), default=1)
    width, heads = settings.integer("hidden_size"), settings.integer("num_attention_heads")
    each = settings.integer("head_dim", head_width or width // heads)
    biased = settings.flag("attention_bias", False)
    found = {
        "vocab_size": settings.integer("vocab_size"),
        "context": settings.integer("max_position_embeddings", most=MOST_TOKENS),
        "width": width,
        "depth": settings.integer("num_hidden_layers", most=MOST_LAYERS),
        "heads": heads,
        "kv_heads": settings.integer_or_none("num_key_value_heads", kv_heads) or heads,
        "head_width": each,
        "mlp_width": settings.integer("intermediate_size"),
        "norm_eps": settings.number(eps_key, eps, above=0),
        "activation": read_activation(settings, activation_key, activation),
        "attention_bias": biased,
        "output_bias": biased,
        "mlp_bias": settings.flag("mlp_bias", False),
        "tied": settings.flag("tie_word_embeddings", tied),
        "dropout": settings.number("attention_dropout", 0.0),
        "bos_id": settings.token_id("bos_token_id"),
        "eos_id": settings.token_id("eos_token_id"),
        "pad_id": settings.token_id("pad_token_id"),
    }
    rope = {} if "rope_theta" in fields else read_rope(settings, theta=theta, head_width=each)
    return ModelConfig(family=family, **{**found, **rope, **fields})


def write_llama_like(config: ModelConfig, *, eps_key: str = "rms_norm_eps") -> dict[str, Any]:
    """The ``config.json`` of a shape with Llama's names."""
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "intermediate_size": config.mlp_width,
        "hidden_act": written_activation(config),
        eps_key: config.norm_eps,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "attention_dropout": config.dropout,
        "tie_word_embeddings": config.tied,
        **write_rope(config),
        **written_token_ids(config),
    }


def llama_like_tensors(
    config: ModelConfig,
    *,
    norms: Mapping[str, str] = NORMS,
    qk_norms: str = "norm",
    fused: bool = False,
) -> list[Tensor]:
    """The published tensors of the body.

    ``qk_norms``: what the norms of queries and keys are called behind ``q_``. ``fused``: queries,
    keys and values in one tensor, gate and up in another.
    """
    kinds = ("weight", "bias") if config.norm == "layernorm" else ("weight",)
    tensors = [one("model.embed_tokens.weight", "embedding.weight")]
    for layer in range(config.depth):
        theirs, ours = f"model.layers.{layer}.", f"blocks.{layer}."
        gate_up = ("gate", "up") if config.gated else ("up",)
        parts: list[tuple[str, tuple[str, ...], bool]] = [
            *_grouped(
                "self_attn", "attention", ("q", "k", "v"), "qkv", fused, config.attention_bias
            ),
            ("self_attn.o_proj", ("attention.o",), config.output_bias),
            *_grouped("mlp", "mlp", gate_up, "gate_up", fused, config.mlp_bias),
            ("mlp.down_proj", ("mlp.down",), config.mlp_bias),
        ]
        for name, own, biased in parts:
            for kind in ("weight", "bias") if biased else ("weight",):
                named = tuple(f"{ours}{part}.{kind}" for part in own)
                tensors.append(Tensor(f"{theirs}{name}.{kind}", named))
        if config.qk_norm:
            for part, heads in (("q", config.heads), ("k", config.kv_heads)):
                names = f"{theirs}self_attn.{part}_{qk_norms}", f"{ours}attention.{part}_norm"
                tensors += _head_norms(config, *names, heads)
        tensors += [
            one(f"{theirs}{published}.{kind}", f"{ours}{own_norm}.{kind}")
            for published, own_norm in norms.items()
            for kind in kinds
        ]
    tensors += [one(f"model.norm.{kind}", f"norm.{kind}") for kind in kinds]
    return tensors


def _head_norms(config: ModelConfig, theirs: str, ours: str, heads: int) -> list[Tensor]:
    """What normalises queries or keys: one for all heads, or one for each."""
    if config.qk_norm_kind == "each":
        return [one(f"{theirs}.norms.{n}.weight", f"{ours}.{n}.weight") for n in range(heads)]
    biased = config.norm == "layernorm" and config.qk_norm_kind == "shared"
    return both(theirs, ours) if biased else [one(f"{theirs}.weight", f"{ours}.weight")]


def output_layer(config: ModelConfig) -> list[Tensor]:
    """The output layer, where it is not the table of tokens."""
    if config.tied:
        return []
    output = both("lm_head", "output")
    return output if config.logit_bias else output[:1]


def classifier(name: str, *, bias: bool = False) -> Callable[[ModelConfig], list[Tensor]]:
    """The tensors of a classifier of one layer."""
    kinds = ("weight", "bias") if bias else ("weight",)
    return lambda config: [one(f"{name}.{kind}", f"head.output.{kind}") for kind in kinds]


def decoder_heads(
    stem: str,
    *,
    output: str = "",
    base: str = "",
    sequence: bool = True,
    token: bool = True,
) -> dict[Head, PublishedHead]:
    """The heads of transformers' generic classes: ``StemForCausalLM`` and the others.

    ``output`` and ``base``: those two classes, if they are called otherwise. ``sequence`` and
    ``token``: whether transformers has the classifiers.
    """
    heads: dict[Head, PublishedHead] = {
        "output": PublishedHead((output or f"{stem}ForCausalLM",), output_layer),
        "none": PublishedHead((base or f"{stem}Model",)),
    }
    if sequence:
        named = (f"{stem}ForSequenceClassification",)
        heads["sequence"] = PublishedHead(named, classifier("score"))
    if token:
        named = (f"{stem}ForTokenClassification",)
        heads["token"] = PublishedHead(named, classifier("score", bias=True), {"head_bias": True})
    return heads


def _grouped(
    theirs: str, ours: str, parts: tuple[str, ...], joined: str, fused: bool, biased: bool
) -> list[tuple[str, tuple[str, ...], bool]]:
    """Published name, own names, has a bias: of projections stored together or apart."""
    if fused:
        return [(f"{theirs}.{joined}_proj", tuple(f"{ours}.{part}" for part in parts), biased)]
    return [(f"{theirs}.{part}_proj", (f"{ours}.{part}",), biased) for part in parts]


def llama_like(
    family: str,
    stem: str,
    *,
    gguf: GGUF | None,
    heads: Mapping[Head, PublishedHead] | None = None,
    scratch: Mapping[str, Any] | None = None,
    fields: Callable[[Section], Fields] = lambda settings: {},
    written: Callable[[ModelConfig], dict[str, Any]] = lambda config: {},
    activation: str = "swiglu",
    theta: float = 10_000.0,
    eps: float = 1e-6,
    eps_key: str = "rms_norm_eps",
    head_width: int | None = None,
    kv_heads: int | None = None,
    tied: bool = False,
    body: Callable[[ModelConfig], list[Tensor]] = llama_like_tensors,
    constants: Callable[[ModelConfig], dict[str, float]] = lambda config: {},
    harmless: frozenset[str] = frozenset(),
    fixed: Mapping[str, tuple[Any, ...]] | None = None,
) -> Family:
    """The record of a family with Llama's names.

    ``stem``: what its classes in transformers begin with. ``fields`` and ``written``: what it
    reads and writes besides.
    """
    return Family(
        model_type=family,
        reader=lambda settings: read_llama_like(
            settings,
            family,
            fields(settings),
            activation=activation,
            theta=theta,
            eps=eps,
            eps_key=eps_key,
            head_width=head_width,
            kv_heads=kv_heads,
            tied=tied,
        ),
        write=lambda config: {
            **write_llama_like(config, eps_key=eps_key),
            **written(config),
        },
        body=body,
        heads=heads or decoder_heads(stem),
        prefix="model.",
        gguf=gguf,
        scratch=scratch,
        constants=constants,
        harmless=harmless,
        fixed=fixed or {},
    )


LLAMA = llama_like(
    "llama",
    "Llama",
    gguf=GGUF("llama", pairs=True, biases=ALL_BIASES),
    scratch={"activation": "swiglu"},
    harmless=frozenset({"is_llama_config", "max_sequence_length"}),
    # As SmolLM2 and Falcon 3 say it.
    fixed={"rope_interleaved": (False, None), "activation": ("swiglu", None)},
)
