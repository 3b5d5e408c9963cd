"""Which words are people's names: given names, family names, and those that are words or places
too.

The list (``names.txt``) was made from Faker's providers (MIT; ``scripts/name_lists.py``). A word is
looked up without case and accents, and in Russian without the ending of its case.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).with_name("names.txt")
SECTIONS = (
    "given", "family", "both", "given, doubtful", "family, doubtful", "both, doubtful", "places",
)  # fmt: skip
_PARTICLES = """
    van von der den de del della da di dos das du des la le ten ter vom zu zur af av bin ibn bint
    ben al el y e i
"""
PARTICLES = frozenset(_PARTICLES.split())
UNSEEN = "\u00ad\u200b-\u200d\u2060\ufeff"
"""Characters that nobody sees, which may stand inside a word, as a class of regular expressions."""
_UNSEEN = re.compile(f"[{UNSEEN}]")
_LETTERS = str.maketrans({
    "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ə": "e",
    "’": None, "'": None, "ʻ": None, "ʼ": None,
})  # fmt: skip


class Known(NamedTuple):
    """What the list says of a word."""

    given: bool = False
    family: bool = False
    doubtful: bool = False
    """It is a common word or a place as well."""


UNKNOWN = Known()


class Lists(NamedTuple):
    """Names by their folded spelling, and places."""

    names: dict[str, Known]
    places: frozenset[str]


@functools.cache
def lists() -> Lists:
    """The list, read once."""
    names: dict[str, Known] = {}
    places: frozenset[str] = frozenset()
    for section, words in _sections(FILE.read_text("utf-8")):
        kind, _, doubtful = section.partition(", ")
        if kind == "places":
            places = frozenset(words)
        else:
            known = Known(kind != "family", kind != "given", bool(doubtful))
            names.update(dict.fromkeys(words, known))
    return Lists(names, places)


def _sections(text: str) -> list[tuple[str, list[str]]]:
    """Sections with their words, of which each line keeps beginnings: a figure (or letter) says how
    much of the word before stays."""
    found: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        if line.startswith("["):
            found.append((line[1:-1], []))
        elif not line.startswith("#"):
            word = ""
            for piece in line.split():
                word = word[: int(piece[0], 36)] + piece[1:]
                found[-1][1].append(word)
    return found


def folded(word: str) -> str:
    """A word without case, accents, apostrophes and what nobody sees."""
    if word.isascii():
        return word.lower().replace("'", "")
    plain = unicodedata.normalize("NFKD", _UNSEEN.sub("", word).casefold()).translate(_LETTERS)
    return "".join(letter for letter in plain if not unicodedata.combining(letter))


def known(key: str) -> Known:
    """What the list says of a folded word, also in another case or gender."""
    names = lists().names
    if (found := names.get(key)) is not None:
        return found
    for form in other_forms(key):
        if (found := names.get(form)) is not None:
            return found
    return UNKNOWN


def is_place(key: str) -> bool:
    """Whether a folded word is a country, state, town or language, also in another case."""
    places = lists().places
    return key in places or (key > "\u0400" and any(form in places for form in other_forms(key)))


def other_forms(key: str) -> list[str]:
    """What a word may be in the nominative, and a woman's surname as a man's."""
    endings = _CASES if key > "\u0400" else _FEMININE
    return [
        key[: len(key) - len(ending)] + instead
        for ending, instead in endings
        if len(key) - len(ending) >= _SHORTEST_STEM and key.endswith(ending)
    ]


_SHORTEST_STEM = 3
_FEMININE = (
    ("ova", "ov"), ("eva", "ev"), ("ina", "in"), ("ska", "ski"), ("cka", "cki"), ("skaya", "sky"),
    ("skaya", "skiy"), ("ova", ""), ("owa", ""),
)  # fmt: skip
_ENDINGS = """
    а= у= ом= ем= е= ы= ым= ых= я=и ю=и ем=и е=и я=ь ю=ь ем=ь ы=а е=а у=а ои=а ою=а и=а и=я е=я
    ю=я еи=я и=ия ои= ого=ии ому=ии им=ии ом=ии ая=ии ои=ии ую=ии ово=ов
"""
"""Of cases, and of the nominative instead; й is folded to и."""
_CASES = tuple((pair.partition("=")[0], pair.partition("=")[2]) for pair in _ENDINGS.split())
_CASE = re.compile("(?:ого|ому|ыми|ыми|ая|ои|ую|ым|ом|ем|им|ых|ии|а|у|е|ы|и|я|ю)\\Z")


def stem(key: str) -> str:
    """A surname without the ending of its case, in Cyrillic."""
    return _CASE.sub("", key) if key > "\u0400" and len(key) > 4 else key
