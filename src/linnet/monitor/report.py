"""A report on a stretch of the log: plain sentences first, then all figures."""

from __future__ import annotations

import json
import math
import random
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Literal, TypeAlias

from linnet import output, page
from linnet.config import parse_json
from linnet.errors import ConfigError, DataError
from linnet.monitor.drift import NUMBERS, Drift
from linnet.monitor.figures import Figures, Realised, Share, figures, read_calls
from linnet.monitor.log import Log
from linnet.monitor.watching import Watching
from linnet.respond.prices import readable
from linnet.version import __version__

Mood: TypeAlias = Literal["fact", "good", "bad", "open"]

DECIDED_BY: Mapping[str, str] = {
    "request": "whoever asked",
    "rule": "a rule",
    "router": "the router",
    "attempt": "the local answer, once it was there",
    "policy": "the policy",
    "budget": "the budget",
    "failure": "a failure",
    "default": "nothing else",
}
"""What decided who answers, in words."""
_ESCALATED: Mapping[str, str] = {
    "request": "because they were asked for",
    "rule": "by a rule",
    "router": "because the router expected them to do better",
    "attempt": "because the local answer was not good enough",
    "failure": "because another model had failed",
}
LEAST_SURE = 0.8
_LARGEST_LINE = 1_000_000
_HOUR = 3600.0
_DAY = 86_400.0
_UNITS = {"m": 60.0, "h": 3600.0, "d": _DAY, "w": 7 * _DAY}


@dataclass(frozen=True)
class Sentence:
    """One thing to know. ``mood``: ``bad`` asks for something to be done, ``open`` is not known
    yet."""

    about: str
    """``questions``, ``answers``, ``promise``, ``speed``, ``cost``, ``routing``, ``errors``,
    ``log`` or ``drift``."""
    mood: Mood
    text: str


@dataclass(frozen=True)
class Report:
    """A period of a log."""

    sentences: tuple[Sentence, ...]
    figures: Figures
    drift: tuple[Drift, ...]
    compared_with: str = ""
    """The model whose price is the cost that the cloud would have been."""

    def to_json(self) -> dict[str, Any]:
        """As plain values, as the server gives them."""
        return {
            "object": "monitoring",
            "sentences": [asdict(sentence) for sentence in self.sentences],
            "figures": self.figures.to_json(),
            "drift": [asdict(drift) for drift in self.drift],
            "compared_with": self.compared_with,
        }


def report(
    log: Log,
    watching: Watching,
    *,
    since: float | None = None,
    until: float | None = None,
    checked: Mapping[str, bool] | None = None,
    currency: str = "",
    compared_with: str = "",
    zone: tzinfo | None = None,
) -> Report:
    """The report of a period; None: from the first entry on, until now. Raises StoreError.

    ``checked``: see :func:`figures`. ``currency``: of all costs; otherwise as the log has it.
    ``compared_with``: what the cloud's cost is called.
    """
    until = time.time() if until is None else until
    units = _currencies(log, since, until)
    currency = currency or (units[-1] if units else "")
    promises = {gate.promise for gate in watching.gates.values() if gate.promise is not None}
    found = figures(
        read_calls(log, since, until), since=since, until=until,
        promise=promises.pop() if len(promises) == 1 else None,
        checked=checked, currency=currency, zone=zone,
    )  # fmt: skip
    watching.look(log)
    drift = tuple(watching.found(until))
    said = [*sentences(found, drift, compared_with=compared_with, zone=zone)]
    said += _mixed(units)
    said += _misdated(log, max(until, time.time()) + _HOUR)
    return Report(tuple(said), found, drift, compared_with)


def _currencies(log: Log, since: float | None, until: float) -> list[str]:
    """The units of money that costs of a period are in, in order."""
    noted = log.currencies()
    ends = [*(at for at, _ in noted), math.inf][1:] if noted else []
    begin = -math.inf if since is None else since
    return [name for (at, name), end in zip(noted, ends, strict=True) if at < until and end > begin]


def _mixed(units: Sequence[str]) -> Iterator[Sentence]:
    if len(set(units)) > 1:
        text = f"Costs were counted in {', then in '.join(units)}: their sums mean nothing."
        yield Sentence("cost", "bad", text)


def _misdated(log: Log, at: float) -> Iterator[Sentence]:
    """Calls that no period has, as the clock was wrong when they came."""
    with log.reading() as run:
        (count,) = run("SELECT COUNT(*) FROM calls WHERE at >= ?", (at,)).fetchone()
    if count:
        yield Sentence(
            "log", "bad",
            f"{count:,} more {'is' if count == 1 else 'are'} dated in the future and not counted "
            "here: the clock was wrong.",
        )  # fmt: skip


