"""llama.cpp's pre-tokenizers: what each tag stands for in a ``tokenizer.json``.

A new tag is one line in the table: the patterns that cut text, in order.
"""

from __future__ import annotations

from typing import Any

from linnet.errors import ModelError
from linnet.tokenizer.training import QWEN2_PATTERN

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DIGITS = "each digit"
_LLAMA3 = QWEN2_PATTERN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
_QWEN35 = QWEN2_PATTERN.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(
    r"[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{M}\p{N}]+"
)
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = r"[^\r\n\p{L}\p{N}]?" + _UPPER
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_ENDING = "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_TEKKEN = rf"{_CASED}*{_LOWER}+|{_CASED}+{_LOWER}*|\p{{N}}|{_SIGNS}"
_GPT4O = rf"{_CASED}*{_LOWER}+{_ENDING}|{_CASED}+{_LOWER}*{_ENDING}|\p{{N}}{{1,3}}|{_SIGNS}"

# By the patterns and whether a word that is a token is taken whole (``ignore_merges``).
TAGS: dict[tuple[tuple[str, ...], bool], str] = {
    ((_GPT2,), False): "gpt-2",
    ((_DIGITS, _GPT2), False): "smollm",
    ((QWEN2_PATTERN,), False): "qwen2",
    ((_QWEN35,), False): "qwen35",
    ((_LLAMA3,), True): "llama-bpe",
    ((_LLAMA3,), False): "dbrx",
    ((_TEKKEN,), True): "tekken",
    ((_GPT4O,), False): "gpt-4o",
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
                found.append(_GPT2)
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
