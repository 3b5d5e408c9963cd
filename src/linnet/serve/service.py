"""What the endpoints do: one method each, and what they share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

from linnet.errors import LinnetError
from linnet.serve.asgi import Call, ClientLeftError
from linnet.serve.aside import aside
from linnet.serve.asking import Asked, ask_chat, ask_completion, chat_prompt
from linnet.serve.checking import Schema, check, read_json
from linnet.serve.embedding import answered, check_dimensions, count_tokens, pieces
from linnet.serve.errors import ApiError, failed
from linnet.serve.generation import Generation
from linnet.serve.limits import Account, Doorkeeper
from linnet.serve.metrics import CONTENT_TYPE, Metrics, ModelMetrics
from linnet.serve.rendering import ChatShape, CompletionShape, Shape
from linnet.serve.schemas import CHAT, COMPLETION, DETOKENIZE, EMBEDDING, TOKENIZE

if TYPE_CHECKING:
    from linnet.generate.embedding import Encoder, Vectors
    from linnet.serve.catalog import Catalog, Served
    from linnet.serve.settings import ServeConfig

EVENT_SECONDS = 0.012
"""The shortest time between two events of a stream: shorter is not seen, and costs speed."""
EVENT_SECONDS_EACH = 0.002
"""So much longer for every stream beside it, as they share the processor."""
LONGEST_EVENT_SECONDS = 0.05

_ASKING = 6
"""Threads that read what is asked; their own, as a loop that ends would wait for its threads."""

LARGE_BODY = 64_000
"""A body of more bytes is checked in a thread, so that it holds up nobody."""
WORDS_BODY = 2_000_000
"""The most bytes of text that are turned to tokens, or of tokens to text."""


class Service:
    """One server's work, whatever brings the calls."""

    def __init__(self, catalog: Catalog, config: ServeConfig, doorkeeper: Doorkeeper) -> None:
        self.catalog = catalog
        self.config = config
        self.doorkeeper = doorkeeper
        self.metrics = Metrics()
        self.draining = False
        """Whether it is being stopped: nothing new is begun."""
        self._models = {name: ModelMetrics(self.metrics, name) for name in catalog.models}
        self._running: dict[Generation, Served] = {}
        self._aborted = False
        self._embedding = asyncio.Lock()
        self._asking = ThreadPoolExecutor(_ASKING, "linnet-asking")
        self._checking = ThreadPoolExecutor(2, "linnet-checking")
        self._words = ThreadPoolExecutor(2, "linnet-words")

    @property
    def busy(self) -> bool:
        """Whether there is work that has not ended."""
        return self.doorkeeper.inside > 0

    def abort(self) -> None:
        """End all that runs, each with an error."""
        self._aborted = True
        for generation in list(self._running):
            generation.stop(_stopping())

    def close(self) -> None:
        """Wait for no thread any more."""
        for pool in (self._asking, self._checking, self._words):
            pool.shutdown(wait=False, cancel_futures=True)

    async def chat(self, call: Call, account: Account | None) -> None:
        """POST /v1/chat/completions."""
        body, model = await self._read(call, CHAT)

        def ask() -> Asked:
            return ask_chat(body, model, longest=self.config.max_tokens)

        await self._generate(call, account, body, model, ask, ChatShape)

    async def completion(self, call: Call, account: Account | None) -> None:
        """POST /v1/completions."""
        body, model = await self._read(call, COMPLETION)

        def ask() -> Asked:
            return ask_completion(body, model, longest=self.config.max_tokens)

        await self._generate(call, account, body, model, ask, CompletionShape)

    async def embeddings(self, call: Call, account: Account | None) -> None:
        """POST /v1/embeddings."""
        body, model = await self._read(call, EMBEDDING)
        encoder = model.encoder
        if encoder is None:
            raise ApiError(
                400, f"The model '{model.name}' writes text and makes no embeddings.",
                param="model",
            )  # fmt: skip
        check_dimensions(body.get("dimensions"), encoder)
        given = body["input"]
        texts = [given] if isinstance(given, str) else list(given)
        self.doorkeeper.enter(1, account)
        facts = call.facts
        facts.update(prompt_tokens=0, texts=len(texts))
        try:
            async with self._embedding:  # one after another: each uses all cores
                vectors = await self._vectors(call, encoder, texts, body.get("prompt"))
        except ClientLeftError:
            self._models[model.name].cancelled.inc()
            raise
        finally:
            tokens = facts["prompt_tokens"]
            self.doorkeeper.leave(1, account, tokens=tokens)
            self._models[model.name].prompt_tokens.inc(tokens)
        wide = body.get("encoding_format") != "base64"
        answer = partial(answered, vectors, model=model.name, tokens=tokens, wide=wide)
        await call.answer(200, await aside(answer))

    async def _vectors(
        self, call: Call, encoder: Encoder, texts: list[str], prompt: str | None
    ) -> Vectors:
        """The vectors; tokens are counted in the call's facts as they are computed.

        Raises ClientLeftError and ApiError as soon as nobody is to have the rest.
        """
        import numpy as np

        vectors = np.empty((len(texts), encoder.width), dtype=np.float32)
        gone = asyncio.ensure_future(call.gone())
        try:
            await self._look(gone)
            counts = await aside(lambda: count_tokens(encoder, texts, prompt))
            for piece in pieces(counts):
                await self._look(gone)
                own = [texts[place] for place in piece]
                vectors[piece] = await asyncio.to_thread(encoder.embed, own, prompt=prompt)
                call.facts["prompt_tokens"] += sum(counts[place] for place in piece)
        except LinnetError as error:
            raise failed(error) from None
        finally:
            gone.cancel()
        return vectors

    async def _look(self, gone: asyncio.Future[None]) -> None:
        """Whether to go on at all."""
        await asyncio.sleep(0)  # ``gone`` has to run to be done
        if gone.done():
            raise ClientLeftError
        if self._aborted:
            raise _stopping()

    async def models(self, call: Call, account: Account | None) -> None:
        """GET /v1/models."""
        data = [_card(model) for model in self.catalog.models.values()]
        await _answer(call, {"object": "list", "data": data})

    async def model(self, call: Call, account: Account | None) -> None:
        """GET /v1/models/NAME."""
        await _answer(call, _card(self.catalog.find(call.path.removeprefix("/v1/models/"))))

    async def tokenize(self, call: Call, account: Account | None) -> None:
        """POST /tokenize."""
        body, model = await self._read(call, TOKENIZE, most=WORDS_BODY)
        named = [key for key in ("content", "prompt", "messages") if body.get(key) is not None]
        if len(named) != 1:
            raise ApiError(400, "Give one of 'content' and 'messages'.", param="content")

        def tokens() -> list[int]:
            if named == ["messages"]:
                return list(chat_prompt(body, model, ()))
            text, special = body[named[0]], bool(body.get("parse_special"))
            if model.encoder is not None:
                return model.encoder.tokenizer.encode(text)
            return model.writer.tokenize(text, special=special)

        def answer() -> bytes:
            found = tokens()
            return _json({"tokens": found, "count": len(found), "max_model_len": model.context})

        await self._answer_words(call, account, answer)

    async def detokenize(self, call: Call, account: Account | None) -> None:
        """POST /detokenize."""
        body, model = await self._read(call, DETOKENIZE, most=WORDS_BODY)

        def answer() -> bytes:
            tokens = [int(token) for token in body["tokens"]]
            holder = model.encoder.tokenizer.decode if model.encoder else model.writer.detokenize
            text = holder(tokens)
            return _json({"content": text, "prompt": text})

        await self._answer_words(call, account, answer)

    async def _answer_words(
        self, call: Call, account: Account | None, answer: Callable[[], bytes]
    ) -> None:
        """Turn text to tokens or back: within the limits, and in no thread that writers need."""
        self.doorkeeper.enter(1, account)
        try:
            body = await aside(answer, self._words)
        finally:
            self.doorkeeper.leave(1, account, tokens=0)
        await call.answer(200, body)

    async def health(self, call: Call, account: Account | None) -> None:
        """GET /health."""
        status = "stopping" if self.draining else "ok"
        await call.answer(503 if self.draining else 200, json.dumps({"status": status}).encode())

    async def figures(self, call: Call, account: Account | None) -> None:
        """GET /metrics."""
        for name, metrics in self._models.items():
            own = [g for g, model in self._running.items() if model.name == name]
            waiting = sum(len(generation.texts) for generation in own if generation.waiting)
            metrics.waiting.set(waiting)
            metrics.running.set(sum(len(generation.texts) for generation in own) - waiting)
        await call.answer(200, self.metrics.render(), content_type=CONTENT_TYPE)

    async def _read(
        self, call: Call, schema: Schema, *, most: int | None = None
    ) -> tuple[Mapping[str, Any], Served]:
        """The body, checked, and the model that it names.

        ``most``: bytes that it may have, where that is less than any may.
        """
        kind = (call.header(b"content-type") or "application/json").partition(";")[0].strip()
        if kind.lower() != "application/json":
            raise ApiError(
                415, "Send JSON, and the header 'Content-Type: application/json'.",
            )  # fmt: skip
        limit = self.config.max_body
        bodies = self.doorkeeper.bodies
        raw = await call.body(limit if most is None else min(limit, most), bodies)

        def read() -> Mapping[str, Any]:
            found: Mapping[str, Any] = read_json(raw)
            check(schema, found)
            return found

        body = read() if len(raw) <= LARGE_BODY else await aside(read, self._checking)
        model = self.catalog.find(body.get("model"))
        call.facts["model"] = model.name
        if self.config.log_prompts:
            call.facts["body"] = body
        return body, model

    async def _generate(
        self,
        call: Call,
        account: Account | None,
        body: Mapping[str, Any],
        model: Served,
        ask: Callable[[], Asked],
        shaped: Callable[..., Shape],
    ) -> None:
        stream = bool(body.get("stream"))
        usage = stream and bool((body.get("stream_options") or {}).get("include_usage"))
        generation = Generation(
            ask,
            model,
            lambda asked: shaped(asked, model, usage=usage),
            self._models[model.name],
            arrived=call.arrived,
        )
        texts = _texts(body)
        self.doorkeeper.enter(texts, account)
        self._running[generation] = model
        others = len(self._running) - 1
        interval = min(EVENT_SECONDS + others * EVENT_SECONDS_EACH, LONGEST_EVENT_SECONDS)
        try:
            await generation.run(call, self._asking, stream=stream, interval=interval)
        finally:
            del self._running[generation]
            generation.note(call)
            if self.config.log_prompts:
                call.facts["answers"] = generation.answers
            tally = generation.tally
            self.doorkeeper.leave(texts, account, tokens=tally.prompt + tally.written)


def _texts(body: Mapping[str, Any]) -> int:
    """How many texts a request asks for."""
    prompt = body.get("prompt")
    several = isinstance(prompt, list) and not isinstance(prompt[0], int | float)
    return int(body.get("n") or 1) * (len(prompt) if several and prompt else 1)


def _card(model: Served) -> dict[str, Any]:
    """What is said of a model."""
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "linnet",
        "linnet": {
            "chat": model.is_chat,
            "embeddings": model.encoder is not None,
            "context": model.context,
            "adapter_of": model.parent,
        },
    }


async def _answer(call: Call, value: Any) -> None:
    await call.answer(200, _json(value))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _stopping() -> ApiError:
    return ApiError(503, "The server is being stopped.", code="stopping")
