"""A figure from the scores of many items, with how far it would move with other items.

The interval is the percentile bootstrap (Efron and Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapter 13), resampling whole items: words of one document resemble each
other, so resampling tokens would claim too much. A share or an AUROC that is 0 or 1 has the exact
binomial one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from linnet.errors import LinnetError
from linnet.evaluate.metrics import Metric, Numbers

DRAWS_AT_ONCE = 1 << 20


class UndefinedError(LinnetError):
    """These items have no such figure."""


@dataclass(frozen=True)
class Interval:
    """``level`` of the resampled figures lie from ``low`` to ``high``."""

    low: float
    high: float
    level: float
    resamples: int
    """Those that had a figure; 0 of an exact interval."""


@dataclass(frozen=True)
class Figure:
    """What was measured, on how many items, and how sure it is."""

    value: float
    items: int
    interval: Interval | None
    """None of fewer than two items, which say nothing about how items differ, or where most
    resamples have no figure."""
    seed: int
    """Of the resampling."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        found: dict[str, Any] = {"value": self.value, "items": self.items, "seed": self.seed}
        if self.interval is not None:
            found |= {
                "low": self.interval.low,
                "high": self.interval.high,
                "level": self.interval.level,
            }
        return found


def measure(
    metric: Metric,
    scores: Sequence[Mapping[str, float]],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """The figure of the items that have these scores, with its interval.

    Raises UndefinedError, saying why, where they have none.
    """
    having = [each for each in scores if all(name in each for name in metric.columns)]
    if not having:
        missing = metric.undefined or f"no item has the score {' and '.join(metric.columns)}"
        raise UndefinedError(missing)
    columns = [np.array([each[name] for each in having], dtype=np.float64)
               for name in metric.columns]  # fmt: skip
    value = float(metric.figure(*columns))
    if not math.isfinite(value):
        raise UndefinedError(metric.undefined or f"it is {value}")
    interval = None
    trials = _trials(metric, columns)
    if trials and value in (0, 1):
        interval = _of_none_or_all(value, trials, level)
    elif metric.compares and _unanimous(*columns):
        interval = _of_unanimous_groups(*columns, level=level)
    elif len(having) > 1:
        interval = _bootstrap(metric, columns, level=level, resamples=resamples, seed=seed)
    return Figure(value, len(having), interval, seed)


def _trials(metric: Metric, columns: Sequence[Numbers]) -> int:
    """Of how many items that are either so or not the figure is the share; 0 if of none."""
    if metric.trials is not None:
        return metric.trials(*columns)
    if not metric.share:
        return 0
    return len(columns[0]) if len(columns) == 1 and np.isin(columns[0], (0, 1)).all() else 0


def _of_none_or_all(value: float, count: int, level: float) -> Interval:
    """Where all items agree every resample does, too, which is no certainty: the exact interval.

    Clopper and Pearson, 1934.
    """
    bound = ((1 - level) / 2) ** (1 / count)
    low, high = (bound, 1.0) if value else (0.0, 1 - bound)
    return Interval(low, high, level, 0)


def _unanimous(first: Numbers, values: Numbers) -> bool:
    """Whether either group is all 0 or all 1."""
    groups = [set(values[first == group].tolist()) for group in (0, 1)]
    return all(len(group) == 1 and group <= {0.0, 1.0} for group in groups)


def _of_unanimous_groups(first: Numbers, values: Numbers, *, level: float) -> Interval:
    """Of the difference, from the interval of either share (Newcombe, 1998, method 10)."""
    own, other = (values[first == group] for group in (1, 0))
    one = _of_none_or_all(float(own[0]), len(own), level)
    two = _of_none_or_all(float(other[0]), len(other), level)
    value = float(own[0] - other[0])
    low = value - math.hypot(own[0] - one.low, two.high - other[0])
    high = value + math.hypot(one.high - own[0], other[0] - two.low)
    return Interval(low, high, level, 0)


def _bootstrap(
    metric: Metric, columns: Sequence[Numbers], *, level: float, resamples: int, seed: int
) -> Interval | None:
    """None where most resamples have no figure: too few items are of one class."""
    count = len(columns[0])
    generator = np.random.default_rng(seed)
    figures = []
    at_once = max(1, DRAWS_AT_ONCE // count)
    for done in range(0, resamples, at_once):
        rows = min(at_once, resamples - done)
        drawn = generator.integers(count, size=(rows, count))
        figures.append(metric.figure(*(column[drawn] for column in columns)))
    found = np.concatenate(figures)
    found = found[np.isfinite(found)]
    if 2 * len(found) < resamples:
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return Interval(float(low), float(high), level, len(found))
