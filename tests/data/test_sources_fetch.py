"""Single pages and files from the web, from a server on this machine."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from linnet.data.fetch import fetch, named
from linnet.data.files import scan
from linnet.data.survey import survey
from linnet.errors import DataError
from linnet.version import __version__

PAGE = "<html><p>Grüße aus dem Moor, wo Farne und Moose wachsen.</p></html>"


class _Server(BaseHTTPRequestHandler):
    requests: list[tuple[str, str]]  # path and user agent

    def do_GET(self) -> None:
        self.requests.append((self.path, self.headers["User-Agent"]))
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            self._send(302, b"", Location=path.removeprefix("/to/"))
        elif path == "/loop":
            self._send(302, b"", Location="/loop")
        elif path == "/page.php":
            self._send(200, PAGE.encode("latin-1"), **{"Content-Type": "text/html; charset=Latin1"})
        elif path == "/packed":
            head = {"Content-Encoding": "gzip", "Content-Type": "text/plain"}
            self._send(200, gzip.compress(bytes(3_000_000)), **head)
        elif path == "/notes.md":
            self._send(200, b"# Notes\n", **{"Content-Type": "text/plain"})
        elif path == "/paper/2106.09685":
            self._send(200, b"%PDF-1.4", **{"Content-Type": "application/pdf"})
        elif path == "/broken":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
        elif path == "/endless":
            self.send_response(200)
            self.end_headers()
            self._drip(b"x" * 100_000, 0.0)
        elif path == "/silent":
            time.sleep(1.0)
        elif path == "/slow":
            self.send_response(200)
            self.end_headers()
            self._drip(b"x", 0.02)
        else:
            self._send(404, b"")

    def _send(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drip(self, chunk: bytes, pause: float) -> None:
        try:
            for _ in range(1000):
                self.wfile.write(chunk)
                time.sleep(pause)
        except OSError:  # the client had enough
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadingHTTPServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    _Server.requests = []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def host(server: ThreadingHTTPServer) -> str:
    return f"127.0.0.1:{server.server_port}"


def test_a_page_is_fetched_once_and_kept(host: str, tmp_path: Path) -> None:
    url = f"http://{host}/to//page.php?id=3#part"
    place = fetch(url, tmp_path / "cache")
    assert place.name == "page.php.html"
    assert place.read_text("utf-8-sig") == PAGE  # the server alone knew that it was Latin-1
    assert _Server.requests[0] == ("/to//page.php?id=3", f"linnet/{__version__}")
    asked = len(_Server.requests)
    assert fetch(url, tmp_path / "cache") == place
    assert len(_Server.requests) == asked
    fetch(url, tmp_path / "cache", refresh=True)
    assert len(_Server.requests) == 2 * asked
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()] == [
        place.parent.name
    ]


def test_the_suffix_is_that_of_what_came(host: str, tmp_path: Path) -> None:
    names = ("notes.md", "paper/2106.09685", "packed")
    fetched = [fetch(f"http://{host}/{name}", tmp_path).name for name in names]
    assert fetched == ["notes.md", "2106.09685.pdf", "packed.txt"]


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("nothing", {}, "answered 404"),
        ("loop", {}, "redirect"),
        ("to/file:///etc/passwd", {}, "not allowed"),
        ("to/ftp://127.0.0.1/x", {}, "only http and https"),
        ("packed", {"limit": 1_000_000}, "larger than 1,000,000 bytes"),
        ("endless", {"limit": 1_000_000}, "larger than 1,000,000 bytes"),
        ("broken", {}, "broke off after 4 of 1000 bytes"),
        ("silent", {"timeout": 0.2}, "no answer"),
        ("slow", {"deadline": 0.3}, "took too long"),
    ],
)
def test_what_cannot_be_fetched_is_said(
    path: str, options: dict[str, float], message: str, host: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        fetch(f"http://{host}/{path}", tmp_path / "cache", **options)
    assert "\n" not in str(caught.value)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["CACHEDIR.TAG"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("http://user:secret@example.org/", "password"),
        ("http:///nohost", "names no host"),
        ("http://[::1/x", "not a valid URL"),
        ("http://example.org:99999/", "not a valid URL"),
        ("http://127.0.0.1:1/", "refused"),
    ],
)
def test_urls_that_cannot_work_are_refused(
    url: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(DataError, match=message) as caught:
        fetch(url, tmp_path)
    assert "secret" not in str(caught.value)


def test_a_source_from_the_web_is_named_after_its_host(host: str, tmp_path: Path) -> None:
    page, notes = f"http://{host}/page.php", f"http://{host}/notes.md"
    found = scan([page, notes], cache=tmp_path / "cache")
    assert [(file.name, file.group, file.kind) for file in found.files] == [
        (f"{host}/notes.md", "notes.md", "markdown"),
        (f"{host}/page.php", "page.php", "html"),
    ]
    assert named("https://www.example.org/a%20b/?q=ü") == ("www.example.org", "a b/index?q=%C3%BC")


def test_a_survey_keeps_what_it_fetched_beside_the_corpus(host: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    sources = [f"http://{host}/notes.md", tmp_path]
    first = survey(sources, corpus=tmp_path / "corpus")
    second = survey(sources, corpus=tmp_path / "corpus")
    assert len(_Server.requests) == 1
    assert first.fingerprint == second.fingerprint
    names = [f"{host}/notes.md", f"{tmp_path.name}/a.txt"]  # and not once more from the cache
    assert [file.name for file in second.scan.files] == names
    assert (tmp_path / "corpus.sources").is_dir()
    assert [f.name for f in scan([tmp_path]).files] == names[1:]
    with pytest.raises(DataError, match="no place to keep"):
        survey(sources)
