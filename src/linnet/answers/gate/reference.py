"""What is usual in an index: how common its words are, and how well it answers nonsense.

A score of a search has no scale of its own: it grows with the length of the question and differs
from index to index. So each is compared with those that random questions of the same length get
on the same index, whose words are drawn from its passages, each from another one.

Words that a single passage has are not kept, so that a document's own cannot be read from it; they
count as the rarest.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet.retrieval import Passage, Searchable, terms

LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24)
"""Words of random questions; those between are interpolated, longer ones are like the longest."""
QUESTIONS = 20
"""Random ones of each length."""
SAMPLED = 2000  # passages that words are drawn from
_LEAST_SPREAD = 0.05  # of the mean, below which a spread is one of too few samples
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Levels:
    """Best scores of random questions in one way of searching: mean and standard deviation of each
    of the ``lengths``."""

    lengths: tuple[int, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]

    def above(self, score: float, length: int) -> float:
        """By how many standard deviations a score is above those of its length."""
        mean = np.interp(length, self.lengths, self.means)
        return float((score - mean) / np.interp(length, self.lengths, self.spreads))


@dataclass(frozen=True)
class Reference:
    """What is usual in an index."""

    passages: int
    levels: Mapping[str, Levels]
    """By the way of searching, such as ``lexical``."""
    hashes: npt.NDArray[np.uint64] = field(repr=False)
    """Of the terms that two passages have, in order."""
    counts: npt.NDArray[np.uint32] = field(repr=False)
    """In how many passages they are."""

    def frequency(self, term: str) -> int:
        """How many passages have a term; 0 where it is none, or one."""
        wanted = np.uint64(_hash(term))
        place = int(np.searchsorted(self.hashes, wanted))
        found = place < len(self.hashes) and self.hashes[place] == wanted
        return int(self.counts[place]) if found else 0

    def weight(self, term: str) -> float:
        """How much a term tells, as BM25 has it."""
        frequency = self.frequency(term)
        return float(np.log1p((self.passages - frequency + 0.5) / (frequency + 0.5)))

    def to_json(self) -> dict[str, Any]:
        """All but the arrays."""
        levels = {
            name: {
                "lengths": list(own.lengths),
                "means": list(own.means),
                "spreads": list(own.spreads),
            }
            for name, own in self.levels.items()
        }
        return {"passages": self.passages, "levels": levels}


def measure(index: Searchable, *, seed: int = 0) -> Reference:
    """What is usual in an index."""
    counts: Counter[str] = Counter()
    sample: list[str] = []
    generator = random.Random(seed)
    number = 0
    for number, passage in enumerate(index.passages(), 1):
        counts.update(set(terms_of(passage)))
        if len(sample) < SAMPLED:
            sample.append(passage.text)
        elif (place := generator.randrange(number)) < SAMPLED:
            sample[place] = passage.text
    kept = sorted((_hash(term), count) for term, count in counts.items() if count > 1)
    return Reference(
        number,
        _levels(index, sample, generator) if sample else {},
        np.array([each for each, _ in kept], np.uint64),
        np.array([count for _, count in kept], np.uint32),
    )


def terms_of(passage: Passage) -> list[str]:
    """The terms of a passage with its title and headings."""
    return terms("\n".join((passage.title, *passage.headings, passage.text)), passage.language)


def _levels(index: Searchable, texts: Sequence[str], generator: random.Random) -> dict[str, Levels]:
    found: dict[str, dict[int, list[float]]] = {}
    for length in LENGTHS:
        for _ in range(QUESTIONS):
            question = " ".join(_word(generator.choice(texts), generator) for _ in range(length))
            best: dict[str, float] = {}
            for one in index.search(question, 5):
                for name, score in one.scores.items():
                    best[name] = max(score, best.get(name, score))
            for name, score in best.items():
                found.setdefault(name, {}).setdefault(length, []).append(score)
    return {name: _smoothed(own) for name, own in found.items()}


def _word(text: str, generator: random.Random) -> str:
    words = _WORD.findall(text)
    return generator.choice(words) if words else ""


def _smoothed(scores: Mapping[int, Sequence[float]]) -> Levels:
    """Of the lengths that have scores, each with its neighbours."""
    lengths = sorted(scores)
    means, spreads = [], []
    for place, length in enumerate(lengths):
        near = [s for n in lengths[max(place - 1, 0) : place + 2] for s in scores[n]]
        mean = float(np.mean(scores[length]))
        means.append(mean)
        spreads.append(max(float(np.std(near)), _LEAST_SPREAD * abs(mean), 1e-6))
    return Levels(tuple(lengths), tuple(means), tuple(spreads))


def _hash(term: str) -> int:
    digest = hashlib.blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")
