"""Answers as Anthropic's clients read them: blocks of content, each opened, filled and closed.

Citations are ``char_location``, whose documents are counted in the order in which they are cited;
pieces that the interface has no place for, and citations in full, are under ``linnet``.

Reference: https://docs.anthropic.com/en/docs/build-with-claude/streaming
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from linnet.respond.conversation import arguments_of
from linnet.respond.pieces import (
    Batch,
    Citation,
    Finish,
    Piece,
    Reasoning,
    Refusal,
    Status,
    Text,
    ToolCall,
    ToolCallDelta,
    Usage,
    new_id,
)
from linnet.serve.errors import ApiError
from linnet.serve.shapes import EVENT_STREAM, Framing

if TYPE_CHECKING:
    from linnet.respond.context import Tokens
    from linnet.respond.responder import Answer
    from linnet.serve.asgi import Call

_KINDS = {
    401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    408: "timeout_error", 413: "request_too_large", 429: "rate_limit_error",
    503: "overloaded_error", 504: "timeout_error",
}  # fmt: skip


def error_json(error: ApiError) -> dict[str, Any]:
    """What is wrong, as Anthropic's clients read it."""
    kind = _KINDS.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    message = error.message
    if error.code == "context_length_exceeded":  # by this some clients know that they must shorten
        message = f"prompt is too long: {message}"
    return {"type": "error", "error": {"type": kind, "message": message}}


def error_body(error: ApiError) -> bytes:
    """The same as a body."""
    return json.dumps(error_json(error)).encode()


def usage_json(tokens: Tokens) -> dict[str, int]:
    """Counts; those of the prompt are the sum of the first three."""
    return {
        "input_tokens": tokens.prompt - tokens.cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": tokens.cached,
        "output_tokens": tokens.written,
    }


def stream_error(error: ApiError) -> str:
    """What ends a stream that goes wrong after it began."""
    return _event(error_json(error))


FRAMING = Framing(EVENT_STREAM, 'event: ping\ndata: {"type": "ping"}\n\n', stream_error)


class MessagesShape:
    """One message."""

    content_type = FRAMING.content_type
    keep_alive = FRAMING.keep_alive

    def __init__(self, call: Call, *, limit: int) -> None:
        """``limit``: the most tokens that were asked for."""
        self._model = call.model.name
        self._record = call.record
        self._limit = limit
        self._begun = False
        self._place = -1
        """Of the block that was begun last."""
        self._open: str | None = None
        """Its type, until it is closed."""
        self._call: str | None = None
        """The id of the call that is open."""
        self._ending = _Ending()

    def events(self, batch: Batch) -> Iterator[str]:
        """The events for these pieces."""
        for piece in batch:
            self._ending.add(piece)
            if not self._begun and not _is_before(piece):
                yield self._start()
            match piece:
                case Text() if piece.text:
                    yield self._within("text")
                    yield self._delta(f'"type":"text_delta","text":{quoted(piece.text)}')
                case Refusal() if piece.text:
                    yield self._within("text")
                    yield self._delta(f'"type":"text_delta","text":{quoted(piece.text)}')
                case Reasoning() if piece.text:
                    yield self._within("thinking")
                    yield self._delta(f'"type":"thinking_delta","thinking":{quoted(piece.text)}')
                case Citation():
                    yield self._within("text")
                    cited = json.dumps(self._ending.location(piece))
                    yield self._delta(f'"type":"citations_delta","citation":{cited}')
                case ToolCallDelta():
                    yield self._within_call(piece)
                    yield self._arguments(piece.arguments)
                case ToolCall():
                    if self._call != piece.id:
                        yield self._within_call(piece)
                        yield self._arguments(json.dumps(arguments_of(piece), ensure_ascii=False))
                    yield self._close()
                case Finish():
                    yield self._close()

    def end(self, tokens: Tokens) -> str:
        """Why it ended, and the counts."""
        start = "" if self._begun else self._start()
        about: dict[str, Any] = {
            "type": "message_delta",
            "delta": self._ending.reason(tokens, self._limit),
            "usage": usage_json(tokens),
        }
        if self._ending.own:
            about["linnet"] = self._ending.own
        return f"{start}{self._close()}{_event(about)}{_event({'type': 'message_stop'})}"

    def error(self, error: ApiError) -> str:
        """What ends a stream that goes wrong after it began."""
        return stream_error(error)

    def whole(self, answers: Sequence[Answer], tokens: Tokens) -> Any:
        """The answer in one."""
        content: list[dict[str, Any]] = []
        for piece in answers[0].pieces:
            self._ending.add(piece)
            self._add(content, piece)
        whole = self._message(content, tokens)
        if self._ending.own:
            whole["linnet"] = self._ending.own
        return {**whole, **self._ending.reason(tokens, self._limit)}

    def _add(self, content: list[dict[str, Any]], piece: Piece) -> None:
        """Put a piece into the content."""

        def last(kind: str) -> dict[str, Any]:
            if not content or content[-1]["type"] != kind:
                content.append(_empty(kind))
            return content[-1]

        match piece:
            case Text() | Refusal() if piece.text:
                last("text")["text"] += piece.text
            case Reasoning() if piece.text:
                last("thinking")["thinking"] += piece.text
            case Citation():
                block = last("text")
                block.setdefault("citations", []).append(self._ending.location(piece))
            case ToolCall():
                content.append(_tool_use(piece, arguments_of(piece)))

    def _message(self, content: list[dict[str, Any]], tokens: Tokens) -> dict[str, Any]:
        return {
            "id": new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_json(tokens),
        }

    def _start(self) -> str:
        self._begun = True
        message = self._message([], self._record.tokens)
        message["usage"]["output_tokens"] = 0
        return _event({"type": "message_start", "message": message})

    def _within(self, kind: str) -> str:
        """What is to be sent before a piece of a block of this type."""
        return "" if self._open == kind else self._close() + self._begin(kind, _empty(kind))

    def _within_call(self, call: ToolCall | ToolCallDelta) -> str:
        """The same of a call."""
        if self._call == call.id:
            return ""
        begun = self._close() + self._begin("tool_use", _tool_use(call, {}))
        self._call = call.id
        return begun

    def _arguments(self, written: str) -> str:
        if not written:
            return ""
        return self._delta(f'"type":"input_json_delta","partial_json":{quoted(written)}')

    def _begin(self, kind: str, block: Mapping[str, Any]) -> str:
        self._open = kind
        self._place += 1
        return _event({"type": "content_block_start", "index": self._place, "content_block": block})

    def _delta(self, delta: str) -> str:
        return (
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
            f'{self._place},"delta":{{{delta}}}}}\n\n'
        )

    def _close(self) -> str:
        if self._open is None:
            return ""
        self._open = self._call = None
        return _event({"type": "content_block_stop", "index": self._place})


