"""HTTP as uvicorn reads it, with bounds on what comes before a request's body.

uvicorn's reader keeps headers of any size and waits for them without end. Here a head has
so many bytes and seconds, and so have a body's trailers and what surrounds its chunks.
Nothing of it needs a key, as none has been seen yet.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 << 10
"""The most that request line and headers may have together; also trailers of a body."""
HEAD_SECONDS = 15.0
"""How long they may take to arrive, from the connection or from their first byte on."""
_CHUNK_BYTES = 16
"""What each byte of a body may have around it, as a chunk of its own at worst."""

_ANSWER = (
    b"HTTP/1.1 %d %s\r\nconnection: close\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%s"
)


class BoundedProtocol(HttpToolsProtocol):  # type: ignore[misc]
    """One connection."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._in_head = True
        self._begun = False
        self._head = 0
        """Bytes of the head so far, or around the body."""
        self._body = 0
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there; its request has to come."""
        super().connection_made(cast("asyncio.Transport", transport))
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It left."""
        self._cancel_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More of a request, or of several."""
        self._head += len(data)
        super().data_received(data)
        if self._in_head and self._begun and self._deadline is None:
            self._expect_head()
        if self._head - _CHUNK_BYTES * self._body > HEAD_BYTES:
            self._refuse(431, f"A request's head must have at most {HEAD_BYTES:,} bytes.")

    def on_message_begin(self) -> None:
        """The first byte of a head is there."""
        self._begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The body is next."""
        self._in_head = self._begun = False
        self._cancel_deadline()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Another head may follow."""
        self._in_head = True
        self._head = self._body = 0
        super().on_message_complete()

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._late)

    def _late(self) -> None:
        self._deadline = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._expect_head()  # what follows an answer under way has until after it
            return
        self._refuse(408, f"A request's head must arrive within {HEAD_SECONDS:.0f} seconds.")

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, status: int, message: str) -> None:
        """Say so, unless an answer is under way, and close the connection."""
        self._cancel_deadline()
        if self.transport is None or self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            phrase = {408: b"Request Timeout", 431: b"Request Header Fields Too Large"}[status]
            error = (
                f'{{"error": {{"message": "{message}", "type": "invalid_request_error", '
                '"param": null, "code": null}}'
            ).encode()
            self.transport.write(_ANSWER % (status, phrase, len(error), error))
        self.transport.close()
