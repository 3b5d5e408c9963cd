"""What became of what a gate promises, counted from verdicts.

People who give one are not drawn at random, so there are two statements: what follows if they are
like all others, and what is certain whatever the answers are that nobody judged. A sample drawn at
random (``checking.draw``) needs neither.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from linnet.monitor.intervals import Numbers, Share
from linnet.scoring.bounds import lower_bound, trials_needed, upper_bound

Kept: TypeAlias = Literal["kept", "broken", "open"]


@dataclass(frozen=True)
class Promise:
    """What a gate promises: at most this share of what it lets be answered is wrong."""

    rate: float
    confidence: float
    of: str = "generated"


@dataclass(frozen=True)
class Realised:
    """What became of a promise, as far as answers were judged."""

    answers: int
    """Those that were let through."""
    judged: int
    wrong: int
    error: Share
    """Of the judged ones; of all, if these are like all others."""
    least: float | None
    """Of all, whatever the others are."""
    most: float | None
    promised: float | None
    kept: Kept
    """``open``: not enough are judged to say."""
    needed: int | None
    """How many must be judged, with as many wrong per judged as now, to know that it is kept."""
    is_sample: bool = False
    """Whether they were drawn at random."""


def realised(
    answers: int, verdicts: Numbers, promise: Promise | None, *, is_sample: bool
) -> Realised:
    """Of so many answers that a gate let through; ``verdicts``: 1 or 0 for each that was judged."""
    count, wrong = len(verdicts), int((verdicts == 0).sum())
    rate = promise.rate if promise is not None else None
    kept: Kept = "open"
    needed = None
    if rate is not None and promise is not None:
        if count and lower_bound(wrong, count, promise.confidence) > rate:
            kept = "broken"
        elif count and upper_bound(wrong, count, promise.confidence) <= rate:
            kept = "kept"
        elif not count or wrong / count < rate:
            needed = _needed(wrong, count, promise)
    return Realised(
        answers, count, wrong, Share.of(wrong, count),
        wrong / answers if answers else None,
        (wrong + answers - count) / answers if answers else None,
        rate, kept, needed, is_sample,
    )  # fmt: skip


def _needed(wrong: int, count: int, promise: Promise) -> int | None:
    """How many must be judged until the promise is known to be kept, if as many are wrong."""
    share = wrong / count if count else 0.0
    total = trials_needed(0, promise.rate, promise.confidence)
    while total < 100_000:
        errors = math.ceil(share * total)
        if upper_bound(errors, total, promise.confidence) <= promise.rate:
            return total
        total = math.ceil(total * 1.1)
    return None
