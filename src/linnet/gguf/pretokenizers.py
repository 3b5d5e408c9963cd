"""llama.cpp's pre-tokenizers: what each tag stands for in a ``tokenizer.json``, both ways.

A new tag is one line in the table: the patterns that cut text, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linnet.errors import ModelError
from linnet.tokenizer.definition import (
    GPT2_PATTERN,
    GPT4O_PATTERN,
    LLAMA3_PATTERN,
    QWEN2_PATTERN,
    QWEN35_PATTERN,
    TEKKEN_PATTERN,
)

_DIGITS = "each digit"

# By the patterns and whether a word that is a token is taken whole (``ignore_merges``).
TAGS: dict[tuple[tuple[str, ...], bool], str] = {
    ((GPT2_PATTERN,), False): "gpt-2",
    ((_DIGITS, GPT2_PATTERN), False): "smollm",
    ((QWEN2_PATTERN,), False): "qwen2",
    ((QWEN35_PATTERN,), False): "qwen35",
    ((LLAMA3_PATTERN,), True): "llama-bpe",
    ((LLAMA3_PATTERN,), False): "dbrx",
    ((TEKKEN_PATTERN,), True): "tekken",
    ((GPT4O_PATTERN,), False): "gpt-4o",
}

# Other tags of the same patterns in llama.cpp, by the families that are known here.
_ALSO = {
    "phi-2": "gpt-2", "mpt": "gpt-2", "olmo": "gpt-2", "modern-bert": "gpt-2",
    "roberta-bpe": "gpt-2", "starcoder": "smollm", "refact": "smollm", "command-r": "smollm",
    "deepseek-r1-qwen": "qwen2", "stablelm2": "qwen2", "megrez": "qwen2", "llama3": "llama-bpe",
    "llama-v3": "llama-bpe", "falcon3": "llama-bpe", "smaug-bpe": "dbrx", "llama4": "gpt-4o",
}  # fmt: skip
# Whose publishers compose Unicode first, which llama.cpp leaves out.
_COMPOSING = frozenset(("qwen2", "qwen35", "olmo", "modern-bert", "command-r", "deepseek-r1-qwen"))
_BEGINNING = frozenset(("llama-bpe", "tekken", "roberta-bpe"))


@dataclass(frozen=True)
class PreTokenizer:
    """What a tag of llama.cpp's stands for."""

    step: dict[str, Any]
    """Of a ``tokenizer.json``."""
    ignore_merges: bool
    composes: bool
    """Whether text is composed (NFC) first, where the file does not say."""
    begins: bool
    """Whether a text begins with a token of its own, where the file does not say."""


def named(tag: str) -> PreTokenizer:
    """The pre-tokenizer of a tag. Raises ModelError for one that is not known here."""
    same = _ALSO.get(tag, tag)
    known = {found: key for key, found in TAGS.items()}
    if same not in known:
        raise ModelError(
            f"the pre-tokenizer {tag[:60]!r} is not known here; known: "
            f"{', '.join(sorted({*known, *_ALSO}))}"
        )
    patterns, ignore_merges = known[same]
    steps = [_step(pattern) for pattern in patterns]
    if patterns[-1] != GPT2_PATTERN:  # which is ByteLevel's own
        steps.append({**BYTES, "use_regex": False})
    step = steps[0] if len(steps) == 1 else {"type": "Sequence", "pretokenizers": steps}
    return PreTokenizer(step, ignore_merges, tag in _COMPOSING, {tag, same} & _BEGINNING != set())


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _step(pattern: str) -> dict[str, Any]:
    if pattern == _DIGITS:
        return {"type": "Digits", "individual_digits": True}
    if pattern == GPT2_PATTERN:
        return BYTES
    regex = {"Regex": pattern}
    return {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}


def tag_of(pre_tokenizer: dict[str, Any] | None, *, ignore_merges: bool) -> str:
    """llama.cpp's tag for a byte-level pre-tokenizer. Raises ModelError where it has none."""
    patterns = _patterns(pre_tokenizer)
    tag = TAGS.get((patterns, ignore_merges))
    if tag is None:
        shown = " then ".join(patterns) or "nothing"
        raise ModelError(
            f"llama.cpp is not known to cut text as this tokenizer does (by {shown}"
            f"{', words that are tokens whole' if ignore_merges else ''}); known are "
            f"{', '.join(sorted(TAGS.values()))}"
        )
    return tag


def _patterns(pre_tokenizer: dict[str, Any] | None) -> tuple[str, ...]:
    """What cuts the text, in order. A step that is not understood stands as its own name."""
    if pre_tokenizer is None:
        return ()
    found: list[str] = []
    for step in pre_tokenizer.get("pretokenizers", [pre_tokenizer]):
        match step:
            case {"type": "ByteLevel", "add_prefix_space": True}:
                found.append("a space put before the text")
            case {"type": "ByteLevel", "use_regex": False}:
                pass
            case {"type": "ByteLevel"}:
                found.append(GPT2_PATTERN)
            case {"type": "Digits", "individual_digits": True}:
                found.append(_DIGITS)
            case {"type": "Split", "pattern": {"Regex": str(pattern)}} if _keeps_all(step):
                found.append(pattern)
            case _:
                found.append(str(step))
    return tuple(found)


def _keeps_all(step: dict[str, Any]) -> bool:
    """Whether what the pattern finds are the pieces: these patterns match all of any text."""
    return (step.get("behavior"), bool(step.get("invert"))) in (
        ("Isolated", False),
        ("Removed", True),
    )