def sentences(
    found: Figures,
    drift: Sequence[Drift] = (),
    *,
    compared_with: str = "",
    zone: tzinfo | None = None,
) -> Iterator[Sentence]:
    """What a manager wants to know, in order."""
    if not found.calls:
        yield Sentence("questions", "fact", "Nothing was asked in this period.")
    else:
        yield _questions(found, zone)
        yield from _answers(found)
        yield from _promise(found.realised)
        yield from _speed(found)
        yield from _cost(found, compared_with)
        yield from _routing(found)
        yield from _errors(found)
    for one in drift:
        yield from _drift(one, several=len({each.model for each in drift}) > 1, zone=zone)


def period(text: str, now: float) -> float | None:
    """When a period begins: ``7d``, ``12h``, ``2026-01-31``, ``all``; 1970 at the earliest.

    Raises ConfigError."""
    if text == "all":
        return None
    if found := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return max(0.0, now - int(found[1]) * _UNITS[found[2]])
    try:
        return max(0.0, datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError):
        raise ConfigError(
            f"expected a period such as 7d, 12h or all, or a date such as 2026-01-31. Got '{text}'"
        ) from None


def draw(log: Log, since: float | None, count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """A random sample of the answers that a gate let through, to be checked by somebody.

    ``good`` of each is to be filled in: true or false. Contents are there if the log has them.
    Raises StoreError.
    """
    with log.reading() as run:
        numbers = [
            number
            for (number,) in run(
                "SELECT number FROM calls WHERE at >= ? AND state = 'answered' "
                "AND probability IS NOT NULL ORDER BY number",
                (-math.inf if since is None else since,),
            )
        ]
    chosen = sorted(random.Random(seed).sample(numbers, min(count, len(numbers))))
    rows = []
    for number in chosen:
        with log.reading() as run:
            row = run(
                "SELECT id, at, model, probability, question, answer FROM calls WHERE number = ?",
                (number,),
            ).fetchone()
        if row is not None:  # it may have been forgotten meanwhile
            names = ("id", "at", "model", "probability", "question", "answer")
            rows.append({**dict(zip(names, row, strict=True)), "good": None})
    return rows


def read_checked(file: Path) -> dict[str, bool]:
    """Verdicts on a sample, of rows with ``id`` and ``good``; those without one are left out.

    Raises DataError.
    """
    found = {}
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(_LARGEST_LINE + 1):
            number += 1
            try:
                row = parse_json(line.decode())
                name, good = row["id"], row["good"]
            except (ValueError, TypeError, KeyError):
                name, good = None, None
            if not isinstance(name, str) or not (good is None or isinstance(good, bool)):
                raise DataError(
                    f"{file}, line {number}: expected an object in JSON with 'id', and 'good' that "
                    "is true, false or null"
                )
            if good is not None:
                found[name] = good
    return found


def write_page(report: Report, file: Path) -> None:
    """The report as a page: one file that loads nothing. Raises OutputError."""
    output.write_text(file, page_of(report))


def page_of(report: Report) -> str:
    """The page."""
    found = report.figures
    most = max((row.calls for row in found.spans), default=0)
    return page.environment("linnet.monitor").get_template("report.html.jinja").render(
        report=report, found=found, most=max(most, 1), decided_by=DECIDED_BY, version=__version__,
        names={"queue": "waiting", "retrieval": "searching", "first": "until it began",
               "total": "all of it"},
        money=lambda value: readable(value, found.currency),
        seconds=_seconds, percent=_percent,
        date=lambda at: _date(at, None),
    )  # fmt: skip


def _questions(found: Figures, zone: tzinfo | None) -> Sentence:
    parts = [
        _part(share, words)
        for share, words in (
            (found.answered, "answered"),
            (found.refused, "refused, as the documents do not seem to answer them"),
            (found.held, f"not let through{_why(found)}"),
            (found.failed, "not finished because of an error"),
            (found.left, "given up by whoever asked"),
        )
        if share.part
    ]
    when = _span(found.first if found.since is None else found.since, found.until, zone)
    older = f" ({found.left_out:,} older ones are not counted here)" if found.left_out else ""
    text = f"{when} there {_were(found.calls, 'question')}{older}: {_joined(parts)}."
    return Sentence("questions", "fact", text)


def _why(found: Figures) -> str:
    """The reasons that calls were held for, most frequent first."""
    return f" [{', '.join(each.name for each in found.holds[:3])}]" if found.holds else ""


def _answers(found: Figures) -> Iterator[Sentence]:
    if found.sure is not None:
        text = f"Answers from documents are {found.sure:.0%} likely to be right, as the gate has it"
        if found.grounded is not None:
            text += f"; {found.grounded:.0%} of their statements were found in what they cite"
        yield Sentence("answers", "fact" if found.sure >= LEAST_SURE else "bad", f"{text}.")
    elif found.grounded is not None:
        text = f"{found.grounded:.0%} of the statements were found in what they cite."
        yield Sentence("answers", "fact", text)
    if judged := found.good + found.bad:
        verb = "was" if judged == 1 else "were"
        yield Sentence(
            "answers", "fact",
            f"{judged:,} {verb} judged by whoever asked: {found.good:,} good, {found.bad:,} bad.",
        )  # fmt: skip


def _promise(found: Realised) -> Iterator[Sentence]:
    if found.promised is None:
        if found.is_sample and found.error.low is not None and found.error.high is not None:
            verb = "was" if found.wrong == 1 else "were"
            yield Sentence(
                "promise", "fact",
                f"{found.wrong:,} of {found.judged:,} that were drawn at random and checked {verb} "
                f"wrong, which means between {found.error.low:.1%} and {found.error.high:.1%} of "
                "all. No gate is known here, so nothing is promised.",
            )  # fmt: skip
        return
    if not found.answers:
        return
    promised = f"The gate promises that at most {found.promised:.1%} of the answers are wrong"
    if not found.judged:
        yield Sentence(
            "promise", "open",
            f"{promised}; nobody judged one, so it is not known whether that holds.",
        )  # fmt: skip
        return
    error = found.error
    assert error.low is not None
    assert error.high is not None
    who = "drawn at random and checked" if found.is_sample else "judged"
    verb = "was" if found.wrong == 1 else "were"
    counted = f"{found.wrong:,} of {found.judged:,} that were {who} {verb} wrong"
    bounds = f"between {error.low:.1%} and {error.high:.1%}"
    mood: Mood
    match found.kept:
        case "kept":
            said, mood = "and that holds", "good"
        case "broken":
            said, mood = "and that does not hold", "bad"
        case _:
            said, mood = "and it is not known yet whether that holds", "open"
    text = f"{promised}, {said}: {counted}, which means {bounds} of all"
    if not found.is_sample:
        text += (
            " if people judge wrong answers as often as right ones (they seldom do); without that, "
            f"between {found.least:.1%} and {found.most:.1%}"
        )
    if found.needed is not None:
        text += f". About {found.needed:,} would have to be judged to know"
    yield Sentence("promise", mood, f"{text}.")


def _speed(found: Figures) -> Iterator[Sentence]:
    total, first = found.times["total"], found.times["first"]
    if total.p50 is None or total.p95 is None:
        return
    began = ""
    if first.p50 is not None and first.p50.value <= total.p50.value:  # else of other answers
        began = f"began within {_seconds(first.p50.value)} and "
    yield Sentence(
        "speed", "fact",
        f"Half of the answers {began}were complete within {_seconds(total.p50.value)}; "
        f"19 of 20 within {_seconds(total.p95.value)}.",
    )  # fmt: skip


def _cost(found: Figures, compared_with: str) -> Iterator[Sentence]:
    if not found.cost and not found.compared:
        yield Sentence("cost", "fact", "Nothing was billed: all was computed here.")
        return
    verb = "was" if found.billed == 1 else "were"
    billed = f"{found.billed:,} of them {verb} billed" if found.billed else "nothing was billed"
    text = f"The answers cost {readable(found.cost, found.currency)} ({billed})."
    saved = found.would_cost - found.compared_cost
    if found.compared:
        which = "" if found.compared == found.calls else f" for {found.compared:,} of them"
        alone = f"By {compared_with} alone" if compared_with else "In the cloud"
        less = f"{readable(abs(saved), found.currency)} {'less' if saved > 0 else 'more'}"
        text += (
            f" {alone} they would have cost {readable(found.would_cost, found.currency)}{which}: "
            f"{less if saved else 'as much'} this way."
        )
    yield Sentence("cost", "good" if saved > 0 else "fact", text)


def _routing(found: Figures) -> Iterator[Sentence]:
    if not found.routes:
        return
    away = found.escalated
    if not away.part:
        text = "All answers came from this machine"
    else:
        text = f"{away.part:,} of {away.whole:,} answers came from models beyond this machine"
        reasons = Counter[str]()
        for by, count in found.escalations.items():
            reasons[_ESCALATED.get(by, "for other reasons")] += count
        text += f" ({_percent(away.part / away.whole)}): " + _joined(
            [f"{count:,} {reason}" for reason, count in reasons.most_common()]
        )
    kept = Counter[str]()
    for route in found.routes:
        if route.decided_by in ("policy", "budget"):
            kept[route.decided_by] += route.calls
    if kept:
        said = [f"{count:,} by {DECIDED_BY[by]}" for by, count in kept.items()]
        text += f"; kept here were {_joined(said)}"
    yield Sentence("routing", "fact", f"{text}.")


def _errors(found: Figures) -> Iterator[Sentence]:
    if found.failures:
        listed = _joined([f"{each.name} in {each.calls:,}" for each in found.failures[:5]])
        more = len(found.failures) - 5
        rest = f" and {more} other kinds" if more > 0 else ""
        yield Sentence("errors", "bad", f"On the way something failed: {listed} calls{rest}.")
    elif not found.failed.part:
        yield Sentence("errors", "good", "Nothing failed.")
    if found.lost:
        yield Sentence(
            "log", "bad",
            f"{found.lost:,} calls are missing here: the log could not be written for a while.",
        )  # fmt: skip


def _drift(found: Drift, *, several: bool, zone: tzinfo | None) -> Iterator[Sentence]:
    to = f" to {found.model}" if several and found.model else ""
    than = "those that the gate was fitted on" if found.reference == "gate" else "the first ones"
    if found.state == "few":
        if found.reference == "gate":
            yield Sentence(
                "drift", "open",
                f"There are too few questions{to} to say whether they are like {than}.",
            )  # fmt: skip
        return
    if found.state == "steady":
        past = f" now; they differed until {_date(found.alarms[-1].last, zone)}" if (
            found.alarms
        ) else ""  # fmt: skip
        yield Sentence("drift", "good", f"Questions{to} are like {than}{past}.")
        return
    alarm = found.alarms[-1]
    strength = _strength(alarm.superiority)
    more = "more" if alarm.superiority > 0.5 else "less"
    text = (
        f"Questions{to} {strength} from {than} since about {_date(alarm.began, zone)}: "
        f"'{NUMBERS[alarm.number]}' is {more} than before in "
        f"{max(alarm.superiority, 1 - alarm.superiority):.0%} of comparisons"
    )
    if found.reference == "gate":
        text += "; the promise is for questions like those, so fit the gate again, or see what they"
        text += " ask for"
    yield Sentence("drift", "bad", f"{text}.")


def _strength(superiority: float) -> str:
    """In words; the limits are those of Romano et al. (2006) for Cliff's delta."""
    delta = abs(2 * superiority - 1)
    if delta < 0.147:
        return "hardly differ"
    return f"differ {'a little' if delta < 0.33 else 'clearly' if delta < 0.474 else 'much'}"


def _part(share: Share, what: str) -> str:
    verb = "was" if share.part == 1 else "were"
    return f"{share.part:,} {verb} {what} ({_percent(share.part / share.whole)})"


def _percent(value: float) -> str:
    """Few are not none."""
    if 0 < value < 0.01:
        return f"{value:.1%}" if value >= 0.001 else "under 0.1%"
    return f"{value:.0%}" if value <= 0.99 or value == 1 else f"{value:.1%}"


def _were(count: int, what: str) -> str:
    return f"was 1 {what}" if count == 1 else f"were {count:,} {what}s"


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _seconds(value: float) -> str:
    if value < 0.1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def _date(at: float, zone: tzinfo | None) -> str:
    when = datetime.fromtimestamp(at, zone)
    return f"{when.day} {when:%B %Y}"


def _span(since: float | None, until: float, zone: tzinfo | None) -> str:
    if since is None:
        return f"Until {_date(until, zone)}"
    if until - since < 2 * _DAY:
        begin, end = (datetime.fromtimestamp(at, zone) for at in (since, until))
        return f"From {begin:%H:%M} on {_date(since, zone)} to {end:%H:%M} on {_date(until, zone)}"
    return f"From {_date(since, zone)} to {_date(until, zone)}"


def to_csv_value(value: Any) -> str | int | float:
    """As a cell that a spreadsheet takes for what it is, and never for a formula."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"'{text}" if text[:1] in "=+-@\t\r" else text
