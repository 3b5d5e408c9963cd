"""Exposure beside enumeration and theory, extraction beside real sampling, BLEU beside NLTK."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from linnet.evaluate.exposure import CHANCE, Ranking, SkewNormal
from linnet.evaluate.verbatim import bleu, edit_similarity, extraction_probability
from linnet.generate.engine import Continuation, Request
from linnet.generate.sampling import Sampling
from linnet.generate.torch_engine import TorchEngine
from linnet.model import load_checkpoint

SUBMIT = TorchEngine.submit  # before the stand-in of conftest


@pytest.mark.parametrize(
    ("shape", "value", "expected"),
    [  # scipy.stats.skewnorm.logcdf, SciPy 1.17.1
        (3, -1.0, -9.785803478008937),
        (-4, -9.0, -42.93500193277217),
        (0.8, -6.0, -34.59045682912093),
        (-2, 1.5, -4.071137322012073e-05),
    ],
)
def test_the_tail_of_a_skew_normal_is_scipys(shape: float, value: float, expected: float) -> None:
    found = SkewNormal(5.0, 2.0, shape).log_below(5 + 2 * value)
    assert found == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_moments_give_the_distribution_that_was_drawn_from() -> None:
    random = np.random.default_rng(0)
    delta = 3 / math.sqrt(10)
    drawn = delta * abs(random.normal(size=50_000)) + math.sqrt(1 - delta**2) * random.normal(
        size=50_000
    )
    found = SkewNormal.fit(20 + 4 * drawn)
    assert found is not None
    assert (found.location, found.scale, found.shape) == pytest.approx((20, 4, 3), rel=0.05)
    assert found.fits(20 + 4 * drawn[:1000])
    assert not found.fits(np.concatenate([20 + 4 * drawn[:500], 60 + drawn[:500]]))
    assert SkewNormal.fit(np.full(10, 3.0)) is None


def test_exposure_is_that_of_enumeration() -> None:
    """All 10^4 sequences of four digits, of which some are unusually likely."""
    random = np.random.default_rng(1)
    table = random.gumbel(size=(4, 10))
    costs = np.array([
        sum(table[place, digit] for place, digit in enumerate(digits))
        for digits in itertools.product(range(10), repeat=4)
    ])  # fmt: skip
    most = math.log2(10**4)
    order = np.argsort(costs)
    complete = Ranking(costs[1:], log2_candidates=most, complete=True).exposure(costs[0])
    rank = 1 + (costs < costs[0]).sum()
    assert (complete.rank, complete.of, complete.method) == (rank, 10**4, "counted")
    assert complete.bits == pytest.approx(most - math.log2(rank))

    sample = Ranking(random.choice(costs, 1000, replace=False), log2_candidates=most)
    for rank in (50, 400, 5000):  # the sample resolves these
        found = sample.exposure(costs[order[rank - 1]])
        assert found.method == "sampled"
        assert found.bits == pytest.approx(most - math.log2(rank), abs=0.7)
    found = sample.exposure(costs[order[0]] - 0.01)
    assert found.method == "extrapolated"
    assert math.log2(1001) <= found.bits <= most
    assert sample.exposure(-1e6).bits == most  # no exposure is higher


def test_a_sample_unlike_the_distribution_gives_a_bound() -> None:
    costs = np.repeat([10.0, 30.0], 500) + np.random.default_rng(2).normal(size=1000) / 10
    found = Ranking(costs, log2_candidates=29.9).exposure(2.0)
    assert (found.method, found.rank) == ("bound", 1)
    assert found.bits == pytest.approx(math.log2(1001))


def test_what_a_model_finds_alike_shares_a_rank() -> None:
    found = Ranking(np.full(999, 7.0), log2_candidates=29.9).exposure(7.0)
    assert found.rank == 500.5
    assert found.bits == pytest.approx(1, abs=0.01)


def test_what_was_never_planted_has_the_exposure_of_chance() -> None:
    """Its rank is uniform: 1 / ln 2 bits on average, with a standard deviation of as many."""
    random = np.random.default_rng(3)
    ranking = Ranking(random.normal(20, 3, 1000), log2_candidates=29.9)
    found = [ranking.exposure(nats).bits for nats in random.normal(20, 3, 4000)]
    assert pytest.approx(1.4427, abs=1e-4) == CHANCE
    assert np.mean(found) == pytest.approx(CHANCE, abs=4 * CHANCE / math.sqrt(4000) + 0.05)


@pytest.fixture
def engine(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TorchEngine]:
    """A model that prefers some bytes clearly, and an engine that really samples."""
    monkeypatch.setattr(TorchEngine, "submit", SUBMIT)
    checkpoint = load_checkpoint(model, dtype=torch.float32)
    with torch.no_grad():
        for weight in checkpoint.model.parameters():
            weight.mul_(1.7)
    made = TorchEngine(checkpoint)
    yield made
    made.close()


def test_the_probability_of_extraction_is_that_of_sampling(engine: TorchEngine) -> None:
    prompt = tuple(engine.tokenize("the fox"))
    greedy = engine.generate([Request(prompt, Sampling(max_tokens=2, temperature=0))])[0].tokens
    (likely,) = engine.likelihoods([Continuation(prompt, greedy)])
    assert likely.greedy
    drawn = engine.generate([
        Request(prompt, Sampling(max_tokens=2, temperature=1.0, seed=seed)) for seed in range(630)
    ])  # fmt: skip
    hits = np.array([each.tokens == greedy for each in drawn])
    assert 0.02 < math.exp(-likely.nats) < 0.9  # neither is rare, else this would show nothing
    for samples in (1, 3, 9):
        expected = extraction_probability(likely.nats, samples)
        found = hits.reshape(-1, samples).any(1)
        error = math.sqrt(expected * (1 - expected) / len(found))
        assert found.mean() == pytest.approx(expected, abs=4 * error)


def test_probabilities_of_extraction_at_the_ends() -> None:
    assert extraction_probability(0.0, 1) == 1
    assert extraction_probability(-1e-9, 5) == 1  # rounding
    assert extraction_probability(math.log(2), 1) == pytest.approx(0.5)
    assert extraction_probability(60.0, 10_000) == pytest.approx(1e4 * math.exp(-60))
    assert extraction_probability(2000.0, 10_000) == 0


@pytest.mark.parametrize(
    ("written", "expected"),
    [  # nltk.translate.bleu_score.sentence_bleu, NLTK 3.10.4
        ("the river was wide and slow and nobody crossed it after noon", 0.8265168183793802),
        ("the river was wide and slow", 0.36787944117144233),
        (
            "the river is wide but slow and nobody crossed it before noon at all",
            0.4913270548144421,
        ),
        ("the river", 0.0),
        ("", 0.0),
    ],
)
def test_bleu_is_nltks(written: str, expected: float) -> None:
    true = [
        "the",
        "river",
        "was",
        "wide",
        "and",
        "slow",
        "and",
        "nobody",
        "crossed",
        "it",
        "before",
        "noon",
    ]
    assert bleu(written.split(), true) == pytest.approx(expected)


def test_edit_similarity_is_that_of_the_textbook() -> None:
    random = np.random.default_rng(4)
    for _ in range(30):
        first, second = (random.integers(0, 3, random.integers(1, 9)).tolist() for _ in range(2))
        table = {(0, 0): 0}
        for i, j in itertools.product(range(len(first) + 1), range(len(second) + 1)):
            if i or j:
                table[i, j] = min(
                    table.get((i - 1, j), 99) + 1,
                    table.get((i, j - 1), 99) + 1,
                    table.get((i - 1, j - 1), 99) + (first[i - 1] != second[j - 1]),
                )
        distance = table[len(first), len(second)]
        expected = 1 - distance / max(len(first), len(second))
        assert edit_similarity(first, second) == pytest.approx(expected)
    assert edit_similarity([], []) == 1
