"""Hubs that lie about sizes, answer without end, or name files that are none."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from case import Case

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WEIGHTS = b"weights!" * 100
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
TOKEN = "hf_" + "secret"
LINE = r"(org/\w+|http\S+)(@\w+)?: "


def _file(name: Any = "model.safetensors", **changes: Any) -> dict[str, Any]:
    lfs = {"sha256": DIGEST, "size": len(WEIGHTS), "pointerSize": 130}
    return {"rfilename": name, "size": len(WEIGHTS), "lfs": lfs, **changes}


def _config() -> dict[str, Any]:
    blob = hashlib.sha1(b"blob 2\0{}").hexdigest()
    return {"rfilename": "config.json", "size": 2, "blobId": blob}


FILES: dict[str, list[Any]] = {
    "backslash": [_file("additional_chat_templates/..\\a.jinja"), _file()],
    "backslashes": [_file("model-..\\..\\x-of-2.safetensors"), _file()],
    "colon": [_file("LICENSE:x"), _file()],
    "zero": [_file("LICENSE\0"), _file()],
    "nameless": [_file(None), 5, {}],
    "unsized": [_file(size=None)],
    "negative": [_file(size=-1)],
    "text": [_file(size="718")],
    "huge": [_file(size=2**60)],
    "unhashed": [_file(lfs=None)],
    "hash": [_file(lfs={"sha256": "../../x", "size": 1})],
    "short": [_file(size=100)],
    "endless": [_config(), _file()],
    "damaged": [_config(), _file(lfs={"sha256": "0" * 64, "size": len(WEIGHTS)})],
    "away": [_config(), _file()],
}
ANSWERS: dict[str, bytes] = {
    "deep": b"[" * 100_000,
    "number": b"5",
    "list": b"[]",
    "nothing": b"{}",
    "commit": b'{"sha": "../../etc", "siblings": []}',
    "siblings": b'{"sha": "%s", "siblings": 5}' % COMMIT.encode(),
    "page": b"<html>",
}


class Hubs:
    """What the server was asked, by the host it was asked as."""

    def __init__(self) -> None:
        self.endpoint = ""
        self.elsewhere = ""
        self.tokens: dict[str, set[str]] = {}


@contextmanager
def serving() -> Iterator[Hubs]:
    """Both servers: the hub, and another host to which it sends for one repository."""
    hubs = Hubs()
    servers = [ThreadingHTTPServer(("127.0.0.1", 0), _handler(hubs)) for _ in range(2)]
    hubs.endpoint, hubs.elsewhere = (f"http://127.0.0.1:{s.server_port}" for s in servers)
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        for server in servers
    ]
    for server, thread in zip(servers, threads, strict=True):
        server.daemon_threads = True
        thread.start()
    try:
        yield hubs
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(hubs: Hubs) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            host = f"http://{self.headers['Host']}"
            hubs.tokens.setdefault(host, set()).add(self.headers.get("Authorization", ""))
            name = self.path.split("/org/")[1].split("/")[0]
            try:
                if self.path.startswith("/api/"):
                    self._answer(name)
                else:
                    self._file(name, host)
            except (BrokenPipeError, ConnectionResetError):
                pass

        def _answer(self, name: str) -> None:
            if name == "infinite":
                self._endless(200, b'{"a": "', b"x" * 65_536)
            elif name == "refusing":
                self._endless(404, b"", b"x" * 65_536)
            else:
                listing = {"sha": COMMIT, "siblings": FILES.get(name, [])}
                self._send(ANSWERS.get(name, json.dumps(listing).encode()))

        def _file(self, name: str, host: str) -> None:
            if self.path.endswith("config.json"):
                self._send(b"{}")
            elif name == "endless":
                self._endless(200, WEIGHTS, b"x" * 65_536)
            elif name == "away" and host == hubs.endpoint:
                self.send_response(302)
                self.send_header("Location", hubs.elsewhere + self.path)
                self.end_headers()
            else:
                self._send(WEIGHTS)

        def _send(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _endless(self, status: int, start: bytes, more: bytes) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(start)
            while True:
                self.wfile.write(more)

    return Handler


LINES = {
    "backslash": r"org/backslash: the hub names a file that can be none here",
    "short": r"org/short: the hub sends more of model\.safetensors than the 100 bytes",
    "endless": r"org/endless: the hub sends more of model\.safetensors than the 800 bytes",
    "infinite": r"http\S+: the hub's answer does not end",
    "damaged": r"org/damaged: model\.safetensors came damaged",
    "away": "",
}
CASES = [
    Case(
        f"hub: {name}",
        lambda place: None,
        ("pull", f"org/{name}", "--out", "DIR/out"),
        LINES.get(name, LINE),
        environment=(("HF_ENDPOINT", "HUB"), ("HF_HUB_CACHE", "DIR/cache"), ("HF_TOKEN", TOKEN)),
        memory=1_500 << 20,
        quick=name in ("backslash", "endless", "away"),
    )
    for name in (*FILES, *ANSWERS, "infinite", "refusing")
]
