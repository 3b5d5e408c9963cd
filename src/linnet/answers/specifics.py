"""The names, numbers, dates and quoted words of a question, and which of them stand nowhere.

They say what a question is about more than its other words do: where none of what was found has
one, an answer would be about something else, however many words it shares with the question.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cached_property
from itertools import pairwise

from linnet.answers.answer import Step
from linnet.answers.evidence import Question
from linnet.answers.languages import LANGUAGES, Language
from linnet.answers.phrases import framed
from linnet.grounding.languages import ABBREVIATIONS
from linnet.grounding.languages import LANGUAGES as GROUNDED
from linnet.grounding.tokens import tokens
from linnet.grounding.units import unit
from linnet.grounding.values import Value
from linnet.retrieval import Found, terms
from linnet.retrieval.terms import words

_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]{1,200})[\"”“»]")
_WORD = re.compile(r"[^\W_](?:[\w.&/’'-]*\w)?")
_ENDS = frozenset(".!?:¿¡")
_LONGEST_READ = 4_000  # characters of a passage in which values are read
_FEW = 20  # "5 examples", "the 3 types": so many are asked for
_SHORTEST_FORM = 5  # letters of a name that may have another ending
_DAY = re.compile(r"(?P<day>\d{1,2})\.(?P<month>\d{1,2})")  # "1.4.", before another dot
_MODAL = re.compile(
    r"\W*(?:may|can|could|must|should|am i allowed|are we allowed|is it (?:allowed|possible)|"
    r"d[aü]rf\w*|k[aö]nn\w*|m[uü]ss\w*|soll\w*)\b",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(r"[^\w\s]?\d{1,3}(?:[.,]\d{3})+(?!\d)")
_PLAIN = ABBREVIATIONS | {"ok", "asap", "fyi", "btw", "pls", "mister", "miss"}
"""Words with a capital that name nothing a document must have: "Mr", "ASAP"."""


def missing(
    question: Question, found: Sequence[Found], *, cited: Collection[str] = (),
    listed: bool = False,
) -> list[str]:  # fmt: skip
    """What of a question stands nowhere in what was found, in its own words.

    Its numbers and dates have to stand in one of the ``cited`` documents, which answer: a year of
    another one is about something else. ``listed``: entries were counted or listed, and the
    question's numbers bound a column.
    """
    if question.asks == "summary":
        return []
    seen = _Seen(question.language, found)
    core, _ = framed(question.alone)
    language = LANGUAGES.get(question.language)
    absent = [part for part in _QUOTED.findall(core) if not seen.says(part)]
    rest = _QUOTED.sub(" ", core)
    absent += [name for name in _names(rest, language)
               if not seen.names(name) and not seen.has_month(name)]  # fmt: skip
    if not listed and question.asks != "list":
        leave = _asks_leave(rest)
        own = [each for each in found if any(p.source in cited for p in each.passage.places)]
        answering = _Seen(question.language, own) if own else seen
        absent += [value.text for value in _values(rest, question.language)
                   if not (leave and _is_amount(value)) and not answering.has(value)]  # fmt: skip
    return list(dict.fromkeys(absent))


def not_found(absent: Sequence[str]) -> Step:
    """The step that says so."""
    listed = ", ".join(f"'{part}'" for part in absent)
    return Step("check", f"nothing that was found has {listed}", outcome="nothing")


@dataclass
class _Seen:
    """What was found, as it is looked through."""

    language: str
    found: Sequence[Found]

    @cached_property
    def texts(self) -> list[str]:
        return [
            "\n".join((
                *(place.source for place in each.passage.places), each.passage.title,
                *each.passage.headings, each.passage.context, each.passage.text,
            ))
            for each in self.found
        ]  # fmt: skip

    @cached_property
    def said(self) -> list[str]:
        return [f" {' '.join(words(text.replace('_', ' ')))} " for text in self.texts]

    @cached_property
    def terms(self) -> frozenset[str]:
        return frozenset(term for said in self.said for term in terms(said, self.language))

    @cached_property
    def values(self) -> list[Value]:
        return [value for each, text in zip(self.found, self.texts, strict=True)
                for value in _all_values(text[:_LONGEST_READ], each.passage.language)]  # fmt: skip

    def says(self, part: str) -> bool:
        """Word for word."""
        wanted = " ".join(words(part))
        return not wanted or any(f" {wanted} " in said for said in self.said)

    @cached_property
    def stemmed(self) -> list[str]:
        return [f" {' '.join(terms(said, self.language))} " for said in self.said]

    @cached_property
    def joined(self) -> frozenset[str]:
        """Neighbouring words as one: "AX-200" is "AX200", too."""
        return frozenset(
            "".join(pair) for said in self.said for pair in pairwise(said.split())
        )  # fmt: skip

    def names(self, name: str) -> bool:
        """Each word of it, in whatever form; of one with a number all together."""
        own = terms(name, self.language)
        if any(map(str.isdigit, name)):
            together = f" {' '.join(own)} "
            return (
                any(together in said for said in self.stemmed)
                or self.says(name.rstrip("s'’"))
                or name.casefold() in self.joined
            )
        return all(
            len(term) < 2
            or term in self.terms
            or any(_is_form(term, other) for other in self.terms)
            for term in own
        )

    def has_month(self, name: str) -> bool:
        """Whether it is the month of a date in figures."""
        language = GROUNDED.get(self.language)
        month = language.months.get(name.casefold()) if language is not None else None
        return month is not None and any(
            date[1] == month for value in self.values for date in value.dates
        )

    def has(self, value: Value) -> bool:
        return self.says(value.text) or any(_same(value, other) for other in self.values)


def _is_form(term: str, other: str) -> bool:
    """Whether two words are one but for a short ending, or "ä" written as "ae"."""
    term, other = (re.sub(r"(?<=[aou])e", "", each) for each in (term, other))
    shorter, longer = sorted((term, other), key=len)
    return (
        len(shorter) >= _SHORTEST_FORM
        and len(longer) - len(shorter) <= 3
        and longer[: len(shorter) - 1] == shorter[:-1]
    )


def _names(text: str, language: Language | None) -> Iterator[str]:
    """Words with a capital that no sentence begins with; where nouns have one, or all words, those
    in capitals or with a digit."""
    named, nouns = [], language is None or language.nouns_capitalised
    dates = [value for value in _all_values(text, language.code if language else "") if value.dates]
    for word in _WORD.finditer(text):
        own, before = word[0], text[: word.start()].rstrip(" \"'“„«(")
        if not (any(map(str.isalpha, own)) and any(map(str.isupper, own))):
            continue
        if own.casefold() in _PLAIN or unit(own) is not None:
            continue  # "Mr", "EUR"
        if any(date.start <= word.start() < date.end for date in dates):
            continue  # "Dec 24"
        if language is not None and own.casefold().replace("’", "'") in language.function:
            nouns = nouns or bool(before and len(own) > 1)  # "The": as in a title
        else:
            marked = sum(map(str.isupper, own)) > 1 or any(map(str.isdigit, own))
            named.append((own, marked, bool(before) and not _ends(before)))
    for own, marked, inside in named:
        if (marked and not text.isupper()) or (inside and not nouns):
            yield own


def spelled(core: str, language: str) -> list[tuple[Value, frozenset[str]]]:
    """The amounts and dates of a question, each with the words that it is written in."""
    found = _all_values(core, language)
    for word in _WORD.findall(core):  # "in EUR", "in months": any amount of them
        if (own := unit(word)) is not None:
            found.append(Value("number", word, 0, 0, (), own))
    return [(value, frozenset(terms(value.text, language))) for value in found]


def also_said(
    text: str, language: str, asked: Sequence[tuple[Value, frozenset[str]]]
) -> frozenset[str]:
    """The question's words for what a text writes otherwise: "2500 pounds", "£2,500"."""
    if not asked or not any(letter.isalnum() for letter in text):
        return frozenset()
    own = _all_values(text, language)
    return frozenset().union(
        *(
            said
            for value, said in asked
            if any(_same(value, other) or _counts_in(other, value) for other in own)
        )
    )


