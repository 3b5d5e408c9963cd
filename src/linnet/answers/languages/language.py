"""What understanding a question needs to know of a language."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Expected: TypeAlias = Literal[
    "person", "time", "place", "frequency", "amount", "reason", "steps", "definition", "list", ""
]
"""What kind of thing answers; empty where the question does not tell."""


@dataclass(frozen=True, eq=False)
class Language:
    """One language's ways to ask. Words are in lower case."""

    code: str
    telling: frozenset[str]
    """Words by which a question is known to be in it."""
    function: frozenset[str]
    """Words that say nothing about what is asked, question words included."""
    interrogative: re.Pattern[str]
    """What a question may begin with."""
    auxiliaries: frozenset[str]
    pronouns: frozenset[str]
    """Those that may stand for what the conversation is about."""
    persons: frozenset[str]
    """Those of them that stand for a person."""
    possessives: frozenset[str]
    places: frozenset[str]
    """Adverbs that stand for a place: "there"."""
    impersonal: re.Pattern[str]
    """Where a pronoun stands for nothing: "is it possible to"."""
    articles: frozenset[str]
    demonstratives: frozenset[str]
    prepositions: frozenset[str]
    of: frozenset[str]
    """Prepositions that join what something belongs to."""
    joining: re.Pattern[str]
    """Between two questions in one sentence."""
    conjunctions: frozenset[str]
    """Between two things that are asked about: and, or."""
    lead: re.Pattern[str]
    """What may be said before a question: "thanks", "please tell me"."""
    introduction: re.Pattern[str]
    """A whole sentence beside a question that says nothing of it: "I am new here"."""
    elliptic: re.Pattern[str]
    """What a question begins with that goes on from the one before: "and", "what about"."""
    aspects: frozenset[str]
    """Nouns for what is asked about something: "symptoms", "price"."""
    classes: frozenset[str]
    """Nouns that, after "this", stand for what the conversation is about: "disease"."""
    entry_nouns: frozenset[str]
    """Nouns for what is listed, whatever it is: "lines", "entries"."""
    possessed: str
    """``{what}`` of ``{whose}``."""
    inside: str
    """What goes before a place: "in"."""
    verbless: re.Pattern[str] | None
    """A question that has no subject, in languages in which the verb alone is enough."""
    verb_last: re.Pattern[str]
    """Endings of a last word that is a participle or verb, and none of the subject's words."""
    every: re.Pattern[str]
    """Asks for all of something."""
    count: re.Pattern[str]
    """Asks how many there are."""
    summary: re.Pattern[str]
    """Asks what a document says as a whole; its ``name``, if given."""
    this_document: re.Pattern[str]
    comparisons: tuple[re.Pattern[str], ...]
    """With the two sides, ``a`` and ``b``, and in what they are compared, ``by``."""
    expects: tuple[tuple[Expected, re.Pattern[str]], ...]
    """What answers a question of a form; the first form that matches decides."""
    cues: Mapping[Expected, re.Pattern[str]]
    """Words of a sentence that answers such a question."""
    entries: tuple[str, str]
    """"1 entry", "{n} entries"."""
    not_found: str
    """Says that there is nothing about ``{what}``."""
    irregular: Mapping[str, str] = field(default_factory=dict)
    """Forms of verbs that begin otherwise than the verb, each with it."""
    nouns_capitalised: bool = False
    inverted: re.Pattern[str] | None = None
    """A ``verb`` with its pronoun behind it: "coûte-t-il"."""
    verb_after: frozenset[str] = frozenset()
    """Auxiliaries after which the last word is a verb."""
    asks_cause: re.Pattern[str] | None = None
    """Asks what brings something about."""
    asks_long_form: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))
    """Words that only ask what something is short for."""
    asks_manner: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))
    """Asks how something is done, by a participle ``v``: "how is it inherited"."""
    caused: re.Pattern[str] | None = None
    """In a sentence that says what brings its subject about."""
    causes: re.Pattern[str] | None = None
    """What follows the subject in a sentence that says what it brings about."""
    relative: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))
    """A word with which a clause begins that only says which one is meant."""
    counted: re.Pattern[str] | None = None
    """In a sentence that says how many have something, in figures or as far as is known."""
    figures: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))
    """Of those, what says it in figures, or that there are none."""
    tells_more: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))
    """What follows "X is" where more is said of what X is known to be."""
    holds: frozenset[str] = frozenset()
    """Verbs for what a file does with what is in it: "contains"."""
    messages: frozenset[str] = frozenset()
    """Nouns for mails, which stand for one as ``classes`` do."""
    mails: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))
    """Words for mails, and for writing and sending them."""
    addressed: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))
    """Asks to whom something was written."""
    defines: re.Pattern[str] = field(default_factory=lambda: re.compile(r"(?!)"))
    """What follows the subject in a sentence that says what it is."""


def words(text: str) -> frozenset[str]:
    """A class of words."""
    return frozenset(text.split())


def forms(text: str) -> dict[str, str]:
    """Verbs with their forms: "pay paid, buy bought"."""
    groups = [group.split() for group in text.split(",")]
    return {form: verb for verb, *others in groups for form in others}


def sentences(*expressions: str) -> re.Pattern[str]:
    """One of some sentences, or several joined by "and"."""
    one = f"(?:{'|'.join(expressions)})"
    return pattern(rf"{one}(?:,? (?:and|und|et|y|и) {one})*")


def pattern(expression: str) -> re.Pattern[str]:
    """An expression, whatever the case."""
    return re.compile(expression, re.IGNORECASE)


SIDE = r"(?P<{}>[^?.!;]{{1,160}}?)"
A, B, BY = SIDE.format("a"), SIDE.format("b"), SIDE.format("by")
STOP = r"\s*(?:[?.!;]|$)"
