"""Scores against a model that is asked one token at a time."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import SHAPES, MakeModel

from linnet.generate.engine import Continuation, Likelihood
from linnet.generate.likelihood import buffered, common_length, score_continuations, windows
from linnet.generate.torch_engine import TorchEngine
from linnet.model import load_checkpoint

VOCABULARY, END, CONTEXT = 23, 0, 8


class Toy(torch.nn.Module):
    """A causal model whose prediction depends on every token before it and their places."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.embedding = torch.randn(VOCABULARY, 16, generator=generator)
        self.positions = torch.randn(CONTEXT, 16, generator=generator)
        self.readout = torch.randn(16, VOCABULARY, generator=generator)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        assert tokens.shape[1] <= CONTEXT
        self.seen.append(tuple(tokens.shape))
        hidden = self.embedding[tokens] + self.positions[: tokens.shape[1]]
        return torch.tanh(hidden.cumsum(dim=1)) @ self.readout


def score(
    model: torch.nn.Module, documents: Iterable[Sequence[int]], **settings: Any
) -> Iterator[Likelihood]:
    """Each document after the end of text."""
    settings = {"context": CONTEXT, "vocab_size": VOCABULARY} | settings
    for group in buffered(Continuation((END,), document) for document in documents):
        yield from score_continuations(model, group, **settings)


def brute_force(model: Toy, tokens: list[int], stride: int) -> float:
    """Nats, predicting one token at a time with the context that the windows promise."""
    nats = 0.0
    inputs = [END, *tokens[:-1]]
    for window in windows(len(tokens), context=CONTEXT, stride=stride):
        for position in range(window.first, window.stop):
            row = torch.tensor([inputs[window.start : position + 1]])
            distribution = torch.log_softmax(model(row)[0, -1].double(), dim=-1)
            nats -= float(distribution[tokens[position]])
    return nats


@given(
    length=st.integers(1, 200),
    context=st.integers(1, 40),
    stride=st.integers(1, 40),
)
def test_windows_predict_each_token_once_with_full_context(
    length: int, context: int, stride: int
) -> None:
    stride = min(stride, context)
    found = windows(length, context=context, stride=stride)
    predicted = [p for w in found for p in range(w.first, w.stop)]
    assert predicted == list(range(length))
    for window in found:
        assert window.stop - window.start <= context
        assert window.start == 0 or window.stop - window.start == context
        assert window.start == 0 or window.first - window.start >= context - stride


@pytest.mark.parametrize("stride", [1, 4, 8])
def test_batched_scores_equal_one_token_at_a_time(stride: int) -> None:
    model = Toy()
    generator = np.random.default_rng(0)
    documents = [
        [*generator.integers(1, VOCABULARY, size=length).tolist(), END]
        for length in (0, 3, 30, 7, 8, 9, 1, 64, 2)
    ]
    scores = list(score(model, documents, stride=stride))
    assert [found.tokens for found in scores] == [len(document) for document in documents]
    for found, document in zip(scores, documents, strict=True):
        assert found.nats == pytest.approx(brute_force(model, document, stride), rel=1e-5)


@pytest.mark.parametrize("asked", [1, 2, 5, 8])
@pytest.mark.parametrize("given", [1, 3, 7, 8, 20])
def test_a_continuation_is_scored_after_as_much_of_its_prompt_as_fits(
    given: int, asked: int
) -> None:
    model = Toy()
    generator = np.random.default_rng(given)
    tokens = generator.integers(1, VOCABULARY, size=given + asked).tolist()
    kept = tokens[-CONTEXT - 1 :]
    nats = 0.0
    for place in range(len(kept) - asked, len(kept)):
        row = model(torch.tensor([kept[:place]]))[0, -1].double().log_softmax(-1)
        nats -= float(row[kept[place]])
    best = int(row.argmax())
    wanted = [
        Continuation(tuple(tokens[:given]), tokens[given:]),
        Continuation(tuple(kept[:-1]), [best]),
    ]
    found = score_continuations(model, wanted, context=CONTEXT, vocab_size=VOCABULARY)
    assert found[0].nats == pytest.approx(nats, rel=1e-5, abs=1e-5)
    assert found[1].greedy
    assert found[1].nats == pytest.approx(-float(row[best]), abs=1e-5)
    assert asked > 1 or found[0].greedy == (tokens[-1] == best)


