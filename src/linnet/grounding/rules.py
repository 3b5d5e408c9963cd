"""What can be decided exactly about a claim and the passages that it rests on.

A rule decides only what follows from the words alone:

- *verbatim*: a sentence of a passage, or a clause of one in which nothing takes it back, says
  the claim in the same words, values in whatever notation;
- *number*, *unit*, *date*, *negation*: a sentence, or a clause of one, says the same but for that:
  contradicted;
- *number*, *unit*, *date*, *name*, *quote*: it occurs in no passage: unsupported.

All else is undecided, and so is a claim in a language without rules that is not there word for
word. The errors that remain lie on the safe side: what is called supported is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, localcontext
from typing import Literal, TypeAlias

from linnet.grounding.languages import LANGUAGES, Language, language_of
from linnet.grounding.names import names_of, stands
from linnet.grounding.passage import Passage, Sentence, flattened, prepared, sentences_of
from linnet.grounding.sentences import Claim
from linnet.grounding.similarity import Match, similarity
from linnet.grounding.values import Comparison, Value, compare, compatible, within

Status: TypeAlias = Literal["supported", "contradicted", "unsupported", "undecided"]
Rule: TypeAlias = Literal[
    "verbatim",
    "number",
    "unit",
    "date",
    "name",
    "negation",
    "quote",
    "language",
    "question",
    "encoder",
    "",
]

LONGEST_CLAIM = 10_000
"""Characters of a claim that are checked; what is longer is not decided."""

FEWEST_WORDS = 2
"""Words of content that a claim has to share with a sentence to be contradicted by it."""

COUNTED_BY_HAND = 12
"""A number up to this one may have been counted from what a passage lists."""

WRONG, UNDECIDED = 0.4, 0.95
"""The score of a claim in the words of a sentence where a rule decides against it, or none does."""

NEAR = 0.4
"""Share of the words from which on they are about the same."""

LACKING = 0.6
"""What each thing counts that the passages may lack."""

DERIVED_FROM = 64
"""Numbers of the passages that sums and shares are looked for among."""


@dataclass(frozen=True)
class Missing:
    """What of a claim the passages do not have."""

    kind: Literal["number", "unit", "date", "name", "negation", "quote"]
    text: str
    found: str = ""
    """What stands in its place, where a sentence says the rest."""


@dataclass(frozen=True)
class Place:
    """A stretch of one of the passages."""

    passage: int
    start: int
    end: int


@dataclass(frozen=True)
class Verdict:
    """Whether passages support a claim, and how it was told."""

    status: Status
    rule: Rule
    """What decided it, or why nothing did; empty where no rule applies."""
    score: float
    """From 0 to 1, higher the better supported; 1 only where a rule says so."""
    missing: tuple[Missing, ...] = ()
    """Also where that is not enough to decide."""
    evidence: Place | None = None
    """The sentence nearest to the claim."""
    probability: float | None = None
    """That it is supported, where the encoder was asked."""

    @property
    def by_rule(self) -> bool:
        """Whether a rule decided."""
        return self.status != "undecided" and self.rule != "encoder"


def check(
    claim: Claim | str,
    passages: str | Passage | Sequence[str | Passage],
    *,
    language: str | None = None,
) -> Verdict:
    """Whether the passages support a claim, by rules.

    A text of several claims is as well supported as the worst of them. ``language`` (ISO 639-1)
    saves telling it from the passages.
    """
    if isinstance(passages, str | Passage):
        passages = [passages]
    ready = [prepared(passage, language) for passage in passages]
    text = claim.text if isinstance(claim, Claim) else claim
    own = language or _claim_language(text[:LONGEST_CLAIM], ready)
    verdicts = [_Check(sentence, ready, own).verdict()
                for sentence in sentences_of(text[:LONGEST_CLAIM], own)]  # fmt: skip
    if not verdicts:
        return Verdict("undecided", "", 0.0)
    worst = min(verdicts, key=lambda verdict: (_ORDER.index(verdict.status), verdict.score))
    missing = tuple(each for verdict in verdicts for each in verdict.missing)
    worst = replace(worst, missing=missing)
    if len(text) > LONGEST_CLAIM and worst.status == "supported":
        return replace(worst, status="undecided", rule="")
    return worst


_ORDER: tuple[Status, ...] = ("contradicted", "unsupported", "undecided", "supported")


def _claim_language(text: str, passages: Sequence[Passage]) -> str:
    """That of the passages, unless the claim's own words are clearly of another."""
    main = passages[0].language if passages else ""
    words = [word.strip(".,;:!?()\"'").casefold() for word in text.split()[:200]]
    rules = LANGUAGES.get(main)
    if rules is None:
        return language_of(text, words) if not passages else main
    if any(word in rules.function for word in words):
        return main
    hits = {code: sum(word in other.function for word in words)
            for code, other in LANGUAGES.items()}  # fmt: skip
    best = max(hits, key=lambda code: hits[code])
    return best if hits[best] > 1 else main


