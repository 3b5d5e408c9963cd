"""A model behind an OpenAI-compatible address as a responder (chat completions).

Nothing is sent anywhere unless somebody makes a :class:`RemoteResponder` with an address. What
comes back is a stranger's: sizes, times and shapes are bounded, and what does not fit ends the
answer with a :class:`RemoteError` in one line.

References: https://platform.openai.com/docs/api-reference/chat,
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import ssl
import stat
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from linnet.config import parse_json
from linnet.errors import ConfigError, ModelError
from linnet.generate.sampling import Sampling
from linnet.respond.context import Context
from linnet.respond.conversation import Conversation, ConversationError
from linnet.respond.pieces import (
    Batch,
    Decision,
    Finish,
    FinishReason,
    Origin,
    Piece,
    Place,
    Reasoning,
    Refusal,
    Status,
    Text,
    TokenScore,
    ToolCall,
    Usage,
    new_id,
)
from linnet.respond.responder import Abilities, Batches

CONNECT_SECONDS = 10.0
FIRST_SECONDS = 120.0
"""Until the first byte of an answer: the other side may have a queue."""
SILENCE_SECONDS = 60.0
"""Between two pieces of an answer."""
COUNTS_SECONDS = 5.0
"""After the last piece, until the counts that follow it or the end."""
HEAD_BYTES = 64 << 10
EVENT_BYTES = 1 << 20
ANSWER_BYTES = 64 << 20
REFUSAL_BYTES = 16 << 10
MOST_TOKENS = 1_000_000_000
MOST_CALLS = 128
_READ = 1 << 16
_OPENAIS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_OWN = ("top_k", "min_p", "typical_p", "repetition_penalty")
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "refusal",
}  # fmt: skip


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


class RemoteResponder:
    """Answers with a model at an address."""

    def __init__(
        self,
        address: str,
        model: str,
        *,
        key: str | None = None,
        context: int = 0,
        place: Place | None = None,
        silence_seconds: float = SILENCE_SECONDS,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        """``key``: see :func:`read_key`. ``context``: the most tokens that the model takes; 0: not
        known. ``place``: where it runs; otherwise as its address says.

        Raises ConfigError for an address that is none, or to which a key would go unencrypted.
        """
        self.address = Address.parse(address)
        self.model = model
        self._key = key
        self._place: Place = place or self.address.place
        self._context = context
        self._first_seconds, self._silence_seconds = first_seconds, silence_seconds
        self._origin = Origin("model", model, self._place)
        if key and self.address.scheme == "http" and self.address.place == "elsewhere":
            raise ConfigError(f"{address}: a key would be sent unencrypted; use https")

    @property
    def abilities(self) -> Abilities:
        """What it can do, as far as it is known."""
        return Abilities(self.model, self._context, self._place)

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        """See :class:`Responder`."""
        body, left_out = self._body(conversation, context)
        settle = context.reserve(len(body) + _longest(conversation))
        record = context.record
        record.model = self.model
        record.choices += conversation.choices
        reading = _Reading(conversation.choices, self._origin, self.address.name)
        try:
            if left_out:
                yield [Decision("sampling", f"left out {', '.join(left_out)}",
                                "the address knows OpenAI's settings alone")]  # fmt: skip
            async with contextlib.aclosing(self._events(body, reading, context)) as received:
                async for events in received:
                    batch = [piece for event in events for piece in reading.read(event)]
                    if batch:
                        record.first_at = record.first_at or time.monotonic()
                        yield batch
                    if context.interval and not reading.complete:
                        await asyncio.sleep(min(context.interval, _LONGEST_PAUSE))
            yield reading.finish()
        finally:
            record.tokens.prompt += reading.prompt
            record.tokens.cached += reading.cached
            record.tokens.written += reading.written
            if reading.models - {self.model}:
                record.facts["remote_models"] = sorted(reading.models)
            settle(reading.prompt + reading.written)

    def _body(self, conversation: Conversation, context: Context) -> tuple[bytes, list[str]]:
        """What is sent; and the settings that are not, as they mean nothing there."""
        sampling = conversation.sampling
        if sampling.logit_bias:
            raise ConversationError(
                "'logit_bias' names tokens of a model on this machine; the one at "
                f"{self.address.name} has others",
                part="logit_bias",
            )
        if conversation.continue_final_message or conversation.template_variables:
            raise ConversationError(
                f"the model at {self.address.name} uses its own chat template: "
                "'continue_final_message' and 'chat_template_kwargs' are for models here",
                part="continue_final_message",
            )
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [_message(message.as_json()) for message in conversation.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: getattr(sampling, name) for name in _OPENAIS},
        }
        if not conversation.fill_context or context.budget is not None:
            body["max_tokens"] = sampling.max_tokens
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if conversation.choices > 1:
            body["n"] = conversation.choices
        if conversation.logprobs:
            body |= {"logprobs": True, "top_logprobs": conversation.top_logprobs}
        if conversation.tools:
            name = conversation.demanded_name
            body["tools"] = [tool.as_json() for tool in conversation.tools]
            body["tool_choice"] = (
                {"type": "function", "function": {"name": name}}
                if name is not None
                else conversation.tool_choice
            )
            if not conversation.parallel_tool_calls:
                body["parallel_tool_calls"] = False
        if conversation.constraint is not None:
            body["response_format"] = self._format(conversation)
        usual = Sampling()
        left_out = [name for name in _OWN if getattr(sampling, name) != getattr(usual, name)]
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"), left_out

    def _format(self, conversation: Conversation) -> dict[str, Any]:
        constraint = conversation.constraint
        assert constraint is not None
        if constraint.kind != "json_schema":
            raise ConversationError(
                f"a {constraint.kind} is for models here; the one at {self.address.name} takes a "
                "JSON Schema only",
                part="response_format",
            )
        schema = {"name": "answer", "schema": parse_json(constraint.value)}
        return {"type": "json_schema", "json_schema": schema}

    async def _events(
        self, body: bytes, reading: _Reading, context: Context
    ) -> AsyncGenerator[list[Mapping[str, Any]], None]:
        """What the address sends, event by event; those that came together at once."""
        exchange = _Exchange(self.address)
        undo = context.on_cancel(exchange.abort_soon)
        try:
            await exchange.send(body, self._key)
            parser = _EventParser(self.address.name)
            seconds = self._first_seconds
            while True:
                try:
                    data = await exchange.read(seconds)
                except RemoteError:
                    if reading.complete:  # only the counts were still to come
                        return
                    raise
                seconds = self._silence_seconds
                if exchange.status is not None and exchange.status != 200:
                    raise await exchange.refusal(data)
                if exchange.is_json:  # it does not stream
                    while more := await exchange.read(seconds):
                        data += more
                        if len(data) > EVENT_BYTES:
                            raise RemoteError(f"{self.address.name}: the answer is too long")
                    yield [_whole(_object(data, self.address.name))]
                    return
                if not data:
                    return
                events = parser.push(data)
                if events:
                    yield events
                if parser.done:
                    return
                if reading.complete:
                    seconds = min(seconds, COUNTS_SECONDS)
        finally:
            undo()
            exchange.abort()


_LONGEST_PAUSE = 0.05
"""What the other side sends is taken from the network at least so often."""


class _Exchange:
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
            error = _object(data[:REFUSAL_BYTES], "").get("error")
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


class _EventParser:
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
                found.append(_object(whole, self._name))
        if len(self._rest) + sum(map(len, self._data)) > EVENT_BYTES:
            raise RemoteError(f"{self._name}: an event has at most {EVENT_BYTES:,} bytes. Got more")
        return found


class _Reading:
    """Deltas of an answer as pieces."""

    def __init__(self, choices: int, origin: Origin, name: str) -> None:
        self.prompt = self.cached = self.written = 0
        self.models: set[str] = set()
        self._origin, self._name = origin, name
        self._choices = [_Choice() for _ in range(choices)]
        self._events = 0

    @property
    def complete(self) -> bool:
        """Whether every choice has said why it ended."""
        return all(choice.finish for choice in self._choices)

    def read(self, event: Mapping[str, Any]) -> list[Piece]:
        """The pieces of one event."""
        if event.get("error"):
            error = event["error"]
            said = error.get("message") if isinstance(error, Mapping) else error
            raise RemoteError(f"{self._name}: {' '.join(str(said).split())[:300]}")
        if isinstance(event.get("model"), str):
            self.models.add(event["model"][:256])
        if isinstance(event.get("usage"), Mapping):
            self._count(event["usage"])
        pieces: list[Piece] = []
        for given in _list(event.get("choices")):
            place = given.get("index", 0) if isinstance(given, Mapping) else -1
            if not isinstance(place, int) or not 0 <= place < len(self._choices):
                raise RemoteError(f"{self._name}: the answer has a choice that nobody asked for")
            pieces += self._delta(place, given)
        return pieces

    def finish(self) -> Batch:
        """What is left at the end: calls, usage and why each choice ended."""
        if not self.complete:
            raise RemoteError(f"{self._name}: the answer broke off before its end")
        self.written = max(self.written, self._events)  # an event with text is at least a token
        pieces: list[Piece] = []
        for place, choice in enumerate(self._choices):
            for call in choice.calls.values():
                arguments = call.arguments if _is_json(call.arguments) else "{}"
                pieces.append(
                    ToolCall(call.id or new_id("call_"), call.name, arguments,
                             choice=place, origin=self._origin)
                )  # fmt: skip
            first = place == 0
            pieces.append(
                Usage(first * self.prompt, first * self.cached, first * self.written, choice=place)
            )
            assert choice.finish is not None
            pieces.append(Finish(choice.finish, choice=place))
        return pieces

    def _delta(self, place: int, given: Mapping[str, Any]) -> list[Piece]:
        choice = self._choices[place]
        delta = given.get("delta")
        delta = delta if isinstance(delta, Mapping) else {}
        pieces: list[Piece] = []
        if not choice.began:
            choice.began = True
            pieces.append(Status("writing", choice=place))
        known: dict[str, Any] = {"choice": place, "origin": self._origin}
        if reasoning := _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")):
            pieces.append(Reasoning(reasoning, **known))
        if refusal := _text(delta.get("refusal")):
            pieces.append(Refusal(refusal, **known))
        text = delta.get("content")
        scores = _scores(given.get("logprobs"))
        if isinstance(text, str) and (text or scores):
            self._events += 1
            pieces.append(Text(text, (), scores, **known))
        for call in _list(delta.get("tool_calls")):
            choice.add(call, self._name)
        reason = given.get("finish_reason")
        if isinstance(reason, str):
            choice.finish = _FINISH.get(reason, "stop")
        return pieces

    def _count(self, usage: Mapping[str, Any]) -> None:
        """What the other side says of tokens; it may say anything."""
        self.prompt = max(self.prompt, _whole_number(usage.get("prompt_tokens")))
        self.written = max(self.written, _whole_number(usage.get("completion_tokens")))
        details = usage.get("prompt_tokens_details")
        if isinstance(details, Mapping):
            self.cached = min(self.prompt, _whole_number(details.get("cached_tokens")))


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class _Choice:
    began: bool = False
    finish: FinishReason | None = None
    calls: dict[int, _Call] = field(default_factory=dict)

    def add(self, given: Any, name: str) -> None:
        """A piece of a call."""
        if not isinstance(given, Mapping):
            return
        place = given.get("index", len(self.calls))
        if not isinstance(place, int) or not 0 <= place < MOST_CALLS:
            raise RemoteError(f"{name}: an answer has at most {MOST_CALLS} calls. Got more")
        call = self.calls.setdefault(place, _Call())
        function = given.get("function")
        function = function if isinstance(function, Mapping) else {}
        call.id = call.id or _text(given.get("id"))[:256]
        call.name = call.name or _text(function.get("name"))[:256]
        call.arguments += _text(function.get("arguments"))


def _longest(conversation: Conversation) -> int:
    """The most tokens that may be written."""
    return conversation.sampling.max_tokens * conversation.choices


def _message(given: dict[str, Any]) -> dict[str, Any]:
    """A message as OpenAI's own interface takes it: no text beside calls is null."""
    if given.get("tool_calls") and not given["content"]:
        return {**given, "content": None}
    return given


