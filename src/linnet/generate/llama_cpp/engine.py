"""The engine on llama.cpp: the same requests and answers as the engine on torch, faster.

What it promises, and what is different:

* a request means the same as on torch, and at f32 the two agree but for rounding; with
  weights in fewer bits its texts are those of the rounded weights;
* greedy text may depend on what is computed beside it, as sums are rounded in another
  order for another number of texts;
* what drafts (``lookup``, ``draft``) is llama.cpp's own, and verified by it: texts are those of
  the model, but a batch of several tokens rounds otherwise than one, so that with rounded
  weights greedy text may differ from that without drafts. Requests with log-probabilities are
  computed by a second process without them;
* a seed gives the same text again on this engine, another text than on torch;
* llama.cpp's penalties for what occurred before see the whole prompt. Frequency is put
  right for that; presence as well, but a token of the prompt then has none when it is
  written; together with a repetition penalty they are put right only nearly;
* prompt and continuation together never exceed the context. A continuation stops there
  with ``length``; a prompt that leaves no room is an error. Nothing is shifted out;
* native code runs in another process: if it crashes or hangs it is started again, and the
  request that did it ends with an error. The others are computed again where nothing of
  them was delivered, and end with an error where something was.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.errors import ModelError
from linnet.generate.constraints.compiler import written
from linnet.generate.engine import Engine, Request, Score, require_known_tokens
from linnet.generate.llama_cpp.cache import note_use
from linnet.generate.llama_cpp.completion import Answer, request_body
from linnet.generate.llama_cpp.dispatcher import Dispatcher, Job
from linnet.generate.llama_cpp.resources import advice
from linnet.llama_cpp.process import LlamaCppSettings
from linnet.model.lora_config import BASE

if TYPE_CHECKING:
    from linnet.generate.constraints.compiler import Notation
    from linnet.generate.engine import ChosenToken, Continuation, Deliver, Likelihood
    from linnet.generate.llama_cpp.resources import Resources
    from linnet.generate.tokenization import EngineTokenizer
    from linnet.generate.torch_engine import TorchEngine

_NOTE_SECONDS = 600.0


@dataclass(frozen=True)
class Served:
    """A model as llama.cpp has it."""

    file: Path
    vocab_size: int
    stop_ids: tuple[int, ...]
    spells_bytes: bool
    """Whether the file's vocabulary has a character for each byte."""
    adapters: Mapping[str, Path]
    """GGUF files of adapters by name."""
    usual_adapter: str | None
    scorer: Callable[[], TorchEngine]
    """Makes what scores texts: the file's weights in torch."""
    precision: str = ""
    """The number format of its weights; empty where only the file says so."""
    merged: str | None = None
    """The adapter that is part of the weights, if one is."""


