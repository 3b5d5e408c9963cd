"""Passages that two sets of texts share: evaluation questions in training text, test in training.

The rule is GPT-3's (Brown et al., "Language Models are Few-Shot Learners", 2020,
appendix C): texts overlap if they have a run of 13 words in common, words being
those of ``shingles``. A shorter evaluation text of at least 8 words counts as a
whole; still shorter ones would be met by chance and are passed over. Runs are
compared as 64-bit hashes: with 50 million of them, 10^11 others make one chance hit in 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from linnet.data.shingles import WORD, Hashes, contained, runs, tokens
from linnet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable

_RUN = 13 * WORD  # weight of a run
_LEAST = 8 * WORD
_MOST_RUNS = 50_000_000
_SAMPLED_RUNS = 2_000_000
_TELLING = 4  # sampled runs of a text, from which its share can be told
_PENDING = 1_000_000  # runs collected before they are sorted in


class NGrams:
    """The runs of words of evaluation texts, in 8 bytes each.

    ``runs``: by the weight of a run, in quarters of a word, the sorted hashes. Beside
    13 words there are only the weights of the texts that are shorter.
    """

    def __init__(self, runs: dict[int, Hashes]) -> None:
        self.runs = runs

    @classmethod
    def of(cls, texts: Iterable[str], *, most: int = _MOST_RUNS) -> NGrams:
        """The runs of these texts. Raises DataError for more than ``most``."""
        collections: dict[int, _Collection] = {}
        for text in texts:
            cut = tokens(text)
            weight = min(_RUN, int(cut.weights.sum()))
            if weight < _LEAST:
                continue
            collection = collections.setdefault(weight, _Collection())
            for block in runs(cut, weight):
                collection.add(block)
                if len(collection.known) > most:
                    raise _too_many(most)
        found = {weight: collections[weight].all() for weight in sorted(collections)}
        if sum(map(len, found.values())) > most:
            raise _too_many(most)
        return cls(found)

    def overlap(self, text: str) -> int:
        """How many different runs of the evaluation texts are in this one."""
        cut = tokens(text)
        return sum(
            int(np.count_nonzero(contained(_distinct(runs(cut, weight)), known)))
            for weight, known in self.runs.items()
        )


def shared_text(
    test_texts: Iterable[str], train_texts: Iterable[str], *, most: int = _SAMPLED_RUNS
) -> float:
    """The share of the test texts' different runs of 13 words that training texts have too.

    Beyond about ``most`` runs it is estimated from a sample: those whose hash is a
    multiple of a power of two, so that nothing but the texts decides the choice.
    """
    held_out = HeldOut(test_texts, most=most)
    known, step = held_out.known, held_out.step
    met = np.zeros(len(known), np.bool_)
    for text in train_texts:
        for block in runs(tokens(text), _RUN):
            sampled = np.sort(_every(block, step))
            met[np.searchsorted(known, sampled[contained(sampled, known)])] = True
    return float(met.mean()) if len(met) else 0.0


class HeldOut:
    """The different runs of 13 words of held-out texts, or a sample of them.

    Beyond about ``most`` runs only those are kept whose hash is a multiple of a power
    of two, so memory is bounded and nothing but the texts decides.
    """

    def __init__(self, texts: Iterable[str], *, most: int = _SAMPLED_RUNS) -> None:
        collection = _Collection()
        self.step = 1
        for text in texts:
            for block in runs(tokens(text), _RUN):
                collection.add(_every(block, self.step))
                while len(collection.known) > most:
                    self.step *= 2
                    collection.known = _every(collection.all(), self.step)
        self.known = collection.all()

    def share(self, text: str) -> float:
        """The share of the text's different runs that the held-out texts have too."""
        mine = _every(_distinct(runs(tokens(text), _RUN)), self.step)
        return float(contained(mine, self.known).mean()) if len(mine) >= _TELLING else 0.0


class _Collection:
    """Hashes as they come; ``known``: the sorted different ones, but for the latest million or
    quarter."""

    def __init__(self) -> None:
        self.known = np.empty(0, np.uint64)
        self._pending: list[Hashes] = []
        self._count = 0

    def add(self, hashes: Hashes) -> None:
        self._pending.append(hashes)
        self._count += len(hashes)
        if self._count > max(_PENDING, len(self.known) // 4):
            self.all()

    def all(self) -> Hashes:
        """All of them, sorted."""
        if self._pending:
            self.known = _distinct([self.known, *self._pending])
            self._pending, self._count = [], 0
        return self.known


def _too_many(most: int) -> DataError:
    return DataError(
        f"the evaluation sets hold more than {most:,} runs of 13 words; "
        "name only the files that are used to evaluate"
    )


def _distinct(blocks: Iterable[Hashes]) -> Hashes:
    """The sorted different hashes."""
    return np.unique(np.concatenate([np.empty(0, np.uint64), *blocks]))


def _every(hashes: Hashes, step: int) -> Hashes:
    chosen: Hashes = hashes[hashes % np.uint64(step) == 0]
    return chosen
