"""Exposure of canaries: how far up a planted sequence stands among all it could have been.

"The Secret Sharer" (Carlini et al., 2019, arXiv:1802.08232): exposure is log2 of the number of
candidates, less log2 of the canary's rank among them by likelihood. Of one that was never trained
on the rank is uniform, and the exposure 1 / ln 2 = 1.44 bits on average.

Where there are too many candidates to score, the rank among a random sample of them estimates it
(their section 4.3). A sample of K resolves about log2 K bits. Of what stands above all of the
sample, the skew-normal distribution of the sample's costs says how rare it is (their section
4.4), provided that the sample fits that distribution; otherwise log2 (K + 1) is said as a bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]
Method: TypeAlias = Literal["counted", "sampled", "extrapolated", "bound"]

CHANCE = 1 / math.log(2)
"""The mean exposure of what was never trained on, in bits."""

_MOST_SKEW = 0.995  # the skewness of a skew-normal distribution is below 0.9953
_KOLMOGOROV = 1.358  # by the square root of the sample: 95 % of samples differ less
_REACH, _STEPS = 40.0, 4001  # of the integral below a point, in standard deviations


@dataclass(frozen=True)
class Exposure:
    """How exposed a sequence is."""

    bits: float
    rank: float
    """Among those that it was compared with and itself; 1 is the likeliest, ties share a rank."""
    of: int
    """How many these are."""
    method: Method
    """``counted``: among all candidates. ``sampled``: among a sample. ``extrapolated``: by the
    distribution of the sample. ``bound``: it is at least this."""


@dataclass(frozen=True)
class SkewNormal:
    """Azzalini's distribution (1985): density 2 phi(z) Phi(shape z) / scale."""

    location: float
    scale: float
    shape: float

    @classmethod
    def fit(cls, values: Numbers) -> SkewNormal | None:
        """By the first three moments; None where all values are alike."""
        spread = float(values.std())
        if len(values) < 3 or not spread > 0:
            return None
        skewness = float((((values - values.mean()) / spread) ** 3).mean())
        part = min(abs(skewness), _MOST_SKEW) ** (2 / 3)
        delta = math.sqrt(math.pi / 2 * part / (part + ((4 - math.pi) / 2) ** (2 / 3)))
        delta = math.copysign(delta, skewness)
        scale = spread / math.sqrt(1 - 2 * delta**2 / math.pi)
        location = float(values.mean()) - scale * delta * math.sqrt(2 / math.pi)
        return cls(location, scale, delta / math.sqrt(1 - delta**2))

    def log_below(self, value: float) -> float:
        """The natural logarithm of the chance of a smaller value, accurate far into the tail."""
        z = (value - self.location) / self.scale
        # The integrand falls off from z or from its mode, whichever is lower: integrated from
        # there down, in steps that are short where it is large.
        top = min(z, 8.0)
        points = top - np.linspace(0, math.sqrt(_REACH), _STEPS) ** 2
        logs = math.log(2) - points**2 / 2 - math.log(2 * math.pi) / 2
        logs += _log_phi(self.shape * points)
        widths = -np.diff(points)
        # Trapezoids, summed from their logarithms.
        pairs = np.logaddexp(logs[1:], logs[:-1]) + np.log(widths / 2)
        return min(0.0, float(np.logaddexp.reduce(pairs)))

    def fits(self, values: Numbers) -> bool:
        """Whether the sample is like it, by Kolmogorov and Smirnov's test at the 5 % level."""
        ordered = np.sort(values)
        picked = np.unique(np.linspace(0, len(ordered) - 1, 200).astype(int))
        below = np.exp([self.log_below(float(ordered[place])) for place in picked])
        apart = np.maximum(
            abs(below - picked / len(ordered)), abs(below - (picked + 1) / len(ordered))
        )
        return bool(apart.max() * math.sqrt(len(ordered)) <= _KOLMOGOROV)


class Ranking:
    """Sequences are ranked among the costs of others, in nats: a random sample, or all there are.

    ``log2_candidates``: of all that a sequence could be, the highest exposure.
    """

    def __init__(self, costs: Numbers, *, log2_candidates: float, complete: bool = False) -> None:
        self.costs = np.sort(costs)
        self.most = log2_candidates
        self.complete = complete
        fitted = None if complete else SkewNormal.fit(self.costs)
        self.fitted = fitted if fitted is not None and fitted.fits(self.costs) else None

    def exposure(self, nats: float) -> Exposure:
        """Of a sequence of this cost that is not among the others."""
        likelier, upto = np.searchsorted(self.costs, nats, "left"), np.searchsorted(
            self.costs, nats, "right"
        )  # fmt: skip
        rank, of = 1 + (int(likelier) + int(upto)) / 2, len(self.costs) + 1
        bits = math.log2(of) - math.log2(rank)
        if self.complete:
            return Exposure(bits, rank, of, "counted")
        if rank > 1:
            return Exposure(min(bits, self.most), rank, of, "sampled")
        if self.fitted is None:
            return Exposure(min(bits, self.most), rank, of, "bound")
        beyond = -self.fitted.log_below(nats) / math.log(2)
        return Exposure(min(max(bits, beyond), self.most), rank, of, "extrapolated")


def _log_phi(values: Numbers) -> Numbers:
    """log of the normal distribution function."""
    found = np.empty_like(values)
    far = values < -10
    found[~far] = np.log([math.erfc(-value / math.sqrt(2)) / 2 for value in values[~far]])
    squares = values[far] ** 2  # asymptotic series of Mills' ratio
    series = 1 - 1 / squares + 3 / squares**2 - 15 / squares**3
    found[far] = -squares / 2 - np.log(-values[far] * math.sqrt(2 * math.pi)) + np.log(series)
    return found
