"""Shares and quantiles with the intervals in which they are, at 95 %.

Those of shares are exact (Clopper and Pearson), those of quantiles of order statistics, which hold
whatever the distribution is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.scoring.bounds import exact_interval

Numbers: TypeAlias = npt.NDArray[np.float64]

_TAIL = 0.975


@dataclass(frozen=True)
class Share:
    """So many of so many, with its interval; None of nothing."""

    part: int
    whole: int
    value: float | None
    low: float | None
    high: float | None

    @classmethod
    def of(cls, part: int, whole: int) -> Share:
        if not whole:
            return cls(part, whole, None, None, None)
        low, high = exact_interval(part, whole)
        return cls(part, whole, part / whole, low, high)


@dataclass(frozen=True)
class Quantile:
    """A value that a share of all is at or below, with its interval; None where there are too few
    for one."""

    value: float
    low: float | None
    high: float | None


def quantile(ordered: Numbers, share: float) -> Quantile | None:
    """Of values in order: the least that at least this share is at or below."""
    count = len(ordered)
    if not count:
        return None
    value = float(ordered[min(count - 1, max(0, math.ceil(share * count) - 1))])
    low, high = _ranks(count, share)
    return Quantile(
        value,
        None if low is None else float(ordered[low]),
        None if high is None else float(ordered[high]),
    )


def _ranks(count: int, share: float) -> tuple[int | None, int | None]:
    """Places of the values between which a quantile is with 95 %; None where none is so far out.

    The number of values at or below it is binomial (David and Nagaraja, "Order Statistics", 7.1).
    """
    spread = math.sqrt(count * share * (1 - share))
    begin = max(0, math.floor(count * share - 8 * spread - 8))
    end = min(count, math.ceil(count * share + 8 * spread + 8))
    steps = np.arange(begin, end + 1)
    logs = np.array([math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
                     for k in steps])  # fmt: skip
    chances = np.exp(logs + steps * math.log(share) + (count - steps) * math.log1p(-share))
    tails = np.cumsum(chances)
    below = int(np.searchsorted(tails, 1 - _TAIL, "right"))  # P(X < begin + below) <= tail
    above = int(np.searchsorted(tails, _TAIL, "left"))
    low, high = begin + below - 1, begin + above
    return (low if low >= 0 else None), (high if high < count else None)