def _ends(before: str) -> bool:
    """Whether a sentence ends there, and not a "Mr."."""
    return before[-1] in _ENDS and before.rsplit(maxsplit=1)[-1][:-1].casefold() not in _PLAIN


def _values(text: str, language: str) -> Iterator[Value]:
    """Numbers and dates in figures, but for how many are asked for."""
    for value in _all_values(text, language):
        if not any(letter.isdigit() for letter in value.text):
            continue
        after = text[value.end :].lstrip()
        few = value.kind == "number" and any(reading <= _FEW for reading in value.readings)
        if few and value.unit is None and re.match(r"(?:most |main |best )?[^\W\d_]+s\b", after):
            continue
        if value.start and (text[value.start - 1].isalpha() or text[value.start - 1] in "-_/"):
            continue  # of a name: "F-16"
        yield value


def _all_values(text: str, language: str) -> list[Value]:
    found = [token.value for token in tokens(text, language or "en") if token.value is not None]
    return [_day(value, text) if language in ("de", "ru") else value for value in found]


def _day(value: Value, text: str) -> Value:
    """A number that is a day and its month: "am 1.4. oder"."""
    figures = _DAY.fullmatch(value.text)
    if value.kind != "number" or figures is None or not re.match(r"\.(?!\d)", text[value.end :]):
        return value
    day, month = int(figures["day"]), int(figures["month"])
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return value
    return replace(value, kind="date", readings=(), unit=None, dates=((None, month, day),))


