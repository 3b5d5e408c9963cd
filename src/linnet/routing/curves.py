"""Quality against how many questions go to the larger model, as RouteLLM measures a router.

Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data" (2024): thresholds are the
edges of ten bins of equal mass of a router's scores; at each, what scores at least that much goes
to the strong model (with the last threshold: what scores more). The share of the gap between the
models that is recovered, averaged over all shares of calls, is APGR; CPT is the share of calls to
the strong model that recovers a given part of the gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]
BINS = 10


@dataclass(frozen=True)
class Curve:
    """Points by the share of questions that the strong model gets, rising."""

    thresholds: Numbers
    shares: Numbers
    qualities: Numbers
    weak: float
    """The quality of the weak model alone."""
    strong: float

    @property
    def area(self) -> float:
        """Of the quality over the shares."""
        return _area(self.qualities, self.shares)

    @property
    def apgr(self) -> float:
        """The average performance gap recovered; NaN where there is no gap."""
        width = float(self.shares[-1] - self.shares[0])
        gap = (self.strong - self.weak) * width
        return (self.area - self.weak * width) / gap if gap else float("nan")

    def calls(self, recovered: float) -> float:
        """The share of calls to the strong model that recovers this part of the gap."""
        wanted = self.weak + recovered * (self.strong - self.weak)
        return float(np.interp(wanted, self.qualities, self.shares))


def curve(scores: Numbers, weak: Numbers, strong: Numbers, *, bins: int = BINS) -> Curve:
    """What a router's scores do on questions of which both models' qualities are known."""
    thresholds = np.quantile(scores, np.linspace(0, 1, bins + 1))
    last = len(thresholds) - 1
    chosen = np.array([
        scores >= each if place < last else scores > each for place, each in enumerate(thresholds)
    ])  # fmt: skip
    shares = chosen.mean(1)
    qualities = np.where(chosen, strong, weak).mean(1)
    order = np.argsort(shares, kind="stable")
    return Curve(
        thresholds[order], shares[order], qualities[order], float(weak.mean()),
        float(strong.mean()),
    )  # fmt: skip


def _area(heights: Numbers, places: Numbers) -> float:
    """By trapezia."""
    return float((np.diff(places) * (heights[1:] + heights[:-1]) / 2).sum())
