"""llama.cpp's pre-tokenizers: what each tag stands for in a ``tokenizer.json``.

A new tag is one line in the table: the patterns that cut text, in order.
"""

from __future__ import annotations

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
