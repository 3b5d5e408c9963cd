"""Speculative decoding: tokens are drafted cheaply, and one pass of the model verifies them all.

At each place the next token is chosen exactly as without a draft: from the model's own logits,
with the text's edits, constraint and random numbers. A drafted token is accepted if it is the one
that was chosen; behind the first that is not, the pass is thrown away. Against a draft that has no
probabilities of its own this is rejection sampling (arXiv:2211.17192): what is written has the
model's distribution, and more: a seed gives the same text with a draft as without one. Only the
rounding differs, by about one millionth of a logit, as it does with the number of texts
that are computed together; so a text may differ where two tokens are as good as equally likely.

Two things draft: what followed the same tokens where they stood before (:class:`PromptLookup`),
and a smaller model (``linnet.generate.torch_draft``). How much is drafted depends on how often
drafts were right, and on what passes of so many tokens took here (:class:`StepCosts`).
"""

from __future__ import annotations

import statistics
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from linnet.errors import ModelError

if TYPE_CHECKING:
    from linnet.generate.generation import Generation
    from linnet.tokenizer import Tokenizer

MOST_DRAFTED = 24
"""Tokens of one text drafted at once, at most."""

MATCH = 3
"""Tokens that must have stood before, for what followed them to be a draft."""

_FIRST_RATE, _NEXT_RATE = 0.4, 0.7  # before anything was seen of a text
_BEST_RATE = 0.98
_WEIGHT = 0.15  # of what came last in a rate
_THRESHOLDS = (0.9, 0.75, 0.6, 0.45, 0.3, 0.2, 0.12, 0.06)
_GROWTH = 1.12  # how much longer a pass of twice as many tokens takes, before one was measured
_TRIED_AGAIN = 64  # steps after which a cost that was measured is doubted once
_MARGIN = 1.1  # how much faster a draft must promise to be


class PromptLookup:
    """Drafts what followed the last tokens of a text where they stood before.

    Whether it would have been right is known at every token, drafted or not, so nothing has to
    be risked to find out.
    """

    def __init__(self, tokens: Sequence[int]) -> None:
        """``tokens``: the text so far."""
        self.first_rate, self.next_rate = _FIRST_RATE, _NEXT_RATE
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}  # where the latest such tokens end
        self._source: int | None = None  # where the next token is expected to stand
        self._before_last: int | None = None  # where the last tokens stood before, and ended
        self._streak = False  # whether the last one stood there, too
        for token in tokens:
            self._add(token)
        self._source = self._before_last

    def update(self, tokens: Sequence[int]) -> None:
        """The text has these tokens now."""
        for token in tokens[len(self._tokens) :]:
            self._judge(token)
            self._add(token)
            if self._source is None:
                self._source = self._before_last

    @property
    def rates(self) -> tuple[float, float]:
        """How likely the first drafted token is right, and each further one behind right ones."""
        return (self.next_rate if self._streak else self.first_rate), self.next_rate

    def draft(self, most: int) -> list[int]:
        """What may come next; nothing where the last tokens have not stood before."""
        if self._source is None:
            return []
        found = self._tokens[self._source : self._source + most]
        size = len(self._tokens) - self._source
        while len(found) < most:  # it repeats itself
            found.append(found[-size])
        return found

    def _judge(self, token: int) -> None:
        if self._source is None:
            return
        right = self._tokens[self._source] == token
        if self._streak:
            self.next_rate += (right - self.next_rate) * _WEIGHT
        else:
            self.first_rate += (right - self.first_rate) * _WEIGHT
        self._streak = right
        self._source = self._source + 1 if right else None

    def _add(self, token: int) -> None:
        self._tokens.append(token)
        last = tuple(self._tokens[-MATCH:])
        self._before_last = self._after.get(last) if len(last) == MATCH else None
        self._after[last] = len(self._tokens)


class StepCosts:
    """How long a pass of so many tokens takes, as measured."""

    def __init__(self) -> None:
        self._seen: dict[int, deque[float]] = defaultdict(lambda: deque(maxlen=7))
        self._usual: dict[int, float] = {}  # medians of what was seen, by size

    def record(self, tokens: int, seconds: float) -> None:
        """A pass of ``tokens`` took so long."""
        size = self._size(tokens)
        self._seen[size].append(seconds)
        self._usual[size] = statistics.median_low(self._seen[size])

    @property
    def is_known(self) -> bool:
        """Whether any was measured."""
        return bool(self._usual)

    def of(self, tokens: int, *, doubted: bool = False) -> float:
        """Seconds that one takes; an optimistic guess where none that large was seen.

        ``doubted``: guess from the smallest that was seen.
        """
        size = nearest = self._size(tokens)
        if doubted:
            nearest = min(size, min(self._usual, default=0))
        while nearest and nearest not in self._usual:
            nearest -= 1
        return self._usual.get(nearest, 1.0) * float(_GROWTH ** (size - nearest))

    def _size(self, tokens: int) -> int:
        return (tokens - 1).bit_length()


class Drafter(Protocol):
    """A model that drafts."""

    def rate(self, text: Generation) -> float:
        """How likely each of its tokens is right for this text, behind right ones."""

    def seconds(self, texts: int) -> float:
        """What one more token of so many texts takes."""

    def draft(self, texts: Sequence[Generation], counts: Sequence[int]) -> list[list[int]]:
        """So many tokens for each."""

    def judge(self, text: Generation, drafted: int, accepted: int) -> None:
        """So many of those drafted were right."""


