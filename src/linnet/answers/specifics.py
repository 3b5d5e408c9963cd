"""The names, numbers, dates and quoted words of a question, and which of them stand nowhere.

They say what a question is about more than its other words do: where none of what was found has
one, an answer would be about something else, however many words it shares with the question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from linnet.answers.answer import Step
from linnet.answers.evidence import Question
from linnet.answers.languages import LANGUAGES, Language
from linnet.answers.understanding import framed
from linnet.grounding.tokens import tokens
from linnet.grounding.values import Value
from linnet.retrieval import Found, terms
from linnet.retrieval.terms import words

_QUOTED = re.compile(r"[\"“„«]([^\"“”„«»]{1,200})[\"”“»]")
_WORD = re.compile(r"[^\W_](?:[\w.&/’'-]*\w)?")
_ENDS = frozenset(".!?:¿¡")
_LONGEST_READ = 4_000  # characters of a passage in which values are read
_FEW = 20  # "5 examples", "the 3 types": so many are asked for
_SHORTEST_FORM = 5  # letters of a name that may have another ending


def missing(question: Question, found: Sequence[Found]) -> list[str]:
    """What of a question stands nowhere in what was found, in its own words."""
    if question.asks == "summary":
        return []
    seen = _Seen(question.language, found)
    core, _ = framed(question.alone)
    language = LANGUAGES.get(question.language)
    absent = [part for part in _QUOTED.findall(core) if not seen.says(part)]
    rest = _QUOTED.sub(" ", core)
    absent += [name for name in _names(rest, language) if not seen.names(name)]
    if question.asks not in ("list", "count"):  # (there they bound a column)
        absent += [value.text for value in _values(rest, question.language)
                   if not seen.has(value)]  # fmt: skip
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

    def names(self, name: str) -> bool:
        """Each word of it, in whatever form."""
        return all(
            len(term) < 2 or term in self.terms or any(_is_form(term, own) for own in self.terms)
            for term in terms(name, self.language)
        )

    def has(self, value: Value) -> bool:
        return self.says(value.text) or any(_same(value, other) for other in self.values)


def _is_form(term: str, other: str) -> bool:
    """Whether two words are one but for a short ending."""
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
    for word in _WORD.finditer(text):
        own, before = word[0], text[: word.start()].rstrip(" \"'“„«(")
        if not (any(map(str.isalpha, own)) and any(map(str.isupper, own))):
            continue
        if language is not None and own.casefold().replace("’", "'") in language.function:
            nouns = nouns or bool(before and len(own) > 1)  # "The": as in a title
        else:
            marked = sum(map(str.isupper, own)) > 1 or any(map(str.isdigit, own))
            named.append((own, marked, bool(before) and before[-1] not in _ENDS))
    for own, marked, inside in named:
        if (marked and not text.isupper()) or (inside and not nouns):
            yield own


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
    return [token.value for token in tokens(text, language or "en") if token.value is not None]


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
    return bool(set(asked.readings) & set(other.readings))
