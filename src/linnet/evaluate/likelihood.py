"""How surprised a model is by documents: nats per document, each token predicted once.

A document is its tokens and the end-of-text token that closes it. Its first
token is predicted from a single end-of-text token, which is what a document
follows in training. A document longer than the model's context is read
through overlapping windows: the first predicts all it holds, each later one
moves on by ``stride`` and predicts only what no window before it did, so every
token is predicted exactly once and, past the first window, from at least
``context - stride`` tokens (Baevski and Auli, 2019, arXiv:1809.10853, section 4.4).

Windows of similar length share a batch. Padding stands to the right, where a
causal model cannot see it, so it never changes a score.

Bits per byte compare models across tokenizers: the tokens' nats as bits, by
the bytes of the UTF-8 text they encode.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt
    import torch

    Tokens = npt.NDArray[np.integer] | Sequence[int]

BUFFERED_TOKENS = 1 << 15
"""Documents are gathered up to here, then sorted by length and scored."""

LOGITS_PER_BATCH = 1 << 24
"""Logits held at once: 64 MB in fp32, and as much again while they are normalised."""


@dataclass(frozen=True)
class DocumentScore:
    """The cost of one document: all its tokens, the end of text included."""

    nats: float
    tokens: int


class Window(NamedTuple):
    """Reads the inputs ``start`` to ``stop`` and predicts the targets from ``first`` on."""

    start: int
    stop: int
    first: int


def windows(length: int, *, context: int, stride: int) -> list[Window]:
    """Cover ``length`` targets, each predicted once.

    The last window is moved back to end with the document, so that it is full.
    """
    if not 1 <= stride <= context:
        raise ValueError(f"stride must be 1 to {context}, the context. Got {stride}")
    found = [Window(0, min(length, context), 0)]
    while found[-1].stop < length:
        covered = found[-1].stop
        stop = min(length, covered + stride)
        found.append(Window(stop - context, stop, covered))
    return found


def score_documents(
    model: torch.nn.Module,
    documents: Iterable[Tokens],
    *,
    end_of_text: int,
    context: int,
    vocab_size: int,
    stride: int | None = None,
    device: str = "cpu",
) -> Iterator[DocumentScore]:
    """Score each document, in order.

    ``documents`` are token sequences that end with ``end_of_text``. ``model``
    maps tokens (B, T) to logits (B, T, V) and is put in evaluation mode.
    ``stride`` is half the context unless given. Reads ahead by a bounded
    number of tokens.
    """
    model.eval()
    stride = stride or max(1, context // 2)
    batch_tokens = max(context, LOGITS_PER_BATCH // vocab_size)
    scorer = _Scorer(model, end_of_text, context, stride, batch_tokens, device)
    buffer: list[npt.NDArray[np.int64]] = []
    buffered = 0
    for document in documents:
        tokens = np.asarray(document, dtype=np.int64)
        buffer.append(tokens)
        buffered += len(tokens)
        if buffered >= BUFFERED_TOKENS:
            yield from scorer.score(buffer)
            buffer, buffered = [], 0
    yield from scorer.score(buffer)


def bits_per_byte(nats: float, text_bytes: int) -> float:
    """The cost of a text in bits, by its bytes of UTF-8."""
    return nats / math.log(2) / text_bytes


@dataclass(frozen=True)
class _Scorer:
    model: torch.nn.Module
    end_of_text: int
    context: int
    stride: int
    batch_tokens: int
    device: str

    def score(self, documents: list[npt.NDArray[np.int64]]) -> list[DocumentScore]:
        nats = [0.0] * len(documents)
        work = [
            (index, window)
            for index, tokens in enumerate(documents)
            if len(tokens)
            for window in windows(len(tokens), context=self.context, stride=self.stride)
        ]
        work.sort(key=lambda item: item[1].stop - item[1].start, reverse=True)
        while work:
            longest = work[0][1].stop - work[0][1].start
            rows = max(1, self.batch_tokens // max(longest, 1))
            batch, work = work[:rows], work[rows:]
            costs = self._batch_nats([(documents[index], window) for index, window in batch])
            for (index, _), cost in zip(batch, costs, strict=True):
                nats[index] += cost
        return [DocumentScore(n, len(d)) for n, d in zip(nats, documents, strict=True)]

    def _batch_nats(self, batch: list[tuple[npt.NDArray[np.int64], Window]]) -> list[float]:
        """Nats of each window's own predictions."""
        import torch
        from torch.nn import functional

        width = max(window.stop - window.start for _, window in batch)
        inputs = np.full((len(batch), width), self.end_of_text, dtype=np.int64)
        targets = np.full_like(inputs, self.end_of_text)
        predicted = np.zeros(inputs.shape, dtype=bool)
        for row, (tokens, window) in enumerate(batch):
            size = window.stop - window.start
            shifted = np.concatenate(([self.end_of_text], tokens[window.start : window.stop - 1]))
            if window.start > 0:
                shifted[0] = tokens[window.start - 1]
            inputs[row, :size] = shifted[:size]
            targets[row, :size] = tokens[window.start : window.stop]
            predicted[row, window.first - window.start : size] = True
        with torch.inference_mode():
            logits = self.model(torch.from_numpy(inputs).to(self.device))  # (B, T, V)
            wanted = torch.from_numpy(targets).to(self.device).flatten()
            losses = functional.cross_entropy(
                logits.flatten(0, 1).float(), wanted, reduction="none"
            ).view(inputs.shape)  # (B, T)
        # Sums of many small numbers: in double precision.
        costs = losses.cpu().double().numpy() * predicted
        return [float(cost) for cost in costs.sum(axis=1)]
