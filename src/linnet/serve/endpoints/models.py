"""``/v1/models``: what is served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.schemas import COUNT, TEXT, listed, record
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from linnet.serve.catalog import Served
    from linnet.serve.service import Service


async def every(service: Service, call: Call) -> None:
    """GET /v1/models."""
    data = [_card(model) for model in service.catalog.models.values()]
    await answer_json(call, {"object": "list", "data": data})


async def one(service: Service, call: Call) -> None:
    """GET /v1/models/NAME."""
    await answer_json(call, _card(service.catalog.find(call.parameters["model"])))


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
            "documents": len(model.assistant.index) if model.assistant is not None else None,
            "context": model.context,
            "adapter_of": model.parent,
        },
    }


_MODEL = record(
    {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT,
     "linnet": {"type": "object"}},
    required=("id", "object", "created", "owned_by"),
)  # fmt: skip

MODELS = Endpoint(
    "GET", "/v1/models", every, "The models.",
    answer=record(
        {"object": {"const": "list"}, "data": listed(_MODEL)}, required=("object", "data")
    ),
)  # fmt: skip
ONE_MODEL = Endpoint("GET", "/v1/models/{model}", one, "One model.", answer=_MODEL)
