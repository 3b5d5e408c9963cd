"""A model at an address that keeps what it is sent, and answers as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

Answer = Callable[[dict[str, Any]], Sequence[dict[str, Any]]]
"""The deltas of an answer to a request."""


def said(text: str, *, size: int = 7) -> list[dict[str, Any]]:
    """A text as deltas of so many characters."""
    return [{"content": text[at : at + size]} for at in range(0, len(text), size)]


class Recording:
    """What an address was sent, byte for byte."""

    def __init__(self, answer: Answer) -> None:
        self.bodies: list[bytes] = []
        self.url = ""
        self._answer = answer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = next(
                int(line.split(":")[1])
                for line in head.splitlines()
                if line.lower().startswith("content-length")
            )
            body = await reader.readexactly(length)
            self.bodies.append(head.encode() + body)
            events = [
                {"model": "far", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
                for delta in self._answer(json.loads(body))
            ]
            last: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "stop"}
            events.append({"model": "far", "choices": [last]})
            lines = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
                + lines + b"data: [DONE]\n\n"
            )  # fmt: skip
            await writer.drain()
            writer.close()
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def recording(answer: Answer = lambda body: said("Yes.")) -> AsyncIterator[Recording]:
    """On a free port, in the event loop of whoever asks."""
    made = Recording(answer)
    server = await asyncio.start_server(made._serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield made
    finally:
        server.close()
        await server.wait_closed()
