"""Answers as OpenAI's clients read them: events of a stream, and whole ones.

A stream has an event for every few tokens, thousands a second with a small model. So
everything that does not change is rendered once, and an event is made by joining texts.

Citations are annotations (``url_citation``). Pieces that OpenAI's interface has no place for
(passages, claims, decisions, ...) are under ``linnet``, each as ``{"type": ..., ...}``, and so are
citations in full.

Reference: https://platform.openai.com/docs/api-reference/chat/streaming
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from linnet.respond.conversation import call_json
from linnet.respond.pieces import (
    UNANSWERED,
    Batch,
    Citation,
    Finish,
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
from linnet.serve.errors import ApiError

if TYPE_CHECKING:
    from linnet.respond.context import Tokens
    from linnet.respond.responder import Answer
    from linnet.serve.catalog import Served

EVENT_STREAM = b"text/event-stream; charset=utf-8"
UNLIKELY = -9999.0
"""What stands for a probability of nothing, as JSON has no infinity; OpenAI's number."""
_REASONS = {"refusal": "stop"}
"""What other interfaces call the end of an answer; the same for all others."""


@dataclass(frozen=True)
class Framing:
    """How a stream is kept open before there is anything to say, and ended by an error."""

    content_type: bytes
    keep_alive: str
    error: Callable[[ApiError], str]
    by_default: bool = False
    """Whether an answer is streamed where the body does not say."""


class Shape(Protocol):
    """How an endpoint answers: what a stream consists of, and what a whole answer is."""

    content_type: bytes
    """Of a stream."""

    @property
    def keep_alive(self) -> str:
        """What is sent while there is nothing to say."""

    def events(self, batch: Batch) -> Iterator[str]:
        """The events for these pieces."""

    def end(self, tokens: Tokens) -> str:
        """What a stream ends with, once all is there."""

    def error(self, error: ApiError) -> str:
        """What ends a stream that goes wrong after it began."""

    def whole(self, answers: Sequence[Answer], tokens: Tokens) -> Any:
        """The answer in one."""


def usage_json(tokens: Tokens) -> dict[str, Any]:
    """As ``usage``."""
    return {
        "prompt_tokens": tokens.prompt,
        "completion_tokens": tokens.written,
        "total_tokens": tokens.prompt + tokens.written,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
    }


def openai_stream_error(error: ApiError) -> str:
    """What ends a stream of OpenAI's older interfaces that goes wrong."""
    return f"data: {error.body().decode()}\n\ndata: [DONE]\n\n"


OPENAI_FRAMING = Framing(EVENT_STREAM, ": waiting\n\n", openai_stream_error)


class OpenAIStream:
    """What the streams of OpenAI's older interfaces share."""

    content_type = OPENAI_FRAMING.content_type
    keep_alive = OPENAI_FRAMING.keep_alive
    _envelope: Envelope

    def end(self, tokens: Tokens) -> str:
        """The counts, where they were asked for, and what says that this was all."""
        return f"{self._envelope.usage(tokens)}data: [DONE]\n\n"

    def error(self, error: ApiError) -> str:
        """What ends a stream that goes wrong after it began."""
        return openai_stream_error(error)


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

    def usage(self, tokens: Tokens) -> str:
        """The event with the counts."""
        if not self._usage:
            return ""
        return f'data: {{{self._head},"choices":[],"usage":{json.dumps(usage_json(tokens))}}}\n\n'

    def whole(self, kind: str, choices: Sequence[Any], tokens: Tokens) -> dict[str, Any]:
        """An answer in one."""
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model.name,
            "system_fingerprint": self.model.fingerprint,
            "choices": list(choices),
            "usage": usage_json(tokens),
        }


