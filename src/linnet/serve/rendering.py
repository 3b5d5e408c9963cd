"""Answers as OpenAI's clients read them: events of a stream, and whole ones.

A stream has an event for every few tokens, thousands a second with a small model. So
everything that does not change is rendered once, and an event is made by joining texts.

Reference: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from linnet.generate.engine import Chunk
from linnet.serve.asgi import new_id
from linnet.serve.errors import ApiError

if TYPE_CHECKING:
    from linnet.serve.asking import Asked
    from linnet.serve.catalog import Served
    from linnet.serve.tools import ToolCall

Pieces: TypeAlias = Sequence[Sequence[Chunk]]
"""All chunks of each text."""

DONE = "data: [DONE]\n\n"
KEEP_ALIVE = ": waiting\n\n"
UNLIKELY = -9999.0
"""What stands for a probability of nothing, as JSON has no infinity; OpenAI's number."""


@dataclass
class Tally:
    """The tokens of one request."""

    prompt: int = 0
    cached: int = 0
    written: int = 0

    def as_json(self) -> dict[str, Any]:
        """As ``usage``."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.written,
            "total_tokens": self.prompt + self.written,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@dataclass
class Written:
    """One text as far as it is written."""

    text: list[str] = field(default_factory=list)
    finish: str | None = None
    prompt: int = 0
    cached: int = 0
    tokens: int = 0
    queued: float = 0.0

    def count(self, chunks: Sequence[Chunk]) -> None:
        """Take note of what came."""
        for chunk in chunks:
            self.tokens += len(chunk.tokens)
            self.text.append(chunk.text)
            if chunk.start is not None:
                self.prompt = chunk.start.prompt_tokens
                self.cached = chunk.start.cached_tokens
                self.queued = chunk.start.queue_seconds
        self.finish = chunks[-1].finish_reason


class Shape(Protocol):
    """How an endpoint answers. ``place`` is that of a text in the request."""

    def piece(self, place: int, chunks: Sequence[Chunk]) -> str:
        """The events for these chunks of one text."""

    def usage(self, tally: Tally) -> str:
        """The event with the counts, or nothing where it was not asked for."""

    def whole(self, texts: Sequence[Written], pieces: Pieces, tally: Tally) -> Any:
        """The answer in one."""


class Envelope:
    """What every part of an answer has: id, time, model."""

    def __init__(self, kind: str, prefix: str, model: Served, *, usage: bool) -> None:
        """``usage``: whether a stream ends with the counts, and is null before."""
        self.id = new_id(prefix)
        self.created = int(time.time())
        self.model = model
        self._usage = usage
        self._head = (
            f'"id":"{self.id}","object":"{kind}","created":{self.created},'
            f'"model":{quoted(model.name)},"system_fingerprint":"{model.fingerprint}"'
        )
        self._event = f'data: {{{self._head},"choices":[{{"index":'
        self._end = '}],"usage":null}\n\n' if usage else "}]}\n\n"

    def event(self, place: int, rest: str) -> str:
        """An event with one choice; ``rest``: its JSON after the index."""
        return f"{self._event}{place},{rest}{self._end}"

    def usage(self, tally: Tally) -> str:
        """The event with the counts."""
        if not self._usage:
            return ""
        return f'data: {{{self._head},"choices":[],"usage":{json.dumps(tally.as_json())}}}\n\n'

    def whole(self, kind: str, choices: Sequence[Any], tally: Tally) -> dict[str, Any]:
        """An answer in one."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": self.model.fingerprint,
            "choices": list(choices),
            "usage": tally.as_json(),
        }


def error_event(error: ApiError) -> str:
    """What ends a stream that goes wrong after it began."""
    return f"data: {error.body().decode()}\n\n"


