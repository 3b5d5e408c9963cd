"""What a sentence becomes on each rung of a ladder: the same in other words, or corrupted."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from linnet.grounding.languages import Language
from linnet.grounding.names import is_code, names_of
from linnet.grounding.passage import Passage, Sentence, sentences_of
from linnet.grounding.rules import QUOTE
from linnet.grounding.substitutes import (
    AFTER_OBJECTS,
    AUXILIARIES,
    SMALL_NUMBERS,
    SYNONYMS,
    UNIT_NAMES,
    VERBS,
)
from linnet.grounding.tokens import Token
from linnet.grounding.units import NAMES, SYMBOLS, Unit, unit
from linnet.grounding.values import Value

Kind: TypeAlias = Literal[
    "verbatim", "notation", "paraphrase",
    "number", "date", "unit", "negation", "name", "order", "addition",
    "off_topic",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)
FAITHFUL: tuple[Kind, ...] = ("verbatim", "notation", "paraphrase")
CORRUPTED: tuple[Kind, ...] = (
    "number", "date", "unit", "negation", "name", "order", "addition",
)  # fmt: skip

FEWEST, MOST = 6, 45
"""Words of a sentence that a ladder is made of."""

TRIES = 12

FOREIGN = 0.34
"""Share of its words that an off-topic sentence may have in common with the passage."""


@dataclass
class Stock:
    """What the documents have that can stand in for what is taken out."""

    names: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """By language and shape."""
    sentences: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Of each language, with their sources."""


@dataclass
class Work:
    """A sentence that claims are made of."""

    sentence: Sentence
    passage: Passage
    source: str
    stock: Stock
    draw: random.Random

    @property
    def text(self) -> str:
        return self.sentence.claim.text

    @property
    def language(self) -> Language:
        assert self.sentence.language is not None
        return self.sentence.language

    def replaced(self, start: int, end: int, by: str) -> str:
        """The sentence with another stretch in place of one."""
        return self.text[:start] + by + self.text[end:]

    def a_value(self, *kinds: str) -> Value | None:
        """One of the sentence's values of these kinds."""
        found = [value for value in self.sentence.values if value.kind in kinds]
        return self.draw.choice(found) if found else None


def shape_of(name: str) -> str:
    if is_code(name):
        return "code" if any(letter.isdigit() for letter in name) else "acronym"
    return "name"


# -- faithful ------------------------------------------------------------------------------


def notation(work: Work) -> str | None:
    """The same with a number or date written differently."""
    value = work.a_value("number", "date")
    if value is None or not value.certain:
        return None
    if value.kind == "date":
        written = _other_date(value, work)
    else:
        written = _other_number(value, work.language)
    return None if written is None else work.replaced(value.start, value.end, written)


def _other_date(value: Value, work: Work) -> str | None:
    year, month, day = value.dates[0]
    if None in (year, month, day):
        return None
    assert month is not None
    name = _month_name(month, work.language)
    forms = {
        "en": [f"{day} {name} {year}", f"{name} {day}, {year}"],
        "de": [f"{day}. {name} {year}"],
        "fr": [f"{day} {name} {year}"],
        "es": [f"{day} de {name} de {year}"],
    }[work.language.code]
    forms.append(f"{year:04d}-{month:02d}-{day:02d}")
    return work.draw.choice([form for form in forms if form != value.text] or forms)


def _month_name(number: int, language: Language) -> str:
    name = next(word for word, own in language.months.items() if own == number)
    return name.capitalize() if language.code in ("en", "de") else name


def _other_number(value: Value, language: Language) -> str | None:
    number = value.readings[0]
    digits = re.match(r"[\d.,\u202f\u00a0 '’]*\d", value.text)
    if digits is None or number != int(number) or number < 1000 or value.unit is not None:
        small = SMALL_NUMBERS.get(language.code, ())
        if number == int(number) and 2 <= number < len(small) and value.text.isdigit():
            return small[int(number)]
        return None
    whole = digits[0]
    if whole != value.text or (len(whole) == 4 and 1900 <= number < 2100):
        return None  # a year has one notation
    sign = {"en": ",", "de": ".", "es": "\u202f", "fr": "\u202f"}[language.code]
    grouped = f"{int(number):,}".replace(",", sign)
    return str(int(number)) if whole == grouped else grouped


_LED_IN = re.compile(r"(?P<adverbial>(?:In|Since|During|Before|After|By|Im|Seit|Vor|Nach|Depuis|"
                     r"Avant|Après|En|Desde|Antes|Durante|Pendant)\s[^,.;:()]{2,60}),\s"
                     r"(?P<rest>[^,;:()]+)(?P<end>[.!])\Z")  # fmt: skip