class ChatShape(OpenAIStream):
    """Chat completions."""

    def __init__(self, model: Served, *, usage: bool, logprobs: bool, legacy: bool = False) -> None:
        """``usage``: whether a stream ends with the counts; ``logprobs``: whether tokens have
        their probabilities; ``legacy``: whether a call is a ``function_call``.
        """
        self._legacy = legacy
        self._envelope = Envelope("chat.completion.chunk", "chatcmpl-", model, usage=usage)
        self._logprobs = logprobs
        self._calls: dict[int, int] = {}
        """How many calls each choice has; it has begun where it is known here."""
        self._streamed: dict[int, str] = {}
        """The id of the last call of each choice."""
        self._entries: Counter[tuple[int, str]] = Counter()
        """How many entries each list of each choice has."""

    def events(self, batch: Batch) -> Iterator[str]:
        """The events for these pieces."""
        for piece in batch:
            place = piece.choice
            if place not in self._calls:
                self._calls[place] = 0
                yield self._event(place, '{"role":"assistant","content":"","refusal":null}')
            match piece:
                case Text():
                    scores = self._logprobs and piece.scores
                    if scores:
                        shown = json.dumps({"content": scores_json(piece.scores), "refusal": None})
                        yield self._event(place, f'{{"content":{quoted(piece.text)}}}', shown)
                    elif piece.text:
                        yield self._event(place, f'{{"content":{quoted(piece.text)}}}')
                case Reasoning():
                    yield self._event(place, f'{{"reasoning_content":{quoted(piece.text)}}}')
                case Refusal():
                    said = quoted(piece.text)
                    # "I don't know" is an answer, also to clients that show the content alone.
                    content = f'"content":{said},' if piece.reason == UNANSWERED else ""
                    yield self._event(place, f'{{{content}"refusal":{said}}}')
                case ToolCall() | ToolCallDelta():
                    if delta := self._call_delta(piece):
                        yield self._event(place, delta)
                case Finish():
                    yield self._event(place, "{}", reason=f'"{self._reason(piece.reason)}"')
                case Citation():
                    note = annotation(piece, self._envelope.model.name)
                    noted = self._entry(place, "annotations", note)
                    own = self._entry(place, "linnet", piece.as_json())
                    yield self._event(place, f"{{{noted},{own}}}")
                case _ if is_own(piece):
                    yield self._event(place, f"{{{self._entry(place, 'linnet', piece.as_json())}}}")

    def _entry(self, place: int, name: str, entry: Mapping[str, Any]) -> str:
        """One more entry of a list. OpenAI's clients put lists together by ``index``, and give up
        on entries without one."""
        index = self._entries[place, name]
        self._entries[place, name] += 1
        return f'"{name}":{json.dumps([{"index": index, **entry}])}'

    def _call_delta(self, piece: ToolCall | ToolCallDelta) -> str:
        """A call, or the next characters of its arguments; nothing where it was streamed."""
        began = self._streamed.get(piece.choice) == piece.id
        if isinstance(piece, ToolCall) and began:
            return ""
        if self._legacy:
            named = "" if began else f'"name":{quoted(piece.name)},'
            self._calls[piece.choice] = 1
            self._streamed[piece.choice] = piece.id
            return f'{{"function_call":{{{named}"arguments":{quoted(piece.arguments)}}}}}'
        if began:
            index = self._calls[piece.choice] - 1
            name = "input" if piece.custom else "arguments"
            inner = f'{{"{name}":{quoted(piece.arguments)}}}'
            kind = "custom" if piece.custom else "function"
            return f'{{"tool_calls":[{{"index":{index},"{kind}":{inner}}}]}}'
        whole = ToolCall(piece.id, piece.name, piece.arguments, custom=piece.custom)
        entry = json.dumps({"index": self._calls[piece.choice], **call_json(whole)})
        self._calls[piece.choice] += 1
        self._streamed[piece.choice] = piece.id
        return f'{{"tool_calls":[{entry}]}}'

    def whole(self, answers: Sequence[Answer], tokens: Tokens) -> Any:
        """The answer in one."""
        choices = []
        for place, answer in enumerate(answers):
            message: dict[str, Any] = {
                "role": "assistant", "content": answer.text, "refusal": answer.refusal,
            }  # fmt: skip
            if answer.reasoning:
                message["reasoning_content"] = answer.reasoning
            if answer.tool_calls:
                message["content"] = answer.text.strip() or None
                calls = [call_json(call) for call in answer.tool_calls]
                message |= (
                    {"function_call": calls[0]["function"]} if self._legacy
                    else {"tool_calls": calls}
                )  # fmt: skip
            if any(isinstance(p, Refusal) and p.reason == UNANSWERED for p in answer.pieces):
                message["content"] = answer.refusal
            if answer.citations:
                model = self._envelope.model.name
                message["annotations"] = [annotation(each, model) for each in answer.citations]
            if own := [piece.as_json() for piece in answer.pieces if is_own(piece)]:
                message["linnet"] = own
            logprobs = None
            if self._logprobs:
                logprobs = {"content": scores_json(answer.scores), "refusal": None}
            choices.append(
                {
                    "index": place,
                    "message": message,
                    "logprobs": logprobs,
                    "finish_reason": self._reason(answer.finish_reason),
                }
            )
        return self._envelope.whole("chat.completion", choices, tokens)

    def _reason(self, reason: str) -> str:
        if self._legacy and reason == "tool_calls":
            return "function_call"
        return _reason(reason)

    def _event(
        self, place: int, delta: str, logprobs: str = "null", *, reason: str = "null"
    ) -> str:
        return self._envelope.event(
            place, f'"delta":{delta},"logprobs":{logprobs},"finish_reason":{reason}'
        )


def annotation(cited: Citation, model: str) -> dict[str, Any]:
    """A citation in the one form that OpenAI's chat has for them; places count characters of the
    answer."""
    return {
        "type": "url_citation",
        "url_citation": {
            "start_index": cited.answer_start,
            "end_index": cited.answer_end,
            "title": cited.title or cited.source,
            "url": source_url(cited, model),
        },
    }


def source_url(cited: Citation, model: str) -> str:
    """Where this server shows what is cited; a page of the web is its own address."""
    if cited.source.startswith(("http://", "https://")):
        return cited.source
    place = urlencode(
        {"model": model, "source": cited.source, "start": cited.start, "end": cited.end}
    )
    return f"/v1/documents/source?{place}"


def is_own(piece: Piece) -> bool:
    """Whether OpenAI's interface has no place for it."""
    known = Text | Reasoning | Refusal | ToolCall | ToolCallDelta | Finish | Usage
    return not isinstance(piece, known) and not (
        isinstance(piece, Status) and piece.state == "writing"
    )


def _reason(reason: str) -> str:
    return _REASONS.get(reason, reason)


def scores_json(scores: Sequence[TokenScore]) -> list[dict[str, Any]]:
    """Each token with its probability and the likeliest beside it."""
    return [
        {
            **_token(score.spelling, score.logprob),
            "top_logprobs": [_token(spelling, likely) for spelling, likely in score.top],
        }
        for score in scores
    ]


def _token(spelling: bytes, logprob: float) -> dict[str, Any]:
    return {
        "token": spelling.decode("utf-8", "replace"),
        "logprob": logprob if logprob > UNLIKELY else UNLIKELY,
        "bytes": list(spelling),
    }
