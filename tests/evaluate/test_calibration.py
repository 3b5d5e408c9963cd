"""Each figure beside the definition, written out item by item."""

import contextlib
import itertools
import math

import numpy as np
import pytest

from linnet.evaluate.figures import UndefinedError, measure
from linnet.evaluate.metrics import METRICS
from linnet.scoring.calibration import (
    LEAST_IN_BIN,
    aurc,
    auroc,
    brier,
    ece,
    fpr_at_tpr,
    reliability,
    risk_coverage,
)


def drawn(seed: int, count: int, values: int) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes and confidences, with many equal ones where there are few values."""
    generator = np.random.default_rng(seed)
    confidence = generator.integers(0, values, size=count) / max(1, values - 1)
    right = (generator.random(count) < 0.2 + 0.6 * confidence).astype(float)
    right[:2] = 0, 1
    return right, confidence


CASES = [
    (seed, count, values) for seed, count in enumerate((2, 7, 40, 130)) for values in (2, 5, 999)
]


@pytest.mark.parametrize("case", CASES)
def test_auroc_is_the_share_of_pairs_in_the_right_order(case: tuple[int, int, int]) -> None:
    right, score = drawn(*case)
    pairs = [(p > n) + (p == n) / 2 for p in score[right == 1] for n in score[right == 0]]
    assert float(auroc(right, score)) == pytest.approx(sum(pairs) / len(pairs))


@pytest.mark.parametrize("case", CASES)
def test_fpr_is_that_of_the_highest_threshold_that_reaches_the_rate(
    case: tuple[int, int, int],
) -> None:
    right, score = drawn(*case)
    for threshold in sorted(set(score), reverse=True):
        passed = score >= threshold
        if passed[right == 1].mean() >= 0.95:
            break
    assert float(fpr_at_tpr(right, score)) == pytest.approx(passed[right == 0].mean())


@pytest.mark.parametrize("case", [(0, 4, 2), (1, 6, 3), (2, 7, 4), (3, 6, 99)])
def test_risk_is_the_mean_over_all_orders_of_equals(case: tuple[int, int, int]) -> None:
    right, confidence = drawn(*case)
    curves = []
    for order in itertools.permutations(range(len(right))):
        if all(confidence[a] >= confidence[b] for a, b in itertools.pairwise(order)):
            wrong = np.cumsum(1 - right[list(order)])
            curves.append(wrong / np.arange(1, len(right) + 1))
    assert risk_coverage(right, confidence) == pytest.approx(np.mean(curves, 0))
    assert float(aurc(right, confidence)) == pytest.approx(float(np.mean(curves)))


@pytest.mark.parametrize("count", [3, 19, 20, 57, 400])
def test_ece_compares_means_in_bins_of_equal_mass(count: int) -> None:
    right, confidence = drawn(count, count, 10**6)
    order = np.argsort(confidence)
    bins = max(1, min(10, count // LEAST_IN_BIN))
    total = 0.0
    for place in range(bins):
        own = order[count * place // bins : count * (place + 1) // bins]
        total += len(own) / count * abs(right[own].mean() - confidence[own].mean())
    assert float(ece(right, confidence)) == pytest.approx(total)
    assert reliability(right, confidence).items.sum() == count


def test_no_figure_depends_on_the_order_of_the_items() -> None:
    right, confidence = drawn(5, 60, 4)
    order = np.random.default_rng(0).permutation(60)
    for figure in (auroc, fpr_at_tpr, aurc, ece, brier):
        assert float(figure(right, confidence)) == pytest.approx(
            float(figure(right[order], confidence[order]))
        )


def test_brier_is_the_mean_squared_distance() -> None:
    right, confidence = drawn(1, 30, 99)
    expected = sum((c - r) ** 2 for c, r in zip(confidence, right, strict=True)) / 30
    assert float(brier(right, confidence)) == pytest.approx(expected)


def test_many_resamples_at_once_are_the_resamples_one_by_one() -> None:
    right, confidence = drawn(3, 25, 6)
    rows = np.random.default_rng(1).integers(25, size=(40, 25))
    for figure in (auroc, fpr_at_tpr, aurc, ece, brier):
        one_by_one = [float(figure(right[row], confidence[row])) for row in rows]
        assert figure(right[rows], confidence[rows]) == pytest.approx(one_by_one, nan_ok=True)


@pytest.mark.parametrize("name", ["auroc", "fpr_at_95_tpr", "auroc_of_confidence"])
@pytest.mark.parametrize("only", [0.0, 1.0])
def test_one_class_gives_a_reason_and_no_figure(name: str, only: float) -> None:
    metric = METRICS[name]
    scores = [dict(zip(metric.columns, (only, 0.3), strict=True))] * 9
    with pytest.raises(UndefinedError, match="one class"):
        measure(metric, scores)
    with pytest.raises(UndefinedError, match="one class"):
        measure(metric, [])


def test_an_interval_leaves_out_resamples_without_a_figure() -> None:
    columns = METRICS["auroc"].columns
    scores = [dict(zip(columns, pair, strict=True)) for pair in [(1, 0.9), (0, 0.2), (0, 0.95)]]
    figure = measure(METRICS["auroc"], scores, resamples=500)
    assert figure.value == 0.5
    assert figure.interval is not None
    # A resample has a figure if it has the first item but not thrice: 1 - 8/27 - 1/27.
    assert figure.interval.resamples / 500 == pytest.approx(18 / 27, abs=0.08)
    assert math.isfinite(figure.interval.low)
    assert math.isfinite(figure.interval.high)


def test_every_metric_is_finite_or_undefined_on_scores_that_are_all_alike() -> None:
    for metric in METRICS.values():
        for value in (0.0, 1.0):
            for count in (0, 1, 2, 30):
                scores = [dict.fromkeys(metric.columns, value)] * count
                with contextlib.suppress(UndefinedError):
                    figure = measure(metric, scores, resamples=30)
                    assert math.isfinite(figure.value), metric.name


def test_all_right_is_no_certainty() -> None:
    """The bound is Clopper and Pearson's: 0.025 ** (1 / 20)."""
    figure = measure(METRICS["accuracy"], [{"right": 1.0}] * 20)
    assert figure.interval is not None
    assert (figure.interval.low, figure.interval.high) == (pytest.approx(0.8316, abs=1e-4), 1.0)
    none = measure(METRICS["accuracy"], [{"right": 0.0}] * 20).interval
    assert none is not None
    assert (none.low, none.high) == (0.0, pytest.approx(0.1684, abs=1e-4))
