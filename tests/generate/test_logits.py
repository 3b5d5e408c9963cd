"""Edits and filters against those of transformers; draws against the exact distribution."""

import dataclasses
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch

from linnet.generate.logits import (
    FILTERS,
    Bias,
    OccurrencePenalty,
    RepetitionPenalty,
    Sampler,
    choose,
    draw,
    edits_for,
    likeliest,
)
from linnet.generate.sampling import FILTER_OPTIONS, Sampling, Settings

transformers = pytest.importorskip("transformers")

V = 1000
HISTORY = torch.randint(0, V, (40,), generator=torch.Generator().manual_seed(5))
FREE = Sampling(temperature=1, min_p=0)


def random_logits(seed: int, *, spread: float = 3.0) -> torch.Tensor:
    return torch.randn(V, generator=torch.Generator().manual_seed(seed)) * spread


def theirs(logits: torch.Tensor, **settings: Any) -> torch.Tensor:
    """What transformers leaves of the logits, as it orders its processors."""
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=V, n_embd=4, n_layer=1, n_head=1, n_positions=8)
    )
    wanted = transformers.GenerationConfig(do_sample=True, top_k=0)
    wanted.update(**settings)
    processors = model._get_logits_processor(wanted, input_ids_seq_length=1)
    return processors(HISTORY[None], logits[None].clone())[0]


