"""How well questions find their passages: recall, reciprocal rank, nDCG, with intervals.

A question has one target, which several passages may be (equal texts, parts of one document): it is
found at the rank of the first of them. nDCG is then ``1 / log2(1 + rank)`` down to rank ten.
Intervals are percentile bootstraps over questions (Efron, 1979).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
NOT_FOUND = np.inf
TRIALS = 1000
LEVEL = 0.95


def rank_of(found: Sequence[Any], right: Collection[Any]) -> float:
    """At which place of what was found the first right one stands, from 1; infinite for none."""
    return next((place for place, own in enumerate(found, 1) if own in right), NOT_FOUND)


def ranks_of(scores: npt.NDArray[np.floating[Any]], right: Sequence[Collection[int]]) -> Floats:
    """The ranks of questions whose scores of all passages are known, ``(Q, N)``.

    Of passages with equal scores those that are not right come first, so that a search which
    cannot tell them apart is not thought to have found one.
    """
    ranks = []
    for row, own in zip(scores, right, strict=True):
        if not own:
            ranks.append(NOT_FOUND)
            continue
        places = np.fromiter(own, np.int64, len(own))
        best = row[places].max()
        equals = int((row[places] == best).sum())
        ranks.append(float((row >= best).sum() - equals + 1))
    return np.array(ranks)


MEASURES: Mapping[str, Any] = {
    "recall@1": lambda ranks: (ranks <= 1).astype(np.float64),
    "recall@5": lambda ranks: (ranks <= 5).astype(np.float64),
    "ndcg@10": lambda ranks: np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0),
    "mrr": lambda ranks: 1 / ranks,
}
"""By their names: from ranks to a score of each question."""


def summary(ranks: Floats, *, seed: int = 0) -> dict[str, Any]:
    """Every measure with its interval, and the number of questions."""
    found: dict[str, Any] = {"questions": len(ranks)}
    for name, measure in MEASURES.items():
        values = measure(np.asarray(ranks, np.float64))
        low, high = _interval(values, seed)
        value = float(values.mean()) if len(values) else 0.0
        found[name] = {"value": round(value, 4), "low": low, "high": high}
    return found


def paired_difference(
    ranks: Floats, others: Floats, measure: str = "ndcg@10", *, seed: int = 0
) -> tuple[float, float]:
    """By how much one search is better than another on the same questions: the interval."""
    return _interval(MEASURES[measure](ranks) - MEASURES[measure](others), seed)


def _interval(values: Floats, seed: int) -> tuple[float, float]:
    if not len(values):
        return 0.0, 0.0
    drawn = np.random.default_rng(seed).integers(len(values), size=(TRIALS, len(values)))
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(values[drawn].mean(1), [tail, 1 - tail])
    return round(float(low), 4), round(float(high), 4)
