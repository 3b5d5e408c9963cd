"""Whether questions, or what is found for them, have changed: watched all the time, and said with
how much.

Numbers of each question (how well the documents cover its words, how far the best passage is above
what random words find, the gate's two probabilities, its length) are compared with those of a
*reference*: the questions that the gate's threshold was set on, or the first that were asked here.

* **Evidence.** Fair bets are held that a number is lower, or higher, than chance would have it.
  While new questions are like those of the reference, whatever their distribution, a fortune ever
  exceeds ``a`` with probability at most ``1/a``, however long one looks (Ville's inequality). A
  number's chance is told in two ways, each with fortunes of its own:

  - *among all*: its place among the reference and all questions since, equals at random. These
    places are independent and uniform (Vovk, Gammerman and Shafer, "Algorithmic Learning in a
    Random World", 2005), which makes the fortune a conformal test martingale (Vovk et al., "Retrain
    or not retrain: conformal test martingales for change-point detection", 2021). It notices what
    changes soon, but a change that lasts becomes usual, as its questions are among all.
  - *among the reference's*: an upper bound of the chance of so low, or so high, a number that holds
    for all numbers at once, given these questions (bounds of order statistics, as Bates et al.,
    "Testing for outliers with conformal p-values", 2023, calibrate such places). A few questions
    leave it wide, but it never fades.

  Many small bets are held at once, and some of the fortune is dealt out anew with each question
  (fixed share: Herbster and Warmuth, "Tracking the Best Expert", 1998), so that a change that comes
  late is noticed as well. The fortunes of all numbers are averaged, which is a fair bet again.
* **Size.** How likely a question's number is above one of the reference (0.5 where nothing
  changed), with a confidence sequence, which holds at all times at once and for a mean that moves
  (Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence
  sequences", 2021: the stitched bound (2), for values in [0, 1]).

An alarm ends a watch and begins the next one, so that a change that lasts is noticed again; within
two weeks that is the same alarm.

What this takes for granted is that quiet questions come in no particular order. A person who asks
the same thing ten times, or a class that does, is a change in this sense.
"""

from __future__ import annotations

import bisect
import hashlib
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from linnet.monitor.bets import Bets, ConfidenceSequence, Numbers, Tails

State: TypeAlias = Literal["few", "steady", "drifting"]

FORTUNE = 250.0
"""With so many times the stake there is an alarm: the chance is 0.4 % for each of two fortunes."""
REFERENCE_ERROR = 0.002
"""The chance that the reference is so unlike its own distribution that its bounds do not hold."""
FALSE_ALARM = 2 / FORTUNE + REFERENCE_ERROR
"""The chance of an alarm, ever, while nothing changes, at most."""
LEAST_REFERENCE = 30
"""Fewer numbers are no reference."""
FIRST = 200
"""Of the questions asked here, so many are a reference for those after them."""
RECENT_DAYS = 14.0
"""For so long an alarm is of now."""
CONFIDENCE = 0.95
MOST_ALARMS = 100
MOST_SEEN = 2000
"""Questions among which the beginning of a change is looked for."""
_DAY = 86_400.0

NUMBERS: Mapping[str, str] = {
    "in_scope": "how likely the documents are about the question",
    "probability": "how likely the answer is right",
    "words": "length of the question, in words",
    "found_covered": "the question's words are in what was found",
    "words_covered": "the question's words are in the best passage",
    "known": "the documents use the question's words",
    "lexical_level": "search by words, above what random words find",
    "dense_level": "search by meaning, above what random words find",
    "lexical_margin": "lead of the best passage over other documents",
    "reranked": "the re-ranker's probability",
    "score": "score of the best passage",
}
"""What is watched, where it is there."""


@dataclass(frozen=True)
class Reference:
    """Numbers of questions that others are compared with, in order."""

    name: Literal["gate", "first"]
    """The questions that the gate's threshold was set on, or the first asked here."""
    numbers: Mapping[str, Numbers] = field(repr=False)
    questions: int

    @classmethod
    def of(
        cls, name: Literal["gate", "first"], rows: Sequence[Mapping[str, float]]
    ) -> Reference | None:
        """Of the numbers of questions; None where no number was given often enough."""
        found = {}
        for number in NUMBERS:
            own = [row[number] for row in rows if math.isfinite(row.get(number, math.nan))]
            if len(own) >= LEAST_REFERENCE and len(own) >= len(rows) / 2:
                found[number] = np.sort(np.array(own))
        return cls(name, found, len(rows)) if found else None


