"""How questions are worded in each language: a module each, and a line in :data:`LANGUAGES`.

All of it is closed classes of words and forms of questions, as in ``linnet.grounding.languages``.
A question in a language that is not here is taken as it stands.
"""

from __future__ import annotations

import re

from linnet.answers.languages.english import ENGLISH
from linnet.answers.languages.french import FRENCH
from linnet.answers.languages.german import GERMAN
from linnet.answers.languages.language import Expected, Language
from linnet.answers.languages.russian import RUSSIAN
from linnet.answers.languages.spanish import SPANISH

__all__ = ["LANGUAGES", "Expected", "Language", "language_of"]

LANGUAGES: dict[str, Language] = {
    language.code: language for language in (ENGLISH, GERMAN, FRENCH, SPANISH, RUSSIAN)
}
"""Those that there are rules for, by ISO 639-1."""

_SAMPLE = 2000
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_OTHER_CYRILLIC = re.compile(r"[іїєґўјљњћђџқғүұәһө]", re.IGNORECASE)
_RUSSIAN = re.compile(r"[ыэъё]", re.IGNORECASE)
_BEGINS = re.compile(r"[.!?]\s+")
_SIGNS = {"¿": "es", "¡": "es", "ß": "de"}
_FEWEST = 0.15
"""Share of the words by which a language has to be told, of a question of several words."""


def language_of(text: str) -> Language | None:
    """The language of a question, told by its small words; None where they do not tell."""
    sample = text[:_SAMPLE]
    for sign, code in _SIGNS.items():
        if sign in sample:
            return LANGUAGES[code]
    found = [word.casefold().replace("’", "'") for word in _WORD.findall(sample)]
    if not found:
        return None
    asked = sample.lstrip(" \t\"'“„«(").casefold()
    if _CYRILLIC.search(sample):
        told = any(word in RUSSIAN.telling for word in found) or _RUSSIAN.search(sample)
        asks = any(RUSSIAN.interrogative.match(begun) for begun in _BEGINS.split(asked))
        return RUSSIAN if (told or asks) and not _OTHER_CYRILLIC.search(sample) else None
    counts = {
        code: sum(word in language.telling for word in found)
        + 1.5 * (language.interrogative.match(asked) is not None)
        + any(form.search(asked) for form in (language.every, language.count, language.summary))
        for code, language in LANGUAGES.items()
    }
    best = max(counts, key=lambda code: counts[code])
    if counts[best] < max(1, _FEWEST * len(found)):
        return None
    return LANGUAGES[best]
