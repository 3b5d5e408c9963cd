"""Text as the terms by which it is found: words in lower case, stemmed where that is possible.

Scripts that are written without blanks give pairs of characters. The stemmers are the light ones
that hardly ever join what means different things: Harman's "S" for English ("How Effective Is
Suffixing?", 1991), Savoy's minimal ones for German, French and Spanish ("Light Stemming
Approaches for the French, Portuguese, German and Hungarian Languages", 2006), and Dolamic and
Savoy's light one for Russian ("Indexing and Searching Strategies for the Russian Language", 2009).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

# Radicals to Han, Thai and Lao, Burmese, Khmer: as in linnet.data.shingles.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u31ff\u3400-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_TERM = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])\w)+")
_ASCII_TERM = re.compile(r"\w+", re.ASCII)
_RUN = re.compile(rf"[{_UNSPACED}]")
_LONGEST = 64  # characters of a term: what is longer is no word


def terms(text: str, language: str = "") -> list[str]:
    """The terms of a text in order. ``language`` (ISO 639-1) chooses the stemmer."""
    stem = stemmer(language)
    return [stem(word) for word in words(text)]


def words(text: str) -> list[str]:
    """The words of a text in order, in lower case, not stemmed yet."""
    if text.isascii():
        return [word[:_LONGEST] for word in _ASCII_TERM.findall(text.lower())]
    found: list[str] = []
    for word in _TERM.findall(unicodedata.normalize("NFKC", text).lower()):
        if word[0] > "\u0dff" and _RUN.match(word):
            found += [word[at : at + 2] for at in range(max(len(word) - 1, 1))]
        else:
            found.append(word[:_LONGEST])
    return found


def stemmer(language: str) -> Callable[[str], str]:
    """What makes a term of a word; nothing is changed in a language that has no stemmer here."""
    return STEMMERS.get(language, _unchanged)


def _unchanged(word: str) -> str:
    return word


def _english(word: str) -> str:
    if len(word) < 4 or word[-1] != "s":
        return word
    if word.endswith("ies") and word[-4] not in "ae":
        return word[:-3] + "y"
    if word.endswith("es") and word[-3] not in "aeo":
        return word[:-1]
    return word if word.endswith(("us", "ss", "es")) else word[:-1]


_GERMAN_VOWELS = str.maketrans("äöüàáâòóôùúûìíîï", "aouaaaooouuuiiii")


def _german(word: str) -> str:
    if len(word) < 5:
        return word
    word = word.translate(_GERMAN_VOWELS)
    if len(word) > 6 and word.endswith("nen"):
        return word[:-3]
    if len(word) > 5 and word.endswith(("en", "se", "es", "er")):
        return word[:-2]
    return word[:-1] if word[-1] in "nesr" else word


def _french(word: str) -> str:
    if len(word) < 6:
        return word
    if word.endswith("x"):
        return f"{word[:-2]}l" if word.endswith("aux") else word[:-1]
    for ending in "sreé":
        word = word.removesuffix(ending)
    return word[:-1] if word[-1] == word[-2] and word[-1].isalpha() else word


_SPANISH_VOWELS = str.maketrans("áàâäéèêëíìîïóòôöúùûü", "aaaaeeeeiiiioooouuuu")


def _spanish(word: str) -> str:
    word = word.translate(_SPANISH_VOWELS)
    if len(word) < 4 or word[-1] != "s":
        return word
    if word.endswith("eses"):
        return word[:-2]
    if word.endswith("ces"):
        return f"{word[:-3]}z"
    if word.endswith("es"):
        return word[:-2]
    return word[:-1] if word[-2] in "ao" else word


# Endings of cases, by how long a word has to be at least.
_RUSSIAN_CASES = (
    (7, "иями оями"),
    (6, "иям иях оях ями оям ами его ему ери ими ого ому ыми оев"),
    (5, "ая яя ях юю ах ею их ия ию ою ую ям ых ея ам ем ей ев ий им ое ой ом ов ые ый ым ми"),
    (4, "ь ы о а е и й у ю я"),
)
_RUSSIAN_ENDINGS = [(least, tuple(endings.split())) for least, endings in _RUSSIAN_CASES]


def _russian(word: str) -> str:
    word = word.replace("ё", "е")
    for least, endings in _RUSSIAN_ENDINGS:
        if len(word) >= least and word.endswith(endings):
            ending = next(ending for ending in endings if word.endswith(ending))
            word = word[: -len(ending)]
            break
    if len(word) > 3 and (word[-1] in "ьи" or word.endswith("нн")):
        word = word[:-1]
    return word


STEMMERS: dict[str, Callable[[str], str]] = {
    "de": _german, "en": _english, "es": _spanish, "fr": _french,
    "ru": _russian,
}  # fmt: skip
