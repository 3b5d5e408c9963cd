"""One text being written: what was asked for, what is there so far, and where its chunks go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from linnet.errors import ModelError
from linnet.generate.beam_search import BeamSearch
from linnet.generate.engine import (
    ChosenToken,
    Chunk,
    Deliver,
    FinishReason,
    Request,
    Start,
    TopLogprobs,
)
from linnet.generate.logits import Sampler
from linnet.generate.stopping import Output

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
        never = self.stop_ids.difference(request.stop_ids) if request.sampling.ignore_eos else ()
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None
        self.constraint = constraint
        self.sampler = Sampler(
            request.sampling, own, limit=limit, constraint=constraint,
            never=tuple(never), ends=tuple(self.stop_ids),
        )  # fmt: skip
        self.beams: BeamSearch | None = None
        if request.sampling.beams > 1:
            self.beams = BeamSearch(
                request.sampling,
                prompt,
                own,
                limit=limit,
                tokenizer=tokenizer,
                stop_ids=self.stop_ids,
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
        decoder: Any = tokenizer.stream(after=prompt)
        self._output = Output(request, decoder, tokenizer.special_name)

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
        chosen, output = ChosenToken(token, logprob, top), self._output
        if token in self.stop_ids:
            self._end("stop", token)
            return output.chunk(self.finish_reason, first, ending=chosen)
        self.tokens.append(token)
        self.sampler.accept(token)
        output.push(chosen)
        if output.found is not None:
            self.finish_reason = "stop"
        elif self.constraint is not None and self.constraint.complete:
            self._end("stop")
        elif len(self.tokens) == self.limit:
            self._end("length")
        return output.chunk(self.finish_reason, first)

    def _end(self, reason: FinishReason, token: int | None = None) -> None:
        """Nothing more comes; ``token``: which ended it."""
        self._output.end(token)
        self.finish_reason = reason if self._output.found is None else "stop"

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
