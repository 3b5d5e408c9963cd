"""RoBERTa (arXiv:1907.11692) and XLM-R (arXiv:1911.02116): BERT with another head.

The table of positions has rows for padding first, so a text begins at the row after the
padding token's number. multilingual-e5 and bge-m3 are XLM-R.
"""

from __future__ import annotations

from typing import Any

from linnet.model.config import Head, ModelConfig
from linnet.model.families.bert import (
    HARMLESS_IN_BERT,
    bert_like_tensors,
    masked_head,
    read_bert_like,
    text_classifier,
    write_bert_like,
)
from linnet.model.families.llama import classifier
from linnet.model.families.record import ALL_BIASES, GGUF, Family, PublishedHead
from linnet.model.families.section import Section


def _read(settings: Section) -> ModelConfig:
    settings.require("hidden_act", ("gelu",), default="gelu")  # the head has no other
    pad = settings.token_id("pad_token_id", 1)
    if pad is None:
        raise settings.error("pad_token_id", "must say where positions begin")
    return read_bert_like(
        settings,
        activation="gelu",
        token_types=settings.integer("type_vocab_size", 2),
        position_offset=pad + 1,
        pad_id=pad,
    )


def _write(config: ModelConfig) -> dict[str, Any]:
    return write_bert_like(config) | {"pad_token_id": config.position_offset - 1}


def roberta_heads(stem: str) -> dict[Head, PublishedHead]:
    """The heads of ``StemForMaskedLM`` and the others, as RoBERTa stores them."""
    return {
        "masked": PublishedHead(
            (f"{stem}ForMaskedLM",),
            masked_head(
                "lm_head.dense", "lm_head.layer_norm", "lm_head.decoder", bias="lm_head.bias"
            ),
        ),
        "sequence": PublishedHead(
            (f"{stem}ForSequenceClassification",),
            text_classifier("classifier.dense", "classifier.out_proj"),
            {"head_activation": "tanh", "head_bias": True},
        ),
        "token": PublishedHead(
            (f"{stem}ForTokenClassification",),
            classifier("classifier", bias=True),
            {"head_bias": True},
        ),
        "none": PublishedHead((f"{stem}Model",)),
    }


IGNORED = (r"^(\w+\.)?pooler\.", r"^(lm_head|classifier|qa_outputs)\.", r"position_ids$")


def _family(model_type: str, stem: str) -> Family:
    return Family(
        model_type=model_type,
        reader=_read,
        write=_write,
        body=bert_like_tensors("roberta."),
        heads=roberta_heads(stem),
        head="none",
        prefix="roberta.",
        # Without the rows for padding its table of positions is BERT's, and so it is read back.
        gguf=GGUF("bert", activations=("gelu",), biases=ALL_BIASES, holds=lambda tensors: False),
        ignored=IGNORED,
        harmless=HARMLESS_IN_BERT,
        fixed={"position_embedding_type": ("absolute", None), "is_decoder": (False, None)},
    )


ROBERTA = _family("roberta", "Roberta")
XLM_ROBERTA = _family("xlm-roberta", "XLMRoberta")
