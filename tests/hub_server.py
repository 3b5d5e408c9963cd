"""A small server that speaks as much of the Hugging Face hub's interface as Linnet uses.

Paths and headers are those that huggingface_hub asks for: information on a repository
with sizes and hashes, files with ranges, and commits with files stored in Git LFS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = 2000  # bytes; larger files are stored apart, with their hash, as in Git LFS
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Repository:
    """Files by name; ``gated`` ones give nothing."""

    files: dict[str, bytes] = field(default_factory=dict)
    gated: bool = False
    private: bool = False
    commit: str = COMMIT
    branches: tuple[str, ...] = ("main",)


@dataclass
class Hub:
    """The server's state, and what was asked of it."""

    endpoint: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    ignores_ranges: bool = False
    token: str | None = None
    """What must be sent to write."""
    stored: dict[str, bytes] = field(default_factory=dict)
    """Large files that came, by hash."""
    commits: list[dict[str, object]] = field(default_factory=list)

    def asked(self, method: str, part: str = "") -> list[str]:
        return [path for verb, path, _ in self.requests if verb == method and part in path]


def _hashes(data: bytes) -> tuple[str, str]:
    blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    return blob, hashlib.sha256(data).hexdigest()


def _sibling(name: str, data: bytes) -> dict[str, object]:
    blob, digest = _hashes(data)
    found: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": blob}
    if len(data) > LARGE:
        found["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
    return found


def _entry(name: str, data: bytes) -> dict[str, object]:
    blob, digest = _hashes(data)
    found: dict[str, object] = {"type": "file", "path": name, "size": len(data), "oid": blob}
    if len(data) > LARGE:
        found["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 130}
    return found


def _information(name: str, repository: Repository) -> dict[str, object]:
    return {
        "id": name,
        "sha": repository.commit,
        "private": repository.private,
        "siblings": [_sibling(*item) for item in repository.files.items()],
    }


class _Handler(BaseHTTPRequestHandler):
    """One request to the hub of the server."""

    protocol_version = "HTTP/1.1"

    @property
    def hub(self) -> Hub:
        assert isinstance(self.server, _Server)
        return self.server.hub

    def log_message(self, *args: object) -> None:
        pass

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _note(self) -> str:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path, dict(self.headers)))
        return path

    def _send(self, status: int, body: bytes = b"", **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), Content_Type="application/json")

    def _repository(self, name: str, revision: str) -> Repository | None:
        found = self.hub.repositories.get(name)
        if found is None:
            self._send(401, X_Error_Code="RepoNotFound")
        elif revision not in (*found.branches, found.commit):
            self._send(404, X_Error_Code="RevisionNotFound")
        else:
            return found
        return None

    def do_GET(self) -> None:
        path = self._note()
        if found := re.fullmatch(r"/api/models/(.+?)/tree/(.+)", path):
            repository = self._repository(found[1], found[2])
            if repository is not None:
                self._json([_entry(*item) for item in repository.files.items()])
        elif found := re.fullmatch(r"/api/models/(.+?)(?:/revision/(.+))?", path):
            repository = self._repository(found[1], found[2] or "main")
            if repository is not None:
                self._json(_information(found[1], repository))
        elif found := re.fullmatch(r"/(.+?)/resolve/([^/]+)/(.+)", path):
            self._file(*found.groups())
        else:
            self._send(404)

    do_HEAD = do_GET

    def _file(self, name: str, revision: str, file: str) -> None:
        repository = self._repository(name, revision)
        if repository is None:
            return
        if repository.gated:
            self._send(403, X_Error_Code="GatedRepo")
            return
        data = repository.files.get(file)
        if data is None:
            self._send(404, X_Error_Code="EntryNotFound", X_Repo_Commit=repository.commit)
            return
        blob, digest = _hashes(data)
        tag = f'"{digest if len(data) > LARGE else blob}"'
        headers = {"ETag": tag, "X_Repo_Commit": repository.commit, "Accept_Ranges": "bytes"}
        if len(data) > LARGE:
            headers |= {"X_Linked_ETag": tag, "X_Linked_Size": str(len(data))}
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if wanted and not self.hub.ignores_ranges:
            start = int(wanted[1])
            part = f"bytes {start}-{len(data) - 1}/{len(data)}"
            self._send(206, data[start:], Content_Range=part, **headers)
        else:
            self._send(200, data, Content_Length=len(data), **headers)

    def _may_write(self) -> bool:
        allowed = self.headers.get("Authorization") == f"Bearer {self.hub.token}"
        if not allowed:
            self._json({"error": "no"}, 401)
        return allowed

    def do_POST(self) -> None:
        path, body = self._note(), self._body()
        if not self._may_write():
            return
        if path == "/api/repos/create":
            self._create(json.loads(body))
        elif found := re.fullmatch(r"/api/models/(.+)/branch/(.+)", path):
            self.hub.repositories[found[1]].branches += (found[2],)
            self._json({})
        elif "/preupload/" in path:
            self._say_how_to_upload(json.loads(body)["files"])
        elif path.endswith("/info/lfs/objects/batch"):
            self._say_where_to_store(json.loads(body)["objects"])
        elif found := re.fullmatch(r"/api/models/(.+)/commit/([^/]+)", path):
            self._commit(found[1], found[2], body)
        else:
            self._json({})

    def _create(self, asked: dict[str, Any]) -> None:
        name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
        if name in self.hub.repositories:
            self._json({"error": "there", "url": f"{self.hub.endpoint}/{name}"}, 409)
            return
        private = asked.get("visibility") == "private" or bool(asked.get("private"))
        self.hub.repositories[name] = Repository(private=private)
        self._json({"url": f"{self.hub.endpoint}/{name}", "name": name, "id": "1"})

    def _say_how_to_upload(self, files: list[dict[str, Any]]) -> None:
        modes = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["size"] > LARGE else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in files
        ]
        self._json({"files": modes})

    def _say_where_to_store(self, asked: list[dict[str, Any]]) -> None:
        objects = [
            {
                **entry,
                "actions": {"upload": {"href": f"{self.hub.endpoint}/store/{entry['oid']}"}},
            }
            for entry in asked
        ]
        self._json({"transfer": "basic", "objects": objects})

    def do_PUT(self) -> None:
        path, body = self._note(), self._body()
        self.hub.stored[path.removeprefix("/store/")] = body
        self._send(200)

    def _commit(self, name: str, branch: str, body: bytes) -> None:
        repository = self.hub.repositories[name]
        for line in body.decode().splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                self.hub.commits.append({"repository": name, "branch": branch, **value})
            elif entry["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                repository.files[value["path"]] = self.hub.stored[value["oid"]]
        self._json(
            {
                "commitUrl": f"{self.hub.endpoint}/{name}/commit/{COMMIT}",
                "commitOid": COMMIT,
                "success": True,
                "hookOutput": "",
            }
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub on a port of this machine."""
    hub = Hub()
    server = _Server(hub)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
