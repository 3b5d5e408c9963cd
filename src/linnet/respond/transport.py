"""HTTP/1.1 to a model at an address: where it is, the key, one request, and what comes back.

Nothing is sent anywhere unless somebody gives an address. What comes back is a stranger's: sizes
and times are bounded, and what is wrong ends the request with a :class:`RemoteError` in one line.

Reference: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import ssl
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from linnet.config import parse_json
from linnet.errors import ConfigError, ModelError
from linnet.respond.pieces import Place

CONNECT_SECONDS = 10.0
HEAD_BYTES = 64 << 10
EVENT_BYTES = 1 << 20
ANSWER_BYTES = 64 << 20
REFUSAL_BYTES = 16 << 10
_READ = 1 << 16


class RemoteError(ModelError):
    """The model at an address gave no answer, or none that can be read.

    ``status``: of its HTTP answer, where there was one.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Address:
    """Where a model is reached, such as ``https://api.example.com/v1``."""

    url: str
    scheme: str
    host: str
    port: int
    path: str
    place: Place

    @classmethod
    def parse(cls, url: str) -> Address:
        """Raises ConfigError for anything but an address of HTTP."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ConfigError(
                f"{url}: expected an address such as http://host/v1 ({error})"
            ) from None
        host = parts.hostname
        if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
            raise ConfigError(f"expected an address such as http://127.0.0.1:8080/v1. Got '{url}'")
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                f"{host}: an address holds no key; it is read from the environment or a file"
            )
        if not (host.isascii() and host.isprintable() and " " not in host + parts.path):
            raise ConfigError(f"expected an address such as http://127.0.0.1:8080/v1. Got {url!r}")
        usual = 443 if parts.scheme == "https" else 80
        path = parts.path.rstrip("/")
        return cls(url, parts.scheme, host, port or usual, path, place_of(host))

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return f"{self.host}:{self.port}"


def place_of(host: str) -> Place:
    """Where a host is. A name that says nothing of this is elsewhere, whatever it resolves to."""
    if host == "localhost":
        return "here"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "network" if host.endswith((".local", ".lan", ".internal")) else "elsewhere"
    if address.is_loopback:
        return "here"
    return "network" if address.is_private else "elsewhere"


def read_key(*, variable: str | None = None, file: Path | None = None) -> str | None:
    """The key for an address: of an environment variable, or of a file that only its owner reads.

    Raises ConfigError where it is not there, or others may read the file.
    """
    if variable is not None:
        key = os.environ.get(variable, "").strip()
        if not key:
            raise ConfigError(f"the environment variable {variable} must hold a key. It is empty")
        return _checked(key, variable)
    if file is None:
        return None
    try:
        with file.open("rb") as opened:
            found = os.fstat(opened.fileno())
            if sys.platform != "win32" and stat.S_IMODE(found.st_mode) & 0o077:
                raise ConfigError(
                    f"{file}: others may read this key; make it yours alone with chmod 600"
                )
            return _checked(opened.read(4096).decode("utf-8").strip(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: expected a file with a key ({error})") from None


def _checked(key: str, where: str) -> str:
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"{where}: expected a key of printable characters without spaces")
    return key


class Exchange:
    """One request over a connection of its own, and what comes back."""

    def __init__(self, address: Address) -> None:
        self.status: int | None = None
        self.is_json = False
        self._address = address
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._body: list[bytes] = []
        self._head = self._received = 0
        self._ended = self._in_body = False
        import httptools

        self._parser = httptools.HttpResponseParser(self)
        self._broken: type[Exception] = httptools.HttpParserError

    async def send(self, body: bytes, key: str | None) -> None:
        """Connect, and send the request."""
        where = self._address
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self._reader, self._writer = await asyncio.open_connection(
                    where.host,
                    where.port,
                    ssl=ssl.create_default_context() if where.scheme == "https" else None,
                )
        except TimeoutError:
            raise RemoteError(
                f"{where.name}: no connection within {CONNECT_SECONDS:.0f} seconds"
            ) from None
        except (OSError, ssl.SSLError, UnicodeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RemoteError(f"{where.name}: cannot be reached ({reason})") from None
        host = f"[{where.host}]" if ":" in where.host else where.host
        lines = [
            f"POST {where.path}/chat/completions HTTP/1.1",
            f"Host: {host}:{where.port}",
            "Content-Type: application/json",
            "Accept: text/event-stream, application/json",
            "Accept-Encoding: identity",
            "Connection: close",
            f"Content-Length: {len(body)}",
        ]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        self._writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)

    async def read(self, seconds: float) -> bytes:
        """More of the answer's body; nothing at its end."""
        assert self._reader is not None
        name = self._address.name
        try:
            async with asyncio.timeout(seconds):
                while not self._body and not self._ended:
                    data = await self._reader.read(_READ)
                    if not data:
                        if not self._in_body:
                            raise RemoteError(
                                f"{name}: the connection was closed without an answer"
                            )
                        self._ended = True
                        break
                    self._parser.feed_data(data)
                    if not self._in_body:
                        self._head += len(data)
                        if self._head > HEAD_BYTES:
                            raise RemoteError(f"{name}: the head of the answer does not end")
        except TimeoutError:
            raise RemoteError(f"{name}: nothing came for {seconds:.0f} seconds") from None
        except (OSError, ssl.SSLError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RemoteError(f"{name}: the connection broke off ({reason})") from None
        except self._broken as error:
            raise RemoteError(f"{name}: expected an answer by HTTP, but {error}") from None
        found, self._body = b"".join(self._body), []
        self._received += len(found)
        if self._received > ANSWER_BYTES:
            raise RemoteError(f"{name}: an answer has at most {ANSWER_BYTES:,} bytes. Got more")
        return found

    async def refusal(self, data: bytes) -> RemoteError:
        """What an answer that is an error says, in one line."""
        with contextlib.suppress(RemoteError):
            while len(data) < REFUSAL_BYTES and (more := await self.read(5.0)):
                data += more
        said = ""
        with contextlib.suppress(ValueError, AttributeError, RemoteError):
            error = json_object(data[:REFUSAL_BYTES], "").get("error")
            said = str(error.get("message") if isinstance(error, Mapping) else error or "")
        said = " ".join("".join(c if c.isprintable() else " " for c in said).split())[:300]
        status = self.status
        return RemoteError(
            f"{self._address.name} answers with status {status}{': ' * bool(said)}{said}",
            status=status,
        )

    def abort(self) -> None:
        """Close the connection now; in the loop."""
        if self._writer is not None:
            self._writer.transport.abort()

    def abort_soon(self) -> None:
        """The same from any thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.abort)

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if name.lower() == b"content-type":
            self.is_json = value.partition(b";")[0].strip().lower() == b"application/json"

    def on_headers_complete(self) -> None:
        """The body is next."""
        self.status = self._parser.get_status_code()
        self._in_body = self.status >= 200  # before it there may be others, such as 100
        if not self._in_body:
            self.status = None

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Its end."""
        self._ended = self._ended or self._in_body


class EventParser:
    """Server-sent events, of which only ``data`` means anything here."""

    def __init__(self, name: str) -> None:
        self.done = False
        self._name = name
        self._rest = b""
        self._data: list[bytes] = []

    def push(self, data: bytes) -> list[Mapping[str, Any]]:
        """The events that are complete now."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        found = []
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                whole, self._data = b"\n".join(self._data), []
                if whole.strip() == b"[DONE]":
                    self.done = True
                    break
                found.append(json_object(whole, self._name))
        if len(self._rest) + sum(map(len, self._data)) > EVENT_BYTES:
            raise RemoteError(f"{self._name}: an event has at most {EVENT_BYTES:,} bytes. Got more")
        return found


def json_object(data: bytes, name: str) -> Mapping[str, Any]:
    """An object of JSON out of what ``name`` sent. Raises RemoteError."""
    try:
        found = parse_json(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RemoteError(f"{name}: expected JSON, but {reason}") from None
    if not isinstance(found, Mapping):
        raise RemoteError(f"{name}: expected a JSON object. Got {type(found).__name__}")
    return found
