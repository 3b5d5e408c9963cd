"""``/v1/files`` and ``/v1/vector_stores``: the documents that models answer from, by the names of
OpenAI's interface.

A vector store is what one served name answers from, and a file is one of its documents. Stores are
made by ``linnet index`` and ``linnet assistant``, not here. Who may list, add and remove is decided
as for ``/v1/documents``.

Reference: https://platform.openai.com/docs/api-reference/vector-stores
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linnet.answers.privacy import Screen, surroundings
from linnet.answers.workspace import check_name
from linnet.errors import DataError, LinnetError
from linnet.respond.conversation import ConversationError
from linnet.retrieval import Index
from linnet.retrieval.index import Filters
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.endpoints.documents import (
    LARGEST_FILE,
    MOST_LISTED,
    counts_within,
    documents_at,
    is_owner,
    number_of,
    receive,
    take_in,
    workspace_of,
)
from linnet.serve.endpoints.search import passage_json
from linnet.serve.errors import ApiError, refused
from linnet.serve.multipart import Form
from linnet.serve.schemas import ANYTHING, COUNT, FLAG, TEXT, listed, nullable, record, whole
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from pathlib import Path

    from linnet.answers.workspace import DocumentState, Workspace
    from linnet.serve.catalog import Served
    from linnet.serve.service import Service
    from linnet.serve.shapes import Framing
    from linnet.serve.uploads import Upload
    from linnet.serve.validation import Schema

PURPOSES = ("assistants", "user_data")
USUAL_RESULTS, MOST_RESULTS = 10, 50
_STATES = {"searchable": "processed", "reading": "uploaded", "unreadable": "error"}
_SPARE = 64 * 1024  # bytes of a form beside its file


def store_id(name: str) -> str:
    """The id of the vector store that a model's documents are, by the model's name."""
    return f"vs_{hashlib.sha256(name.encode()).hexdigest()[:24]}"


def file_id(name: str) -> str:
    """The id of a document, by its name."""
    return f"file-{base64.urlsafe_b64encode(name.encode()).decode().rstrip('=')}"


def file_name(given: str) -> str:
    """The name of the document with this id. Raises ApiError (404)."""
    try:
        raw = given.removeprefix("file-").encode("ascii")
        name = base64.b64decode(raw + b"=" * (-len(raw) % 4), b"-_", validate=True).decode()
    except ValueError:
        name = ""
    if not name or file_id(name) != given:
        raise _no_file(given)
    return name


def stores(service: Service) -> dict[str, str]:
    """The names of the models with documents, by the ids of their vector stores."""
    every = service.catalog.models.values()
    return {store_id(model.name): model.name for model in every if model.has_documents}


async def documents_of(
    service: Service,
    call: Call,
    vector_store_ids: Sequence[str],
    framing: Framing | None = None,
) -> Served:
    """The model whose documents are searched, open until the call ends: an id is a store's, or the
    name of its model. Without ids: the call's own model where it has documents, otherwise the
    first that has. ``framing``: see ``Service.use_model``.

    Raises ApiError where there is none, and for several.
    """
    there = stores(service)
    own: str = getattr(getattr(call, "model", None), "name", "")
    if not there:
        raise ApiError(
            404,
            "No documents are served here: start 'linnet serve INDEX', 'linnet serve MODEL --docs "
            "INDEX' or 'linnet assistant DOCS --out DIR'.",
            code="no_documents",
        )
    found = []
    usual = own if own in there.values() else next(iter(there), "")
    for wanted in vector_store_ids or [usual]:
        name = there.get(wanted, wanted)
        if name not in there.values():
            told = ", ".join(f"{key} ({model})" for key, model in there.items())
            raise ApiError(
                404, f"There is no vector store '{wanted[:80]}'; there are: {told}.",
                param="vector_store_ids", code="not_found",
            )  # fmt: skip
        found.append(name)
    if len(set(found)) > 1:
        raise ApiError(
            400, f"One vector store is searched at a time. Got {len(set(found))}",
            param="vector_store_ids",
        )  # fmt: skip
    if found[0] != own:
        await service.use_model(call, found[0], framing)
    return call.model


# Files


async def upload(service: Service, call: Call) -> None:
    """POST /v1/files: a form with ``file`` and ``purpose``."""
    form = Form(call.header(b"content-type") or "")
    served, workspace = await _workspace(service, call, changing=True)

    async def arrive(place: Path, upload: Upload) -> str:
        await receive(
            service, call, place, upload, LARGEST_FILE, purpose="adding the document",
            pieces=form.file(call, LARGEST_FILE + _SPARE),
        )  # fmt: skip
        _check_fields(form.fields)
        check_name(form.filename or "", images=workspace.reads_images)
        return form.filename or ""

    name = await take_in(service, call, served, workspace, arrive, taken="refuse")
    await answer_json(call, await service.in_thread(lambda: _file_of(workspace, name)))


def _check_fields(fields: Mapping[str, str]) -> None:
    for name in fields:
        if name != "purpose":
            raise ApiError(
                400, f"Unrecognized request argument supplied: {name[:60]}.", param=name[:60],
                code="unknown_parameter",
            )  # fmt: skip
    if fields.get("purpose") not in PURPOSES:
        raise ApiError(
            400, f"'purpose' must be one of {', '.join(PURPOSES)}: files are documents to answer "
            f"from here. Got {fields.get('purpose', 'none')[:60]!r}",
            param="purpose",
        )  # fmt: skip


async def files(service: Service, call: Call) -> None:
    """GET /v1/files, and /v1/vector_stores/STORE/files."""
    _, workspace = await _workspace(service, call, changing=False)
    given = call.query
    limit = min(number_of(given, "limit", MOST_LISTED), MOST_LISTED)
    after = file_name(given["after"]) if given.get("after") else ""
    of_store = "store" in call.parameters

    def found() -> list[dict[str, Any]]:
        states = workspace.documents(after=after, limit=limit + 1)
        return [_file_json(workspace, state) for state in states if state.state != "removed"]

    data = await service.in_thread(found)
    if given.get("purpose") not in (None, "assistants"):
        data = []
    shown = [_in_store(each, call) if of_store else each for each in data[:limit]]
    ends = {"first_id": shown[0]["id"], "last_id": shown[-1]["id"]} if shown else {}
    none = {"first_id": None, "last_id": None}
    await answer_json(
        call, {"object": "list", "data": shown, **none, **ends, "has_more": len(data) > limit}
    )


async def one_file(service: Service, call: Call) -> None:
    """GET /v1/files/FILE."""
    _, workspace = await _workspace(service, call, changing=False)
    name = file_name(call.parameters["file"])
    await answer_json(call, await service.in_thread(lambda: _file_of(workspace, name)))


async def content(service: Service, call: Call) -> None:
    """GET /v1/files/FILE/content: refused, as OpenAI refuses it for files of this purpose."""
    raise ApiError(
        400, "Files of purpose 'assistants' are not given out; /v1/documents/source shows what is "
        "cited of them.",
        code="not_allowed",
    )  # fmt: skip


async def delete(service: Service, call: Call) -> None:
    """DELETE /v1/files/FILE: it is not searched any more."""
    served, workspace = await _workspace(service, call, changing=True)
    name = file_name(call.parameters["file"])
    try:
        await service.in_thread(lambda: _removed(workspace, name))
    except DataError:
        raise _no_file(call.parameters["file"]) from None
    if served.upkeep is not None:
        served.upkeep.wake()
    await answer_json(call, {"id": call.parameters["file"], "object": "file", "deleted": True})


def _removed(workspace: Workspace, name: str) -> None:
    try:
        workspace.remove(name)
    except DataError:
        raise
    except LinnetError as error:
        raise refused(error) from None


async def _workspace(service: Service, call: Call, *, changing: bool) -> tuple[Served, Workspace]:
    """The documents of the store that is named, or of the first."""
    store = call.parameters.get("store") or call.query.get("vector_store_id")
    served = await documents_of(service, call, [store] if store else [])
    return await documents_at(service, call, changing=changing, name=served.name)


def _file_of(workspace: Workspace, name: str) -> dict[str, Any]:
    """A document by its name. Raises ApiError (404)."""
    states = workspace.documents(containing=name, limit=MOST_LISTED)
    state = next((each for each in states if each.name == name), None)
    if state is None or state.state == "removed":
        raise _no_file(file_id(name))
    return _file_json(workspace, state)


def _file_json(workspace: Workspace, state: DocumentState) -> dict[str, Any]:
    place = workspace.file_of(state.name)
    found = {
        "id": file_id(state.name),
        "object": "file",
        "bytes": state.bytes,
        "created_at": int(place.stat().st_mtime) if place is not None else 0,
        "filename": state.name,
        "purpose": "assistants",
        "status": _STATES[state.state],
    }
    return {**found, "status_details": state.reason} if state.reason else found


def _in_store(file: Mapping[str, Any], call: Call) -> dict[str, Any]:
    """A file as a part of its vector store."""
    failed = file["status"] == "error"
    states = {"processed": "completed", "uploaded": "in_progress", "error": "failed"}
    return {
        "id": file["id"],
        "object": "vector_store.file",
        "created_at": file["created_at"],
        "usage_bytes": file["bytes"],
        "vector_store_id": store_id(call.model.name),
        "status": states[file["status"]],
        "last_error": {"code": "invalid_file", "message": file.get("status_details", "")}
        if failed
        else None,
        "attributes": {"filename": file["filename"]},
    }


def _no_file(given: str) -> ApiError:
    return ApiError(404, f"There is no file '{given[:80]}'.", param="file_id", code="not_found")


# Vector stores


async def every_store(service: Service, call: Call) -> None:
    """GET /v1/vector_stores."""
    data = []
    for name in stores(service).values():
        try:
            data.append(await _counted(service, call, name))
        except ApiError:  # it cannot be opened now: the others are listed all the same
            data.append({**_store_json(service.catalog.find(name)), "status": "in_progress"})
    ends = {"first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {
        "first_id": None, "last_id": None
    }  # fmt: skip
    await answer_json(call, {"object": "list", "data": data, **ends, "has_more": False})


async def one_store(service: Service, call: Call) -> None:
    """GET /v1/vector_stores/STORE."""
    await answer_json(call, await _counted(service, call, call.parameters["store"]))


async def _counted(service: Service, call: Call, store: str) -> dict[str, Any]:
    """A vector store, with the numbers of its files that the caller may know."""
    served = await documents_of(service, call, [store])
    seen, workspace = service.collections(call), workspace_of(served)
    if seen is None and workspace is not None and is_owner(service, call):
        return _store_json(served, await service.in_thread(workspace.counts))
    return _store_json(served, await service.in_thread(lambda: counts_within(served, seen)))


def _store_json(served: Served, counts: Mapping[str, int] | None = None) -> dict[str, Any]:
    done, reading = (counts or {}).get("searchable", 0), (counts or {}).get("reading", 0)
    failed = (counts or {}).get("unreadable", 0)
    return {
        "id": store_id(served.name),
        "object": "vector_store",
        "created_at": served.created,
        "name": served.name,
        "usage_bytes": 0,
        "file_counts": {
            "in_progress": reading, "completed": done, "failed": failed, "cancelled": 0,
            "total": reading + done + failed,
        },
        "status": "in_progress" if reading else "completed",
        "expires_after": None,
        "expires_at": None,
        "last_active_at": None,
        "metadata": {},
    }  # fmt: skip


async def search(service: Service, call: Call) -> None:
    """POST /v1/vector_stores/STORE/search."""
    body = call.body
    served = await documents_of(service, call, [call.parameters["store"]])
    query = body["query"]
    if not isinstance(query, str):
        if len(query) > 1:
            raise ApiError(400, "'query' must be one text. Got several", param="query")
        query = query[0]
    filters, collections = _filters(body.get("filters"))
    seen, masked = service.collections(call, collections), service.masks_private(call)
    index = served.searching.index
    most = int(body.get("max_num_results") or USUAL_RESULTS)

    def made() -> list[dict[str, Any]]:
        if filters == Filters():
            found = index.search(query, most, collections=seen)
        elif isinstance(index, Index):
            found = index.search(query, most, collections=seen, filters=filters)
        else:
            raise ConversationError("these documents have no filters", part="filters")
        screen = Screen(
            masks_private=masked, masks_names=service.masks_names(call), around=surroundings(index)
        )
        return [_result(passage_json(each)) for each in screen.found(found)]

    with service.within_limits(call):
        data = await service.in_thread(made)
    await answer_json(
        call,
        {
            "object": "vector_store.search_results.page",
            "search_query": [query],
            "data": data,
            "has_more": False,
            "next_page": None,
        },
    )


def _result(passage: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {
        name: passage[name] for name in ("title", "where", "collection", "page", "start", "end")
    }
    return {
        "file_id": file_id(passage["source"]),
        "filename": passage["source"],
        "score": passage["score"],
        "attributes": {name: value for name, value in attributes.items() if value is not None},
        "content": [{"type": "text", "text": passage["text"]}],
    }


def _filters(given: Mapping[str, Any] | None) -> tuple[Filters, list[str] | None]:
    """Which documents are searched, and which collections; what a filter cannot say is refused."""
    found: dict[str, Any] = {}
    collections: list[str] | None = None
    every = [] if not given else given["filters"] if given["type"] == "and" else [given]
    fields = {"filename": "sources", "kind": "kinds", "language": "languages"}
    bounds = {"gte": "since", "lte": "until"}
    for entry in every:
        each = entry if isinstance(entry, dict) else {}
        kind, key, value = str(each.get("type")), str(each.get("key")), each.get("value")
        values = tuple(value) if isinstance(value, list) else (value,)
        is_named = kind in ("eq", "in") and all(isinstance(one, str) for one in values)
        if is_named and key == "collection" and collections is None:
            collections = [str(one) for one in values]
            continue
        if is_named and fields.get(key, "collection") not in ("collection", *found):
            found[fields[key]] = values
            continue
        is_new_bound = key == "date" and bounds.get(kind, "date") not in ("date", *found)
        if is_new_bound and isinstance(value, int | float):
            found[bounds[kind]] = int(value)
            continue
        raise ApiError(
            400, "'filters' are 'eq' or 'in' of filename, kind, language and collection, 'gte' or "
            "'lte' of date, or several of these under 'and', each once. "
            f"Got {kind[:20]!r} of {key[:40]!r}",
            param="filters",
        )  # fmt: skip
    return Filters(**found), collections


_VALUE: Schema = {
    "anyOf": [
        {"type": ["string", "number", "boolean"]},
        {"type": "array", "items": {"type": ["string", "number"]}, "maxItems": 100},
    ]
}
_COMPARISON = record(
    {"type": {"enum": ["eq", "ne", "gt", "gte", "lt", "lte", "in", "nin"]}, "key": TEXT,
     "value": _VALUE},
    required=("type", "key", "value"),
)  # fmt: skip
_COMPOUND = record(
    {"type": {"enum": ["and", "or"]},
     "filters": {"type": "array", "items": ANYTHING, "minItems": 1, "maxItems": 20}},
    required=("type", "filters"),
)  # fmt: skip
FILTERS: Schema = {"anyOf": [_COMPARISON, _COMPOUND, {"type": "null"}]}
_QUERY: Schema = {"type": "string", "minLength": 1, "maxLength": 10_000}
SEARCH_BODY: Schema = record(
    {
        "query": {"anyOf": [_QUERY, {"type": "array", "items": _QUERY, "minItems": 1}]},
        "max_num_results": whole(1, MOST_RESULTS, f"How many; otherwise {USUAL_RESULTS}."),
        "filters": FILTERS,
        "ranking_options": nullable(
            record({"ranker": {"enum": ["auto", "none", None]},
                    "score_threshold": {"type": ["number", "null"], "minimum": 0, "maximum": 0}})
        ),
        "rewrite_query": {"enum": [False, None]},
    },
    required=("query",),
)  # fmt: skip
_FILE = record(
    {
        "id": TEXT, "object": {"const": "file"}, "bytes": COUNT, "created_at": COUNT,
        "filename": TEXT, "purpose": TEXT, "status": TEXT, "status_details": TEXT,
    },
    required=("id", "object", "bytes", "created_at", "filename", "purpose", "status"),
)  # fmt: skip
_STORE = record({"id": TEXT, "object": {"const": "vector_store"}}, more=True)


def _page(entry: Schema) -> Schema:
    return record(
        {
            "object": TEXT, "data": listed(entry), "has_more": FLAG,
            "first_id": nullable(TEXT), "last_id": nullable(TEXT),
        },
        required=("object", "data", "has_more"),
    )  # fmt: skip


FILES = (
    Endpoint("POST", "/v1/files", upload, "Add a document; a form.", answer=_FILE),
    Endpoint("GET", "/v1/files", files, "The documents.", answer=_page(_FILE)),
    Endpoint("GET", "/v1/files/{file}/content", content, "Refused.", answer=ANYTHING),
    Endpoint("GET", "/v1/files/{file}", one_file, "A document.", answer=_FILE),
    Endpoint(
        "DELETE", "/v1/files/{file}", delete, "Search a document no more.",
        answer=record({"id": TEXT, "object": TEXT, "deleted": FLAG}),
    ),
    Endpoint(
        "GET", "/v1/vector_stores", every_store, "What models answer from.", answer=_page(_STORE)
    ),
    Endpoint(
        "POST", "/v1/vector_stores/{store}/search", search, "Passages for a question.",
        body=SEARCH_BODY, answer=ANYTHING,
    ),
    Endpoint(
        "GET", "/v1/vector_stores/{store}/files", files, "The documents of a store.",
        answer=_page(ANYTHING),
    ),
    Endpoint(
        "GET", "/v1/vector_stores/{store}", one_store, "What a model answers from.", answer=_STORE
    ),
)  # fmt: skip
