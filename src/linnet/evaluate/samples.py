"""What the model writes: continuations of held-out beginnings, and what it repeats.

Prompts are the first words of held-out documents, spread evenly over them;
prompts and seeds are fixed, so two models can be read side by side. Each
continuation is searched for in the training text. How much of it is there means
little alone (stock phrases are everywhere), so the real continuations
of the same documents, cut to the same length, are searched for as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.evaluate.overlap import Overlap, longest_overlaps

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

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


def write_samples(
    complete: Callable[[str, int], str],
    texts: Sequence[str],
    *,
    count: int,
    temperature: float,
    seed: int,
) -> list[tuple[Sample, str]]:
    """Samples, each with the real continuation.

    ``complete`` continues a prompt with a seed; it returns only what is new.
    """
    written = []
    for number, (prompt, real) in enumerate(choose_prompts(texts, count)):
        text = complete(prompt, seed + number)
        written.append((Sample(prompt, text, seed + number, temperature), real[: len(text)]))
    return written


def search_training(samples: Sequence[tuple[Sample, str]], training: Iterable[str]) -> list[Sample]:
    """The samples with their overlaps and those of the real continuations."""
    texts = [sample.text for sample, _ in samples] + [real for _, real in samples]
    overlaps = longest_overlaps(texts, training)
    return [
        Sample(s.prompt, s.text, s.seed, s.temperature, overlap=own, real_overlap=real)
        for (s, _), own, real in zip(
            samples, overlaps[: len(samples)], overlaps[len(samples) :], strict=True
        )
    ]


def _divide(text: str) -> tuple[str, str]:
    """The first whole words, without the white space after them, and the rest."""
    words = re.match(rf"\s*(?:\S+\s+){{0,{PROMPT_WORDS - 1}}}\S+", text)
    end = words.end() if words else 0
    if end > PROMPT_CHARACTERS:  # back to the end of a word, unless there is but one
        end = max(text.rfind(" ", 0, PROMPT_CHARACTERS + 1), 0) or PROMPT_CHARACTERS
    return text[:end], text[end:]
