"""One text being written: what was asked for, what is there so far, and where its chunks go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from linnet.errors import ModelError
from linnet.generate.beam_search import BeamSearch
from linnet.generate.engine import Chunk, Deliver, FinishReason, Request, Start, TopLogprobs
from linnet.generate.logits import Sampler
from linnet.generate.stopping import StopStrings

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.errors import LinnetError
    from linnet.generate.constraining import Follower
    from linnet.generate.kv_cache import PromptCache
    from linnet.tokenizer import Tokenizer


class Generation:
    """A request on its way."""

    def __init__(
        self,
        request: Request,
        prompt: list[int],
        deliver: Deliver,
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
        self.stop_ids = stop_ids.union(request.stop_ids)
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.constraint = constraint
        self.sampler = Sampler(request.sampling, own, limit=limit, constraint=constraint)
        self.beams: BeamSearch | None = None
        if request.sampling.beams > 1:
            self.beams = BeamSearch(
                request.sampling,
                prompt,
                own,
                limit=limit,
                tokenizer=tokenizer,
                stop_ids=stop_ids,
                constraint=constraint,
            )
        self.cancelled = False
        self.cache: PromptCache | None = None
        """While it is read."""
        self.reading: list[int] = []
        """All tokens to be read."""
        self.begun = False
        """Whether any of it was read; till then, others may read what it begins with."""
        self.asked = monotonic()
        self.start: Start | None = None
        self._deliver = deliver
        self._waited = 0.0
        self._decoder = tokenizer.stream(after=prompt)
        self._stops = StopStrings(request.sampling.stop)

    @property
    def context(self) -> list[int]:
        """All tokens that the model has to read to go on."""
        return self.prompt + self.tokens

    @property
    def reserved(self) -> int:
        """Tokens that it may come to have, of all its beams."""
        return self.request.sampling.beams * (len(self.prompt) + self.limit)

    @property
    def is_read(self) -> bool:
        """Whether all of it was read, so that it has a next token."""
        return self.cache is None or self.cache.length == len(self.reading)

    def begin(self, cache: PromptCache, reading: list[int]) -> None:
        """It is read from now on, what is in the cache being at hand."""
        self.cache, self.reading, self.begun = cache, reading, False
        if self.start is None:
            self._waited = monotonic() - self.asked
        if not self.tokens:
            self.start = Start(len(self.prompt), cache.length, self._waited)

    def give(self, what: Chunk | LinnetError) -> None:
        """Deliver it; whoever cannot take it anymore gets nothing more."""
        if self.cancelled:
            return
        try:
            self._deliver(what)
        except Exception:  # the receiver's own fault, which is no reason to stop the others
            self.cancelled = True

    def advance(self, token: int, logprob: float | None, top: TopLogprobs | None) -> Chunk:
        """Take the next token, with what is told of it."""
        first = self.start if not self.tokens else None
        if token in self.stop_ids:
            self.finish_reason = "stop"
            return self._chunk(self._remainder(), (), None, None, first)
        self.tokens.append(token)
        self.sampler.accept(token)
        text = self._stops.push(self._decoder.push(token))
        if self._stops.found is not None:
            self.finish_reason = "stop"
        elif self.constraint is not None and self.constraint.complete:
            self.finish_reason = "stop"
            text += self._remainder()
        elif len(self.tokens) == self.limit:
            self.finish_reason = "length"
            text += self._remainder()
        return self._chunk(text, (token,), logprob, top, first)

    def search(self, logits: Tensor) -> tuple[list[int], Chunk | None]:
        """Take its beams further by their logits ``(n, V)``: whom each new one continues, and in
        the end what was found.
        """
        assert self.beams is not None
        parents = self.beams.advance(logits)
        if not self.beams.ended:
            return parents, None
        found = self.beams.found
        if not found:
            raise ModelError("beam search found no text that ends; use more beams, or more tokens")
        best = found[0]
        self.tokens, self.finish_reason = [*best.tokens], best.finish_reason
        chunk = Chunk(best.text, best.tokens, best.finish_reason, start=self.start, beams=found)
        if self.request.logprobs:
            chunk = replace(chunk, logprobs=best.logprobs)
        return parents, chunk

    def _remainder(self) -> str:
        """What the decoder and the stop strings have held back."""
        text = self._stops.push(self._decoder.finish())
        if self._stops.found is not None:
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
            return Chunk(text, tokens, self.finish_reason, start=start, stop=self._stops.found)
        return Chunk(
            text,
            tokens,
            self.finish_reason,
            () if logprob is None else (logprob,),
            None if not self.request.top_logprobs else () if top is None else (top,),
            start,
            self._stops.found,
        )
