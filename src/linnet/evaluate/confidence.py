"""How far a score would move if the held-out text were drawn again.

The percentile bootstrap (Efron and Tibshirani, *An Introduction to the
Bootstrap*, 1993, chapter 13), resampling whole documents: words of one
document resemble each other, so resampling tokens would claim too much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

DRAWS_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Interval:
    """``level`` of the resampled scores lie from ``low`` to ``high``."""

    low: float
    high: float
    level: float
    resamples: int


def bits_per_byte_interval(
    nats: Sequence[float],
    text_bytes: Sequence[int],
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> Interval | None:
    """The bootstrap interval of total bits by total bytes.

    One entry per document. None for fewer than two documents, which say
    nothing about how documents differ.
    """
    if len(nats) < 2:
        return None
    bits = np.asarray(nats, dtype=np.float64) / math.log(2)
    sizes = np.asarray(text_bytes, dtype=np.float64)
    generator = np.random.default_rng(seed)
    scores = []
    at_once = max(1, DRAWS_AT_ONCE // len(bits))
    for done in range(0, resamples, at_once):
        rows = min(at_once, resamples - done)
        drawn = generator.integers(len(bits), size=(rows, len(bits)))
        scores.append(bits[drawn].sum(axis=1) / sizes[drawn].sum(axis=1))
    tail = (1 - level) / 2
    low, high = np.quantile(np.concatenate(scores), [tail, 1 - tail])
    return Interval(float(low), float(high), level, resamples)
