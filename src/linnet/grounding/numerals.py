"""Numbers written in words: ``three hundred and five``, ``dreiundzwanzig``, ``quatre-vingt-dix``.

What is an article as well (``ein``, ``un``, ``una``) and English ``one`` are no numbers alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cache

_ENGLISH_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_ENGLISH_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_ENGLISH_ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
)
_GERMAN_ONES = (
    "null ein zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn "
    "sechzehn siebzehn achtzehn neunzehn"
)
_GERMAN_TENS = "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig"
_FRENCH_ONES = (
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize"
)
_SPANISH_ONES = (
    "cero un dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince "
    "dieciséis diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro "
    "veinticinco veintiséis veintisiete veintiocho veintinueve"
)
_SPANISH_TENS = "treinta cuarenta cincuenta sesenta setenta ochenta noventa"
_SPANISH_HUNDREDS = (
    "cien doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos "
    "novecientos"
)

_SMALL: dict[str, dict[str, int]] = {
    "en": {
        **{word: value for value, word in enumerate(_ENGLISH_ONES.split())},
        **{word: 10 * value for value, word in enumerate(_ENGLISH_TENS.split(), start=2)},
    },
    "de": {},
    "fr": {
        **{word: value for value, word in enumerate(_FRENCH_ONES.split())},
        **dict(zip(["vingt", "vingts", "trente", "quarante", "cinquante", "soixante"],
                   (20, 20, 30, 40, 50, 60), strict=True)),
        "septante": 70, "huitante": 80, "octante": 80, "nonante": 90, "une": 1,
    },
    "es": {
        **{word: value for value, word in enumerate(_SPANISH_ONES.split())},
        **{word: 10 * value for value, word in enumerate(
            _SPANISH_TENS.split(), start=3)},
        **{word: 100 * value for value, word in enumerate(
            _SPANISH_HUNDREDS.split(), start=1)},
        "ciento": 100, "uno": 1, "una": 1, "veintiún": 21,
        **{f"{stem}cientas": 100 * value for stem, value in
           {"dos": 2, "tres": 3, "cuatro": 4, "seis": 6, "sete": 7, "ocho": 8, "nove": 9}.items()},
        "quinientas": 500,
    },
}  # fmt: skip

SCALES: dict[str, dict[str, int]] = {
    "en": {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9,
           "trillion": 10**12, "millions": 10**6, "billions": 10**9, "bn": 10**9},
    "de": {"hundert": 100, "tausend": 10**3, "million": 10**6, "millionen": 10**6, "mio": 10**6,
           "milliarde": 10**9, "milliarden": 10**9, "mrd": 10**9, "billion": 10**12,
           "billionen": 10**12, "tsd": 10**3},
    "fr": {"cent": 100, "cents": 100, "mille": 10**3, "million": 10**6, "millions": 10**6,
           "milliard": 10**9, "milliards": 10**9, "billion": 10**12, "billions": 10**12},
    "es": {"mil": 10**3, "millón": 10**6, "millones": 10**6, "billón": 10**12,
           "billones": 10**12},
}  # fmt: skip
"""What a number before it is multiplied by."""

_JOINTS = {"en": "and", "de": "und", "fr": "et", "es": "y"}
_NONE_ALONE = frozenset(("one", "ein", "un", "une", "una", "uno"))
LONGEST = 12
"""Words of one number."""


@cache
def german_hundreds() -> dict[str, int]:
    """Every German number below a thousand, as it is written in one word."""
    ones = _GERMAN_ONES.split()
    below = dict(enumerate(ones))
    for place, ten in enumerate(_GERMAN_TENS.split(), start=2):
        below[10 * place] = ten
        for one in range(1, 10):
            below[10 * place + one] = f"{ones[one]}und{ten}"
    found = {word: value for value, word in below.items()}
    found["eins"] = 1
    for hundreds in range(1, 10):
        names = [f"{ones[hundreds]}hundert", *(["hundert"] if hundreds == 1 else [])]
        for name in names:
            found[name] = 100 * hundreds
            for value, word in below.items():
                if value:
                    found[name + word] = found[f"{name}und{word}"] = 100 * hundreds + value
            found[f"{name}eins"] = 100 * hundreds + 1
    return {**found, **{word.replace("ß", "ss"): value for word, value in found.items()}}


def small(word: str, language: str) -> int | None:
    """What a casefolded word stands for by itself, before any scale; None for other words."""
    if language != "de":
        return _SMALL.get(language, {}).get(word)
    hundreds = german_hundreds()
    if word in hundreds and word not in SCALES["de"]:
        return hundreds[word]
    before, thousand, after = word.partition("tausend")
    if not thousand or (not before and not after):
        return None
    after = after.removeprefix("und") if after not in hundreds else after
    if (before and before not in hundreds) or (after and after not in hundreds):
        return None
    return 1000 * hundreds.get(before, 1) + hundreds.get(after, 0)


def words_below_scales(language: str) -> frozenset[str]:
    """The words that a number may begin with, but for scales and long German ones."""
    return frozenset(german_hundreds() if language == "de" else _SMALL.get(language, {}))


def read(words: Sequence[str], language: str) -> tuple[Decimal, int] | None:
    """The number that casefolded words begin with, and how many of them it takes.

    French hyphens are taken apart here: ``quatre-vingt-dix-sept`` may be one word.
    """
    scales, joint = SCALES.get(language, {}), _JOINTS.get(language)
    total = current = taken = 0
    last = 0  # what was added last, below which the next has to be
    for place, word in enumerate(words[:LONGEST]):
        if word == joint and taken == place and place:
            following = words[place + 1] if place + 1 < len(words) else ""
            if not _adds(following, language, last):
                break
            continue
        pieces = word.split("-")
        state = (total, current, last)
        for piece in pieces if len(pieces) <= LONGEST else ():
            value = small(piece, language)
            if value is not None and (place == 0 or current or total):
                if language == "fr" and last == 4 and piece in ("vingt", "vingts"):
                    current, last = current + 76, 80
                    continue
                if language == "fr" and last in (60, 80) and 10 <= value < 20:
                    current, last = current + value, value
                    continue
                if language == "fr" and last == 10 and 7 <= value < 10:
                    current, last = current + value, value
                    continue
                if last and not _below(value, last):
                    break
                current, last = current + value, value or 1
            elif value is not None:
                current, last = value, value or 1
            elif (
                piece in scales
                and (current or not total or scales[piece] == 100)
                and (last or scales[piece] <= 1000)
            ):
                scale = scales[piece]
                if scale == 100:
                    if current % 100 >= 100 or (current and current >= 100):
                        break
                    current, last = (current or 1) * 100, 100
                else:
                    if total and scale >= _least_scale(total):
                        break
                    total, current, last = total + (current or 1) * scale, 0, scale
            else:
                break
        else:
            if len(pieces) > LONGEST:
                break
            taken = place + 1
            continue
        total, current, last = state
        break
    if not taken or (taken == 1 and words[0] in _NONE_ALONE):
        return None
    if taken == 1 and words[0] in scales and scales[words[0]] > 1000:
        return None
    return Decimal(total + current), taken


def _adds(word: str, language: str, last: int) -> bool:
    value = small(word.partition("-")[0], language)
    if value is None or value == 0:
        return False
    if language == "en":
        return last >= 100 and value < 100
    if language == "fr":
        return (last in (20, 30, 40, 50, 60) and value in (1, 11)) and last > 10
    return value < 10 and last >= 20 if language == "es" else last >= 100


def _below(value: int, last: int) -> bool:
    """Whether a number may follow another in one: ``twenty five``, ``hundred twelve``."""
    if last >= 1000:
        return value < 1000
    if last >= 100:
        return value < 100
    return last >= 20 and last % 10 == 0 and 0 < value < 10


def _least_scale(total: int) -> int:
    scale = 1
    while total % (scale * 1000) == 0:
        scale *= 1000
    return scale


@cache
def ordinals() -> dict[str, int]:
    """English ordinals in words, from the third on: the first two are ordinary words as well."""
    found = {word: value for value, word in enumerate(_ENGLISH_ORDINALS.split()) if value > 2}
    for place, ten in enumerate(_ENGLISH_TENS.split(), start=2):
        found[ten[:-1] + "ieth"] = 10 * place
        for value, word in enumerate(_ENGLISH_ORDINALS.split()[1:10], start=1):
            found[f"{ten}-{word}"] = 10 * place + value
    return found
