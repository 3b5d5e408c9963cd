"""``/v1/responses``: answers that are kept for a while, so that others may follow them.

Reference: https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from linnet.errors import LinnetError
from linnet.respond.context import CancelledCallError
from linnet.respond.engine import EngineResponder
from linnet.respond.pieces import Decision, Failure, Finish
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.endpoints.conversations import (
    list_schema,
    owner_of,
    page_json,
    page_of,
    with_store,
)
from linnet.serve.endpoints.files import documents_of
from linnet.serve.errors import ApiError, failed
from linnet.serve.responses_api.items import Item, kind_of, read_items
from linnet.serve.responses_api.reading import (
    BODY,
    FILE_SEARCH,
    INPUT,
    Asked,
    conversation_of,
    read,
    responses_error,
    stores_of,
    truncated,
)
from linnet.serve.responses_api.shape import FRAMING, ResponseShape
from linnet.serve.schemas import COUNT, TEXT, listed, nullable, record
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from linnet.respond.context import Context
    from linnet.respond.conversation import Conversation
    from linnet.respond.responder import Batches
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema


async def create(service: Service, call: Call) -> None:
    """POST /v1/responses."""
    model, stores = call.model.name, stores_of(call.body)
    if stores is not None:  # whoever has the documents answers from them
        await documents_of(service, call, stores, FRAMING)
    if call.body.get("collections") is not None and call.model.assistant is None:
        raise ApiError(400, f"'{call.model.name}' has no documents.", param="collections")
    responder = call.model.conversing
    asked = await _asked(service, call, model)
    shape = ResponseShape(asked, streams=bool(call.body.get("stream")), documents=call.model.name)
    if stores is not None:
        shape.search(asked.question, most=_most_results(call.body))

    async def write(context: Context) -> Batches:
        conversation = await _fitting(service, asked, shape, responder)
        has_ended = False
        try:
            async with contextlib.aclosing(responder.respond(conversation, context)) as batches:
                async for batch in batches:
                    shape.take(batch)
                    if any(isinstance(piece, Finish) for piece in batch):
                        has_ended = True
                        await _keep(service, call, asked, shape, shape.body(context.record.tokens))
                    yield batch
        except CancelledCallError:
            raise
        except LinnetError as error:
            # A client that has read its id may look for it; its conversation goes on without it.
            is_known = shape.streams and shape.has_begun and asked.body["conversation"] is None
            if is_known and not has_ended:
                await _keep(service, call, asked, shape, shape.fail(failed(error)))
            raise

    await service.generate(call, write, shape, texts=1, asked=asked.conversation)


def _most_results(body: Mapping[str, Any]) -> int | None:
    found = [tool.get("max_num_results") for tool in body["tools"] if tool["type"] == FILE_SEARCH]
    return int(found[0]) if found[0] else None


async def _asked(service: Service, call: Call, model: str) -> Asked:
    """What the body asks of a model, with what is kept that it names."""
    body, owner = call.body, owner_of(call)
    given = body["input"]
    if isinstance(given, str):
        given = [{"type": "message", "role": "user", "content": given}]
    conversation, previous = conversation_of(body), body.get("previous_response_id")
    history: list[Any] = []
    if conversation is not None or previous is not None:
        history = await with_store(
            service,
            lambda store: store.history(owner, previous=previous, conversation=conversation),
        )
    names = {str(item.get("id"))[:128] for item in given if kind_of(item) == "item_reference"}
    stored: Mapping[str, Item] = {}
    if names:
        stored = await with_store(
            service, lambda store: {name: store.item(owner, name) for name in names}
        )
    context, longest = call.model.context, service.config.max_tokens

    def made() -> Asked:
        items = read_items(given, "input", stored.__getitem__)
        return read(body, items, history, model=model, longest=longest, context=context)

    return await service.prepare(call, made)


async def _fitting(
    service: Service, asked: Asked, shape: ResponseShape, responder: Any
) -> Conversation:
    """The conversation, without its oldest messages where it would not fit and these may go."""
    conversation = asked.conversation
    if not asked.truncates or not isinstance(responder, EngineResponder):
        return conversation
    loop = asyncio.get_running_loop()
    conversation, left_out = await loop.run_in_executor(
        responder.executor, truncated, conversation, responder
    )
    if left_out:
        shape.note(Decision("truncation", "left out", f"the {left_out} oldest messages"))
    return conversation


async def _keep(
    service: Service, call: Call, asked: Asked, shape: ResponseShape, body: Mapping[str, Any]
) -> None:
    """Keep a response, and say so where that fails: the answer is given all the same."""
    if not asked.is_kept and asked.body["conversation"] is None:
        return
    owner, output = owner_of(call), list(shape.output)
    try:
        await with_store(
            service,
            lambda store: store.add_response(
                owner, body, asked.given, output, is_kept=asked.is_kept
            ),
        )
    except ApiError as error:
        shape.not_kept()
        shape.note(Failure(f"this response could not be kept: {error.message}", "not_stored"))
        call.facts["not_stored"] = error.code or str(error.status)


async def retrieve(service: Service, call: Call) -> None:
    """GET /v1/responses/ID."""
    owner, name = owner_of(call), call.parameters["response_id"]
    if call.query.get("stream", "false").lower() not in ("false", "0"):
        raise ApiError(
            400, "Only a response that is made in the background can be streamed again, and none "
            "is here; leave out 'stream'.", param="stream",
        )  # fmt: skip
    with service.within_limits(call):
        found = await with_store(service, lambda store: store.response(owner, name))
    await answer_json(call, found)


async def delete(service: Service, call: Call) -> None:
    """DELETE /v1/responses/ID."""
    owner, name = owner_of(call), call.parameters["response_id"]
    with service.within_limits(call):
        await with_store(service, lambda store: store.delete_response(owner, name))
    await answer_json(call, {"id": name, "object": "response", "deleted": True})


async def cancel(service: Service, call: Call) -> None:
    """POST /v1/responses/ID/cancel: none is made in the background, so none can be."""
    owner, name = owner_of(call), call.parameters["response_id"]
    with service.within_limits(call):
        await with_store(service, lambda store: store.response(owner, name))
    raise ApiError(400, "Cannot cancel a synchronous response; close its connection instead.")


async def input_items(service: Service, call: Call) -> None:
    """GET /v1/responses/ID/input_items."""
    owner, name = owner_of(call), call.parameters["response_id"]
    limit, after, order = page_of(call, "limit", "after", "order", "include", "include[]")
    with service.within_limits(call):
        page = await with_store(
            service,
            lambda store: store.input_items(owner, name, limit=limit, after=after, order=order),
        )
    await answer_json(call, page_json(page))


async def count_tokens(service: Service, call: Call) -> None:
    """POST /v1/responses/input_tokens."""
    responder = call.model.continuing
    asked = await _asked(service, call, call.model.name)
    with service.within_limits(call):
        tokens = await service.in_thread(
            lambda: len(responder.prompt(asked.conversation)), service.tokenizing
        )
    await answer_json(call, {"object": "response.input_tokens", "input_tokens": tokens})


_RESPONSE: Schema = record(
    {
        "id": TEXT,
        "object": {"const": "response"},
        "created_at": COUNT,
        "status": {"enum": ["completed", "incomplete", "failed", "in_progress"]},
        "error": nullable(record({"code": TEXT, "message": TEXT})),
        "incomplete_details": nullable(record({"reason": {"const": "max_output_tokens"}})),
        "model": TEXT,
        "output": listed({"type": "object"}),
        "usage": {"type": ["object", "null"]},
        "linnet": listed({"type": "object"}),
    },
    required=("id", "object", "created_at", "status", "error", "model", "output"),
    more=True,
)
_DELETED = record({"id": TEXT, "object": TEXT, "deleted": {"type": "boolean"}})
_ONE = "/v1/responses/{response_id}"
RESPONSES: tuple[Endpoint, ...] = (
    Endpoint(
        "POST", "/v1/responses", create, "Answer an input, and keep the response.",
        body=BODY, answer=_RESPONSE, streams=True, errors=responses_error, framing=FRAMING,
    ),
    Endpoint("GET", _ONE, retrieve, "A kept response.", answer=_RESPONSE),
    Endpoint("DELETE", _ONE, delete, "Delete a response.", answer=_DELETED),
    Endpoint("POST", f"{_ONE}/cancel", cancel, "Refused: none is made in the background."),
    Endpoint(
        "GET", f"{_ONE}/input_items", input_items, "What it was given.",
        answer=list_schema({"type": "object"}),
    ),
    Endpoint(
        "POST", "/v1/responses/input_tokens", count_tokens, "How many tokens an input has.",
        body=record({**INPUT, "personality": {"type": "null"}}),
        answer=record({"object": TEXT, "input_tokens": COUNT}), errors=responses_error,
    ),
)  # fmt: skip
