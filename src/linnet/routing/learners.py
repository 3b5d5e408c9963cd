"""How good each model's answers will be, learned from vectors: ridge and logistic regression, and
nearest neighbours.

Everything is a closed form or a convex problem, without randomness, in numpy alone. The penalty of
a regression and the number of neighbours are chosen by the error on rows left out one at a time,
which ridge regression and neighbours give without fitting again (Allen, 1974); logistic regression
takes the penalty of ridge regression in proportion to its curvature. Large comparisons find these
as good as routers of learned weights (LLMRouterBench, 2026).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

Numbers: TypeAlias = npt.NDArray[np.float64]

PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""On the squared weights, in rows; vectors are about as long as 1."""
NEIGHBOURS = (5, 10, 20, 40, 80)
PRIOR = 5.0
"""Rows of the mean that neighbours are mixed with."""
_STEPS = 200
_CONVERGED = 1e-7
_SHARPNESS = 20.0  # of the weights of neighbours, on likeness from -1 to 1


class Learned(Protocol):
    """What was learned."""

    kind: ClassVar[str]

    def predict(self, vectors: Numbers) -> Numbers:
        """The expected quality of each model's answer: (rows, models)."""

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """What it consists of."""


@dataclass(frozen=True)
class Linear:
    """Ridge regression: the mean, and weights."""

    kind: ClassVar[str] = "ridge"
    weights: Numbers
    """(width, models)."""
    centre: Numbers
    """Of the vectors."""
    mean: Numbers
    """Of the qualities."""

    def predict(self, vectors: Numbers) -> Numbers:
        """See :class:`Learned`."""
        found: Numbers = (vectors - self.centre) @ self.weights + self.mean
        return found

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """See :class:`Learned`."""
        return _single(weights=self.weights, centre=self.centre, mean=self.mean)


@dataclass(frozen=True)
class Logistic(Linear):
    """The same with a probability as what is linear in the logit."""

    kind: ClassVar[str] = "logistic"

    def predict(self, vectors: Numbers) -> Numbers:
        """See :class:`Learned`."""
        return _sigmoid(super().predict(vectors))


@dataclass(frozen=True)
class Neighbours:
    """The mean of the most alike, weighted by how alike they are, and drawn to the mean of all."""

    kind: ClassVar[str] = "neighbours"
    vectors: Numbers
    qualities: Numbers
    count: int

    def predict(self, vectors: Numbers) -> Numbers:
        """See :class:`Learned`."""
        return _near(_alike(vectors, self.vectors), self.qualities, self.count)

    def arrays(self) -> dict[str, npt.NDArray[np.float32]]:
        """See :class:`Learned`."""
        return _single(
            vectors=self.vectors, qualities=self.qualities, count=np.array([float(self.count)])
        )


def fit(names: Iterable[str], vectors: Numbers, qualities: Numbers) -> dict[str, Learned]:
    """What each of these learners makes of vectors and qualities from 0 to 1."""
    found: dict[str, Learned] = {}
    decomposed, penalty = None, 0.0
    for name in names:
        if name == Neighbours.kind:
            found[name] = _neighbours(vectors, qualities)
            continue
        if decomposed is None:
            decomposed = _Decomposed.of(vectors)
            penalty = decomposed.best_penalty(qualities)
        regress = _ridge if name == Linear.kind else _logistic
        found[name] = regress(decomposed, qualities, penalty)
    return found


def _ridge(decomposed: _Decomposed, qualities: Numbers, penalty: float) -> Linear:
    weights = decomposed.weights(decomposed.ridge(qualities, penalty))
    return Linear(weights, decomposed.centre, qualities.mean(0))


def _logistic(decomposed: _Decomposed, qualities: Numbers, penalty: float) -> Logistic:
    """With the penalty of ridge regression, in proportion to the curvature."""
    shares = np.clip(qualities.mean(0), 0.5 / len(qualities), 1 - 0.5 / len(qualities))
    columns, intercepts = [], []
    for quality, share in zip(qualities.T, shares, strict=True):
        own, intercept = decomposed.logistic(quality, penalty * share * (1 - share), share)
        columns.append(own)
        intercepts.append(intercept)
    weights = decomposed.weights(np.stack(columns, axis=1))
    return Logistic(weights, decomposed.centre, np.array(intercepts))


def _neighbours(vectors: Numbers, qualities: Numbers) -> Neighbours:
    """As many as do best on rows left out."""
    alike = _alike(vectors, vectors)
    np.fill_diagonal(alike, -np.inf)
    counts = [count for count in NEIGHBOURS if count < len(vectors)] or [len(vectors) - 1]
    errors = [error(_near(alike, qualities, count, left_out=True), qualities) for count in counts]
    return Neighbours(vectors, qualities, counts[int(np.argmin(errors))])


LEARNERS = (Linear.kind, Logistic.kind, Neighbours.kind)
"""The first is taken where others do as well."""


def learned_from(kind: str, arrays: Mapping[str, npt.NDArray[np.float32]]) -> Learned:
    """What :meth:`Learned.arrays` gave. Raises ValueError and KeyError."""
    given = {name: np.asarray(own, dtype=np.float64) for name, own in arrays.items()}
    if not all(np.isfinite(own).all() for own in given.values()):
        raise ValueError("it holds no router")
    if kind == Neighbours.kind:
        vectors, qualities = given["vectors"], given["qualities"]
        count = int(given["count"][0])
        if vectors.ndim != 2 or len(vectors) != len(qualities) or not 0 < count <= len(vectors):
            raise ValueError("it holds no neighbours")
        return Neighbours(vectors, qualities, count)
    weights, centre, mean = given["weights"], given["centre"], given["mean"]
    if weights.ndim != 2 or weights.shape != (*centre.shape, *mean.shape):
        raise ValueError("it holds no weights")
    classes = {Linear.kind: Linear, Logistic.kind: Logistic}
    return classes[kind](weights, centre, mean)


