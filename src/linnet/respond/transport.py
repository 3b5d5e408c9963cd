"""HTTP/1.1 to a model at an address: one request, and what comes back.

Nothing is sent anywhere unless somebody gives an address. What comes back is a stranger's: sizes
and times are bounded, and what is wrong ends the request with a :class:`RemoteError` in one line.

Reference: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import functools
import math
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from linnet.config import parse_json
from linnet.respond.address import ENDPOINT, Address, is_within
from linnet.respond.conversation import ConversationError
from linnet.respond.remote_errors import REPEATABLE, SPENT, Complaint, RemoteError, printable

HEAD_BYTES = 64 << 10
EVENT_BYTES = 1 << 20
ANSWER_BYTES = 64 << 20
REFUSAL_BYTES = 16 << 10
REFUSAL_SECONDS = 5.0
_READ = 1 << 16
_TELLING = 16  # bytes that tell a protocol
_HEADERS = frozenset(
    (b"content-type", b"content-encoding", b"location", b"retry-after", b"retry-after-ms",
     b"x-should-retry")
)  # fmt: skip


@dataclass(frozen=True)
class Timeouts:
    """How long an address may take, in seconds."""

    connect: float = 10.0
    first: float = 120.0
    """Until the first byte of an answer: the other side may have a queue."""
    silence: float = 60.0
    """Between two pieces of an answer."""
    answer: float = 600.0
    """From the beginning of an answer to its end, however it drips."""


class Exchange:
    """One request over a connection of its own, and what comes back."""

    def __init__(self, address: Address, timeouts: Timeouts | None = None) -> None:
        self.status: int | None = None
        self.sent = False
        """Whether the other side may have the request."""
        self.address = address
        self._timeouts = timeouts or Timeouts()
        self._until = time.monotonic() + self._timeouts.answer
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._first = b""
        self._head = self._received = 0
        self._ended = self._in_body = False
        import httptools

        self._parser = httptools.HttpResponseParser(self)
        self._broken: type[Exception] = httptools.HttpParserError

    async def send(self, body: bytes, key: str | None) -> None:
        """Connect, and send the request."""
        where = self.address
        seconds = self._timeouts.connect
        secure = trusted() if where.scheme == "https" else None
        try:
            async with asyncio.timeout(seconds):
                self._reader, self._writer = await asyncio.open_connection(
                    where.host, where.port, ssl=secure
                )
        except TimeoutError:
            raise RemoteError(
                f"{where.name}: no connection within {seconds:.0f} seconds",
                code="unreachable", repeatable=True,
            ) from None  # fmt: skip
        except ssl.SSLError as error:
            raise RemoteError(
                f"{where.name}: no encrypted connection ({_tls_reason(error)})", code="protocol"
            ) from None
        except (OSError, UnicodeError) as error:
            hint = (
                "; does it speak TLS?" if isinstance(error, ConnectionResetError) and secure else ""
            )
            raise RemoteError(
                f"{where.name}: cannot be reached ({_line(error)}{hint})",
                code="unreachable", repeatable=isinstance(error, OSError),
            ) from None  # fmt: skip
        peer = self._writer.get_extra_info("peername")
        if isinstance(peer, tuple) and not is_within(str(peer[0]), where.place):
            raise RemoteError(
                f"{where.name}: is said to run in this network, but {peer[0]} is not of it; "
                "nothing was sent", code="refused",
            )  # fmt: skip
        host = f"[{where.host}]" if ":" in where.host else where.host
        lines = [
            f"POST {where.path}{ENDPOINT} HTTP/1.1",
            f"Host: {host}:{where.port}",
            "Content-Type: application/json",
            "Accept: text/event-stream, application/json",
            "Accept-Encoding: identity",
            "Connection: close",
            f"Content-Length: {len(body)}",
        ]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        self.sent = True
        self._writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)

    async def read(self, seconds: float | None = None) -> bytes:
        """More of the answer's body; nothing at its end. ``seconds``: to wait at most."""
        if seconds is None:
            seconds = self._timeouts.silence if self._in_body else self._timeouts.first
        left = self._until - time.monotonic()
        name = self.address.name
        try:
            async with asyncio.timeout(max(0.0, min(seconds, left))):
                while not self._body and not self._ended:
                    await self._feed()
        except TimeoutError:
            what = f"nothing came for {seconds:.0f} seconds"
            if left < seconds:
                what = f"the answer did not end within {self._timeouts.answer:.0f} seconds"
            raise RemoteError(f"{name}: {what}", code="timeout", repeatable=True) from None
        except OSError as error:  # of ssl, too
            raise RemoteError(
                f"{name}: the connection broke off ({_line(error)})",
                code="broken_off", repeatable=True,
            ) from None  # fmt: skip
        except self._broken as error:
            spoken = _protocol(self._first)
            instead = f"it speaks {spoken}" if spoken else str(error)
            raise RemoteError(
                f"{name}: expected an answer by HTTP, but {instead}", code="protocol"
            ) from None
        found, self._body = b"".join(self._body), []
        self._received += len(found)
        if self._received > ANSWER_BYTES:
            raise RemoteError(f"{name}: an answer has at most {ANSWER_BYTES:,} bytes. Got more")
        return found

    async def _feed(self) -> None:
        """Give the parser what comes next."""
        assert self._reader is not None
        name = self.address.name
        data = await self._reader.read(_READ)
        if not data:
            if not self._in_body:
                spoken = _protocol(self._first)
                raise RemoteError(
                    f"{name}: expected an answer by HTTP, but it speaks {spoken}" if spoken else
                    f"{name}: the connection was closed without an answer",
                    code="protocol" if spoken else "broken_off", repeatable=not spoken,
                )  # fmt: skip
            self._ended = True
            return
        if len(self._first) < _TELLING:
            self._first += data[:_TELLING]
        self._parser.feed_data(data)
        if not self._in_body:
            self._head += len(data)
            if self._head > HEAD_BYTES:
                raise RemoteError(f"{name}: the head of the answer does not end", code="protocol")

    async def refusal(self, data: bytes) -> RemoteError:
        """What an answer that is an error says, in one line."""
        name, status = self.address.name, self.status or 0
        if 300 <= status < 400:
            where = printable(self._headers.get(b"location", b"").decode("latin-1"))[:200]
            return RemoteError(
                f"{name} answers with status {status}: redirects are not followed; "
                f"give the address itself{f' ({where})' if where else ''}",
                code="refused", status=status,
            )  # fmt: skip
        with contextlib.suppress(RemoteError, TimeoutError):
            async with asyncio.timeout(REFUSAL_SECONDS):
                while len(data) < REFUSAL_BYTES and (more := await self.read(REFUSAL_SECONDS)):
                    data += more
        complaint = Complaint()
        with contextlib.suppress(ValueError, RecursionError):
            complaint = Complaint.of(parse_json(data[:REFUSAL_BYTES].decode("utf-8")))
        said = complaint.message
        if status in (400, 413, 422) and complaint.is_of_length:
            raise ConversationError(
                f"{name}: the conversation is too long for the model there: {said}",
                part="messages", code="context_length_exceeded",
            )  # fmt: skip
        if status == 404 and not self.address.path and not said:
            said = "is the address complete? Most end with /v1"
        return RemoteError(
            f"{name} answers with status {status}{': ' * bool(said)}{said}",
            code="refused", status=status, parameter=complaint.parameter,
            repeatable=self._repeatable(status) and complaint.code not in SPENT,
            retry_after=self._retry_after(), quoted=complaint.message,
        )  # fmt: skip

    @property
    def content_type(self) -> str:
        """Of the answer, without parameters."""
        given = self._headers.get(b"content-type", b"").partition(b";")[0]
        return printable(given.decode("latin-1")).lower()[:100]

    @property
    def compressed(self) -> str:
        """How the answer is compressed, which nobody asked for."""
        given = printable(self._headers.get(b"content-encoding", b"").decode("latin-1"))
        return "" if given.lower() in ("", "identity") else given[:40]

    def _repeatable(self, status: int) -> bool:
        told = self._headers.get(b"x-should-retry")  # OpenAI's
        if told in (b"true", b"false"):
            return told == b"true"
        return status in REPEATABLE

    def _retry_after(self) -> float | None:
        """When it may be asked again, as it says."""
        with contextlib.suppress(KeyError, ValueError):
            return _seconds(float(self._headers[b"retry-after-ms"]) / 1000)
        given = self._headers.get(b"retry-after", b"").decode("latin-1").strip()
        with contextlib.suppress(ValueError):
            return _seconds(float(given))
        with contextlib.suppress(ValueError, TypeError):
            return _seconds(email.utils.parsedate_to_datetime(given).timestamp() - time.time())
        return None

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
        if name.lower() in _HEADERS:
            self._headers[name.lower()] = value.strip()

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
    """Server-sent events, of which ``data`` is read, and ``event`` where it is an error."""

    def __init__(self, name: str) -> None:
        self.done = False
        self.failed: RemoteError | None = None
        self._name = name
        self._rest = b""
        self._data: list[bytes] = []
        self._is_error = False

    def push(self, data: bytes) -> list[Mapping[str, Any]]:
        """The events that are complete now; ``failed`` says why there are no more."""
        found: list[Mapping[str, Any]] = []
        try:
            for event in self._events(data):
                found.append(event)
        except RemoteError as error:
            self.failed = error
        return found

    def _events(self, data: bytes) -> Iterator[Mapping[str, Any]]:
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif line.startswith(b"event:"):
                self._is_error = line[6:].strip() == b"error"
            elif not line:
                whole, self._data = b"\n".join(self._data), []
                if whole.strip() == b"[DONE]":
                    self.done = True
                    return
                if whole.strip() and not whole.lstrip().startswith(b":"):  # a comment, passed on
                    found = json_object(whole, self._name)
                    yield {"error": found} if self._is_error and not found.get("error") else found
                self._is_error = False
        if len(self._rest) + sum(map(len, self._data)) > EVENT_BYTES:
            raise RemoteError(f"{self._name}: an event has at most {EVENT_BYTES:,} bytes. Got more")


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


