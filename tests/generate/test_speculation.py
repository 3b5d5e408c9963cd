"""Drafts, by look-up and by a model, change no text: held against the engine without them."""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import MakeModel

from linnet.errors import ModelError
from linnet.generate import Completion, Request, Sampling
from linnet.generate.constraint import Constraint
from linnet.generate.engine import Chunk
from linnet.generate.speculation import MATCH, PromptLookup, Speculation, StepCosts
from linnet.generate.torch_engine import TorchEngine
from linnet.model import Checkpoint, load_checkpoint
from linnet.model.lora import adapter_parameters, add_adapter
from linnet.model.lora_config import LoRAConfig
from linnet.tokenizer import TokenizerConfig
from linnet.tokenizer import train as train_tokenizer

RULE = Constraint("regex", "(ab|ac|abc, )+")
PROMPT = "the fox met the hen; the fox met the hen; the fox"
SETTINGS: tuple[tuple[Sampling, dict[str, object]], ...] = (
    (Sampling(temperature=0, max_tokens=60), {"logprobs": True, "top_logprobs": 2}),
    (Sampling(temperature=0, max_tokens=33, repetition_penalty=1.1), {}),
    (Sampling(temperature=0.7, max_tokens=48, seed=3), {}),
    (Sampling(temperature=0.5, max_tokens=50, seed=4, top_p=0.9, min_p=0), {"logprobs": True}),
    (Sampling(temperature=0.3, max_tokens=60, seed=5, stop=("he", "\n")), {}),
    (Sampling(temperature=0.8, max_tokens=60, seed=6, frequency_penalty=-1.5), {}),
    (Sampling(temperature=0, max_tokens=64, frequency_penalty=-2.0), {"logprobs": True}),
    (Sampling(temperature=0.4, max_tokens=60, seed=7), {"constraint": RULE}),
    (Sampling(temperature=0, max_tokens=1), {}),
    (Sampling(temperature=1.0, max_tokens=40, seed=8, logit_bias=((70, 9.0),)), {}),
)
REQUESTS = [
    Request(PROMPT[: 20 + 3 * place], sampling, **more)  # type: ignore[arg-type]
    for place, (sampling, more) in enumerate(SETTINGS)
]


def free_drafts(engine: TorchEngine) -> Speculation:
    """Drafts whenever there may be something in it, whatever the time that takes."""
    speculation = engine._runner.speculation
    speculation.costs.of = lambda tokens, doubted=False: 1.0  # type: ignore[method-assign]
    if speculation.drafter is not None:
        speculation.drafter.seconds = lambda texts: 0.01  # type: ignore[method-assign]
    return speculation


def similar(checkpoint: Checkpoint, path: Path) -> Checkpoint:
    """A model that is often right about what another one writes."""
    draft = load_checkpoint(path)
    numbers = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in draft.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=numbers) * 0.003)
    return draft


def require_same(found: list[Completion], expected: list[Completion]) -> None:
    for ours, plain in zip(found, expected, strict=True):
        assert (ours.tokens, ours.text) == (plain.tokens, plain.text)
        assert ours.finish_reason == plain.finish_reason
        assert ours.logprobs == (plain.logprobs and pytest.approx(plain.logprobs, abs=1e-4))
        assert [[t for t, _ in top] for top in ours.top_logprobs or ()] == [
            [t for t, _ in top] for top in plain.top_logprobs or ()
        ]


@pytest.mark.parametrize("family", ["qwen3", "phi3", "gemma2"])
def test_no_text_changes(family: str, make_model: MakeModel) -> None:
    path = make_model(family, context=128)
    checkpoint = load_checkpoint(path)
    plain = TorchEngine(checkpoint, lookup=False)
    expected = plain.generate(REQUESTS)
    assert plain._runner.speculation.drafted == 0
    for engine in (
        TorchEngine(checkpoint),
        TorchEngine(checkpoint, lookup=False, draft=similar(checkpoint, path)),
    ):
        speculation = free_drafts(engine)
        require_same(engine.generate(REQUESTS), expected)
        assert speculation.accepted > 20
        # One alone, and what is kept of a text with drafts serves the next one.
        require_same(engine.generate(REQUESTS[:1]), expected[:1])
        whole = tuple(engine.tokenizer.encode(str(REQUESTS[0].prompt))) + expected[0].tokens
        longer = dataclasses.replace(REQUESTS[0], prompt=whole[:90])
        require_same(engine.generate([longer]), plain.generate([longer]))


