"""MPNet (arXiv:2004.09297): BERT whose scores also depend on the distance of two tokens.

all-mpnet-base-v2 and other models of sentence-transformers are this shape.
"""

from __future__ import annotations

from typing import Any

from linnet.model.config import ModelConfig
from linnet.model.families.bert import (
    EMBEDDINGS,
    HARMLESS_IN_BERT,
    MLP,
    encoder_tensors,
    read_bert_like,
    write_bert_like,
)
from linnet.model.families.record import Family, Tensor, one
from linnet.model.families.roberta import IGNORED, roberta_heads
from linnet.model.families.section import Section

_PAD = 1  # as transformers has it, whatever the configuration says
_BUCKETS = 32  # likewise
_PARTS = {
    "attention.attn.q": "attention.q",
    "attention.attn.k": "attention.k",
    "attention.attn.v": "attention.v",
    "attention.attn.o": "attention.o",
    "attention.LayerNorm": "attention_norm",
    **MLP,
}


def _read(settings: Section) -> ModelConfig:
    settings.require("hidden_act", ("gelu",), default="gelu")  # the head has no other
    settings.require("relative_attention_num_buckets", (_BUCKETS,), default=_BUCKETS)
    return read_bert_like(
        settings,
        activation="gelu",
        position_offset=_PAD + 1,
        distance_buckets=_BUCKETS,
        pad_id=settings.token_id("pad_token_id", _PAD),
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    written = write_bert_like(config)
    for key in ("type_vocab_size", "position_embedding_type", "is_decoder"):
        del written[key]
    return written | {"relative_attention_num_buckets": config.distance_buckets}


def _tensors(config: ModelConfig) -> list[Tensor]:
    body = encoder_tensors(
        config,
        embeddings="mpnet.embeddings",
        layers="mpnet.encoder.layer",
        embedding_parts=EMBEDDINGS,
        parts=_PARTS,
    )
    bias = "mpnet.encoder.relative_attention_bias.weight"
    return [*body, one(bias, "distance_embedding.weight")]


MPNET = Family(
    model_type="mpnet",
    reader=_read,
    write=_write,
    body=_tensors,
    heads=roberta_heads("MPNet"),
    head="none",
    prefix="mpnet.",
    ignored=IGNORED,
    harmless=HARMLESS_IN_BERT,
)
