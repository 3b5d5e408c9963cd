"""The deltas of a chat completion as pieces of answers.

They are a stranger's: what is null, missing, repeated or of another type is passed over where it
means nothing, and ends the answer with a :class:`RemoteError` in one line where it would be lost.

Reference: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from linnet.config import parse_json
from linnet.respond.counts import Counts
from linnet.respond.pieces import (
    Batch,
    Finish,
    FinishReason,
    Origin,
    Piece,
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
from linnet.respond.remote_errors import Complaint, RemoteError, printable

MOST_CALLS = 128
MOST_MODELS = 8
"""Names that an answer calls its model by; more mean nothing."""
LEAST_LOGPROB = -9999.0
"""OpenAI's, for what has no chance; also where none is told that is a number."""
_FINISH: Mapping[str, FinishReason] = {
    "length": "length", "max_tokens": "length", "model_length": "length",
    "tool_calls": "tool_calls", "function_call": "tool_calls", "tool_use": "tool_calls",
    "content_filter": "refusal", "refusal": "refusal", "safety": "refusal",
}  # fmt: skip
"""Others are as good as ``stop``; these are no end of an answer:"""
_FAILED = ("error", "abort", "cancelled", "insufficient_system_resource", "malformed_function_call")


class Deltas:
    """What came of all choices."""

    def __init__(
        self, choices: int, origin: Origin, name: str, counts: Counts, *, streams: bool
    ) -> None:
        """``name``: of the address. ``streams``: whether calls are told before they are whole."""
        self.counts = counts
        self.models: list[str] = []
        """What it called itself."""
        self.refused = False
        """Whether it told of an error instead of an answer."""
        self._streams = streams
        self._origin, self._name = origin, name
        self._choices = [_Choice() for _ in range(choices)]

    @property
    def began(self) -> bool:
        """Whether anything of an answer came."""
        return any(choice.began for choice in self._choices)

    @property
    def complete(self) -> bool:
        """Whether every choice has said why it ended."""
        return all(choice.finish for choice in self._choices)

    def read(self, event: Mapping[str, Any]) -> list[Piece]:
        """The pieces of one event."""
        if event.get("error"):
            self.refused = not self.began
            raise Complaint.of(event).raised(self._name)
        model = event.get("model")
        if isinstance(model, str) and len(self.models) < MOST_MODELS:
            name = printable(model[:256])
            if name and name not in self.models:
                self.models.append(name)
        if isinstance(event.get("usage"), Mapping):
            self.counts.told(event["usage"])
        pieces: list[Piece] = []
        for given in _list(event.get("choices")):
            place = (given.get("index") or 0) if isinstance(given, Mapping) else -1
            if not isinstance(place, int) or not 0 <= place < len(self._choices):
                raise RemoteError(f"{self._name}: the answer has a choice that nobody asked for")
            pieces += self._delta(place, given)
        return pieces

    def cut(self) -> None:
        """End what has not ended: it is longer than it may be."""
        for choice in self._choices:
            choice.finish = choice.finish or "length"

    def finish(self) -> Batch:
        """What is left at the end: calls, usage and why each choice ended."""
        if not self.began:
            raise RemoteError(
                f"{self._name}: the answer broke off before it began: it has no choices",
                code="broken_off", repeatable=True,
            )  # fmt: skip
        if not self.complete:
            raise RemoteError(
                f"{self._name}: the answer broke off before its end",
                code="broken_off", repeatable=True,
            )  # fmt: skip
        counts = self.counts
        pieces: list[Piece] = []
        for place, choice in enumerate(self._choices):
            pieces += choice.finish_calls(choice=place, origin=self._origin)
            if place == 0:
                pieces.append(Usage(counts.prompt, counts.cached, counts.written))
            else:
                pieces.append(Usage(0, 0, 0, choice=place))
            assert choice.finish is not None
            called = choice.finish == "stop" and choice.calls
            pieces.append(Finish("tool_calls" if called else choice.finish, choice=place))
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
        text, thought = _content(delta.get("content"))
        thought = _text(delta.get("reasoning_content")) or _text(delta.get("reasoning")) or thought
        if thought:
            pieces.append(Reasoning(thought, **known))
        if refusal := _text(delta.get("refusal")):
            pieces.append(Refusal(refusal, **known))
        scores = _scores(given.get("logprobs"))
        if text or scores:
            pieces.append(Text(text, (), scores, **known))
        calls = _list(delta.get("tool_calls"))
        for call in calls:
            pieces += choice.add(call, self._name, streams=self._streams, **known)
        self.counts.came(text, thought, refusal, *map(_written, calls))
        if isinstance(reason := given.get("finish_reason"), str) and reason:
            if reason.lower() in _FAILED:
                raise Complaint.of(given).raised(self._name)
            choice.finish = choice.finish or _FINISH.get(reason.lower(), "stop")
        return pieces


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)
    custom: bool = False
    told: int | None = None
    """How many of the pieces of its arguments were told; None: nothing of it was."""

    def whole(self, **known: Any) -> ToolCall:
        """All of it; arguments that are no JSON are none, unless they were told already."""
        arguments = "".join(self.arguments)
        if not (self.custom or self.told or _is_json(arguments)):
            arguments = "{}"
        return ToolCall(
            self.id or new_id("call_"), self.name, arguments, custom=self.custom, **known
        )


