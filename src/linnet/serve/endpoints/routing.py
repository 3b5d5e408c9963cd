"""``/v1/linnet/route`` and ``/v1/linnet/feedback``: who would answer, what would leave this machine
for that, and whether an answer was good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from linnet.answers.privacy import mask_private
from linnet.respond.context import Context
from linnet.respond.prices import money
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.endpoints.chat import BODY, chat
from linnet.serve.errors import ApiError
from linnet.serve.schemas import FLAG, TEXT, listed, record
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from linnet.respond.conversation import Conversation
    from linnet.routing.responder import Prospect
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema


async def prospects(service: Service, call: Call) -> None:
    """POST /v1/linnet/route."""
    from linnet.routing.responder import RoutingResponder

    responder = call.model.responder
    if not isinstance(responder, RoutingResponder):
        raise ApiError(
            400, f"'{call.model.name}' is no model beyond this machine, nor 'auto'.", param="model"
        )
    asked = await service.prepare(
        call, lambda: chat(call.body, longest=service.config.max_tokens, context=call.model.context)
    )
    context = Context(
        key=call.account.key.name if call.account is not None else None,
        collections=service.collections(call, call.body.get("collections")),
        remote=service.may_leave(call),
    )  # fmt: skip
    with service.within_limits(call):
        found = await service.in_thread(lambda: responder.prospects(asked, context))
    shown = [_as_json(service, each) for each in found]
    if service.masks_private(call):
        names = service.masks_names(call)
        shown = await service.in_thread(lambda: [_masked(each, names) for each in shown])
    await answer_json(call, {"models": shown})


def _masked(shown: Any, names: bool) -> Any:
    """For whoever may not see private data of documents."""
    if isinstance(shown, str):
        return mask_private(shown, names=names).text
    if isinstance(shown, list):
        return [_masked(each, names) for each in shown]
    if isinstance(shown, dict):
        return {name: _masked(each, names) for name, each in shown.items()}
    return shown


def _as_json(service: Service, prospect: Prospect) -> dict[str, Any]:
    found: dict[str, Any] = {
        "model": prospect.model,
        "place": prospect.place,
        "allowed": prospect.outgoing is not None,
        "reasons": list(prospect.reasons),
        "decisions": [piece.as_json() for piece in prospect.decisions],
    }
    if prospect.outgoing is not None:
        found["messages"] = [message.as_json() for message in prospect.outgoing.messages]
        found["tools"] = [tool.as_json() for tool in prospect.outgoing.tools]
        if prospect.outgoing.constraint is not None:
            found["form"] = prospect.outgoing.constraint.value
        found |= _cost(service, prospect.model, prospect.outgoing)
    return found


def _cost(service: Service, model: str, outgoing: Conversation) -> dict[str, Any]:
    routing = service.catalog.routing
    most = routing.most_cost(model, outgoing) if routing is not None else None
    currency = routing.settings.currency if routing is not None else ""
    return {"most_cost": None if most is None else float(money(most)), "currency": currency}


async def feedback(service: Service, call: Call) -> None:
    """POST /v1/linnet/feedback."""
    if service.log is None:
        raise ApiError(409, "This server keeps no log of answers (--monitor).", code="not_kept")
    log, key = service.log, call.account.key.name if call.account is not None else None
    with service.within_limits(call):
        if not await service.in_thread(lambda: log.has(call.body["id"], key)):
            raise ApiError(
                404, "The log has no answer of this id that was given to you. The id of an answer "
                "is in its header X-Request-Id, and in the last entry of its 'linnet'.",
                param="id", code="not_found",
            )  # fmt: skip
        service.judge(call.body["id"], key, good=call.body["good"])
    await answer_json(call, {"noted": True})


_PROSPECT: Schema = record(
    {
        "model": TEXT,
        "place": {"enum": ["here", "network", "elsewhere"]},
        "allowed": {"type": "boolean"},
        "reasons": listed(TEXT),
        "decisions": listed({"type": "object"}),
        "messages": listed({"type": "object"}),
        "tools": listed({"type": "object"}),
        "form": {**TEXT, "description": "What the answer must be, where it is held to something."},
        "most_cost": {"type": ["number", "null"]},
        "currency": TEXT,
    },
    required=("model", "place", "allowed", "reasons", "decisions"),
)
ROUTING = (
    Endpoint(
        "POST", "/v1/linnet/route", prospects,
        "What models beyond this machine would be sent of a conversation; nothing is.",
        body=BODY, answer=record({"models": listed(_PROSPECT)}, required=("models",)),
    ),
    Endpoint(
        "POST", "/v1/linnet/feedback", feedback, "Whether an answer was good.",
        body=record(
            {"id": {"type": "string", "minLength": 1, "maxLength": 128},
             "good": {"type": "boolean"}},
            required=("id", "good"),
        ),
        answer=record({"noted": FLAG}),
    ),
)  # fmt: skip
