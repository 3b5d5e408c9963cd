import math
from typing import Any

import numpy as np
import pytest

from linnet.evaluate.figures import Interval, measure
from linnet.evaluate.metrics import METRICS


def bits_per_byte_interval(nats: Any, sizes: Any, **settings: Any) -> Interval | None:
    scores = [{"nats": n, "bytes": size} for n, size in zip(nats, sizes, strict=True)]
    return measure(METRICS["bits_per_byte"], scores, **settings).interval


def test_equal_documents_leave_no_doubt() -> None:
    interval = bits_per_byte_interval([2.0] * 20, [4] * 20)
    assert interval is not None
    assert interval.low == pytest.approx(interval.high)
    assert interval.low == pytest.approx(2 / math.log(2) / 4)


def test_one_document_says_nothing() -> None:
    assert bits_per_byte_interval([2.0], [4]) is None


def test_two_documents_against_the_exact_distribution() -> None:
    # Drawing 2 of 2 with replacement: both first 1/4, mixed 1/2, both second 1/4.
    nats = [1 * math.log(2), 3 * math.log(2)]
    wide = bits_per_byte_interval(nats, [1, 1], level=0.9)
    assert wide is not None
    assert (wide.low, wide.high) == (pytest.approx(1), pytest.approx(3))
    narrow = bits_per_byte_interval(nats, [1, 1], level=0.4)
    assert narrow is not None
    assert (narrow.low, narrow.high) == (pytest.approx(2), pytest.approx(2))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(7)
    covered = 0
    for seed in range(200):
        sizes = generator.integers(50, 500, size=80)
        rates = generator.normal(1.5, 0.3, size=80)
        interval = bits_per_byte_interval(
            rates * sizes * math.log(2), sizes, level=0.9, resamples=300, seed=seed
        )
        assert interval is not None
        covered += interval.low <= 1.5 <= interval.high
    # Binomial(200, 0.9) lies in 165..192 all but once in a thousand times.
    assert 160 <= covered <= 192


def test_the_seed_decides() -> None:
    nats, sizes = [1.0, 2.0, 4.0], [1, 2, 3]
    same = [bits_per_byte_interval(nats, sizes, seed=3) for _ in range(2)]
    assert same[0] == same[1]


def test_the_difference_of_unanimous_groups_is_not_certain() -> None:
    """As resampling gives one value only; the interval holds what chance may have hidden."""
    metric = METRICS["extractable_10000_difference"]
    rows = [{"trained": float(n < 40), "extractable_10000": 0.0} for n in range(100)]
    found = measure(metric, rows)
    assert found.value == 0
    assert found.interval is not None
    # 1 - 0.025 ** (1 / n), for 40 and 60 (Clopper and Pearson)
    assert found.interval.high == pytest.approx(1 - 0.025 ** (1 / 40))
    assert found.interval.low == pytest.approx(-(1 - 0.025 ** (1 / 60)))
    rows[0]["extractable_10000"] = 1.0
    found = measure(metric, rows)
    assert found.value == pytest.approx(1 / 40)
    assert found.interval is not None
    assert found.interval.low == 0
    assert found.interval.resamples > 0


@pytest.mark.parametrize("turn", [1, -1])
def test_an_auroc_of_few_items_all_in_order_is_not_certain(turn: int) -> None:
    """As resampling gives one value only; checked against the chance of such items."""
    metric, (positives, negatives) = METRICS["auroc"], (4, 7)
    rows = [{"answerable": 1.0, "answerability": turn * (9.0 + n)} for n in range(positives)]
    rows += [{"answerable": 0.0, "answerability": turn * float(n)} for n in range(negatives)]
    found = measure(metric, rows)
    assert found.value == (turn > 0)
    assert found.interval is not None
    ends = sorted(abs(found.value - end) for end in (found.interval.low, found.interval.high))
    assert ends == [0, pytest.approx(1 - 0.025 ** (1 / positives))]
    # Scores that are in order with just this chance: all items are in no more than 2.5 % of draws.
    truth = 1 - ends[1]
    draw = np.random.default_rng(1)
    shift = _shift(truth)
    own = draw.normal(shift, 1, (20_000, positives))
    others = draw.normal(0, 1, (20_000, negatives))
    assert (own.min(1) > others.max(1)).mean() <= 0.025


def _shift(auroc: float) -> float:
    """How far two normal distributions lie apart that have this AUROC."""
    from statistics import NormalDist

    return math.sqrt(2) * NormalDist().inv_cdf(auroc)
