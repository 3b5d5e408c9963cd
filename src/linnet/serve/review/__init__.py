"""The page at which people review examples, and what it asks of its server.

A page of this machine alone: it is served on loopback, and what it shows needs the key of this
run, which stands behind ``#`` in the address and so reaches no log. Each answer holds all that
the page shows, so that several reviewers and a restarted server need no more than that.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from linnet.examples.decisions import VERDICTS
from linnet.examples.record import KINDS, Example
from linnet.examples.review import Filter, Review, Sitting
from linnet.serve.asgi import Call
from linnet.serve.catalog import Catalog
from linnet.serve.endpoint import Endpoint
from linnet.serve.endpoints.page import page_endpoints
from linnet.serve.page import page_files
from linnet.serve.server import Server
from linnet.serve.service import answer_json
from linnet.serve.settings import ServeConfig

if TYPE_CHECKING:
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

Act: TypeAlias = Callable[[Review, Sitting, Filter, dict[str, Any]], Example | None]
"""What a reviewer does; it gives the example to show then."""

LONGEST_BODY = 1 << 20
_SHARED = ("base.css", "dom.js", "theme.js", "linnet.svg")
_TEXT = {"type": "string", "maxLength": 100_000}
_NAME = {"type": "string", "maxLength": 200}
_FILTER = {
    "type": "object",
    "properties": {
        "kind": {"enum": ["", *KINDS]},
        "generator": _NAME,
        "split": {"enum": ["", "train", "validation", "test"]},
    },
    "additionalProperties": False,
}


def open_review(review: Review, *, port: int = 0, reviewer: str = "") -> tuple[Server, str]:
    """A server of this review, and the address at which a browser opens it.

    ``reviewer``: the name that is noted with each decision.
    Raises ConfigError where the port is taken.
    """
    key = secrets.token_urlsafe(24)
    config = ServeConfig(port=port, api_key=key, max_body=LONGEST_BODY, grace=2.0)
    server = Server(Catalog.none(), config, endpoints=endpoints(review, reviewer))
    return server, f"{server.url}/#{key}"


def endpoints(review: Review, reviewer: str = "") -> tuple[Endpoint, ...]:
    """The page, and what it asks."""
    shared = {name: file for name, file in page_files().items() if name in _SHARED}
    pages = {**shared, **page_files(f"{__name__}.page")}
    asked = partial(_asked, review, reviewer)
    return (
        *page_endpoints(pages),
        asked("/review/next", _next, "The example to look at next.", skip=_NAME),
        asked(
            "/review/decide", _decide, "Decide about an example, and get the next.",
            required=("id", "verdict"), id=_NAME, verdict={"enum": list(VERDICTS)},
            question=_TEXT, answer=_TEXT, quote=_TEXT, note=_TEXT,
        ),
        asked("/review/undo", _undo, "Take back the last decision."),
    )  # fmt: skip


def _asked(
    review: Review,
    reviewer: str,
    path: str,
    act: Act,
    summary: str,
    *,
    required: tuple[str, ...] = (),
    **properties: Schema,
) -> Endpoint:
    """An endpoint that acts, and answers with all that the page shows then."""
    body = {
        "type": "object",
        "properties": {"sitting": _NAME, "filter": _FILTER, **properties},
        "required": ["sitting", *required],
        "additionalProperties": False,
    }
    answer = {"type": "object"}
    return Endpoint(
        "POST", path, partial(_answer, review=review, reviewer=reviewer, act=act), summary,
        body=body, answer=answer, largest_body=LONGEST_BODY,
    )  # fmt: skip


async def _answer(
    service: Service,
    call: Call,
    *,
    review: Review,
    reviewer: str,
    act: Act,
) -> None:
    body = dict(call.body)

    def work() -> dict[str, Any]:
        sitting = review.sitting(body["sitting"], reviewer)
        chosen = Filter(**body.get("filter", {}))
        return _shown(review, sitting, chosen, act(review, sitting, chosen, body))

    await answer_json(call, await service.in_thread(work))


def _next(review: Review, sitting: Sitting, chosen: Filter, body: dict[str, Any]) -> Example | None:
    if body.get("skip"):
        review.skip(sitting, body["skip"])
    return review.following(sitting, chosen)


def _decide(
    review: Review, sitting: Sitting, chosen: Filter, body: dict[str, Any]
) -> Example | None:
    mended = {name: body[name] for name in ("question", "answer", "quote") if name in body}
    review.decide(sitting, body["id"], body["verdict"], **mended, note=body.get("note", ""))
    return review.following(sitting, chosen)


def _undo(review: Review, sitting: Sitting, chosen: Filter, body: dict[str, Any]) -> Example | None:
    return review.undo(sitting) or review.following(sitting, chosen)


def _shown(
    review: Review, sitting: Sitting, chosen: Filter, example: Example | None
) -> dict[str, Any]:
    """What the page shows."""
    precision = review.precision(chosen)
    low, high = precision.interval
    return {
        "example": None if example is None else _example(review, example),
        "can_undo": bool(sitting.done),
        "choices": review.choices(),
        "strayed": review.strayed,
        "precision": {
            **asdict(precision),
            "decided": precision.decided,
            "share": precision.share,
            "low": low,
            "high": high,
        },
    }


def _example(review: Review, example: Example) -> dict[str, Any]:
    return {
        **example.to_json(),
        "answerable": example.answerable,
        "text_known": review.texts.of(example) is not None,
        "surroundings": [asdict(segment) for segment in review.surroundings(example)],
    }
