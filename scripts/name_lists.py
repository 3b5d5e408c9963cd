"""Makes the list of people's names that the privacy stage reads, from Faker's providers (MIT).

    pip install faker==40.63.0
    python scripts/name_lists.py [--words FILE] [--without de_AT,fr_CA] \
        [--out src/linnet/data/privacy/names.txt]

Given and family names of the locales that are written in Latin or Cyrillic letters, those of
Chinese and Japanese in Latin letters, Russian, Ukrainian and Bulgarian ones in both; countries,
states, towns and languages, which tell a place from a person. ``--words`` is a list of English
words, one a line (SCOWL, as Debian's wamerican-small has it): which of the names are words as well
is noted, nothing else of it. ``--without`` leaves locales out, to measure names that no list has.
Not needed to run Linnet.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from linnet.data.privacy.name_lists import FILE, PARTICLES, SECTIONS, folded, other_forms

_WIDTH = 99
_LETTERS = "абвгґдеєжзиіїйклмнопрстуфхцчшщъыьэюяё"
_SOUNDS = "a b v g g d e ye zh z i i yi y k l m n o p r s t u f kh ts ch sh shch _ y _ e yu ya e"
_LATIN = dict(zip(_LETTERS, _SOUNDS.split(), strict=True))
_CYRILLIC = ("ru_RU", "uk_UA", "bg_BG")
_GIVEN = ("first_names", "first_names_male", "first_names_female", "first_names_nonbinary",
          "first_romanized_names", "first_romanized_names_male", "first_romanized_names_female",
          "middle_names", "middle_names_male", "middle_names_female")  # fmt: skip
_FAMILY = ("last_names", "last_names_male", "last_names_female", "last_names_nonbinary",
           "last_romanized_names", "unisex_last_names", "male_last_names",
           "last_names_without_suffix")  # fmt: skip
_PLACES = ("countries", "states", "cities", "city_names", "counties", "regions", "region_oblast",
           "territories", "cantons", "departments")  # fmt: skip
_WITH_TOWNS = ("en_US", "en_GB", "de_DE", "de_AT", "de_CH", "fr_FR", "es_ES", "es_MX", "ru_RU")
_LOREM = ("en_US", "de_DE", "fr_FR", "es_ES", "ru_RU", "it_IT")
_LEFT_OUT = ("el_GR", "ga_IE", "is_IS", "sk_SK")  # long, for what they find here
# Words by some list, but names wherever they have a capital.
_FIRST_OF_ALL = """
    antonio bob carlos denis derrick dominique felipe fernando francisco francois garcia
    gonzalez harry jack jay jorge jose juan ken leon lily lopez luis mads manuel marco maria
    marina martin massimo matt maurice mauricio miguel mike nick nils pablo pedro peter pierre
    rafael rob rodriguez sally sandy tomas smith taylor clark walker wright baker carter cooper
    turner miller fisher palmer foster butler parker владимир артем королев макаров александров
    гаврилов
"""
_WORDS_TOO = frozenset(
    ("вера", "надежда", "любовь", "слава", "лев", "роман", "роза", "лилия", "мир")
)
_NAMES = frozenset(_FIRST_OF_ALL.split())
NOTICE = """\
# Made by scripts/name_lists.py from Faker {version}'s providers; not to be changed by hand.
# Each line: words, of which a figure or letter (a is 10) says how much of the word before is kept.
#
# Copyright (c) 2012 Daniele Faraglia
#
# Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
# associated documentation files (the "Software"), to deal in the Software without restriction,
# including without limitation the rights to use, copy, modify, merge, publish, distribute,
# sublicense, and/or sell copies of the Software, and to permit persons to whom the Software is
# furnished to do so, subject to the following conditions:
#
# The above copyright notice and this permission notice shall be included in all copies or
# substantial portions of the Software.
#
# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT
# NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND
# NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM,
# DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT
# OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--words", type=Path)
    parser.add_argument("--without", default="")
    parser.add_argument("--out", type=Path, default=FILE)
    given = parser.parse_args()
    lists = _lists(given.words, set(filter(None, given.without.split(","))))
    faker = importlib.import_module("faker")
    lines = [NOTICE.format(version=faker.VERSION)]
    for section in SECTIONS:
        lines += [f"[{section}]\n", *_lines(sorted(lists[section]))]
        print(f"{section}: {len(lists[section]):,}")
    given.out.write_text("".join(lines), "utf-8")