@dataclass
class _Choice:
    began: bool = False
    finish: FinishReason | None = None
    calls: list[_Call] = field(default_factory=list)
    latest: dict[int | None, int] = field(default_factory=dict)
    """By the place that the other side gave it, which of the calls is written."""
    ended: int = 0
    """So many of the calls are complete, and were told."""

    def add(
        self, given: Any, name: str, *, streams: bool, **known: Any
    ) -> list[ToolCall | ToolCallDelta]:
        """A piece of a call, and what it says; ``streams``: at once, if in pieces."""
        if not isinstance(given, Mapping):
            return []
        place = given.get("index")
        if place is not None and not (isinstance(place, int) and 0 <= place < MOST_CALLS):
            raise RemoteError(f"{name}: an answer has at most {MOST_CALLS} calls. Got more")
        found: list[ToolCall | ToolCallDelta] = []
        number = self.latest.get(place)
        if number is None or self._is_next(place, self.calls[number], given):
            if streams:
                found += self.finish_calls(**known)
            number = self.latest[place] = len(self.calls)
            if number >= MOST_CALLS:
                raise RemoteError(f"{name}: an answer has at most {MOST_CALLS} calls. Got more")
            self.calls.append(_Call())
        if number < self.ended:
            raise RemoteError(f"{name}: a call went on after the next one had begun")
        call = self.calls[number]
        function = given.get("function")
        function = function if isinstance(function, Mapping) else {}
        custom = given.get("custom")
        if isinstance(custom, Mapping):
            call.custom, function = True, {**custom, "arguments": custom.get("input")}
        call.id = call.id or _text(given.get("id"))[:256]
        call.name = call.name or _text(function.get("name"))[:256]
        if more := _arguments(function.get("arguments")):
            call.arguments.append(more)
        if streams and call.name and (call.told is None or len(call.arguments) > call.told):
            call.id = call.id or new_id("call_")
            more, call.told = "".join(call.arguments[call.told or 0 :]), len(call.arguments)
            found.append(ToolCallDelta(call.id, call.name, more, custom=call.custom, **known))
        return found

    @staticmethod
    def _is_next(place: int | None, call: _Call, given: Mapping[str, Any]) -> bool:
        """Whether another call begins: some say no place, or the same of all."""
        function, id = given.get("function"), _text(given.get("id"))
        if not (call.name and isinstance(function, Mapping) and _text(function.get("name"))):
            return False
        return place is None or bool(id and call.id and id[:256] != call.id)

    def finish_calls(self, **known: Any) -> list[ToolCall | ToolCallDelta]:
        """The calls that were not told whole."""
        calls = self.calls[self.ended :]
        self.ended = len(self.calls)
        return [call.whole(**known) for call in calls]


def whole(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """An answer in one as if it were one event; it has ended, whether or not it says why."""
    choices = [
        {**choice, "delta": choice.get("message"),
         "finish_reason": choice.get("finish_reason") or "stop"}
        for choice in _list(answer.get("choices"))
        if isinstance(choice, Mapping)
    ]  # fmt: skip
    return {**answer, "choices": choices}


def _content(given: Any) -> tuple[str, str]:
    """Text and thought of a content, which may be parts of both (Mistral's)."""
    if not isinstance(given, list):
        return _text(given), ""
    text = thought = ""
    for part in given:
        if isinstance(part, Mapping):
            text += _text(part.get("text"))
            thinking = part.get("thinking")
            thought += _content(thinking)[0] if isinstance(thinking, list) else _text(thinking)
    return text, thought


def _written(call: Any) -> str:
    """What the model wrote of a call in one event."""
    if not isinstance(call, Mapping):
        return ""
    found = ""
    for part in (call.get("function"), call.get("custom")):
        if isinstance(part, Mapping):
            found += "".join(_arguments(part.get(name)) for name in ("name", "arguments", "input"))
    return found


def _arguments(given: Any) -> str:
    """As text, which not everybody sends."""
    return json.dumps(given, ensure_ascii=False) if isinstance(given, Mapping) else _text(given)


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
    """A text that can be written out: JSON may have halves of characters."""
    if not isinstance(value, str) or value.isascii():
        return value if isinstance(value, str) else ""
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _number(value: Any) -> float:
    try:
        number = float(value) if isinstance(value, int | float) else LEAST_LOGPROB
    except OverflowError:
        return LEAST_LOGPROB
    return number if math.isfinite(number) else LEAST_LOGPROB


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except (ValueError, RecursionError):
        return False
    return True
