"""What the endpoints do: one method each, and what they share."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from linnet.errors import LinnetError
from linnet.serve.asgi import Call
from linnet.serve.asking import Asked, ask_chat, ask_completion, chat_prompt
from linnet.serve.checking import Schema, check, read_json
from linnet.serve.errors import ApiError, context_full, failed, refused
from linnet.serve.generation import Generation
from linnet.serve.limits import Account, Doorkeeper
from linnet.serve.metrics import CONTENT_TYPE, Metrics, ModelMetrics
from linnet.serve.rendering import ChatShape, CompletionShape, Shape
from linnet.serve.schemas import CHAT, COMPLETION, DETOKENIZE, EMBEDDING, TOKENIZE

if TYPE_CHECKING:
    from linnet.generate.embedding import Encoder
    from linnet.serve.catalog import Catalog, Served
    from linnet.serve.settings import ServeConfig

EVENT_SECONDS = 0.012
"""The shortest time between two events of a stream: shorter is not seen, and costs speed."""
EVENT_SECONDS_EACH = 0.002
"""So much longer for every stream beside it, as they share the processor."""
LONGEST_EVENT_SECONDS = 0.05

T = TypeVar("T")


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
        self._embedding = asyncio.Lock()

    @property
    def busy(self) -> bool:
        """Whether there is work that has not ended."""
        return self.doorkeeper.inside > 0

    def abort(self) -> None:
        """End all that runs, each with an error."""
        for generation in list(self._running):
            generation.stop(ApiError(503, "The server is being stopped.", code="stopping"))

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
        if body.get("dimensions") not in (None, encoder.width):
            raise ApiError(
                400, f"'dimensions' must be {encoder.width}, the model's own.", param="dimensions"
            )
        given = body["input"]
        texts = [given] if isinstance(given, str) else list(given)
        wide = body.get("encoding_format") != "base64"
        self.doorkeeper.enter(1, account)
        tokens = 0
        try:
            async with self._embedding:  # one after another: each uses all cores
                tokens = await _in_thread(lambda: _count(encoder, texts, body.get("prompt")))
                try:
                    vectors = await asyncio.to_thread(
                        encoder.embed, texts, prompt=body.get("prompt")
                    )
                except LinnetError as error:
                    raise failed(error) from None
        finally:
            self.doorkeeper.leave(1, account, tokens=tokens)
        self._models[model.name].prompt_tokens.inc(tokens)
        call.facts.update(model=model.name, prompt_tokens=tokens, texts=len(texts))
        data = [
            {
                "object": "embedding",
                "index": place,
                "embedding": vector.tolist()
                if wide
                else base64.b64encode(vector.astype("<f4").tobytes()).decode(),
            }
            for place, vector in enumerate(vectors)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        await _answer(call, {"object": "list", "data": data, "model": model.name, "usage": usage})

    async def models(self, call: Call, account: Account | None) -> None:
        """GET /v1/models."""
        data = [_card(model) for model in self.catalog.models.values()]
        await _answer(call, {"object": "list", "data": data})

    async def model(self, call: Call, account: Account | None) -> None:
        """GET /v1/models/NAME."""
        await _answer(call, _card(self.catalog.find(call.path.removeprefix("/v1/models/"))))

    async def tokenize(self, call: Call, account: Account | None) -> None:
        """POST /tokenize."""
        body, model = await self._read(call, TOKENIZE)
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

        found = await _in_thread(tokens)
        await _answer(call, {"tokens": found, "count": len(found), "max_model_len": model.context})

    async def detokenize(self, call: Call, account: Account | None) -> None:
        """POST /detokenize."""
        body, model = await self._read(call, DETOKENIZE)
        tokens = [int(token) for token in body["tokens"]]
        holder = model.encoder.tokenizer.decode if model.encoder else model.writer.detokenize
        text = await _in_thread(lambda: holder(tokens))
        await _answer(call, {"content": text, "prompt": text})

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

    async def _read(self, call: Call, schema: Schema) -> tuple[Mapping[str, Any], Served]:
        """The body, checked, and the model that it names."""
        kind = (call.header(b"content-type") or "application/json").partition(";")[0].strip()
        if kind.lower() != "application/json":
            raise ApiError(
                415, "Send JSON, and the header 'Content-Type: application/json'.",
            )  # fmt: skip
        body = read_json(await call.body(self.config.max_body))
        check(schema, body)
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
        texts = _texts(body)
        self.doorkeeper.enter(texts, account)
        generation = None
        try:
            asked = await _in_thread(ask)
            stream = bool(body.get("stream"))
            usage = bool((body.get("stream_options") or {}).get("include_usage"))
            shape = shaped(asked, model, usage=usage and stream)
            generation = Generation(
                asked, model, shape, self._models[model.name], arrived=call.arrived
            )
            self._running[generation] = model
            others = len(self._running) - 1
            interval = min(EVENT_SECONDS + others * EVENT_SECONDS_EACH, LONGEST_EVENT_SECONDS)
            await generation.run(call, stream=stream, interval=interval)
        finally:
            tokens = 0
            if generation is not None:
                self._running.pop(generation, None)
                generation.note(call)
                tokens = generation.tally.prompt + generation.tally.written
                if self.config.log_prompts:
                    call.facts["answers"] = generation.answers
            self.doorkeeper.leave(texts, account, tokens=tokens)


def _texts(body: Mapping[str, Any]) -> int:
    """How many texts a request asks for."""
    prompt = body.get("prompt")
    several = isinstance(prompt, list) and not isinstance(prompt[0], int | float)
    return int(body.get("n") or 1) * (len(prompt) if several and prompt else 1)


def _count(encoder: Encoder, texts: list[str], prompt: str | None) -> int:
    """How many tokens the texts have. Raises ApiError for one that is too long."""
    around = len(encoder.tokenizer.start) + len(encoder.tokenizer.finish)
    before = encoder.recipe.prompt(prompt)
    whole = [before + text for text in texts]
    if encoder.recipe.lowercase:
        whole = [text.lower() for text in whole]
    counts = [len(ids) + around for ids in encoder.tokenizer.encode_arrays(whole)]
    if max(counts) > encoder.max_tokens:
        raise context_full(max(counts), encoder.max_tokens, param="input")
    return sum(counts)


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
    await call.answer(200, json.dumps(value).encode())


async def _in_thread(work: Callable[[], T]) -> T:
    """Away from the event loop; what the library refuses is the request's fault."""
    try:
        return await asyncio.get_running_loop().run_in_executor(None, work)
    except LinnetError as error:
        raise refused(error) from None
    except RecursionError:
        raise ApiError(400, "The request nests too deeply.") from None
