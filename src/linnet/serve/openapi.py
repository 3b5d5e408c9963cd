"""The server described for programs, by the schemas that it checks requests with.

Reference: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from linnet.serve.asgi import Call
from linnet.serve.checking import Schema
from linnet.serve.limits import Account
from linnet.serve.schemas import (
    ANYTHING,
    CHAT,
    COMPLETION,
    DETOKENIZE,
    EMBEDDING,
    TEXT,
    TOKENIZE,
    nullable,
    record,
)  # fmt: skip
from linnet.version import __version__

COUNT: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}

_ERROR = record(
    {
        "error": record(
            {"message": TEXT, "type": TEXT, "param": nullable(TEXT), "code": nullable(TEXT)},
            required=("message", "type", "param", "code"),
        )
    },
    required=("error",),
)
_USAGE = record(
    {
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "prompt_tokens_details": record({"cached_tokens": COUNT}),
    },
    required=("prompt_tokens", "total_tokens"),
)


def _listed(entry: Schema) -> dict[str, Any]:
    return {"type": "array", "items": entry}


def _answer(kind: str, choice: Schema) -> dict[str, Any]:
    return record(
        {
            "id": TEXT,
            "object": {"const": kind},
            "created": COUNT,
            "model": TEXT,
            "system_fingerprint": TEXT,
            "choices": _listed(choice),
            "usage": _USAGE,
        },
        required=("id", "object", "created", "model", "choices", "usage"),
    )


_CHAT_CHOICE = record(
    {
        "index": COUNT,
        "message": record(
            {
                "role": {"const": "assistant"},
                "content": nullable(TEXT),
                "refusal": {"type": "null"},
                "tool_calls": _listed({"type": "object"}),
            },
            required=("role", "content", "refusal"),
        ),
        "logprobs": {"type": ["object", "null"]},
        "finish_reason": {"enum": ["stop", "length", "tool_calls"]},
    },
    required=("index", "message", "logprobs", "finish_reason"),
)
_TEXT_CHOICE = record(
    {
        "index": COUNT,
        "text": TEXT,
        "logprobs": {"type": ["object", "null"]},
        "finish_reason": {"enum": ["stop", "length"]},
    },
    required=("index", "text", "logprobs", "finish_reason"),
)
_VECTORS = record(
    {
        "object": {"const": "list"},
        "data": _listed(
            record(
                {
                    "object": {"const": "embedding"},
                    "index": COUNT,
                    "embedding": {"anyOf": [_listed(NUMBER), TEXT]},
                },
                required=("object", "index", "embedding"),
            )
        ),
        "model": TEXT,
        "usage": _USAGE,
    },
    required=("object", "data", "model", "usage"),
)
_MODEL = record(
    {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT,
     "linnet": {"type": "object"}},
    required=("id", "object", "created", "owned_by"),
)  # fmt: skip
_MODELS = record(
    {"object": {"const": "list"}, "data": _listed(_MODEL)}, required=("object", "data")
)
_TOKENS = record(
    {"tokens": _listed(COUNT), "count": COUNT, "max_model_len": COUNT},
    required=("tokens", "count", "max_model_len"),
)
_TEXT = record({"content": TEXT, "prompt": TEXT}, required=("content",))
_HEALTH = record({"status": {"enum": ["ok", "stopping"]}}, required=("status",))

_READ_ERRORS = {"400": "The request cannot be carried out.", "404": "No such model.",
                "408": "The body came too slowly.", "413": "The body is too large.",
                "415": "The body is not sent as JSON."}  # fmt: skip
_WORK_ERRORS = {
    "429": "Too much at once or in this minute; Retry-After tells when to ask again.",
    "503": "The server is being stopped, or its engine failed.",
}
_KEY_ERRORS = {"401": "A key is needed, or wrong."}
_EVERY_ERROR = {"403": "Asked by another site's page, or by a foreign name.",
                "405": "Not by this method.", "500": "The server failed."}  # fmt: skip


def document() -> dict[str, Any]:
    """The whole description."""
    generated = {**_READ_ERRORS, **_WORK_ERRORS}
    named = {"type": "string", "minLength": 1}
    name = {"name": "model", "in": "path", "required": True, "schema": named}
    paths: dict[str, Any] = {
        "/v1/chat/completions": _post(
            "Answer a conversation.", CHAT, _answer("chat.completion", _CHAT_CHOICE), generated,
            streams=True,
        ),
        "/v1/completions": _post(
            "Continue a text.", COMPLETION, _answer("text_completion", _TEXT_CHOICE), generated,
            streams=True,
        ),
        "/v1/embeddings": _post("Texts as vectors.", EMBEDDING, _VECTORS, generated),
        "/v1/models": _get("The models.", _MODELS),
        "/v1/models/{model}": {
            **_get("One model.", _MODEL, {"404": _READ_ERRORS["404"]}), "parameters": [name],
        },
        "/tokenize": _post("A text as tokens.", TOKENIZE, _TOKENS, _READ_ERRORS),
        "/detokenize": _post("Tokens as text.", DETOKENIZE, _TEXT, _READ_ERRORS),
        "/metrics": _get("Figures for Prometheus.", None),
        "/health": _get("Whether the server works.", _HEALTH, is_open=True),
    }  # fmt: skip
    health = paths["/health"]["get"]["responses"]
    health["503"] = _json("The server is being stopped.", _HEALTH)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Linnet", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


async def describe(call: Call, account: Account | None) -> None:
    """GET /openapi.json."""
    await call.answer(200, _body())


@cache
def _body() -> bytes:
    return json.dumps(document()).encode()


def _json(about: str, schema: Schema) -> dict[str, Any]:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _errors(known: dict[str, str]) -> dict[str, Any]:
    reference = {"$ref": "#/components/schemas/Error"}
    return {status: _json(about, reference) for status, about in known.items()}


def _post(
    about: str, schema: Schema, answer: Schema, errors: dict[str, str], *, streams: bool = False
) -> dict[str, Any]:
    success = _json("As asked.", answer)
    if streams:
        success["content"]["text/event-stream"] = {"schema": ANYTHING}
    operation = {
        "summary": about,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": success,
            **_errors({**errors, **_KEY_ERRORS, **_WORK_ERRORS, **_EVERY_ERROR}),
        },
        "security": [{"key": []}, {}],
    }
    return {"post": operation}


def _get(
    about: str,
    answer: Schema | None,
    errors: dict[str, str] | None = None,
    *,
    is_open: bool = False,
) -> dict[str, Any]:
    success = (
        {"description": "As asked.", "content": {"text/plain": {"schema": ANYTHING}}}
        if answer is None
        else _json("As asked.", answer)
    )
    keyed = {} if is_open else {**_KEY_ERRORS, "503": _WORK_ERRORS["503"]}
    operation: dict[str, Any] = {
        "summary": about,
        "responses": {"200": success, **_errors({**(errors or {}), **keyed, **_EVERY_ERROR})},
    }
    if not is_open:
        operation["security"] = [{"key": []}, {}]
    return {"get": operation}