def _asks_leave(text: str) -> bool:
    """Whether it is asked if something is allowed or possible: a rule has numbers of its own."""
    return _MODAL.match(text) is not None and text.rstrip().endswith("?")


def _is_amount(value: Value) -> bool:
    """Whether it has a unit, or is a time of the day: no year, and nobody's number."""
    return value.kind == "time" or (value.kind == "number" and value.unit is not None)


def _readings(value: Value) -> set[Decimal]:
    """What it may be, also as it is written elsewhere: "18.900" has thousands in German."""
    found = set(value.readings)
    if figures := _THOUSANDS.match(value.text):
        found.add(Decimal(re.sub(r"\D", "", figures[0])))
    return found


def _counts_in(value: Value, asked: Value) -> bool:
    """Whether an amount is of the unit that is asked for."""
    return (
        not asked.readings and asked.unit is not None and value.unit is not None
        and asked.unit.dimension == value.unit.dimension
    )  # fmt: skip


def _same(asked: Value, other: Value) -> bool:
    """Whether a value may be the one that is asked about: a date may say more, or no year."""
    if asked.dates and other.dates:
        return any(
            all(theirs in (None, own) for own, theirs in zip(one, two, strict=True)
                if own is not None)
            and any(own is not None and own == theirs for own, theirs in zip(one, two, strict=True))
            for one in asked.dates for two in other.dates
        )  # fmt: skip
    if asked.dates or other.dates:  # a year is a number, too
        years = {date[0] for value in (asked, other) for date in value.dates}
        numbers = {int(r) for value in (asked, other) for r in value.readings if r == int(r)}
        whole = all(date[1:] == (None, None) for date in asked.dates)
        return whole and bool(years & numbers)
    if _readings(asked) & _readings(other):
        return True
    one, two = asked.unit, other.unit  # "24 months", "2 years"
    return (
        one is not None and two is not None and one.dimension == two.dimension
        and bool({reading * one.factor for reading in asked.readings}
                 & {reading * two.factor for reading in other.readings})
    )  # fmt: skip
