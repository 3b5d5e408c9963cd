"""Servers at an address that answer with bytes as they are told to."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

PATIENCE = 20.0
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
DONE = b"data: [DONE]\n\n"


class Stranger:
    """Answers each request with the next answer, the last one again and again; then it closes the
    connection, or waits. ``pieces``: one answer, sent piece by piece. ``hears``: whether it waits
    for a request at all."""

    def __init__(
        self, *pieces: bytes, answers: Sequence[bytes] = (), waits: bool = False, hears: bool = True
    ) -> None:
        self.answers: list[Sequence[bytes]] = [(answer,) for answer in answers] or [pieces]
        self.waits, self.hears = waits, hears
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.asked, self.left = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if self.hears:
                self._hear(connection)
            with self._lock:
                pieces = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            self.asked.set()
            # Who leaves early may do so before all is sent.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for piece in pieces:
                    connection.sendall(piece)
                if not self.waits:
                    return
                connection.settimeout(PATIENCE)
                connection.recv(1)
            self.left.set()

    def _hear(self, connection: socket.socket) -> None:
        reader = connection.makefile("rb")
        first = reader.readline().decode("latin-1").strip()
        headers = {}
        while line := reader.readline().decode("latin-1").strip():
            name, _, value = line.partition(": ")
            headers[name.lower()] = value
        body = json.loads(reader.read(int(headers["content-length"])))
        self.requests.append((first, headers, body))


@contextlib.contextmanager
def stranger(*pieces: bytes, **settings: Any) -> Iterator[Stranger]:
    made = Stranger(*pieces, **settings)
    try:
        yield made
    finally:
        made.listener.close()


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(finish: str | None = None, /, **values: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "delta": values, "finish_reason": finish}]}


def call(place: int, **function: Any) -> dict[str, Any]:
    return {"index": place, "id": f"c{place}", "type": "function", "function": function}


def usage(prompt: Any, written: Any, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": written, **more}}


def answer(*texts: str, counts: tuple[int, int] | None = (9, 5), finish: str = "stop") -> bytes:
    """A stream of these texts, an event each, as all is well."""
    events = [delta(content=text) for text in texts] + [delta(finish)]
    events += [usage(*counts)] if counts else []
    return HEAD + b"".join(map(event, events)) + DONE


def refusal(status: str, body: bytes = b"") -> bytes:
    """An answer that is an error; ``status``: with its reason, and with headers after it."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
