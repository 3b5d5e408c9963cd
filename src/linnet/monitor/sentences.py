"""What the figures of a period say, in plain sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Literal, TypeAlias

from linnet.monitor.drift import NUMBERS, Drift
from linnet.monitor.figures import Figures
from linnet.monitor.intervals import Share
from linnet.monitor.promises import Realised
from linnet.respond.prices import readable

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
_DAY = 86_400.0


@dataclass(frozen=True)
class Sentence:
    """One thing to know. ``mood``: ``bad`` asks for something to be done, ``open`` is not known
    yet."""

    about: str
    """``questions``, ``answers``, ``promise``, ``speed``, ``cost``, ``routing``, ``errors``,
    ``log`` or ``drift``."""
    mood: Mood
    text: str


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
        began = f"began within {shown_seconds(first.p50.value)} and "
    yield Sentence(
        "speed", "fact",
        f"Half of the answers {began}were complete within {shown_seconds(total.p50.value)}; "
        f"19 of 20 within {shown_seconds(total.p95.value)}.",
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
        text += f" ({shown_percent(away.part / away.whole)}): " + _joined(
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
        past = f" now; they differed until {shown_date(found.alarms[-1].last, zone)}" if (
            found.alarms
        ) else ""  # fmt: skip
        yield Sentence("drift", "good", f"Questions{to} are like {than}{past}.")
        return
    alarm = found.alarms[-1]
    strength = _strength(alarm.superiority)
    more = "more" if alarm.superiority > 0.5 else "less"
    text = (
        f"Questions{to} {strength} from {than} since about {shown_date(alarm.began, zone)}: "
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
    return f"{share.part:,} {verb} {what} ({shown_percent(share.part / share.whole)})"


def shown_percent(value: float) -> str:
    """Few are not none."""
    if 0 < value < 0.01:
        return f"{value:.1%}" if value >= 0.001 else "under 0.1%"
    return f"{value:.0%}" if value <= 0.99 or value == 1 else f"{value:.1%}"


def _were(count: int, what: str) -> str:
    return f"was 1 {what}" if count == 1 else f"were {count:,} {what}s"


def _joined(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def shown_seconds(value: float) -> str:
    if value < 0.1:
        return f"{1000 * value:.0f} ms"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"


def shown_date(at: float, zone: tzinfo | None) -> str:
    when = datetime.fromtimestamp(at, zone)
    return f"{when.day} {when:%B %Y}"


def _span(since: float | None, until: float, zone: tzinfo | None) -> str:
    last = shown_date(until, zone)
    if since is None:
        return f"Until {last}"
    first = shown_date(since, zone)
    if until - since < 2 * _DAY:
        begin, end = (datetime.fromtimestamp(at, zone) for at in (since, until))
        return f"From {begin:%H:%M} on {first} to {end:%H:%M} on {last}"
    return f"From {first} to {last}"
