"""From logits to a token: filters, one idea each, then a draw.

A filter takes the logits of the next token ``(V,)`` and the tokens so far
``(T,)`` and returns new logits; what it rules out becomes minus infinity. They
act in the order that transformers uses:

    repetition penalty, temperature, top-k, top-p, min-p

(llama.cpp puts the temperature last unless told otherwise, so that a high
temperature does not let unlikely tokens back in; its order can be set to this one.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from linnet.generate.sampling import Sampling

NUCLEUS_GUESS = 256
"""Tokens that nearly every nucleus fits in; sorting a whole vocabulary takes long."""


class LogitFilter(Protocol):
    """Changes the logits of the next token."""

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class RepetitionPenalty:
    """Make tokens that occurred before less likely (CTRL, arXiv:1909.05858, section 4.1).

    The division would raise a negative logit, so those are multiplied.
    """

    penalty: float

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor:
        found = logits[history]
        lowered = torch.where(found < 0, found * self.penalty, found / self.penalty)
        return logits.index_put((history,), lowered)


@dataclass(frozen=True)
class Temperature:
    """Sharpen (below 1) or flatten (above 1) the distribution."""

    temperature: float

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor:
        return logits / self.temperature


@dataclass(frozen=True)
class TopK:
    """Keep the ``count`` likeliest tokens, and what is exactly as likely as the last of them."""

    count: int

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor:
        if self.count >= len(logits):
            return logits
        smallest = logits.topk(self.count).values[-1]
        return logits.masked_fill(logits < smallest, -torch.inf)


@dataclass(frozen=True)
class TopP:
    """Keep the nucleus: the fewest tokens whose probabilities reach ``mass`` (arXiv:1904.09751)."""

    mass: float

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        likeliest, tokens = probabilities.topk(min(NUCLEUS_GUESS, len(logits)))
        if float(likeliest.sum()) < self.mass:
            likeliest, tokens = probabilities.sort(descending=True)
        before = likeliest.cumsum(-1) - likeliest
        nucleus = tokens[before < self.mass]
        return torch.full_like(logits, -torch.inf).index_copy(0, nucleus, logits[nucleus])


@dataclass(frozen=True)
class MinP:
    """Leave out what is less likely than ``share`` of the likeliest token (arXiv:2407.01082)."""

    share: float

    def __call__(self, logits: Tensor, history: Tensor) -> Tensor:
        probabilities = logits.softmax(-1)
        return logits.masked_fill(probabilities < self.share * probabilities.max(), -torch.inf)


def filters_for(sampling: Sampling) -> list[LogitFilter]:
    """The filters that ``sampling`` asks for, in order; those that would do nothing left out."""
    filters: list[LogitFilter] = []
    if sampling.repetition_penalty != 1:
        filters.append(RepetitionPenalty(sampling.repetition_penalty))
    if sampling.temperature == 0:
        return filters  # the rest never changes which token is the likeliest
    if sampling.temperature != 1:
        filters.append(Temperature(sampling.temperature))
    if sampling.top_k:
        filters.append(TopK(sampling.top_k))
    if sampling.top_p < 1:
        filters.append(TopP(sampling.top_p))
    if sampling.min_p:
        filters.append(MinP(sampling.min_p))
    return filters


class Sampler:
    """Chooses the tokens of one text, one after the other.

    It has random numbers of its own, so a text depends on its seed and not on
    what else is being written.
    """

    def __init__(self, sampling: Sampling, prompt: Sequence[int], *, limit: int) -> None:
        """``limit``: how many tokens will be chosen at most."""
        self.greedy = sampling.temperature == 0
        self.filters = filters_for(sampling)
        self.history = torch.empty(len(prompt) + limit, dtype=torch.long)
        self.history[: len(prompt)] = torch.tensor(prompt, dtype=torch.long)
        self.length = len(prompt)
        self.random = torch.Generator()
        if sampling.seed is None:
            self.random.seed()
        else:
            self.random.manual_seed(sampling.seed)

    def choose(self, logits: Tensor) -> int:
        """The next token, given its logits ``(V,)`` on the CPU."""
        for logit_filter in self.filters:
            logits = logit_filter(logits, self.history[: self.length])
        token = int(logits.argmax()) if self.greedy else draw(logits.softmax(-1), self.random)
        self.history[self.length] = token
        self.length += 1
        return token


def draw(probabilities: Tensor, random: torch.Generator) -> int:
    """A token, each with its probability.

    An exponential race: with E drawn from the exponential distribution, p / E
    is largest for a token with probability p. Unlike a walk along the
    cumulative probabilities, a rounding error in one token's probability
    does not shift those of all that follow.
    """
    uniform = torch.rand(len(probabilities), generator=random, dtype=torch.float64)
    # -log(u) is E, and the largest p / E is the largest log(u) / p, which is negative.
    return int((uniform.log_() / probabilities).argmax())
