"""A model behind an OpenAI-compatible address as a responder (chat completions).

What is sent, and the pieces that are made of what comes back: shapes are a stranger's, and what
does not fit ends the answer with a :class:`RemoteError` in one line.

Reference: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from linnet.config import parse_json
from linnet.errors import ConfigError
from linnet.generate.sampling import Sampling
from linnet.respond.context import Charge, Context
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
    ToolCallDelta,
    Usage,
    new_id,
)
from linnet.respond.responder import Abilities, Batches
from linnet.respond.transport import (
    EVENT_BYTES,
    Address,
    EventParser,
    Exchange,
    RemoteError,
    json_object,
)

FIRST_SECONDS = 120.0
"""Until the first byte of an answer: the other side may have a queue."""
SILENCE_SECONDS = 60.0
"""Between two pieces of an answer."""
COUNTS_SECONDS = 5.0
"""After the last piece, until the counts that follow it or the end."""
MOST_TOKENS = 1_000_000_000
MOST_CALLS = 128
_LONGEST_PAUSE = 0.05  # what the other side sends is taken from the network at least so often
_OPENAIS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_OWN = (
    "top_k", "min_p", "typical_p", "repetition_penalty", "ignore_eos", "min_tokens", "beams",
)  # fmt: skip
_FINISH: Mapping[str, FinishReason] = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "function_call": "tool_calls",
    "content_filter": "refusal",
}  # fmt: skip


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
        settle = context.reserve(Charge(len(body), _longest(conversation)))
        record = context.record
        record.model = self.model
        record.choices += conversation.choices
        reading = _Reading(
            conversation.choices, self._origin, self.address.name,
            streams=context.interval != math.inf,
        )  # fmt: skip
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
            settle(reading.prompt + reading.written, 0)

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
            body["tools"] = [tool.as_json() for tool in conversation.tools]
            body["tool_choice"] = _tool_choice(conversation)
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
        exchange = Exchange(self.address)
        undo = context.on_cancel(exchange.abort_soon)
        try:
            await exchange.send(body, self._key)
            parser = EventParser(self.address.name)
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
                    yield [_whole(json_object(data, self.address.name))]
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


class _Reading:
    """Deltas of an answer as pieces."""

    def __init__(self, choices: int, origin: Origin, name: str, *, streams: bool) -> None:
        self._streams = streams
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
            pieces += choice.finish_calls(choice=place, origin=self._origin)
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
            pieces += choice.add(call, self._name, streams=self._streams, **known)
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
    custom: bool = False
    told: int | None = None
    """How many characters of the arguments were told; None: nothing of it was."""

    def whole(self, **known: Any) -> ToolCall:
        """All of it; arguments that are no JSON are none, unless they were told already."""
        right = self.custom or self.told or _is_json(self.arguments)
        arguments = self.arguments if right else "{}"
        return ToolCall(
            self.id or new_id("call_"), self.name, arguments, custom=self.custom, **known
        )


@dataclass
class _Choice:
    began: bool = False
    finish: FinishReason | None = None
    calls: dict[int, _Call] = field(default_factory=dict)
    ended: int = 0
    """So many of the calls are complete, and were told."""

    def add(
        self, given: Any, name: str, *, streams: bool, **known: Any
    ) -> list[ToolCall | ToolCallDelta]:
        """A piece of a call, and what it says; ``streams``: at once, if in pieces."""
        if not isinstance(given, Mapping):
            return []
        place = given.get("index", len(self.calls))
        if not isinstance(place, int) or not 0 <= place < MOST_CALLS:
            raise RemoteError(f"{name}: an answer has at most {MOST_CALLS} calls. Got more")
        found: list[ToolCall | ToolCallDelta] = []
        if streams and place not in self.calls:
            found += self.finish_calls(**known)
        call = self.calls.setdefault(place, _Call())
        if list(self.calls).index(place) < self.ended:
            raise RemoteError(f"{name}: a call went on after the next one had begun")
        function = given.get("function")
        function = function if isinstance(function, Mapping) else {}
        custom = given.get("custom")
        if isinstance(custom, Mapping):
            call.custom, function = True, {**custom, "arguments": custom.get("input")}
        call.id = call.id or _text(given.get("id"))[:256]
        call.name = call.name or _text(function.get("name"))[:256]
        call.arguments += _text(function.get("arguments"))
        if streams and call.name and (call.told is None or len(call.arguments) > call.told):
            call.id = call.id or new_id("call_")
            more, call.told = call.arguments[call.told or 0 :], len(call.arguments)
            found.append(ToolCallDelta(call.id, call.name, more, custom=call.custom, **known))
        return found

    def finish_calls(self, **known: Any) -> list[ToolCall | ToolCallDelta]:
        """The calls that were not told whole."""
        calls = list(self.calls.values())[self.ended :]
        self.ended = len(self.calls)
        return [call.whole(**known) for call in calls]


def _tool_choice(conversation: Conversation) -> Any:
    """Which tools may or must be called, as OpenAI's interface has it."""
    custom = {tool.name for tool in conversation.tools if tool.custom}

    def named(name: str) -> dict[str, Any]:
        kind = "custom" if name in custom else "function"
        return {"type": kind, kind: {"name": name}}

    name, choice = conversation.demanded_name, conversation.tool_choice
    if name is not None:
        return named(name)
    if conversation.allowed is None or choice == "none":
        return choice
    tools = [named(tool.name) for tool in conversation.callable]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice, "tools": tools}}


def _longest(conversation: Conversation) -> int:
    """The most tokens that may be written."""
    return conversation.sampling.max_tokens * conversation.choices


def _message(given: dict[str, Any]) -> dict[str, Any]:
    """A message as OpenAI's own interface takes it: no text beside calls is null."""
    if given.get("tool_calls") and not given["content"]:
        return {**given, "content": None}
    return given


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
