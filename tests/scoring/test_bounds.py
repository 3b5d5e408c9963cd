"""What a count of mistakes proves, beside the binomial distribution in whole numbers."""

import math
from fractions import Fraction

import numpy as np
import pytest

from linnet.scoring.bounds import (
    binomial_tail,
    certify,
    lower_bound,
    sequence,
    trials_needed,
    upper_bound,
)


def exact_tail(errors: int, trials: int, rate: Fraction) -> Fraction:
    return sum(
        (math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(errors + 1)),
        Fraction(0),
    )


@pytest.mark.parametrize("trials", [1, 7, 59, 400])
@pytest.mark.parametrize("rate", [Fraction(1, 20), Fraction(1, 2), Fraction(9, 10)])
def test_the_tail_is_that_of_the_binomial_distribution(trials: int, rate: Fraction) -> None:
    for errors in {0, 1, trials // 2, trials - 1, trials}:
        wanted = float(exact_tail(errors, trials, rate))
        assert binomial_tail(errors, trials, float(rate)) == pytest.approx(wanted, rel=1e-9)
    assert binomial_tail(-1, trials, float(rate)) == 0


@pytest.mark.parametrize(("errors", "trials"), [(0, 59), (1, 93), (2, 124), (5, 208)])
def test_so_many_answers_prove_five_percent(errors: int, trials: int) -> None:
    assert trials_needed(errors, 0.05) == trials
    assert upper_bound(errors, trials) <= 0.05 < upper_bound(errors, trials - 1)
    scores, right = np.ones(trials), np.arange(trials) >= errors
    assert certify(scores, right, [0.5], 0.05).kept
    short = certify(scores[:-1], right[:-1], [0.5], 0.05)
    assert not short.kept
    assert short.rate == upper_bound(errors, trials - 1) > 0.05


@pytest.mark.parametrize(("errors", "trials"), [(0, 10), (3, 40), (20, 21), (10, 10)])
def test_bounds_are_where_the_exact_test_turns(errors: int, trials: int) -> None:
    """Published values: 0 of 10 gives 0.2589 (the rule 1 - 0.05 ** 0.1), 3 of 40 0.1821."""
    high, low = upper_bound(errors, trials), lower_bound(errors, trials)
    if errors < trials:
        assert float(exact_tail(errors, trials, Fraction(high))) == pytest.approx(0.05)
    if errors:
        above = 1 - exact_tail(errors - 1, trials, Fraction(low))
        assert float(above) == pytest.approx(0.05)
    assert (low == 0) == (errors == 0)
    assert (high == 1) == (errors == trials)
    if not errors:
        assert high == pytest.approx(1 - 0.05 ** (1 / trials))


def test_nothing_is_promised_of_nothing() -> None:
    none = certify(np.empty(0), np.empty(0, bool), [], 0.05)
    assert (none.threshold, none.rate, none.kept) == (None, 1.0, False)
    unanswered = certify(np.zeros(100), np.ones(100, bool), [0.5], 0.05)
    assert (unanswered.threshold, unanswered.rate, unanswered.answered) == (None, 1.0, 0)
    assert sequence(np.empty(0), np.empty(0, bool), 0.05, trials=10) == []


def test_the_test_ends_at_the_first_threshold_that_fails() -> None:
    scores = np.concatenate([np.full(100, 0.9), np.full(100, 0.6), np.full(400, 0.3)])
    right = np.concatenate([np.ones(100), np.zeros(20), np.ones(480)]).astype(bool)
    found = certify(scores, right, [0.9, 0.6, 0.3], 0.05)
    assert (found.threshold, found.answered, found.wrong) == (0.9, 100, 0)
    # (All 600 would pass by themselves: 20 of 600.)
    assert certify(scores, right, [0.3], 0.05).kept


def test_where_few_questions_prove_little_the_best_that_can_be_proven_is_promised() -> None:
    """54 and 27 questions: no threshold can pass at 5 %, which takes 59 without a mistake."""
    apart = np.concatenate([np.linspace(0.9, 0.3, 30), np.linspace(0.29, 0, 24)])
    right = np.array([3 <= place < 28 for place in range(54)])  # the surest are wrong
    (first, *_) = thresholds = sequence(apart, right, 0.05, trials=27)
    assert 0.25 < first < 0.4
    scores = np.linspace(0.85, 0, 27)
    found = certify(scores, scores > 0.3, thresholds, 0.05)
    assert (found.wrong, found.kept) == (0, False)
    assert found.rate == upper_bound(0, found.answered) < 0.2
    # Those that no question reaches prove nothing, and keep none after them from being tested.
    assert certify(scores, scores > 0.3, [0.99, 0.9, *thresholds], 0.05) == found


def draw(generator: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose answers are right the more often the higher they are."""
    scores = generator.random(count)
    return scores, generator.random(count) < 0.55 + 0.45 * np.sqrt(scores)


def true_rate(threshold: float) -> float:
    levels = np.linspace(threshold, 1, 10_001)
    return float((0.45 - 0.45 * np.sqrt(levels)).mean())


def test_the_promise_is_broken_no_more_often_than_it_says() -> None:
    """The true rate is known here; a sequence that is chosen apart keeps the promise."""
    generator = np.random.default_rng(7)
    broken = kept = 0
    runs, rate = 150, 0.1
    for _ in range(runs):
        thresholds = sequence(*draw(generator, 300), rate, trials=600)
        found = certify(*draw(generator, 600), thresholds, rate)
        if found.kept:
            kept += 1
            assert found.threshold is not None
            broken += true_rate(found.threshold) > rate
    assert kept > 0.8 * runs  # (or nothing would be shown)
    # 5 % of the runs, and as many more as chance brings in one test of a thousand.
    assert binomial_tail(broken - 1, runs, 0.05) < 0.999
