"""Whether a candidate is as good as the model, as far as the questions can tell.

The measure is the likelihood of right answers for each of their tokens: a candidate *keeps* 99 % if
it gives the tokens of right answers at least 0.99 times the likelihood (their geometric mean) that
the model gives them. Questions are the same for both, so that differences are taken question by
question, and what counts is the upper end of a one-sided interval of their mean, by resampling
questions (Efron's percentile bootstrap): not inferior by more than the margin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from linnet.compress.quality import Floats

Verdict = Literal["keeps", "loses", "not clear"]
RESAMPLES = 4000


@dataclass(frozen=True)
class Loss:
    """What a candidate loses on right answers."""

    kept: float
    """Share of the likelihood of their tokens that it keeps, as measured."""
    low: float
    """And at least, with the confidence that was asked for."""
    high: float
    verdict: Verdict
    needed: int | None = None
    """Questions that would likely tell, where it is not clear."""


def loss_of(
    before: Floats, after: Floats, tokens: Floats, *, keep: float, confidence: float, seed: int
) -> Loss:
    """A candidate's loss, of what each answer costs before and after, in nats.

    ``tokens``: of each answer. The interval is one-sided on both ends, each with ``confidence``.
    """
    rise = after - before
    mean = float(rise.sum() / tokens.sum())
    generator = np.random.default_rng(seed)
    drawn = generator.integers(len(rise), size=(RESAMPLES, len(rise)))
    means = rise[drawn].sum(1) / tokens[drawn].sum(1)
    least, most = np.quantile(means, [1 - confidence, confidence])
    margin = -math.log(keep)
    verdict: Verdict = "not clear"
    needed = None
    if most <= margin:
        verdict = "keeps"
    elif least > margin:
        verdict = "loses"
    elif mean != margin:
        # An interval's width shrinks with the root of the number of questions.
        width = (most - mean) if mean < margin else (mean - least)
        needed = math.ceil(len(rise) * (width / (margin - mean)) ** 2)
    return Loss(math.exp(-mean), math.exp(-float(most)), math.exp(-float(least)), verdict, needed)


def is_above_chance(right: Floats, other: Floats) -> bool:
    """Whether right answers cost a model less behind their own questions than behind others.

    If not there is nothing that compressing it could lose. By a sign test at 5 %.
    """
    better, count = int((right < other).sum()), len(right)
    tail = sum(math.comb(count, wins) for wins in range(better, count + 1)) / 2**count
    return bool(tail < 0.05)
