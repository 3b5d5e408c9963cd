"""A request as llama.cpp's ``/completion`` wants it, and what it sends back.

It sends an event for each token, as JSON behind ``data: ``. Of most only the token's
number is wanted, which is found without reading the rest; several that came together
become one piece. Text, stop strings and ends are made of the numbers here, by the same
code as for every engine.

Reference: ``tools/server/README.md`` in https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from linnet.errors import ConfigError, LinnetError, ModelError
from linnet.generate.engine import ChosenToken, Chunk, FinishReason, Start
from linnet.generate.sampling import FILTER_OPTIONS
from linnet.generate.stopping import Output
from linnet.llama_cpp.process import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.generate.engine import Request
    from linnet.generate.sampling import Sampling
    from linnet.generate.tokenization import Decoder


_RANDOM_SEED = 0xFFFFFFFF  # its number for "another one each time"
_SEEDS = 0xFFFFFFFF  # so many it has, without that one

_FINAL_FIELDS = ["stop", "stop_type", "tokens", "content"]


def request_body(
    request: Request,
    prompt: Sequence[int],
    *,
    penalised: Sequence[int],
    limit: int,
    adapters: int,
    adapter: int | None,
    grammar: str | None,
    never: Sequence[int] = (),
) -> bytes:
    """The JSON of a request.

    ``penalised``: the prompt's own tokens; ``limit``: how many may be written; ``adapters``:
    how many there are, and which of them is used, if any; ``never``: tokens that are not chosen.
    """
    asked: dict[str, Any] = {
        "prompt": list(prompt),
        "n_predict": limit,
        "stream": True,
        "cache_prompt": True,
        "return_tokens": True,
        "return_progress": True,
        "response_fields": _FINAL_FIELDS,
        **_sampling(request.sampling, penalised, limit),
    }
    if never:
        asked["logit_bias"] = [*asked.get("logit_bias", ()), *([token, False] for token in never)]
    if request.logprobs:
        asked["n_probs"] = max(1, request.top_logprobs)
    if grammar is not None:
        asked["grammar"] = grammar
    if adapters:
        asked["lora"] = [
            {"id": place, "scale": float(place == adapter)} for place in range(adapters)
        ]
    return json.dumps(asked, separators=(",", ":")).encode("ascii")


def _sampling(sampling: Sampling, penalised: Sequence[int], limit: int) -> dict[str, Any]:
    """Settings, in the order of ``linnet.generate.logits``; its own puts the temperature last."""
    penalties = (
        sampling.repetition_penalty != 1,
        sampling.frequency_penalty != 0,
        sampling.presence_penalty != 0,
    )
    if sampling.min_tokens:
        raise ConfigError("engine llama.cpp has no min_tokens; use engine torch, or leave it out")
    if sampling.beams > 1:
        raise ConfigError(
            "engine llama.cpp has no beam search; use engine torch, or leave beams out"
        )
    bias = _bias(sampling, penalised)
    asked: dict[str, Any] = {
        "seed": _RANDOM_SEED if sampling.seed is None else sampling.seed % _SEEDS,
        "repeat_last_n": len(penalised) + limit + 1 if any(penalties) else 0,
        "repeat_penalty": sampling.repetition_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
    }
    if bias:
        asked["logit_bias"] = [[token, value] for token, value in bias.items()]
    if sampling.temperature == 0:
        # Sorting out the best one spares the probabilities of all.
        return asked | {"samplers": ["penalties"] * any(penalties) + ["top_k"], "top_k": 1}
    samplers = ["penalties"] * any(penalties) + ["temperature"] * (sampling.temperature != 1)
    for name, option in FILTER_OPTIONS.items():
        if option.llama_cpp is not None:
            sampler, setting = option.llama_cpp
            asked[setting] = getattr(sampling, name)
            samplers += [sampler] * (name in sampling.filters)
        elif name in sampling.filters:
            raise ConfigError(f"engine llama.cpp has no {name}; use engine torch, or leave it out")
    return asked | {"samplers": samplers, "temperature": sampling.temperature}


def _bias(sampling: Sampling, penalised: Sequence[int]) -> dict[int, float]:
    """What is added to tokens' scores.

    llama.cpp's penalties see the prompt as well as what was written. What they take from a
    token for being in the prompt is given back here, where that is all they are for.
    """
    bias = dict(sampling.logit_bias)
    if sampling.frequency_penalty or sampling.presence_penalty:
        for token in penalised:
            bias[token] = bias.get(token, 0.0) + sampling.frequency_penalty
        for token in set(penalised):
            bias[token] += sampling.presence_penalty
    return bias


_EVENT = b"data: "
_PROGRESS = b'"prompt_progress":{'
_TOKEN = re.compile(rb'"tokens":\[(\d+)\],"stop":false')
"""Within a JSON string quotes have a backslash before them, so this is no text."""


class Answer:
    """One completion as it comes."""

    def __init__(
        self,
        request: Request,
        prompt: Sequence[int],
        *,
        limit: int,
        stop_ids: frozenset[int],
        decoder: Decoder,
        spell: Callable[[int], str],
    ) -> None:
        """``limit``: how many tokens it may have; ``decoder``: of tokens that follow the prompt;
        ``spell``: the names of special ones.
        """
        self.prompt_tokens = len(prompt)
        self.limit = limit
        self.stop_ids = stop_ids.union(request.stop_ids)
        self.count = 0
        self.finish_reason: FinishReason | None = None
        self.queue_seconds = 0.0
        self._top = request.top_logprobs if request.logprobs else None
        self._cached = 0
        self._started = False
        self._decoder = decoder
        self._only_tokens = decoder.by_tokens and self._top is None
        self._output = Output(request, decoder, spell)
        self._ending: ChosenToken | None = None
        self._constrained = request.constraint is not None
        self._rest = b""
        self._head: bytes | None = b""
        self.refused = False

    @property
    def left(self) -> int:
        """How many more tokens it may have."""
        return self.limit - self.count

    def feed(self, data: bytes) -> Chunk | None:
        """Take what came; the piece that it makes, if any. Raises what llama.cpp reports."""
        if self._head is not None:
            data = self._past_head(data)
        if self.refused:
            self._rest += data
            return None
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if self.finish_reason is not None:
                break
            if not line.startswith(_EVENT):
                continue
            plain = _TOKEN.search(line) if self._only_tokens else None
            if self.count == 0 and _PROGRESS in line:
                plain = None  # it has a token that means nothing
            if plain is not None:
                self._take(int(plain[1]))
            else:
                self._read(json.loads(line[len(_EVENT) :]))
        output = self._output
        if not output.tokens and not output.text and self.finish_reason is None:
            return None
        return self._chunk()

    def end(self, explanation: str) -> LinnetError:
        """The error of an answer that ended before it was complete."""
        if self.refused:
            body = self._rest.partition(b"{")
            try:
                return _error(json.loads(body[1] + body[2].rpartition(b"}")[0] + b"}"), self)
            except ValueError:
                pass
        return ModelError(f"llama.cpp stopped in the middle of a text: {explanation}")

    def _past_head(self, data: bytes) -> bytes:
        """Pass over the HTTP header, which may come in parts."""
        assert self._head is not None
        head, found, rest = (self._head + data).partition(b"\r\n\r\n")
        if not found:
            self._head = head
            return b""
        self._head = None
        self.refused = head.split(b" ", 2)[1:2] != [b"200"]
        return rest

    def _read(self, event: dict[str, Any]) -> None:
        """An event that is not just a token."""
        if "error" in event:
            raise _error(event, self)
        progress = event.get("prompt_progress")
        if progress is not None:
            self._cached = int(progress.get("cache", 0))
            return
        if event.get("stop"):
            self._finish("length" if event.get("stop_type") == "limit" else "stop")
            return
        told = event.get("completion_probabilities") or []
        tokens = event.get("tokens") or []
        if not self._decoder.by_tokens:
            self._decoder.hear(str(event.get("content", "")))
            tokens = self._decoder.complete(tokens, int(event.get("tokens_predicted", 0)))
        for token in tokens:
            self._take(int(token), told[0] if told else None)
            if self.finish_reason is not None:
                return

    def _take(self, token: int, told: dict[str, Any] | None = None) -> None:
        chosen = ChosenToken(token)
        if self._top is not None and told:
            alternatives = told["top_logprobs"][: self._top]
            top = tuple((int(e["id"]), float(e["logprob"])) for e in alternatives)
            chosen = ChosenToken(token, float(told["logprob"]), top)
        if token in self.stop_ids:
            self._ending = chosen
            self._finish("stop")
            return
        self.count += 1
        self._output.push(chosen)
        if self._output.found is not None:
            self.finish_reason = "stop"
        elif self.count == self.limit:
            self._finish("length")

    def _finish(self, reason: FinishReason) -> None:
        """The end, with what the decoder and the stop strings have held back."""
        self._output.end(self._ending.token if self._ending is not None else None)
        self.finish_reason = reason if self._output.found is None else "stop"

    def _chunk(self) -> Chunk:
        start = None
        if not self._started:
            self._started = True
            start = Start(self.prompt_tokens, self._cached, self.queue_seconds)
        return self._output.chunk(self.finish_reason, start, ending=self._ending)


def _error(answer: dict[str, Any], asked: Answer) -> LinnetError:
    """What llama.cpp refuses, told as every engine does."""
    told = refusal(answer)
    if asked._constrained and ("grammar" in told.lower() or "sampler" in told.lower()):
        return ConfigError(f"llama.cpp cannot follow this constraint: {told}")
    return ModelError(f"llama.cpp refused: {told}")
