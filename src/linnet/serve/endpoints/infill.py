"""``/infill``: the middle of a text, for editors that speak llama.cpp's interface.

Reference: ``tools/server/README.md`` in https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linnet.generate.engine import Request
from linnet.respond.conversation import ContextFullError
from linnet.respond.engine import EngineResponder
from linnet.respond.engine_requests import Requests
from linnet.respond.fitting import require_fitting
from linnet.respond.pieces import Batch, Finish, Piece, Text
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.sampling import sampling_of
from linnet.serve.schemas import (
    COUNT,
    FLAG,
    MODEL,
    SAMPLING,
    TEXT,
    listed,
    nullable,
    record,
    whole,
)  # fmt: skip
from linnet.serve.shapes import OPENAI_FRAMING

if TYPE_CHECKING:
    from linnet.respond.context import Context, Tokens
    from linnet.respond.responder import Answer, Batches
    from linnet.serve.errors import ApiError
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

MOST_FILES = 1024
_SAMPLED = tuple(name for name in SAMPLING if name not in ("max_tokens", "n"))


async def answer(service: Service, call: Call) -> None:
    """POST /infill."""
    body, model = call.body, call.model.continuing
    longest = service.config.max_tokens

    def write(context: Context) -> Batches:
        return model.write(lambda: requests(body, model, longest=longest), context)

    await service.generate(call, write, InfillShape(call), texts=1)


def requests(body: Mapping[str, Any], model: EngineResponder, *, longest: int) -> Requests:
    """What a body asks of the engine. ``longest``: the server's limit in tokens, 0 for none."""
    engine, infill = model.engine, model.require_infill("input_suffix")
    prefix = (body.get("input_prefix") or "") + (body.get("prompt") or "")
    suffix = body.get("input_suffix") or ""
    files = [
        (each.get("filename") or "tmp", each["text"]) for each in body.get("input_extra") or ()
    ]
    require_fitting(
        [prefix, suffix, *(text for _, text in files)], engine.context,
        lambda text: len(engine.tokenize(text)), part="input_prefix",
    )  # fmt: skip
    tokens = infill.prompt(prefix, suffix, files=files)
    if len(tokens) >= engine.context:
        raise ContextFullError(len(tokens), engine.context, part="input_prefix")
    most = body.get("n_predict")
    sampling = sampling_of(
        {name: body.get(name) for name in _SAMPLED},
        most=most if most is not None and most > 0 else None,
        longest=longest, context=engine.context,
    )  # fmt: skip
    request = Request(tokens, sampling, adapter=model.adapter, stop_ids=infill.ends)
    return Requests((request,), part="input_prefix")


