"""Claims of which it is known by construction how well a passage supports them.

A *ladder* is made of one sentence of a passage: on its highest rung what is faithful (the sentence,
the same in another notation or other words), below what was corrupted in one place, at the bottom
a sentence from elsewhere. A checker must give the higher rung the higher score. The same claims
are what the encoder learns from.

Everything is drawn by a seed; no model has a part in it.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from linnet.grounding.languages import LANGUAGES, Language
from linnet.grounding.names import is_code, names_of
from linnet.grounding.passage import Passage, Sentence, prepared, sentences_of
from linnet.grounding.rules import QUOTE, check
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

AROUND = 1500
"""Characters of the passage around it, at most."""

FOREIGN = 0.34
"""Share of its words that an off-topic sentence may have in common with the passage."""

TRIES = 12


@dataclass(frozen=True)
class Rung:
    """A claim, and what was done to make it."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class Ladder:
    """A passage, and claims about it from faithful to off-topic."""

    source: str
    """The document that the passage is of."""
    language: str
    passage: str
    sentence: str
    rungs: tuple[Rung, ...]

    def of(self, *kinds: Kind) -> list[Rung]:
        """The rungs of these kinds."""
        return [rung for rung in self.rungs if rung.kind in kinds]


@dataclass(frozen=True)
class Document:
    """A text that ladders are made of."""

    source: str
    text: str


@dataclass
class _Stock:
    """What the documents have that can stand in for what is taken out."""

    names: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    """By language and shape."""
    sentences: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    """Of each language, with their sources."""


def ladders(
    documents: Sequence[Document], *, count: int, seed: int = 0, each: int = 4
) -> Iterator[Ladder]:
    """Up to ``count`` ladders, at most ``each`` of a document, whose languages have rules."""
    draw = random.Random(seed)
    order = list(documents)
    draw.shuffle(order)
    passages = {}
    stock = _Stock()
    for document in order[: max(200, 3 * count)]:
        passage = prepared(document.text[:100_000])
        if passage.language in LANGUAGES:
            passages[document.source] = passage
            _collect(stock, document.source, passage)
    made = 0
    for source, passage in passages.items():
        usable = [sentence for sentence in passage.sentences if _usable(sentence)]
        for sentence in draw.sample(usable, min(each, len(usable))):
            if made == count:
                return
            ladder = _ladder(source, passage, sentence, stock, draw)
            if ladder is not None:
                made += 1
                yield ladder


def _usable(sentence: Sentence) -> bool:
    text = sentence.claim.text
    return (
        FEWEST <= len(sentence.counted) <= MOST
        and text.rstrip("\"'”’»)").endswith((".", "!", "。"))
        and "\n" not in text.strip()
        and text[:1].isupper()
        and len(sentence.content) >= 3
    )


def _collect(stock: _Stock, source: str, passage: Passage) -> None:
    for sentence in passage.sentences:
        if _usable(sentence):
            own = stock.sentences.setdefault(passage.language, [])
            own.append((source, sentence.claim.text))
        for token in names_of(sentence):
            if token.key in LANGUAGES[passage.language].function:
                continue
            if token.text not in (shape := stock.names.setdefault(
                (passage.language, _shape(token.text)), [])) and len(shape) < 5000:  # fmt: skip
                shape.append(token.text)


def _shape(name: str) -> str:
    if is_code(name):
        return "code" if any(letter.isdigit() for letter in name) else "acronym"
    return "name"


