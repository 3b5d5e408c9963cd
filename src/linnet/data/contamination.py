"""Passages that two sets of texts share: evaluation questions in training text, test in training.

The rule is GPT-3's (Brown et al., "Language Models are Few-Shot Learners", 2020,
appendix C): texts overlap if they have a run of 13 words in common, words being
those of ``shingles``. A shorter evaluation text of at least 8 words counts as a
whole; still shorter ones would be met by chance and are passed over. Runs are
compared as 64-bit hashes: with 50 million of them, 10^11 others make one chance hit in 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from linnet.data.shingles import WORD, Hashes, contained, distinct, runs, tokens
from linnet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_RUN = 13 * WORD  # weight of a run
_SHORT_RUN = 5 * WORD
_LEAST = 8 * WORD
_MOST_RUNS = 50_000_000
_SAMPLED_RUNS = 2_000_000
_KEPT_RUNS = 16_000_000  # 128 MB
_TELLING = 4  # sampled runs of a text, from which its share can be told
_PENDING = 1_000_000  # runs collected before they are sorted in


def run_set(text: str, *, weight: int = _RUN) -> Hashes:
    """The sorted different runs of 13 words of a text, or of another weight."""
    return distinct(runs(tokens(text), weight))


class RunSets:
    """The run sets of numbered texts. As many as fit into ``most`` runs are kept: texts are
    compared several times, and reading and cutting them takes most of it."""

    def __init__(self, read: Callable[[int], str], *, most: int = _KEPT_RUNS) -> None:
        self._read, self._left = read, most
        self._kept: dict[int, Hashes] = {}

    def __getitem__(self, number: int) -> Hashes:
        found = self._kept.get(number)
        if found is None:
            found = run_set(self._read(number))
            if len(found) <= self._left:
                self._left -= len(found)
                self._kept[number] = found
        return found


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
            int(np.count_nonzero(contained(distinct(runs(cut, weight)), known)))
            for weight, known in self.runs.items()
        )


@dataclass(frozen=True)
class Overlap:
    """What held-out texts have in common with training texts."""

    shared: float
    """The share of the held-out texts' different runs of 13 words that training texts have too."""
    usual: float
    """The same of some training texts and the other training texts: what recurs here anyway."""
    similar: list[tuple[int, int, float]]
    """Held-out text, training text (by their places), Jaccard similarity: the most similar."""


def overlap(
    held_out: Iterable[str],
    training: Iterable[str],
    *,
    some: Iterable[str] = (),
    alike: float = 1.0,
    most: int = _SAMPLED_RUNS,
) -> Overlap:
    """Compare held-out texts with training texts, of which ``some`` are compared with the others.

    ``alike``: the Jaccard similarity (of runs of five words) from which texts are
    similar. Beyond about ``most`` runs all is estimated from a sample: the runs whose
    hash is a multiple of a power of two, so that nothing but the texts decides.
    """
    held_out = list(held_out)
    index, usual = (
        RunIndex(map(run_set, held_out), most=most),
        RunIndex(map(run_set, some), most=most),
    )
    compared = held_out if alike < 1 else ()
    similar = RunIndex((run_set(text, weight=_SHORT_RUN) for text in compared), most=most)
    met = np.zeros(len(index.hashes), np.bool_)
    times = np.zeros(len(usual.hashes), np.int32)
    best = np.zeros(len(similar.sizes))
    nearest = np.zeros(len(similar.sizes), np.int64)
    for place, text in enumerate(training):
        cut = tokens(text)
        found = distinct(runs(cut, _RUN))
        met[index.places(found)] = True
        times[usual.places(found)] += 1  # the runs of one text differ, so no place comes twice
        values = similar.similarities(distinct(runs(cut, _SHORT_RUN)))
        better = values > best
        best[better], nearest[better] = values[better], place
    return Overlap(
        shared=_mean_of_different(met, index.hashes),
        usual=_mean_of_different(times > 1, usual.hashes),
        similar=[
            (int(place), int(nearest[place]), float(best[place]))
            for place in np.flatnonzero(best >= alike)
        ],
    )


