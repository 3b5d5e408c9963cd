"""What generators know of a language: templates, and the sentences that answer a question.

All of it is data, a file for each language (``en.toml``). A *pattern* is a regular expression that
a whole sentence must match, with named groups, and the questions that such a sentence answers,
which use the groups. In an expression ``{NP}`` stands for some words that may be the subject,
``{VERBS}`` for the verbs of the file in the third person, ``{VERB}`` for their base forms. Which
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

CODES = ("de", "en", "es", "fr")


@dataclass(frozen=True)
class Pattern:
    """Sentences of one form, and the questions that they answer."""

    name: str
    match: re.Pattern[str]
    ask: tuple[str, ...]
    instruct: tuple[str, ...] = ()
    """The same as instructions."""
    answer: str = ""
    """The group that answers; the whole sentence without one."""
    defines: bool = False
    """Whether it says what its subject is."""
    digits: bool = False
    """Whether what answers must have a digit."""


@dataclass(frozen=True)
class Language:
    """One language."""

    code: str
    abbreviations: frozenset[str]
    templates: Mapping[str, tuple[str, ...]]
    patterns: tuple[Pattern, ...]
    sets: Mapping[str, frozenset[str]]
    """Words by what they are: ``determiners``, ``not_first``, ``not_within``, ``vague``..."""
    lists: Mapping[str, tuple[str, ...]]
    verbs: Mapping[str, str]
    """Base forms by the third person."""

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
        sets={name: frozenset(words.split()) for name, words in values["words"].items()},
        lists={name: tuple(found) for name, found in values.get("lists", {}).items()},
        verbs=verbs,
    )


def _pattern(values: Mapping[str, Any], everything: Mapping[str, Any], verbs: Any) -> Pattern:
    match = values["match"]
    for name, expression in (
        ("{NP}", everything["np"]),
        ("{VERBS}", "|".join(sorted(map(re.escape, verbs), key=len, reverse=True))),
        ("{VERB}", "|".join(sorted(map(re.escape, verbs.values()), key=len, reverse=True))),
    ):
        match = match.replace(name, expression)
    return Pattern(
        name=values["name"],
        match=re.compile(match),
        ask=tuple(values.get("ask", ())),
        instruct=tuple(values.get("instruct", ())),
        answer=values.get("answer", ""),
        defines=values.get("defines", False),
        digits=values.get("digits", False),
    )
