"""``/v1/conversations``: what was said, kept on this machine for the key that said it.

OpenAI's interface, and more: a list that can be searched, an export, deleting all. A key finds its
own alone; another's is not there.

Reference: https://platform.openai.com/docs/api-reference/conversations
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from linnet.database import StoreError
from linnet.respond.pieces import new_id
from linnet.serve.asgi import Call
from linnet.serve.conversations import ConversationStore
from linnet.serve.endpoint import Endpoint
from linnet.serve.errors import ApiError
from linnet.serve.kept_items import (
    DuplicateItemError,
    LongHistoryError,
    MissingError,
    Order,
    Page,
)
from linnet.serve.logs import LOGGER
from linnet.serve.responses_api.items import INPUT_ITEMS, read_items
from linnet.serve.schemas import COUNT, TEXT, listed, record
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

T = TypeVar("T")

MOST_LISTED = 100
USUALLY_LISTED = 20
LONGEST_QUERY = 200
_EXPORT_BYTES = 1 << 16
JSON_LINES = b"application/jsonl; charset=utf-8"


def owner_of(call: Call) -> str:
    """Whose things a call sees: its key's by name, or nobody's where there are no keys."""
    return call.account.key.name if call.account is not None else ""


async def with_store(service: Service, work: Callable[[ConversationStore], T]) -> T:
    """What the work gives, done beside the loop. Raises ApiError for what the store refuses."""
    store = service.conversations

    def done() -> T:
        try:
            return work(store)
        except MissingError as error:
            raise _missing(error) from None
        except DuplicateItemError as error:
            raise ApiError(
                400, f"{error} Remove it from what you send and try again.", param="items",
                code="duplicate_item",
            ) from None  # fmt: skip
        except LongHistoryError as error:
            raise ApiError(400, f"{error}.", code="history_too_long") from None
        except StoreError as error:
            LOGGER.error("storing failed", extra={"facts": {"error": str(error)}})
            raise ApiError(503, f"{error}.", code="store_error", retry_after=5) from None

    return await service.in_thread(done, service.storing)


def _missing(error: MissingError) -> ApiError:
    if error.kind == "previous":
        return ApiError(
            400, str(error), param="previous_response_id", code="previous_response_not_found"
        )
    return ApiError(404, str(error), code=f"{error.kind}_not_found")


async def listing(service: Service, call: Call) -> None:
    """GET /v1/conversations."""
    owner, query = owner_of(call), call.query.get("query", "")
    limit, after, _ = page_of(call, "limit", "after", "query")
    if len(query) > LONGEST_QUERY:
        raise ApiError(
            400, f"'query' must have at most {LONGEST_QUERY} characters. Got {len(query)}",
            param="query",
        )  # fmt: skip
    with service.within_limits(call):
        page = await with_store(
            service,
            lambda store: store.conversations(owner, query=query, limit=limit, after=after),
        )
    store = service.conversations
    where = {"stored": "memory" if store.file is None else "file", "keep_days": store.keep_days}
    await answer_json(call, {**page_json(page), "linnet": where})


async def create(service: Service, call: Call) -> None:
    """POST /v1/conversations."""
    owner, metadata = owner_of(call), call.body.get("metadata") or {}
    items = await service.prepare(call, lambda: read_items(call.body.get("items") or (), "items"))
    with service.within_limits(call):
        made = await with_store(
            service, lambda store: store.create(owner, new_id("conv_"), metadata, items)
        )
    await answer_json(call, made)


async def delete_all(service: Service, call: Call) -> None:
    """DELETE /v1/conversations."""
    owner = owner_of(call)
    with service.within_limits(call):
        conversations, responses = await with_store(service, lambda store: store.delete_all(owner))
    await answer_json(
        call,
        {
            "object": "conversation.deleted", "deleted": True, "conversations": conversations,
            "responses": responses,
        },
    )  # fmt: skip


async def export(service: Service, call: Call) -> None:
    """GET /v1/conversations/export."""
    entries = service.conversations.export(owner_of(call))

    def lines() -> bytes:
        found = b""
        while len(found) < _EXPORT_BYTES and (entry := next(entries, None)) is not None:
            found += json.dumps(entry, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        return found

    with service.within_limits(call):
        piece = await with_store(service, lambda _: lines())
        name = (b"content-disposition", b'attachment; filename="conversations.jsonl"')
        await call.begin(200, JSON_LINES, [name])
        while piece:
            await call.send(piece)
            piece = await with_store(service, lambda _: lines())
        await call.send(b"", more=False)


async def retrieve(service: Service, call: Call) -> None:
    """GET /v1/conversations/ID."""
    owner, name = owner_of(call), call.parameters["conversation_id"]
    with service.within_limits(call):
        found = await with_store(service, lambda store: store.conversation(owner, name))
    await answer_json(call, found)


async def update(service: Service, call: Call) -> None:
    """POST /v1/conversations/ID."""
    owner, name = owner_of(call), call.parameters["conversation_id"]
    metadata = call.body["metadata"] or {}
    with service.within_limits(call):
        found = await with_store(service, lambda store: store.update(owner, name, metadata))
    await answer_json(call, found)


async def delete(service: Service, call: Call) -> None:
    """DELETE /v1/conversations/ID."""
    owner, name = owner_of(call), call.parameters["conversation_id"]
    with service.within_limits(call):
        await with_store(service, lambda store: store.delete(owner, name))
    await answer_json(call, {"id": name, "object": "conversation.deleted", "deleted": True})


async def list_items(service: Service, call: Call) -> None:
    """GET /v1/conversations/ID/items."""
    owner, name = owner_of(call), call.parameters["conversation_id"]
    limit, after, order = page_of(call, "limit", "after", "order", "include", "include[]")
    with service.within_limits(call):
        page = await with_store(
            service, lambda store: store.items(owner, name, limit=limit, after=after, order=order)
        )
    await answer_json(call, page_json(page))


async def add_items(service: Service, call: Call) -> None:
    """POST /v1/conversations/ID/items."""
    owner, name = owner_of(call), call.parameters["conversation_id"]
    items = await service.prepare(call, lambda: read_items(call.body["items"], "items"))
    with service.within_limits(call):
        await with_store(service, lambda store: store.add_items(owner, name, items))
    await answer_json(call, page_json(Page(items, more=False)))


async def retrieve_item(service: Service, call: Call) -> None:
    """GET /v1/conversations/ID/items/ID."""
    owner, name = owner_of(call), call.parameters["conversation_id"]
    item = call.parameters["item_id"]
    with service.within_limits(call):
        found = await with_store(service, lambda store: store.item_of(owner, name, item))
    await answer_json(call, found)


async def delete_item(service: Service, call: Call) -> None:
    """DELETE /v1/conversations/ID/items/ID."""
    owner, name = owner_of(call), call.parameters["conversation_id"]
    item = call.parameters["item_id"]
    with service.within_limits(call):
        found = await with_store(service, lambda store: store.delete_item(owner, name, item))
    await answer_json(call, found)


def page_of(call: Call, *known: str) -> tuple[int, str | None, Order]:
    """The part of a list that is asked for. Raises ApiError for other parameters than these."""
    given = call.query
    if unknown := set(given) - set(known):
        raise ApiError(
            400, f"Unrecognized request argument supplied: {min(unknown)[:100]}.",
            param=min(unknown)[:100], code="unknown_parameter",
        )  # fmt: skip
    limit = given.get("limit", str(USUALLY_LISTED))
    if not (limit.isascii() and limit.isdecimal() and 1 <= int(limit[:9]) <= MOST_LISTED):
        raise ApiError(
            400, f"'limit' must be a number from 1 to {MOST_LISTED}. Got {limit[:20]!r}",
            param="limit",
        )  # fmt: skip
    order = given.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(400, f"'order' must be asc or desc. Got {order[:20]!r}", param="order")
    return int(limit), given.get("after") or None, "asc" if order == "asc" else "desc"


def page_json(page: Page) -> dict[str, Any]:
    """As OpenAI's clients page through a list."""
    names = [entry["id"] for entry in page.entries]
    return {
        "object": "list",
        "data": list(page.entries),
        "first_id": names[0] if names else "",
        "last_id": names[-1] if names else "",
        "has_more": page.more,
    }


