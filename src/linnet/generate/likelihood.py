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
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt
    import torch

    from linnet.generate.engine import Continuation

BUFFERED_TOKENS = 1 << 14
"""Continuations are gathered up to here, then sorted and scored. What one shares with the prompt
before it counts as nothing, as it is computed once; but see ``BUFFERED_TIMES``."""

BUFFERED_TIMES = 64
"""Times the tokens that are held at most, those that are shared included."""

TOKENS_PER_BATCH = 1 << 11
"""Tokens read at once, where only what is predicted reaches the output layer."""

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
    held = new = 0
    before: tuple[int, ...] = ()
    for continuation in continuations:
        group.append(continuation)
        size = len(continuation.prompt) + len(continuation.tokens)
        held += size
        new += size - common_length(before, continuation.prompt)
        before = continuation.prompt
        if new >= BUFFERED_TOKENS or held >= BUFFERED_TIMES * BUFFERED_TOKENS:
            yield group
            group, held, new, before = [], 0, 0, ()
    if group:
        yield group


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """The length of what both begin with."""
    limit = min(len(first), len(second))
    if first[:limit] == second[:limit]:
        return limit
    low, high = 0, limit  # the first ``low`` agree, the first ``high`` do not
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


def score_continuations(
    model: Callable[[torch.Tensor], torch.Tensor],
    continuations: Sequence[Continuation],
    *,
    context: int,
    vocab_size: int,
    stride: int | None = None,
    device: str | torch.device = "cpu",
    states: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> list[Likelihood]:
    """Score each, in order. ``model`` maps tokens (B, T) to logits (B, T, V).

    ``stride`` is half the context unless given. ``states`` maps tokens to what ``model`` then maps
    to logits, place by place, so that only the places count after which something is predicted.
    """
    stride = stride or max(1, context // 2)
    at_once = max(1, LOGITS_PER_BATCH // vocab_size)
    batch_tokens = max(context, at_once if states is None else max(at_once, TOKENS_PER_BATCH))
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
        rows_read = [(texts[index], window) for index, window in batch]
        found = _score(model, rows_read, device, states, at_once)
        for (index, _), (cost, best) in zip(batch, found, strict=True):
            nats[index] += cost
            greedy[index] = greedy[index] and best
    return [
        Likelihood(cost, len(each.tokens), best)
        for cost, best, each in zip(nats, greedy, continuations, strict=True)
    ]


def _score(
    model: Callable[[torch.Tensor], torch.Tensor],
    batch: Sequence[tuple[npt.NDArray[np.int64], Window]],
    device: str | torch.device,
    states: Callable[[torch.Tensor], torch.Tensor] | None,
    at_once: int,
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
    losses = np.zeros(inputs.shape)
    likeliest = np.ones(inputs.shape, dtype=bool)
    with torch.inference_mode():
        read = (states or model)(torch.from_numpy(inputs).to(device)).flatten(0, 1)
        rows = torch.from_numpy(np.flatnonzero(predicted)).to(device)
        wanted = torch.from_numpy(targets[predicted]).to(device)
        costs, best = [], []
        for place in range(0, len(rows), at_once):
            own = wanted[place : place + at_once]
            logits = read[rows[place : place + at_once]]
            logits = (logits if states is None else model(logits)).float()  # (n, V)
            costs.append(functional.cross_entropy(logits, own, reduction="none").cpu())
            best.append((logits.gather(1, own[:, None])[:, 0] >= logits.amax(-1)).cpu())
    # Sums of many small numbers: in double precision.
    losses[predicted] = torch.cat(costs).double().numpy()
    likeliest[predicted] = torch.cat(best).numpy()
    return list(
        zip(losses.sum(axis=1).tolist(), [bool(row.all()) for row in likeliest], strict=True)
    )
