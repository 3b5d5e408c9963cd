"""One call as the log has it, and the row that it is kept as.

What the call used, how long it took, who answered and why, and how sure the answer was. A row
bounds whatever comes from outside: the length of a name, how many of a list, what a number may be.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

from linnet.respond.context import Record
from linnet.respond.pieces import Failure, Outcome, Passage, Place, Refusal

State: TypeAlias = Literal["answered", "refused", "held", "failed", "left"]
"""How a call ended. ``refused``: by the documents, or the gate. ``held``: not let through by
the policy, a budget or the rights of the key. ``left``: whoever asked did not wait for the end."""

MOST_CONTENT = 100_000
"""Characters of a question, or of an answer, that are kept."""
_MOST_LISTED = 50
"""Failures, scores and sources of an entry."""
_LONGEST = 300
"""Characters of any name or reason."""
_LONGEST_SOURCE = 4096
_LARGEST = (1 << 63) - 1
"""What SQLite takes as a whole number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One call. Nothing of it may change once it is added."""

    number: int = 0
    """Its place in the log, ever higher; 0 until it is written."""
    at: float
    """When it arrived, in seconds since 1970 (UTC)."""
    id: str
    """By which verdicts find it, together with ``key``."""
    key: str = ""
    """The name of the key that asked; empty without one."""
    interface: str = ""
    """The path, such as ``/v1/chat/completions``, or the command."""
    asked: str = ""
    """The model that was asked for, such as ``auto``."""
    model: str = ""
    """The one that answered."""
    place: Place = "here"
    """Where that one runs."""
    prompt: int = 0
    """Tokens; of these ``cached`` were read before."""
    cached: int = 0
    written: int = 0
    cost: int = 0
    """What it cost, in trillionths of the unit of money (``respond.prices``)."""
    would_cost: int | None = None
    """What the model that is compared with would have asked for the same tokens; None: there is
    none."""
    seconds: float = 0.0
    """All of it."""
    queue_seconds: float | None = None
    retrieval_seconds: float | None = None
    first_seconds: float | None = None
    """Until the first piece of the answer."""
    state: State = "answered"
    probability: float | None = None
    """That the answer is right, as the gate has it; also of one that was refused."""
    in_scope: float | None = None
    grounded: float | None = None
    """The share of its statements that what they cite supports."""
    decided_by: str = ""
    """Of the :class:`~linnet.routing.router.Route`, as are the next three; empty without one."""
    reason: str = ""
    score: float | None = None
    threshold: float | None = None
    failures: tuple[str, ...] = ()
    """Codes of what failed on the way, in order; at last why it was held, or failed."""
    scores: tuple[float, ...] = ()
    """Of the passages that were found, best first."""
    features: Mapping[str, float] = field(default_factory=dict)
    """Numbers by name that drift is looked for in, such as the gate's."""
    good: bool | None = None
    """The verdict of whoever asked, if there is one."""
    question: str | None = None
    """Contents, as the next two: kept only where the owner wants it."""
    answer: str | None = None
    sources: tuple[str, ...] = ()
    """Of the passages."""

    @property
    def refused(self) -> bool:
        """Whether the answer was withheld."""
        return self.state == "refused"


