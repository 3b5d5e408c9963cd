"""From logits to tokens: edits of a text's own, filters for all rows at once, then a draw.

They act in the order that transformers uses:

    bias, repetition penalty, frequency and presence penalties, constraint,
    temperature, top-n-sigma, top-k, top-p, min-p, typical

(llama.cpp puts the temperature last unless told otherwise, so that a high temperature does not
let unlikely tokens back in; its order can be set to this one.) What is the likeliest token
depends on the edits alone.

The repetition penalty counts prompt and continuation, as transformers does; frequency and
presence count the continuation only, as OpenAI's interface says.

Filters see each row's tokens from the likeliest down, as many as may be chosen at all: so a step
costs little more than finding the likeliest of the vocabulary. A row's token depends on its
own logits, settings and random numbers, not on the rows beside it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from linnet.generate.sampling import FILTER_OPTIONS

if TYPE_CHECKING:
    from linnet.generate.sampling import Sampling

NUCLEUS_GUESS = 256
"""Tokens that nearly every nucleus fits in; sorting a whole vocabulary takes long."""


class Edit(Protocol):
    """Changes the logits ``(V,)`` of one text's next token in place.

    ``history``: tokens of its prompt and continuation ``(T,)``; ``written``: the latter.
    """

    def __call__(self, logits: Tensor, history: Tensor, written: Tensor) -> None: ...


@dataclass(frozen=True)
class Bias:
    """Adds to the logits of tokens; those beyond the vocabulary mean nothing."""

    values: tuple[tuple[int, float], ...]

    def __call__(self, logits: Tensor, history: Tensor, written: Tensor) -> None:
        for token, value in self.values:
            if 0 <= token < len(logits):
                logits[token] += value


@dataclass(frozen=True)
class Withheld:
    """Leaves out tokens until so many were written; None: always."""

    tokens: tuple[int, ...]
    until: int | None = None

    def __call__(self, logits: Tensor, history: Tensor, written: Tensor) -> None:
        if self.until is None or len(written) < self.until:
            logits[list(self.tokens)] = -torch.inf


@dataclass(frozen=True)
class RepetitionPenalty:
    """Make tokens that occurred before less likely (CTRL, arXiv:1909.05858, section 4.1).

    The division would raise a negative logit, so those are multiplied.
    """

    penalty: float

    def __call__(self, logits: Tensor, history: Tensor, written: Tensor) -> None:
        found = logits[history]
        lowered = torch.where(found < 0, found * self.penalty, found / self.penalty)
        logits.index_put_((history,), lowered)


@dataclass(frozen=True)
class OccurrencePenalty:
    """Lower tokens that were written, for each time and once (OpenAI's two penalties)."""

    frequency: float
    presence: float

    def __call__(self, logits: Tensor, history: Tensor, written: Tensor) -> None:
        tokens, times = written.unique(return_counts=True)
        logits[tokens] -= self.frequency * times + self.presence


class Constraining(Protocol):
    """What says which tokens may come next."""

    def copy(self) -> Self:
        """Another one that has come as far."""

    def mask(self, logits: Tensor) -> None:
        """Set the logits ``(V,)`` of all others to minus infinity."""

    def advance(self, token: int) -> None:
        """This one came."""


class Sampler:
    """How one text's tokens are chosen, with its state.

    It has random numbers of its own, so a text depends on its seed and not on
    what else is being written.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        *,
        limit: int,
        constraint: Constraining | None = None,
        never: tuple[int, ...] = (),
        ends: tuple[int, ...] = (),
    ) -> None:
        """``limit``: how many tokens will be chosen at most; ``never``: those that are not;
        ``ends``: those that end the text.
        """
        self.sampling = sampling
        self.greedy = sampling.temperature == 0
        self.constraint = constraint
        self.edits = edits_for(sampling)
        if never:
            self.edits.append(Withheld(never))
        if sampling.min_tokens and ends:
            self.edits.append(Withheld(ends, sampling.min_tokens))
        self.random = np.random.default_rng(sampling.seed)
        self._prompt = len(prompt)
        self._length = len(prompt)
        self._history = torch.empty(len(prompt) + limit if self.edits else 0, dtype=torch.long)
        if self.edits:
            self._history[: len(prompt)] = torch.tensor(prompt, dtype=torch.long)

    @property
    def is_plain(self) -> bool:
        """Whether it takes logits as they are."""
        return not self.edits and self.constraint is None

    def edit(self, logits: Tensor) -> None:
        """Change the logits ``(V,)`` as this text's settings and history say."""
        if self.edits:
            history = self._history[: self._length]
            for change in self.edits:
                change(logits, history, history[self._prompt :])
        if self.constraint is not None:
            self.constraint.mask(logits)

    def accept(self, token: int) -> None:
        """This token was chosen."""
        if self.edits:
            self._history[self._length] = token
            self._length += 1
        if self.constraint is not None:
            self.constraint.advance(token)

    def copy(self) -> Sampler:
        """Another one for a text that goes on otherwise; without random numbers of its own."""
        other = copy.copy(self)
        other._history = self._history.clone()
        other.constraint = None if self.constraint is None else self.constraint.copy()
        return other

    def choose(self, logits: Tensor) -> int:
        """The next token of this text alone, given its logits ``(V,)``; it is accepted."""
        edited = logits.clone()
        self.edit(edited)
        token = choose(edited[None], [self])[0]
        self.accept(token)
        return token


def edits_for(sampling: Sampling) -> list[Edit]:
    """The edits that ``sampling`` asks for, in order."""
    edits: list[Edit] = []
    if sampling.logit_bias:
        edits.append(Bias(sampling.logit_bias))
    if sampling.repetition_penalty != 1:
        edits.append(RepetitionPenalty(sampling.repetition_penalty))
    if sampling.frequency_penalty or sampling.presence_penalty:
        edits.append(OccurrencePenalty(sampling.frequency_penalty, sampling.presence_penalty))
    return edits


def choose(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    """The next token of each row, given its edited logits ``(B, V)`` on the CPU."""
    tokens = _largest(logits)
    drawn = [row for row, sampler in enumerate(samplers) if not sampler.greedy]
    whole = [row for row in drawn if not samplers[row].sampling.filters]
    few = [row for row in drawn if samplers[row].sampling.filters]
    for rows, way in ((whole, _draw_from_all), (few, _draw_from_likeliest)):
        if rows:
            own = logits if len(rows) == len(samplers) else logits[rows]
            found = way(own, [samplers[row] for row in rows])
            for row, token in zip(rows, found, strict=True):
                tokens[row] = token
    return tokens


@dataclass(frozen=True)
class Filter:
    """Leaves out tokens of rows, each by the row's own setting; the likeliest always stays."""

    count: Callable[[Tensor, Tensor], Tensor] | None = None
    """From scores ``(B, V)`` and settings ``(B, 1)``: how many of the likeliest it leaves ``(B,)``.
    Of a filter that has a mask as well: how many it leaves at most, which saves work."""
    mask: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None
    """From scores ``(B, C)`` from the likeliest down, settings ``(B, 1)``, and the log of what
    all tokens that filters before it left add up to ``(B, 1)``: the scores, those that it leaves
    out minus infinity. A row whose setting is off must stay as it is."""


def likeliest(
    logits: Tensor, settings: Sequence[Sampling]
) -> tuple[Tensor, Tensor, npt.NDArray[np.int64]]:
    """What filters leave of each row ``(B, V)``: logits ``(B, C)`` from the likeliest down, by
    their tokens ``(B, C)``, the others minus infinity; and how many of the C each row looks at.
    """
    scores = logits / _column([one.temperature for one in settings])
    counted, guessed, bounds = _bounds(scores, settings)
    values, tokens = scores.topk(int(bounds.max()))  # (B, C)
    if guessed.any() and bounds.max() < logits.shape[1]:
        found = (values[:, :NUCLEUS_GUESS] - scores.logsumexp(-1, True)).exp().sum(-1).numpy()
        short = guessed & (found < np.array([one.top_p for one in settings]))
    else:
        short = np.zeros(len(settings), dtype=np.bool_)
    if short.any():
        bounds[short] = logits.shape[1]
        values, tokens = scores.sort(dim=-1, descending=True)
    places = torch.arange(values.shape[1])
    values.masked_fill_(places >= torch.from_numpy(bounds)[:, None], -torch.inf)
    total = None
    for name in FILTER_OPTIONS:
        mask = FILTERS[name].mask
        if mask is None or not any(name in one.filters for one in settings):
            continue
        if total is None:
            by_count = torch.from_numpy(counted)[:, None]
            total = torch.where(by_count, values.logsumexp(-1, True), scores.logsumexp(-1, True))
        values = mask(values, _settings(name, settings), total)
    return values, tokens, bounds


def within_sigmas(scores: Tensor, sigmas: Tensor) -> Tensor:
    """Top-n-sigma (arXiv:2411.07641): tokens so many standard deviations below the best, or less.

    The deviation is that of all scores that are not minus infinity.
    """
    finite = scores.isfinite()
    number = finite.sum(-1, keepdim=True)
    mean = scores.where(finite, 0.0).sum(-1, keepdim=True) / number
    deviation = ((scores - mean).where(finite, 0.0).square().sum(-1, keepdim=True) / number).sqrt()
    return (scores >= scores.amax(-1, keepdim=True) - sigmas * deviation).sum(-1)


def top_k(scores: Tensor, count: Tensor) -> Tensor:
    """So many likeliest tokens (arXiv:1805.04833)."""
    return count[:, 0].clamp_max(scores.shape[1]).long()


def top_p(values: Tensor, mass: Tensor, total: Tensor) -> Tensor:
    """Keep the nucleus: the fewest tokens whose probabilities reach ``mass`` (arXiv:1904.09751).

    ``values`` (B, C) from the likeliest down, ``total`` (B, 1) the log of what all of a row's
    tokens add up to.
    """
    probabilities = (values - total).exp()
    before = probabilities.cumsum(-1) - probabilities
    return values.masked_fill((before >= mass) & (mass < 1), -torch.inf)


def least_p(scores: Tensor, share: Tensor) -> Tensor:
    """One more than :func:`min_p` leaves: which are left out is for itself to say."""
    least = scores.amax(-1, keepdim=True) + share.log()
    return ((scores >= least).sum(-1) + 1).clamp_max(scores.shape[1])


def min_p(values: Tensor, share: Tensor, total: Tensor) -> Tensor:
    """Leave out what is less likely than ``share`` of the likeliest token (arXiv:2407.01082)."""
    return values.masked_fill(values < values[:, :1] + share.log(), -torch.inf)


def typical(values: Tensor, mass: Tensor, total: Tensor) -> Tensor:
    """Keep tokens whose surprise is nearest to the expected, until they reach ``mass``.

    Locally typical sampling (arXiv:2202.00666).
    """
    surprise = -values.log_softmax(-1)
    probabilities = (-surprise).exp()
    expected = (surprise * probabilities).nan_to_num(0.0).sum(-1, keepdim=True)
    distance, order = (surprise - expected).abs().sort(dim=-1, stable=True)
    reached = probabilities.gather(-1, order).cumsum(-1)
    last = (reached < mass).sum(-1, keepdim=True).clamp_max(values.shape[1] - 1)
    furthest = distance.gather(-1, last)
    far = (surprise - expected).abs() > furthest
    return values.masked_fill(far & (mass < 1), -torch.inf)


FILTERS: dict[str, Filter] = {
    "top_n_sigma": Filter(count=within_sigmas),
    "top_k": Filter(count=top_k),
    "top_p": Filter(mask=top_p),
    "min_p": Filter(count=least_p, mask=min_p),
    "typical_p": Filter(mask=typical),
}
"""All filters by the names of their settings; :class:`Sampling` says in which order they act."""


def draw(probabilities: Tensor, random: np.random.Generator) -> int:
    """A token, each with its probability (V,); see :func:`_race`."""
    return _race(probabilities[None], [random], [len(probabilities)])[0]


def _race(
    probabilities: Tensor, randoms: Sequence[np.random.Generator], counts: Sequence[int]
) -> list[int]:
    """For each row ``(B, C)`` a place, each of the first ``counts`` with its probability.

    An exponential race: with E drawn from the exponential distribution, p / E
    is largest for a token with probability p. Unlike a walk along the
    cumulative probabilities, a rounding error in one token's probability
    does not shift those of all that follow.
    """
    times = np.ones(probabilities.shape)
    for row, (random, count) in enumerate(zip(randoms, counts, strict=True)):
        random.standard_exponential(out=times[row, :count])
    return _largest(probabilities / torch.from_numpy(times))


def _largest(values: Tensor) -> list[int]:
    """The place of the largest value of each row, the first of equals. numpy finds it sooner."""
    places: list[int] = values.numpy().argmax(-1).tolist()
    return places


def _draw_from_all(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    scores = logits / _column([sampler.sampling.temperature for sampler in samplers])
    randoms = [sampler.random for sampler in samplers]
    return _race(scores.softmax(-1), randoms, [logits.shape[1]] * len(samplers))


def _draw_from_likeliest(logits: Tensor, samplers: Sequence[Sampler]) -> list[int]:
    values, tokens, counts = likeliest(logits, [sampler.sampling for sampler in samplers])
    randoms = [sampler.random for sampler in samplers]
    places = _race(values.softmax(-1), randoms, counts.tolist())
    found: list[int] = tokens.gather(1, torch.tensor(places)[:, None])[:, 0].tolist()
    return found


def _bounds(
    scores: Tensor, settings: Sequence[Sampling]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """How many tokens of each row can be chosen at most, as far as is easily told.

    And which rows a count alone filters, and of which the number is a guess: where only a
    nucleus bounds them, as many as nearly always hold it.
    """
    V = scores.shape[1]
    exact = np.full(len(settings), V)
    near = exact.copy()
    counted = np.zeros(len(settings), dtype=np.bool_)
    for name, found in FILTERS.items():
        on = np.array([name in one.filters for one in settings])
        if found.count is None or not on.any() or (found.mask is not None and counted[on].all()):
            continue
        counts = np.where(on, found.count(scores, _settings(name, settings)).numpy(), V)
        if found.mask is None:
            exact, counted = np.minimum(exact, counts), counted | on
        else:
            near = np.minimum(near, counts)
    guessed = np.array([one.top_p < 1 for one in settings]) & ~counted & (near == V)
    near = np.where(guessed, min(V, NUCLEUS_GUESS), near)
    return counted, guessed, np.where(counted, exact, near)


def _settings(name: str, settings: Sequence[Sampling]) -> Tensor:
    return _column([getattr(one, name) for one in settings])


def _column(numbers: Sequence[float]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)[:, None]
