"""From what is expected of models to a decision: thresholds, and what each does on held-out
questions.

The expectation is how much better each larger model does than the local one. A threshold is what
that must come to for a model that costs what they cost on average; one that costs half as much
needs half of it. So one number decides between any number of models, and the higher it is, the
fewer questions leave.

A target is kept with the confidence that is asked for, on questions like the held-out ones:
quality by bets on each question (Waudby-Smith and Ramdas, "Estimating Means of Bounded Random
Variables by Betting", 2024), thresholds tested one after the other from the most questions that
leave (fixed-sequence testing); the share by the exact binomial bound; cost by the normal one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.errors import ConfigError
from linnet.scoring.bounds import upper_bound

Numbers: TypeAlias = npt.NDArray[np.float64]
Places: TypeAlias = npt.NDArray[np.int64]

STEPS = 50
"""Thresholds that are considered, at quantiles of the scores."""
RESAMPLES = 500
LEAST_FOR_COST = 30
"""Questions: with fewer the normal bound is none."""
_LEVEL = 0.95


@dataclass(frozen=True)
class Target:
    """What routing is to reach; None: it does not matter."""

    quality: float | None = None
    """At least, as a share of the best single model's."""
    cost: float | None = None
    """At most, for a question on average."""
    share: float | None = None
    """At most, of the questions that leave this machine."""
    confidence: float = 0.95

    def __str__(self) -> str:
        said = []
        if self.quality is not None:
            said.append(f"quality {self.quality:g} of the best")
        if self.cost is not None:
            said.append(f"cost {self.cost:g}")
        if self.share is not None:
            said.append(f"share {self.share:g}")
        return " and ".join(said)


@dataclass(frozen=True)
class Point:
    """What a threshold does."""

    threshold: float
    share: float
    quality: float
    cost: float | None
    """For a question; None where costs are not known."""
    quality_low: float
    """With ``quality_high``, the 95 % interval of the bootstrap over questions."""
    quality_high: float
    relative: float
    """Quality as a share of the best single model's."""
    relative_low: float
    relative_high: float
    questions: int


@dataclass(frozen=True)
class HeldOut:
    """Questions with what was expected of them by models that had not learned from them."""

    gains: Numbers
    """(questions, larger models)."""
    qualities: Numbers
    """(questions, models): the local one first."""
    costs: Numbers
    """The same; NaN where not known."""
    after_attempt: bool = False
    """Whether what is local is always answered first, and paid for."""

    @cached_property
    def prices(self) -> Numbers:
        """Of each larger model, as a share of their mean; 1 where costs are not known."""
        return relative_prices(self.costs[:, 1:].mean(0))

    @cached_property
    def scores(self) -> Numbers:
        """The threshold from which on each question stays."""
        return scores_of(self.gains, self.prices)

    @cached_property
    def best(self) -> int:
        """The best single model: 0 is the local one, which also wins ties."""
        return int(np.argmax(self.qualities.mean(0)))

    @cached_property
    def thresholds(self) -> Numbers:
        """Those that are considered, rising; with the last one nothing leaves."""
        levels = np.quantile(self.scores, np.linspace(0, 1, STEPS + 1))
        return np.append(np.unique(levels), np.inf)

    def chosen(self, threshold: float) -> Places:
        """Which model each question goes to."""
        return chosen_of(self.gains, self.prices, threshold)

    def routed(self, threshold: float) -> tuple[Numbers, Numbers, Numbers]:
        """Of each question quality, cost, and whether it left."""
        models = self.chosen(threshold)
        return (*self.taken(models), (models > 0).astype(np.float64))

    def taken(self, models: Places) -> tuple[Numbers, Numbers]:
        """Quality and cost where each question goes to one of the models."""
        rows = np.arange(len(models))
        cost = self.costs[rows, models]
        if self.after_attempt:
            cost = np.where(models > 0, cost + np.nan_to_num(self.costs[:, 0]), cost)
        return self.qualities[rows, models], cost

    def point(self, threshold: float, *, resamples: int = RESAMPLES) -> Point:
        """What a threshold does, with intervals."""
        quality, cost, left = self.routed(threshold)
        best = self.qualities[:, self.best]
        drawn = resampled(np.stack([quality, best], axis=1), resamples)
        relative = drawn[:, 0] / np.maximum(drawn[:, 1], 1e-9)
        tail = (1 - _LEVEL) / 2
        low, high = np.quantile(drawn[:, 0], [tail, 1 - tail])
        relative_low, relative_high = np.quantile(relative, [tail, 1 - tail])
        mean = float(cost.mean())
        return Point(
            threshold, float(left.mean()), float(quality.mean()),
            mean if math.isfinite(mean) else None, float(low), float(high),
            float(quality.mean()) / max(float(best.mean()), 1e-9), float(relative_low),
            float(relative_high), len(quality),
        )  # fmt: skip


