"""Which pages and names may reach the server, so that a browser is no way in.

* A browser's page elsewhere gets nothing: the ``Origin`` must be the server's own, allowed,
  or go by a name that the server was given (behind a proxy the ``Host`` may be another).
* Where no keys are needed the ``Host`` must be a name of this server, so that a foreign name
  that resolves to this machine (DNS rebinding) does not help.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from linnet.serve.asgi import Call
from linnet.serve.errors import ApiError

if TYPE_CHECKING:
    from linnet.serve.settings import ServeConfig

_USUAL_HEADERS = "authorization, x-api-key, content-type, x-request-id"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_MOST_HEADERS = 2000
"""Characters of the list of headers that a preflight may ask for."""


class OriginPolicy:
    """Checks ``Host`` and ``Origin`` of every request."""

    def __init__(self, config: ServeConfig, *, needs_key: bool) -> None:
        """``needs_key``: whether requests need one anyway."""
        self._is_local = config.is_local
        self._origins = frozenset(config.cors)
        self._given_names = frozenset(name.lower() for name in config.allow_host)
        self._hosts = _host_names(config, needs_key=needs_key)

    def check(self, call: Call) -> None:
        """Raise ApiError (403) for a request of a foreign page, or to a foreign name."""
        self._check_host(call)
        self._check_origin(call)

    async def answer_preflight(self, call: Call, methods: str) -> None:
        """What a browser asks before it sends a page's request."""
        await call.answer(204, b"", headers=_preflight(methods, self._headers(call)))

    def _check_host(self, call: Call) -> None:
        if self._hosts is None:
            return
        name = _name_of_host(call.header(b"host") or "")
        if name in self._hosts or (not self._is_local and _is_address(name)):
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


def _preflight(allowed: str, headers: str) -> list[tuple[bytes, bytes]]:
    return [
        (b"allow", allowed.encode()),
        (b"access-control-allow-methods", allowed.encode()),
        (b"access-control-allow-headers", headers.encode()),
        (b"access-control-max-age", b"600"),
    ]


def _host_names(config: ServeConfig, *, needs_key: bool) -> frozenset[str] | None:
    """The names that a request may call the server by; None: any, as a key is needed anyway."""
    if not config.is_local and needs_key:
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