@dataclass(frozen=True)
class Alarm:
    """Something changed, once; while it lasts it is noticed again and again."""

    at: float
    """When it was noticed."""
    began: float
    """From when on it looks like that."""
    last: float
    """When it was noticed last."""
    number: str
    """Of those that changed the one that tells most."""
    questions: int
    """Since it began, as long as it was noticed."""
    superiority: float
    """How likely one of these has more of it than one of the reference."""


@dataclass(frozen=True)
class NumberDrift:
    """How one number of questions compares with the reference."""

    name: str
    about: str
    questions: int
    evidence: float
    """Decimal logarithm of the fortune since the last alarm; 2 is a hundredfold."""
    superiority: float | None
    """How likely a question has more of it than one of the reference; 0.5: nothing changed."""
    low: float | None
    """A confidence sequence of it, at 95 %."""
    high: float | None
    below: float | None
    """The share of questions below 95 % of the reference's."""
    above: float | None
    """And above 95 % of them."""
    recent: float | None
    """As ``superiority``, of the last week that questions were asked in."""


@dataclass(frozen=True)
class Drift:
    """What a watch found."""

    model: str
    reference: Literal["gate", "first"]
    state: State
    since: float | None
    """The first question that was compared."""
    questions: int
    evidence: float
    """As of the numbers, all together; an alarm is at ``needed``."""
    needed: float
    alarms: tuple[Alarm, ...]
    numbers: tuple[NumberDrift, ...]


class Watch:
    """Compares questions with a reference, one after the other as they come."""

    def __init__(self, reference: Reference, *, model: str = "") -> None:
        self.reference, self.model = reference, model
        self._names = tuple(reference.numbers)
        self._sizes = {name: _Size(own) for name, own in reference.numbers.items()}
        error = REFERENCE_ERROR / len(self._names)
        self._tails = [Tails(own, error) for own in reference.numbers.values()]
        self._alarms: list[_Change] = []
        self._since: float | None = None
        self._questions = 0
        self._begin()

    def _begin(self) -> None:
        self._bags = [list(map(float, own)) for own in self.reference.numbers.values()]
        self._bets = Bets((2, len(self._names)))
        """On numbers among all, and among the reference's."""
        self._seen: deque[tuple[float, Numbers, list[float]]] = deque(maxlen=MOST_SEEN)
        """The last questions: when, the chances of their numbers (fortunes, low and high, numbers),
        and places among the reference's."""

    def add(self, at: float, id: str, numbers: Mapping[str, float]) -> None:
        """Take in a question. ``id`` decides what chance decides, so that the same log says the
        same."""
        values = [numbers.get(name, math.nan) for name in self._names]
        if not any(map(math.isfinite, values)):
            return
        self._since = at if self._since is None else self._since
        self._questions += 1
        chances, places = np.full((2, 2, len(values)), math.nan), [math.nan] * len(values)
        for column, (name, value) in enumerate(zip(self._names, values, strict=True)):
            if math.isfinite(value):
                place = _place(self._bags[column], value, _chance(id, name))
                below, above, places[column] = self._tails[column].of(value)
                chances[:, :, column] = (place, 1 - place), (below, above)
                bisect.insort(self._bags[column], value)
                self._sizes[name].add(at, value, places[column])
        self._seen.append((at, chances, places))
        if self._alarms and self._alarms[-1].lasts(at):
            self._alarms[-1].add(places)
        self._bets.bet(chances[:, 0], chances[:, 1])
        if self._fortune >= math.log(FORTUNE):
            self._alarm(at)

    @property
    def _fortune(self) -> float:
        """The logarithm of the larger one."""
        return float(self._bets.together().max())

    def _alarm(self, at: float) -> None:
        if self._alarms and self._alarms[-1].lasts(at):
            self._alarms[-1].last = at
        else:
            chances = np.stack([chances for _, chances, _ in self._seen], axis=2)
            _, column, first = max(self._bets.began(*own) for own in chances)
            since = list(self._seen)[first:]
            made = _Change(at, since[0][0], at, self._names[column], column)
            for _, _, places in since:
                made.add(places)
            self._alarms = [*self._alarms[1 - MOST_ALARMS :], made]
        self._begin()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Those so far."""
        return tuple(each.alarm for each in self._alarms)

    def found(self, now: float) -> Drift:
        """What there is to say."""
        recent = bool(self._alarms) and self._alarms[-1].lasts(now)
        state: State = "drifting" if recent else "steady"
        if not recent and self._questions < LEAST_REFERENCE:
            state = "few"
        return Drift(
            self.model, self.reference.name, state, self._since, self._questions,
            self._fortune / math.log(10), math.log10(FORTUNE), self.alarms,
            tuple(
                self._sizes[name].found(name, float(log) / math.log(10))
                for name, log in zip(self._names, self._bets.logs.max(0), strict=True)
            ),
        )  # fmt: skip


class FirstQuestions:
    """A watch whose reference is the first questions that it is given."""

    def __init__(self, *, model: str = "", first: int = FIRST) -> None:
        self.model, self._first = model, first
        self._rows: list[dict[str, float]] = []
        self._watch: Watch | None = None

    def add(self, at: float, id: str, numbers: Mapping[str, float]) -> None:
        """As :meth:`Watch.add`."""
        if self._watch is not None:
            self._watch.add(at, id, numbers)
            return
        own = {name: value for name, value in numbers.items() if name in NUMBERS}
        if not own:
            return
        self._rows.append(own)
        if len(self._rows) >= self._first:
            reference = Reference.of("first", self._rows)
            self._rows = []
            if reference is not None:
                self._watch = Watch(reference, model=self.model)

    def found(self, now: float) -> Drift:
        """As :meth:`Watch.found`."""
        if self._watch is not None:
            return self._watch.found(now)
        return Drift(self.model, "first", "few", None, 0, 0.0, math.log10(FORTUNE), (), ())


@dataclass
class _Change:
    """An alarm while it lasts."""

    at: float
    began: float
    last: float
    number: str
    column: int
    questions: int = 0
    places: float = 0.0
    """Sum of those among the reference's."""

    def lasts(self, now: float) -> bool:
        """Whether what is noticed now is the same change."""
        return now - self.last <= RECENT_DAYS * _DAY

    def add(self, places: Sequence[float]) -> None:
        """Take in a question."""
        if math.isfinite(places[self.column]):
            self.questions += 1
            self.places += places[self.column]

    @property
    def alarm(self) -> Alarm:
        """As it is told."""
        mean = self.places / self.questions if self.questions else 0.5
        return Alarm(self.at, self.began, self.last, self.number, self.questions, mean)