class _Check:
    """One claim, and the passages it is checked against."""

    def __init__(self, claim: Sentence, passages: list[Passage], language: str) -> None:
        self.claim = claim
        self.passages = passages
        self.language = language
        self.alike = all(passage.language == language for passage in passages)

    def verdict(self) -> Verdict:
        """What the first rule says that decides; the exact ones come first."""
        status, rule, missing = self._decided()
        if status == "supported":
            return Verdict(status, rule, 1.0, missing, self._supporting)
        match = similarity(self.claim, self.passages)
        evidence = None
        if match.sentence is not None:
            own = match.sentence.claim
            evidence = Place(match.passage, own.start, own.end)
        return Verdict(status, rule, _score(status, match, missing), missing, evidence)

    _supporting: Place | None = None
    _nearly: tuple[Missing, ...] = ()
    """In which values a sentence, or a clause of one, differs that says the claim otherwise."""

    def _decided(self) -> tuple[Status, Rule, tuple[Missing, ...]]:
        if self.claim.question:
            return "undecided", "question", ()
        aligned = self._aligned()
        if aligned is not None and aligned[0] == "supported":
            return aligned
        rules = self.claim.language
        if rules is None or not self.passages or not all(
            passage.language in LANGUAGES for passage in self.passages
        ):  # fmt: skip
            return "undecided", "language", ()
        if aligned is not None:
            return aligned
        negated = self._negated() if self.alike else None
        if negated is not None:
            return negated
        missing: list[Missing] = []
        rule: Rule = ""
        for found, sure in self._lacking(rules):
            missing.append(found)
            if sure and not rule:
                rule = found.kind
        if rule in ("number", "unit", "date") and self._nearly and self.claim.content:
            return "contradicted", self._nearly[0].kind, self._nearly
        return ("unsupported" if rule else "undecided"), rule, tuple(missing)

    def _aligned(self) -> tuple[Status, Rule, tuple[Missing, ...]] | None:
        """Decided by a sentence that says the claim in its words, or all but its values."""
        if not self.claim.counted:
            return None
        line = self.claim.line
        different: list[tuple[Missing, ...]] = []
        for number, passage in enumerate(self.passages):
            for sentence, values in passage.by_line.get(line, ()):
                found = _differences(self.claim.values, values)
                if found == ():
                    self._supporting = Place(number, sentence.claim.start, sentence.claim.end)
                    return "supported", "verbatim", ()
                if found is None:
                    different.clear()
                    break
                different.append(found)
        for place, found in self._clauses():
            if found == ():
                self._supporting = place
                return "supported", "verbatim", ()
            if found:
                self._nearly = self._nearly or found
        if different:
            self._nearly = different[0]
        if different and len(self.claim.content) >= FEWEST_WORDS:
            return "contradicted", different[0][0].kind, different[0]
        return None

    def _clauses(self) -> Iterator[tuple[Place, tuple[Missing, ...] | None]]:
        """Clauses of sentences that say the claim, where nothing in the rest takes it back, and in
        which values they differ."""
        rules = self.claim.language
        if rules is None or not self.alike:
            return
        line, length = self.claim.line, len(self.claim.counted)
        for number, passage in enumerate(self.passages):
            for sentence in passage.sentences:
                if len(sentence.line) <= len(line) or sentence.question:
                    continue
                at = sentence.line.find(line)
                if at < 0:
                    continue
                first = sentence.line.count(" ", 0, at)
                begins, ends = sentence.borders
                if first not in begins or first + length not in ends:
                    continue
                own = sentence.counted[first : first + length]
                rest = (*sentence.counted[:first], *sentence.counted[first + length :])
                reverses = rules.reversing | rules.negators
                if any(token.key in reverses for token in rest):
                    continue
                values = tuple(token.value for token in own if token.value is not None)
                start = sentence.claim.start
                place = Place(number, start + own[0].start, start + own[-1].end)
                yield place, _differences(self.claim.values, values)

    def _negated(self) -> tuple[Status, Rule, tuple[Missing, ...]] | None:
        """Contradicted by a sentence that says the same with one negation more or less."""
        line, negations = self.claim.positive
        if negations not in (0, 1) or len(self.claim.content) < FEWEST_WORDS:
            return None
        for passage in self.passages:
            for sentence in passage.positives.get(line, ()):
                if sentence.positive.negations != 1 - negations:
                    continue
                if _differences(self.claim.values, sentence.values) == ():
                    missing = Missing("negation", self.claim.claim.text, sentence.claim.text)
                    return "contradicted", "negation", (missing,)
        return None

    def _lacking(self, rules: Language) -> Iterator[tuple[Missing, bool]]:
        """What occurs in no passage, and whether that decides."""
        for quoted in _quotes(self.claim.claim.text):
            parts = [part for part in _ELLIPSIS.split(flattened(quoted)) if part.strip()]
            if not all(any(part.strip(" .,;:!?") in p.flat for p in self.passages)
                       for part in parts):  # fmt: skip
                yield Missing("quote", quoted), len(quoted.split()) >= _QUOTED
        for place, value in enumerate(self.claim.values):
            found = self._missing_value(value, place, rules)
            if found is not None:
                yield found
        if self.alike:
            for token in names_of(self.claim):
                there = stands(token, self.passages)
                if not there:
                    yield Missing("name", token.text), there is False

    def _missing_value(
        self, value: Value, place: int, rules: Language
    ) -> tuple[Missing, bool] | None:
        if value.kind == "date":
            return self._missing_date(value)
        found = [other for reading in value.readings for passage in self.passages
                 for other in passage.numbers.get(reading, ())]  # fmt: skip
        comparisons = {compare(value, other) for other in found}
        if "same" in comparisons or (value.kind == "ordinal" and found):
            return None
        if found and comparisons <= {"different"} and value.unit is not None:
            near = next((other.text for other in found if other.unit is not None), "")
            return Missing("unit", value.text, near), bool(near)
        if found:
            return None if value.unit is None else (Missing("unit", value.text), False)
        if value.unit is not None and self._converted(value):
            return None
        if self._is_part_of_date(value):
            return None
        sure = value.certain and value.kind != "ordinal" and not self._derivable(value, rules)
        return Missing("number", value.text), sure

    def _missing_date(self, value: Value) -> tuple[Missing, bool] | None:
        there = [date for passage in self.passages for other in passage.dates
                 for date in other.dates]  # fmt: skip
        if any(within(date, other) for date in value.dates for other in there):
            return None
        near = any(compatible(date, other) for date in value.dates for other in there)
        years = {date[0] for date in value.dates}
        alone = any(
            year is not None and Decimal(year) in passage.numbers
            for year in years for passage in self.passages
        )  # fmt: skip
        # "5 March" and "2024" in two places may be of one date; so may a month by itself.
        months = any(rules_month in passage.words for passage in self.passages
                     for rules_month in _month_names(value, self.claim.language))  # fmt: skip
        return Missing("date", value.text), not near and not (alone and months)

    def _converted(self, value: Value) -> bool:
        """Whether a passage has the amount in another unit."""
        return any(
            other.unit is not None and compare(value, other) != "different"
            for passage in self.passages for others in passage.numbers.values() for other in others
        )  # fmt: skip

    def _is_part_of_date(self, value: Value) -> bool:
        return any(
            reading == part
            for passage in self.passages for other in passage.dates for date in other.dates
            for part in date if part is not None
            for reading in value.readings
        )  # fmt: skip

    def _derivable(self, value: Value, rules: Language) -> bool:
        """Whether a number may be counted, rounded, added up or compared out of the passages'."""
        number = value.readings[0]
        if value.unit is None and number == int(number) and 0 <= number <= COUNTED_BY_HAND:
            return True
        if self._compared(value, rules):
            return True
        unit, numbers, years = value.unit, [], []
        for passage in self.passages:
            for reading, others in passage.numbers.items():
                if any(_same_unit(value, other) for other in others):
                    numbers.append(reading)
                if _year(reading):
                    years.append(reading)
            years += [Decimal(date[0]) for other in passage.dates for date in other.dates
                      if date[0] is not None]  # fmt: skip
        numbers, years = numbers[:DERIVED_FROM], years[:DERIVED_FROM]
        if any(_rounds_to(other, number) for other in numbers):
            return True
        if _year(number) and unit is None:
            small = [reading for passage in self.passages for reading in passage.numbers
                     if abs(reading) < 200][:DERIVED_FROM]  # fmt: skip
            return any(abs(number - year) in small for year in years)
        if number < 200 and any(a - b == number for a in years for b in years):
            return True
        if sum(numbers) == number or any(a + b == number or a - b == number
                                         for a in numbers for b in numbers):  # fmt: skip
            return True
        if unit is not None and unit.dimension == "share":
            return self._is_share(number)
        return False

    def _is_share(self, percent: Decimal) -> bool:
        counts = [reading for passage in self.passages for reading in passage.numbers
                  if reading > 0][:DERIVED_FROM]  # fmt: skip
        return any(
            abs(100 * a / b - percent) <= 1 or abs(100 * (a - b) / b - percent) <= 1
            for a in counts for b in counts
        )  # fmt: skip

    def _compared(self, value: Value, rules: Language) -> bool:
        """Whether the claim bounds the number, or says it roughly, by the words before it."""
        words = _ROUGHLY.get(rules.code, frozenset())
        before = [token.key for token in self.claim.counted if token.end <= value.start][-4:]
        return any(word in words for word in before)


