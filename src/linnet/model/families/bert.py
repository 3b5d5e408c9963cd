"""BERT (arXiv:1810.04805): an encoder, which sees a text whole.

Learned positions, token types, LayerNorm after each sum, biases everywhere. MiniLM,
bge and e5 (the small, base and large ones in English) are this shape. ``architectures``
says what stands on the blocks: the head that guesses masked tokens
(``BertForMaskedLM``, ``BertForPreTraining``), or nothing that is used here.

What is left out: the pooler, which belongs to the task of telling whether one
sentence follows another, and the heads of other tasks. transformers draws a
pooler anew when it loads an encoder without one; the states do not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from linnet.errors import ModelError
from linnet.model.config import MOST_LAYERS, MOST_TOKENS, ModelConfig
from linnet.model.families.llama import classifier
from linnet.model.families.record import (
    ALL_BIASES,
    GGUF,
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

SHAPE: Mapping[str, Any] = {
    "positions": "learned",
    "norm": "layernorm",
    "norm_eps": 1e-12,
    "norm_place": "post",
    "attention_bias": True,
    "output_bias": True,
    "mlp_bias": True,
    "causal": False,
}
"""What all encoders of this kind have in common."""


def read_bert_like(settings: Section, **fields: Any) -> ModelConfig:
    """The shape in a ``config.json`` with BERT's names; ``fields``: what a family has otherwise."""
    width, heads = settings.integer("hidden_size"), settings.integer("num_attention_heads")
    offset = fields.get("position_offset", 0)
    found = {
        "family": settings.model_type,
        "vocab_size": settings.integer("vocab_size"),
        "context": settings.integer(
            "max_position_embeddings", least=offset + 1, most=MOST_TOKENS
        ) - offset,
        "width": width,
        "depth": settings.integer("num_hidden_layers", most=MOST_LAYERS),
        "heads": heads,
        "kv_heads": heads,
        "head_width": width // heads,
        "mlp_width": settings.integer("intermediate_size"),
        **SHAPE,
        "norm_eps": settings.number("layer_norm_eps", 1e-12, above=0),
        "head": "none",
        "tied": settings.flag("tie_word_embeddings", True),
        "dropout": settings.number("hidden_dropout_prob", 0.1),
        "bos_id": settings.token_id("bos_token_id"),
        "eos_id": settings.token_id("eos_token_id"),
        "pad_id": settings.token_id("pad_token_id", 0),
    }  # fmt: skip
    return ModelConfig(**{**found, **fields})


def _read(settings: Section) -> ModelConfig:
    return read_bert_like(
        settings,
        activation=read_activation(settings, "hidden_act", "gelu"),
        token_types=settings.integer("type_vocab_size", 2),
    )


def write_bert_like(config: ModelConfig) -> dict[str, Any]:
    """The ``config.json`` of a shape with BERT's names."""
    if config.head_width * config.heads != config.width:
        raise ModelError(
            f"the {config.family} shape needs width = heads x head_width. "
            f"Got {config.width}, {config.heads} and {config.head_width}"
        )
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context + config.position_offset,
        "hidden_size": config.width,
        "num_hidden_layers": config.depth,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp_width,
        "hidden_act": written_activation(config),
        "layer_norm_eps": config.norm_eps,
        "type_vocab_size": config.token_types,
        "position_embedding_type": "absolute",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
        "is_decoder": False,
        "tie_word_embeddings": config.tied,
        **written_token_ids(config),
    }


def encoder_tensors(
    config: ModelConfig,
    *,
    embeddings: str,
    layers: str,
    embedding_parts: Mapping[str, str],
    parts: Mapping[str, str],
) -> list[Tensor]:
    """The tensors of an encoder of BERT's shape: a matrix and a bias for each part of a block.

    ``embeddings`` and ``layers``: the beginnings of their published names.
    """
    tensors = [one(f"{embeddings}.{name}", own) for name, own in embedding_parts.items()]
    for layer in range(config.depth):
        for name, own in parts.items():
            for kind in ("weight", "bias"):
                published = f"{layers}.{layer}.{name}.{kind}"
                tensors.append(one(published, f"blocks.{layer}.{own}.{kind}"))
    return tensors


EMBEDDINGS = {
    "word_embeddings.weight": "embedding.weight",
    "position_embeddings.weight": "position_embedding.weight",
    "LayerNorm.weight": "norm.weight",
    "LayerNorm.bias": "norm.bias",
}
TYPES = {"token_type_embeddings.weight": "type_embedding.weight"}
MLP = {
    "intermediate.dense": "mlp.up",
    "output.dense": "mlp.down",
    "output.LayerNorm": "mlp_norm",
}
PARTS = {
    "attention.self.query": "attention.q",
    "attention.self.key": "attention.k",
    "attention.self.value": "attention.v",
    "attention.output.dense": "attention.o",
    "attention.output.LayerNorm": "attention_norm",
    **MLP,
}