def _mean_of_different(values: npt.NDArray[np.bool_], hashes: Hashes) -> float:
    """The mean over sorted hashes, each different one counted once."""
    first = np.ones(len(hashes), np.bool_)
    first[1:] = hashes[1:] != hashes[:-1]
    return float(values[first].mean()) if len(hashes) else 0.0


class HeldOut:
    """The runs that held-out texts have (``run_set``), or a sample of them.

    Beyond about ``most`` runs only those are kept whose hash is a multiple of a power
    of two, so memory is bounded and nothing but the texts decides.
    """

    def __init__(self, texts: Iterable[Hashes], *, most: int = _SAMPLED_RUNS) -> None:
        collection = _Collection()
        self.step = 1
        for found in texts:
            collection.add(_every(found, self.step))
            while len(collection.known) > most:
                self.step *= 2
                collection.known = _every(collection.all(), self.step)
        self.known = collection.all()

    def share(self, found: Hashes) -> float:
        """The share of a text's different runs that the held-out texts have too."""
        mine = _every(found, self.step)
        return float(contained(mine, self.known).mean()) if len(mine) >= _TELLING else 0.0


class RunIndex:
    """The different runs of words of each of some texts (``run_set``).

    Sampled as in HeldOut; of a text with fewer than ``_TELLING`` runs in the sample
    nothing is told.
    """

    def __init__(self, texts: Iterable[Hashes], *, most: int = _SAMPLED_RUNS) -> None:
        self.step = 1
        each: list[Hashes] = []
        held = 0
        for found in texts:
            each.append(_every(found, self.step))
            held += len(each[-1])
            while held > most:
                self.step *= 2
                each = [_every(hashes, self.step) for hashes in each]
                held = sum(map(len, each))
        self.sizes = np.array([len(hashes) for hashes in each], np.int64)
        hashes = np.concatenate([np.empty(0, np.uint64), *each])
        order = np.argsort(hashes, kind="stable")
        self.hashes = hashes[order]
        self.owners = np.repeat(np.arange(len(each)), self.sizes)[order]

    def places(self, found: Hashes) -> npt.NDArray[np.int64]:
        """Where the runs of a text, which are all different, stand among ``hashes``."""
        mine = _every(found, self.step)
        met = mine[contained(mine, self.hashes)]
        starts = np.searchsorted(self.hashes, met, "left")
        counts = np.searchsorted(self.hashes, met, "right") - starts
        # The places starts[i], starts[i] + 1, ... of all i, one after another.
        return np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())

    def shares(self, found: Hashes) -> npt.NDArray[np.float64]:
        """The share of each text's runs that a text with these different runs has."""
        return np.where(
            self.sizes >= _TELLING, self._common(found) / np.maximum(self.sizes, 1), 0.0
        )

    def similarities(self, found: Hashes) -> npt.NDArray[np.float64]:
        """The Jaccard similarity of each text with the one that has these different runs."""
        common = self._common(found)
        union = np.maximum(self.sizes + len(_every(found, self.step)) - common, 1)
        return np.where(self.sizes >= _TELLING, common / union, 0.0)

    def _common(self, found: Hashes) -> npt.NDArray[np.int64]:
        """How many runs each text has in common with the one that has these."""
        return np.bincount(self.owners[self.places(found)], minlength=len(self.sizes))


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
            self.known = distinct([self.known, *self._pending])
            self._pending, self._count = [], 0
        return self.known


def _too_many(most: int) -> DataError:
    return DataError(
        f"the evaluation sets hold more than {most:,} runs of 13 words; "
        "name only the files that are used to evaluate"
    )


def _every(hashes: Hashes, step: int) -> Hashes:
    chosen: Hashes = hashes[hashes % np.uint64(step) == 0]
    return chosen
