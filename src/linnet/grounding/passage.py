"""A passage prepared for checking claims against it, and a claim in the same form.

All that a check looks up is in tables, so that its time depends on the claim's length, hardly on
the passage's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import NamedTuple

from linnet.grounding.languages import LANGUAGES, Language, stem, text_language
from linnet.grounding.sentences import Claim, claims
from linnet.grounding.tokens import Token, tokens
from linnet.grounding.values import Value

VALUE = "#"
"""What stands in a line for a value."""

_KEPT = 200  # passages, of which as many are prepared only once
_LONG = 100_000  # characters of a passage that is not kept
_IRREGULAR = {"has": "have", "goes": "go", "an": "a"}
_PAIRED = {"without": "with", "ohne": "mit", "sans": "avec", "sin": "con"}
_NO_NEGATION = frozenset(("only", "just", "merely", "simply", "nur", "allein", "bloß",
                          "seulement", "solo", "sólo", "solamente", "que"))  # fmt: skip
UNCLEAR = 9
"""Negations of a sentence of which it cannot be told whether it is denied."""

_BORDERS = frozenset(',;:—–-()[]"“”„«»')


class Positive(NamedTuple):
    """A sentence without its negations."""

    line: str
    negations: int


@dataclass(frozen=True)
class Sentence:
    """A claim as tokens, and the forms of it that are looked up."""

    claim: Claim
    tokens: tuple[Token, ...]
    language: Language | None

    @cached_property
    def line(self) -> str:
        """Its words as they are compared, values by a sign, with a blank around each."""
        return _line(self.counted)

    @cached_property
    def counted(self) -> tuple[Token, ...]:
        """Its tokens without punctuation."""
        return tuple(token for token in self.tokens if not token.mark)

    @cached_property
    def values(self) -> tuple[Value, ...]:
        """Its values in order."""
        return tuple(token.value for token in self.tokens if token.value is not None)

    @property
    def question(self) -> bool:
        """Whether it asks, and so says nothing."""
        return self.claim.text.rstrip("\"'”’»)] ").endswith(("?", "？", "؟"))

    @cached_property
    def without_brackets(self) -> tuple[Token, ...]:
        """Its counted tokens but for those in brackets; all where brackets do not match."""
        if not any(token.text == "(" for token in self.tokens):
            return self.counted
        kept, depth = [], 0
        for token in self.tokens:
            depth += (token.text in "([") - (token.text in ")]") if token.mark else 0
            if depth == 0 and not token.mark:
                kept.append(token)
        return tuple(kept) if depth == 0 else self.counted

    @cached_property
    def borders(self) -> tuple[frozenset[int], frozenset[int]]:
        """Places among the counted tokens at which a clause may begin, and end."""
        begins, ends, place = {0}, set(), 0
        for token in self.tokens:
            if not token.mark:
                place += 1
            elif token.text in _BORDERS:
                ends.add(place)
                begins.add(place)
        return frozenset(begins), frozenset(ends | {place})

    @cached_property
    def stems(self) -> tuple[str, ...]:
        """Its words without endings, in order, and its values by a sign."""
        language = self.language
        if language is None:
            return tuple(token.key or VALUE for token in self.counted)
        return tuple(VALUE if token.value else stem(token.key, language) for token in self.counted)

    @cached_property
    def content(self) -> tuple[str, ...]:
        """The stems of the words that say what it is about, in order."""
        if self.language is None:
            return tuple(token.key for token in self.counted if token.key)
        function = self.language.function
        return tuple(
            own for token, own in zip(self.counted, self.stems, strict=True)
            if token.key and token.key not in function
        )  # fmt: skip

    @cached_property
    def looked_up(self) -> tuple[str, ...]:
        """What sentences like it are found by."""
        values = (
            f"{VALUE}{said}" for value in self.values for said in (*value.readings, *value.dates)
        )
        return (*self.content, *values)

    @cached_property
    def positive(self) -> Positive:
        """The sentence without negation, articles and endings, and how often it is negated."""
        language = self.language
        if language is None:
            return Positive("", UNCLEAR)
        kept: list[str] = []
        negations = other = 0
        for place, token in enumerate(self.counted):
            key = token.key
            if token.value is not None:
                kept.append(VALUE)
                continue
            if key in language.negators:
                if self._discourse(place, token):
                    return Positive("", UNCLEAR)
                if key in ("ne", "n'"):
                    negations += 1
                else:
                    other += 1
                if key in _PAIRED:
                    kept.append(_PAIRED[key])
            elif key not in language.articles and key not in language.auxiliaries:
                kept.append(_IRREGULAR.get(key) or stem(key, language))
        # French "ne ... jamais" is one negation.
        return Positive(f" {' '.join(kept)} ", negations or other)

    def _discourse(self, place: int, token: Token) -> bool:
        """Whether a negating word negates something else: "No, ...", "not only", "No. 5"."""
        after = self.counted[place + 1] if place + 1 < len(self.counted) else None
        if after is None or after.key in _NO_NEGATION:
            return True
        if token.key in ("no", "non", "nein") and (place == 0 or after.value is not None):
            between = self.claim.text[token.end : after.start]
            return bool(between.strip())
        return False

    def has(self, keys: frozenset[str]) -> bool:
        """Whether one of these words is in it."""
        return any(token.key in keys for token in self.counted)


def _line(counted: Sequence[Token]) -> str:
    return f" {' '.join(VALUE if token.value else token.key for token in counted)} "


class Passage:
    """A text that claims are checked against. :func:`prepared` makes one."""

    def __init__(self, text: str, language: str | None = None) -> None:
        self.text = text
        self.language = text_language(text) if language is None else language
        rules = LANGUAGES.get(self.language)
        self.sentences = [
            Sentence(own, tuple(tokens(own.text, self.language)), rules)
            for own in claims(text, language=self.language)
        ]
        self.words: set[str] = set()
        self.numbers: dict[Decimal, list[Value]] = {}
        self.dates: list[Value] = []
        self.by_line: dict[str, list[tuple[Sentence, tuple[Value, ...]]]] = {}
        for sentence in self.sentences:
            self._add(sentence)

    def _add(self, sentence: Sentence) -> None:
        for token in sentence.counted:
            value = token.value
            if value is None:
                self.words.add(token.key)
                if "-" in token.key:
                    self.words.update(token.key.split("-"))
                continue
            if value.kind == "date":
                self.dates.append(value)
            for reading in value.readings:
                self.numbers.setdefault(reading, []).append(value)
        if not sentence.question:
            self.by_line.setdefault(sentence.line, []).append((sentence, sentence.values))
            kept = sentence.without_brackets
            if kept and len(kept) < len(sentence.counted):
                values = tuple(token.value for token in kept if token.value is not None)
                self.by_line.setdefault(_line(kept), []).append((sentence, values))

    @cached_property
    def positives(self) -> dict[str, list[Sentence]]:
        """Its sentences by what they say without negation."""
        found: dict[str, list[Sentence]] = {}
        for sentence in self.sentences:
            if not sentence.question and sentence.positive.negations != UNCLEAR:
                found.setdefault(sentence.positive.line, []).append(sentence)
        return found

    @cached_property
    def places(self) -> dict[str, list[int]]:
        """The numbers of the sentences that have each stem of content, or each value."""
        found: dict[str, list[int]] = {}
        for number, sentence in enumerate(self.sentences):
            for own in dict.fromkeys(sentence.looked_up):
                found.setdefault(own, []).append(number)
        return found

    @cached_property
    def flat(self) -> str:
        """All of its text with blanks, quotation marks and case made alike."""
        return flattened(self.text)


_ALIKE = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"',
                        "‐": "-", "‑": "-", "–": "-", "—": "-", "\u00ad": None})  # fmt: skip


def flattened(text: str) -> str:
    """A text with what differs in typography alone made alike."""
    return " ".join(text.translate(_ALIKE).casefold().split())


@lru_cache(maxsize=_KEPT)
def _kept(text: str, language: str | None) -> Passage:
    return Passage(text, language)


def prepared(passage: str | Passage, language: str | None = None) -> Passage:
    """The passage, ready for checks; the same text is prepared once."""
    if isinstance(passage, Passage):
        return passage
    return _kept(passage, language) if len(passage) <= _LONG else Passage(passage, language)


def sentences_of(text: str, language: str) -> Iterator[Sentence]:
    """The claims of a text as they are checked."""
    rules = LANGUAGES.get(language)
    for own in claims(text, language=language):
        yield Sentence(own, tuple(tokens(own.text, language)), rules)
