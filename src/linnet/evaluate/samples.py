"""A continuation that a model wrote, and what it is asked to continue: the first words of
held-out documents, spread evenly over them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.evaluate.overlap import Overlap

if TYPE_CHECKING:
    from collections.abc import Sequence

PROMPT_WORDS = 6
PROMPT_CHARACTERS = 60


@dataclass(frozen=True)
class Sample:
    """One continuation, its seed and, when training text was searched, the overlaps."""

    prompt: str
    text: str
    seed: int
    temperature: float
    overlap: Overlap | None = None
    real_overlap: Overlap | None = None
    """The same for the continuation that the document really has."""


def choose_prompts(texts: Sequence[str], count: int) -> list[tuple[str, str]]:
    """Beginnings of documents with what follows them, spread evenly over the documents."""
    count = min(count, len(texts))
    chosen = [texts[place * len(texts) // count] for place in range(count)]
    return [_divide(text) for text in chosen]


def _divide(text: str) -> tuple[str, str]:
    """The first whole words, without the white space after them, and the rest."""
    words = re.match(rf"\s*(?:\S+\s+){{0,{PROMPT_WORDS - 1}}}\S+", text)
    end = words.end() if words else 0
    if end > PROMPT_CHARACTERS:  # back to the end of a word, unless there is but one
        end = max(text.rfind(" ", 0, PROMPT_CHARACTERS + 1), 0) or PROMPT_CHARACTERS
    return text[:end], text[end:]
