"""Scores against a model that is asked one token at a time."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from linnet.evaluate.likelihood import bits_per_byte, score_documents, windows

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
    scores = list(
        score_documents(
            model,
            documents,
            end_of_text=END,
            context=CONTEXT,
            vocab_size=VOCABULARY,
            stride=stride,
        )
    )
    assert [score.tokens for score in scores] == [len(document) for document in documents]
    for score, document in zip(scores, documents, strict=True):
        assert score.nats == pytest.approx(brute_force(model, document, stride), rel=1e-5)


def test_reading_ahead_is_bounded_and_order_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.evaluate.likelihood.BUFFERED_TOKENS", 20)
    monkeypatch.setattr("linnet.evaluate.likelihood.LOGITS_PER_BATCH", 3 * CONTEXT * VOCABULARY)
    pulled = []

    def documents():
        for number in range(50):
            pulled.append(number)
            yield [1 + number % 5] * (1 + number % 13) + [END]

    model = Toy()
    scores = score_documents(
        model, documents(), end_of_text=END, context=CONTEXT, vocab_size=VOCABULARY
    )
    next(scores)
    assert len(pulled) < 20
    assert [s.tokens for s in scores] == [2 + n % 13 for n in range(1, 50)]
    assert max(rows * columns for rows, columns in model.seen) <= 3 * CONTEXT


def test_a_uniform_model_costs_the_logarithm_of_the_vocabulary() -> None:
    class Uniform(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*tokens.shape, 256)

    (score,) = score_documents(
        Uniform(), [[7] * 99 + [0]], end_of_text=0, context=16, vocab_size=256
    )
    assert score.nats == pytest.approx(100 * math.log(256), rel=1e-6)
    assert bits_per_byte(score.nats, 100) == pytest.approx(8)