_ADDED = re.compile(r",\s(?:which|where|who)\s[^,;:()]+(?=[.!]\Z)")
_CAUSE = re.compile(
    r"(?P<one>[^,.;:()]{3,80})\s(?:is|are) caused by\s(?P<other>[^,;:()]+)(?P<end>[.!])\Z"
)


def paraphrase(work: Work) -> str | None:
    """The same in other words: synonyms, parts moved, a relative clause left out."""
    table = SYNONYMS[work.language.code]
    text, changed = work.text, 0
    quoted = [match.span() for match in QUOTE.finditer(text)]
    spots = [token for token in work.sentence.counted if token.text in table
             and not any(start <= token.start < end for start, end in quoted)]  # fmt: skip
    chosen = work.draw.sample(spots, min(len(spots), work.draw.randint(1, 3)))
    for token in sorted(chosen, key=lambda token: -token.start):
        text = text[: token.start] + table[token.text] + text[token.end :]
        changed += 1
    if (added := _ADDED.search(text)) and work.draw.random() < 0.5:
        text = text[: added.start()] + text[added.end() :]
        changed += 1
    led = _LED_IN.match(text)
    if led is not None and work.language.code != "de":
        adverbial = led["adverbial"][0].lower() + led["adverbial"][1:]
        rest = led["rest"]
        text = f"{rest[0].upper()}{rest[1:]} {adverbial}{led['end']}"
        changed += 1
    caused = _CAUSE.match(text)
    if caused is not None and work.language.code == "en":
        other, one = caused["other"], caused["one"]
        lowered = one[0].lower() + one[1:] if one.split()[0].casefold() in (
            work.language.function) else one  # fmt: skip
        text = f"{other[0].upper()}{other[1:]} can bring about {lowered}{caused['end']}"
        changed += 1
    return text if changed else None


# -- corrupted -----------------------------------------------------------------------------


def number(work: Work) -> str | None:
    """Another number, in the same notation."""
    value = work.a_value("number", "ordinal")
    if value is None:
        return None
    places = [place for place in range(value.start, value.end) if work.text[place].isdigit()]
    if places:
        place = work.draw.choice(places)
        digits = [digit for digit in "123456789" if digit != work.text[place]]
        return work.replaced(place, place + 1, work.draw.choice(digits))
    small = SMALL_NUMBERS[work.language.code]
    first = value.text.split()[0]
    if first.casefold() not in small:
        return None
    other = work.draw.choice([word for word in small[2:] if word != first.casefold()])
    other = other.capitalize() if first[0].isupper() else other
    return work.replaced(value.start, value.start + len(first), other)


def date(work: Work) -> str | None:
    """Another year, month or day; a year by itself is one as well."""
    value = work.a_value("date")
    if value is None:
        years = [own for own in work.sentence.values if own.kind == "number" and _is_year(own)]
        if not years:
            return None
        value = work.draw.choice(years)
    places = [place for place in range(value.start, value.end) if work.text[place].isdigit()]
    if not places or work.draw.random() < 0.3:
        months = list(_month_tokens(work, value))
        if months:
            token = work.draw.choice(months)
            own = work.language.months[token.key]
            other = _month_name(work.draw.choice([n for n in range(1, 13) if n != own]),
                                work.language)  # fmt: skip
            return work.replaced(token.start, token.end, other)
    if not places:
        return None
    place = places[-1]  # the last digit of a day or year: it stays one
    digits = [digit for digit in "123456789" if digit != work.text[place]]
    changed = work.replaced(place, place + 1, work.draw.choice(digits))
    return changed


def _is_year(value: Value) -> bool:
    return value.unit is None and value.text.isdigit() and 1500 <= int(value.text) < 2100


def _month_tokens(work: Work, value: Value) -> Iterator[Token]:
    for word in re.finditer(r"[^\W\d_]+", work.text[value.start : value.end]):
        key = word[0].casefold()
        if key in work.language.months:
            start = value.start + word.start()
            yield Token(key, word[0], start, start + len(word[0]))


def changed_unit(work: Work) -> str | None:
    """Another unit of the same dimension, after the same number."""
    values = [value for value in work.sentence.values if value.unit is not None]
    work.draw.shuffle(values)
    for value in values:
        assert value.unit is not None
        tail = re.search(r"([^\W\d_]+|[%$€£])\W*\Z", work.text[value.start : value.end])
        own = unit(tail[1]) if tail else None
        if tail is None or own != value.unit:
            continue
        others = _units_like(tail[1], value.unit)
        if others:
            start = value.start + tail.start(1)
            return work.replaced(start, start + len(tail[1]), work.draw.choice(others))
    return None