_PROTOCOLS = (
    (b"SSH-", "SSH"),
    (b"\x15\x03", "TLS: write https://"),
    (b"\x16\x03", "TLS: write https://"),
    (b"PRI * HTTP/2", "HTTP/2 only"),
    (b"220", "SMTP or FTP"),
    (b"+OK", "POP3"),
    (b"* OK", "IMAP"),
    (b"-ERR", "Redis"),
    (b"RFB ", "VNC"),
    (b"AMQP", "AMQP"),
    (b"<", "HTML without HTTP"),
)


def _protocol(first: bytes) -> str | None:
    """What is spoken by somebody whose first bytes are these, if it is known and no HTTP/1.1."""
    if len(first) >= 9 and first[:2] == b"\0\0" and first[3:9] == b"\x04\0\0\0\0\0":
        return "HTTP/2 only"  # frame of settings, of the whole connection
    return next((name for start, name in _PROTOCOLS if first.startswith(start)), None)


@functools.cache
def trusted() -> ssl.SSLContext:
    """The system's certificates; reading them takes longer than many a connection."""
    return ssl.create_default_context()


def _tls_reason(error: ssl.SSLError) -> str:
    if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"):
        return "it speaks no TLS"
    return _line(error)


def _line(error: Exception) -> str:
    return printable(str(error))[:200] or type(error).__name__


def _seconds(given: float) -> float | None:
    return max(0.0, given) if math.isfinite(given) else None
