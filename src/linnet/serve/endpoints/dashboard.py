"""``/v1/monitoring`` and the page that shows it: how much was asked, how well it was answered, what
that cost.

For the owner: on this machine where no key is needed, or with a key made with ``--monitoring``.
The page's files are for everybody; they have no figures in them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from linnet.errors import ConfigError
from linnet.monitor.report import period
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.endpoints.page import page_endpoints
from linnet.serve.errors import ApiError
from linnet.serve.page import page_files
from linnet.serve.schemas import COUNT, TEXT, listed, nullable, record
from linnet.serve.service import answer_json

if TYPE_CHECKING:
    from linnet.serve.monitoring import Monitoring
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

USUAL_PERIOD = "7d"
_SHARED = ("base.css", "dom.js", "theme.js", "linnet.svg")


async def monitoring(service: Service, call: Call) -> None:
    """GET /v1/monitoring?since=7d&contents=true."""
    found = _allowed(service, call)
    given = call.query
    wanted = given.get("since", USUAL_PERIOD)
    if len(wanted) > 32:
        raise ApiError(400, "'since' is too long.", param="since")
    try:
        since = period(wanted, time.time())
    except ConfigError as error:
        raise ApiError(400, f"{str(error).capitalize()}.", param="since") from None
    contents = given.get("contents", "false")
    if contents not in ("true", "false"):
        raise ApiError(400, "'contents' must be true or false.", param="contents")

    def made() -> dict[str, Any]:
        report = found.report(wanted, since)
        return {**report, "shown": found.shown(since)} if contents == "true" else report

    with service.within_limits(call):
        await answer_json(call, await service.in_thread(made))


async def to_folder(service: Service, call: Call) -> None:
    """GET /dashboard: links of the page begin at the folder."""
    await call.answer(308, b"", headers=[(b"location", b"dashboard/")])


def _allowed(service: Service, call: Call) -> Monitoring:
    """What knows the figures. Raises ApiError for whom they are not, and where there are none."""
    if not service.may_monitor(call):
        raise ApiError(
            403,
            "The figures of all answers are for the server's owner: on this machine, or with a key "
            "that was made with --monitoring.",
            code="not_allowed",
        )
    if service.monitoring is None:
        raise ApiError(
            404, "This server keeps no log of answers: start it with --monitor FILE.",
            code="no_log",
        )  # fmt: skip
    return service.monitoring


_NUMBER: Schema = {"type": "number"}
_MAYBE: Schema = nullable({"type": "number"})
_SHARE = record(
    {"part": COUNT, "whole": COUNT, "value": _MAYBE, "low": _MAYBE, "high": _MAYBE},
    required=("part", "whole", "value", "low", "high"),
)
_QUANTILE = nullable(
    record({"value": _NUMBER, "low": _MAYBE, "high": _MAYBE}, required=("value", "low", "high"))
)
_TIMES = record(
    {"calls": COUNT, "p50": _QUANTILE, "p95": _QUANTILE}, required=("calls", "p50", "p95")
)
_COUNTS = (
    "calls", "answered", "refused", "held", "failed", "left", "escalated", "good", "bad", "prompt",
    "written",
)  # fmt: skip
_ROW = record(
    {
        "name": TEXT, **dict.fromkeys(_COUNTS, COUNT), "cost": _NUMBER, "would_cost": _NUMBER,
        "p50": _MAYBE, "p95": _MAYBE,
    },
    required=("name", *_COUNTS, "cost", "would_cost", "p50", "p95"),
)  # fmt: skip
_REASON = record(
    {"name": TEXT, "calls": COUNT, "model": TEXT, "decided_by": TEXT}, required=("name", "calls")
)
_REALISED = record(
    {
        "answers": COUNT, "judged": COUNT, "wrong": COUNT, "error": _SHARE, "least": _MAYBE,
        "most": _MAYBE, "promised": _MAYBE, "kept": {"enum": ["kept", "broken", "open"]},
        "needed": nullable(COUNT), "is_sample": {"type": "boolean"},
    },
    required=("answers", "judged", "wrong", "error", "promised", "kept"),
)  # fmt: skip
_FIGURES = record(
    {
        "since": _MAYBE, "until": _NUMBER, "first": _MAYBE, "last": _MAYBE, "currency": TEXT,
        **dict.fromkeys(
            ("calls", "left_out", "lost", "prompt", "cached", "written", "billed", "compared",
             "grounded_calls", "good", "bad"), COUNT,
        ),
        **dict.fromkeys(("answered", "refused", "held", "failed", "left", "escalated"), _SHARE),
        "escalations": {"type": "object", "additionalProperties": COUNT},
        "times": record(
            dict.fromkeys(("queue", "retrieval", "first", "total"), _TIMES),
            required=("queue", "retrieval", "first", "total"),
        ),
        **dict.fromkeys(("cost", "would_cost", "compared_cost"), _NUMBER),
        **dict.fromkeys(("sure", "grounded"), _MAYBE),
        "realised": _REALISED,
        **dict.fromkeys(("models", "keys", "spans"), listed(_ROW)),
        "span": {"enum": ["hour", "day"]},
        **dict.fromkeys(("routes", "failures", "holds"), listed(_REASON)),
    },
    required=(
        "until", "calls", "answered", "refused", "failed", "times", "cost", "would_cost",
        "realised", "models", "keys", "spans",
    ),
)  # fmt: skip
_ALARM = record(
    {
        "at": _NUMBER, "began": _NUMBER, "last": _NUMBER, "number": TEXT, "questions": COUNT,
        "superiority": _NUMBER,
    },
    required=("at", "began", "last", "number", "superiority"),
)  # fmt: skip
_DRIFT = record(
    {
        "model": TEXT, "reference": {"enum": ["gate", "first"]},
        "state": {"enum": ["few", "steady", "drifting"]}, "since": _MAYBE, "questions": COUNT,
        "evidence": _NUMBER, "needed": _NUMBER, "alarms": listed(_ALARM),
        "numbers": listed(
            record(
                {
                    "name": TEXT, "about": TEXT, "questions": COUNT, "evidence": _NUMBER,
                    **dict.fromkeys(
                        ("superiority", "low", "high", "below", "above", "recent"), _MAYBE
                    ),
                },
                required=("name", "about", "questions", "evidence", "superiority"),
            )
        ),
    },
    required=("model", "reference", "state", "questions", "evidence", "alarms", "numbers"),
)  # fmt: skip
_SENTENCE = record(
    {"about": TEXT, "mood": {"enum": ["fact", "good", "bad", "open"]}, "text": TEXT},
    required=("about", "mood", "text"),
)
_BUDGET = record(
    {
        "key": nullable(TEXT), "day": _NUMBER, "month": _NUMBER, "day_limit": _MAYBE,
        "month_limit": _MAYBE, "left": _MAYBE, "day_tokens": COUNT, "month_tokens": COUNT,
        "tokens_left": nullable(COUNT),
    },
    required=("key", "day", "month", "left"),
)  # fmt: skip
_HEALTH = record(
    {
        "name": TEXT, "state": {"enum": ["closed", "open", "half_open"]}, "failures": COUNT,
        "reason": TEXT, "wait_seconds": _NUMBER, "attempts": COUNT, "failed": COUNT,
    },
    required=("name", "state"),
)  # fmt: skip
_LOG = record(
    {
        "written": COUNT, "waiting": COUNT, "dropped": COUNT, "unmatched": COUNT, "failing": TEXT,
        "keeps_contents": {"type": "boolean"}, "keep_days": _NUMBER,
    },
    required=("written", "waiting", "dropped", "failing", "keeps_contents"),
)  # fmt: skip
_SHOWN = record(
    {
        "at": _NUMBER, "state": TEXT, "good": nullable({"type": "boolean"}),
        "probability": _MAYBE, "question": TEXT, "answer": nullable(TEXT),
    },
    required=("at", "state", "question"),
)  # fmt: skip
ANSWER = record(
    {
        "object": {"const": "monitoring"}, "period": TEXT, "sentences": listed(_SENTENCE),
        "figures": _FIGURES, "drift": listed(_DRIFT), "compared_with": TEXT,
        "budget": listed(_BUDGET), "models": listed(_HEALTH), "log": _LOG,
        "shown": listed(_SHOWN),
    },
    required=("object", "period", "sentences", "figures", "drift", "budget", "models", "log"),
)  # fmt: skip


def _pages() -> tuple[Endpoint, ...]:
    """The page's files, and those that it shares with the chat page."""
    shared = {name: file for name, file in page_files().items() if name in _SHARED}
    return page_endpoints({**shared, **page_files("linnet.serve.dashboard")}, folder="/dashboard/")


DASHBOARD = (
    Endpoint(
        "GET", "/v1/monitoring", monitoring,
        "How much was asked since a time, how well it was answered, and what that cost.",
        answer=ANSWER, is_logged=False,
    ),
    Endpoint(
        "GET", "/dashboard", to_folder, "The page.", is_open=True, is_described=False,
    ),
    *_pages(),
)  # fmt: skip
