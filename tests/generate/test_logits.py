"""Filters against those of transformers; draws against the exact distribution."""

import pytest
import torch

from linnet.generate.logits import (
    MinP,
    RepetitionPenalty,
    Sampler,
    Temperature,
    TopK,
    TopP,
    draw,
    filters_for,
)
from linnet.generate.sampling import Sampling

transformers = pytest.importorskip("transformers")

V = 1000
HISTORY = torch.randint(0, V, (40,), generator=torch.Generator().manual_seed(5))


def random_logits(seed: int, *, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(V, generator=torch.Generator().manual_seed(seed)) * spread


def theirs(processor: object, logits: torch.Tensor) -> torch.Tensor:
    return processor(HISTORY[None], logits[None].clone())[0]


CASES = [
    *[(Temperature(t), transformers.TemperatureLogitsWarper(t)) for t in (0.3, 0.8, 1.7)],
    *[(TopK(k), transformers.TopKLogitsWarper(k)) for k in (1, 7, 40, 999, 1000, 5000)],
    *[(TopP(p), transformers.TopPLogitsWarper(p)) for p in (0.01, 0.5, 0.9, 0.97)],
    *[(MinP(p), transformers.MinPLogitsWarper(p)) for p in (0.0, 0.02, 0.3, 1.0)],
    *[
        (RepetitionPenalty(p), transformers.RepetitionPenaltyLogitsProcessor(p))
        for p in (0.7, 1.1, 2.5)
    ],
]


@pytest.mark.parametrize(("ours", "reference"), CASES, ids=lambda case: repr(case)[:40])
@pytest.mark.parametrize("spread", [0.1, 3.0, 12.0])
def test_filters_do_what_transformers_does(ours: object, reference: object, spread: float) -> None:
    for seed in range(10):
        logits = random_logits(seed, spread=spread)
        before = logits.clone()
        torch.testing.assert_close(ours(logits, HISTORY), theirs(reference, logits))
        assert torch.equal(logits, before)


def test_filters_leave_at_least_the_likeliest_token() -> None:
    logits = random_logits(1)
    for single in (TopK(1), TopP(1e-9), MinP(1.0)):
        kept = single(logits, HISTORY).isfinite().nonzero().flatten().tolist()
        assert kept == [int(logits.argmax())]


def test_filters_act_in_the_order_of_transformers() -> None:
    sampling = Sampling(temperature=1.6, top_k=60, top_p=0.9, min_p=0.04, repetition_penalty=1.3)
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=V, n_embd=4, n_layer=1, n_head=1, n_positions=8)
    )
    settings = transformers.GenerationConfig(
        do_sample=True, temperature=1.6, top_k=60, top_p=0.9, min_p=0.04, repetition_penalty=1.3
    )
    processors = model._get_logits_processor(settings, input_ids_seq_length=1)
    for seed in range(20):
        ours = logits = random_logits(seed)
        for one in filters_for(sampling):
            ours = one(ours, HISTORY)
        torch.testing.assert_close(ours, processors(HISTORY[None], logits[None].clone())[0])
        assert ours.isfinite().sum() < 60


def test_filters_that_do_nothing_are_left_out() -> None:
    assert filters_for(Sampling(temperature=1, min_p=0)) == []
    greedy = Sampling(temperature=0, top_k=3, top_p=0.5, repetition_penalty=1.2)
    assert filters_for(greedy) == [RepetitionPenalty(1.2)]


def test_draws_follow_the_distribution() -> None:
    probabilities = torch.tensor([0.5, 0.25, 0.0, 0.15, 0.07, 0.03])
    random = torch.Generator().manual_seed(7)
    draws = 20_000
    counts = torch.zeros(6)
    for _ in range(draws):
        counts[draw(probabilities, random)] += 1
    assert counts[2] == 0
    possible = probabilities > 0
    expected = probabilities[possible] * draws
    chi_square = float(((counts[possible] - expected) ** 2 / expected).sum())
    assert chi_square < 18.5  # 99.9th percentile of chi-square with four degrees of freedom


def test_draws_of_unlikely_tokens_are_not_distorted() -> None:
    """A large flat vocabulary: each token counts, the rare ones too."""
    probabilities = torch.full((4096,), 1 / 4096)
    probabilities[::2] *= 0.1
    probabilities /= probabilities.sum()
    random = torch.Generator().manual_seed(8)
    even = sum(draw(probabilities, random) % 2 == 0 for _ in range(5000)) / 5000
    assert even == pytest.approx(0.1 / 1.1, abs=4 * (0.083 / 5000) ** 0.5)


def test_a_sampler_gives_what_its_filters_leave() -> None:
    logits = random_logits(3)
    sampling = Sampling(temperature=0.7, top_k=5, seed=1, max_tokens=4000, min_p=0)
    sampler = Sampler(sampling, [1, 2, 3], limit=4000)
    counts = torch.zeros(V)
    for _ in range(4000):
        counts[sampler.choose(logits)] += 1
    best = logits.topk(5)
    expected = torch.zeros(V).index_put((best.indices,), (best.values / 0.7).softmax(-1)) * 4000
    possible = expected > 0
    assert counts[~possible].sum() == 0
    chi_square = float(((counts - expected)[possible] ** 2 / expected[possible]).sum())
    assert chi_square < 18.5


def test_seeds() -> None:
    logits = random_logits(4, spread=0.5)

    def drawn(seed: int | None) -> list[int]:
        sampler = Sampler(Sampling(seed=seed), [], limit=20)
        return [sampler.choose(logits) for _ in range(20)]

    assert drawn(3) == drawn(3)
    assert drawn(3) != drawn(4)
    assert drawn(None) != drawn(None)


def test_the_penalty_sees_prompt_and_new_tokens() -> None:
    logits = torch.tensor([5.0, 4.9, 4.8, 4.7])
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=1.5), [0], limit=3)
    assert [sampler.choose(logits) for _ in range(3)] == [1, 2, 3]
