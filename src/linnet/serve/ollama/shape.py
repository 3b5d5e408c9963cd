"""Answers as Ollama's clients read them: an object of JSON a line, counts and times in the last."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from linnet.respond.conversation import arguments_of
from linnet.respond.pieces import (
    Batch,
    Finish,
    Piece,
    Reasoning,
    Refusal,
    Status,
    Text,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from linnet.serve.shapes import Framing, scores_json

if TYPE_CHECKING:
    from linnet.respond.context import Tokens
    from linnet.respond.responder import Answer
    from linnet.serve.asgi import Call
    from linnet.serve.errors import ApiError

NDJSON = b"application/x-ndjson"


def error_body(error: ApiError) -> bytes:
    """What is wrong, as Ollama's clients read it."""
    return json.dumps({"error": error.message}).encode()


def now() -> str:
    """The time as Go writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def stream_error(error: ApiError) -> str:
    """What ends a stream that goes wrong after it began."""
    return error_body(error).decode() + "\n"


def _framing(content: Mapping[str, Any]) -> Framing:
    """Of streams whose pieces have such content: every line must be one."""
    line = json.dumps({"model": "", **content, "done": False}) + "\n"
    return Framing(NDJSON, line, stream_error, by_default=True)


CHAT_FRAMING = _framing({"message": {"role": "assistant", "content": ""}})
GENERATE_FRAMING = _framing({"response": ""})


class OllamaShape:
    """One answer, of a conversation or to a prompt."""

    content_type = NDJSON

    def __init__(self, call: Call, *, chat: bool, logprobs: bool) -> None:
        """``chat``: whether it is a message, and otherwise a text."""
        self.context: Sequence[int] = ()
        """The tokens of the prompt, where the answer tells them; known once it was read."""
        self._written: list[int] = []
        self._name: str = call.body["model"]
        self._call = call
        self._chat = chat
        self._logprobs = logprobs
        self._reason = "stop"
        self._calls = 0

    @property
    def keep_alive(self) -> str:
        """An empty piece, as every line must be JSON."""
        return self._line()

    def events(self, batch: Batch) -> Iterator[str]:
        """The lines for these pieces."""
        for piece in batch:
            match piece:
                case Text():
                    self._written += piece.tokens
                    scores = scores_json(piece.scores) if self._logprobs else []
                    if piece.text or scores:
                        yield self._line(piece.text, **({"logprobs": scores} if scores else {}))
                case Reasoning() if piece.text:
                    yield self._line(thinking=piece.text)
                case Refusal() if piece.text:
                    yield self._line(piece.text)
                case ToolCall():
                    yield self._line(tool_calls=[self._tool_call(piece)])
                case Finish():
                    self._reason = _reason(piece)
                case _ if _is_own(piece):
                    yield self._line(linnet=[piece.as_json()])

    def end(self, tokens: Tokens) -> str:
        """The last line, with counts and times."""
        return self._line(**self._ending(tokens))

    def error(self, error: ApiError) -> str:
        """What ends a stream that goes wrong after it began."""
        return stream_error(error)

    def whole(self, answers: Sequence[Answer], tokens: Tokens) -> Any:
        """The answer in one."""
        answer = answers[0]
        self._written += answer.tokens
        more: dict[str, Any] = {}
        if answer.reasoning:
            more["thinking"] = answer.reasoning
        if answer.tool_calls:
            more["tool_calls"] = [self._tool_call(call) for call in answer.tool_calls]
        if self._logprobs:
            more["logprobs"] = scores_json(answer.scores)
        if own := [piece.as_json() for piece in answer.pieces if _is_own(piece)]:
            more["linnet"] = own
        finish = next((p for p in answer.pieces if isinstance(p, Finish)), None)
        self._reason = _reason(finish) if finish is not None else self._reason
        text = answer.text.strip() if answer.tool_calls else answer.text
        return self._object(text + (answer.refusal or ""), **more, **self._ending(tokens))

    def _line(self, text: str = "", **more: Any) -> str:
        return json.dumps(self._object(text, **more)) + "\n"

    def _object(self, text: str, *, done: bool = False, **more: Any) -> dict[str, Any]:
        content: dict[str, Any]
        own: dict[str, Any] = {
            name: more.pop(name) for name in ("thinking", "tool_calls") if name in more
        }
        if self._chat:
            content = {"message": {"role": "assistant", "content": text, **own}}
        else:
            content = {"response": text, **own}
        return {"model": self._name, "created_at": now(), **content, "done": done, **more}

    def _tool_call(self, call: ToolCall) -> dict[str, Any]:
        place, self._calls = self._calls, self._calls + 1
        function = {"index": place, "name": call.name, "arguments": arguments_of(call)}
        return {"id": call.id, "function": function}

    def _ending(self, tokens: Tokens) -> dict[str, Any]:
        record, arrived, end = self._call.record, self._call.arrived, time.monotonic()
        first = record.first_at if record.first_at is not None else end
        times = {
            "total_duration": end - arrived,
            "load_duration": record.queue_seconds,
            "prompt_eval_duration": max(0.0, first - arrived - record.queue_seconds),
            "eval_duration": end - first,
        }
        found: dict[str, Any] = {"done": True, "done_reason": self._reason}
        if self.context:
            found["context"] = [*self.context, *self._written]
        return {
            **found,
            **{name: int(seconds * 1e9) for name, seconds in times.items()},
            "prompt_eval_count": tokens.prompt,
            "eval_count": tokens.written,
        }


def _reason(finish: Finish) -> str:
    return "length" if finish.reason == "length" else "stop"


def _is_own(piece: Piece) -> bool:
    """Whether the interface has no place for it."""
    known = Text | Reasoning | ToolCall | ToolCallDelta | Finish | Usage
    return not isinstance(piece, known) and not (
        isinstance(piece, Status) and piece.state == "writing"
    )
