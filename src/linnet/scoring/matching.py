"""Whether an answer is the expected one, letter for letter or by the words that both have.

For English this is SQuAD's normalisation (Rajpurkar et al., 2016): lower case, no punctuation, no
articles, single spaces. For other languages it is the same with their articles and with all of
Unicode's punctuation; texts in scripts without spaces are compared by characters, as the published
Chinese reading comprehension sets do (CMRC 2018).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence

ARTICLES: dict[str, tuple[str, ...]] = {
    "en": ("a", "an", "the"),
    "de": (
        "der",
        "die",
        "das",
        "den",
        "dem",
        "des",
        "ein",
        "eine",
        "einen",
        "einem",
        "einer",
        "eines",
    ),
    "fr": ("le", "la", "les", "un", "une", "des", "l"),
    "es": ("el", "la", "los", "las", "un", "una", "unos", "unas"),
    "it": ("il", "lo", "la", "i", "gli", "le", "un", "uno", "una", "l"),
    "pt": ("o", "a", "os", "as", "um", "uma", "uns", "umas"),
    "nl": ("de", "het", "een"),
    "sv": ("en", "ett", "den", "det"),
}
"""By ISO 639-1; a language that is not here has none, or none that stand alone."""

_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003134f]"
)
"""Thai, Lao, Burmese, Khmer, Chinese and Japanese: they put no space between words."""


def normalise(text: str, language: str = "en") -> str:
    """A text as it is compared."""
    text = unicodedata.normalize("NFKC", text).lower()
    if language in ("fr", "it"):  # l'eau, l’eau: the article stands alone
        text = re.sub(r"\b(l|un|dell|all|nell|sull)['’]", r"\1 ", text)
    text = "".join(c for c in text if not _is_punctuation(c))
    articles = ARTICLES.get(language, ())
    words = [word for word in text.split() if word not in articles]
    return " ".join(words)


def words_of(text: str, language: str = "en") -> list[str]:
    """The words of a normalised text; characters where there are no spaces between words."""
    spaced = _UNSPACED.sub(lambda found: f" {found[0]} ", normalise(text, language))
    return spaced.split()


def exact_match(answer: str, expected: Sequence[str], language: str = "en") -> float:
    """1 if the answer is one of those expected, else 0."""
    found = normalise(answer, language)
    return float(any(found == normalise(each, language) for each in expected))


def token_f1(answer: str, expected: Sequence[str], language: str = "en") -> float:
    """The best F1 of its words with those of an expected answer.

    As in SQuAD, an answer without words agrees only with another one.
    """
    found = words_of(answer, language)
    return max((_f1(found, words_of(each, language)) for each in expected), default=0.0)


def contains(answer: str, expected: Sequence[str], language: str = "en") -> float:
    """1 if the words of an expected answer stand in the answer, side by side, else 0."""
    found = f" {' '.join(words_of(answer, language))} "
    wanted = [" ".join(words_of(each, language)) for each in expected]
    return float(any(each and f" {each} " in found for each in wanted))


def _f1(found: list[str], wanted: list[str]) -> float:
    if not found or not wanted:
        return float(found == wanted)
    common = sum((Counter(found) & Counter(wanted)).values())
    return 2 * common / (len(found) + len(wanted))


def _is_punctuation(character: str) -> bool:
    # SQuAD takes out what ASCII calls punctuation, which has symbols such as $ and + in it.
    return character in string.punctuation or unicodedata.category(character)[0] == "P"