class InfillShape:
    """The middle, as llama.cpp's clients read it."""

    content_type = OPENAI_FRAMING.content_type
    keep_alive = OPENAI_FRAMING.keep_alive

    def __init__(self, call: Call) -> None:
        self._call = call
        self._fields: Sequence[str] = call.body.get("response_fields") or ()
        self._finish: Finish = Finish("stop")

    def events(self, batch: Batch) -> Iterator[str]:
        """The events for these pieces."""
        for piece in batch:
            self._keep(piece)
            if isinstance(piece, Text) and (piece.text or piece.tokens):
                yield _event(self._piece(piece.text, piece.tokens, stop=False))

    def end(self, tokens: Tokens) -> str:
        """The last event, with counts and times."""
        return _event(self._last("", (), tokens))

    def error(self, error: ApiError) -> str:
        """What ends a stream that goes wrong after it began."""
        return f"data: {error.body().decode()}\n\n"

    def whole(self, answers: Sequence[Answer], tokens: Tokens) -> Any:
        """The answer in one."""
        (one,) = answers
        for piece in one.pieces:
            self._keep(piece)
        return self._last(one.text, one.tokens, tokens)

    def _keep(self, piece: Piece) -> None:
        if isinstance(piece, Finish):
            self._finish = piece

    def _piece(self, text: str, tokens: Sequence[int], *, stop: bool) -> dict[str, Any]:
        counts = self._call.record.tokens
        return {
            "index": 0,
            "content": text,
            "tokens": list(tokens) if self._call.body.get("return_tokens") else [],
            "stop": stop,
            "id_slot": -1,
            "tokens_predicted": counts.written,
            "tokens_evaluated": counts.prompt,
        }

    def _last(self, text: str, tokens: Sequence[int], counts: Tokens) -> dict[str, Any]:
        kind = "word" if self._finish.stop is not None else "eos"
        whole = {
            **self._piece(text, tokens, stop=True),
            "model": self._call.model.name,
            "truncated": False,
            "stop_type": "limit" if self._finish.reason == "length" else kind,
            "stopping_word": self._finish.stop or "",
            "tokens_cached": counts.cached,
            "timings": self._timings(counts),
        }
        return _chosen(whole, self._fields) if self._fields else whole

    def _timings(self, counts: Tokens) -> dict[str, Any]:
        record, end = self._call.record, time.monotonic()
        first = record.first_at if record.first_at is not None else end
        found: dict[str, Any] = {}
        for name, count, seconds in (
            ("prompt", counts.prompt - counts.cached, first - self._call.arrived),
            ("predicted", counts.written, end - first),
        ):
            found |= {
                f"{name}_n": count,
                f"{name}_ms": seconds * 1000,
                f"{name}_per_token_ms": seconds * 1000 / max(1, count),
                f"{name}_per_second": count / seconds if seconds > 0 else 0.0,
            }
        return found


def _chosen(whole: Mapping[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The fields at these paths, such as ``timings/prompt_n``, by their paths."""
    found = {}
    for path in paths:
        value: Any = whole
        for name in path.split("/"):
            value = value.get(name) if isinstance(value, Mapping) else None
        if value is not None:
            found[path] = value
    return found


def _event(value: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(value)}\n\n"


BODY: Schema = record(
    {
        "model": MODEL,
        "input_prefix": nullable(TEXT),
        "input_suffix": nullable(TEXT),
        "input_extra": {
            "type": ["array", "null"], "maxItems": MOST_FILES,
            "items": record(
                {"filename": nullable(TEXT), "text": TEXT}, required=("text",), more=True
            ),
            "description": "Other files, shown before the text.",
        },
        "prompt": {**nullable(TEXT), "description": "More of the prefix."},
        **{name: SAMPLING[name] for name in _SAMPLED},
        "n_predict": whole(-1, 2**31 - 1, "The most tokens; below 1: as the context allows."),
        "stream": FLAG,
        "return_tokens": FLAG,
        "response_fields": {
            "type": ["array", "null"], "items": TEXT, "maxItems": 64,
            "description": "The fields of the answer that are wanted, such as timings/prompt_n.",
        },
        **{
            name: {"description": "Accepted, and without effect here."}
            for name in ("id_slot", "cache_prompt", "samplers", "n_indent", "n_keep",
                         "t_max_prompt_ms", "t_max_predict_ms", "timings_per_token")
        },
    },
)  # fmt: skip
_ANSWER = record(
    {
        "index": COUNT, "content": TEXT, "tokens": listed(COUNT), "stop": {"type": "boolean"},
        "id_slot": {"type": "integer"}, "tokens_predicted": COUNT, "tokens_evaluated": COUNT,
        "model": TEXT, "truncated": {"type": "boolean"}, "stop_type": TEXT, "stopping_word": TEXT,
        "tokens_cached": COUNT, "timings": {"type": "object"},
    },
    more=True,
)  # fmt: skip

INFILL = Endpoint(
    "POST", "/infill", answer, "The middle between two texts, where the model can write it.",
    body=BODY, answer=_ANSWER, streams=True, framing=OPENAI_FRAMING,
)  # fmt: skip