class _Ending:
    """What is known of an answer beside its content."""

    def __init__(self) -> None:
        self.own: list[dict[str, Any]] = []
        """Pieces that the interface has no place for."""
        self._finish: Finish | None = None
        self._refusal: str | None = None
        self._sources: dict[str, int] = {}

    def add(self, piece: Piece) -> None:
        """Take note of a piece."""
        match piece:
            case Finish():
                self._finish = piece
            case Refusal():
                self._refusal = (self._refusal or "") + piece.text
            case Text() | Reasoning() | ToolCall() | ToolCallDelta() | Usage():
                pass
            case Status(state="writing"):
                pass
            case _:
                self.own.append(piece.as_json())

    def location(self, cited: Citation) -> dict[str, Any]:
        """A citation as text blocks have it."""
        return {
            "type": "char_location",
            "cited_text": cited.text,
            "document_index": self._sources.setdefault(cited.source, len(self._sources)),
            "document_title": cited.title or cited.source,
            "start_char_index": cited.start,
            "end_char_index": cited.end,
        }

    def reason(self, tokens: Tokens, limit: int) -> dict[str, Any]:
        """Why it ended."""
        finish = self._finish or Finish("stop")
        stop = finish.stop if finish.reason == "stop" else None
        reason = {
            "stop": "end_turn" if stop is None else "stop_sequence",
            "length": "max_tokens" if tokens.written >= limit else "model_context_window_exceeded",
            "tool_calls": "tool_use",
            "refusal": "refusal",
        }[finish.reason]
        found: dict[str, Any] = {"stop_reason": reason, "stop_sequence": stop}
        if reason == "refusal":
            found["stop_details"] = {
                "type": "refusal", "category": None, "explanation": self._refusal,
            }  # fmt: skip
        return found


def _is_before(piece: Piece) -> bool:
    """Whether it comes while the prompt's tokens are not yet counted."""
    return not isinstance(
        piece, Text | Refusal | Reasoning | Citation | ToolCall | ToolCallDelta | Finish | Usage
    ) and not (isinstance(piece, Status) and piece.state == "writing")


def _empty(kind: str) -> dict[str, Any]:
    if kind == "text":
        return {"type": "text", "text": ""}
    return {"type": "thinking", "thinking": "", "signature": ""}


def _tool_use(call: ToolCall | ToolCallDelta, arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": arguments}


def _event(value: Mapping[str, Any]) -> str:
    return f"event: {value['type']}\ndata: {json.dumps(value)}\n\n"