def relative_prices(costs: Numbers) -> Numbers:
    """Of larger models, as a share of their mean; all 1 where not all are known."""
    if not np.isfinite(costs).all() or float(costs.mean()) <= 0:
        return np.ones(len(costs))
    found: Numbers = np.maximum(costs / costs.mean(), 1e-3)
    return found


def scores_of(gains: Numbers, prices: Numbers) -> Numbers:
    """The threshold from which on each question stays: what is gained for an average price.

    What is lost is not divided by the price, or a dear model would lose less.
    """
    best = gains.max(1)
    found: Numbers = np.where(best > 0, (gains / prices).max(1), best)
    return found


def chosen_of(gains: Numbers, prices: Numbers, threshold: float) -> Places:
    """Which model each question goes to; 0 is the local one."""
    leaves = scores_of(gains, prices) >= threshold
    bar = max(threshold, 0.0) * prices if math.isfinite(threshold) else np.zeros(len(prices))
    models = np.argmax(gains - bar, axis=1) + 1
    return np.where(leaves, models, 0).astype(np.int64)


def threshold_for(held_out: HeldOut, target: Target) -> float:
    """The threshold that keeps a target, with the fewest questions that leave where it is of
    quality, and with the best quality where it is of cost or share.

    Raises ConfigError where none does, naming the best that is.
    """
    thresholds = held_out.thresholds
    least = -math.inf
    for kept, name, wanted in (
        (_cost_kept, "cost", target.cost), (_share_kept, "share", target.share)
    ):  # fmt: skip
        if wanted is None:
            continue
        allowed = [t for t in thresholds if kept(held_out, float(t), wanted, target.confidence)]
        if not allowed:
            raise ConfigError(_unreachable_cost(held_out, wanted, name, target.confidence))
        least = max(least, float(min(allowed)))
    if target.quality is None:
        # What is expected to do worse there stays here, whatever it may cost.
        return max(least, 0.0)
    passed = _passing(held_out, target.quality, target.confidence)
    within = [t for t in passed if t >= least]
    if not within:
        raise ConfigError(_unreachable_quality(held_out, target, least))
    return max(within)


def best_quality(held_out: HeldOut, confidence: float, least: float = -math.inf) -> float:
    """The best share of the best single model's quality that can be promised, in hundredths."""
    low, high = 0, 101  # of a hundred: the first is kept, the second is not
    while high - low > 1:
        middle = (low + high) // 2
        if any(t >= least for t in _passing(held_out, middle / 100, confidence)):
            low = middle
        else:
            high = middle
    return low / 100


def _passing(held_out: HeldOut, quality: float, confidence: float) -> list[float]:
    """The thresholds at which quality is surely enough, up to the first at which it may not be."""
    best = quality * held_out.qualities[:, held_out.best]
    if float((held_out.qualities[:, 0] - best).min()) >= 0:
        return [math.inf]  # the local model is enough as it is
    found = []
    for threshold in held_out.thresholds:
        margins = held_out.routed(float(threshold))[0] - best
        if not is_positive(margins, quality, confidence):
            break
        found.append(float(threshold))
    return found