class _Size:
    """By how much one number differs from the reference's."""

    WEEK = 7 * _DAY
    MOST_RECENT = 5000

    def __init__(self, reference: Numbers) -> None:
        self._edges = float(np.quantile(reference, 0.05)), float(np.quantile(reference, 0.95))
        self._mean = ConfidenceSequence(1 - CONFIDENCE)
        self._below = self._above = 0
        self._recent: deque[tuple[float, float]] = deque(maxlen=self.MOST_RECENT)

    def add(self, at: float, value: float, place: float) -> None:
        """Take in a number; ``place``: the share of the reference that is below it."""
        self._mean.add(place)
        self._below += value < self._edges[0]
        self._above += value > self._edges[1]
        self._recent.append((at, place))

    def found(self, name: str, evidence: float) -> NumberDrift:
        count = self._mean.count
        if not count:
            return NumberDrift(name, NUMBERS[name], 0, evidence, *[None] * 6)
        until = self._recent[-1][0] - self.WEEK
        recent = [place for at, place in self._recent if at > until]
        return NumberDrift(
            name, NUMBERS[name], count, evidence, self._mean.mean, *self._mean.bounds,
            self._below / count, self._above / count, sum(recent) / len(recent),
        )  # fmt: skip


def _place(bag: Sequence[float], value: float, chance: float) -> float:
    """Where a value stands among others and itself, from 0 to 1; among its equals by chance."""
    below = bisect.bisect_left(bag, value)
    equal = bisect.bisect_right(bag, value) - below
    return (below + chance * (equal + 1)) / (len(bag) + 1)


def _chance(id: str, name: str) -> float:
    digest = hashlib.blake2b(f"{id}\0{name}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