def _units_like(text: str, own: Unit) -> list[str]:
    """Other units of the dimension, as symbols or as names of the same number and language."""
    if text in SYMBOLS:
        like = {name: each for name, each in SYMBOLS.items() if each.dimension == own.dimension}
        return sorted(name for name, each in like.items() if each.factor != own.factor)
    for family in UNIT_NAMES:
        if text in family:
            others = [name for name in family if name != text]
            return [name for name in others if NAMES[name.casefold()].dimension == own.dimension]
    return []


def negation(work: Work) -> str | None:
    """A negation taken out, or put in."""
    code = work.language.code
    tokens = work.sentence.counted
    if any(token.key in work.language.negators for token in tokens):
        denying = {"en": "not", "de": "nicht", "es": "no"}.get(code)
        spots = [token for token in tokens if token.key == denying]
        if len(spots) != 1 or "'" in work.text[spots[0].start : spots[0].end]:
            return None
        token = spots[0]
        if work.text[token.start - 1 : token.start] != " ":
            return None
        return work.replaced(token.start - 1, token.end, "")
    spots = [token for token in tokens if token.key in AUXILIARIES[code] and token.text.islower()]
    if not spots:
        return None
    token = spots[0]
    if code == "fr":
        ne = "n'" if token.key[0] in "aeéiou" else "ne "
        return work.replaced(token.start, token.end, f"{ne}{token.text} pas")
    if code == "es":
        return work.replaced(token.start, token.end, f"no {token.text}")
    return work.replaced(token.end, token.end, " not" if code == "en" else " nicht")


def name(work: Work) -> str | None:
    """Another name of the same shape, from the documents."""
    found = names_of(work.sentence)
    if not found:
        return None
    token = work.draw.choice(found)
    others = work.stock.names.get((work.language.code, shape_of(token.text)), [])
    for _ in range(TRIES):
        if not others:
            break
        other = work.draw.choice(others)
        if other.casefold() not in (token.key, token.key + "s") and not _akin(other, token.text):
            return work.replaced(token.start, token.end, other)
    return None


def _akin(one: str, other: str) -> bool:
    return one.casefold()[:4] == other.casefold()[:4]


def order(work: Work) -> str | None:
    """Subject and object change places."""
    tokens = work.sentence.tokens
    known = VERBS[work.language.code]
    verbs = [place for place, token in enumerate(tokens[:-2]) if place and token.text in known]
    if not verbs or verbs[0] > 8:
        return None
    verb = tokens[verbs[0]]
    if any(token.mark for token in tokens[: verbs[0]]):
        return None
    last = verbs[0] + 1
    while last < len(tokens) and not tokens[last].mark and tokens[last].key not in AFTER_OBJECTS:
        last += 1
    if last - verbs[0] < 2:
        return None
    begin, end = tokens[verbs[0] + 1].start, tokens[last - 1].end
    subject, rest = work.text[: verb.start].rstrip(), work.text[begin:end]
    first = tokens[0]
    if first.key in work.language.function or (
        first.text[1:].islower() and not work.language.nouns_capitalised
    ):
        subject = subject[0].lower() + subject[1:]
    if rest.casefold() == subject.casefold():
        return None
    return f"{rest[0].upper()}{rest[1:]} {verb.text} {subject}{work.text[end:]}"


def addition(work: Work) -> str | None:
    """Something made up, added to what is there: a sentence from elsewhere, joined on."""
    other = _elsewhere(work, longest=14)
    if other is None:
        return None
    joint = {"en": "and", "de": "und", "fr": "et", "es": "y"}[work.language.code]
    body = work.text.rstrip("\"'”’»)").rstrip(".!")
    lowered = other[0].lower() + other[1:] if other.split()[0].casefold() in (
        work.language.function) else other  # fmt: skip
    return f"{body}, {joint} {lowered}"


def off_topic(work: Work) -> str | None:
    """A sentence from another document that shares few words with the passage."""
    return _elsewhere(work, longest=MOST)


def _elsewhere(work: Work, *, longest: int) -> str | None:
    stock = work.stock.sentences.get(work.language.code, [])
    for _ in range(4 * TRIES if stock else 0):
        source, text = work.draw.choice(stock)
        if source == work.source or len(text.split()) > longest:
            continue
        sentence = next(sentences_of(text, work.language.code), None)
        if sentence is None or not sentence.content:
            continue
        shared = sum(own in work.passage.places for own in sentence.content)
        if shared <= FOREIGN * len(sentence.content):
            return text
    return None


MAKERS: dict[Kind, Callable[[Work], str | None]] = {
    "notation": notation,
    "paraphrase": paraphrase,
    "number": number,
    "date": date,
    "unit": changed_unit,
    "negation": negation,
    "name": name,
    "order": order,
    "addition": addition,
    "off_topic": off_topic,
}
"""How the rungs below the sentence itself are made; None where one cannot be."""
