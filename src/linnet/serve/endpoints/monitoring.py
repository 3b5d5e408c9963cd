"""``/health``, ``/metrics``, ``/openapi.json``: what is said of the server itself."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.errors import ApiError
from linnet.serve.metrics import CONTENT_TYPE
from linnet.serve.schemas import ANYTHING, record
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from linnet.serve.service import Service


async def health(service: Service, call: Call) -> None:
    """GET /health."""
    if service.draining:
        await answer_json(call, {"status": "stopping"}, 503)
    else:
        await answer_json(call, {"status": "ok"})


async def metrics(service: Service, call: Call) -> None:
    """GET /metrics."""
    for name, own in service.model_metrics.items():
        running = [each for each, model in service.running.items() if model == name]
        waiting = sum(each.texts for each in running if each.waiting)
        own.waiting.set(waiting)
        own.running.set(sum(each.texts for each in running) - waiting)
    loaded = {model.name: model for model in service.catalog.loaded()}
    for name in service.model_metrics:
        service.metrics.loaded.labels(name).set(name in loaded)
        service.metrics.memory.labels(name).set(loaded[name].bytes if name in loaded else 0)
    service.metrics.opening.set(service.doorkeeper.waiting)
    answers, routing = service.metrics.answers, service.catalog.routing
    if service.log is not None and service.monitoring is not None:
        answers.show_log(service.log.state)
        answers.show_drift(service.monitoring.latest_drift())
    if routing is not None:
        with contextlib.suppress(ApiError):  # the other figures are there all the same
            accounts, cut_off = await service.in_thread(
                lambda: (routing.ledger.spent(), routing.ledger.cut_offs())
            )
            limited = routing.settings.budget.keys
            answers.show_routing(routing.remote.health(), accounts, cut_off, limited)
    await call.answer(200, service.metrics.render(), content_type=CONTENT_TYPE)


async def openapi(service: Service, call: Call) -> None:
    """GET /openapi.json."""
    await call.answer(200, service.description)


_HEALTH = record({"status": {"enum": ["ok", "stopping"]}}, required=("status",))

HEALTH = Endpoint(
    "GET", "/health", health, "Whether the server works.", answer=_HEALTH, is_open=True,
    other_answers={"503": ("The server is being stopped.", _HEALTH)}, is_logged=False,
)  # fmt: skip
METRICS = Endpoint("GET", "/metrics", metrics, "Figures for Prometheus.", is_logged=False)
OPENAPI = Endpoint(
    "GET", "/openapi.json", openapi, "This description.", answer=ANYTHING, is_open=True,
    is_described=False,
)  # fmt: skip
