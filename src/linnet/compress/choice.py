"""Whether a candidate is as good as the model, as far as the questions can tell.

The measure is the likelihood of right answers for each of their tokens: a candidate *keeps* 99 % if
it gives the tokens of right answers at least 0.99 times the likelihood (their geometric mean) that
the model gives them. Questions are the same for both, so that differences are taken question by
question, and what counts is the upper end of a one-sided interval of their mean, by resampling
questions (Efron's percentile bootstrap): not inferior by more than the margin.

Many candidates are judged by the same questions. They are accepted in an order that comes from the
calibration text, up to the first that may lose more: where that text is not the questions' own,
none of those that are accepted does, with the confidence that each is tested with (a fixed
sequence).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

import numpy as np

from linnet.compress.quality import Floats
from linnet.errors import ConfigError
from linnet.output import human_bytes

if TYPE_CHECKING:
    from linnet.compress.candidates import Candidate
    from linnet.compress.config import CompressConfig

Verdict = Literal["keeps", "loses", "not clear"]
_OF_SIZE: Mapping[Verdict, str] = {
    "keeps": "that is surely {}",
    "loses": "that is less than {}",
    "not clear": "whether that is {} is not clear",
}
RESAMPLES = 4000
_DRAWN_AT_ONCE = 1 << 20


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
    least, most = np.quantile(_resampled(rise, tokens, seed), [1 - confidence, confidence])
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


def _resampled(rise: Floats, tokens: Floats, seed: int) -> Floats:
    """The rise for each token, of questions drawn again and again."""
    generator, count = np.random.default_rng(seed), len(rise)
    rows, means = max(1, _DRAWN_AT_ONCE // count), []
    for start in range(0, RESAMPLES, rows):
        drawn = generator.integers(count, size=(min(rows, RESAMPLES - start), count))
        means.append(rise[drawn].sum(1) / tokens[drawn].sum(1))
    return np.concatenate(means)


def is_above_chance(right: Floats, other: Floats) -> bool:
    """Whether right answers cost a model less behind their own questions than behind others.

    If not there is nothing that compressing it could lose. By a sign test at 5 %.
    """
    better, count = int((right < other).sum()), len(right)
    every = math.lgamma(count + 1) - count * math.log(2)
    tail = sum(
        math.exp(every - math.lgamma(wins + 1) - math.lgamma(count - wins + 1))
        for wins in range(better, count + 1)
    )
    return tail < 0.05


@dataclass(frozen=True)
class Choice:
    """The candidate that was taken, and why."""

    name: str
    reason: str


def choose(candidates: Sequence[Candidate], config: CompressConfig) -> Choice:
    """The candidate that does what was asked for. Raises ConfigError where none does, saying by how
    much the best one misses."""
    if config.most_bytes:
        return _best_of_size(candidates, config)
    ordered = sorted(candidates, key=lambda each: (each.expected, -each.bytes))
    keeping = list(takewhile(_keeps, ordered))
    share = _percent(config.kept)
    if not keeping:
        raise ConfigError(_miss(ordered[0], ordered[1:], config))
    if config.speed:
        timed = [(each.speed.one, each) for each in keeping if each.speed is not None]
        if not timed:
            raise ConfigError(f"no speed could be measured: {keeping[0].remark}")
        speed, best = max(timed, key=lambda pair: pair[0])
        why = f"the fastest of {len(timed)} that surely keep {share}, {speed:.0f} tokens a second"
    else:
        best = min(keeping, key=lambda each: (each.bytes, -_kept(each)))
        why = f"the smallest of {len(keeping)} that surely keep {share}"
    assert best.loss is not None
    why += f": {best.loss.kept:.2%}, at least {best.loss.low:.2%}"
    if not config.speed:
        why += _not_taken(ordered[len(keeping) :], best)
    return Choice(best.name, why)


def pareto(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that none is smaller and better than; smallest first."""
    front: list[Candidate] = []
    judged = [each for each in candidates if each.loss]
    for each in sorted(judged, key=lambda c: (c.bytes, -_kept(c))):
        if not front or _kept(each) > _kept(front[-1]):
            front.append(each)
    return front


def _best_of_size(candidates: Sequence[Candidate], config: CompressConfig) -> Choice:
    fitting = [each for each in candidates if each.bytes <= config.most_bytes]
    if not fitting:
        least = min(candidates, key=lambda each: each.bytes)
        raise ConfigError(
            f"no candidate has at most {config.size}; the smallest, {least.name}, has "
            f"{human_bytes(least.bytes)}, {human_bytes(least.bytes - config.most_bytes)} too many"
        )
    best = max(fitting, key=_kept)
    assert best.loss is not None
    return Choice(
        best.name,
        f"of {len(fitting)} that have at most {config.size} it keeps most: "
        f"{best.loss.kept:.2%} ({best.loss.low:.2%} to {best.loss.high:.2%}); "
        + _OF_SIZE[best.loss.verdict].format(_percent(config.kept)),
    )


def _not_taken(behind: Sequence[Candidate], best: Candidate) -> str:
    """Why a smaller one is not taken that keeps as much, where there is one."""
    lucky = [each for each in behind if _keeps(each) and each.bytes < best.bytes]
    if not lucky:
        return ""
    return (
        f"; {min(lucky, key=lambda each: each.bytes).name} is smaller and keeps it too, but that "
        f"may be chance: less was expected to be lost from {behind[0].name}, which does not surely "
        "keep it"
    )


def _miss(first: Candidate, others: Sequence[Candidate], config: CompressConfig) -> str:
    """Why nothing is accepted: the first of the sequence, by how much it misses, and what helps."""
    assert first.loss is not None
    loss, share = first.loss, _percent(config.kept)
    said = (
        f"no candidate surely keeps {share} of the likelihood of right answers; {first.name}, from "
        f"which least is expected to be lost, keeps {loss.kept:.2%}, at least {loss.low:.2%}: "
        f"{100 * (config.kept - loss.low):.2f} points too few"
    )
    if loss.verdict == "loses":
        said += f", and {loss.high:.2%} at most"
    elif loss.needed:
        said += f"; about {loss.needed:,} questions would tell"
    lucky = [each.name for each in others if _keeps(each)]
    if lucky:
        said += f"; that {lucky[0]} does better may be chance, as more was expected to be lost"
    return f"{said}; ask for less with --keep, or give more questions"


def _keeps(candidate: Candidate) -> bool:
    return candidate.loss is not None and candidate.loss.verdict == "keeps"


def _kept(candidate: Candidate) -> float:
    return candidate.loss.kept if candidate.loss else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.12g}%"
