"""``/api/...``: the interface of Ollama's clients. A name with ``:latest`` means the one without.

What changes models (pull, push, create, copy, delete) is refused: they are their owner's files.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from linnet.generate.engine import Request
from linnet.respond.conversation import ContextFullError
from linnet.respond.engine import EngineResponder
from linnet.respond.engine_requests import Requests
from linnet.respond.fitting import require_fitting
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.endpoints.embeddings import embedded
from linnet.serve.errors import ApiError
from linnet.serve.ollama.models import loaded, shown, tag
from linnet.serve.ollama.reading import (
    CHAT_BODY,
    GENERATE_BODY,
    KEEP_ALIVE,
    MODEL,
    OPTIONS,
    chat,
    check_images,
    generate,
    keep_seconds,
    settings,
)
from linnet.serve.ollama.shape import (
    CHAT_FRAMING,
    GENERATE_FRAMING,
    NDJSON,
    OllamaShape,
    error_body,
    now,
)
from linnet.serve.schemas import (
    ANYTHING,
    COUNT,
    FLAG,
    MOST_TEXTS,
    TEXT,
    listed,
    record,
    whole,
)
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from linnet.generate.embedding import Vectors
    from linnet.respond.context import Context
    from linnet.respond.conversation import Conversation
    from linnet.respond.responder import Batches
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

VERSION = "0.12.11"
"""Of Ollama, whose interface this is: clients ask for it to know what there is."""


async def answer_chat(service: Service, call: Call) -> None:
    """POST /api/chat."""
    body, responder = call.body, call.model.conversing
    _begin(service, call)
    if not body.get("messages"):
        await _loaded(call, message={"role": "assistant", "content": ""})
        return
    asked = await service.prepare(
        call, lambda: chat(body, longest=service.config.max_tokens, context=call.model.context)
    )

    def write(context: Context) -> Batches:
        return responder.respond(asked, context)

    shape = OllamaShape(call, chat=True, logprobs=asked.logprobs)
    await service.generate(call, write, shape, texts=1, stream=_streams(call), asked=asked)


async def answer_generate(service: Service, call: Call) -> None:
    """POST /api/generate."""
    body = call.body
    _begin(service, call)
    check_images(body.get("images"), "images")
    if body.get("template"):
        raise ApiError(
            400, "'template': templates are the models' own; raw sends a prompt as it is.",
            param="template",
        )  # fmt: skip
    if not body.get("prompt") and not body.get("suffix"):
        await _loaded(call, response="")
        return
    shape = OllamaShape(call, chat=False, logprobs=bool(body.get("logprobs")))
    write = await _writing(service, call, shape)
    await service.generate(call, write, shape, texts=1, stream=_streams(call))


async def _writing(
    service: Service, call: Call, shape: OllamaShape
) -> Callable[[Context], Batches]:
    """What writes the answer to a prompt: a conversation of one question, or the prompt itself."""
    body = call.body
    limits = {"longest": service.config.max_tokens, "context": call.model.context}
    as_it_is = body.get("raw") or body.get("suffix")
    if as_it_is and (body.get("system") or body.get("context")):
        raise ApiError(
            400, "'raw' and 'suffix' do not go with 'system' and 'context'.",
            param="raw" if body.get("raw") else "suffix",
        )  # fmt: skip
    if as_it_is:
        model = call.model.continuing
        wanted = await service.prepare(call, lambda: settings(body, **limits))
        return lambda context: model.write(lambda: _continued(body, model, wanted), context)
    asked = await service.prepare(call, lambda: generate(body, **limits))
    responder = call.model.conversing
    if isinstance(responder, EngineResponder):
        return lambda context: responder.write(
            lambda: _told(body, responder, asked, shape), context
        )
    if body.get("context"):
        raise ApiError(
            400, f"'context' is tokens, which '{call.model.name}' does not take.", param="context"
        )
    return lambda context: responder.respond(asked, context)


def _continued(
    body: Mapping[str, Any], model: EngineResponder, wanted: Mapping[str, Any]
) -> Requests:
    """The prompt as it stands, names of special tokens in it being these; or before a suffix."""
    engine = model.engine
    prompt, suffix = body.get("prompt") or "", body.get("suffix")
    require_fitting(
        [prompt, suffix or ""], engine.context, lambda text: len(engine.tokenize(text)),
        part="prompt",
    )  # fmt: skip
    ends: tuple[int, ...] = ()
    if suffix:
        infill = model.require_infill("suffix")
        tokens, ends = infill.prompt(prompt, suffix), infill.ends
    else:
        start = tuple(engine.tokenization.start)
        tokens = tuple(engine.tokenize(prompt, special=True))
        tokens = tokens if tokens[: len(start)] == start else (*start, *tokens)
    request = _request(model, tokens, wanted, ends)
    return Requests((request,), part="prompt")


def _request(
    model: EngineResponder,
    tokens: tuple[int, ...],
    wanted: Mapping[str, Any],
    ends: tuple[int, ...],
) -> Request:
    """One text that follows these tokens."""
    if len(tokens) >= model.engine.context:
        raise ContextFullError(len(tokens), model.engine.context, part="prompt")
    return Request(
        tokens,
        wanted["sampling"],
        logprobs=wanted["logprobs"],
        adapter=model.adapter,
        top_logprobs=wanted["top_logprobs"],
        constraint=wanted["constraint"],
        stop_ids=ends,
    )


def _told(
    body: Mapping[str, Any], model: EngineResponder, asked: Conversation, shape: OllamaShape
) -> Requests:
    """The question after an earlier conversation, whose tokens the answer is to tell."""
    requests = model.requests(asked)
    (request,) = requests.texts
    assert isinstance(request.prompt, tuple)
    if before := tuple(int(token) for token in body.get("context") or ()):
        start = tuple(model.engine.tokenization.start)
        own = request.prompt
        own = own[len(start) :] if start and own[: len(start)] == start else own
        tokens = (*before, *own)
        if len(tokens) >= model.engine.context:
            raise ContextFullError(len(tokens), model.engine.context, part="context")
        request = dataclasses.replace(request, prompt=tokens)
        requests = dataclasses.replace(requests, texts=(request,))
    assert isinstance(request.prompt, tuple)
    shape.context = request.prompt
    return requests


async def tags(service: Service, call: Call) -> None:
    """GET /api/tags."""
    sizes = {state.name: state.bytes for state in service.catalog.loaded()}
    found = []
    for model in service.catalog.models.values():
        size = model.summary.bytes if model.summary is not None else sizes.get(model.name, 0)
        found.append(tag(model, size=size))
    await answer_json(call, {"models": found})


async def running(service: Service, call: Call) -> None:
    """GET /api/ps."""
    catalog = service.catalog
    entries = [loaded(catalog.models[state.name], state) for state in catalog.loaded()]
    await answer_json(call, {"models": entries})


async def show(service: Service, call: Call) -> None:
    """POST /api/show."""
    await service.use_model(call, service.catalog.resolve(_named(call)))
    about = await service.in_thread(lambda: shown(call.model), service.tokenizing)
    await answer_json(call, about)


async def version(service: Service, call: Call) -> None:
    """GET /api/version."""
    await answer_json(call, {"version": VERSION})


async def pull(service: Service, call: Call) -> None:
    """POST /api/pull: what is there need not be fetched, and nothing else is."""
    try:
        service.catalog.find(_named(call))
    except ApiError as error:
        raise ApiError(error.status, f"{error.message} {_OWNERS}", code=error.code) from None
    await call.answer(200, b'{"status": "success"}\n', content_type=NDJSON)


async def refuse(service: Service, call: Call) -> None:
    """What would change the models."""
    raise ApiError(400, f"{call.label} is not here. {_OWNERS}", code="not_supported")


async def embed(service: Service, call: Call) -> None:
    """POST /api/embed."""
    body = call.body
    _begin(service, call)
    given = body.get("input") or []
    texts = [given] if isinstance(given, str) else list(given)
    vectors, tokens = await embedded(
        service, call, texts, dimensions=body.get("dimensions"),
        cut=body.get("truncate") is not False,
    )  # fmt: skip
    took = int((time.monotonic() - call.arrived) * 1e9)
    about = {
        "model": body["model"], "total_duration": took, "load_duration": 0,
        "prompt_eval_count": tokens,
    }  # fmt: skip
    await call.answer(200, await service.in_thread(lambda: _rows(about, "embeddings", vectors)))


async def embed_one(service: Service, call: Call) -> None:
    """POST /api/embeddings, the older form."""
    _begin(service, call)
    text = call.body.get("prompt")
    if not text:
        await answer_json(call, {"embedding": []})
        return
    vectors, _ = await embedded(service, call, [text], cut=True)
    await answer_json(call, {"embedding": vectors[0].tolist()})


def _rows(about: Mapping[str, Any], name: str, vectors: Vectors) -> bytes:
    """Vectors one by one, since encoding a long list holds up every other thread."""
    rows = ", ".join(json.dumps(vector.tolist()) for vector in vectors)
    return f'{{"{name}": [{rows}], {json.dumps(about)[1:]}'.encode()


def _begin(service: Service, call: Call) -> None:
    """What every request to a model may ask for."""
    body = call.body
    if body.get("collections") is not None and call.model.assistant is None:
        raise ApiError(400, f"'{call.model.name}' has no documents.", param="collections")
    if body.get("keep_alive") is not None:
        service.catalog.keep(call.model.name, keep_seconds(body["keep_alive"]))


async def _loaded(call: Call, **content: Any) -> None:
    """The answer where nothing is asked: the model is there, or goes."""
    goes = keep_seconds(call.body.get("keep_alive")) == 0
    about = {"model": call.body["model"], "created_at": now(), **content, "done": True}
    about["done_reason"] = "unload" if goes else "load"
    if call.status:  # a stream began while the model was opened
        await call.send(json.dumps(about).encode() + b"\n", more=False)
    else:
        await answer_json(call, about)


def _streams(call: Call) -> bool:
    return call.body.get("stream") is not False


def _named(call: Call) -> str:
    """The model that a body names, in its newer or its older form."""
    name: str | None = call.body.get("model") or call.body.get("name")
    if name is None:
        raise ApiError(400, "Missing required parameter: 'model'.", param="model")
    return name


_OWNERS = (
    "Models are added and removed by whoever runs the server: linnet serve MODEL --model "
    "NAME=DIRECTORY."
)
_MODEL_ONLY: Schema = {
    "anyOf": [
        record(
            {
                "model": {**MODEL, "type": ["string", "null"]},
                "name": {**MODEL, "type": ["string", "null"]},
                "verbose": FLAG,
                "system": ANYTHING,
                "options": ANYTHING,
                "stream": FLAG,
                "insecure": FLAG,
                "username": ANYTHING,
                "password": ANYTHING,
            }
        )
    ]
}
"""Not said to name a model, so that the one it names is found by its handler."""
EMBED_BODY: Schema = record(
    {
        "model": MODEL,
        "input": {"anyOf": [TEXT, {"type": "array", "items": TEXT, "maxItems": MOST_TEXTS}]},
        "truncate": {**FLAG, "description": "Whether what is too long is cut; usual."},
        "dimensions": whole(1, 2**16, "Must be the model's own, where it is given."),
        "options": OPTIONS,
        "keep_alive": KEEP_ALIVE,
    },
    required=("model", "input"),
)
EMBED_ONE_BODY: Schema = record(
    {
        "model": MODEL,
        "prompt": {"type": ["string", "null"]},
        "options": OPTIONS,
        "keep_alive": KEEP_ALIVE,
    },
    required=("model",),
)
_LINE: dict[str, Schema] = {
    "model": TEXT, "created_at": TEXT, "done": {"type": "boolean"}, "done_reason": TEXT,
    "total_duration": COUNT, "load_duration": COUNT, "prompt_eval_duration": COUNT,
    "eval_duration": COUNT, "prompt_eval_count": COUNT, "eval_count": COUNT,
    "logprobs": listed({"type": "object"}), "linnet": listed({"type": "object"}),
}  # fmt: skip
_ENDED = ("model", "created_at", "done")
_MODELS = record({"models": listed({"type": "object"})}, required=("models",))
_post = partial(Endpoint, "POST", errors=error_body, any_content_type=True)
_get = partial(Endpoint, "GET", errors=error_body)

OLLAMA: tuple[Endpoint, ...] = (
    _post(
        "/api/chat", answer_chat, "Answer a conversation, as Ollama's clients ask for it.",
        body=CHAT_BODY, streams=True, framing=CHAT_FRAMING,
        answer=record({**_LINE, "message": {"type": "object"}}, required=(*_ENDED, "message")),
    ),
    _post(
        "/api/generate", answer_generate, "Answer a prompt, or continue it.",
        body=GENERATE_BODY, streams=True, framing=GENERATE_FRAMING,
        answer=record(
            {**_LINE, "response": TEXT, "thinking": TEXT, "context": listed(COUNT)},
            required=(*_ENDED, "response"),
        ),
    ),
    _post(
        "/api/embed", embed, "Texts as vectors.", body=EMBED_BODY,
        answer=record(
            {
                "model": TEXT, "embeddings": listed(listed({"type": "number"})),
                "total_duration": COUNT, "load_duration": COUNT, "prompt_eval_count": COUNT,
            },
            required=("model", "embeddings"),
        ),
    ),
    _post(
        "/api/embeddings", embed_one, "A text as a vector.", body=EMBED_ONE_BODY,
        answer=record({"embedding": listed({"type": "number"})}, required=("embedding",)),
    ),
    _post("/api/show", show, "What a model is.", body=_MODEL_ONLY,
          answer=record({"capabilities": listed(TEXT)}, required=("capabilities",), more=True)),
    _post("/api/pull", pull, "A model that is there.", body=_MODEL_ONLY, is_described=False),
    _get("/api/tags", tags, "The models.", answer=_MODELS),
    _get("/api/ps", running, "The models that are loaded.", answer=_MODELS),
    _get("/api/version", version, "Which Ollama this is like.", is_open=True,
         answer=record({"version": TEXT}, required=("version",))),
    *(
        Endpoint(method, path, refuse, "Refused.", is_described=False, errors=error_body)
        for method, path in (
            ("POST", "/api/push"), ("POST", "/api/create"), ("POST", "/api/copy"),
            ("DELETE", "/api/delete"), ("POST", "/api/blobs/{digest}"),
        )
    ),
)  # fmt: skip
