"""The engine on torch: the exact weights, on any device torch has.

    prompt -> cache filled in one pass -> token -> one row of the model -> token -> ...

What it promises:

* greedy text is the argmax of the model without a cache, token for token, and
  that of transformers on the same checkpoint (in fp32, but for exact ties);
* a text depends on its request and seed, not on the requests beside it (in
  fp32, but for rounding: a row of a batch differs from the row alone by about
  one millionth);
* each request is computed with the adapter it asks for; those of one adapter are
  computed together;
* text comes in whole characters; a stop string is never shown, not even in part;
* prompt and continuation together never exceed the context. A continuation
  stops there with ``length``; a prompt that leaves no room is an error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import tokenizers
import torch
from torch import Tensor

from linnet.errors import ModelError
from linnet.generate.engine import Chunk, Completion, FinishReason, Request, Score
from linnet.generate.logits import Sampler
from linnet.generate.stopping import StopStrings
from linnet.model import KVCache
from linnet.model.lora import adapters_of, choice

if TYPE_CHECKING:
    from linnet.model import Checkpoint
    from linnet.tokenizer import Tokenizer

PREFILL_TOKENS = 512
"""A longer prompt is read in pieces of this size, which bounds the memory of attention."""

BATCH_ROWS = 16
"""Requests that are computed together."""


class TorchEngine:
    """Generates and scores texts with one checkpoint; an ``Engine``.

    The adapter that is active when the engine is made is its usual one.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises ModelError for an encoder, which knows no next token."""
        if not checkpoint.config.causal:
            raise ModelError(
                f"a model of type '{checkpoint.config.family}' is an encoder and continues no "
                "text; linnet embed and linnet.load_encoder give its embeddings"
            )
        self.model = checkpoint.model.eval()
        self.tokenizer = checkpoint.tokenizer
        self.config = checkpoint.config
        self.stop_ids = frozenset(checkpoint.stop_ids)
        self.device = self.model.embedding.weight.device
        self._adapters = adapters_of(self.model)
        self.usual_adapter = self._adapters.active if self._adapters else None

    @property
    def context(self) -> int:
        """The most tokens that prompt and continuation may have together."""
        return self.config.context

    @property
    def adapters(self) -> Sequence[str]:
        """The names that a request may choose its adapter by."""
        return tuple(self._adapters.configs) if self._adapters else ()

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """The tokens of a text; with ``special`` names of special tokens stand for these."""
        if not special:
            return self.tokenizer.encode(text)
        return list(self._naming_backend.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _naming_backend(self) -> tokenizers.Tokenizer:
        """The tokenizer as its library has it: a special token's name is that token."""
        return tokenizers.Tokenizer.from_str(self.tokenizer.to_json())

    def detokenize(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out."""
        return self.tokenizer.decode(tokens)

    def chat_prompt(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        **variables: Any,
    ) -> tuple[int, ...]:
        """A conversation up to the answer that is to come; see ``linnet.tokenizer.chat``."""
        encoded = self.tokenizer.encode_chat(
            messages,
            tools=list(tools) or None,
            add_generation_prompt=True,
            variables=variables,
        )
        return tuple(encoded.ids)

    def close(self) -> None:
        """Free what it holds."""

    def generate(self, requests: Sequence[Request]) -> list[Completion]:
        """Complete every request, in order.

        Raises ModelError for a prompt that does not fit and an adapter that is not there.
        """
        texts = [self._begin(request) for request in requests]
        chunks: dict[int, list[Chunk]] = {id(text): [] for text in texts}
        for batch in _batches(texts):
            for text, chunk in self._write(batch):
                chunks[id(text)].append(chunk)
        return [_completion(text, chunks[id(text)]) for text in texts]

    def stream(self, request: Request) -> Iterator[Chunk]:
        """Complete one request, token by token. Closing the iterator stops the work."""
        text = self._begin(request)  # here, so that a bad request fails at once
        return (chunk for _, chunk in self._write([text]))

    @torch.inference_mode()
    def score(self, texts: Sequence[str]) -> list[Score]:
        """The log-probability of every token of each text, as if it began a document.

        Raises ModelError for a text longer than the context.
        """
        self._choose(self.usual_adapter)
        return [self._score(self.tokenizer.encode(text)) for text in texts]

    def _begin(self, request: Request) -> _Text:
        """The state of a text about to be written. Raises ModelError if the prompt does not fit."""
        adapter = self.usual_adapter
        if request.adapter is not None:
            adapter = choice(self._adapters, request.adapter)
        start = self.tokenizer.start
        if isinstance(request.prompt, str):
            own = self.tokenizer.encode(request.prompt)
        else:
            start, own = (), list(request.prompt)
        prompt = [*start, *own] or [self.tokenizer.end_of_text]
        unknown = [token for token in prompt if not 0 <= token < self.config.vocab_size]
        if unknown:
            raise ModelError(
                f"prompt tokens must be below {self.config.vocab_size}, the vocabulary. "
                f"Got {unknown[0]}"
            )
        room = self.context - len(prompt)
        if room < 1:
            raise ModelError(
                f"the prompt has {len(prompt)} tokens, but the context holds {self.context}, of "
                "which at least one must be left to write in; shorten the prompt"
            )
        return _Text(
            request,
            prompt,
            adapter=adapter,
            penalised=own,
            limit=min(request.sampling.max_tokens, room),
            tokenizer=self.tokenizer,
            stop_ids=self.stop_ids,
        )

    def _write(self, texts: list[_Text]) -> Iterator[tuple[_Text, Chunk]]:
        """Write texts that agree in adapter and in length of prompt, each until it is finished."""
        adapter = texts[0].adapter
        capacity = len(texts[0].prompt) + max(text.limit for text in texts)
        cache = KVCache(
            self.config,
            batch=len(texts),
            capacity=capacity,
            device=self.device,
            dtype=self.model.compute_dtype or self.model.embedding.weight.dtype,
        )
        logits = self._read([text.prompt for text in texts], cache, adapter)
        if not logits.isfinite().all():
            raise ModelError(
                "the model's output is not a number: its weights are damaged, or too large for "
                "this number format; try fp32"
            )
        while True:
            for text, row in zip(texts, logits.unbind(0), strict=True):
                yield text, text.advance(row)
            going = [place for place, text in enumerate(texts) if text.finish_reason is None]
            if not going:
                return
            if len(going) < len(texts):
                cache.keep(going)
                texts = [texts[place] for place in going]
            if self._turns_anew(cache.length):
                cache.clear()
                logits = self._read([text.prompt + text.tokens for text in texts], cache, adapter)
            else:
                logits = self._read([[text.tokens[-1]] for text in texts], cache, adapter)

    def _turns_anew(self, length: int) -> bool:
        """Whether a text of this length, one longer, has all its positions turned otherwise."""
        scaling = self.config.rope_scaling
        if scaling is None or scaling.kind != "longrope":
            return False
        return length == scaling.original_context

    @torch.inference_mode()
    def _read(self, rows: list[list[int]], cache: KVCache, adapter: str | None) -> Tensor:
        """Take in more tokens; the logits ``(B, V)`` of what follows, on the CPU."""
        self._choose(adapter)  # each time: another text may have been written in between
        tokens = torch.tensor(rows, device=self.device)  # (B, T)
        cache.reach = cache.length + tokens.shape[1]
        for piece in tokens.split(PREFILL_TOKENS, dim=1):
            hidden = self.model.hidden(piece, cache)  # (B, T, D)
        return self.model.logits(hidden[:, -1]).cpu()

    def _choose(self, adapter: str | None) -> None:
        if self._adapters is not None:
            self._adapters.active = adapter

    def _score(self, own: list[int]) -> Score:
        start = self.tokenizer.start or (self.tokenizer.end_of_text,)
        tokens = [*start, *own]
        if len(tokens) > self.context:
            raise ModelError(
                f"the text has {len(tokens)} tokens, but the context holds {self.context}; "
                "shorten it, or measure long texts with 'linnet evaluate'"
            )
        cache = KVCache(
            self.config,
            capacity=len(tokens),
            device=self.device,
            dtype=self.model.compute_dtype or self.model.embedding.weight.dtype,
        )
        cache.reach = len(tokens) - 1
        if not own:
            return Score((), ())
        found: list[float] = []
        inputs, targets = torch.tensor([tokens[:-1], tokens[1:]], device=self.device)
        for piece, wanted in zip(
            inputs.split(PREFILL_TOKENS), targets.split(PREFILL_TOKENS), strict=True
        ):
            logprobs = self.model(piece[None], cache)[0].log_softmax(-1)  # (T, V)
            found += logprobs.gather(1, wanted[:, None])[:, 0].tolist()
        return Score(tuple(own), tuple(found[len(start) - 1 :]))


class _Text:
    """One text being written: what was asked for and what is there so far."""

    def __init__(
        self,
        request: Request,
        prompt: list[int],
        *,
        adapter: str | None,
        penalised: list[int],
        limit: int,
        tokenizer: Tokenizer,
        stop_ids: frozenset[int],
    ) -> None:
        """``penalised``: the prompt's own tokens, as the repetition penalty sees them.

        The token that begins every text is not among them: it is often the one
        that ends a text too, which would then come too late.
        """
        self.prompt = prompt
        self.adapter = adapter
        self.limit = limit
        self.stop_ids = stop_ids
        self.logprobs = request.logprobs
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._sampler = Sampler(request.sampling, penalised, limit=limit)
        self._decoder = tokenizer.stream(after=prompt)
        self._stops = StopStrings(request.sampling.stop)

    def advance(self, logits: Tensor) -> Chunk:
        """Choose the next token from its logits ``(V,)``."""
        token = self._sampler.choose(logits)
        if token in self.stop_ids:
            self.finish_reason = "stop"
            return self._chunk(self._remainder(), (), logits)
        self.tokens.append(token)
        text = self._stops.push(self._decoder.push(token))
        if self._stops.found:
            self.finish_reason = "stop"
        elif len(self.tokens) == self.limit:
            self.finish_reason = "length"
            text += self._remainder()
        return self._chunk(text, (token,), logits)

    def _remainder(self) -> str:
        """What the decoder and the stop strings have held back."""
        text = self._stops.push(self._decoder.finish())
        if self._stops.found:
            self.finish_reason = "stop"
        return text + self._stops.finish()

    def _chunk(self, text: str, tokens: tuple[int, ...], logits: Tensor) -> Chunk:
        logprobs = None
        if self.logprobs:
            normalised = logits.log_softmax(-1)
            logprobs = tuple(float(normalised[token]) for token in tokens)
        return Chunk(text, tokens, self.finish_reason, logprobs)


def _batches(texts: Sequence[_Text]) -> Iterator[list[_Text]]:
    """Texts that agree in adapter and in length of prompt, a few at a time."""
    alike: dict[tuple[str | None, int], list[_Text]] = {}
    for text in texts:
        alike.setdefault((text.adapter, len(text.prompt)), []).append(text)
    for group in alike.values():
        for first in range(0, len(group), BATCH_ROWS):
            yield group[first : first + BATCH_ROWS]


def _completion(text: _Text, chunks: Sequence[Chunk]) -> Completion:
    assert text.finish_reason is not None
    logprobs = None
    if text.logprobs:
        logprobs = tuple(value for chunk in chunks for value in chunk.logprobs or ())
    return Completion(
        text="".join(chunk.text for chunk in chunks),
        tokens=tuple(text.tokens),
        finish_reason=text.finish_reason,
        prompt_tokens=len(text.prompt),
        logprobs=logprobs,
    )