class LlamaCppEngine(Engine):
    """Generates and scores texts with one model."""

    def __init__(
        self,
        served: Served,
        tokenization: EngineTokenizer,
        resources: Resources,
        *,
        exact: bool,
        stall_seconds: float = LlamaCppSettings.stall_seconds,
        lookup: bool = False,
        draft: Path | None = None,
    ) -> None:
        """Starts llama.cpp. ``exact``: nothing is rounded to fewer bits than float32. ``lookup``,
        ``draft``: what drafts, the latter a file.

        Raises ModelError when it does not accept the file, MissingExtraError without
        ``xllamacpp``.
        """
        self.served, self.tokenization, self.resources = served, tokenization, resources
        self._stop_ids = frozenset(served.stop_ids)
        self._noted = time.monotonic()
        self._places = {name: place for place, name in enumerate(served.adapters)}
        settings = LlamaCppSettings(
            model=str(served.file),
            context=resources.total,
            slots=resources.slots,
            threads=resources.threads,
            unified=resources.unified,
            exact=exact,
            # It keeps them by tokens alone, whatever adapter they were computed with.
            prompt_cache=0 if served.adapters else resources.prompt_cache,
            adapters=tuple(str(file) for file in served.adapters.values()),
            stall_seconds=stall_seconds,
            lookup=lookup,
            draft="" if draft is None else str(draft),
        )
        self.dispatcher = Dispatcher(settings)
        self._undrafted: list[Dispatcher] = []
        self._starting = threading.Lock()
        self._finalizer = weakref.finalize(self, _close, self.dispatcher, self._undrafted)

    @property
    def context(self) -> int:
        """The most tokens that prompt and continuation may have together."""
        return self.resources.context

    @property
    def adapters(self) -> Sequence[str]:
        """The names that a request may choose its adapter by."""
        return tuple(self.served.adapters)

    @property
    def precision(self) -> str:
        """The number format of the weights."""
        return self.served.precision

    @property
    def memory_bytes(self) -> int:
        """Memory of the process that computes, what it reads of its file included."""
        return self.dispatcher.memory_bytes

    @property
    def advice(self) -> str | None:
        """One line on how to compute faster on this processor, where there is a way."""
        return advice(self.dispatcher.process().system_info)

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        """Complete one request, handing over each piece as it comes; gives what cancels it.

        Raises ModelError and ConfigError for what is wrong with the request.
        """
        job = self._job(request, deliver)
        return self._dispatcher_for(request).submit(job)

    def score(self, texts: Sequence[str]) -> list[Score]:
        """The log-probability of every token of each text, by the weights that are served.

        Computed by torch in fp32, from the file's weights whatever their format.
        """
        return self._scorer.score(texts)

    def likelihoods(self, continuations: Iterable[Continuation]) -> Iterator[Likelihood]:
        """How likely each is, in their order; computed as by :meth:`score`."""
        return self._scorer.likelihoods(continuations)

    def score_prompt(
        self, prompt: Sequence[int], *, top: int = 0, adapter: str | None = None
    ) -> list[ChosenToken]:
        """The tokens of a prompt, each with what is told of it; computed as by :meth:`score`."""
        self._adapter(adapter)
        return self._scorer.score_prompt(prompt, top=top, adapter=adapter)

    def close(self) -> None:
        """End llama.cpp; what is being written ends with an error."""
        self._finalizer()

    @cached_property
    def _scorer(self) -> TorchEngine:
        return self.served.scorer()

    def _dispatcher_for(self, request: Request) -> Dispatcher:
        """A second llama.cpp, without drafts, where log-probabilities are asked for.

        Of drafted tokens it gives none. The weights of both are the same memory.
        """
        settings = self.dispatcher.settings
        if not request.logprobs or not (settings.lookup or settings.draft):
            return self.dispatcher
        with self._starting:
            if not self._undrafted:
                self._undrafted.append(Dispatcher(replace(settings, lookup=False, draft="")))
            return self._undrafted[0]

    def _note_use(self) -> None:
        """Have the files stay in their cache while texts are written with them."""
        if time.monotonic() - self._noted > _NOTE_SECONDS:
            self._noted = time.monotonic()
            for file in (self.served.file, *self.served.adapters.values()):
                note_use(file)

    def _job(self, request: Request, deliver: Deliver) -> Job:
        self._note_use()
        adapter = self._adapter(request.adapter)
        if isinstance(request.prompt, str):
            own: Sequence[int] = self.tokenization.encode(request.prompt)
            prompt = [*self.tokenization.start, *own]
        else:
            own = request.prompt
            prompt = [*own]
        prompt = prompt or [self.tokenization.beginning]
        require_known_tokens(prompt, self.served.vocab_size, request)
        self._require_context(prompt)
        limit = min(request.sampling.max_tokens, self.context - len(prompt))
        grammar = None
        if request.constraint is not None:
            notation: Notation = "gbnf_in_bytes" if self.served.spells_bytes else "gbnf"
            grammar = written(request.constraint, notation)
        never = self._stop_ids.difference(request.stop_ids) if request.sampling.ignore_eos else ()
        body = request_body(
            request,
            prompt,
            penalised=own,
            limit=limit,
            adapters=len(self._places),
            adapter=adapter,
            grammar=grammar,
            never=sorted(never),
        )

        def make_answer() -> Answer:
            return Answer(
                request,
                prompt,
                limit=limit,
                stop_ids=self._stop_ids,
                decoder=self.tokenization.decoder(prompt),
                spell=self.tokenization.special_name,
            )

        return Job(
            body,
            make_answer,
            deliver,
            tokens=len(prompt) + limit,
            constraint=request.constraint,
        )

    def _adapter(self, name: str | None) -> int | None:
        """The place of the adapter that a request asks for."""
        if name is None:
            name = self.served.usual_adapter
        elif self.served.merged is not None:
            raise ModelError(
                f"the adapter '{self.served.merged}' is merged into the weights; open its base "
                "with it as one of several adapters to choose for each request"
            )
        if name is None or name == BASE:
            return None
        if name not in self._places:
            names = ", ".join(sorted(self._places))
            there = f"it has: {names}" if names else "it has none"
            raise ModelError(f"the model has no adapter '{name}'; {there}")
        return self._places[name]

    def _require_context(self, prompt: Sequence[int]) -> None:
        if self.context - len(prompt) < 1:
            raise ModelError(
                f"the prompt has {len(prompt)} tokens, but the context holds {self.context}, of "
                "which at least one must be left to write in; shorten the prompt"
            )


def _close(dispatcher: Dispatcher, others: Sequence[Dispatcher]) -> None:
    for each in (dispatcher, *others):
        each.close()
