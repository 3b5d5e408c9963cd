"""A smaller model that drafts what a larger one verifies (``linnet.generate.speculation``).

It drafts its likeliest tokens, whatever the text's settings: verification makes them what they
must be. Both need the same vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import thread_time
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch

from linnet.generate.kv_cache import CacheLayout, PromptCache
from linnet.generate.speculation import StepCosts
from linnet.generate.torch_attention import PrefillChunk

if TYPE_CHECKING:
    from linnet.generate.generation import Generation
    from linnet.generate.torch_decoder import Decoder

PREFILL_TOKENS = 512
"""Tokens of a text that it reads at once."""

_RATE = 0.6  # before anything was seen of a text
_WEIGHT = 0.1
_RECOVERY = 0.002  # of the way back to it with each token that was not drafted


@dataclass
class _Draft:
    """What it knows of one text."""

    cache: PromptCache | None = None
    tokens: list[int] = field(default_factory=list)
    """Those that are in the cache."""
    rate: float = _RATE
    seen: int = 0
    """Tokens of the text when its rate was last looked at."""


class ModelDrafter:
    """Drafts with a model of its own; a ``speculation.Drafter``."""

    def __init__(self, make_decoder: Callable[[], Decoder]) -> None:
        self._make_decoder = make_decoder
        self._decoder: Decoder | None = None
        self._costs = StepCosts()
        self._drafts: WeakKeyDictionary[Generation, _Draft] = WeakKeyDictionary()
        self._open: set[Generation] = set()

    @property
    def decoder(self) -> Decoder:
        """The model, laid out for writing."""
        if self._decoder is None:
            self._decoder = self._make_decoder()
        return self._decoder

    def rate(self, text: Generation) -> float:
        """How likely each of its tokens is right for this text, behind right ones."""
        draft = self._drafts.setdefault(text, _Draft())
        length = len(text.prompt) + len(text.tokens)
        if length >= self.decoder.config.context:
            return 0.0
        if draft.seen and length > draft.seen:
            back = 1 - (1 - _RECOVERY) ** (length - draft.seen)
            draft.rate += (_RATE - draft.rate) * back
        draft.seen = length
        return draft.rate

    def seconds(self, texts: int) -> float:
        """What one more token of so many texts takes; nothing before one was measured."""
        return self._costs.of(texts) if texts and self._costs.is_known else 0.0

    @torch.inference_mode()
    def draft(self, texts: Sequence[Generation], counts: Sequence[int]) -> list[list[int]]:
        """So many tokens for each, as far as its context reaches."""
        context = self.decoder.config.context
        found: list[list[int]] = [[] for _ in texts]
        self._open = set(texts)
        left = [
            min(count, context - len(text.context))
            for text, count in zip(texts, counts, strict=True)
        ]
        rest = [self._unread(text, max(0, count)) for text, count in zip(texts, left, strict=True)]
        while any(count > 0 for count in left):
            going = [place for place, count in enumerate(left) if count > 0]
            tokens = self._read([texts[place] for place in going], [rest[p] for p in going])
            for place, token in zip(going, tokens, strict=True):
                found[place].append(token)
                rest[place] = [token]
                left[place] -= 1
        return found

    def judge(self, text: Generation, drafted: int, accepted: int) -> None:
        """So many of those drafted were right."""
        if text not in self._open:
            return
        draft = self._drafts[text]
        for place in range(min(drafted, accepted + 1)):
            draft.rate += ((place < accepted) - draft.rate) * _WEIGHT

    def _unread(self, text: Generation, count: int) -> list[int]:
        """A text's tokens that it has not read yet; of its last draft the right ones stay."""
        draft, context = self._drafts.setdefault(text, _Draft()), text.context
        cache = draft.cache
        if cache is None or cache.memory.shape[1] < len(context) + count:
            wanted = max(len(context) + count, min(2 * len(context), self.decoder.config.context))
            decoder = self.decoder
            layout = CacheLayout.of(decoder.config, dtype=decoder.dtype, device=decoder.device)
            draft.cache = PromptCache(layout, wanted)
            if cache is not None:
                draft.cache.put([cache.read])
            cache = draft.cache
        # Of what was read all but the end is the text's own.
        same = min(len(draft.tokens), len(context) - 1)
        while same and draft.tokens[:same] != context[:same]:
            same -= 1
        cache.length = same
        draft.tokens = draft.tokens[:same]
        return context[same:]

    def _read(self, texts: Sequence[Generation], rest: Sequence[list[int]]) -> list[int]:
        """Read on in each text; the likeliest token after it."""
        begun = thread_time()
        rest = [[*tokens] for tokens in rest]
        single = all(len(tokens) == 1 for tokens in rest)
        states: list[torch.Tensor | None] = [None] * len(texts)
        while any(rest):
            going = [place for place, tokens in enumerate(rest) if tokens]
            pieces = []
            for place in going:
                draft = self._drafts[texts[place]]
                assert draft.cache is not None
                tokens, rest[place] = rest[place][:PREFILL_TOKENS], rest[place][PREFILL_TOKENS:]
                pieces.append(PrefillChunk(draft.cache, tokens, None))
                draft.tokens += tokens
            computed = self.decoder.step([], [], pieces)
            end = 0
            for place, piece in zip(going, pieces, strict=True):
                end += len(piece.tokens)
                states[place] = computed[end - 1]
        last = torch.stack([state for state in states if state is not None])
        tokens = self.decoder.logits(last, [None] * len(texts)).argmax(-1).tolist()
        if single:
            self._costs.record(len(texts), thread_time() - begun)
        return [int(token) for token in tokens]