def bert_like_tensors(prefix: str) -> Callable[[ModelConfig], list[Tensor]]:
    """The tensors of a body with BERT's names below ``prefix``."""
    return lambda config: encoder_tensors(
        config,
        embeddings=f"{prefix}embeddings",
        layers=f"{prefix}encoder.layer",
        embedding_parts={**EMBEDDINGS, **TYPES} if config.token_types else EMBEDDINGS,
        parts=PARTS,
    )


def masked_head(
    dense: str, norm: str, output: str, *, bias: str | None = None
) -> Callable[[ModelConfig], list[Tensor]]:
    """The tensors of a layer, its norm and an output layer that guess masked tokens.

    ``bias``: another name of the output layer's bias, stored beside the first.
    """

    def tensors(config: ModelConfig) -> list[Tensor]:
        kinds = ("weight", "bias") if config.norm_bias else ("weight",)
        found = [
            one(f"{name}.{kind}", f"head.{own}.{kind}")
            for name, own in ((dense, "dense"), (norm, "norm"))
            for kind in kinds
        ]
        second = f"{output}.bias"
        first = bias or second
        found.append(Tensor(first, ("head.bias",), aliases=(second,) if bias else ()))
        if not config.tied:
            found.append(one(f"{output}.weight", "output.weight"))
            if bias:  # transformers 5 adds it where the layer is not tied
                found.append(Tensor(second, ("head.bias",), aliases=(first,)))
        return found

    return tensors


def text_classifier(dense: str, output: str) -> Callable[[ModelConfig], list[Tensor]]:
    """The tensors of a classifier of texts with a layer before it."""
    return lambda config: [
        *(one(f"{dense}.{kind}", f"head.dense.{kind}") for kind in ("weight", "bias")),
        *classifier(output, bias=True)(config),
    ]


HARMLESS_IN_BERT = frozenset({
    "attention_probs_dropout_prob", "directionality", "pooler_fc_size",
    "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
    "sentence_transformers",
})  # fmt: skip


_TYPES = "token_types.weight"


def bert_from_gguf(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    """The ``config.json`` of an encoder in a GGUF file; llama.cpp's have no head."""
    dropped = ("rope_theta", "rope_scaling", "head_dim", "attention_bias", "mlp_bias")
    values = {key: value for key, value in common.items() if key not in dropped}
    heads = values.pop("num_key_value_heads")
    if heads != common["num_attention_heads"]:
        raise ModelError(f"attention.head_count_kv must be {common['num_attention_heads']}")
    return values | {
        "architectures": [],
        "layer_norm_eps": float(file.own("attention.layer_norm_epsilon")),
        "type_vocab_size": file.rows_of(_TYPES),
        "tie_word_embeddings": True,
    }


BERT = Family(
    model_type="bert",
    reader=_read,
    write=write_bert_like,
    body=bert_like_tensors("bert."),
    heads={
        "masked": PublishedHead(
            ("BertForMaskedLM", "BertForPreTraining"),
            masked_head(
                "cls.predictions.transform.dense",
                "cls.predictions.transform.LayerNorm",
                "cls.predictions.decoder",
                bias="cls.predictions.bias",
            ),
        ),
        "sequence": PublishedHead(
            ("BertForSequenceClassification",),
            text_classifier("bert.pooler.dense", "classifier"),
            {"head_activation": "tanh", "head_bias": True},
        ),
        "token": PublishedHead(
            ("BertForTokenClassification",),
            classifier("classifier", bias=True),
            {"head_bias": True},
        ),
        "none": PublishedHead(("BertModel",)),
    },
    head="none",
    prefix="bert.",
    gguf=GGUF(
        "bert",
        activations=("gelu", "gelu_tanh"),
        biases=ALL_BIASES,
        holds=lambda tensors: _TYPES in tensors,
        published=bert_from_gguf,
    ),
    scratch={**SHAPE, "activation": "gelu", "token_types": 2, "head": "masked", "tied": True},
    ignored=(
        r"^(bert\.)?pooler\.",
        r"^cls\.",
        r"^(classifier|qa_outputs)\.",
    ),
    harmless=HARMLESS_IN_BERT,
    fixed={
        "position_embedding_type": ("absolute", None),
        "is_decoder": (False, None),
    },
)
