"""Figures of compared models, and whether one pays for itself."""

import math
from typing import Any

import numpy as np
import pytest
from compared import made

from linnet.evaluate import compare_figures
from linnet.evaluate.compare_config import ModelsConfig
from linnet.evaluate.compare_return import HOURS, ReturnConfig, compute


@pytest.mark.parametrize(("won", "lost"), [(0, 0), (7, 3), (3, 7), (10, 0), (5, 5), (21, 9)])
def test_wins_are_counted_exactly(won: int, lost: int) -> None:
    found = compare_figures.wins([1.0] * won + [0.0] * lost + [0.5] * 4, 0.95)
    assert (found.wins, found.losses, found.ties) == (won, lost, 4)
    trials = won + lost

    def tail(most: int, rate: float) -> float:
        return sum(
            math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(most + 1)
        )

    assert found.chance == pytest.approx(min(1.0, 2 * tail(min(won, lost), 0.5)))
    if not trials:
        assert found.low is None
        return
    assert found.low is not None
    assert found.high is not None
    # Clopper and Pearson: the rates that make the count just as unlikely as 2.5 %.
    if won:
        assert 1 - tail(won - 1, found.low) == pytest.approx(0.025, abs=1e-6)
    if lost:
        assert tail(won, found.high) == pytest.approx(0.025, abs=1e-6)
    if (won, lost) == (7, 3):  # as tables have it
        assert (found.low, found.high) == (
            pytest.approx(0.3475, abs=1e-4),
            pytest.approx(0.9333, abs=1e-4),
        )


def test_the_cost_of_a_solved_question_is_a_ratio_with_the_bootstraps_interval() -> None:
    draw = np.random.default_rng(5)
    solved = (draw.random(50) < 0.6).astype(float)
    cost = draw.random(50)
    scores = [{"cost": c, "solved": s, "quality": s} for c, s in zip(cost, solved, strict=True)]
    config = ModelsConfig(resamples=400, seed=7)
    found, undefined = compare_figures.figures(scores, config)
    drawn = np.random.default_rng(7).integers(50, size=(400, 50))
    expected = np.quantile([cost[row].sum() / solved[row].sum() for row in drawn], [0.025, 0.975])
    figure = found["cost_per_solved"]
    assert figure.value == pytest.approx(cost.sum() / solved.sum())
    assert figure.interval is not None
    assert (figure.interval.low, figure.interval.high) == pytest.approx(tuple(expected))
    assert not undefined
    none, undefined = compare_figures.figures(
        [{"cost": 1.0, "solved": 0.0, "quality": 0.0}] * 9, config
    )
    assert undefined["cost_per_solved"] == compare_figures.NOTHING_SOLVED
    interval = none["solved"].interval
    assert interval is not None
    assert interval.high == pytest.approx(1 - 0.025 ** (1 / 9))  # not certain after nine
    assert compare_figures.figures([{"quality": 1.0, "solved": 1.0}] * 9, config)[1] == {
        "cost": compare_figures.UNPRICED, "cost_per_solved": compare_figures.UNPRICED,
    }  # fmt: skip


OWN = made(
    queries_per_month=100_000.0, hardware=1200.0, watts=100.0, energy_price=0.3, setup_hours=10.0,
    monthly_hours=2.0, hourly_rate=50.0, months=24.0,
)  # fmt: skip


def test_the_return_is_the_formula_with_the_owners_numbers() -> None:
    found = compute("cloud", "own", ReturnConfig(**OWN), cost=0.004, low=0.003, high=0.005,
                    solved_more=0.02)  # fmt: skip
    values = {term.name: term.value for term in found.terms}
    energy = 0.1 * HOURS * 0.3
    saving = 400 - energy - 100
    assert values == pytest.approx({
        "bill": 400, "energy": energy, "upkeep": 100, "running": energy + 100, "investment": 1700,
        "saving": saving, "break_even": 1700 / saving, "net": 24 * saving - 1700,
        "return": (24 * saving - 1700) / 1700,
    })  # fmt: skip
    assert found.term("investment").formula == "1,200 + 10 × 50"
    assert found.unsolved == pytest.approx(2000)
    changes = {(each.number, each.value): each for each in found.changes}
    assert len(changes) == 2 + 2 * len(OWN)
    assert changes["cost", 0.003].net == pytest.approx(24 * (300 - energy - 100) - 1700)
    assert changes["hardware", 2400].break_even == pytest.approx(2900 / saving)
    assert changes["queries_per_month", 50_000].break_even == pytest.approx(
        1700 / (200 - energy - 100)
    )


@pytest.mark.parametrize(
    ("changed", "name", "missing", "value"),
    [
        ({"watts": None}, "break_even", ("watts",), None),
        ({"watts": None}, "bill", (), 400),
        ({"hourly_rate": None}, "investment", ("hourly_rate",), None),
        ({"months": None}, "break_even", (), ...),
        ({"months": None}, "return", ("months",), None),
        ({"cost": None}, "bill", ("cost",), None),
        ({"cost": 1e-6}, "break_even", (), None),  # never
        ({"hardware": 0.0, "setup_hours": 0.0}, "break_even", (), 0),
        ({"hardware": 0.0, "setup_hours": 0.0}, "return", (), None),
        ({"queries_per_month": 0.0}, "bill", (), 0),
    ],
)  # fmt: skip
def test_what_is_not_given_is_named_and_not_assumed(
    changed: dict[str, Any], name: str, missing: tuple[str, ...], value: Any
) -> None:
    cost = changed.pop("cost", 0.004)
    found = compute("cloud", "own", ReturnConfig(**{**OWN, **changed}), cost=cost)
    assert found.term(name).missing == missing
    if value is not ...:
        assert found.term(name).value == (None if value is None else pytest.approx(value))