def entry_of(
    record: Record,
    *,
    at: float,
    seconds: float,
    key: str | None = None,
    interface: str = "",
    asked: str = "",
    place: Place = "here",
    would_cost: int | None = None,
    state: State | None = None,
    code: str = "",
    question: str | None = None,
    answer: str | None = None,
) -> Entry:
    """The entry of a call, of what its record knows.

    ``state``: None: refused or answered, as the record says. ``code``: of what ended it. Of
    its ``facts`` it takes ``route``, a :class:`~linnet.routing.router.Route` as JSON.
    """
    passages = [piece for piece in record.noted if isinstance(piece, Passage)]
    outcomes = [piece for piece in record.noted if isinstance(piece, Outcome)]
    withheld = any(isinstance(piece, Refusal) for piece in record.noted)
    outcome = outcomes[-1] if outcomes else None
    route = record.facts.get("route") or {}
    first = record.first_at
    return Entry(
        at=at,
        id=record.id,
        key=key or "",
        interface=interface,
        asked=asked,
        model=record.model or "",
        place=place,
        prompt=record.tokens.prompt,
        cached=record.tokens.cached,
        written=record.tokens.written,
        cost=record.cost,
        would_cost=would_cost,
        seconds=seconds,
        queue_seconds=record.queue_seconds,
        retrieval_seconds=record.retrieval_seconds or None,
        first_seconds=None if first is None else first - record.began,
        state=state or ("refused" if withheld or (outcome and outcome.refused) else "answered"),
        probability=outcome.probability if outcome else None,
        in_scope=outcome.in_scope if outcome else None,
        grounded=record.groundedness,
        decided_by=route.get("decided_by", ""),
        reason=route.get("reason", ""),
        score=route.get("score"),
        threshold=route.get("threshold"),
        failures=(
            *(piece.code or "failed" for piece in record.noted if isinstance(piece, Failure)),
            *([code] if code else []),
        ),
        scores=tuple(piece.score for piece in passages if piece.score is not None),
        features=record.features,
        question=question,
        answer=answer,
        sources=tuple(dict.fromkeys(piece.source for piece in passages)),
    )


COLUMNS = tuple(column.name for column in fields(Entry))


def row_of(entry: Entry, *, keeps_contents: bool) -> list[Any]:
    """As it is written. Raises TypeError, ValueError or AttributeError for what is no entry."""
    if entry.state not in get_args(State) or entry.place not in get_args(Place):
        raise ValueError(entry.state)
    contents = (entry.question, entry.answer) if keeps_contents else (None, None)
    sources = entry.sources if keeps_contents else ()
    return [
        _number(entry.at) or 0.0,
        *(clean(text) for text in (entry.id, entry.key, entry.interface, entry.asked)),
        clean(entry.model),
        entry.place,
        *(_whole(count) for count in (entry.prompt, entry.cached, entry.written, entry.cost)),
        None if entry.would_cost is None else _whole(entry.would_cost),
        _number(entry.seconds) or 0.0,
        *map(_number, (entry.queue_seconds, entry.retrieval_seconds, entry.first_seconds)),
        entry.state,
        *map(_number, (entry.probability, entry.in_scope, entry.grounded)),
        clean(entry.decided_by),
        clean(entry.reason),
        *map(_number, (entry.score, entry.threshold)),
        _json([clean(code) for code in entry.failures[:_MOST_LISTED]]),
        _json(list(filter(math.isfinite, entry.scores[:_MOST_LISTED]))),
        _json({clean(name): x for name, x in entry.features.items() if math.isfinite(x)}),
        None if entry.good is None else bool(entry.good),
        *(None if text is None else _shortened(text) for text in contents),
        _json([clean(name, _LONGEST_SOURCE) for name in sources[:_MOST_LISTED]]),
    ]


def entry_of_row(row: Sequence[Any]) -> Entry:
    found = dict(zip(COLUMNS, row, strict=True))
    return Entry(
        **{
            **found,
            "good": None if found["good"] is None else bool(found["good"]),
            **{name: tuple(json.loads(found[name])) for name in ("failures", "scores", "sources")},
            "features": json.loads(found["features"]),
        }
    )


def _number(value: float | None) -> float | None:
    """What is not finite is not known."""
    return float(value) if value is not None and math.isfinite(value) else None


def _whole(value: int) -> int:
    """Within what SQLite takes."""
    return max(0, min(int(value), _LARGEST))


def clean(text: str, most: int = _LONGEST) -> str:
    """Without halves of characters, which no file takes."""
    return text[:most].encode("utf-8", "replace").decode()


def _shortened(text: str) -> str:
    """Contents as they are kept; what is left out is said."""
    if len(text) <= MOST_CONTENT:
        return clean(text, MOST_CONTENT)
    left = len(text) - MOST_CONTENT
    return f"{clean(text, MOST_CONTENT)} [{left:,} more characters were not kept]"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