def _object(data: bytes, name: str) -> Mapping[str, Any]:
    try:
        found = parse_json(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RemoteError(f"{name}: expected JSON, but {reason}") from None
    if not isinstance(found, Mapping):
        raise RemoteError(f"{name}: expected a JSON object. Got {type(found).__name__}")
    return found


def _whole(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """An answer in one as if it were one event."""
    choices = [
        {**choice, "delta": choice.get("message")}
        for choice in _list(answer.get("choices"))
        if isinstance(choice, Mapping)
    ]
    return {**answer, "choices": choices}


def _scores(given: Any) -> tuple[TokenScore, ...]:
    content = given.get("content") if isinstance(given, Mapping) else None
    found = []
    for entry in _list(content):
        if isinstance(entry, Mapping):
            top = tuple(
                (_spelling(other), _number(other.get("logprob")))
                for other in _list(entry.get("top_logprobs"))
                if isinstance(other, Mapping)
            )
            found.append(TokenScore(_spelling(entry), _number(entry.get("logprob")), top))
    return tuple(found)


def _spelling(entry: Mapping[str, Any]) -> bytes:
    if isinstance(spelt := entry.get("bytes"), list):
        with contextlib.suppress(TypeError, ValueError):
            return bytes(spelt)
    return _text(entry.get("token")).encode("utf-8", "replace")


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _whole_number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return min(max(0, value), MOST_TOKENS)


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except (ValueError, RecursionError):
        return False
    return True
