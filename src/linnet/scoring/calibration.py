"""How well a confidence tells right answers from wrong ones, and whether it can be believed.

All functions take columns whose items lie along the last axis: one call gives the figures of
many resamples. Items of equal confidence are never put in an order: each counts with the mean of
its group, so a figure does not depend on the order of the items. A row without a figure (a single
class) gives NaN, which ``metrics.measure`` turns into a reason.

* AUROC: the chance that a positive item has a higher score than a negative one, ties counting half
  (Hanley and McNeil, 1982).
* FPR at 95 % TPR: the share of negatives that are let through by the highest threshold that lets
  through 95 % of the positives (Hendrycks and Gimpel, 2017).
* Risk-coverage curve: the share of wrong answers among the most confident ones, for every number
  of them; AURC is its mean (Geifman, Uziel and El-Yaniv, 2019).
* ECE: the mean distance of confidence and accuracy in bins of equal mass (Nguyen and O'Connor,
  2015). It is biased upward for few items, since chance alone moves a bin.
* Brier score: the mean squared distance of confidence and outcome (Brier, 1950).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]
Places: TypeAlias = npt.NDArray[np.int64]

BINS = 10
LEAST_IN_BIN = 10
"""With fewer items to a bin there are fewer bins."""

TRUE_POSITIVE_RATE = 0.95


def auroc(positive: Numbers, score: Numbers) -> Numbers:
    """The chance that a positive item scores higher than a negative one."""
    ordered = _ordered(score, positive)
    wanted = ordered.values
    negatives = np.cumsum(1 - wanted, -1)
    through = _at(negatives, ordered.last)
    before = _at(negatives - (1 - wanted), ordered.first)
    pairs = (wanted * (before + through) / 2).sum(-1)
    return _quotient(pairs, wanted.sum(-1) * (1 - wanted).sum(-1))


def fpr_at_tpr(positive: Numbers, score: Numbers, *, rate: float = TRUE_POSITIVE_RATE) -> Numbers:
    """The share of negatives at or above the highest threshold that reaches ``rate``."""
    ordered = _ordered(-score, positive)
    wanted = ordered.values
    found = _at(np.cumsum(wanted, -1), ordered.last)
    wrong = _at(np.cumsum(1 - wanted, -1), ordered.last)
    needed = rate * wanted.sum(-1, keepdims=True)
    place = np.argmax(found >= needed - 1e-9, -1)
    reached = np.take_along_axis(wrong, place[..., None], -1)[..., 0]
    negatives = (1 - wanted).sum(-1)
    rates = _quotient(reached, negatives)
    return np.where(wanted.sum(-1) > 0, rates, np.nan)


def risk_coverage(right: Numbers, confidence: Numbers) -> Numbers:
    """The share of wrong answers among the 1, 2, ... most confident; expected among equals."""
    wrong = _ordered(-confidence, 1 - right, mean_of_ties=True).values
    risks: Numbers = np.cumsum(wrong, -1) / np.arange(1, wrong.shape[-1] + 1)
    return risks


def aurc(right: Numbers, confidence: Numbers) -> Numbers:
    """The mean of the risk over all coverages."""
    found: Numbers = risk_coverage(right, confidence).mean(-1)
    return found


class Bins(NamedTuple):
    """Bins of equal mass, the least confident first, along the last axis."""

    confidence: Numbers
    accuracy: Numbers
    items: Places


def reliability(right: Numbers, confidence: Numbers, *, bins: int = BINS) -> Bins:
    """Mean confidence and accuracy of each bin; items of equal confidence count alike."""
    ordered = _ordered(confidence, right, mean_of_ties=True)
    sure = np.take_along_axis(confidence, ordered.order, -1)
    items = confidence.shape[-1]
    edges = np.linspace(0, items, max(1, min(bins, items // LEAST_IN_BIN)) + 1).astype(np.int64)
    sizes = np.diff(edges)
    return Bins(
        np.add.reduceat(sure, edges[:-1], -1) / sizes,
        np.add.reduceat(ordered.values, edges[:-1], -1) / sizes,
        sizes,
    )


def ece(right: Numbers, confidence: Numbers) -> Numbers:
    """The mean distance of confidence and accuracy over the bins."""
    found = reliability(right, confidence)
    gaps = np.abs(found.confidence - found.accuracy) * found.items
    total: Numbers = gaps.sum(-1) / found.items.sum()
    return total


def brier(right: Numbers, confidence: Numbers) -> Numbers:
    """The mean squared distance of confidence and outcome."""
    found: Numbers = ((confidence - right) ** 2).mean(-1)
    return found


class _Ordered(NamedTuple):
    """Values in the order of a key, and for each place the first and last of its equals."""

    order: Places
    values: Numbers
    first: Places
    last: Places


def _ordered(key: Numbers, values: Numbers, *, mean_of_ties: bool = False) -> _Ordered:
    order = np.argsort(key, -1, kind="stable")
    key, values = (np.take_along_axis(each, order, -1) for each in (key, values))
    places = np.broadcast_to(np.arange(key.shape[-1]), key.shape)
    begins = np.ones(key.shape, bool)
    begins[..., 1:] = key[..., 1:] != key[..., :-1]
    ends = np.ones(key.shape, bool)
    ends[..., :-1] = begins[..., 1:]
    first = np.maximum.accumulate(np.where(begins, places, 0), -1)
    last = np.where(ends, places, key.shape[-1] - 1)
    last = np.minimum.accumulate(last[..., ::-1], -1)[..., ::-1]
    if mean_of_ties:
        sums = np.cumsum(values, -1)
        before = _at(sums - values, first)
        values = (_at(sums, last) - before) / (last - first + 1)
    return _Ordered(order, values, first, last)


def _at(values: Numbers, places: Places) -> Numbers:
    return np.take_along_axis(values, places, -1)


def _quotient(above: Numbers, below: Numbers) -> Numbers:
    """NaN where there is nothing to divide by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)
