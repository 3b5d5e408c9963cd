"""The engine on torch: the exact weights, on any device torch has.

    request -> Generation -> Runner: read in chunks -> a token at a time, beside all others

What it promises:

* greedy text is the argmax of the model without a cache, token for token, and
  that of transformers on the same checkpoint (in fp32, but for exact ties);
* a text depends on its request and seed, not on the requests beside it (in
  fp32, but for rounding: a row of a batch differs from the row alone by about
  one millionth);
* each request is computed with the adapter it asks for;
* requests of many threads are computed together; one that is cancelled leaves at the next step;
* what a text shares with the beginning of one before it is not computed again;
* a draft of the next tokens makes it faster and changes no text (but for rounding);
* text comes in whole characters; a stop string is never shown, not even in part;
* prompt and continuation together never exceed the context. A continuation
  stops there with ``length``; a prompt that leaves no room is an error.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from linnet.errors import ConfigError, ModelError
from linnet.generate.constraining import Constrainer
from linnet.generate.engine import (
    ChosenToken,
    Continuation,
    Deliver,
    Engine,
    Likelihood,
    Request,
    Score,
    require_known_tokens,
)
from linnet.generate.engine_kind import format_of, weight_bytes
from linnet.generate.generation import Generation
from linnet.generate.kv_cache import CacheLayout
from linnet.generate.likelihood import LOGITS_PER_BATCH, buffered, score_continuations
from linnet.generate.prefix_tree import score_tree, shares_prefixes
from linnet.generate.scheduler import Scheduler
from linnet.generate.speculation import Speculation, require_same_vocabulary
from linnet.generate.tokenization import CheckpointTokenizer
from linnet.generate.torch_decoder import Decoder
from linnet.generate.torch_draft import ModelDrafter
from linnet.generate.torch_runner import Runner
from linnet.model import KVCache
from linnet.model.lora import adapters_of, resolve_adapter
from linnet.output import human_bytes
from linnet.runtime import memory_bytes

if TYPE_CHECKING:
    from linnet.model import Checkpoint

PREFILL_TOKENS = 512
"""A longer text is scored in pieces of this size, which bounds the memory of attention."""

ROWS = 16
"""Requests that are computed together."""

PREFIX_BYTES = 512 << 20
"""Memory for the beginnings of texts, where there is plenty."""


class TorchEngine(Engine):
    """Generates and scores texts with one checkpoint; an ``Engine``.

    The adapter that is active when the engine is made is its usual one.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        rows: int = ROWS,
        prefix_bytes: int | None = None,
        int8: bool = False,
        lookup: bool = True,
        draft: Checkpoint | None = None,
    ) -> None:
        """``rows``: requests computed together at most. ``prefix_bytes``: memory for the
        beginnings of texts, 0 for none. ``int8``: write (but do not score) with weights
        and inputs rounded to 8 bits, on CPUs: faster, and no longer exact. ``lookup``: draft what
        followed the same tokens before; ``draft``: a smaller model that drafts; see
        ``linnet.generate.speculation``.

        Raises ModelError for an encoder, which knows no next token, or for a draft of
        another vocabulary.
        """
        checkpoint.config.require_writes()
        self.model = checkpoint.model.eval()
        self.tokenization = CheckpointTokenizer(checkpoint.tokenizer)
        self.config = checkpoint.config
        self.stop_ids = frozenset(checkpoint.stop_ids)
        self.device = self.model.embedding.weight.device
        self._int8 = int8
        self._adapters = adapters_of(self.model)
        self.usual_adapter = self._adapters.active if self._adapters else None
        self._memory = memory = (memory_bytes() or 8 << 30) // 4
        lock = self._model_lock = threading.Lock()
        model = self.model

        def make_decoder() -> Decoder:
            with lock:
                return Decoder(model, memory=memory // 2, int8=int8)

        drafter = None
        if draft is not None:
            draft.config.require_writes()
            require_same_vocabulary(checkpoint.tokenizer, draft.tokenizer)
            drafting = draft.model.eval()
            drafter = ModelDrafter(lambda: Decoder(drafting, memory=memory // 4))
        self._runner = Runner(
            make_decoder,
            Scheduler(rows=rows, memory_bytes=memory),
            prefix_bytes=min(PREFIX_BYTES, memory // 4) if prefix_bytes is None else prefix_bytes,
            speculation=Speculation(lookup=lookup, drafter=drafter),
        )
        weakref.finalize(self, self._runner.close)

    @property
    def context(self) -> int:
        """The most tokens that prompt and continuation may have together."""
        return self.config.context

    @property
    def precision(self) -> str:
        """The number format that it computes in."""
        return "int8" if self._int8 else format_of(self.model)

    @property
    def memory_bytes(self) -> int:
        """Memory of the weights, of the copy that writing makes of them, and of keys and values."""
        return weight_bytes(self.model) + self._runner.memory_bytes

    @property
    def adapters(self) -> Sequence[str]:
        """The names that a request may choose its adapter by."""
        return tuple(self._adapters.configs) if self._adapters else ()

    def close(self) -> None:
        """Free what it holds; what is being written ends with an error."""
        self._runner.close()

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        """Complete one request; see :class:`Engine`. Cancelled, nothing more is delivered."""
        return self._runner.submit(self._begin(request, deliver))

    def submitting_together(self) -> AbstractContextManager[object]:
        """See :class:`Engine`."""
        return self._runner.submitting_together()

    @torch.inference_mode()
    def score(self, texts: Sequence[str]) -> list[Score]:
        """The log-probability of every token of each text, as if it began a document.

        Raises ModelError for a text longer than the context.
        """
        with self._model_lock:
            if self._adapters is not None:
                self._adapters.active = self.usual_adapter
            return [self._score(self.tokenizer.encode(text)) for text in texts]

    @torch.inference_mode()
    def score_prompt(
        self, prompt: Sequence[int], *, top: int = 0, adapter: str | None = None
    ) -> list[ChosenToken]:
        """The tokens of a prompt, each with what is told of it: see :class:`Engine`."""
        require_known_tokens(prompt, self.config.vocab_size)
        if len(prompt) > self.context:
            raise ModelError(
                f"the prompt has {len(prompt)} tokens, but the context holds {self.context}; "
                "shorten it"
            )
        with self._model_lock:
            if self._adapters is not None:
                self._adapters.active = (
                    self.usual_adapter
                    if adapter is None
                    else resolve_adapter(self._adapters, adapter)
                )
            return [ChosenToken(prompt[0]), *self._scored(prompt, top)]

    def likelihoods(self, continuations: Iterable[Continuation]) -> Iterator[Likelihood]:
        """How likely each is, in their order; many of similar length are computed together."""
        for group in buffered(continuations):
            with self._model_lock:
                if self._adapters is not None:
                    self._adapters.active = self.usual_adapter
                found = self._likelihoods(group)
            yield from found

    def _likelihoods(self, group: Sequence[Continuation]) -> list[Likelihood]:
        """As a tree those that fit into the context, if they share enough; the others in rows."""
        fitting = [
            place
            for place, each in enumerate(group)
            if len(each.tokens) and len(each.prompt) + len(each.tokens) - 1 <= self.context
        ]
        found: dict[int, Likelihood] = {}
        if shares_prefixes(self.model, [group[place] for place in fitting]):
            branches = score_tree(self.model, [group[place] for place in fitting])
            found.update(zip(fitting, branches, strict=True))
        others = [place for place in range(len(group)) if place not in found]
        rows = score_continuations(
            self.model.logits,
            [group[place] for place in others],
            context=self.context,
            vocab_size=self.config.vocab_size,
            device=self.device,
            states=self.model.hidden,
        )
        found.update(zip(others, rows, strict=True))
        return [found[place] for place in range(len(group))]

    def _begin(self, request: Request, deliver: Deliver) -> Generation:
        """The state of a text about to be written. Raises ModelError if the prompt does not fit."""
        adapter = self.usual_adapter
        if request.adapter is not None:
            adapter = resolve_adapter(self._adapters, request.adapter)
        start = self.tokenizer.start
        if isinstance(request.prompt, str):
            own: Sequence[int] = self.tokenizer.encode(request.prompt)
        else:
            start, own = (), request.prompt
        prompt = [*start, *own] or [self.tokenizer.beginning]
        require_known_tokens(prompt, self.config.vocab_size, request)
        room = self.context - len(prompt)
        if room < 1:
            raise ModelError(
                f"the prompt has {len(prompt)} tokens, but the context holds {self.context}, of "
                "which at least one must be left to write in; shorten the prompt"
            )
        limit = min(request.sampling.max_tokens, room)
        if request.sampling.beams > 1:
            self._require_searchable(request, len(prompt), limit)
        return Generation(
            request,
            prompt,
            deliver,
            adapter=adapter,
            own=own,
            limit=limit,
            tokenizer=self.tokenizer,
            stop_ids=self.stop_ids,
            constraint=self._constrainer.follow(request.constraint) if request.constraint else None,
        )

    def _require_searchable(self, request: Request, prompt: int, limit: int) -> None:
        config, dtype = self.config, self.model.compute_dtype or self.model.embedding.weight.dtype
        layout = CacheLayout.of(config, dtype=dtype, device=self.device)
        needed = request.sampling.beams * (prompt + limit) * layout.bytes_per_token
        if needed > self._memory:
            raise ConfigError(
                f"beams of {prompt + limit:,} tokens each need {human_bytes(needed)}, and there "
                f"are {human_bytes(self._memory)} for texts; take fewer beams, or fewer tokens"
            )
        if request.top_logprobs:
            raise ConfigError("beams have no top_logprobs; leave them out, or take one beam")
        scaling = self.config.rope_scaling
        if scaling is not None and scaling.kind == "longrope":
            longest = scaling.original_context
            if prompt <= longest < prompt + limit:
                raise ConfigError(
                    f"beams cannot grow over the {longest:,} tokens after which this model turns "
                    f"all positions otherwise; ask for at most {longest - prompt} tokens"
                )

    @cached_property
    def _constrainer(self) -> Constrainer:
        return Constrainer(self.tokenizer, sorted(self.stop_ids))

    def _score(self, own: list[int]) -> Score:
        start = self.tokenizer.start or (self.tokenizer.end_of_text,)
        tokens = [*start, *own]
        if len(tokens) > self.context:
            raise ModelError(
                f"the text has {len(tokens)} tokens, but the context holds {self.context}; "
                "shorten it, or measure long texts with 'linnet evaluate'"
            )
        if not own:
            return Score((), ())
        found = [each.logprob or 0.0 for each in self._scored(tokens, None)]
        return Score(tuple(own), tuple(found[len(start) - 1 :]))

    def _scored(self, tokens: Sequence[int], top: int | None) -> Iterator[ChosenToken]:
        """All tokens but the first. ``top``: None for no ranks either."""
        if len(tokens) < 2:
            return
        cache = KVCache(
            self.config,
            capacity=len(tokens),
            device=self.device,
            dtype=self.model.compute_dtype or self.model.embedding.weight.dtype,
        )
        cache.reach = len(tokens) - 1
        inputs, targets = torch.tensor([tokens[:-1], tokens[1:]], device=self.device)
        at_once = max(1, LOGITS_PER_BATCH // self.config.vocab_size)
        for piece, wanted in zip(
            inputs.split(PREFILL_TOKENS), targets.split(PREFILL_TOKENS), strict=True
        ):
            states = self.model.hidden(piece[None], cache)[0]  # (T, D)
            for part, own in zip(states.split(at_once), wanted.split(at_once), strict=True):
                logprobs = self.model.logits(part).log_softmax(-1)  # (n, V)
                values = logprobs.gather(1, own[:, None])  # (n, 1)
                told = zip(own.tolist(), values[:, 0].tolist(), strict=True)
                if top is None:
                    yield from (ChosenToken(token, value) for token, value in told)
                    continue
                best = logprobs.topk(min(top, logprobs.shape[1]))
                likeliest = zip(best.indices.tolist(), best.values.tolist(), strict=True)
                ranks = ((logprobs > values).sum(-1) + 1).tolist()
                for (token, value), (others, likely), rank in zip(
                    told, likeliest, ranks, strict=True
                ):
                    pairs = tuple(zip(others, likely, strict=True))
                    yield ChosenToken(token, value, pairs, rank)
