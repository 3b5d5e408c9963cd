"""What a count of mistakes proves: exact binomial bounds, and a threshold that keeps a promise.

* The bounds of Clopper and Pearson ("The Use of Confidence or Fiducial Limits Illustrated in the
  Case of the Binomial", 1934): with ``k`` mistakes in ``n`` trials the rate lies below the upper
  one with at least the confidence that is asked for, whatever the rate is.
* Learn then test (Angelopoulos, Bates, Candès, Jordan and Lei, 2021): thresholds that were put in
  an order before the questions were seen are tested one after the other, each by the exact
  binomial test of "the rate of mistakes is above the promise"; the first that is not rejected ends
  it. The chance that any threshold that was passed breaks the promise is at most one less the
  confidence (fixed-sequence testing).

Trials must be independent, and like those that the promise is for.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_HALVINGS = 60
_AS_SURE = 0.95  # of the best chance


def binomial_tail(errors: int, trials: int, rate: float) -> float:
    """The chance of at most ``errors`` in so many trials, each with this rate."""
    if errors >= trials or rate <= 0:
        return 1.0
    if errors < 0 or rate >= 1:
        return 0.0
    counts = np.arange(errors + 1)
    steps = np.log((trials - counts[:-1]) / (counts[:-1] + 1)).cumsum()
    choices = np.concatenate([[0.0], steps])
    logs = choices + counts * math.log(rate) + (trials - counts) * math.log1p(-rate)
    most = float(logs.max())
    return min(1.0, math.exp(most) * float(np.exp(logs - most).sum()))


def upper_bound(errors: int, trials: int, confidence: float = 0.95) -> float:
    """The largest rate that this count does not refute, one-sided; 1 of no trials."""
    if errors >= trials:
        return 1.0
    return _root(lambda rate: binomial_tail(errors, trials, rate) - (1 - confidence))


def lower_bound(errors: int, trials: int, confidence: float = 0.95) -> float:
    """The smallest rate that this count does not refute, one-sided; 0 of no trials."""
    return 1 - upper_bound(trials - errors, trials, confidence)


def exact_interval(count: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Between which rates the true one is, two-sided."""
    confidence = 1 - (1 - level) / 2
    return lower_bound(count, trials, confidence), upper_bound(count, trials, confidence)


def trials_needed(errors: int, rate: float, confidence: float = 0.95) -> int:
    """The fewest trials with which so many errors prove that the rate is at most ``rate``."""
    few, many = errors, errors + 1
    while binomial_tail(errors, many, rate) > 1 - confidence:
        few, many = many, many * 2
    while many - few > 1:
        middle = (few + many) // 2
        if binomial_tail(errors, middle, rate) > 1 - confidence:
            few = middle
        else:
            many = middle
    return many


@dataclass(frozen=True)
class Certificate:
    """A threshold, and what is promised of the answers at or above it."""

    threshold: float | None
    """None where nothing can be promised."""
    rate: float
    """At most this share of the answers is wrong; where the wanted rate cannot be promised, the
    best that can, and 1 where none can."""
    confidence: float
    answered: int
    """Of the trials, how many are at or above the threshold."""
    wrong: int
    """Of these."""
    trials: int
    kept: bool
    """Whether ``rate`` is the one that was wanted, or better."""


def certify(
    scores: npt.NDArray[np.float64],
    right: npt.NDArray[np.bool_],
    thresholds: Sequence[float],
    rate: float,
    confidence: float = 0.95,
) -> Certificate:
    """The lowest threshold that keeps the promise, by fixed-sequence testing.

    ``thresholds``: falling, chosen without these trials. Those that no trial reaches prove nothing
    and are passed over, whatever the answers are. Where the first one fails, no lower rate than its
    upper bound can be promised, and that is what the certificate says.
    """
    highest = scores.max() if len(scores) else -math.inf
    thresholds = [threshold for threshold in thresholds if threshold <= highest]
    chosen: tuple[float, int, int] | None = None
    for threshold in thresholds:
        answered = scores >= threshold
        count, wrong = int(answered.sum()), int((answered & ~right).sum())
        if binomial_tail(wrong, count, rate) > 1 - confidence:
            break
        chosen = (float(threshold), count, wrong)
    if chosen is not None:
        return Certificate(chosen[0], rate, confidence, chosen[1], chosen[2], len(scores), True)
    if not len(thresholds):
        return Certificate(None, 1.0, confidence, 0, 0, len(scores), False)
    first = float(thresholds[0])
    answered = scores >= first
    count, wrong = int(answered.sum()), int((answered & ~right).sum())
    best = upper_bound(wrong, count, confidence)
    return Certificate(
        first if best < 1 else None, best, confidence, count, wrong, len(scores), False
    )


def sequence(
    scores: npt.NDArray[np.float64],
    right: npt.NDArray[np.bool_],
    rate: float,
    *,
    trials: int,
    confidence: float = 0.95,
    steps: int = 50,
) -> list[float]:
    """Thresholds to test one after the other, chosen on questions apart from the trials.

    The first is the one that answers most of those that are about as likely as any to pass with so
    many ``trials``, or where none can, the one with the lowest rate that can be expected to be
    proven; those after it answer more.
    """
    if not len(scores) or not trials:
        return []
    order = np.sort(scores)[::-1]
    places = np.unique(np.ceil(np.linspace(0, 1, steps + 1)[1:] * len(order)).astype(int)) - 1
    levels = [float(level) for level in dict.fromkeys(order[places])]
    hopes = []
    for level in levels:
        answered = scores >= level
        count = int(answered.sum())
        # As many more mistakes as chance may bring: a few questions without one prove little.
        share = (int((answered & ~right).sum()) + 0.5) / (count + 1)
        coverage = count / len(scores)
        expected = math.floor(trials * coverage)
        wrong = round(expected * int((answered & ~right).sum()) / count)
        # How many will be answered is up to chance, too, and a few too few prove nothing.
        spread = math.sqrt(trials * coverage * (1 - coverage))
        powers = (
            _power(share, max(round(trials * coverage + off * spread), 0), rate, confidence)
            for off in (-1.5, -0.75, 0, 0.75, 1.5)
        )
        hopes.append((sum(powers), -upper_bound(wrong, expected, confidence)))
    best = max(hopes)
    if best[0] <= 0:
        return levels[hopes.index(best) :]
    # Of those that pass about as surely the one that answers most: a test less that may end it.
    return levels[max(n for n, hope in enumerate(hopes) if hope[0] >= _AS_SURE * best[0]) :]


def _power(share: float, trials: int, rate: float, confidence: float) -> float:
    """The chance that a threshold passes if this share of its answers is wrong."""
    return binomial_tail(_allowed(trials, rate, confidence), trials, share)


@functools.lru_cache(4096)
def _allowed(trials: int, rate: float, confidence: float) -> int:
    """The most errors with which so many trials pass; -1 where not even none does."""
    few, many = -1, trials
    while many - few > 1:
        middle = (few + many) // 2
        if binomial_tail(middle, trials, rate) <= 1 - confidence:
            few = middle
        else:
            many = middle
    return few


def _root(value: Callable[[float], float]) -> float:
    """Where a falling function passes 0."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if value(middle) > 0:
            low = middle
        else:
            high = middle
    return high