def gains(qualities: Numbers) -> Numbers:
    """By how much each other model is better than the first."""
    found: Numbers = qualities[:, 1:] - qualities[:, :1]
    return found


def error(predicted: Numbers, qualities: Numbers) -> float:
    """The mean squared error of the gains, which are what decides; of the quality where there is
    one model alone."""
    if qualities.shape[1] > 1:
        predicted, qualities = gains(predicted), gains(qualities)
    return float(((predicted - qualities) ** 2).mean())


@dataclass(frozen=True)
class _Decomposed:
    """Vectors about their mean as ``left * scale @ right``: all regressions on them are quick."""

    left: Numbers
    """(rows, rank), orthonormal."""
    scale: Numbers
    right: Numbers
    """(rank, width), orthonormal."""
    centre: Numbers

    @classmethod
    def of(cls, vectors: Numbers) -> _Decomposed:
        centre = vectors.mean(0)
        own = vectors - centre
        rows, width = own.shape
        # The smaller of both products; its eigenvalues are the squares of the scale.
        squares, basis = np.linalg.eigh(own @ own.T if rows <= width else own.T @ own)
        kept = squares > max(1e-10, 1e-10 * float(squares[-1]) if len(squares) else 0.0)
        scale, basis = np.sqrt(squares[kept]), basis[:, kept]
        if rows <= width:
            return cls(basis, scale, (own.T @ (basis / scale)).T, centre)
        return cls(own @ (basis / scale), scale, basis.T, centre)

    def weights(self, coordinates: Numbers) -> Numbers:
        """Of the vectors, from those of the orthonormal basis."""
        found: Numbers = self.right.T @ coordinates
        return found

    def ridge(self, qualities: Numbers, penalty: float) -> Numbers:
        """Coordinates of the weights."""
        shrunk = self.scale / (self.scale**2 + penalty)
        found: Numbers = shrunk[:, None] * (self.left.T @ (qualities - qualities.mean(0)))
        return found

    def best_penalty(self, qualities: Numbers) -> float:
        """The penalty with which rows that are left out are predicted best."""
        target = qualities - qualities.mean(0)
        projected = self.left.T @ target
        errors = []
        for penalty in PENALTIES:
            share = self.scale**2 / (self.scale**2 + penalty)
            fitted = self.left @ (share[:, None] * projected)
            leverage = (self.left**2) @ share + 1 / len(target)
            left = (target - fitted) / np.maximum(1 - leverage, 1e-6)[:, None]
            errors.append(error(target - left, target))
        return PENALTIES[int(np.argmin(errors))]

    def logistic(self, quality: Numbers, penalty: float, share: float) -> tuple[Numbers, float]:
        """Coordinates of the weights and the intercept, by steps of bounded curvature.

        The curvature is at most a quarter of that of squares (Böhning and Lindsay, 1988).
        """
        curvature = self.scale**2 / 4 + penalty
        found, intercept = np.zeros(len(self.scale)), float(np.log(share / (1 - share)))
        ahead, ahead_intercept, momentum = found, intercept, 1.0
        for _ in range(_STEPS):
            probability = _sigmoid(self.left @ (self.scale * ahead) + ahead_intercept)
            rest = probability - quality
            slope = self.scale * (self.left.T @ rest) + penalty * ahead
            new = ahead - slope / curvature
            new_intercept = ahead_intercept - 4 * float(rest.mean())
            further = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            step = float(np.abs(new - found).max(initial=abs(new_intercept - intercept)))
            rate = (momentum - 1) / further
            ahead = new + rate * (new - found)
            ahead_intercept = new_intercept + rate * (new_intercept - intercept)
            found, intercept, momentum = new, new_intercept, further
            if step < _CONVERGED:
                break
        return found, intercept


def _alike(vectors: Numbers, others: Numbers) -> Numbers:
    """Cosines of the angles between rows."""
    one = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    two = others / np.maximum(np.linalg.norm(others, axis=1, keepdims=True), 1e-12)
    found: Numbers = one @ two.T
    return found


def _near(alike: Numbers, qualities: Numbers, count: int, *, left_out: bool = False) -> Numbers:
    rows = np.arange(len(alike))[:, None]
    nearest = np.argpartition(-alike, min(count, alike.shape[1]) - 1, axis=1)[:, :count]
    own = alike[rows, nearest]
    weights = np.exp(_SHARPNESS * (own - own.max(1, keepdims=True)))
    weights *= count / weights.sum(1, keepdims=True)
    mean = qualities.mean(0)
    if left_out:  # without the row itself
        mean = (qualities.sum(0) - qualities) / max(1, len(qualities) - 1)
    total = np.einsum("rk,rkm->rm", weights, qualities[nearest])
    found: Numbers = (total + PRIOR * mean) / (count + PRIOR)
    return found


def _single(**arrays: Numbers) -> dict[str, npt.NDArray[np.float32]]:
    return {name: np.asarray(own, dtype=np.float32) for name, own in arrays.items()}


def _sigmoid(values: Numbers) -> Numbers:
    found: Numbers = 0.5 * (1 + np.tanh(0.5 * values))
    return found