_ROUGHLY = {
    code: frozenset(words.split())
    for code, words in {
        "en": (
            "about approximately around roughly nearly almost over under more less fewer least "
            "most up than between some circa above below exceeding every"
        ),
        "de": (
            "etwa ungefähr rund circa ca fast knapp über unter mehr weniger mindestens höchstens "
            "bis als gut zwischen"
        ),
        "fr": ("environ près presque plus moins jusqu'à que entre quelque dépassant"),
        "es": ("alrededor aproximadamente unos unas cerca casi más menos hasta entre sobre"),
    }.items()
}

_QUOTED = 3  # words of a quotation that is one, and no title or distance
_ELLIPSIS = re.compile(r"\s*(?:\[?(?:\.\.\.|…)\]?)\s*")
QUOTE = re.compile(r"“([^“”]++)”|„([^„“”]++)[“”]|«([^«»]++)»|(?<!\w)\"([^\"]++)\"(?!\w)")


def _quotes(text: str) -> list[str]:
    found = (next(part for part in match.groups() if part is not None).strip()
             for match in QUOTE.finditer(text))  # fmt: skip
    return [part for part in found if part]


def _month_names(value: Value, language: Language | None) -> list[str]:
    numbers = {date[1] for date in value.dates}
    months = {} if language is None else language.months
    return [word for word, number in months.items() if number in numbers]


