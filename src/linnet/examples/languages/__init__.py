"""What generators know of a language: templates, and the sentences that answer a question.

All of it is data, a file for each language (``en.toml``). A *pattern* is a regular expression that
a whole sentence must match, with named groups, and the questions that such a sentence answers,
which use the groups. In an expression ``{NP}`` stands for some words that may be the subject,
``{VERBS}`` for the verbs of the file in the third person, ``{VERB}`` for their base forms,
``{ADV}`` for an adverb that may stand there, ``{LEAD}`` for words that may open a sentence. Which
subjects are fit to be asked about is decided in :mod:`linnet.examples.subjects`.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

_WORD = re.compile(r"\w+")

CODES = ("de", "en", "es", "fr")


@dataclass(frozen=True)
class Pattern:
    """Sentences of one form, and the questions that they answer."""

    name: str
    match: re.Pattern[str]
    sign: re.Pattern[str] | None
    """What follows the subject, where that begins the sentence: it is quick to look for."""
    ask: tuple[str, ...]
    instruct: tuple[str, ...] = ()
    """The same as instructions."""
    answer: str = ""
    """The group that answers; the whole sentence without one."""
    defines: bool = False
    """Whether it says what its subject is."""
    digits: bool = False
    """Whether what answers must have a digit."""
    plural: bool = False
    """Whether its subject must be in the plural, since the verb is."""
    frequency: bool = False
    """Whether it says how common its subject is."""
    partial: bool = False
    """Whether other sentences may say more of the same, so that none may have its subject too."""
    of_title: bool = False
    """Whether it must be the first sentence of its document, with the title as its subject."""
    unknown: bool = False
    """Whether that nothing is known is an answer."""
    pairs: frozenset[str] = frozenset()
    """Which of the groups ``v`` and ``p`` go together; empty: all."""


@dataclass(frozen=True)
class Language:
    """One language."""

    code: str
    abbreviations: frozenset[str]
    templates: Mapping[str, tuple[str, ...]]
    patterns: tuple[Pattern, ...]
    leads: tuple[Pattern, ...]
    """Of the words that lead to a list, so that what they point to follows."""
    sets: Mapping[str, frozenset[str]]
    """Words by what they are: ``determiners``, ``not_first``, ``not_within``, ``vague``..."""
    lists: Mapping[str, tuple[str, ...]]
    verbs: Mapping[str, str]
    """Base forms by the third person."""

    general: Mapping[str, tuple[str, ...]]
    """Templates of general questions, by the name of the list whose values they take."""
    pronouns: tuple[tuple[str, str], ...] = ()
    """Forms of questions in which a pronoun may stand for the subject, and what they become."""
    nouns_have_capitals: bool = False
    article: str = ""
    """The one that goes before a noun in the plural."""

    vague_object: re.Pattern[str] | None = None
    """What answers nothing on its own: "the procedure"."""
    unresolved: re.Pattern[str] | None = None
    """What points to another sentence: "this", "the returned", "also"."""
    named_again: re.Pattern[str] | None = None
    """How a sentence may name its subject once more: "the disorder" of a disorder."""
    cases: re.Pattern[str] | None = None
    """What may stand before a subject: "most cases of"."""
    adverb: str = ""
    """What adverbs end in."""

    participle: str = ""
    """What participles end in."""

    gerunds: str = ""
    """What gerunds end in."""

    def base(self, verb: str) -> str:
        """The base form of a verb in the third person."""
        return self.verbs.get(verb) or (verb[:-1] if verb.endswith("s") else verb)

    def points_away(self, text: str) -> bool:
        """Whether a text needs what stands elsewhere: "the following", "see below"."""
        return any(word in self.sets["points_away"] for word in _WORD.findall(text.lower()))

    def points_back(self, text: str, *, named: bool = False) -> bool:
        """Whether a text is understood only with what stands before it. ``named``: whether that
        is named already, so that words for it are understood."""
        if named and self.named_again is not None:
            text = self.named_again.sub("", text)
        return self.unresolved is not None and self.unresolved.search(text) is not None

    def gerund(self, text: str) -> bool:
        """Whether its first word has the ending of a gerund."""
        return bool(self.gerunds) and text.split(maxsplit=1)[0].endswith(self.gerunds)

    def verb_first(self, sentence: str) -> str | None:
        """For a sentence that begins with a verb, as those do that say what a function does:
        "returns" or "does"; None for another."""
        first = sentence.split(maxsplit=1)[0].lower()
        if first in self.sets.get("verbs_of_return", ()):
            return "returns"
        return "does" if first in self.sets.get("verbs_of_functions", ()) else None

    def template(self, name: str) -> tuple[str, ...]:
        """The templates of this name; none where the language has none."""
        return self.templates.get(name, ())


def language_of(code: str) -> Language | None:
    """A language by its ISO 639-1 code, None for one that has no file."""
    return _read(code) if code in CODES else None


@functools.cache
def _read(code: str) -> Language:
    text = files(__name__).joinpath(f"{code}.toml").read_text("utf-8")
    values = tomllib.loads(text)
    verbs = {third: base for base, third in values.get("verbs", {}).items()}
    return Language(
        code=code,
        abbreviations=frozenset(values["abbreviations"].split()),
        templates={name: tuple(found) for name, found in values["templates"].items()},
        patterns=tuple(_pattern(one, values, verbs) for one in values.get("pattern", ())),
        leads=tuple(_pattern(one, values, verbs) for one in values.get("lead", ())),
        sets={name: frozenset(words.split()) for name, words in values["words"].items()},
        lists={name: tuple(found) for name, found in values.get("lists", {}).items()},
        verbs=verbs,
        general={name: tuple(found) for name, found in values.get("general", {}).items()},
        pronouns=tuple((a, b) for a, b in values.get("pronouns", ())),
        nouns_have_capitals=values.get("nouns_have_capitals", False),
        article=values.get("article", ""),
        vague_object=re.compile(vague) if (vague := values.get("vague_object")) else None,
        unresolved=_optional(values.get("unresolved")),
        named_again=_optional(values.get("named_again")),
        cases=_optional(values.get("cases")),
        adverb=values.get("adverb", ""),
        gerunds=values.get("gerunds", ""),
        participle=values.get("participle", ""),
    )


def _optional(expression: str | None) -> re.Pattern[str] | None:
    return re.compile(expression, re.IGNORECASE) if expression else None


def _pattern(values: Mapping[str, Any], everything: Mapping[str, Any], verbs: Any) -> Pattern:
    def filled(expression: str) -> str:
        for name, value in macros:
            expression = expression.replace(name, value)
        return expression

    macros = (
        ("{NP}", everything["np"]),
        ("{ADV}", everything.get("adverbs", "")),
        ("{LEAD}", everything.get("openings", "")),
        ("{VERBS}", "|".join(sorted(map(re.escape, verbs), key=len, reverse=True))),
        ("{VERB}", "|".join(sorted(map(re.escape, verbs.values()), key=len, reverse=True))),
    )
    match = values["match"]
    head, subject, rest = match.partition("(?P<s>{NP})")
    rest = rest.partition("(?P<o>")[0]
    head = head.replace("{LEAD}", "")
    sign = None if head or not subject or not rest.strip() else re.compile(filled(rest))
    return Pattern(
        name=values["name"],
        match=re.compile(filled(match)),
        sign=sign,
        ask=tuple(values.get("ask", ())),
        instruct=tuple(values.get("instruct", ())),
        answer=values.get("answer", ""),
        defines=values.get("defines", False),
        digits=values.get("digits", False),
        plural=values.get("plural", False),
        frequency=values.get("frequency", False),
        partial=values.get("partial", False),
        of_title=values.get("of_title", False),
        unknown=values.get("unknown", False),
        pairs=frozenset(filter(None, values.get("pairs", "").split(", "))),
    )
