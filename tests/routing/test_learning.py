"""Learners beside closed forms and brute force, RouteLLM's figures, and targets that are kept."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from outcomes_made import made

from linnet.errors import ConfigError
from linnet.routing import learners
from linnet.routing.config import RouterTrainConfig
from linnet.routing.curves import curve
from linnet.routing.queries import read_queries
from linnet.routing.targets import (
    HeldOut,
    Target,
    chosen_of,
    is_positive,
    scores_of,
    threshold_for,
)
from linnet.routing.training import folds_of, held_out_predictions, models_of, table_of

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "routing" / "gsm8k_responses.csv"
WEAK = "mistralai/Mixtral-8x7B-Instruct-v0.1"


def test_a_curve_has_the_figures_of_routellm() -> None:
    # GSM8K.evaluate and generate_results of RouteLLM (0b64fda), run on these rows with pandas 2.
    rows = range(60)
    scores = np.array([((i * 37) % 101) / 101 for i in rows])
    strong = np.array([float((i * 7) % 10 != 3) for i in rows])
    weak = np.array([float((i * 11) % 10 > 3 and (i * 37) % 101 < 80) for i in rows])
    found = curve(scores, weak, strong)
    assert found.shares == pytest.approx(np.linspace(0, 1, 11))
    accuracies = (
        41.666666666667, 48.333333333333, 58.333333333333, 66.666666666667, 68.333333333333,
        68.333333333333, 73.333333333333, 80, 78.333333333333, 80, 90,
    )  # fmt: skip
    assert 100 * found.qualities == pytest.approx(accuracies)
    assert found.thresholds[::-1][1:3] == pytest.approx([0.098019801980, 0.196039603960])
    assert 100 * found.area == pytest.approx(68.75)
    assert found.apgr == pytest.approx(0.560344827586)
    calls = [100 * found.calls(part) for part in (0.2, 0.5, 0.8)]
    assert calls == pytest.approx([13.00, 29.00, 90.33], abs=0.005)


@pytest.fixture(scope="module")
def problem() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(70, 9)) / 3
    odds = vectors @ generator.normal(size=(9, 2)) * 3
    return vectors, (generator.random((70, 2)) < 1 / (1 + np.exp(-odds))).astype(float)


@pytest.mark.parametrize("wide", [False, True])
def test_ridge_regression_solves_the_normal_equations_with_the_best_penalty(
    problem: tuple[np.ndarray, np.ndarray], wide: bool
) -> None:
    vectors, qualities = problem
    if wide:  # more columns than rows: the other way to decompose
        vectors = np.concatenate([vectors, np.random.default_rng(1).normal(size=(70, 90)) / 30], 1)
    centred, target = vectors - vectors.mean(0), qualities - qualities.mean(0)

    def solved(rows: np.ndarray, penalty: float) -> np.ndarray:
        own = centred[rows]
        eye = np.eye(own.shape[1])
        return np.linalg.solve(own.T @ own + penalty * eye, own.T @ target[rows])

    decomposed = learners._Decomposed.of(vectors)
    every = np.ones(70, dtype=bool)
    for penalty in learners.PENALTIES:
        own = decomposed.weights(decomposed.ridge(qualities, penalty))
        assert own == pytest.approx(solved(every, penalty), abs=1e-8)
    chosen = decomposed.best_penalty(qualities)
    errors = {}
    for penalty in learners.PENALTIES:  # by leaving each row out in truth
        missed = []
        for row in range(70):
            others = np.arange(70) != row
            mean, centre = qualities[others].mean(0), vectors[others].mean(0)
            own, aim = vectors[others] - centre, qualities[others] - mean
            eye = np.eye(own.shape[1])
            weights = np.linalg.solve(own.T @ own + penalty * eye, own.T @ aim)
            missed.append(qualities[row] - mean - (vectors[row] - centre) @ weights)
        gained = np.array(missed)[:, 1] - np.array(missed)[:, 0]
        errors[penalty] = float((gained**2).mean())
    assert errors[chosen] == pytest.approx(min(errors.values()), rel=1e-3)


def test_logistic_regression_is_where_its_slope_is_nought(
    problem: tuple[np.ndarray, np.ndarray],
) -> None:
    vectors, qualities = problem
    fitted = learners.fit(("ridge", "logistic"), vectors, qualities)["logistic"]
    assert isinstance(fitted, learners.Logistic)
    penalty = learners._Decomposed.of(vectors).best_penalty(qualities)
    rest = fitted.predict(vectors) - qualities
    shares = qualities.mean(0)
    slope = (vectors - vectors.mean(0)).T @ rest + penalty * shares * (1 - shares) * fitted.weights
    assert np.abs(slope).max() < 1e-3
    assert np.abs(rest.mean(0)).max() < 1e-4


def test_neighbours_are_the_most_alike(problem: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, qualities = problem
    fitted = learners.fit(("neighbours",), vectors, qualities)["neighbours"]
    assert isinstance(fitted, learners.Neighbours)
    asked = np.random.default_rng(5).normal(size=(4, 9))
    for row, found in zip(asked, fitted.predict(asked), strict=True):
        cosines = [row @ v / math.sqrt((row @ row) * (v @ v)) for v in vectors]
        nearest = sorted(range(70), key=lambda n: -cosines[n])[: fitted.count]
        weights = np.exp(20 * (np.array([cosines[n] for n in nearest]) - max(cosines)))
        own = (weights / weights.mean()) @ qualities[nearest]
        mixed = (own + 5 * qualities.mean(0)) / (fitted.count + 5)
        assert found == pytest.approx(mixed)


@pytest.mark.parametrize("kind", learners.LEARNERS)
def test_what_was_learned_is_kept(problem: tuple[np.ndarray, np.ndarray], kind: str) -> None:
    vectors, qualities = problem
    fitted = learners.fit((kind,), vectors, qualities)[kind]
    again = learners.learned_from(kind, fitted.arrays())
    assert again.predict(vectors) == pytest.approx(fitted.predict(vectors), abs=1e-5)
    broken = {name: own[..., :0] for name, own in fitted.arrays().items()}
    with pytest.raises((ValueError, IndexError)):
        learners.learned_from(kind, broken)


def test_held_out_predictions_know_nothing_of_their_fold() -> None:
    queries = made(60)
    config = RouterTrainConfig(encoder="lexical")
    table = table_of(queries.rows, models_of(queries, config), config, None)
    folds = folds_of(60, 5, 0)
    before = held_out_predictions(table, ("ridge",), folds, answers=True)["ridge"]
    table.qualities[folds == 2] = 1 - table.qualities[folds == 2]
    after = held_out_predictions(table, ("ridge",), folds, answers=True)["ridge"]
    assert (before[folds == 2] == after[folds == 2]).all()
    assert not np.allclose(before[folds != 2], after[folds != 2])


def test_nothing_of_the_larger_models_answer_is_looked_at() -> None:
    queries = made(30)
    config = RouterTrainConfig(encoder="lexical")
    before = table_of(queries.rows, ("local", "cloud"), config, None)
    for row in queries.rows:
        cloud = row.outcomes["cloud"]
        object.__setattr__(cloud, "answer", "another answer of another length: 1 + 1 = 3")
        object.__setattr__(cloud, "signals", {"logprob": -9.0})
    after = table_of(queries.rows, ("local", "cloud"), config, None)
    assert before.answer_rows is not None
    assert repr(before.answer_rows) == repr(after.answer_rows)  # (nan is not itself)
    assert before.question_rows == after.question_rows


def test_thresholds_send_first_what_gains_most_for_its_price() -> None:
    gains = np.array([[0.4, 0.5], [0.1, 0.3], [-0.2, -0.1], [0.05, -0.3]])
    prices = np.array([0.5, 1.5])
    assert scores_of(gains, prices) == pytest.approx([0.8, 0.2, -0.1, 0.1])
    assert chosen_of(gains, prices, 0.6).tolist() == [1, 0, 0, 0]
    assert chosen_of(gains, prices, 0.15).tolist() == [1, 2, 0, 0]  # .3 - .225 > .1 - .075
    assert chosen_of(gains, prices, -1).tolist() == [2, 2, 2, 1]
    assert chosen_of(gains, prices, math.inf).tolist() == [0, 0, 0, 0]


def test_a_bet_on_a_mean_of_nought_is_seldom_won() -> None:
    generator = np.random.default_rng(0)
    outcomes = np.array([-0.9, 0.0, 0.1, 1.0])
    chances = np.array([0.1, 0.71, 0.1, 0.08])
    chances[1] += 1 - chances.sum()
    assert outcomes @ chances == pytest.approx(0.0, abs=1e-9)
    won = sum(
        is_positive(generator.choice(outcomes, size=300, p=chances), 0.9, 0.9) for _ in range(300)
    )
    assert won <= 300 * 0.1 + 2 * math.sqrt(300 * 0.09)
    better = generator.choice(outcomes, size=1000, p=[0.02, 0.58, 0.2, 0.2])
    assert is_positive(better, 0.9, 0.95)


def routed(count: int = 600, *, costs: bool = True, seed: int = 0) -> HeldOut:
    """Gains are expected as they are; the larger model is right nine times of ten."""
    generator = np.random.default_rng(seed)
    hard = generator.random(count)
    local = (generator.random(count) > hard).astype(float)
    cloud = (generator.random(count) < 0.9).astype(float)
    price = np.stack([np.zeros(count), np.full(count, 0.01)], 1)
    return HeldOut(
        (0.9 - (1 - hard))[:, None], np.stack([local, cloud], 1), price if costs else price * np.nan
    )


def test_targets_are_kept_on_questions_like_these() -> None:
    held_out, others = routed(), routed(20_000, seed=1)
    for target, reached in (
        (Target(quality=0.9), lambda q, c, s: q.mean() >= 0.9 * others.qualities[:, 1].mean()),
        (Target(share=0.3), lambda q, c, s: s.mean() <= 0.3),
        (Target(cost=0.004), lambda q, c, s: c.mean() <= 0.004),
        (Target(quality=0.8, share=0.7), lambda q, c, s: s.mean() <= 0.7),
    ):
        threshold = threshold_for(held_out, target)
        assert reached(*others.routed(threshold)), target
    # The cheapest that is enough: less is sent for less quality.
    less, more = (threshold_for(held_out, Target(quality=q)) for q in (0.7, 0.95))
    assert less > more
    # The best model's own quality is had by sending everything, or almost.
    assert others.routed(threshold_for(held_out, Target(quality=1.0)))[2].mean() > 0.8
    # What surely loses is not sent, whatever it may cost.
    assert threshold_for(held_out, Target(share=1.0)) == 0.0


@pytest.mark.parametrize(
    ("held_out", "target", "said"),
    [
        (routed(), Target(quality=1.0, share=0.5), r"quality 1 cannot.*that can is 0\.8;"),
        (routed(), Target(quality=0.95, cost=0.001), r"together with cost 0.001.*that can is 0\.5"),
        (routed(costs=False), Target(cost=1.0), "needs the cost of every answer"),
        (routed(20), Target(cost=1.0), "needs 30 questions"),
        (routed(25), Target(quality=0.9, share=0.6), r"held-out questions reach .* of 25 sent"),
    ],
)
def test_a_target_out_of_reach_is_refused_with_the_best_that_is(
    held_out: HeldOut, target: Target, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        threshold_for(held_out, target)


def test_a_local_model_that_is_as_good_keeps_everything() -> None:
    qualities = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]] * 20)
    held_out = HeldOut(np.zeros((60, 1)), qualities, np.zeros((60, 2)))
    assert threshold_for(held_out, Target(quality=1.0)) == math.inf


def test_costs_of_a_cascade_count_both_answers() -> None:
    costs = np.array([[0.1, 1.0], [0.1, 1.0]])
    gains, qualities = np.array([[0.5], [-0.5]]), np.array([[0.0, 1.0], [1.0, 1.0]])
    alone, after = (HeldOut(gains, qualities, costs, after_attempt=own) for own in (False, True))
    assert alone.routed(0.0)[1].tolist() == [1.0, 0.1]
    assert after.routed(0.0)[1].tolist() == [1.1, 0.1]


@pytest.mark.skipif(not GSM8K.is_file(), reason=f"needs {GSM8K}")
def test_published_results_are_told_apart() -> None:
    """One assignment, without what questions are about; the figures are the benchmark's."""
    queries = read_queries([GSM8K])
    config = RouterTrainConfig(local=WEAK, encoder="lexical")
    models = models_of(queries, config)
    assert (len(queries.rows), queries.notes) == (1319, [])
    table = table_of(queries.rows, models, config, None)
    table.about, table.is_embedded = np.zeros((1319, 1)), True
    for answers, least in ((False, 0.6), (True, 0.75)):
        predicted = held_out_predictions(table, ("ridge",), folds_of(1319, 3, 0), answers=answers)
        found = curve(learners.gains(predicted["ridge"])[:, 0], *table.qualities.T)
        assert found.apgr > least
        assert found.weak == pytest.approx(0.6384, abs=1e-4)
        assert found.strong == pytest.approx(0.8567, abs=1e-4)