def test_drafts_with_adapters_and_streams(make_model: MakeModel) -> None:
    checkpoint = load_checkpoint(make_model("qwen3", context=128))
    add_adapter(checkpoint.model, "tuned", LoRAConfig(rank=2))
    numbers = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in adapter_parameters(checkpoint.model, "tuned").values():
            parameter.copy_(torch.randn(parameter.shape, generator=numbers) * 0.3)
    requests = [
        dataclasses.replace(REQUESTS[0], adapter=adapter, prompt=PROMPT[:30])
        for adapter in ("base", "tuned", "base")
    ]
    expected = TorchEngine(checkpoint, lookup=False).generate(requests)
    assert expected[0].tokens != expected[1].tokens
    engine = TorchEngine(checkpoint)
    assert free_drafts(engine).drafted == 0
    require_same(engine.generate(requests), expected)
    assert engine._runner.speculation.accepted > 0
    chunks: list[Chunk] = list(engine.stream(requests[0]))
    assert "".join(chunk.text for chunk in chunks) == expected[0].text
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_drawn_tokens_have_the_distribution_of_the_model(make_model: MakeModel) -> None:
    """Chi-square of what follows a draft that is right in part, against the exact probabilities."""
    path = make_model("llama")
    checkpoint = load_checkpoint(path)
    engine = TorchEngine(checkpoint, prefix_bytes=0)
    speculation = engine._runner.speculation
    prompt = tuple(engine.tokenizer.encode("the hen"))
    sampling = Sampling(temperature=0.9, min_p=0, top_k=4, max_tokens=2, repetition_penalty=1.2)

    def probabilities(tokens: tuple[int, ...]) -> dict[int, float]:
        with torch.no_grad():
            logits = checkpoint.model(torch.tensor([tokens]))[0, -1]
        seen = torch.tensor(sorted(set(tokens)))
        logits[seen] = torch.where(logits[seen] < 0, logits[seen] * 1.2, logits[seen] / 1.2)
        values, places = (logits / 0.9).topk(4)
        return dict(zip(places.tolist(), values.softmax(-1).tolist(), strict=True))

    first = probabilities(prompt)
    expected = {
        (a, b): p * q for a, p in first.items() for b, q in probabilities((*prompt, a)).items()
    }
    likely = [max(probabilities((*prompt, a)).items(), key=lambda each: each[1])[0] for a in first]

    def draft(texts: list[object], most: list[int], *, beside: int = 0) -> list[list[int]]:
        return [likely[:1] * (limit > 0) for limit in most]

    speculation.draft = draft  # type: ignore[method-assign, assignment]
    sampling = dataclasses.replace(sampling, max_tokens=3)
    draws = 1200
    requests = [Request(prompt, dataclasses.replace(sampling, seed=n)) for n in range(draws)]
    found = Counter(one.tokens[:2] for one in engine.generate(requests))
    assert 0 < speculation.accepted < speculation.drafted
    assert set(found) <= set(expected)
    statistic = sum((found[pair] - draws * p) ** 2 / (draws * p) for pair, p in expected.items())
    assert statistic < 37.7  # 15 degrees of freedom, one in a thousand


def test_what_stood_before_is_found() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 9, 2, 3, 4])
    assert MATCH == 3
    assert lookup.draft(2) == [5, 9]
    assert lookup.draft(6) == [5, 9, 2, 3, 4, 5]  # and it repeats itself
    first, further = lookup.rates
    lookup.update([1, 2, 3, 4, 5, 9, 2, 3, 4, 5, 9])  # right twice
    assert lookup.draft(1) == [2]
    assert lookup.rates[0] > further > first
    lookup.update([1, 2, 3, 4, 5, 9, 2, 3, 4, 5, 9, 7])
    assert lookup.draft(3) == []
    assert PromptLookup([1, 2]).draft(3) == []
    assert PromptLookup([]).draft(3) == []


def speed(text: list[int], at: int, cost: Callable[[int], float]) -> float:
    """How many times as fast with drafts a text is written on from a place, by costs of passes."""

    class Text:
        stop_ids: frozenset[int] = frozenset()
        context: list[int]

    one = Text()
    one.context = text[:at]
    speculation = Speculation()
    speculation.costs.record(1, cost(1))
    taken = 0.0
    begun = at
    while at < len(text):
        (draft,) = speculation.draft([one], [len(text) - at - 1])  # type: ignore[list-item]
        taken += cost(1 + len(draft))
        speculation.costs.record(1 + len(draft), cost(1 + len(draft)))
        right = 0
        while right < len(draft) and draft[right] == text[at + right]:
            right += 1
        at += right + 1
        one.context = text[:at]
    return (at - begun) * cost(1) / taken


def test_drafts_are_made_where_they_pay() -> None:
    numbers = torch.Generator().manual_seed(0)
    # Few words, so that the same three stand there again all the time, and say nothing.
    chatter = torch.randint(0, 5, (700,), generator=numbers).tolist()
    passage = torch.randint(0, 5000, (300,), generator=numbers).tolist()
    quoting = passage + torch.randint(0, 5000, (30,), generator=numbers).tolist() + passage[50:250]
    cheap, dear = (lambda n: 1 + 0.03 * n), (lambda n: float(n))
    for cost in (lambda n: 1 + 0.3 * n, dear):
        assert speed(chatter, 40, cost) > 0.95
    assert speed(quoting, 320, cheap) > 2
    assert speed(quoting, 320, dear) > 0.95


def test_costs_are_those_measured() -> None:
    costs = StepCosts()
    assert costs.of(8) > costs.of(1) > 0
    for seconds in (9.0, 2.0, 2.1):  # the first had to warm up
        costs.record(1, seconds)
    assert costs.of(1) == 2.1
    assert 2.1 < costs.of(8) < 4.2
    costs.record(7, 8.0)
    assert costs.of(8) == 8.0
    assert costs.of(8, doubted=True) < 4.2


def test_a_draft_of_another_vocabulary_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    path = make_model("llama")
    checkpoint, other = load_checkpoint(path), load_checkpoint(path)
    train_tokenizer(
        ["entirely other words"], tmp_path / "other", TokenizerConfig(vocab_size=270), inputs={}
    )
    from linnet.tokenizer import load

    other.tokenizer = load(tmp_path / "other")
    with pytest.raises(ModelError, match="must have the vocabulary of the model"):
        TorchEngine(checkpoint, draft=other)