def is_positive(values: Numbers, least: float, confidence: float) -> bool:
    """Whether the mean of values from ``-least`` to 1 is surely 0 or more.

    Bets on each value in turn that the mean is positive; were it not, the winnings would become
    1 / (1 - confidence) times the stake with a chance of at most 1 - confidence (Ville, 1939).
    """
    if float(values.min()) >= 0:
        return True
    order = np.random.default_rng(0).permutation(len(values))
    drawn = values[order]
    counts = np.arange(1, len(drawn) + 1)
    means = np.cumsum(drawn) / (counts + 1)
    squares = (np.cumsum(drawn**2) + 0.25) / (counts + 1)
    before = np.concatenate([[0.0], means[:-1]])
    spread = np.concatenate([[0.25], squares[:-1]])
    stakes = np.clip(before / np.maximum(spread, 1e-6), 0.0, 0.5 / max(least, 0.5))
    wealth = np.cumsum(np.log1p(stakes * drawn))
    return float(wealth.max()) >= -math.log(1 - confidence)


def _cost_kept(held_out: HeldOut, threshold: float, most: float, confidence: float) -> bool:
    cost = held_out.routed(threshold)[1]
    if not np.isfinite(cost).all() or len(cost) < LEAST_FOR_COST:
        return False
    return _upper_mean(cost, confidence) <= most


def _share_kept(held_out: HeldOut, threshold: float, most: float, confidence: float) -> bool:
    if not math.isfinite(threshold) or most >= 1:
        return True
    left = int((held_out.chosen(threshold) > 0).sum())
    return upper_bound(left, len(held_out.gains), confidence) <= most


def _upper_mean(values: Numbers, confidence: float) -> float:
    spread = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) + NormalDist().inv_cdf(confidence) * spread


def _unreachable_cost(held_out: HeldOut, wanted: float, name: str, confidence: float) -> str:
    costs = held_out.costs
    if not np.isfinite(costs).all():
        return (
            f"router: a target of {name} needs the cost of every answer, which the outcomes that "
            "it was made of do not have; set share or quality"
        )
    if len(costs) < LEAST_FOR_COST:
        return (
            f"router: a target of {name} needs {LEAST_FOR_COST} questions to judge costs by, but "
            f"the router has {len(costs)}; make it of more, or set share"
        )
    least = _upper_mean(held_out.routed(math.inf)[1], confidence)
    return (
        f"router: {name} {wanted:g} cannot be kept: with nothing sent to a larger model a question "
        f"costs up to {least:.6g}"
    )


def _unreachable_quality(held_out: HeldOut, target: Target, least: float) -> str:
    best = best_quality(held_out, target.confidence, least)
    point = held_out.point(max(least, float(held_out.thresholds[0])))
    within = str(replace(target, quality=None))
    beside = f" together with {within}" if within else ""
    return (
        f"router: quality {target.quality:g} cannot be promised{beside} with "
        f"{target.confidence:.0%} confidence. The best that can is {best:g}; held-out "
        f"questions reach {point.relative:.3f} "
        f"({point.relative_low:.3f} to {point.relative_high:.3f}) of the best model's with "
        f"{point.share:.0%} of {point.questions:,} sent"
    )


def resampled(values: Numbers, times: int) -> Numbers:
    """Means of rows drawn again, (times, columns)."""
    found: Numbers = _draws(len(values), times) @ values / len(values)
    return found


@lru_cache(maxsize=2)
def _draws(count: int, times: int) -> Numbers:
    """How often each of so many rows is drawn, (times, rows)."""
    generator = np.random.default_rng(0)
    return generator.multinomial(count, np.full(count, 1 / count), size=times).astype(np.float64)
