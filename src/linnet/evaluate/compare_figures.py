"""From scores of answers to figures of models, and of one beside another.

Figures are those of ``metrics``, each with its interval; differences those of ``compare``, by the
paired bootstrap. Who won how often is counted as well: of the questions that one of both won, the
share is between the bounds of Clopper and Pearson (1934), and the sign test says how likely so
uneven a count is among equals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from linnet.evaluate.compare import CompareConfig, Difference, difference_of
from linnet.evaluate.figures import Figure, UndefinedError, measure
from linnet.evaluate.metrics import Metric, mean, ratio
from linnet.scoring.bounds import binomial_tail, exact_interval

UNPRICED = "no price is given"
NOTHING_SOLVED = "it solved nothing"
NOT_SAID = "the verdicts do not say what was solved"

FIGURES: tuple[Metric, ...] = (
    Metric("quality", "quality", ("quality",), mean, share=True, undefined="nothing was scored"),
    Metric("solved", "questions solved", ("solved",), mean, share=True, undefined=NOT_SAID),
    Metric("f1", "words shared with the expected answer (F1)", ("f1",), mean, share=True),
    Metric("exact_match", "answered word for word", ("exact_match",), mean, share=True),
    Metric("contains", "answers that contain the expected one", ("contains",), mean, share=True),
    Metric("grounded", "claims that the passage supports", ("grounded",), mean, share=True),
    Metric("refused", "answers that there is none", ("refused",), mean, "neither", share=True),
    Metric("cut", "answers that were too long and cut", ("cut",), mean, "lower", share=True),
    Metric(
        "seconds_p50", "seconds for an answer, median", ("seconds",),
        lambda seconds: np.quantile(seconds, 0.5, -1), "lower",
    ),
    Metric(
        "seconds_p95", "seconds for an answer, 95 of 100", ("seconds",),
        lambda seconds: np.quantile(seconds, 0.95, -1), "lower",
    ),
    Metric(
        "first_seconds_p50", "seconds until its first word, median", ("first_seconds",),
        lambda seconds: np.quantile(seconds, 0.5, -1), "lower", undefined="it wrote nothing",
    ),
    Metric("tokens_read", "tokens read for an answer", ("tokens_read",), mean, "neither"),
    Metric("tokens_written", "tokens written for an answer", ("tokens_written",), mean, "neither"),
    Metric("cost", "cost of an answer", ("cost",), mean, "lower", undefined=UNPRICED),
    Metric(
        "cost_per_solved", "cost of a solved question", ("cost", "solved"), ratio, "lower",
        undefined=NOTHING_SOLVED,
    ),
)  # fmt: skip
"""In the order in which they are shown."""
BY_NAME: Mapping[str, Metric] = {metric.name: metric for metric in FIGURES}
ALWAYS = ("quality", "solved", "cost", "cost_per_solved")
"""Those whose lack is explained."""
MONEY = ("cost", "cost_per_solved")

Scores = Mapping[str, float]


@dataclass(frozen=True)
class Wins:
    """How often the second model's answer was the better one."""

    wins: int
    ties: int
    losses: int
    share: float | None
    """Of the questions that either won, those that the second did; None: neither won any."""
    low: float | None
    high: float | None
    chance: float
    """How likely a count at least as uneven is where both are equally good (sign test)."""


def figures(
    scores: Sequence[Scores], config: CompareConfig
) -> tuple[dict[str, Figure], dict[str, str]]:
    """The figures of one model, and why there is none of some."""
    found: dict[str, Figure] = {}
    undefined: dict[str, str] = {}
    for metric in FIGURES:
        try:
            found[metric.name] = measure(
                metric, scores, level=config.level, resamples=config.resamples, seed=config.seed
            )
        except UndefinedError as error:
            if metric.name in ALWAYS:
                undefined[metric.name] = _why(metric, scores) or str(error)
    return found, undefined


def _why(metric: Metric, scores: Sequence[Scores]) -> str:
    """Which of its columns is missing."""
    if not any(scores):
        return "no question was answered"
    for column in metric.columns:
        if not any(column in each for each in scores):
            return BY_NAME[column].undefined
    return ""


def differences(
    first: Sequence[Scores], second: Sequence[Scores], config: CompareConfig
) -> tuple[Difference, ...]:
    """Of the same questions."""
    made = (difference_of(metric, first, second, config) for metric in FIGURES)
    return tuple(each for each in made if each is not None)


def wins(points: Sequence[float], level: float) -> Wins:
    """``points`` of the second: 1 where it is better, 0.5 for a tie, 0 where it is worse."""
    won, lost = sum(each > 0.5 for each in points), sum(each < 0.5 for each in points)
    decided = won + lost
    share, low, high = None, None, None
    if decided:
        share = won / decided
        low, high = exact_interval(won, decided, level)
    return Wins(won, len(points) - decided, lost, share, low, high, sign_test(won, lost))


def sign_test(won: int, lost: int) -> float:
    """The two-sided exact test of equal chances."""
    return min(1.0, 2 * binomial_tail(min(won, lost), won + lost, 0.5))
