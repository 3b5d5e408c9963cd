"""Questions and answers as vectors that routers learn from.

A vector has three blocks, each about as long as 1: the numbers of ``features``, in standard
deviations from their mean; with an attempt, those of the answer, too; and what the question is
about, as an encoder's embedding or, without one, as the counts of its groups of characters in so
many hashed places, weighted by how rare they are.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from linnet.routing.features import (
    LONGEST,
    Attempt,
    attempt_features,
    question_features,
)

Numbers: TypeAlias = npt.NDArray[np.float64]
Embed: TypeAlias = Callable[[Sequence[str]], npt.NDArray[np.float32]]
"""Vectors of length one of questions."""

PLACES = 4096
_GROUPS = (3, 4, 5)  # characters
_MOST_DEVIATIONS = 5.0
"""Beyond these a number of a question counts as this many: one odd question decides nothing."""
_LEAST_SEEN = 0.02
"""Share of rows in which a number must be known at all."""


@dataclass(frozen=True)
class Numeric:
    """Features in standard deviations from their mean, where they are known; a second column says
    whether they are, of those that sometimes are not."""

    names: tuple[str, ...]
    means: tuple[float, ...]
    spreads: tuple[float, ...]
    gaps: tuple[str, ...]
    """Those that are not always known."""

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, float]]) -> Numeric:
        """What is usual in these rows; what does not vary in them is left out."""
        names, means, spreads, gaps = [], [], [], []
        for name in rows[0] if rows else ():
            column = np.array([row[name] for row in rows])
            known = column[np.isfinite(column)]
            if len(known) < max(2, _LEAST_SEEN * len(column)):
                continue
            if len(known) < len(column):
                gaps.append(name)
            spread = float(known.std())
            if spread > 1e-9 * max(1.0, float(np.abs(known).max())):
                names.append(name)
                means.append(float(known.mean()))
                spreads.append(spread)
        return cls(tuple(names), tuple(means), tuple(spreads), tuple(gaps))

    @property
    def width(self) -> int:
        """Columns."""
        return len(self.names) + len(self.gaps)

    def columns(self, rows: Sequence[Mapping[str, float]]) -> Numbers:
        """Rows about as long as 1."""
        if not self.width:
            return np.zeros((len(rows), 0))
        values = np.array([[row[name] for name in self.names] for row in rows])
        values = values.reshape(len(rows), len(self.names))
        found = (values - np.array(self.means)) / np.array(self.spreads)
        found = np.where(np.isfinite(found), found, 0.0)
        missing = np.array([[float(math.isnan(row[name])) for name in self.gaps] for row in rows])
        every = np.concatenate(
            [
                np.clip(found, -_MOST_DEVIATIONS, _MOST_DEVIATIONS),
                missing.reshape(len(rows), len(self.gaps)),
            ],
            axis=1,
        )
        scaled: Numbers = every / math.sqrt(self.width)
        return scaled


@dataclass(frozen=True)
class Space:
    """Makes vectors. Without ``rarity`` an encoder must be given to it."""

    question: Numeric
    answer: Numeric | None
    """None: of questions alone."""
    rarity: npt.NDArray[np.float32] | None
    """Of each place of hashed groups of characters; None: an encoder embeds."""
    weight: float = math.sqrt(2)
    """Of what a question is about."""
    answer_weight: float = math.sqrt(2)

    def vectors(
        self,
        questions: Sequence[Mapping[str, float]],
        answers: Sequence[Mapping[str, float]] | None,
        about: Numbers,
    ) -> Numbers:
        """Of features, and of what :meth:`about` or an encoder gave."""
        blocks = [self.question.columns(questions)]
        if self.answer is not None:
            assert answers is not None
            blocks.append(self.answer_weight * self.answer.columns(answers))
        if self.rarity is not None:
            about = weighted(about, self.rarity)
        return np.concatenate([*blocks, self.weight * about], axis=1)

    def to_json(self) -> dict[str, Any]:
        """All but the arrays."""

        def of(numeric: Numeric | None) -> dict[str, Any] | None:
            if numeric is None:
                return None
            return {
                "names": list(numeric.names), "means": list(numeric.means),
                "spreads": list(numeric.spreads), "gaps": list(numeric.gaps),
            }  # fmt: skip

        return {
            "question": of(self.question), "answer": of(self.answer), "weight": self.weight,
            "answer_weight": self.answer_weight,
        }  # fmt: skip

    @classmethod
    def from_json(cls, values: Mapping[str, Any], rarity: npt.NDArray[np.float32] | None) -> Space:
        """What :meth:`to_json` gave. Raises ValueError and what reading plain values raises."""

        def of(own: Mapping[str, Any], known: Mapping[str, float]) -> Numeric:
            names, gaps = tuple(map(str, own["names"])), tuple(map(str, own["gaps"]))
            means, spreads = tuple(map(float, own["means"])), tuple(map(float, own["spreads"]))
            if unknown := {*names, *gaps} - known.keys():
                raise ValueError(f"it looks at {min(unknown)}, which is not known here")
            if not len(names) == len(means) == len(spreads) or min(spreads, default=1.0) <= 0:
                raise ValueError("it holds no features")
            if not all(map(math.isfinite, (*means, *spreads))):
                raise ValueError("it holds no features")
            return Numeric(names, means, spreads, gaps)

        answer = values["answer"]
        if rarity is not None and rarity.shape != (PLACES,):
            raise ValueError("it holds no places")
        return cls(
            of(values["question"], question_features("")),
            None if answer is None else of(answer, attempt_features(Attempt("", ""))),
            rarity,
            float(values["weight"]),
            float(values["answer_weight"]),
        )


def counted(texts: Sequence[str]) -> Numbers:
    """How often groups of characters fall into each place, dampened: (texts, PLACES)."""
    found = np.zeros((len(texts), PLACES))
    for row, text in zip(found, texts, strict=True):
        folded = " ".join(text[:LONGEST].casefold().split())
        encoded = [
            zlib.crc32(folded[at : at + size].encode("utf-8", "surrogatepass")) % PLACES
            for size in _GROUPS
            for at in range(len(folded) - size + 1)
        ]
        if encoded:
            row += np.bincount(encoded, minlength=PLACES)
    dampened: Numbers = np.log1p(found)
    return dampened


def rarity_of(counts: Numbers) -> npt.NDArray[np.float32]:
    """How much each place tells: the rarer, the more."""
    having = (counts > 0).sum(0)
    found: npt.NDArray[np.float32] = np.log((1 + len(counts)) / (1 + having)).astype(np.float32)
    return found


def weighted(counts: Numbers, rarity: npt.NDArray[np.float32]) -> Numbers:
    """Rows of length one."""
    found = counts * rarity
    scaled: Numbers = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
    return scaled
