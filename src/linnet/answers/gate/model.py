"""A probability from features: logistic regression that more of any feature can only raise.

Each feature is cut at quantiles into ramps, which rise from 0 to 1 between one and the next; a
weight is at least 0, so the probability is a monotone function of every feature, piecewise linear
in the logit. Pairs of features may have a term that only both together raise (the smaller of their
ranks). Fitted by projected, accelerated gradients (Beck and Teboulle, "A Fast Iterative
Shrinkage-Thresholding Algorithm", 2009), which has one solution and no randomness.

A feature that is not there counts as the least there is, so that what is missing can only make it
less sure.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]

RAMPS = 4
"""Of each feature."""
PENALTY = 3.0
"""On the squared weights, in examples."""
STEPS = 3000
_CONVERGED = 1e-9
_LEAST_SLOPE = 0.1  # a probability never becomes the lower, the more speaks for it


@dataclass(frozen=True)
class MonotoneModel:
    """What was fitted."""

    knots: Mapping[str, tuple[float, ...]]
    """Of each feature the values between which it rises, in order."""
    weights: Mapping[str, tuple[float, ...]]
    """Of each feature those of its ramps."""
    pairs: tuple[tuple[str, str], ...] = ()
    pair_weights: tuple[float, ...] = ()
    intercept: float = 0.0

    def probabilities(self, values: Numbers, names: Sequence[str]) -> Numbers:
        """Of rows, whose columns have these names."""
        logit = np.full(len(values), self.intercept)
        parts, pairs = _basis(values, names, self.knots, self.pairs)
        for name, weights in self.weights.items():
            logit += parts[name] @ np.array(weights)
        for column, weight in zip(pairs, self.pair_weights, strict=True):
            logit += column * weight
        return _sigmoid(logit)

    def probability(self, features: Mapping[str, float]) -> float:
        """Of one."""
        names = list(self.knots)
        row = np.array([[features.get(name, math.nan) for name in names]])
        return float(self.probabilities(row, names)[0])

    def rescaled(self, slope: float, shift: float) -> MonotoneModel:
        """The same with another logit: ``slope`` times its own, and ``shift``."""
        return MonotoneModel(
            self.knots,
            {name: tuple(slope * w for w in own) for name, own in self.weights.items()},
            self.pairs,
            tuple(slope * w for w in self.pair_weights),
            slope * self.intercept + shift,
        )

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "knots": {name: list(own) for name, own in self.knots.items()},
            "weights": {name: list(own) for name, own in self.weights.items()},
            "pairs": [list(pair) for pair in self.pairs],
            "pair_weights": list(self.pair_weights),
            "intercept": self.intercept,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> MonotoneModel:
        """What :meth:`to_json` gave. Raises ValueError."""
        knots = {str(n): tuple(map(float, own)) for n, own in values["knots"].items()}
        weights = {str(n): tuple(map(float, own)) for n, own in values["weights"].items()}
        pairs = tuple((str(one), str(other)) for one, other in values["pairs"])
        pair_weights = tuple(map(float, values["pair_weights"]))
        every = [*pair_weights, *(w for own in weights.values() for w in own)]
        if (
            knots.keys() != weights.keys()
            or any(len(knots[n]) != len(weights[n]) + 1 for n in knots)
            or any(n not in knots for pair in pairs for n in pair)
            or len(pairs) != len(pair_weights)
            or not all(math.isfinite(w) and w >= 0 for w in every)
            or not all(a < b for own in knots.values() for a, b in itertools.pairwise(own))
        ):
            raise ValueError("it holds no model of a gate")
        return cls(knots, weights, pairs, pair_weights, float(values["intercept"]))


def fit(
    values: Numbers,
    right: npt.NDArray[np.bool_],
    names: Sequence[str],
    *,
    pairs: Sequence[tuple[str, str]] = (),
    penalty: float = PENALTY,
) -> MonotoneModel:
    """A model of rows whose columns have these names; of those that vary."""
    knots = {
        name: own
        for name, column in zip(names, values.T, strict=True)
        if len(own := _knots(column)) > 1
    }
    used = tuple(pair for pair in pairs if pair[0] in knots and pair[1] in knots)
    parts, both = _basis(values, names, knots, used)
    basis = (
        np.concatenate([*parts.values(), *(column[:, None] for column in both)], axis=1)
        if (knots)
        else np.empty((len(values), 0))
    )
    solved, intercept = _solve(basis, right.astype(np.float64), penalty)
    weights, place = {}, 0
    for name, ramps in parts.items():
        weights[name] = tuple(float(w) for w in solved[place : place + ramps.shape[1]])
        place += ramps.shape[1]
    return MonotoneModel(knots, weights, used, tuple(float(w) for w in solved[place:]), intercept)


def recalibration(probabilities: Numbers, right: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Slope and shift of the logit with which probabilities are those of these questions.

    Platt's scaling ("Probabilistic Outputs for Support Vector Machines", 1999), drawn a little
    toward no change at all.
    """
    logit = np.log(probabilities) - np.log1p(-probabilities)
    columns = np.stack([logit, np.ones(len(logit))], axis=1)
    found = np.array([1.0, 0.0])
    for _ in range(50):
        p = _sigmoid(columns @ found)
        slope = columns.T @ (p - right) + found - [1.0, 0.0]
        curvature = columns.T @ (columns * (p * (1 - p))[:, None]) + np.eye(2)
        step = np.linalg.solve(curvature, slope)
        found = found - np.clip(step, -1, 1)
        if float(np.abs(step).max()) < _CONVERGED:
            break
    return max(float(found[0]), _LEAST_SLOPE), float(found[1])