def _lists(words: Path | None, without: set[str]) -> dict[str, set[str]]:
    first, last, places, common = set[str](), set[str](), set[str](), set[str]()
    for locale, provider in _providers("person"):
        if locale not in without and locale not in _LEFT_OUT:
            for found, attributes in ((first, _GIVEN), (last, _FAMILY)):
                for name in _values(provider, attributes):
                    found |= _parts(name)
                    if locale in _CYRILLIC:
                        found |= _parts("".join(_LATIN.get(c, c) for c in name.lower()))
        for language in _values(provider, ("language_names",)):
            places |= _parts(language)
    for locale, provider in _providers("address"):
        if locale in _WITH_TOWNS:
            for place in _values(provider, _PLACES):
                if " " not in place.strip():
                    places |= _parts(place)
    for locale, provider in _providers("lorem"):
        if locale in _LOREM:  # German nouns have a capital
            common |= {folded(w) for w in provider.word_list if w.islower() or locale == "de_DE"}
    if words:
        common |= {folded(w) for w in words.read_text("utf-8").split() if w.islower()}
    places -= _NAMES
    first, last = _needed(first), _needed(last)
    words_too = common | _WORDS_TOO | places
    doubtful = {name for name in first | last if len(name) < 3 or name in words_too} - _NAMES
    both = first & last
    return {
        "given": first - last - doubtful, "family": last - first - doubtful,
        "both": both - doubtful, "given, doubtful": (first - last) & doubtful,
        "family, doubtful": (last - first) & doubtful, "both, doubtful": both & doubtful,
        "places": {place for place in places if len(place) > 2},
    }  # fmt: skip


def _needed(names: set[str]) -> set[str]:
    """Without those that are found by another one, such as Ivanova by Ivanov."""
    base = {name for name in names if not names.intersection(other_forms(name))}
    return base | {name for name in names if not base.intersection(other_forms(name))}


def _providers(kind: str) -> Iterator[tuple[str, Any]]:
    package = importlib.import_module(f"faker.providers.{kind}")
    for module in pkgutil.iter_modules(package.__path__):
        found = importlib.import_module(f"faker.providers.{kind}.{module.name}")
        yield module.name, found.Provider


def _values(provider: Any, attributes: Iterable[str]) -> Iterator[str]:
    for attribute in attributes:
        found = getattr(provider, attribute, ())
        for value in () if isinstance(found, property) else found:
            yield from [value] if isinstance(value, str) else value


def _parts(name: str) -> set[str]:
    """The words of a name that a list knows: without particles, in letters that are read here."""
    pieces = name.split()
    words = {folded(part) for whole in pieces for part in (whole, *whole.split("-"))}
    return {
        word for word in (words - PARTICLES if len(pieces) > 1 else words)
        if 2 <= len(word) <= 24 and word.isalpha() and all(_is_read(letter) for letter in word)
    }  # fmt: skip


def _is_read(letter: str) -> bool:
    return letter < "\u0250" or "\u0400" <= letter < "\u0530"


def _lines(words: list[str]) -> Iterator[str]:
    line, before = "", ""
    for word in words:
        same = next((n for n, (a, b) in enumerate(zip(word, before, strict=False)) if a != b),
                    min(len(word), len(before)))  # fmt: skip
        same = min(same, 35)
        piece = f"{'0123456789abcdefghijklmnopqrstuvwxyz'[same]}{word[same:]}"
        if len(line) + len(piece) > _WIDTH:
            yield f"{line}\n"
            line, piece = "", f"0{word}"
        line = f"{line} {piece}" if line else piece
        before = word
    yield f"{line}\n"


if __name__ == "__main__":
    main()
