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

from collections.abc import Iterator
from typing import Any

from linnet.errors import ModelError
from linnet.model.config import MOST_LAYERS, MOST_TOKENS, ModelConfig
from linnet.model.families.llama import classifier
from linnet.model.families.record import (
    ALL_BIASES,
    GGUF,
    Family,
    PublishedHead,
    Tensor,
    one,
    read_activation,
    written_activation,
    written_token_ids,
)
from linnet.model.families.section import Section


def _read(settings: Section) -> ModelConfig:
    width, heads = settings.integer("hidden_size"), settings.integer("num_attention_heads")
    return ModelConfig(
        family="bert",
        vocab_size=settings.integer("vocab_size"),
        context=settings.integer("max_position_embeddings", most=MOST_TOKENS),
        width=width,
        depth=settings.integer("num_hidden_layers", most=MOST_LAYERS),
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        mlp_width=settings.integer("intermediate_size"),
        positions="learned",
        norm="layernorm",
        norm_eps=settings.number("layer_norm_eps", 1e-12, above=0),
        norm_place="post",
        activation=read_activation(settings, "hidden_act", "gelu"),
        attention_bias=True,
        output_bias=True,
        mlp_bias=True,
        token_types=settings.integer("type_vocab_size", 2),
        head="none",
        causal=False,
        tied=settings.flag("tie_word_embeddings", True),
        dropout=settings.number("hidden_dropout_prob", 0.1),
        bos_id=settings.token_id("bos_token_id"),
        eos_id=settings.token_id("eos_token_id"),
        pad_id=settings.token_id("pad_token_id", 0),
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    if config.head_width * config.heads != config.width:
        raise ModelError(
            f"the bert shape needs width = heads x head_width. "
            f"Got {config.width}, {config.heads} and {config.head_width}"
        )
    return {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.context,
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


def _tensors(config: ModelConfig) -> list[Tensor]:
    embeddings = {
        "word_embeddings.weight": "embedding.weight",
        "position_embeddings.weight": "position_embedding.weight",
        "token_type_embeddings.weight": "type_embedding.weight",
        "LayerNorm.weight": "norm.weight",
        "LayerNorm.bias": "norm.bias",
    }
    tensors = [one(f"bert.embeddings.{name}", own) for name, own in embeddings.items()]
    parts = {
        "attention.self.query": "attention.q",
        "attention.self.key": "attention.k",
        "attention.self.value": "attention.v",
        "attention.output.dense": "attention.o",
        "attention.output.LayerNorm": "attention_norm",
        "intermediate.dense": "mlp.up",
        "output.dense": "mlp.down",
        "output.LayerNorm": "mlp_norm",
    }
    for layer in range(config.depth):
        for name, own in parts.items():
            for kind in ("weight", "bias"):
                published = f"bert.encoder.layer.{layer}.{name}.{kind}"
                tensors.append(one(published, f"blocks.{layer}.{own}.{kind}"))
    return tensors


def _masked(config: ModelConfig) -> Iterator[Tensor]:
    for name, own in {"dense": "dense", "LayerNorm": "norm"}.items():
        for kind in ("weight", "bias"):
            yield one(f"cls.predictions.transform.{name}.{kind}", f"head.{own}.{kind}")
    # One bias under two names. transformers 5 adds the second where the layer is not tied.
    first, second = "cls.predictions.bias", "cls.predictions.decoder.bias"
    yield Tensor(first, ("head.bias",), aliases=(second,))
    if not config.tied:
        yield one("cls.predictions.decoder.weight", "output.weight")
        yield Tensor(second, ("head.bias",), aliases=(first,))


def _sequence(config: ModelConfig) -> list[Tensor]:
    pooler = [one(f"bert.pooler.dense.{kind}", f"head.dense.{kind}") for kind in ("weight", "bias")]
    return [*pooler, *classifier("classifier", bias=True)(config)]


_HARMLESS = frozenset({
    "attention_probs_dropout_prob", "directionality", "pooler_fc_size",
    "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type",
    "sentence_transformers",
})  # fmt: skip

BERT = Family(
    model_type="bert",
    reader=_read,
    write=_write,
    body=_tensors,
    heads={
        "masked": PublishedHead(
            ("BertForMaskedLM", "BertForPreTraining"), lambda config: list(_masked(config))
        ),
        "sequence": PublishedHead(
            ("BertForSequenceClassification",),
            _sequence,
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
    gguf=GGUF("bert", activations=("gelu", "gelu_tanh"), biases=ALL_BIASES),
    scratch={
        "positions": "learned",
        "norm": "layernorm",
        "norm_eps": 1e-12,
        "norm_place": "post",
        "activation": "gelu",
        "attention_bias": True,
        "output_bias": True,
        "mlp_bias": True,
        "token_types": 2,
        "head": "masked",
        "tied": True,
        "causal": False,
    },
    ignored=(
        r"^(bert\.)?pooler\.",
        r"^cls\.",
        r"^(classifier|qa_outputs)\.",
    ),
    harmless=_HARMLESS,
    fixed={
        "position_embedding_type": ("absolute", None),
        "is_decoder": (False, None),
    },
)