def rescaled(probabilities: Numbers, slope: float, shift: float) -> Numbers:
    """Probabilities with another logit."""
    return _sigmoid(slope * (np.log(probabilities) - np.log1p(-probabilities)) + shift)


def _knots(column: Numbers) -> tuple[float, ...]:
    """Quantiles that differ; where it has few values, these."""
    seen = column[np.isfinite(column)]
    if not len(seen):
        return ()
    found = np.quantile(seen, np.linspace(0.02, 0.98, RAMPS + 1))
    if len(np.unique(found)) <= RAMPS:  # many are equal
        found = np.quantile(np.unique(seen), np.linspace(0, 1, RAMPS + 1))
    keep = [float(found[0])]
    least = 1e-6 * max(1.0, float(found[-1] - found[0]))
    for value in found[1:]:
        if value - keep[-1] > least:
            keep.append(float(value))
    return tuple(keep)


def _basis(
    values: Numbers,
    names: Sequence[str],
    knots: Mapping[str, tuple[float, ...]],
    pairs: Sequence[tuple[str, str]],
) -> tuple[dict[str, Numbers], list[Numbers]]:
    places = {name: number for number, name in enumerate(names)}
    parts: dict[str, Numbers] = {}
    for name, own in knots.items():
        column = values[:, places[name]]
        column = np.where(np.isfinite(column), column, own[0])[:, None]
        low, high = np.array(own[:-1]), np.array(own[1:])
        parts[name] = np.clip((column - low) / (high - low), 0.0, 1.0)
    ranks = {name: own.mean(1) for name, own in parts.items()}
    return parts, [np.minimum(ranks[one], ranks[other]) for one, other in pairs]


def _solve(basis: Numbers, right: Numbers, penalty: float) -> tuple[Numbers, float]:
    """Weights of at least 0, and an intercept of any sign."""
    count, width = basis.shape
    if not count:
        return np.zeros(width), 0.0
    share = float(np.clip(right.mean(), 0.5 / (count + 1), 1 - 0.5 / (count + 1)))
    columns = np.concatenate([basis, np.ones((count, 1))], axis=1)
    decay = np.concatenate([np.full(width, penalty / count), [1e-6]])
    curvature = 0.25 * float(np.linalg.eigvalsh(columns.T @ columns)[-1]) / count + float(
        decay.max()
    )
    found = np.concatenate([np.zeros(width), [math.log(share / (1 - share))]])
    ahead, momentum = found, 1.0
    for _ in range(STEPS):
        slope = columns.T @ (_sigmoid(columns @ ahead) - right) / count + decay * ahead
        new = ahead - slope / curvature
        new[:width] = np.maximum(new[:width], 0.0)
        further = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        step = new - found
        ahead, momentum = new + (momentum - 1) / further * step, further
        found = new
        if float(np.abs(step).max()) < _CONVERGED:
            break
    return found[:width], float(found[width])


def _sigmoid(values: Numbers) -> Numbers:
    found: Numbers = 0.5 * (1 + np.tanh(0.5 * values))
    return found