class ChatShape:
    """Chat completions, with calls of tools where there may be such."""

    def __init__(self, asked: Asked, model: Served, *, usage: bool) -> None:
        self._envelope = Envelope("chat.completion.chunk", "chatcmpl-", model, usage=usage)
        self._model = model
        self._began: set[int] = set()
        readers = [asked.reader(model) for _ in asked.requests]
        self._readers = readers if asked.tools else None
        self._calls = [0] * len(readers)
        self._logprobs = any(request.logprobs for request in asked.requests)

    def piece(self, place: int, chunks: Sequence[Chunk]) -> str:
        """The events for these chunks."""
        event = self._envelope.event
        found = ""
        if place not in self._began:
            self._began.add(place)
            found = event(
                place,
                '"delta":{"role":"assistant","content":"","refusal":null},'
                '"logprobs":null,"finish_reason":null',
            )
        text = "".join([chunk.text for chunk in chunks])
        finish: str | None = chunks[-1].finish_reason
        calls: list[ToolCall] = []
        if self._readers is not None:
            text, calls, finish = self._read(place, text, finish)
        logprobs = "null"
        if self._logprobs:
            told = token_logprobs(chunks, self._model)
            logprobs = json.dumps({"content": told, "refusal": None}) if told else "null"
        if text or logprobs != "null":
            found += event(
                place,
                f'"delta":{{"content":{quoted(text)}}},"logprobs":{logprobs},"finish_reason":null',
            )
        for call in calls:
            entry = json.dumps({"index": self._calls[place], **call.as_json()})
            self._calls[place] += 1
            found += event(
                place, f'"delta":{{"tool_calls":[{entry}]}},"logprobs":null,"finish_reason":null'
            )
        if finish is not None:
            found += event(place, f'"delta":{{}},"logprobs":null,"finish_reason":"{finish}"')
        return found

    def usage(self, tally: Tally) -> str:
        """The event with the counts."""
        return self._envelope.usage(tally)

    def whole(self, texts: Sequence[Written], pieces: Pieces, tally: Tally) -> Any:
        """The answer in one."""
        choices = []
        for place, chunks in enumerate(pieces):
            content: str | None = "".join([chunk.text for chunk in chunks])
            finish: str | None = texts[place].finish
            message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
            if self._readers is not None:
                content, calls, finish = self._read(place, content or "", finish)
                if calls:
                    message["content"] = content.strip() or None
                    message["tool_calls"] = [call.as_json() for call in calls]
                else:
                    message["content"] = content
            logprobs = None
            if self._logprobs:
                logprobs = {"content": token_logprobs(chunks, self._model), "refusal": None}
            choices.append(
                {"index": place, "message": message, "logprobs": logprobs, "finish_reason": finish}
            )
        return self._envelope.whole("chat.completion", choices, tally)

    def _read(
        self, place: int, text: str, finish: str | None
    ) -> tuple[str, list[ToolCall], str | None]:
        """Words, calls, and the reason for the end, which calls change."""
        assert self._readers is not None
        reader = self._readers[place]
        assert reader is not None
        words, calls = reader.push(text)
        if finish is not None:
            more, others = reader.finish()
            words, calls = words + more, calls + others
            if reader.called and finish == "stop":
                finish = "tool_calls"
        return words, calls, finish


class CompletionShape:
    """Completions of plain text."""

    def __init__(self, asked: Asked, model: Served, *, usage: bool) -> None:
        self._envelope = Envelope("text_completion", "cmpl-", model, usage=usage)
        self._model = model
        self._echoes = [text for text in asked.echoes for _ in range(asked.choices)]
        self._began: set[int] = set()
        self._logprobs = any(request.logprobs for request in asked.requests)
        self._offsets = [0] * len(asked.requests)

    def piece(self, place: int, chunks: Sequence[Chunk]) -> str:
        """The events for these chunks."""
        text = "".join([chunk.text for chunk in chunks])
        finish = chunks[-1].finish_reason
        if self._echoes and place not in self._began:
            self._began.add(place)
            text = self._echoes[place] + text
        logprobs = json.dumps(self._told(place, chunks)) if self._logprobs else "null"
        if not text and finish is None and logprobs == "null":
            return ""
        reason = "null" if finish is None else f'"{finish}"'
        return self._envelope.event(
            place, f'"text":{quoted(text)},"logprobs":{logprobs},"finish_reason":{reason}'
        )

    def usage(self, tally: Tally) -> str:
        """The event with the counts."""
        return self._envelope.usage(tally)

    def whole(self, texts: Sequence[Written], pieces: Pieces, tally: Tally) -> Any:
        """The answer in one."""
        choices = []
        for place, chunks in enumerate(pieces):
            text = "".join([chunk.text for chunk in chunks])
            echo = self._echoes[place] if self._echoes else ""
            choices.append(
                {
                    "index": place,
                    "text": echo + text,
                    "logprobs": self._told(place, chunks) if self._logprobs else None,
                    "finish_reason": texts[place].finish,
                }
            )
        return self._envelope.whole("text_completion", choices, tally)

    def _told(self, place: int, chunks: Sequence[Chunk]) -> dict[str, Any]:
        """Probabilities in the form that completions have."""
        told = token_logprobs(chunks, self._model)
        offsets = []
        for entry in told:
            offsets.append(self._offsets[place])
            self._offsets[place] += len(entry["token"])
        return {
            "tokens": [entry["token"] for entry in told],
            "token_logprobs": [entry["logprob"] for entry in told],
            "top_logprobs": [
                {other["token"]: other["logprob"] for other in entry["top_logprobs"]}
                for entry in told
            ],
            "text_offset": offsets,
        }


def token_logprobs(chunks: Sequence[Chunk], model: Served) -> list[dict[str, Any]]:
    """Each token of the chunks with its probability and the likeliest beside it."""
    told = []
    for chunk in chunks:
        for place, (token, value) in enumerate(
            zip(chunk.tokens, chunk.logprobs or (), strict=False)
        ):
            top = chunk.top_logprobs[place] if chunk.top_logprobs else ()
            told.append(
                {
                    **_token(token, value, model),
                    "top_logprobs": [_token(other, likely, model) for other, likely in top],
                }
            )
    return told


def _token(token: int, logprob: float, model: Served) -> dict[str, Any]:
    spelt = model.token_bytes(token)
    return {
        "token": spelt.decode("utf-8", "replace"),
        "logprob": logprob if logprob > UNLIKELY else UNLIKELY,
        "bytes": list(spelt),
    }
