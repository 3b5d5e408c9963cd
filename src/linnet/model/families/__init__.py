"""The model families that Linnet reads and writes, by their published ``model_type``."""

from __future__ import annotations

from linnet.errors import ModelError
from linnet.model.families.apertus import APERTUS
from linnet.model.families.arcee import ARCEE
from linnet.model.families.bert import BERT
from linnet.model.families.distilbert import DISTILBERT
from linnet.model.families.gemma import GEMMA2, GEMMA3, GEMMA3_WITH_PICTURES
from linnet.model.families.gemma1 import GEMMA1
from linnet.model.families.gpt2 import GPT2
from linnet.model.families.gpt_neox import GPT_NEOX
from linnet.model.families.granite import GRANITE
from linnet.model.families.llama import LLAMA
from linnet.model.families.mistral import MISTRAL
from linnet.model.families.modernbert import MODERNBERT
from linnet.model.families.mpnet import MPNET
from linnet.model.families.olmo2 import OLMO2
from linnet.model.families.phi import PHI
from linnet.model.families.phi3 import PHI3
from linnet.model.families.qwen import QWEN2, QWEN3
from linnet.model.families.record import Family
from linnet.model.families.roberta import ROBERTA, XLM_ROBERTA
from linnet.model.families.section import shown
from linnet.model.families.smollm3 import SMOLLM3
from linnet.model.families.stablelm import STABLELM

FAMILIES: dict[str, Family] = {
    known.model_type: known
    for known in (
        GPT2, LLAMA, MISTRAL, QWEN2, QWEN3, PHI3, GEMMA2, GEMMA3, GEMMA3_WITH_PICTURES, ARCEE,
        APERTUS, BERT, SMOLLM3, OLMO2, GRANITE, GPT_NEOX, GEMMA1, PHI, STABLELM,
        ROBERTA, XLM_ROBERTA, MPNET, DISTILBERT, MODERNBERT,
    )
}  # fmt: skip


def family(model_type: object) -> Family:
    """The table of a model type. Raises ModelError listing those that are known."""
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise ModelError(
            f"model type {shown(model_type)} is not supported; known: {', '.join(sorted(FAMILIES))}"
        )
    return FAMILIES[model_type]
