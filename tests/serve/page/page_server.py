"""A scripted server of OpenAI's shapes with the chat page, for tests of the page alone."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from linnet.serve.page import HEADERS, START, page_files

CHAT_MODEL = {"id": "wren", "linnet": {"chat": True, "context": 200}}
BASE_MODEL = {"id": "wren-base", "linnet": {"chat": False, "context": 200}}
DOCUMENTS_MODEL = {"id": "manuals", "linnet": {"chat": True, "context": 0, "documents": 12}}


@dataclass
class Answer:
    """What the server does once: by default it says ``pieces`` and how many they were."""

    pieces: tuple[str, ...] = ("Yes", ".")
    thoughts: tuple[str, ...] = ()
    status: int = 200
    error: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0  # before each piece
    hold: threading.Event | None = None  # waited for after the first piece
    cut: bool = False  # close the connection instead of ending
    finish: str = "stop"
    usage: bool = True
    fault: dict[str, Any] | None = None  # an error after the pieces, within the stream
    before: tuple[dict[str, Any], ...] = ()  # Linnet's own pieces, before the text
    after: tuple[dict[str, Any], ...] = ()
    refusal: str = ""


def failing(status: int, message: str, code: str | None = None, **headers: str) -> Answer:
    error = {"message": message, "type": "x", "param": None, "code": code}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, error=error, headers=named)


class Documents:
    """What the server says of documents: by default two that are searchable."""

    def __init__(self) -> None:
        self.status: dict[str, Any] = {
            "steps": [], "working": False, "answers": True, "problem": "", "follows": False,
            "documents": {"searchable": 2, "reading": 0, "unreadable": 0},
            "can_list": True, "can_change": True, "largest_file": 1_000_000,
        }  # fmt: skip
        self.listed: list[dict[str, Any]] = [
            document("notes/birds.md"),
            document("added/owl.txt", is_added=True),
        ]
        self.sources: dict[str, dict[str, Any]] = {}
        self.taken: set[str] = set()
        self.said: list[tuple[str, str, Any]] = []
        """Method, path and body of what was asked, but for the status."""

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes) -> tuple[int, Any]:
        if path == "/status":
            return 200, self.status
        shown = json.loads(body) if method == "POST" else body.decode() or query
        self.said.append((method, path, shown))
        if path == "/source":
            found = self.sources.get(query["source"])
            if found is None:
                return 404, {"error": {"message": "It is gone.", "code": "document_gone"}}
            return 200, found
        if path == "":
            part = query.get("find", "").lower()
            data = [each for each in self.listed if part in each["name"].lower()]
            return 200, {"object": "list", "data": data, "has_more": False}
        name = unquote(path.removeprefix("/files/"))
        if method == "PUT":
            if name in self.taken and query["taken"] == "refuse":
                return 409, {"error": {"message": "There is another.", "code": "name_taken"}}
            self.listed.append(document(f"added/{name}", state="reading", is_added=True))
            return 201, {"name": f"added/{name}"}
        if method == "DELETE":
            self.listed = [each for each in self.listed if each["name"] != name]
            return 200, {"name": name, "deleted_file": True}
        return 200, {"noted": True}


def document(name: str, **more: Any) -> dict[str, Any]:
    """As it is listed."""
    usual = {"kind": "text", "bytes": 12_300, "documents": 1, "state": "searchable", "reason": ""}
    return {"name": name, **usual, "is_added": False, **more}


class Conversations:
    """Conversations as the server keeps them where it was told to (``/v1/conversations``)."""

    def __init__(self) -> None:
        self.stored = "memory"
        self.kept: dict[str, dict[str, Any]] = {}
        self.items: dict[str, list[dict[str, Any]]] = {}
        self.count = 0

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}_{self.count}"

    def add(self, name: str, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        made = []
        for item in items:
            kind = "output_text" if item["role"] == "assistant" else "input_text"
            content = [{"type": kind, "text": item["content"]}]
            made.append({**item, "type": "message", "id": self.name("msg"), "content": content})
        self.items[name] += made
        return made

    def texts(self, name: str) -> list[str]:
        return [item["content"][0]["text"] for item in self.items[name]]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        name, _, rest = path.strip("/").partition("/")
        if name and name not in self.kept:
            return 404, {"error": {"message": "gone", "code": "conversation_not_found"}}
        if method == "DELETE" and rest:
            item = rest.removeprefix("items/")
            self.items[name] = [each for each in self.items[name] if each["id"] != item]
        elif method == "DELETE":
            for each in [name] if name else list(self.kept):
                del self.kept[each], self.items[each]
        elif method == "POST" and rest:
            return 200, self.page(self.add(name, body["items"]))
        elif method == "POST":
            name = name or self.name("conv")
            self.items.setdefault(name, [])
            self.kept[name] = {"id": name, "created_at": 1000, "metadata": body["metadata"]}
            return 200, self.kept[name]
        elif rest:
            return 200, self.page(self.items[name])
        else:
            words = query.get("query", "").lower()
            data = [
                {**each, "linnet": self.about(key)}
                for key, each in self.kept.items()
                if words in json.dumps([each, self.items[key]]).lower()
            ]
            return 200, {**self.page(data), "linnet": {"stored": self.stored, "keep_days": 30}}
        return 200, {"deleted": True}

    def about(self, name: str) -> dict[str, Any]:
        number = len(self.items[name])
        return {"updated_at": 1000 + number, "items": number, "preview": "?"}

    @staticmethod
    def page(data: list[dict[str, Any]]) -> dict[str, Any]:
        return {"data": data, "has_more": False, "last_id": ""}


class FakeServer:
    """Answers with what is in ``script``, in order, then with plain answers."""

    def __init__(self) -> None:
        self.script: deque[Answer] = deque()
        self.models: list[dict[str, Any]] = [CHAT_MODEL, BASE_MODEL]
        self.key: str | None = None
        self.asked: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []
        self.left = threading.Event()  # a client has closed its connection midway
        self.documents = Documents()
        self.conversations = Conversations()
        self.attached: dict[str, bytes] = {}
        self.updated: dict[str, bytes] = {}
        """Files of the page that have other content by now."""
        self.start(0)

    def start(self, port: int) -> None:
        self.open: set[socket.socket] = set()
        handler = type("Handler", (_Handler,), {"fake": self})
        ThreadingHTTPServer.allow_reuse_address = True
        self.http = ThreadingHTTPServer(("127.0.0.1", port), handler)
        self.http.daemon_threads = True
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        for connection in list(self.open):  # those that browsers keep for later
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def messages(self) -> list[tuple[str, str]]:
        """Of the last request."""
        return [(m["role"], m["content"]) for m in self.asked[-1]["messages"]]


class _Handler(BaseHTTPRequestHandler):
    fake: FakeServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # pieces go out at once

    def setup(self) -> None:
        super().setup()
        self.fake.open.add(self.connection)

    def handle(self) -> None:
        with suppress(ConnectionError):  # of a browser that went elsewhere
            super().handle()

    def finish(self) -> None:
        self.fake.open.discard(self.connection)
        with suppress(OSError):
            super().finish()

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            if self._has_key():
                self._json(200, {"object": "list", "data": self.fake.models})
            return
        if self._documents() or self._conversations():
            return
        name = self.path.lstrip("/") or START
        file = page_files().get(name)
        body = self.fake.updated.get(name, file.body if file is not None else b"")
        if file is None:
            self._json(404, {"error": {"message": "no such file"}})
            return
        self.send_response(200)
        for name, value in {**HEADERS, "Content-Type": file.media_type, "ETag": file.tag}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        self._documents()

    def do_DELETE(self) -> None:
        if not self._documents():
            self._conversations()

    def _conversations(self) -> bool:
        """Answer what is asked of conversations, if it is that."""
        address = urlsplit(self.path)
        if not address.path.startswith("/v1/conversations"):
            return False
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
        if self._has_key():
            path = address.path.removeprefix("/v1/conversations")
            query = dict(parse_qsl(address.query))
            self._json(*self.fake.conversations.answer(self.command, path, query, body))
        return True

    def _attachment(self) -> None:
        """What was sent, read as text; a file of which the name says so is refused."""
        name = dict(parse_qsl(urlsplit(self.path).query))["name"]
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.fake.attached[name] = raw
        text = raw.decode("utf-8", "replace")
        if name.endswith(".png"):
            self._json(400, {"error": {"message": f"{name} cannot be read: no text"}})
            return
        left = [{"part": "page 3", "reason": "a picture"}] if name.endswith(".pdf") else []
        read = {"name": name, "kind": "text", "text": text, "characters": len(text)}
        self._json(200, {**read, "left_out": left, "more_left_out": 0})

    def _tokens(self, messages: list[dict[str, Any]]) -> None:
        """As many as there are characters."""
        self._json(200, {"count": sum(len(message["content"]) for message in messages)})

    def _documents(self) -> bool:
        """Answer what is asked of documents, if it is that."""
        address = urlsplit(self.path)
        if not address.path.startswith("/v1/documents"):
            return False
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self._has_key():
            path = address.path.removeprefix("/v1/documents")
            query = dict(parse_qsl(address.query))
            self._json(*self.fake.documents.answer(self.command, path, query, body))
        return True

    def do_POST(self) -> None:
        if self._documents() or self._conversations():
            return
        if self.path.startswith("/v1/linnet/attachments"):
            self._attachment()
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._has_key():
            return
        if self.path == "/tokenize":
            self._tokens(body["messages"])
            return
        self.fake.asked.append(body)
        self.fake.paths.append(self.path)
        answer = self.fake.script.popleft() if self.fake.script else Answer()
        if answer.status != 200:
            self._json(answer.status, {"error": answer.error}, answer.headers)
            return
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self._stream(answer, chat="messages" in body)
        except (BrokenPipeError, ConnectionResetError):
            self.fake.left.set()

    def _stream(self, answer: Answer, *, chat: bool) -> None:
        self.wfile.write(b": keep-alive\r\n\r\n")
        for piece in answer.before:
            self._event([{"index": 0, "delta": {"linnet": [piece]}}])
        if answer.refusal:
            self._event([{"index": 0, "delta": {"refusal": answer.refusal}}])
        for k, (kind, piece) in enumerate(
            [("thought", t) for t in answer.thoughts] + [("text", p) for p in answer.pieces]
        ):
            time.sleep(answer.wait)
            delta = {"reasoning_content": piece} if kind == "thought" else {"content": piece}
            self._event([{"index": 0, "delta": delta} if chat else {"index": 0, "text": piece}])
            if k == 0 and answer.hold is not None:
                self._hold(answer.hold)
        if answer.cut:
            return
        for piece in answer.after:
            self._event([{"index": 0, "delta": {"linnet": [piece]}}])
        if answer.fault:
            self.wfile.write(f"data: {json.dumps({'error': answer.fault})}\n\n".encode())
            return
        end = {
            "index": 0,
            "finish_reason": answer.finish,
            **({"delta": {}} if chat else {"text": ""}),
        }
        self._event([end])
        if answer.usage:
            count = len(answer.pieces) + len(answer.thoughts)
            usage = {"prompt_tokens": 20, "completion_tokens": count, "total_tokens": 20 + count}
            self._event([], usage={**usage, "prompt_tokens_details": {"cached_tokens": 8}})
        self.wfile.write(b"data: [DONE]\n\n")

    def _hold(self, hold: threading.Event) -> None:
        """Wait, and notice when the client goes: then comments cannot be written."""
        while not hold.wait(0.02):
            self.wfile.write(b": still here\n\n")

    def _event(self, choices: list[Any], **more: Any) -> None:
        data = json.dumps({"id": "x", "model": "wren", "choices": choices, **more})
        self.wfile.write(f"data: {data}\n\n".encode())

    def _has_key(self) -> bool:
        given = self.headers["Authorization"]
        self.fake.keys.append(given)
        if self.fake.key is None or given == f"Bearer {self.fake.key}":
            return True
        self._json(
            401, {"error": {"message": "Incorrect API key provided.", "code": "invalid_api_key"}}
        )
        return False

    def _json(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)