def _differences(
    claimed: Sequence[Value], said: Sequence[Value]
) -> tuple[Missing, ...] | None:  # fmt: skip
    """In which values two equal lines differ: () for none; None where it cannot be told."""
    if len(claimed) != len(said):
        return None
    found: list[Missing] = []
    unsure = False
    for own, other in zip(claimed, said, strict=True):
        compared: Comparison = compare(own, other)
        if compared == "different":
            found.append(Missing(_difference(own, other), own.text, other.text))
        unsure = unsure or compared == "unsure"
    return tuple(found) if found or not unsure else None


def _difference(own: Value, other: Value) -> Literal["number", "unit", "date"]:
    if own.kind == "date":
        return "date"
    same = set(own.readings) & set(other.readings)
    return "unit" if same and own.unit != other.unit else "number"


def _same_unit(one: Value, other: Value) -> bool:
    return one.kind == other.kind and (
        (None if one.unit is None else one.unit.dimension)
        == (None if other.unit is None else other.unit.dimension)
    )


def _year(number: Decimal) -> bool:
    return number == int(number) and 1000 <= number < 2200


def _rounds_to(exact: Decimal, number: Decimal) -> bool:
    """Whether a number is another one, said with fewer digits."""
    if exact == number or number == 0:
        return False
    digits = len(number.normalize().as_tuple().digits)
    if digits >= len(exact.normalize().as_tuple().digits):
        return False
    with localcontext() as context:
        context.prec = digits
        for rounding in (ROUND_HALF_UP, ROUND_HALF_EVEN):
            context.rounding = rounding
            if +exact == number:
                return True
    return False


def _score(status: Status, match: Match, missing: Sequence[Missing]) -> float:
    """One figure that orders faithful, then corrupted, then off-topic claims.

    What a rule found wrong stays below a half, however near it is to a sentence, and above it
    lies what only differs in its words. What shares but few words is lowest.
    """
    if status in ("contradicted", "unsupported"):
        return round(WRONG * match.share, 4)
    near = match.share * min(1.0, match.share / NEAR)
    return round(UNDECIDED * near * LACKING ** len(missing[:4]), 4)