def _ladder(
    source: str, passage: Passage, sentence: Sentence, stock: _Stock, draw: random.Random
) -> Ladder | None:
    start = max(0, sentence.claim.start - AROUND // 2)
    end = min(len(passage.text), sentence.claim.end + AROUND // 2)
    text = _whole_sentences(passage, start, end)
    around = prepared(text, passage.language)
    work = _Work(sentence, around, source, stock, draw)
    rungs = [Rung("verbatim", sentence.claim.text)]
    rungs += [rung for kind in MAKERS if (rung := _rung(kind, work)) is not None]
    reworded = next((rung.text for rung in rungs if rung.kind == "paraphrase"), None)
    if reworded is not None and (own := next(sentences_of(reworded, passage.language), None)):
        again = _Work(own, around, source, stock, draw)
        rungs += [rung for kind in CORRUPTED if (rung := _rung(kind, again)) is not None]
    if not any(rung.kind == "off_topic" for rung in rungs):
        return None
    return Ladder(source, passage.language, text, sentence.claim.text, tuple(rungs))


def _rung(kind: Kind, work: _Work) -> Rung | None:
    """A claim of this kind that differs from the sentence; None where there is none."""
    for _ in range(TRIES):
        found = MAKERS[kind](work)
        if found is None:
            return None
        if found != work.text:
            return Rung(kind, found)
    return None


def _whole_sentences(passage: Passage, start: int, end: int) -> str:
    own = [s.claim for s in passage.sentences if start <= s.claim.start and s.claim.end <= end]
    return passage.text[own[0].start : own[-1].end] if own else passage.text[start:end]


@dataclass
class _Work:
    """A sentence that claims are made of."""

    sentence: Sentence
    passage: Passage
    source: str
    stock: _Stock
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


# -- what is learnt from --------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A claim, the passage it is about, and whether that supports it."""

    claim: str
    passage: str
    supported: bool
    kind: Kind
    source: str


SHARES: dict[Kind, float] = {"verbatim": 0.3, "off_topic": 0.3}
"""How often a rung becomes a pair, where that is not always: these are told without an encoder."""


def pairs(documents: Sequence[Document], *, count: int, seed: int = 0) -> list[Pair]:
    """Up to ``count`` pairs, as many supported as not, in which the rules find no mistake.

    Half of the corruptions are made of a paraphrase, so that it takes more to tell them than to
    see that words differ.
    """
    draw = random.Random(seed)
    found: dict[bool, list[Pair]] = {True: [], False: []}
    used: Counter[Kind] = Counter()
    wanted = (count + 1) // 2
    each = max(4, 2 * wanted // max(1, len(documents)))
    for ladder in ladders(documents, count=count, seed=seed, each=each):
        if all(len(own) >= wanted for own in found.values()):
            break
        made = [
            Pair(rung.text, ladder.passage, rung.kind in FAITHFUL, rung.kind, ladder.source)
            for rung in ladder.rungs
            if draw.random() < SHARES.get(rung.kind, 1.0)
        ]
        draw.shuffle(made)
        made.sort(key=lambda pair: used[pair.kind])  # what is rare first
        for supported, own in found.items():
            fitting = [pair for pair in made if pair.supported == supported and _accepted(pair)]
            chosen = fitting[: min(3, wanted - len(own))]
            used.update(pair.kind for pair in chosen)
            own += chosen
    least = min(len(own) for own in found.values())
    both = found[True][:least] + found[False][:least]
    draw.shuffle(both)
    return both


def _accepted(pair: Pair) -> bool:
    """Whether no rule says the opposite."""
    status = check(pair.claim, pair.passage).status
    return status in ("supported", "undecided") if pair.supported else status != "supported"


# -- faithful ------------------------------------------------------------------------------


def notation(work: _Work) -> str | None:
    """The same with a number or date written differently."""
    value = work.a_value("number", "date")
    if value is None or not value.certain:
        return None
    if value.kind == "date":
        written = _other_date(value, work)
    else:
        written = _other_number(value, work.language)
    return None if written is None else work.replaced(value.start, value.end, written)


def _other_date(value: Value, work: _Work) -> str | None:
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


def paraphrase(work: _Work) -> str | None:
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


def number(work: _Work) -> str | None:
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


def date(work: _Work) -> str | None:
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


def _month_tokens(work: _Work, value: Value) -> Iterator[Token]:
    for word in re.finditer(r"[^\W\d_]+", work.text[value.start : value.end]):
        key = word[0].casefold()
        if key in work.language.months:
            start = value.start + word.start()
            yield Token(key, word[0], start, start + len(word[0]))


def changed_unit(work: _Work) -> str | None:
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


def negation(work: _Work) -> str | None:
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


def name(work: _Work) -> str | None:
    """Another name of the same shape, from the documents."""
    found = names_of(work.sentence)
    if not found:
        return None
    token = work.draw.choice(found)
    others = work.stock.names.get((work.language.code, _shape(token.text)), [])
    for _ in range(TRIES):
        if not others:
            break
        other = work.draw.choice(others)
        if other.casefold() not in (token.key, token.key + "s") and not _akin(other, token.text):
            return work.replaced(token.start, token.end, other)
    return None


def _akin(one: str, other: str) -> bool:
    return one.casefold()[:4] == other.casefold()[:4]


def order(work: _Work) -> str | None:
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


def addition(work: _Work) -> str | None:
    """Something made up, added to what is there: a sentence from elsewhere, joined on."""
    other = _elsewhere(work, longest=14)
    if other is None:
        return None
    joint = {"en": "and", "de": "und", "fr": "et", "es": "y"}[work.language.code]
    body = work.text.rstrip("\"'”’»)").rstrip(".!")
    lowered = other[0].lower() + other[1:] if other.split()[0].casefold() in (
        work.language.function) else other  # fmt: skip
    return f"{body}, {joint} {lowered}"


def off_topic(work: _Work) -> str | None:
    """A sentence from another document that shares few words with the passage."""
    return _elsewhere(work, longest=MOST)


def _elsewhere(work: _Work, *, longest: int) -> str | None:
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


MAKERS: dict[Kind, Callable[[_Work], str | None]] = {
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
