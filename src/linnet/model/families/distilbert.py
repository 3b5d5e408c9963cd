"""DistilBERT (arXiv:1910.01108): BERT with half the blocks and without token types."""

from __future__ import annotations

from typing import Any

from linnet.errors import ModelError
from linnet.model.config import ModelConfig
from linnet.model.families.bert import (
    EMBEDDINGS,
    bert_from_gguf,
    encoder_tensors,
    masked_head,
    read_bert_like,
    text_classifier,
    write_bert_like,
)
from linnet.model.families.llama import classifier
from linnet.model.families.record import (
    ALL_BIASES,
    GGUF,
    Family,
    PublishedHead,
    Settings,
    Tensor,
    read_activation,
)
from linnet.model.families.section import Section

_NAMES = {
    "hidden_size": "dim",
    "num_attention_heads": "n_heads",
    "num_hidden_layers": "n_layers",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
}
"""BERT's settings, and what they are called here."""
_PARTS = {
    "attention.q_lin": "attention.q",
    "attention.k_lin": "attention.k",
    "attention.v_lin": "attention.v",
    "attention.out_lin": "attention.o",
    "sa_layer_norm": "attention_norm",
    "ffn.lin1": "mlp.up",
    "ffn.lin2": "mlp.down",
    "output_layer_norm": "mlp_norm",
}
_EPS = 1e-12  # in all norms, and no setting


def _read(settings: Section) -> ModelConfig:
    settings.assume({
        name: settings.values[own] for name, own in _NAMES.items() if own in settings.values
    })  # fmt: skip
    settings.skip(*_NAMES.values())
    return read_bert_like(
        settings, activation=read_activation(settings, "hidden_act", "gelu"), norm_eps=_EPS
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    written = write_bert_like(config)
    for key in ("type_vocab_size", "position_embedding_type", "is_decoder", "layer_norm_eps"):
        del written[key]
    return {_NAMES.get(key, key): value for key, value in written.items()}


def _tensors(config: ModelConfig) -> list[Tensor]:
    return encoder_tensors(
        config,
        embeddings="distilbert.embeddings",
        layers="distilbert.transformer.layer",
        embedding_parts=EMBEDDINGS,
        parts=_PARTS,
    )


def _from_gguf(common: dict[str, Any], file: Settings) -> dict[str, Any]:
    values = bert_from_gguf(common, file)
    if values.pop("layer_norm_eps") != _EPS:
        raise ModelError(f"attention.layer_norm_epsilon must be {_EPS:g} without token types")
    del values["type_vocab_size"]
    return {_NAMES.get(key, key): value for key, value in values.items()}


DISTILBERT = Family(
    model_type="distilbert",
    reader=_read,
    write=_write,
    body=_tensors,
    heads={
        "masked": PublishedHead(
            ("DistilBertForMaskedLM",),
            masked_head("vocab_transform", "vocab_layer_norm", "vocab_projector"),
        ),
        "sequence": PublishedHead(
            ("DistilBertForSequenceClassification",),
            text_classifier("pre_classifier", "classifier"),
            {"head_activation": "relu", "head_bias": True},
        ),
        "token": PublishedHead(
            ("DistilBertForTokenClassification",),
            classifier("classifier", bias=True),
            {"head_bias": True},
        ),
        "none": PublishedHead(("DistilBertModel",)),
    },
    head="none",
    prefix="distilbert.",
    gguf=GGUF(
        "bert",
        activations=("gelu", "gelu_tanh"),
        biases=ALL_BIASES,
        holds=lambda tensors: "token_types.weight" not in tensors,
        published=_from_gguf,
    ),
    ignored=(r"^vocab_\w+\.", r"^(pre_classifier|classifier|qa_outputs)\.", r"position_ids$"),
    harmless=frozenset({
        "sinusoidal_pos_embds", "qa_dropout", "seq_classif_dropout", "tie_weights_",
        "attention_probs_dropout_prob",
    }),
)  # fmt: skip