def ours(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The same from here: a row of the vocabulary again."""
    logits = logits.clone()
    for edit in edits_for(sampling):
        edit(logits, HISTORY, HISTORY)
    values, tokens, _ = likeliest(logits[None], [sampling])
    return torch.full((V,), -torch.inf).scatter(0, tokens[0], values[0])


CASES: list[dict[str, Any]] = [
    *[{"temperature": t} for t in (0.3, 0.8, 1.7)],
    *[{"top_k": k} for k in (1, 7, 40, 999, 1000, 5000)],
    *[{"top_p": p} for p in (0.01, 0.5, 0.9, 0.97)],
    *[{"min_p": p} for p in (0.02, 0.3, 1.0)],
    *[{"typical_p": p} for p in (0.05, 0.4, 0.95)],
    *[{"repetition_penalty": p} for p in (0.7, 1.1, 2.5)],
    {"temperature": 1.6, "top_k": 60, "top_p": 0.9, "min_p": 0.04, "repetition_penalty": 1.3},
    {"temperature": 1.6, "top_p": 0.9, "min_p": 0.04, "typical_p": 0.8},
    {"temperature": 0.9, "top_k": 30, "typical_p": 0.5},
    {"temperature": 1.2, "top_k": 500, "top_p": 0.8},
    {"top_k": 256, "top_p": 0.999},
]


def test_every_filter_has_a_setting() -> None:
    assert FILTERS.keys() == FILTER_OPTIONS.keys()
    assert get_type_hints(Settings).keys() == {
        field.name for field in dataclasses.fields(Sampling) if "help" in field.metadata
    }


SIGMAS: list[dict[str, Any]] = [
    {"top_n_sigma": 0.5},
    {"top_n_sigma": 1.0, "temperature": 2.5},
    {"top_n_sigma": 1.5, "top_p": 0.7},
    {"top_n_sigma": 2.0, "top_k": 9, "typical_p": 0.8},
    {"top_n_sigma": 0.8, "min_p": 0.2},
]


@pytest.mark.parametrize("settings", SIGMAS, ids=str)
def test_top_n_sigma_leaves_what_its_paper_says(settings: dict[str, Any]) -> None:
    """arXiv:2411.07641, algorithm 1, by numpy; the others act on what it left."""
    sampling = dataclasses.replace(FREE, **settings)
    rest = {name: value for name, value in settings.items() if name != "top_n_sigma"}
    for seed in range(3):
        logits = random_logits(seed)
        logits[seed] = -torch.inf  # as a constraint leaves it
        own = logits.numpy()[np.isfinite(logits.numpy())]
        kept = logits.numpy() >= own.max() - settings["top_n_sigma"] * own.std()
        expected = theirs(logits.where(torch.from_numpy(kept), -torch.inf), **rest)
        torch.testing.assert_close(ours(logits, sampling), expected)


@pytest.mark.parametrize("settings", CASES, ids=str)
@pytest.mark.parametrize("spread", [0.1, 3.0, 12.0])
def test_filters_leave_what_transformers_leaves(settings: dict[str, Any], spread: float) -> None:
    sampling = dataclasses.replace(FREE, **settings)
    for seed in range(3):
        logits = random_logits(seed, spread=spread)
        torch.testing.assert_close(ours(logits, sampling), theirs(logits, **settings))


def test_rows_of_a_batch_are_filtered_each_by_its_own_settings() -> None:
    """All of the cases at once, in one batch, are what each is alone."""
    settings = [dataclasses.replace(FREE, **case) for case in [*CASES, *SIGMAS]]
    logits = torch.stack([random_logits(seed) for seed in range(len(settings))])
    values, tokens, _ = likeliest(logits, settings)
    for row, sampling in enumerate(settings):
        alone, own, _ = likeliest(logits[row : row + 1], [sampling])
        kept, expected = values[row].isfinite(), alone[0].isfinite()
        assert tokens[row][kept].tolist() == own[0][expected].tolist()
        torch.testing.assert_close(values[row][kept], alone[0][expected])


def test_filters_leave_at_least_the_likeliest_token() -> None:
    logits = random_logits(1)
    for settings in ({"top_k": 1}, {"top_p": 1e-9}, {"min_p": 1.0}):
        kept = ours(logits, dataclasses.replace(FREE, **settings)).isfinite().nonzero()
        assert kept.flatten().tolist() == [int(logits.argmax())]


def test_penalties_for_what_was_written() -> None:
    """OpenAI's formula: c[j] * frequency + (c[j] > 0) * presence, over what was written."""
    written = torch.tensor([3, 5, 3, 3, 9])
    logits = random_logits(2)
    counts = torch.bincount(written, minlength=V)
    expected = logits - counts * 0.7 - (counts > 0) * 1.1
    changed = logits.clone()
    OccurrencePenalty(0.7, 1.1)(changed, torch.cat((HISTORY, written)), written)
    torch.testing.assert_close(changed, expected)


def test_a_bias_is_added_before_everything_else() -> None:
    reference = transformers.SequenceBiasLogitsProcessor([[[3], 4.0], [[7], -100.0]])
    logits = random_logits(3)
    changed = logits.clone()
    Bias(((3, 4.0), (7, -100.0), (V, 5.0)))(changed, HISTORY, HISTORY)
    torch.testing.assert_close(changed, reference(HISTORY[None], logits[None].clone())[0])
    sampling = dataclasses.replace(
        FREE, logit_bias=((1, 1.0),), repetition_penalty=1.1, presence_penalty=0.5
    )
    kinds = [type(edit) for edit in edits_for(sampling)]
    assert kinds == [Bias, RepetitionPenalty, OccurrencePenalty]


def test_edits_that_do_nothing_are_left_out() -> None:
    assert edits_for(FREE) == []
    greedy = Sampling(temperature=0, top_k=3, top_p=0.5, repetition_penalty=1.2)
    assert edits_for(greedy) == [RepetitionPenalty(1.2)]


def test_draws_follow_the_distribution() -> None:
    probabilities = torch.tensor([0.5, 0.25, 0.0, 0.15, 0.07, 0.03])
    random = np.random.default_rng(7)
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
    random = np.random.default_rng(8)
    even = sum(draw(probabilities, random) % 2 == 0 for _ in range(5000)) / 5000
    assert even == pytest.approx(0.1 / 1.1, abs=4 * (0.083 / 5000) ** 0.5)


@pytest.mark.parametrize("beside", [False, True])
def test_a_sampler_gives_what_its_filters_leave(beside: bool) -> None:
    logits = random_logits(3)
    sampling = Sampling(temperature=0.7, top_k=5, seed=1, max_tokens=2000, min_p=0)
    samplers = [Sampler(sampling, [1, 2, 3], limit=2000)]
    if beside:  # a row that takes all, and one that draws from many more
        for other in (FREE, dataclasses.replace(FREE, top_p=0.99)):
            samplers.append(Sampler(other, [], limit=2000))
    counts = torch.zeros(V)
    for _ in range(2000):
        counts[choose(logits.repeat(len(samplers), 1), samplers)[0]] += 1
    best = logits.topk(5)
    expected = torch.zeros(V).index_put((best.indices,), (best.values / 0.7).softmax(-1)) * 2000
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


def test_the_repetition_penalty_sees_prompt_and_new_tokens() -> None:
    logits = torch.tensor([5.0, 4.9, 4.8, 4.7])
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=1.5), [0], limit=3)
    assert [sampler.choose(logits) for _ in range(3)] == [1, 2, 3]


def test_the_other_penalties_see_new_tokens_only() -> None:
    logits = torch.tensor([5.0, 4.9, 4.8, 4.7])
    sampler = Sampler(Sampling(temperature=0, presence_penalty=2), [0], limit=3)
    assert [sampler.choose(logits) for _ in range(3)] == [0, 1, 2]
