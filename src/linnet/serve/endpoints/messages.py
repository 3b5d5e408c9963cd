"""``/v1/messages`` and ``/v1/messages/count_tokens``: the interface of Anthropic's clients."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from linnet.generate.sampling import Sampling
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.errors import ApiError
from linnet.serve.messages.reading import BODY, COUNT_BODY, conversation
from linnet.serve.messages.shape import FRAMING, MessagesShape, error_body
from linnet.serve.schemas import COUNT, TEXT, listed, nullable, record
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from linnet.respond.context import Context
    from linnet.respond.responder import Batches
    from linnet.serve.catalog import Served
    from linnet.serve.service import Service

MOST_MODELS = 1000
"""In one answer, as Anthropic has it."""


def is_anthropic(call: Call) -> bool:
    """Whether a client of Anthropic's asks, where the same path answers others as well."""
    return call.header(b"anthropic-version") is not None


async def answer(service: Service, call: Call) -> None:
    """POST /v1/messages."""
    body, responder = call.body, call.model.conversing
    if body.get("collections") is not None and call.model.assistant is None:
        raise ApiError(400, f"'{call.model.name}' has no documents.", param="collections")
    asked = await service.prepare(
        call,
        lambda: conversation(body, longest=service.config.max_tokens, context=call.model.context),
    )

    def write(context: Context) -> Batches:
        return responder.respond(asked, context)

    shape = MessagesShape(call, limit=asked.sampling.max_tokens)
    await service.generate(call, write, shape, texts=1, asked=asked)


async def count(service: Service, call: Call) -> None:
    """POST /v1/messages/count_tokens."""
    body, responder = call.body, call.model.continuing

    def counted() -> int:
        asked = conversation(body, longest=0, context=0, sampling=Sampling())
        return len(responder.requests(asked).texts[0].prompt)

    with service.within_limits(call):
        tokens = await service.in_thread(counted, service.tokenizing)
    await answer_json(call, {"input_tokens": tokens})


def page_of_models(models: Mapping[str, Served], query: Mapping[str, str]) -> dict[str, Any]:
    """``GET /v1/models`` as Anthropic's clients read it. Raises ApiError."""
    names = list(models)
    limit = query.get("limit", "20")
    if not (limit.isascii() and limit.isdecimal() and 0 < int(limit[:9]) <= MOST_MODELS):
        raise ApiError(400, f"'limit' must be 1 to {MOST_MODELS}. Got {limit[:40]}", param="limit")
    begin, end = 0, len(names)
    for name in ("after_id", "before_id"):
        if name in query:
            if query[name] not in models:
                raise ApiError(400, f"'{name}' names no model here.", param=name)
            place = names.index(query[name])
            begin, end = (place + 1, end) if name == "after_id" else (begin, place)
    backwards = "before_id" in query
    shown = names[begin:end]
    more = len(shown) > int(limit)
    shown = shown[-int(limit) :] if backwards else shown[: int(limit)]
    return {
        "data": [model_info(models[name]) for name in shown],
        "has_more": more,
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
    }


def model_info(model: Served) -> dict[str, Any]:
    """A model as Anthropic's clients read it."""
    return {
        "type": "model",
        "id": model.name,
        "display_name": model.name,
        "created_at": datetime.fromtimestamp(model.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": model.context or None,
        "max_tokens": model.context or None,
    }


_USAGE = record(
    {
        "input_tokens": COUNT, "cache_creation_input_tokens": COUNT,
        "cache_read_input_tokens": COUNT, "output_tokens": COUNT,
    },
    required=("input_tokens", "output_tokens"),
)  # fmt: skip
_ANSWER = record(
    {
        "id": TEXT,
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "model": TEXT,
        "content": listed({"type": "object"}),
        "stop_reason": TEXT,
        "stop_sequence": nullable(TEXT),
        "stop_details": {"type": "object"},
        "usage": _USAGE,
        "linnet": listed({"type": "object"}),
    },
    required=("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"),
)

MESSAGES = Endpoint(
    "POST", "/v1/messages", answer, "Answer a conversation, as Anthropic's clients ask for it.",
    body=BODY, answer=_ANSWER, streams=True, framing=FRAMING, errors=error_body,
)  # fmt: skip
COUNT_TOKENS = Endpoint(
    "POST", "/v1/messages/count_tokens", count, "The tokens of a conversation.",
    body=COUNT_BODY, answer=record({"input_tokens": COUNT}, required=("input_tokens",)),
    errors=error_body,
)  # fmt: skip