METADATA: Schema = {
    "type": ["object", "null"],
    "maxProperties": 16,
    "additionalProperties": {"type": "string", "maxLength": 512},
    "description": "Up to 16 texts by name, kept with it.",
}
_CONVERSATION = record(
    {
        "id": TEXT,
        "object": {"const": "conversation"},
        "created_at": COUNT,
        "metadata": METADATA,
        "linnet": {"type": "object"},
    },
    required=("id", "object", "created_at", "metadata"),
)
_DELETED = record(
    {"id": TEXT, "object": TEXT, "deleted": {"type": "boolean"}}, required=("object", "deleted"),
    more=True,
)  # fmt: skip


def list_schema(entry: Schema) -> Mapping[str, Any]:
    """A page of a list."""
    return record(
        {
            "object": {"const": "list"},
            "data": listed(entry),
            "first_id": TEXT,
            "last_id": TEXT,
            "has_more": {"type": "boolean"},
            "linnet": {"type": "object"},
        },
        required=("object", "data", "first_id", "last_id", "has_more"),
    )


_ITEM: Schema = {"type": "object"}
_ALL, _ONE = "/v1/conversations", "/v1/conversations/{conversation_id}"
_ITEMS = f"{_ONE}/items"
CONVERSATIONS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST", _ALL, create, "Begin a conversation.",
        body=record({"metadata": METADATA, "items": {**INPUT_ITEMS, "type": ["array", "null"]}}),
        answer=_CONVERSATION,
    ),
    Endpoint(
        "GET", _ALL, listing, "Your conversations, newest first; 'query' searches them.",
        answer=list_schema(_CONVERSATION),
    ),
    Endpoint("DELETE", _ALL, delete_all, "Delete all that is kept of you.", answer=_DELETED),
    Endpoint("GET", f"{_ALL}/export", export, "All that is kept of you, as lines of JSON."),
    Endpoint("GET", _ONE, retrieve, "One conversation.", answer=_CONVERSATION),
    Endpoint(
        "POST", _ONE, update, "Give it other metadata.",
        body=record({"metadata": METADATA}, required=("metadata",)), answer=_CONVERSATION,
    ),
    Endpoint("DELETE", _ONE, delete, "Delete it, with its items.", answer=_DELETED),
    Endpoint("GET", _ITEMS, list_items, "Its items.", answer=list_schema(_ITEM)),
    Endpoint(
        "POST", _ITEMS, add_items, "Append items.",
        body=record({"items": {**INPUT_ITEMS, "minItems": 1}}, required=("items",)),
        answer=list_schema(_ITEM),
    ),
    Endpoint("GET", f"{_ITEMS}/{{item_id}}", retrieve_item, "One item.", answer=_ITEM),
    Endpoint(
        "DELETE", f"{_ITEMS}/{{item_id}}", delete_item, "Delete an item.", answer=_CONVERSATION
    ),
)  # fmt: skip
