"""One text being written: what was asked for, and what is there so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from torch import Tensor

from linnet.generate.engine import (
    Chunk,
    FinishReason,
    Request,
    Start,
    TopLogprobs,
)
from linnet.generate.logits import Sampler
from linnet.generate.stopping import StopStrings

if TYPE_CHECKING:
    from linnet.generate.constraining import Follower
    from linnet.tokenizer import Tokenizer


class Text:
    """A request on its way."""

    def __init__(
        self,
        request: Request,
        prompt: list[int],
        *,
        adapter: str | None,
        own: Sequence[int],
        limit: int,
        tokenizer: Tokenizer,
        stop_ids: frozenset[int],
        constraint: Follower | None = None,
    ) -> None:
        """``own``: the prompt's own tokens, as the repetition penalty sees them.

        The token that begins every text is not among them: it is often the one
        that ends a text too, which would then come too late.
        """
        self.request = request
        self.prompt = prompt
        self.adapter = adapter
        self.limit = limit
        self.stop_ids = stop_ids
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.constraint = constraint
        self.sampler = Sampler(request.sampling, own, limit=limit, constraint=constraint)
        self.asked = monotonic()
        self.start: Start | None = None
        self._waited = 0.0
        self._decoder = tokenizer.stream(after=prompt)
        self._stops = StopStrings(request.sampling.stop)

    @property
    def read(self) -> list[int]:
        """All tokens that the model has to read to go on."""
        return self.prompt + self.tokens

    def begin(self, cached: int) -> None:
        """It is computed from now on, ``cached`` tokens of it being at hand."""
        if self.start is None:
            self._waited = monotonic() - self.asked
        if not self.tokens:
            self.start = Start(len(self.prompt), cached, self._waited)

    def advance(self, token: int, logprob: float | None, top: TopLogprobs | None) -> Chunk:
        """Take the next token, with what is told of it."""
        first = self.start if not self.tokens else None
        if token in self.stop_ids:
            self.finish_reason = "stop"
            return self._chunk(self._remainder(), (), None, None, first)
        self.tokens.append(token)
        self.sampler.accept(token)
        text = self._stops.push(self._decoder.push(token))
        if self._stops.found:
            self.finish_reason = "stop"
        elif self.constraint is not None and self.constraint.complete:
            self.finish_reason = "stop"
            text += self._remainder()
        elif len(self.tokens) == self.limit:
            self.finish_reason = "length"
            text += self._remainder()
        return self._chunk(text, (token,), logprob, top, first)

    def _remainder(self) -> str:
        """What the decoder and the stop strings have held back."""
        text = self._stops.push(self._decoder.finish())
        if self._stops.found:
            self.finish_reason = "stop"
        return text + self._stops.finish()

    def _chunk(
        self,
        text: str,
        tokens: tuple[int, ...],
        logprob: float | None,
        top: TopLogprobs | None,
        start: Start | None,
    ) -> Chunk:
        if not self.request.logprobs:
            return Chunk(text, tokens, self.finish_reason, start=start)
        return Chunk(
            text,
            tokens,
            self.finish_reason,
            () if logprob is None else (logprob,),
            None if not self.request.top_logprobs else () if top is None else (top,),
            start,
        )


Teller: TypeAlias = Callable[[int], tuple[float, TopLogprobs | None]]
"""Tells a token's log-probability, and those of the likeliest where they were asked for."""


def log_probabilities(texts: Sequence[Text], logits: Tensor) -> dict[int, Teller]:
    """What tells those of the next tokens, for the places of the texts that ask for them.

    ``logits`` (n, V): as the model gave them.
    """
    places = [place for place, text in enumerate(texts) if text.request.logprobs]
    if not places:
        return {}
    every = logits[places].log_softmax(-1)
    most = max(texts[place].request.top_logprobs for place in places)
    best = every.topk(min(most, every.shape[1])) if most else None

    def teller(row: int, count: int) -> Teller:
        def tell(token: int) -> tuple[float, TopLogprobs | None]:
            top = None
            if count and best is not None:
                values, tokens = best.values[row, :count], best.indices[row, :count]
                top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
            return float(every[row, token]), top

        return tell

    return {
        place: teller(row, texts[place].request.top_logprobs) for row, place in enumerate(places)
    }
