"""``/tokenize`` and ``/detokenize``: texts to tokens and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.endpoints.chat import conversation
from linnet.serve.errors import ApiError
from linnet.serve.schemas import (
    COUNT,
    FLAG,
    MESSAGES,
    MODEL,
    MOST_TOKENS,
    OPEN_END,
    TEXT,
    TOKEN,
    listed,
    nullable,
    record,
)  # fmt: skip

if TYPE_CHECKING:
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

LARGEST_BODY = 2_000_000
"""The most bytes of text that are turned to tokens, or of tokens to text."""


async def tokenize(service: Service, call: Call) -> None:
    """POST /tokenize."""
    body, model = call.body, call.model
    named = [key for key in ("content", "prompt", "messages") if body.get(key) is not None]
    if len(named) != 1:
        raise ApiError(400, "Give one of 'content' and 'messages'.", param="content")

    def tokens() -> list[int]:
        if named == ["messages"]:
            return list(model.continuing.prompt(conversation(body)))
        text, special = body[named[0]], bool(body.get("parse_special"))
        if model.encoder is not None:
            return model.encoder.tokenizer.encode(text)
        return model.continuing.engine.tokenize(text, special=special)

    def made() -> bytes:
        found = tokens()
        answer = {"tokens": found, "count": len(found), "max_model_len": model.context}
        return json.dumps(answer).encode()

    await _answer(service, call, made)


async def detokenize(service: Service, call: Call) -> None:
    """POST /detokenize."""
    body, model = call.body, call.model

    def made() -> bytes:
        tokens = [int(token) for token in body["tokens"]]
        if model.encoder is not None:
            text = model.encoder.tokenizer.decode(tokens)
        else:
            text = model.continuing.engine.detokenize(tokens)
        return json.dumps({"content": text, "prompt": text}).encode()

    await _answer(service, call, made)


async def _answer(service: Service, call: Call, made: Callable[[], bytes]) -> None:
    """Within the limits, and in no thread that writers need."""
    service.doorkeeper.enter(1, call.account)
    try:
        body = await service.in_thread(made, service.tokenizing)
    finally:
        service.doorkeeper.leave(1, call.account, tokens=0)
    await call.answer(200, body)


TOKENIZE_BODY: Schema = record(
    {
        "model": MODEL,
        "content": nullable(TEXT),
        "prompt": {**nullable(TEXT), "description": "The same as content."},
        "messages": nullable(MESSAGES),
        **OPEN_END,
        "parse_special": {**FLAG, "description": "Whether names of special tokens are these."},
    }
)
DETOKENIZE_BODY: Schema = record(
    {"model": MODEL, "tokens": {"type": "array", "items": TOKEN, "maxItems": MOST_TOKENS}},
    required=("tokens",),
)

TOKENIZE = Endpoint(
    "POST", "/tokenize", tokenize, "A text as tokens.",
    body=TOKENIZE_BODY,
    answer=record(
        {"tokens": listed(COUNT), "count": COUNT, "max_model_len": COUNT},
        required=("tokens", "count", "max_model_len"),
    ),
    largest_body=LARGEST_BODY,
)  # fmt: skip
DETOKENIZE = Endpoint(
    "POST", "/detokenize", detokenize, "Tokens as text.",
    body=DETOKENIZE_BODY,
    answer=record({"content": TEXT, "prompt": TEXT}, required=("content",)),
    largest_body=LARGEST_BODY,
)  # fmt: skip
