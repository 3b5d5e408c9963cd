"""What stands before every endpoint: who may come in, and what is written of it.

* A browser's page elsewhere gets nothing: the ``Origin`` must be the server's own, allowed,
  or go by a name that the server was given (behind a proxy the ``Host`` may be another).
  Where no keys are needed the ``Host`` must be a name of this server, so that a foreign name
  that resolves to this machine (DNS rebinding) does not help.
* What no endpoint foresaw becomes an answer without details, and a traceback in the log.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from linnet.serve.asgi import Call, ClientLeftError, Receive, Scope, Send
from linnet.serve.errors import ApiError, failure
from linnet.serve.limits import Account
from linnet.serve.logs import LOGGER
from linnet.serve.service import Service

Handler: TypeAlias = Callable[[Call, Account | None], Awaitable[None]]

CLIENT_LEFT = 499
"""As nginx has it: no answer, since nobody was left to read it."""
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_USUAL_HEADERS = "authorization, content-type, x-request-id"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_MOST_HEADERS = 2000
"""Characters of the list of headers that a preflight may ask for."""
_OFTEN_ASKED = frozenset(("/health", "/metrics"))


@dataclass(frozen=True)
class Route:
    """One path's endpoint."""

    method: str
    handler: Handler
    is_open: bool = False
    """Whether it answers without a key, and while the server stops."""


class Gate:
    """The application, as ASGI servers call it."""

    def __init__(
        self, service: Service, routes: Mapping[str, Route], prefixes: Mapping[str, Route]
    ) -> None:
        """``prefixes``: endpoints of all paths that begin so."""
        self._service = service
        self._routes = routes
        self._prefixes = prefixes
        self._origins = frozenset(service.config.cors)
        self._given_names = frozenset(name.lower() for name in service.config.allow_host)
        self._hosts = _host_names(service)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        call = Call(scope, receive, send)
        call.always.extend(_ALWAYS)
        try:
            await self._answer(call)
        except ApiError as error:
            if not call.status:
                await call.refuse(error)
        except ClientLeftError:
            call.status = CLIENT_LEFT
        except asyncio.CancelledError:
            raise
        except Exception:
            facts = {"id": call.id, "path": call.path}
            LOGGER.error("a request failed", exc_info=True, extra={"facts": facts})
            if not call.status:
                await call.refuse(failure())
        finally:
            call.end()
            self._note(call)

    async def _answer(self, call: Call) -> None:
        self._check_host(call)
        self._check_origin(call)
        route, known = self._find(call.path)
        call.facts["route"] = known
        if route is None:
            raise ApiError(404, f"There is nothing at {call.method} {call.path[:100]}.")
        methods = (route.method, "HEAD") if route.method == "GET" else (route.method,)
        if call.method == "OPTIONS":
            allowed = ", ".join((*methods, "OPTIONS"))
            await call.answer(204, b"", headers=_preflight(allowed, self._headers(call)))
            return
        if call.method not in methods:
            allowed = ", ".join((*methods, "OPTIONS"))
            raise ApiError(405, f"{known} takes {allowed}. Got {call.method}", allow=allowed)
        account = None
        if not route.is_open:
            account = self._service.doorkeeper.account(call.header(b"authorization"))
            if account is not None:
                call.facts["key"] = account.key.name
            if self._service.draining:
                raise ApiError(503, "The server is being stopped.", code="stopping", retry_after=10)
        await route.handler(call, account)

    def _find(self, path: str) -> tuple[Route | None, str]:
        """The endpoint of a path, and what metrics call it."""
        if path in self._routes:
            return self._routes[path], path
        for prefix, route in self._prefixes.items():
            if path.startswith(prefix) and len(path) > len(prefix):
                return route, prefix
        return None, "other"

    def _check_host(self, call: Call) -> None:
        if self._hosts is None:
            return
        name = _name_of_host(call.header(b"host") or "")
        if name in self._hosts or (not self._service.config.is_local and _is_address(name)):
            return
        raise ApiError(
            403,
            f"The server does not go by the name '{name[:100]}'; whoever runs it can allow that "
            "with --allow-host.",
            code="host_not_allowed",
        )

    def _check_origin(self, call: Call) -> None:
        """Refuse pages of other sites, and let those that are allowed read the answer."""
        origin = call.header(b"origin")
        if origin is None:
            return
        if origin in self._origins:
            call.always += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"vary", b"origin"),
                (b"access-control-expose-headers", b"x-request-id, retry-after"),
            ]
        elif (
            _name_of_origin(origin) != (call.header(b"host") or "").lower()
            and _host_of_origin(origin) not in self._given_names
        ):
            raise ApiError(
                403, "Pages of other sites may not use this server; --cors allows one.",
                code="origin_not_allowed",
            )  # fmt: skip

    def _headers(self, call: Call) -> str:
        """What a page may send: all that it asks for where its origin is allowed.

        Clients for browsers send headers of their own, such as ``x-stainless-lang``.
        """
        asked = call.header(b"access-control-request-headers") or ""
        if call.header(b"origin") not in self._origins or len(asked) > _MOST_HEADERS:
            return _USUAL_HEADERS
        names = [name.strip() for name in asked.split(",")]
        return ", ".join(filter(_HEADER_NAME.fullmatch, names)) or _USUAL_HEADERS

    def _note(self, call: Call) -> None:
        """Count the request and log it."""
        route = call.facts.pop("route", "other")
        self._service.metrics.requests.labels(route, str(call.status)).inc()
        quiet = route in _OFTEN_ASKED and call.status == 200
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


def _preflight(allowed: str, headers: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"allow", allowed.encode()),
        (b"access-control-allow-methods", allowed.encode()),
        (b"access-control-allow-headers", headers.encode()),
        (b"access-control-max-age", b"600"),
    ]


def _host_names(service: Service) -> frozenset[str] | None:
    """The names that a request may call the server by; None: any, as a key is needed anyway."""
    config = service.config
    if not config.is_local and service.doorkeeper.ring.required:
        return None
    names = {"localhost", "127.0.0.1", "::1", config.host, *config.allow_host}
    if not config.is_local:
        names |= {socket.gethostname(), socket.getfqdn()}
    return frozenset(name.lower() for name in names)


def _name_of_host(host: str) -> str:
    """``[::1]:8080`` as ``::1``."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.rpartition(":")[0].lower() if ":" in host else host.lower()


def _name_of_origin(origin: str) -> str | None:
    """``http://[::1]:8080`` as ``[::1]:8080``; None: it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


def _host_of_origin(origin: str) -> str | None:
    """``https://my.name:8443`` as ``my.name``; None: it is no web page's."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    whole = parts.scheme in ("http", "https") and "@" not in parts.netloc
    return parts.hostname if whole else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
