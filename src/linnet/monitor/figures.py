"""What a stretch of the log says: how much was asked, how fast and how well it was answered, and
what that cost.

Only counts, names and numbers are read, never contents. All intervals are those of one look.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, tzinfo
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from linnet.monitor.entry import State
from linnet.monitor.intervals import Numbers, Quantile, Share, quantile
from linnet.monitor.log import Log
from linnet.monitor.promises import Promise, Realised, realised
from linnet.respond.prices import money

Texts: TypeAlias = npt.NDArray[np.object_]

MOST_CALLS = 500_000
"""The newest of a period that figures are made of."""
MOST_ROWS = 50
"""Models, keys or reasons that are listed; what is beyond is counted together."""
MOST_DAYS = 400
OTHERS = "(others)"
_AT_ONCE = 5000
_COLUMNS = (
    "at", "seconds", "queue_seconds", "retrieval_seconds", "first_seconds", "prompt", "cached",
    "written", "cost", "would_cost", "probability", "in_scope", "grounded", "good",
)  # fmt: skip
_NAMES = ("key", "model", "place", "asked", "state", "decided_by", "reason", "failures")


@dataclass(frozen=True)
class Times:
    """Of calls, in seconds."""

    calls: int
    p50: Quantile | None = None
    p95: Quantile | None = None


@dataclass(frozen=True)
class Row:
    """The calls of a model, a key or a day."""

    name: str
    calls: int
    answered: int
    refused: int
    held: int
    failed: int
    left: int
    escalated: int
    good: int
    bad: int
    prompt: int
    written: int
    cost: float
    would_cost: float
    p50: float | None
    """Of all of the time that answers took."""
    p95: float | None


@dataclass(frozen=True)
class Reason:
    """Why calls went to a model, or what failed in them."""

    name: str
    calls: int
    model: str = ""
    decided_by: str = ""


@dataclass(frozen=True)
class Figures:
    """All of a period."""

    since: float | None
    until: float
    first: float | None
    """The first call in it."""
    last: float | None
    currency: str
    calls: int
    left_out: int
    """Older ones of the period, beyond the most that figures are made of."""
    lost: int
    """Calls of which nothing could be written."""
    answered: Share
    refused: Share
    held: Share
    failed: Share
    left: Share
    escalated: Share
    """Of those that were answered, by models beyond this machine, or that bill."""
    escalations: Mapping[str, int]
    """These, by what decided it."""
    times: Mapping[str, Times]
    """``queue``, ``retrieval``, ``first`` and ``total``."""
    prompt: int
    cached: int
    written: int
    cost: float
    billed: int
    """Calls that cost something."""
    would_cost: float
    """What the model that is compared with would have asked for the calls that it is known of."""
    compared: int
    """These calls."""
    compared_cost: float
    """What they cost."""
    sure: float | None
    """Mean of the probability that an answer from documents is right, of those shown."""
    grounded: float | None
    """Mean share of statements that are supported."""
    grounded_calls: int
    good: int
    bad: int
    realised: Realised
    models: Sequence[Row]
    keys: Sequence[Row]
    spans: Sequence[Row]
    """Days, or hours where the period is short, in order; those without calls are among them."""
    span: Literal["hour", "day"]
    routes: Sequence[Reason]
    failures: Sequence[Reason]
    holds: Sequence[Reason]
    """Why calls were held."""

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass
class Calls:
    """The calls of a period, column by column."""

    numbers: dict[str, Numbers]
    names: dict[str, Texts]
    left_out: int = 0
    lost: int = 0
    ids: Texts = field(default_factory=lambda: np.empty(0, object))

    def __len__(self) -> int:
        return len(self.numbers["at"])


def read_calls(
    log: Log,
    since: float | None = None,
    until: float | None = None,
    *,
    key: str | None = None,
    most: int = MOST_CALLS,
) -> Calls:
    """The calls of a period, the newest if there are too many. Raises StoreError.

    Read in parts, so that others may write between.
    """
    begin = -math.inf if since is None else since
    end = math.inf if until is None else until
    where, values = "at >= ? AND at < ?", [begin, end]
    if key is not None:
        where, values = f"{where} AND key = ?", [*values, key]  # type: ignore[list-item]
    wanted = ", ".join(("number", "id", *_COLUMNS, *_NAMES))
    rows: list[tuple[Any, ...]] = []
    last = (math.inf, 1 << 62)
    while len(rows) < most:
        with log.reading() as run:
            found = run(
                f"SELECT {wanted} FROM calls WHERE {where} AND (at, number) < (?, ?) "
                "ORDER BY at DESC, number DESC LIMIT ?",
                (*values, *last, min(_AT_ONCE, most - len(rows))),
            ).fetchall()
        if not found:
            break
        rows += found
        last = (found[-1][2], found[-1][0])
    with log.reading() as run:
        left_out = run(
            f"SELECT COUNT(*) FROM calls WHERE {where} AND (at, number) < (?, ?)", (*values, *last)
        ).fetchone()[0]
    rows.reverse()
    columns = list(zip(*rows, strict=True)) or [()] * (2 + len(_COLUMNS) + len(_NAMES))
    numbers = {
        name: np.array(own, dtype=np.float64)  # None is not a number
        for name, own in zip(_COLUMNS, columns[2:], strict=False)
    }
    names = {
        name: _texts(own) for name, own in zip(_NAMES, columns[2 + len(_COLUMNS) :], strict=True)
    }
    lost = log.drops(begin, end) if key is None else 0
    return Calls(numbers, names, left_out if rows else 0, lost, _texts(columns[1]))


def _texts(values: Sequence[str]) -> Texts:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def figures(
    calls: Calls,
    *,
    since: float | None = None,
    until: float,
    promise: Promise | None = None,
    checked: Mapping[str, bool] | None = None,
    currency: str = "",
    zone: tzinfo | None = None,
) -> Figures:
    """The figures of calls.

    ``checked``: verdicts on a random sample of the answers, by their ids, instead of those that
    people gave. ``zone``: whose days count; otherwise this machine's.
    """
    own, names = calls.numbers, calls.names
    states = {name: names["state"] == name for name in get_args(State)}
    answered, shown = states["answered"], states["answered"] | states["refused"]
    away = _is_away(names["place"], own["cost"])
    total = len(calls)
    compared = np.isfinite(own["would_cost"])
    judged = np.isfinite(own["probability"]) & answered
    grounded = own["grounded"][answered & np.isfinite(own["grounded"])]
    first = float(own["at"][0]) if total else None
    span, spans = _spans(calls, first if since is None else since, until, zone)
    counts = {name: int(states[name].sum()) for name in states}
    return Figures(
        since=since, until=until, first=first, last=float(own["at"][-1]) if total else None,
        currency=currency, calls=total, left_out=calls.left_out, lost=calls.lost,
        answered=Share.of(counts["answered"], total), refused=Share.of(counts["refused"], total),
        held=Share.of(counts["held"], total), failed=Share.of(counts["failed"], total),
        left=Share.of(counts["left"], total),
        escalated=Share.of(int((away & answered).sum()), counts["answered"]),
        escalations=dict(Counter(names["decided_by"][away & answered]).most_common()),
        times={
            name: _times(own[column][shown])
            for name, column in (
                ("queue", "queue_seconds"), ("retrieval", "retrieval_seconds"),
                ("first", "first_seconds"), ("total", "seconds"),
            )
        },
        prompt=_whole(own["prompt"]), cached=_whole(own["cached"]), written=_whole(own["written"]),
        cost=_money(own["cost"]), billed=int((own["cost"] > 0).sum()),
        would_cost=_money(own["would_cost"][compared]), compared=int(compared.sum()),
        compared_cost=_money(own["cost"][compared]),
        sure=_mean(own["probability"][judged]), grounded=_mean(grounded),
        grounded_calls=len(grounded),
        good=int((own["good"] == 1).sum()), bad=int((own["good"] == 0).sum()),
        realised=realised(
            int(judged.sum()), _verdicts(calls, judged, checked), promise,
            is_sample=checked is not None,
        ),
        models=_rows(calls, names["model"]), keys=_rows(calls, names["key"]),
        spans=spans, span=span, routes=_routes(names),
        failures=_failures(names["failures"][~states["held"]]),
        holds=_failures(names["failures"][states["held"]]),
    )  # fmt: skip


def _verdicts(
    calls: Calls, judged: npt.NDArray[np.bool_], checked: Mapping[str, bool] | None
) -> Numbers:
    """On these answers, where there is one: those that people gave, or of those who checked."""
    if checked is not None:
        return np.array([float(checked[id]) for id in calls.ids[judged] if id in checked])
    verdicts = calls.numbers["good"][judged]
    return verdicts[np.isfinite(verdicts)]


def _times(values: Numbers) -> Times:
    ordered = np.sort(values[np.isfinite(values)])
    return Times(len(ordered), quantile(ordered, 0.5), quantile(ordered, 0.95))


def _rows(calls: Calls, names: Texts) -> list[Row]:
    """Of each name, those with the most calls first."""
    if not len(names):
        return []
    each, places, counts = np.unique(names.astype(str), return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    shown = [_row(calls, str(each[n]), places == n) for n in order[:MOST_ROWS]]
    if len(order) > MOST_ROWS:
        shown.append(_row(calls, OTHERS, np.isin(places, order[MOST_ROWS:])))
    return shown


def _row(calls: Calls, name: str, mask: npt.NDArray[np.bool_] | slice) -> Row:
    own = {column: values[mask] for column, values in calls.numbers.items()}
    states = Counter(calls.names["state"][mask])
    done = np.isin(calls.names["state"][mask], ("answered", "refused"))
    ordered = np.sort(own["seconds"][done])
    p50, p95 = quantile(ordered, 0.5), quantile(ordered, 0.95)
    away = _is_away(calls.names["place"][mask], own["cost"])
    away &= calls.names["state"][mask] == "answered"
    return Row(
        name, len(own["at"]), states["answered"], states["refused"], states["held"],
        states["failed"], states["left"], int(away.sum()), int((own["good"] == 1).sum()),
        int((own["good"] == 0).sum()), _whole(own["prompt"]), _whole(own["written"]),
        _money(own["cost"]), _money(own["would_cost"]),
        p50.value if p50 else None, p95.value if p95 else None,
    )  # fmt: skip


def _is_away(places: Texts, costs: Numbers) -> npt.NDArray[np.bool_]:
    """Which were answered by a model that runs elsewhere, or bills."""
    found: npt.NDArray[np.bool_] = (places != "here") | (costs > 0)
    return found


def _spans(
    calls: Calls, since: float | None, until: float, zone: tzinfo | None
) -> tuple[Literal["hour", "day"], list[Row]]:
    """Days, or hours of at most three days, each with its calls."""
    if since is None:
        return "day", []
    is_short = until - since <= 3 * 86_400
    begins = list(_begins(since, until, zone, is_short=is_short))[-MOST_DAYS:]
    edges = np.searchsorted(calls.numbers["at"], [each.timestamp() for each in begins]).tolist()
    names = [
        each.isoformat(timespec="minutes") if is_short else each.date().isoformat()
        for each in begins
    ]
    return "hour" if is_short else "day", [
        _row(calls, name, slice(begin, end))
        for name, (begin, end) in zip(names, pairwise([*edges, len(calls)]), strict=True)
    ]


def _begins(
    since: float, until: float, zone: tzinfo | None, *, is_short: bool
) -> Iterator[datetime]:
    """When each hour or day of a period begins."""
    at = datetime.fromtimestamp(since, zone).replace(minute=0, second=0, microsecond=0)
    if is_short:
        moment = at.timestamp()
        while moment < until:
            yield datetime.fromtimestamp(moment, zone)
            moment += 3600
        return
    at = at.replace(hour=0)
    while at.timestamp() < until:
        yield at
        at += timedelta(days=1)  # the clock's days, of 23 or 25 hours at times


def _routes(names: Mapping[str, Texts]) -> list[Reason]:
    """Who answered, and why; where somebody decided that."""
    found = Counter(
        (model, by, reason)
        for model, by, reason in zip(
            names["model"], names["decided_by"], names["reason"], strict=True
        )
        if by
    )
    shown = [
        Reason(reason, count, model, by)
        for (model, by, reason), count in found.most_common(MOST_ROWS)
    ]
    if (rest := found.total() - sum(each.calls for each in shown)) > 0:
        shown.append(Reason(OTHERS, rest))
    return shown


def _failures(lists: Texts) -> list[Reason]:
    """What failed on the way, in how many calls."""
    found: Counter[str] = Counter()
    for text, count in Counter(lists).items():
        for code in set(json.loads(text)):
            found[code] += count
    return [Reason(code, count) for code, count in found.most_common(MOST_ROWS)]


def _whole(values: Numbers) -> int:
    return int(np.nansum(values))


def _money(trillionths: Numbers) -> float:
    """In the unit of money; exact as long as a column of whole numbers is."""
    return float(money(int(np.nansum(trillionths))))


def _mean(values: Numbers) -> float | None:
    return float(values.mean()) if len(values) else None
