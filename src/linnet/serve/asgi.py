"""One HTTP exchange as handlers see it: a thin layer over ASGI.

Reference: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl

from linnet.respond.context import Record
from linnet.respond.pieces import new_id
from linnet.serve.errors import ApiError

if TYPE_CHECKING:
    from linnet.serve.catalog import Served
    from linnet.serve.limits import Account, ByteBudget
    from linnet.serve.pool import Lease
    from linnet.serve.shapes import Framing

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = Iterable[tuple[bytes, bytes]]

JSON = b"application/json"
BODY_SECONDS = 30.0
"""A body that takes longer to arrive is not waited for; of a streamed one, its next piece."""
_MOST_PARAMETERS = 20

_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.-]{1,64}", re.ASCII)


class ClientLeftError(Exception):
    """The other side closed the connection: nobody is left to answer."""


class Call:
    """A request, and the way to answer it.

    By the time that an endpoint has it, whose request it is is known (``account``), and, where the
    endpoint declares a body, that is read and checked (``body``) and its model found (``model``).
    """

    account: Account | None = None
    body: Mapping[str, Any]
    size: int = 0
    """Bytes of the body."""
    model: Served
    parameters: Mapping[str, str] = MappingProxyType({})
    """The variable parts of the path."""
    label: str = "other"
    """What metrics call the path."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._query: bytes = scope.get("query_string", b"")
        self._receive, self._send = receive, send
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        given = self._headers.get(b"x-request-id", b"")
        own = new_id("req_")
        self.id = given.decode() if _REQUEST_ID.fullmatch(given) else own
        self.always: list[tuple[bytes, bytes]] = [(b"x-request-id", self.id.encode())]
        """Headers of every answer."""
        self.arrived = time.monotonic()
        self.status = 0
        """Of the answer, once it has begun."""
        self.framing: Framing | None = None
        """Of a stream that was begun before its answer."""
        self.ended = False
        """Whether all of the answer was sent."""
        self.in_log = False
        """Whether the log of calls has a line of it."""
        self._budget: ByteBudget | None = None
        self._held = 0
        self._lease: Lease | None = None
        self.record = Record(self.id)
        self.facts = self.record.facts
        """What is to be logged of it."""

    def header(self, name: bytes) -> str | None:
        """A header by its name in lower case."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def credentials(self) -> str | None:
        """The key that is presented, as OpenAI's, Anthropic's or Azure's clients send theirs."""
        scheme, _, presented = (self.header(b"authorization") or "").partition(" ")
        if scheme.lower() == "bearer" and presented.strip():
            return presented.strip()
        return self.header(b"x-api-key") or self.header(b"api-key")

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters behind the path's question mark. Raises ApiError for what is none."""
        try:
            pairs = parse_qsl(
                self._query.decode("ascii"), keep_blank_values=True, errors="strict",
                max_num_fields=_MOST_PARAMETERS,
            )  # fmt: skip
        except ValueError:
            raise ApiError(400, "The address must have NAME=VALUE pairs in UTF-8.") from None
        return dict(pairs)

    async def chunks(self, limit: int) -> AsyncIterator[bytes]:
        """The body piece by piece, so that none of it is kept here.

        Raises ApiError for one of more than ``limit`` bytes, or too slow.
        """
        length = self.header(b"content-length") or ""
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        more = True
        while more:
            try:
                async with asyncio.timeout(BODY_SECONDS):
                    message = await self._receive()
            except TimeoutError:
                raise ApiError(
                    408, f"No more of the body arrived within {BODY_SECONDS:.0f} seconds."
                ) from None
            if message["type"] == "http.disconnect":
                raise ClientLeftError
            piece = message.get("body", b"")
            more = message.get("more_body", False)
            self.size += len(piece)
            if self.size > limit:
                raise _too_large(limit)
            yield piece

    async def read(self, limit: int, budget: ByteBudget) -> bytes:
        """The whole body, which counts against the budget until :meth:`end`.

        Raises ApiError for one of more than ``limit`` bytes, too slow, or that is too much now.
        """
        length = self.header(b"content-length") or ""
        if length.isdecimal() and int(length) > limit:
            raise _too_large(limit)
        self._budget = budget
        pieces, size, more = [], 0, True
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeftError
                    pieces.append(message.get("body", b""))
                    more = message.get("more_body", False)
                    size += len(pieces[-1])
                    if size > limit:
                        raise _too_large(limit)
                    budget.take(len(pieces[-1]))
                    self._held += len(pieces[-1])
        except TimeoutError:
            raise ApiError(
                408, f"The request's body did not arrive within {BODY_SECONDS:.0f} seconds."
            ) from None
        self.size = size
        return b"".join(pieces)

    def use(self, lease: Lease | None) -> None:
        """Have the model of a lease; an earlier one is released."""
        if self._lease is not None:
            self._lease.release()
        self._lease = lease
        if lease is not None:
            self.model = lease.model
            self.facts["model"] = lease.model.name

    def end(self) -> None:
        """The request is over, and its body and model not needed any more."""
        self.use(None)
        if self._budget is not None:
            self._budget.give_back(self._held)
        self._held = 0

    async def gone(self) -> None:
        """Wait until the other side closes the connection; only after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def begin(self, status: int, content_type: bytes, headers: Headers = ()) -> None:
        """Send status and headers."""
        self.status = status
        every = [(b"content-type", content_type), *self.always, *headers]
        await self._send({"type": "http.response.start", "status": status, "headers": every})

    async def send(self, data: bytes, *, more: bool = True) -> None:
        """Send a piece of the answer; it waits while the other side reads too slowly."""
        self.ended = not more
        await self._send({"type": "http.response.body", "body": data, "more_body": more})

    async def answer(
        self, status: int, body: bytes, *, content_type: bytes = JSON, headers: Headers = ()
    ) -> None:
        """Send a whole answer."""
        length = (b"content-length", str(len(body)).encode())
        await self.begin(status, content_type, (length, *headers))
        await self.send(body, more=False)

    async def refuse(self, error: ApiError, body: bytes | None = None) -> None:
        """Answer with an error; ``body``: in another form than OpenAI's."""
        body = error.body() if body is None else body
        await self.answer(error.status, body, headers=error.headers())


def _too_large(limit: int) -> ApiError:
    return ApiError(413, f"The request's body must have at most {limit:,} bytes.")
