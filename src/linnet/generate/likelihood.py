"""How surprised a model is by texts of any length: nats of each, every token predicted once.

A continuation is its tokens after a prompt of at least one. Of a document that prompt is the
end of text, which is what a document follows in training, and the end-of-text token that closes
it is its last token. What is longer than the model's context is read
through overlapping windows: the first predicts all it holds, each later one
moves on by ``stride`` and predicts only what no window before it did, so every
token is predicted exactly once and, past the first window, from at least
``context - stride`` tokens (Baevski and Auli, 2019, arXiv:1809.10853, section 4.4). Where the
continuation alone fits, it is predicted in one window, after as much of the prompt as fits.

Windows of similar length share a batch. Padding stands to the right, where a
causal model cannot see it, so it never changes a score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from linnet.generate.engine import Likelihood

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy.typing as npt
    import torch

    from linnet.generate.engine import Continuation

BUFFERED_TOKENS = 1 << 15
"""Documents are gathered up to here, then sorted by length and scored."""

LOGITS_PER_BATCH = 1 << 24
"""Logits held at once: 64 MB in fp32, and as much again while they are normalised."""


class Window(NamedTuple):
    """Reads the inputs ``start`` to ``stop`` and predicts the targets from ``first`` on."""

    start: int
    stop: int
    first: int


def windows(length: int, *, context: int, stride: int, first: int = 0) -> list[Window]:
    """Cover the targets from ``first`` to ``length``, each predicted once.

    The last window is moved back to end with the text, so that it is full.
    """
    if not 1 <= stride <= context:
        raise ValueError(f"stride must be 1 to {context}, the context. Got {stride}")
    if length - first <= context:
        return [Window(max(0, length - context), length, first)]
    start = max(0, first - context + stride)
    found = [Window(start, start + context, first)]
    while found[-1].stop < length:
        covered = found[-1].stop
        stop = min(length, covered + stride)
        found.append(Window(stop - context, stop, covered))
    return found


def buffered(continuations: Iterable[Continuation]) -> Iterator[list[Continuation]]:
    """Groups of about :data:`BUFFERED_TOKENS`, in order."""
    group: list[Continuation] = []
    held = 0
    for continuation in continuations:
        group.append(continuation)
        held += len(continuation.prompt) + len(continuation.tokens)
        if held >= BUFFERED_TOKENS:
            yield group
            group, held = [], 0
    if group:
        yield group


def score_continuations(
    model: torch.nn.Module,
    continuations: Sequence[Continuation],
    *,
    context: int,
    vocab_size: int,
    stride: int | None = None,
    device: str | torch.device = "cpu",
) -> list[Likelihood]:
    """Score each, in order. ``model`` maps tokens (B, T) to logits (B, T, V).

    ``stride`` is half the context unless given.
    """
    stride = stride or max(1, context // 2)
    batch_tokens = max(context, LOGITS_PER_BATCH // vocab_size)
    nats = [0.0] * len(continuations)
    greedy = [True] * len(continuations)
    texts = [
        np.concatenate((each.prompt, np.asarray(each.tokens, dtype=np.int64)))
        for each in continuations
    ]
    work = [
        (index, window)
        for index, each in enumerate(continuations)
        if len(each.tokens)
        for window in windows(
            len(texts[index]) - 1, context=context, stride=stride, first=len(each.prompt) - 1
        )
    ]
    work.sort(key=lambda item: item[1].stop - item[1].start, reverse=True)
    while work:
        longest = work[0][1].stop - work[0][1].start
        rows = max(1, batch_tokens // longest)
        batch, work = work[:rows], work[rows:]
        found = _score(model, [(texts[index], window) for index, window in batch], device)
        for (index, _), (cost, best) in zip(batch, found, strict=True):
            nats[index] += cost
            greedy[index] = greedy[index] and best
    return [
        Likelihood(cost, len(each.tokens), best)
        for cost, best, each in zip(nats, greedy, continuations, strict=True)
    ]


def _score(
    model: torch.nn.Module,
    batch: Sequence[tuple[npt.NDArray[np.int64], Window]],
    device: str | torch.device,
) -> list[tuple[float, bool]]:
    """Nats of each window's own predictions, and whether all of them were the likeliest."""
    import torch
    from torch.nn import functional

    width = max(window.stop - window.start for _, window in batch)
    inputs = np.zeros((len(batch), width), dtype=np.int64)
    targets = np.zeros_like(inputs)
    predicted = np.zeros(inputs.shape, dtype=bool)
    for row, (text, window) in enumerate(batch):
        size = window.stop - window.start
        inputs[row, :size] = text[window.start : window.stop]
        targets[row, :size] = text[window.start + 1 : window.stop + 1]
        predicted[row, window.first - window.start : size] = True
    with torch.inference_mode():
        logits = model(torch.from_numpy(inputs).to(device)).flatten(0, 1).float()  # (B T, V)
        wanted = torch.from_numpy(targets).to(device).flatten()
        losses = functional.cross_entropy(logits, wanted, reduction="none").view(inputs.shape)
        best = logits.gather(1, wanted[:, None])[:, 0] >= logits.amax(-1)
    # Sums of many small numbers: in double precision.
    costs = (losses.cpu().double().numpy() * predicted).sum(axis=1)
    likeliest = (best.view(inputs.shape).cpu().numpy() | ~predicted).all(axis=1)
    return list(zip(costs.tolist(), likeliest.tolist(), strict=True))
