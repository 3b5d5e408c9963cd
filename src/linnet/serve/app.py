"""The application: what every request goes through, from its head to its line in the log.

Origin and host, path and method, key, body, model: each is checked before the next, and only then
the endpoint's handler is called. What no endpoint foresaw becomes an answer without details, and a
traceback in the log.

Plain ASGI, without a framework: a dozen paths need no more routing than a table, and the streams
(an event every few milliseconds, each awaited by the client's own pace) go to uvicorn without
another layer's task and queue for each of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from linnet.serve.asgi import Call, ClientLeftError, Receive, Scope, Send
from linnet.serve.endpoint import Endpoint, Router
from linnet.serve.errors import ApiError, failure
from linnet.serve.logs import LOGGER, error_facts
from linnet.serve.origin import OriginPolicy
from linnet.serve.schemas import names_in
from linnet.serve.validation import check, read_json

if TYPE_CHECKING:
    from linnet.serve.service import Service

CLIENT_LEFT = 499
"""As nginx has it: no answer, since nobody was left to read it."""
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))


class App:
    """The application, as ASGI servers call it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._router = Router(service.endpoints)
        bodies = [each.body for each in service.endpoints if each.body is not None]
        self._names = frozenset[str]().union(*map(names_in, bodies))
        self._origin = OriginPolicy(service.config, needs_key=service.doorkeeper.ring.required)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        call = Call(scope, receive, send)
        call.always.extend(_ALWAYS)
        endpoint = None
        try:
            self._origin.check(call)
            endpoint = self._find(call)
            if endpoint is None:
                await self._origin.answer_preflight(call, _allowed(self._router.find(call.path)[0]))
            else:
                await self._answer(call, endpoint)
        except ApiError as error:
            if endpoint is not None and endpoint.streams and error.status != 401:
                self._service.note_refused(call, error)
            await self._refuse(call, error, endpoint)
        except ClientLeftError:
            call.status = CLIENT_LEFT
        except asyncio.CancelledError:
            raise
        except Exception:
            facts = {"id": call.id, "path": call.path}
            LOGGER.error("a request failed", exc_info=True, extra={"facts": facts})
            await self._refuse(call, failure(), endpoint)
        finally:
            call.end()
            self._note(call, endpoint)

    async def _refuse(self, call: Call, error: ApiError, endpoint: Endpoint | None) -> None:
        """Answer with an error, unless an answer has begun."""
        if call.framing is not None and call.status and not call.ended:
            await call.send(call.framing.error(error).encode(), more=False)
        elif not call.status:
            for name, fact in error_facts(error, self._names).items():
                call.facts.setdefault(name, fact)
            await call.refuse(error, endpoint.errors(error) if endpoint is not None else None)

    def _find(self, call: Call) -> Endpoint | None:
        """The endpoint that is asked; None for a preflight. Raises ApiError where there is none."""
        methods, call.parameters = self._router.find(call.path)
        if not methods:
            raise ApiError(404, f"There is nothing at {call.method} {call.path[:100]}.")
        call.label = next(iter(methods.values())).label
        if call.method == "OPTIONS":
            return None
        endpoint = methods.get("GET" if call.method == "HEAD" else call.method)
        if endpoint is None:
            allowed = _allowed(methods)
            raise ApiError(405, f"{call.label} takes {allowed}. Got {call.method}", allow=allowed)
        return endpoint

    async def _answer(self, call: Call, endpoint: Endpoint) -> None:
        service = self._service
        if not endpoint.is_open:
            call.account = service.doorkeeper.account(call.credentials)
            if call.account is not None:
                call.facts["key"] = call.account.key.name
            if service.draining:
                raise ApiError(503, "The server is being stopped.", code="stopping", retry_after=10)
        if endpoint.body is not None:
            call.body = await self._body(call, endpoint)
            if service.config.log_prompts:
                call.facts["body"] = call.body
        if endpoint.asks_model:
            name = service.catalog.resolve(call.body.get("model"))
            await service.use_model(call, name, endpoint.framing)
        await endpoint.handler(service, call)

    async def _body(self, call: Call, endpoint: Endpoint) -> Mapping[str, Any]:
        """The body, checked."""
        kind = (call.header(b"content-type") or "application/json").partition(";")[0].strip()
        if kind.lower() != "application/json" and not endpoint.any_content_type:
            raise ApiError(415, "Send JSON, and the header 'Content-Type: application/json'.")
        service = self._service
        limit = min(service.config.max_body, endpoint.largest_body or service.config.max_body)
        raw = await call.read(limit, service.doorkeeper.bodies)

        def checked() -> Mapping[str, Any]:
            found: Mapping[str, Any] = read_json(raw)
            assert endpoint.body is not None
            check(endpoint.body, found)
            return found

        return await service.prepare(call, checked)

    def _note(self, call: Call, endpoint: Endpoint | None) -> None:
        """Count the request and log it."""
        self._service.metrics.requests.labels(call.label, str(call.status)).inc()
        quiet = endpoint is not None and not endpoint.is_logged and call.status == 200
        if quiet or not LOGGER.isEnabledFor(logging.INFO):
            return
        facts = {
            "id": call.id,
            "method": call.method,
            "path": call.path[:200],
            "status": call.status,
            "seconds": round(time.monotonic() - call.arrived, 4),
            **call.facts,
        }
        LOGGER.info("request", extra={"facts": facts})


def _allowed(methods: Mapping[str, Endpoint]) -> str:
    """As the header ``Allow`` lists them."""
    heads = {"HEAD": None} if "GET" in methods else {}
    return ", ".join((*methods, *heads, "OPTIONS"))
