"""Tokenizers shaped like those of published chat models, with the templates they publish.

Small vocabularies of the same construction (normalizer, pre-tokenizer, kinds of added tokens); only
the tokens that the templates write have their real names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, normalizers

TEMPLATES = Path(__file__).parent / "templates"

SENTENCEPIECE, BYTE_LEVEL = "sentencepiece", "byte-level"


@dataclass(frozen=True)
class Family:
    """A published chat format."""

    template: str
    base: str
    special: tuple[str, ...]
    ordinary: tuple[str, ...] = ()
    rstrip: bool = False
    bos: str | None = None
    eos: str = "<|im_end|>"
    pad: str | None = None
    end_of_turn: str | None = None  # where it is not eos
    system: bool = True


CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
SENTENCES = ("<unk>", "<s>", "</s>")
PHI3 = ("<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>")
LLAMA3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
TOOLS = ("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]")
MISTRAL = ("[INST]", "[/INST]", *TOOLS, "[/TOOL_RESULTS]")
GEMMA = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>")
THOUGHTS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>")

FAMILIES = {
    "chatml": Family("chatml", BYTE_LEVEL, CHATML),
    "generation": Family("generation", BYTE_LEVEL, CHATML),
    "llama2": Family("llama2", SENTENCEPIECE, SENTENCES, bos="<s>", eos="</s>"),
    "llama3": Family("llama3", BYTE_LEVEL, LLAMA3, bos="<|begin_of_text|>", eos="<|eot_id|>"),
    "zephyr": Family("zephyr", SENTENCEPIECE, SENTENCES, bos="<s>", eos="</s>", pad="</s>"),
    "smollm2": Family("smollm2", BYTE_LEVEL, CHATML, bos="<|im_start|>", pad="<|im_end|>"),
    "mistral_v1": Family(
        "mistral_v1", SENTENCEPIECE, SENTENCES, bos="<s>", eos="</s>", system=False
    ),
    "mistral_v3": Family(
        "mistral_v3", SENTENCEPIECE, (*SENTENCES, *MISTRAL), bos="<s>", eos="</s>"
    ),
    "mistral_nemo": Family(
        "mistral_nemo", BYTE_LEVEL, (*SENTENCES, *MISTRAL), bos="<s>", eos="</s>"
    ),
    "qwen25": Family("qwen25", BYTE_LEVEL, CHATML, THOUGHTS[:2], pad="<|endoftext|>"),
    "qwen3": Family("qwen3", BYTE_LEVEL, CHATML, (*THOUGHTS, "</think>"), pad="<|endoftext|>"),
    "phi3": Family(
        "phi3",
        SENTENCEPIECE,
        (*SENTENCES, *PHI3),
        rstrip=True,
        bos="<s>",
        eos="<|endoftext|>",
        pad="<|endoftext|>",
        end_of_turn="<|end|>",
    ),
    "phi35": Family(
        "phi35",
        SENTENCEPIECE,
        (*SENTENCES, *PHI3),
        rstrip=True,
        bos="<s>",
        eos="<|endoftext|>",
        end_of_turn="<|end|>",
    ),
    "phi4_mini": Family(
        "phi4_mini",
        BYTE_LEVEL,
        (*PHI3, "<|tool|>", "<|/tool|>"),
        eos="<|endoftext|>",
        end_of_turn="<|end|>",
    ),
    "gemma2": Family(
        "gemma2",
        SENTENCEPIECE,
        GEMMA,
        ("\n\n", "\n\n\n"),
        bos="<bos>",
        eos="<eos>",
        end_of_turn="<end_of_turn>",
        system=False,
    ),
    "gemma3": Family(
        "gemma3",
        SENTENCEPIECE,
        GEMMA,
        ("\n\n", "\n\n\n"),
        bos="<bos>",
        eos="<eos>",
        end_of_turn="<end_of_turn>",
    ),
}


def write(name: str, bases: dict[str, str], directory: Path) -> Path:
    """Write the tokenizer of a family. ``bases``: tokenizers as JSON by construction."""
    family = FAMILIES[name]
    backend = tokenizers.Tokenizer.from_str(bases[family.base])
    if name.startswith("qwen"):
        backend.normalizer = normalizers.NFC()
    if name.startswith("gemma"):
        backend.normalizer = normalizers.Replace(" ", "\u2581")
    backend.add_special_tokens(
        [
            AddedToken(token, normalized=False, rstrip=family.rstrip and token in PHI3[1:])
            for token in family.special
        ]
    )
    backend.add_tokens([AddedToken(token, normalized=False) for token in family.ordinary])
    directory.mkdir(parents=True)
    backend.save(str(directory / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": family.bos,
        "eos_token": family.eos,
        "pad_token": family.pad,
        "chat_template": (TEMPLATES / f"{family.template}.jinja").read_text(),
        "clean_up_tokenization_spaces": False,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
    return directory
