"""Fair bets on numbers, and bounds that hold however long one looks.

While numbers are as chance has it, a fortune that is won by fair bets ever exceeds ``a`` with
probability at most ``1/a`` (Ville's inequality). What is bet on, and what follows, says ``drift``.
"""

from __future__ import annotations

import bisect
import math
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.scoring.bounds import upper_bound

Numbers: TypeAlias = npt.NDArray[np.float64]

SHARE = 1 / 400
"""Of the fortune, dealt out anew with each question."""


class Bets:
    """Fortunes that grow where numbers are lower or higher than chance has it, each of many columns
    by itself.

    A bet says: with a rate ``r`` a number is among the lowest (or highest) ``t`` of all, besides
    those that chance puts there. One bet is to keep the money.
    """

    TAILS = (0.02, 0.06, 0.15, 0.3)
    RATES = (0.1, 0.3, 0.7)

    def __init__(self, shape: tuple[int, ...]) -> None:
        pairs = [(tail, rate) for tail in self.TAILS for rate in self.RATES]
        self._tails = np.array([tail for tail, _ in pairs])
        self._rates = np.array([rate for _, rate in pairs])
        self._prior = np.concatenate([[0.5], np.full(2 * len(pairs), 0.25 / len(pairs))])
        self._each = np.broadcast_to(self._prior, (*shape, len(self._prior))).copy()
        self._logs = np.zeros(shape)
        """Of the fortunes; ``_each`` says how they are divided."""

    def bet(self, below: Numbers, above: Numbers) -> None:
        """Take in one number of each column: the chance of one so low, and of one so high (or more
        than that chance); not a number where there is none."""
        own = self._each * self._gains(below, above)
        sums = own.sum(-1, keepdims=True)
        self._logs += np.log(sums[..., 0])
        share = np.where(np.isfinite(below)[..., None], SHARE, 0.0)
        self._each = (1 - share) * own / sums + share * self._prior

    def _gains(self, below: Numbers, above: Numbers) -> Numbers:
        """By what each bet is multiplied; the first one keeps its money."""
        both = (chance[..., None] < self._tails for chance in (below, above))
        gains = [1 - self._rates + self._rates / self._tails * won for won in both]
        found = np.concatenate([np.ones((*below.shape, 1)), *gains], axis=-1)
        return np.where(np.isfinite(below)[..., None], found, 1.0)

    def began(self, below: Numbers, above: Numbers) -> tuple[float, int, int]:
        """Of chances of one question after the other (questions, columns): how much a single bet
        would have gained most, in which column, and from which question on. (The likeliest change,
        as CUSUM has it: Page, "Continuous Inspection Schemes", 1954.)"""
        logs = np.log(self._gains(below, above))
        best = np.cumsum(logs[::-1], axis=0).max(-1)  # from each question to the end
        question, column = np.unravel_index(int(np.argmax(best)), best.shape)
        return float(best[question, column]), int(column), len(best) - 1 - int(question)

    @property
    def logs(self) -> Numbers:
        """The natural logarithms of the fortunes, which began at 0."""
        return self._logs

    def together(self) -> Numbers:
        """That of their mean over the last axis."""
        most = self._logs.max(-1)
        found: Numbers = most + np.log(np.exp(self._logs - most[..., None]).mean(-1))
        return found


class Tails:
    """Upper bounds of the chance of a number so low, or so high, given others drawn alike.

    They hold for all numbers at once but with the chance ``error``. How many of a sample are below
    a quantile is binomial; so the bounds of Clopper and Pearson, of some counts, bound those
    between.
    """

    def __init__(self, sample: Numbers, error: float) -> None:
        """``sample``: in order."""
        self._sample = sample
        self._listed = sample.tolist()
        self._bounds = self._of(len(sample), error)

    @staticmethod
    @cache
    def _of(count: int, error: float) -> Numbers:
        """By how many of the sample are lower."""
        grid = [0]
        while grid[-1] < count / 3:
            grid.append(2 * grid[-1] + 2)
        confidence = 1 - error / (2 * len(grid))
        bounds = np.array([upper_bound(each, count, confidence) for each in grid] + [1.0])
        found: Numbers = bounds[np.searchsorted(grid, np.arange(count + 1))]
        return found

    def of(self, value: float) -> tuple[float, float, float]:
        """Of one number, and the share of the sample that is below it; of equals half."""
        low, high = (
            bisect.bisect_left(self._listed, value),
            bisect.bisect_right(self._listed, value),
        )
        count = len(self._listed)
        below, above = self._bounds[high], self._bounds[count - low]
        return float(below), float(above), (low + high) / (2 * count)

    def below(self, values: Numbers) -> Numbers:
        """Of numbers as low as these, or lower."""
        return self._bounds[np.searchsorted(self._sample, values, "right")]

    def above(self, values: Numbers) -> Numbers:
        """And as high or higher."""
        return self._bounds[len(self._sample) - np.searchsorted(self._sample, values, "left")]


class ConfidenceSequence:
    """Bounds of a mean of values in [0, 1], which hold for every number of them at once.

    It is the mean of what each value was expected to be when those before it were known, so that
    it may move.
    """

    def __init__(self, error: float) -> None:
        self._log = 0.72 * math.log(10.4 / error)
        self.count = 0
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Take in a value."""
        self.count += 1
        self._sum += value

    @property
    def mean(self) -> float:
        """Of the values so far."""
        return self._sum / self.count

    @property
    def bounds(self) -> tuple[float, float]:
        """Those of the mean now."""
        reach = 0.85 * math.sqrt((math.log(math.log(2 * self.count)) + self._log) / self.count)
        return max(0.0, self.mean - reach), min(1.0, self.mean + reach)
