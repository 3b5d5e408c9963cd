"""``/v1/search`` and ``/v1/rerank``: passages for a question, and texts in the order of how well
they answer one (the shape that Cohere's and Jina's clients send and read)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from linnet.answers.privacy import Screen, surroundings
from linnet.respond.conversation import ConversationError
from linnet.retrieval import Index
from linnet.retrieval.index import Filters
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.errors import ApiError
from linnet.serve.schemas import (
    COLLECTIONS,
    COUNT,
    FLAG,
    MODEL,
    MOST_TEXTS,
    TEXT,
    listed,
    nullable,
    record,
    whole,
)  # fmt: skip

if TYPE_CHECKING:
    from linnet.retrieval import Found
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

MOST_PASSAGES = 200
USUAL_PASSAGES = 5
LONGEST_QUERY = 10_000
LONGEST_DOCUMENT = 100_000
"""Characters."""


async def search(service: Service, call: Call) -> None:
    """POST /v1/search."""
    body, model = call.body, call.model
    index = model.searching.index
    seen = service.collections(call, body.get("collections"))
    masked = service.masks_private(call)
    filters = _filters(body.get("filters"))
    most = body.get("k") or USUAL_PASSAGES

    def made() -> bytes:
        if filters is None:
            found = index.search(body["query"], most, collections=seen)
        elif isinstance(index, Index):
            found = index.search(body["query"], most, collections=seen, filters=filters)
        else:
            raise ConversationError("these documents have no filters", part="filters")
        screen = Screen(
            masks_private=masked, masks_names=service.masks_names(call), around=surroundings(index)
        )
        data = [passage_json(each) for each in screen.found(found)]
        return json.dumps({"object": "list", "model": model.name, "data": data}).encode()

    await _answer(service, call, made)


async def rerank(service: Service, call: Call) -> None:
    """POST /v1/rerank, and /v2/rerank as Cohere's newer clients have it."""
    body, model = call.body, call.model
    reranker = model.reranker
    if reranker is None:
        raise ApiError(400, f"The model '{model.name}' has no re-ranker.", param="model")
    texts = [given if isinstance(given, str) else given["text"] for given in body["documents"]]
    most = body.get("top_n") or len(texts)

    def made() -> bytes:
        scores = [float(score) for score in reranker.score(body["query"], texts)]
        order = sorted(range(len(texts)), key=lambda place: (-scores[place], place))[:most]
        results: list[dict[str, Any]] = []
        for place in order:
            results.append({"index": place, "relevance_score": scores[place]})
            if body.get("return_documents"):
                results[-1]["document"] = {"text": texts[place]}
        return json.dumps(
            {"id": call.id, "model": model.name, "object": "list", "results": results}
        ).encode()

    await _answer(service, call, made)


async def _answer(service: Service, call: Call, made: Callable[[], bytes]) -> None:
    """Within the limits, and in a thread."""
    with service.within_limits(call):
        body = await service.in_thread(made)
    await call.answer(200, body)


def passage_json(found: Found) -> dict[str, Any]:
    """A passage as ``linnet search --json`` has it, with what it stands under."""
    passage = found.passage
    return {
        **found.to_json(), "title": passage.title, "where": passage.place.where,
        "headings": list(passage.headings), "collection": passage.collection,
        "scores": dict(found.scores),
    }  # fmt: skip


def _filters(given: Mapping[str, Any] | None) -> Filters | None:
    """Which documents are searched."""
    if not given:
        return None
    lists = {name: tuple(given.get(name) or ()) for name in ("sources", "kinds", "languages")}
    return Filters(**lists, since=given.get("since"), until=given.get("until"))


_PATTERNS: Schema = {
    "type": ["array", "null"], "items": {"type": "string", "maxLength": 1000}, "maxItems": 100,
}  # fmt: skip
_SECONDS = whole(-(2**40), 2**40, "Seconds since 1970.")
FILTERS: Schema = nullable(record(
    {
        "sources": {**_PATTERNS, "description": "Patterns of names: */contracts/*, *.pdf."},
        "kinds": {**_PATTERNS, "description": "Formats, such as pdf."},
        "languages": {**_PATTERNS, "description": "ISO 639-1."},
        "since": _SECONDS,
        "until": _SECONDS,
    }
))  # fmt: skip
QUERY: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_QUERY}
DOCUMENT: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_DOCUMENT}
SEARCH_BODY: Schema = record(
    {
        "model": MODEL,
        "query": QUERY,
        "k": whole(1, MOST_PASSAGES, f"How many passages; otherwise {USUAL_PASSAGES}."),
        "collections": COLLECTIONS,
        "filters": FILTERS,
    },
    required=("query",),
)
RERANK_BODY: Schema = record(
    {
        "model": MODEL,
        "query": QUERY,
        "documents": {
            "type": "array", "minItems": 1, "maxItems": MOST_TEXTS,
            "items": {"anyOf": [DOCUMENT, record({"text": DOCUMENT}, required=("text",),
                                                 more=True)]},
        },
        "top_n": whole(1, MOST_TEXTS, "How many of the best; otherwise all."),
        "return_documents": {**FLAG, "description": "Whether the texts come back as well."},
        **{
            name: {"description": "Accepted, and without effect here."}
            for name in ("max_tokens_per_doc", "max_chunks_per_doc", "priority")
        },
    },
    required=("query", "documents"),
)  # fmt: skip
_FOUND = record(
    {
        "source": TEXT, "start": COUNT, "end": COUNT, "page": nullable(COUNT),
        "score": {"type": "number"}, "text": TEXT, "title": TEXT, "where": TEXT,
        "headings": listed(TEXT), "collection": TEXT, "scores": {"type": "object"},
    },
    required=("source", "start", "end", "page", "score", "text"),
)  # fmt: skip
_RANKED = record(
    {
        "index": COUNT,
        "relevance_score": {"type": "number"},
        "document": record({"text": TEXT}, required=("text",)),
    },
    required=("index", "relevance_score"),
)

SEARCH = Endpoint(
    "POST", "/v1/search", search, "Passages of documents for a question.",
    body=SEARCH_BODY,
    answer=record(
        {"object": {"const": "list"}, "model": TEXT, "data": listed(_FOUND)},
        required=("object", "model", "data"),
    ),
)  # fmt: skip
_RERANKED = record(
    {"id": TEXT, "object": {"const": "list"}, "model": TEXT, "results": listed(_RANKED)},
    required=("model", "results"),
)

RERANK, RERANK_2 = (
    Endpoint(
        "POST", path, rerank, "Texts in the order of how well they answer a question.",
        body=RERANK_BODY, answer=_RERANKED,
    )
    for path in ("/v1/rerank", "/v2/rerank")
)  # fmt: skip
