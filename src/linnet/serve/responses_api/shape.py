"""From an answer's pieces to the items of a response, and to the events that tell of them.

Each item is announced, filled and closed, and so is each part of a message: events come in the
order that OpenAI's have, numbered without a gap. What a response has no place for (passages,
claims, decisions, ...) is in its ``linnet``, each as ``{"type": ..., ...}``.

Reference: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any

from linnet.respond.pieces import (
    UNANSWERED,
    Batch,
    Citation,
    Finish,
    Passage,
    Piece,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolCallDelta,
)
from linnet.serve.errors import ApiError
from linnet.serve.responses_api.items import item_id, output_text
from linnet.serve.responses_api.reading import Asked, renamed
from linnet.serve.shapes import EVENT_STREAM, Framing, annotation, is_own, scores_json

if TYPE_CHECKING:
    from linnet.respond.context import Tokens
    from linnet.respond.responder import Answer

_STATUSES = {"length": "incomplete"}
_CALLS = {False: ("function_call", "arguments"), True: ("custom_tool_call", "input")}
_DELTAS = {
    "arguments": "response.function_call_arguments",
    "input": "response.custom_tool_call_input",
}


def _first_error(error: ApiError) -> str:
    """What ends a stream that goes wrong before there is a response."""
    fields = {"code": error.code, "message": error.message, "param": renamed(error).param}
    data = json.dumps({"type": "error", **fields, "sequence_number": 0})
    return f"event: error\ndata: {data}\n\n"


FRAMING = Framing(EVENT_STREAM, ": waiting\n\n", _first_error)


class ResponseShape:
    """One response; given its pieces by :meth:`take`, before they are sent."""

    content_type = FRAMING.content_type
    keep_alive = FRAMING.keep_alive

    def __init__(self, asked: Asked, *, streams: bool, documents: str) -> None:
        """``streams``: whether events are wanted. ``documents``: the name under which this server
        shows what is cited."""
        self.output: list[dict[str, Any]] = []
        """The items so far."""
        self._asked = asked
        self._body = dict(asked.body)
        self._documents = documents
        self._query: str | None = None
        """What is to be searched."""
        self._most: int | None = None
        self.streams = streams
        self._events: list[str] = []
        self._number = 0
        self._own: list[dict[str, Any]] = []
        self._item: dict[str, Any] | None = None
        """The item that is being written; the last of the output."""
        self._part: dict[str, Any] | None = None
        """The part of it that is."""
        self._whole_call = False
        """Whether it is a call that is all there."""
        self._pieces: list[str] = []
        """What that part, or the call, consists of so far."""

    # What is told to the service

    def events(self, batch: Batch) -> Iterator[str]:
        """The events of what was taken."""
        events, self._events = self._events, []
        return iter(events)

    def end(self, tokens: Tokens) -> str:
        """The last event, with the whole response."""
        body = self.body(tokens)
        self._event(f"response.{body['status']}", response=body)
        return "".join(self.events(()))

    def error(self, error: ApiError) -> str:
        """What ends a stream that goes wrong after it began."""
        self.begin()
        error = renamed(error)
        self._event("error", code=error.code, message=error.message, param=error.param)
        self._event("response.failed", response=self.fail(error))
        return "".join(self.events(()))

    def whole(self, answers: Sequence[Answer], tokens: Tokens) -> Any:
        """The response in one."""
        return self.body(tokens)

    # What the endpoint does with it

    @property
    def has_begun(self) -> bool:
        """Whether there is anything of it."""
        return self._number > 0

    def begin(self) -> None:
        """Announce the response, once."""
        if not self._number:
            self._event("response.created", response=self._body)
            self._event("response.in_progress", response=self._body)
            if self._query is not None:
                self._open("file_search_call", {"queries": [self._query], "results": None})
                for state in ("in_progress", "searching"):
                    self._event(f"response.file_search_call.{state}", **self._where)

    def search(self, query: str, *, most: int | None) -> None:
        """Tell of a search as the first item; ``most``: so many of its passages."""
        self._query, self._most = query, most

    def take(self, batch: Batch) -> None:
        """Put the next pieces into items."""
        self.begin()
        for piece in batch:
            self._take(piece)

    def note(self, *pieces: Piece) -> None:
        """Tell of something beside the answer."""
        self._own += [piece.as_json() for piece in pieces]

    def not_kept(self) -> None:
        """The response cannot be found by its id afterwards."""
        self._body["store"] = False

    def fail(self, error: ApiError) -> dict[str, Any]:
        """The response, which ends with an error."""
        self._body["status"] = "failed"
        code = "rate_limit_exceeded" if error.status == 429 else "invalid_prompt"
        code = "server_error" if error.status >= 500 else code
        self._body["error"] = {"code": code, "message": error.message}
        events, number = list(self._events), self._number
        self._close("incomplete")
        self._events, self._number = events, number  # of what was cut nothing more is told
        return self._with_output()

    def body(self, tokens: Tokens) -> dict[str, Any]:
        """The response as it is now."""
        self._body["usage"] = {
            "input_tokens": tokens.prompt,
            "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
            "output_tokens": tokens.written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens.prompt + tokens.written,
        }
        return self._with_output()

    def _with_output(self) -> dict[str, Any]:
        own = {"linnet": self._own} if self._own else {}
        return {**self._body, "output": self.output, **own}

    # From pieces to items

    def _take(self, piece: Piece) -> None:
        match piece:
            case Text() if piece.text or (piece.scores and self._part is not None):
                self._write("output_text", piece.text, scores_json(piece.scores))
            case Reasoning() if piece.text:
                self._think(piece.text)
            case Refusal():
                if piece.reason == UNANSWERED:
                    # "I don't know" is an answer, also to clients that show text alone.
                    self._write("output_text", piece.text)
                self._write("refusal", piece.text)
            case ToolCallDelta():
                self._call(piece)
                self._call_delta(piece.arguments)
            case ToolCall():
                self._call(piece)
                self._call_delta(piece.arguments[len("".join(self._pieces)) :])
                assert self._item is not None
                self._item[_CALLS[piece.custom][1]] = piece.arguments
                self._whole_call = piece.custom or _is_json(piece.arguments)
            case Passage() if self._is_searching and self._asked.shows_results:
                self._found(piece)
            case Citation():
                self._cite(piece)
            case Finish():
                if not self.output:
                    self._write("output_text", "")
                status = _STATUSES.get(piece.reason, "completed")
                self._close("completed" if self._whole_call else status)
                self._body["status"] = status
                if status == "completed":
                    self._body["completed_at"] = int(time.time())
                else:
                    self._body["incomplete_details"] = {"reason": "max_output_tokens"}
        if is_own(piece):
            self.note(piece)

    def _open(self, kind: str, fields: Mapping[str, Any]) -> None:
        self._close("completed")
        self._item = {"id": item_id(kind), "type": kind, "status": "in_progress", **fields}
        self.output.append(self._item)
        self._event("response.output_item.added", output_index=self._place, item=self._item)

    def _close(self, status: str) -> None:
        """The item that is being written is all there, or as far as it came."""
        item = self._item
        if item is None:
            return
        self._close_part()
        if item["type"] in ("function_call", "custom_tool_call"):
            name = "arguments" if item["type"] == "function_call" else "input"
            item[name] = item[name] or "".join(self._pieces)
            self._event(f"{_DELTAS[name]}.done", **self._where, **{name: item[name]})
        if self._is_searching:
            self._event("response.file_search_call.completed", **self._where)
        item["status"] = status
        self._event("response.output_item.done", output_index=self._place, item=item)
        self._item, self._pieces, self._whole_call = None, [], False

    def _write(self, kind: str, text: str, scores: Sequence[Any] = ()) -> None:
        """More text of a message, or of a refusal."""
        if self._item is None or self._item["type"] != "message":
            self._open("message", {"role": "assistant", "content": []})
        assert self._item is not None
        if self._part is None or self._part["type"] != kind:
            self._close_part()
            new = output_text("") if kind == "output_text" else {"type": kind, "refusal": ""}
            self._open_part(new, "content")
        assert self._part is not None
        self._pieces.append(text)
        if kind == "refusal":
            self._event("response.refusal.delta", **self._within, delta=text)
            return
        self._part["logprobs"] += scores
        if self.streams:
            shown = json.dumps(_without_bytes(scores)) if scores else "[]"
            rest = f'"logprobs":{shown},"sequence_number":{self._number}}}'
            self._number += 1
            self._events.append(f"{self._delta_head}{quoted(text)},{rest}\n\n")

    def _think(self, text: str) -> None:
        if self._item is None or self._item["type"] != "reasoning":
            self._open("reasoning", {"summary": [], "content": []})
        if self._part is None:
            kind, place = ("summary_text", "summary") if self._asked.summarizes else (
                "reasoning_text", "content"
            )  # fmt: skip
            self._open_part({"type": kind, "text": ""}, place)
        self._pieces.append(text)
        name = "reasoning_summary_text" if self._asked.summarizes else "reasoning_text"
        self._event(f"response.{name}.delta", **self._within, delta=text)

    def _call(self, piece: ToolCall | ToolCallDelta) -> None:
        """Begin a call, unless it is the one that is being written."""
        kind, name = _CALLS[piece.custom]
        if self._item is None or self._item.get("call_id") != piece.id:
            self._open(kind, {"call_id": piece.id, "name": piece.name, name: ""})

    def _call_delta(self, text: str) -> None:
        assert self._item is not None
        if text:
            self._pieces.append(text)
            name = "arguments" if self._item["type"] == "function_call" else "input"
            self._event(f"{_DELTAS[name]}.delta", **self._where, delta=text)

    @property
    def _is_searching(self) -> bool:
        return self._item is not None and self._item["type"] == "file_search_call"

    def _found(self, piece: Passage) -> None:
        """A passage that the search found."""
        assert self._item is not None
        results = self._item["results"] = self._item["results"] or []
        if self._most is None or len(results) < self._most:
            results.append(
                {
                    "file_id": piece.source, "filename": piece.source,
                    "score": piece.score, "text": piece.text, "attributes": {},
                }
            )  # fmt: skip

    def _cite(self, piece: Citation) -> None:
        part = self._part
        if part is None or part["type"] != "output_text":
            return  # it is under linnet, as all are
        cited = annotation(piece, self._documents)
        part["annotations"].append({"type": "url_citation", **cited["url_citation"]})
        self._event(
            "response.output_text.annotation.added", **self._within,
            annotation_index=len(part["annotations"]) - 1, annotation=part["annotations"][-1],
        )  # fmt: skip

    def _open_part(self, part: dict[str, Any], place: str) -> None:
        assert self._item is not None
        self._item[place].append(part)
        self._part = part
        name = "reasoning_summary_part" if place == "summary" else "content_part"
        self._event(f"response.{name}.added", **self._within, part=part)
        if part["type"] == "output_text":
            where = json.dumps(self._within)[1:-1]
            self._delta_head = (
                "event: response.output_text.delta\n"
                f'data: {{"type":"response.output_text.delta",{where},"delta":'
            )

    def _close_part(self) -> None:
        part = self._part
        if part is None:
            return
        text, self._pieces = "".join(self._pieces), []
        field = "refusal" if part["type"] == "refusal" else "text"
        part[field] = text
        more = (
            {"logprobs": _without_bytes(part["logprobs"])} if part["type"] == "output_text" else {}
        )
        name = {
            "output_text": "output_text", "refusal": "refusal", "reasoning_text": "reasoning_text",
            "summary_text": "reasoning_summary_text",
        }[part["type"]]  # fmt: skip
        self._event(f"response.{name}.done", **self._within, **{field: text}, **more)
        name = "reasoning_summary_part" if part["type"] == "summary_text" else "content_part"
        self._event(f"response.{name}.done", **self._within, part=part)
        self._part = None

    # Events

    @property
    def _place(self) -> int:
        return len(self.output) - 1

    @property
    def _where(self) -> dict[str, Any]:
        assert self._item is not None
        return {"item_id": self._item["id"], "output_index": self._place}

    @property
    def _within(self) -> dict[str, Any]:
        """The place of the part that is being written."""
        assert self._item is not None
        assert self._part is not None
        if self._part["type"] == "summary_text":
            return {**self._where, "summary_index": len(self._item["summary"]) - 1}
        return {**self._where, "content_index": len(self._item["content"]) - 1}

    def _event(self, kind: str, **fields: Any) -> None:
        number, self._number = self._number, self._number + 1
        if self.streams:
            data = json.dumps({"type": kind, **fields, "sequence_number": number})
            self._events.append(f"event: {kind}\ndata: {data}\n\n")


def _without_bytes(scores: Sequence[Any]) -> list[dict[str, Any]]:
    """Probabilities as events have them; in items they are whole."""
    return [
        {
            "token": score["token"],
            "logprob": score["logprob"],
            "top_logprobs": [
                {"token": likely["token"], "logprob": likely["logprob"]}
                for likely in score["top_logprobs"]
            ],
        }
        for score in scores
    ]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