@dataclass
class _Prospect:
    """What could be drafted for a text."""

    tokens: list[int]
    """From a look-up; nothing: a model is to draft."""
    chances: list[float]
    """That so many drafted tokens are all right, from the first on."""

    def above(self, threshold: float) -> int:
        """How many have a chance of at least so much."""
        return sum(chance >= threshold for chance in self.chances)


class Speculation:
    """What drafts for all texts of one model."""

    def __init__(self, *, lookup: bool = True, drafter: Drafter | None = None) -> None:
        self.lookup, self.drafter = lookup, drafter
        self.costs = StepCosts()
        self.drafted = self.accepted = 0
        """Tokens in all, so far."""
        self._lookups: WeakKeyDictionary[Generation, PromptLookup] = WeakKeyDictionary()
        self._steps = 0

    @property
    def is_on(self) -> bool:
        """Whether anything drafts."""
        return self.lookup or self.drafter is not None

    def draft(
        self, texts: Sequence[Generation], most: Sequence[int], *, beside: int = 0
    ) -> list[list[int]]:
        """Drafts for the texts, of at most so many tokens each, that promise to pay.

        ``beside``: tokens of prompts that the same pass reads.
        """
        prospects = [self._prospect(*each) for each in zip(texts, most, strict=True)]
        counts = self._counts(prospects, len(texts) + beside)
        drafts = [each.tokens[:count] for each, count in zip(prospects, counts, strict=True)]
        if self.drafter is not None:
            own = [place for place, each in enumerate(prospects) if not each.tokens]
            asked = [place for place in own if counts[place]]
            found = self.drafter.draft(
                [texts[place] for place in asked], [counts[place] for place in asked]
            )
            for place, tokens in zip(asked, found, strict=True):
                drafts[place] = tokens
        for text, tokens in zip(texts, drafts, strict=True):
            # What ends a text is chosen in the place behind the draft as well, and never kept.
            end = next((n for n, token in enumerate(tokens) if token in text.stop_ids), None)
            del tokens[len(tokens) if end is None else end :]
        return drafts

    def judge(self, text: Generation, drafted: int, accepted: int) -> None:
        """So many of a text's drafted tokens were right."""
        self.drafted += drafted
        self.accepted += accepted
        if self.drafter is not None:
            self.drafter.judge(text, drafted, accepted)

    def _prospect(self, text: Generation, most: int) -> _Prospect:
        most = min(most, MOST_DRAFTED)
        if self.lookup:
            lookup = self._lookups.get(text)
            if lookup is None:
                lookup = self._lookups[text] = PromptLookup(text.context)
            else:
                lookup.update(text.context)
            tokens = lookup.draft(most) if most > 0 else []
            if tokens:
                return _Prospect(tokens, _chances(*lookup.rates, len(tokens)))
        if self.drafter is None or most <= 0:
            return _Prospect([], [])
        rate = self.drafter.rate(text)
        return _Prospect([], _chances(rate, rate, most))

    def _counts(self, prospects: Sequence[_Prospect], least: int) -> list[int]:
        """How much is drafted for each: what promises most tokens a second in this pass.

        Of all sets of so many tokens the one with the highest chances promises most.
        """
        none = [0] * len(prospects)
        if not any(each.chances for each in prospects):
            return none
        self._steps += 1
        doubted = self._steps % _TRIED_AGAIN == 0
        best, found = _MARGIN * len(prospects) / self.costs.of(least, doubted=doubted), none
        all_right = len(prospects) + sum(sum(each.chances) for each in prospects)
        if all_right / self.costs.of(least + 1, doubted=doubted) <= best:
            return none
        for threshold in _THRESHOLDS:
            counts = [each.above(threshold) for each in prospects]
            drafted = sum(counts)
            if not drafted:
                continue
            expected = len(prospects) + sum(
                sum(each.chances[:count]) for each, count in zip(prospects, counts, strict=True)
            )
            seconds = self.costs.of(least + drafted, doubted=doubted)
            if self.drafter is not None:
                own = [
                    count
                    for each, count in zip(prospects, counts, strict=True)
                    if count and not each.tokens
                ]
                seconds += max(own, default=0) * self.drafter.seconds(len(own))
            if expected / seconds > best:
                best, found = expected / seconds, counts
        return found


def _chances(first: float, further: float, count: int) -> list[float]:
    """That drafts of one, two, ... tokens are right."""
    chance, found = min(first, _BEST_RATE), []
    for _ in range(count):
        found.append(chance)
        chance *= min(further, _BEST_RATE)
    return found


def require_same_vocabulary(ours: Tokenizer, theirs: Tokenizer) -> None:
    """Raise ModelError where a draft model's tokens are not those of the model."""
    reason = None
    if ours.vocab_size != theirs.vocab_size:
        reason = f"it has {theirs.vocab_size:,} tokens, the model {ours.vocab_size:,}"
    else:
        for token in range(ours.vocab_size):
            own, other = ours.token_bytes(token), theirs.token_bytes(token)
            if own != other:
                reason = f"token {token} is {other!r}, the model's {own!r}"
                break
    if reason is not None:
        raise ModelError(
            f"a draft model must have the vocabulary of the model that it drafts for: {reason}; "
            "use one that was trained with the same tokenizer"
        )
