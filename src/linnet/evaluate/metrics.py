"""Figures from the scores of many items, each with how far it would move with other items.

A metric is a function of columns of numbers, one number for each item, and a line in
:data:`METRICS`. Items lie along the last axis, so that one call gives the figure of many
resamples at once.

The interval is the percentile bootstrap (Efron and Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapter 13), resampling whole items: words of one document resemble each
other, so resampling tokens would claim too much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]

DRAWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Metric:
    """What becomes of the scores of items."""

    name: str
    about: str
    columns: tuple[str, ...]
    """The scores that an item must have."""
    figure: Callable[..., Numbers]
    """From these columns, items along the last axis, which goes."""
    better: Literal["lower", "higher", "neither"] = "higher"


@dataclass(frozen=True)
class Interval:
    """``level`` of the resampled figures lie from ``low`` to ``high``."""

    low: float
    high: float
    level: float
    resamples: int


@dataclass(frozen=True)
class Figure:
    """What was measured, on how many items, and how sure it is."""

    value: float
    items: int
    interval: Interval | None
    """None of fewer than two items, which say nothing about how items differ."""
    seed: int
    """Of the resampling."""


def bits_per_byte(nats: Numbers, size: Numbers) -> Numbers:
    """The cost of texts in bits, by their bytes of UTF-8: it compares models across tokenizers."""
    found: Numbers = nats.sum(-1) / math.log(2) / size.sum(-1)
    return found


def nats_per_token(nats: Numbers, tokens: Numbers) -> Numbers:
    """The mean surprise of a token."""
    found: Numbers = nats.sum(-1) / tokens.sum(-1)
    return found


def perplexity(nats: Numbers, tokens: Numbers) -> Numbers:
    """Per token, so it compares models of one tokenizer only."""
    found: Numbers = np.exp(np.minimum(nats_per_token(nats, tokens), 700.0))  # more has no double
    return found


def mean(values: Numbers) -> Numbers:
    """Of all items alike."""
    found: Numbers = values.mean(-1)
    return found


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "bits_per_byte", "bits for each byte of text", ("nats", "bytes"), bits_per_byte, "lower"
        ),
        Metric(
            "nats_per_token", "nats for each token", ("nats", "tokens"), nats_per_token, "lower"
        ),
        Metric("perplexity", "perplexity per token", ("nats", "tokens"), perplexity, "lower"),
        Metric(
            "longest_overlap",
            "characters of the longest passage that is in the training text",
            ("overlap",),
            mean,
            "neither",
        ),
        Metric(
            "longest_real_overlap",
            "the same of the real continuations",
            ("real_overlap",),
            mean,
            "neither",
        ),
    )
}
"""All metrics by name."""


def measure(
    metric: Metric,
    scores: Sequence[Mapping[str, float]],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """The figure of these items, of which there is at least one, with its interval."""
    columns = [np.array([each[name] for each in scores], dtype=np.float64)
               for name in metric.columns]  # fmt: skip
    value = float(metric.figure(*columns))
    interval = None
    if len(scores) > 1:
        interval = _bootstrap(metric, columns, level=level, resamples=resamples, seed=seed)
    return Figure(value, len(scores), interval, seed)


def _bootstrap(
    metric: Metric, columns: Sequence[Numbers], *, level: float, resamples: int, seed: int
) -> Interval:
    count = len(columns[0])
    generator = np.random.default_rng(seed)
    figures = []
    at_once = max(1, DRAWS_AT_ONCE // count)
    for done in range(0, resamples, at_once):
        rows = min(at_once, resamples - done)
        drawn = generator.integers(count, size=(rows, count))
        figures.append(metric.figure(*(column[drawn] for column in columns)))
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(figures), [tail, 1 - tail])
    return Interval(float(low), float(high), level, resamples)