def test_long_continuations_of_long_prompts_predict_each_token_once() -> None:
    for first in (1, 7, 8, 30):
        for length in range(first + 1, 60):
            found = windows(length, context=CONTEXT, stride=4, first=first)
            predicted = [place for w in found for place in range(w.first, w.stop)]
            assert predicted == list(range(first, length))
            assert all(w.stop - w.start <= CONTEXT for w in found)
            assert all(w.first - w.start >= min(4, w.first) or len(found) == 1 for w in found)


def test_reading_ahead_is_bounded_and_order_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.generate.likelihood.BUFFERED_TOKENS", 20)
    monkeypatch.setattr("linnet.generate.likelihood.LOGITS_PER_BATCH", 3 * CONTEXT * VOCABULARY)
    pulled = []

    def documents():
        for number in range(50):
            pulled.append(number)
            yield [1 + number % 5] * (1 + number % 13) + [END]

    model = Toy()
    scores = score(model, documents())
    next(scores)
    assert len(pulled) < 20
    assert [s.tokens for s in scores] == [2 + n % 13 for n in range(1, 50)]
    assert max(rows * columns for rows, columns in model.seen) <= 3 * CONTEXT


def test_a_uniform_model_costs_the_logarithm_of_the_vocabulary() -> None:
    class Uniform(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*tokens.shape, 256)

    (found,) = score(Uniform(), [[7] * 99 + [0]], context=16, vocab_size=256)
    assert found.nats == pytest.approx(100 * math.log(256), rel=1e-6)


def branching(generator: np.random.Generator, vocabulary: int) -> list[Continuation]:
    """Solved examples before questions, each with choices, of which one begins another."""

    def tokens(length: int) -> list[int]:
        return [int(token) for token in generator.integers(0, vocabulary, size=length)]

    shots = tokens(20)
    found = [Continuation((7,), shots), Continuation(tuple(tokens(3)), tokens(5))]
    for _ in range(4):
        prompt = (*shots, *tokens(int(generator.integers(1, 9))))
        choices = [tokens(int(generator.integers(1, 12))) for _ in range(3)]
        found += [Continuation(prompt, choice) for choice in (*choices, choices[0][:1], [])]
    found.append(Continuation(tuple(shots), tokens(80)))  # longer than the context
    return [found[place] for place in generator.permutation(len(found))]


@pytest.mark.parametrize("family", sorted({*SHAPES} - {"phi3"}))  # LongRoPE is never a tree
@pytest.mark.parametrize("nodes", [1, 13, 768])
def test_what_begins_alike_scores_as_if_alone(
    family: str, nodes: int, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the model itself, without cache, batch or tree."""
    monkeypatch.setattr("linnet.generate.prefix_tree.NODES", nodes)
    monkeypatch.setattr("linnet.generate.prefix_tree.LOGITS_PER_BATCH", 7 * 320)
    checkpoint = load_checkpoint(make_model(family))
    engine = TorchEngine(checkpoint)
    wanted = branching(np.random.default_rng(nodes), checkpoint.config.vocab_size)
    computed: list[int] = []
    embed = checkpoint.model.embed

    def counted(tokens: torch.Tensor, *given: Any, **more: Any) -> torch.Tensor:
        computed.append(tokens.numel())
        return embed(tokens, *given, **more)

    monkeypatch.setattr(checkpoint.model, "embed", counted)
    found = list(engine.likelihoods(wanted))
    monkeypatch.undo()
    texts = [[*each.prompt, *each.tokens][:-1] for each in wanted]
    inside = sorted(t for t, w in zip(texts, wanted, strict=True) if len(t) <= 64 and w.tokens)
    long = next(text for text in texts if len(text) > 64)
    new = sum(
        len(text) - common_length(before, text)
        for before, text in zip([[], *inside], inside, strict=False)
    )
    assert sum(computed) <= new + 64 * (2 + len(long) // 32)
    for each, got in zip(wanted, found, strict=True):
        assert got.tokens == len(each.tokens)
        text = [*each.prompt, *each.tokens]
        if len(text) > 64:
            continue  # read through windows, which other tests are about
        nats, greedy = 0.0, True
        with torch.inference_mode():
            logits = checkpoint.model(torch.tensor([text]))[0].double().log_softmax(-1)
        for place in range(len(each.prompt), len(text)):
            nats -= float(logits[place - 1, text[place]])
            greedy &= bool(logits[place - 1].argmax() == text[place])
        assert got.nats == pytest.approx(nats, rel=1e-4, abs=1e-4)
        assert got.greedy == greedy
