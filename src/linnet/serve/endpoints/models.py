"""``/v1/models``: what is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linnet.retrieval import Index
from linnet.serve.asgi import Call
from linnet.serve.catalog import AUTO
from linnet.serve.endpoint import Endpoint
from linnet.serve.endpoints.messages import is_anthropic, model_info, page_of_models
from linnet.serve.schemas import COUNT, TEXT, listed, record
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from linnet.retrieval import Searchable
    from linnet.serve.catalog import Served
    from linnet.serve.service import Service


async def every(service: Service, call: Call) -> None:
    """GET /v1/models."""
    if is_anthropic(call):
        await answer_json(call, page_of_models(service.catalog.models, call.query))
        return
    seen = service.collections(call)
    data = [_card(service, model, seen) for model in service.catalog.models.values()]
    dashboard = service.monitoring is not None and service.may_monitor(call)
    await answer_json(call, {"object": "list", "data": data, "linnet": {"dashboard": dashboard}})


async def one(service: Service, call: Call) -> None:
    """GET /v1/models/NAME."""
    model = service.catalog.find(call.parameters["model"])
    if is_anthropic(call):
        await answer_json(call, model_info(model))
        return
    await answer_json(call, _card(service, model, service.collections(call)))


def _card(service: Service, model: Served, seen: Sequence[str] | None) -> dict[str, Any]:
    """What is said of a model to whoever sees these collections, or all."""
    documents: int | None
    if model.assistant is not None:
        documents = _passages(model.assistant.index, seen)
    else:  # of an index that is not open only the whole is known, which is for who sees all
        documents = model.summary.documents if model.summary and seen is None else None
    return {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "linnet",
        "linnet": {
            "chat": model.is_chat,
            "embeddings": model.makes_embeddings,
            "documents": documents,
            "context": model.context,
            "adapter_of": model.parent if model.name != AUTO else None,
            "loaded": service.catalog.is_loaded(model.name),
            "place": model.place,
            **_routing(service, model),
        },
    }


def _routing(service: Service, model: Served) -> dict[str, Any]:
    """Where a model is chosen for each call: which there are (``routes``); of one beyond this
    machine what it asks for a million tokens, null where that is not known. Of both whether their
    answers can be judged."""
    routing = service.catalog.routing
    if routing is None:
        return {}
    about: dict[str, Any] = {"feedback": service.log is not None}
    if model.name == AUTO:
        return {**about, "routes": list(routing.remote)}
    if model.name not in routing.remote:
        return {}
    config, currency = routing.settings.models[model.name], routing.settings.currency
    if not config.priced:
        return {**about, "price": None}
    price = {"input": config.input, "output": config.output, "currency": currency}
    return {**about, "price": price}


def _passages(index: Searchable, seen: Sequence[str] | None) -> int:
    if seen is None:
        return len(index)
    if isinstance(index, Index):
        return index.count(seen)
    return sum(1 for _ in index.passages(collections=seen))


_MODEL = record(
    {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT,
     "linnet": {"type": "object"}},
    required=("id", "object", "created", "owned_by"),
)  # fmt: skip

MODELS = Endpoint(
    "GET", "/v1/models", every, "The models.",
    answer=record(
        {"object": {"const": "list"}, "data": listed(_MODEL), "linnet": {"type": "object"}},
        required=("object", "data"),
    ),
)  # fmt: skip
ONE_MODEL = Endpoint("GET", "/v1/models/{model}", one, "One model.", answer=_MODEL)
