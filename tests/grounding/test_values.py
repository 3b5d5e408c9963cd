"""Numbers, quantities and dates in all their notations."""

import random
from decimal import Decimal

import pytest

from linnet.grounding.numerals import read
from linnet.grounding.tokens import tokens
from linnet.grounding.values import Value, compare


def value(text: str, language: str) -> Value:
    found = [token.value for token in tokens(text, language) if token.value is not None]
    assert len(found) == 1, (text, found)
    return found[0]


SAME = [
    ("en", "1,234", "1234"), ("en", "1,234", "1\u00a0234"),
    ("en", "1,234.5 km", "1\u202f234\u202f500 m"),
    ("en", "1,234", "one thousand two hundred and thirty-four"), ("en", "3.5 million", "3,500,000"),
    ("en", "$3.5 million", "3,500,000 dollars"), ("en", "12.5%", "12.50 per cent"),
    ("en", "5mg", "0.005 grams"), ("en", "a hundred", "100"), ("en", "5th", "fifth"),
    ("en", "twenty-one days", "3 weeks"), ("en", "5 mg/dl", "5 mg / dl"), ("en", "-5", "−5"),
    ("en", "5 March 2024", "2024-03-05"), ("en", "March 5th, 2024", "5 March 2024"),
    ("en", "Mar. 5, 2024", "the 5th of March 2024"), ("en", "3:30 pm", "15:30"),
    ("en", "15 °C", "15 degrees Celsius"), ("en", "2 years", "24 months"),
    ("de", "1.234", "1234"), ("de", "1.234,50 €", "1234,5 Euro"), ("de", "3,5 Mio.", "3.500.000"),
    ("de", "dreiundzwanzig Prozent", "23 %"), ("de", "5. März 2024", "05.03.2024"),
    ("de", "10.30 Uhr", "10:30"), ("de", "zweitausendvierundzwanzig", "2024"),
    ("fr", "1 234,5", "1.234,5"), ("fr", "quatre-vingt-dix-sept", "97"),
    ("fr", "5 mars 2024", "2024-03-05"), ("fr", "1er janvier 1999", "01/01/1999"),
    ("fr", "vingt et un pour cent", "21 %"), ("fr", "3,5 millions d'euros", "3.500.000 €"),
    ("es", "treinta y cinco", "35"), ("es", "5 de marzo de 2024", "2024-03-05"),
    ("es", "tres millones", "3 000 000"), ("es", "35 por ciento", "35%"),
]  # fmt: skip
DIFFERENT = [
    ("en", "1,234", "1,235"), ("en", "1.234", "1,234"), ("en", "5 mg", "5 g"),
    ("en", "5 mg", "6 mg"),
    ("en", "5 March 2024", "6 March 2024"), ("en", "March 2024", "March 2025"),
    ("en", "5 mg", "5 ml"), ("en", "3.5 million", "3.5 billion"), ("en", "5", "-5"),
    ("en", "5 percent", "5 percentage points"),
    ("de", "1.234", "1,234"), ("de", "5. März 2024", "5. Mai 2024"), ("fr", "1,5", "15"),
    ("es", "5 de marzo de 2024", "5 de marzo de 2023"), ("en", "10:30", "10:31"),
]  # fmt: skip
UNSURE = [
    ("en", "5 mg", "5"), ("en", "03/05/2024", "5 March 2024"), ("en", "20 100", "100"),
    ("en", "10 miles", "16 km"), ("en", "1 year", "365 days"), ("en", "5", "5th"),
    ("en", "50 °F", "10 °C"), ("es", "1.234", "1234"), ("en", "March 2024", "5 March 2024"),
    ("en", "$5", "€5"), ("en", "1,234", "1 234"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "cases"), [("same", SAME), ("different", DIFFERENT), ("unsure", UNSURE)]
)
def test_values_compare_across_notations(wanted: str, cases: list[tuple[str, str, str]]) -> None:
    for language, one, other in cases:
        left, right = value(one, language), value(other, language)
        assert compare(left, right) == compare(right, left) == wanted, (language, one, other)


NO_VALUES = {
    "en": "COVID-19 and B12 in version 3.12.1 of the 1990s at 192.168.0.1, 2x; one may see it.",
    "de": "Ein Haus und eine Frau.",
    "fr": "Un homme et une femme.",
    "es": "Un hombre y una mujer.",
}


def test_codes_and_articles_are_no_numbers() -> None:
    for language, text in NO_VALUES.items():
        assert [token.text for token in tokens(text, language) if token.value] == [], language


def test_a_unit_behind_several_numbers_is_of_each() -> None:
    found = [t.value for t in tokens("from 5 to 10 mg, or 5, 10 and 20 km in 2010, 20 kg", "en")]
    units = [each.unit.dimension if each.unit else None for each in found if each is not None]
    assert units == ["mass", "mass", "length", "length", "length", None, "mass"]


ONES = {
    "en": "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen",
    "fr": "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze "
    "seize dix-sept dix-huit dix-neuf",
    "es": "cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce "
    "quince dieciséis diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés "
    "veinticuatro veinticinco veintiséis veintisiete veintiocho veintinueve",
    "de": "null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn "
    "fünfzehn sechzehn siebzehn achtzehn neunzehn",
}
TENS = {
    "en": "twenty thirty forty fifty sixty seventy eighty ninety",
    "es": "veinte treinta cuarenta cincuenta sesenta setenta ochenta noventa",
    "de": "zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig",
    "fr": "vingt trente quarante cinquante soixante",
}
HUNDREDS = (
    "ciento doscientos trescientos cuatrocientos quinientos seiscientos setecientos ochocientos "
    "novecientos"
)


def english(n: int) -> str:
    if n < 20:
        return ONES["en"].split()[n]
    if n < 100:
        ten = TENS["en"].split()[n // 10 - 2]
        return ten if n % 10 == 0 else f"{ten}-{english(n % 10)}"
    for size, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if n >= size:
            head = f"{english(n // size)} {name}"
            joint = " and " if size == 100 or n % size < 100 else " "
            return head if n % size == 0 else f"{head}{joint}{english(n % size)}"
    raise AssertionError


def german(n: int) -> str:
    if n < 20:
        return ONES["de"].split()[n]
    if n < 100:
        ten = TENS["de"].split()[n // 10 - 2]
        return (
            ten
            if n % 10 == 0
            else f"{german(n % 10).removesuffix('s') if n % 10 == 1 else german(n % 10)}und{ten}"
        )
    size, name = (1000, "tausend") if n >= 1000 else (100, "hundert")
    head = "ein" if n // size == 1 else german(n // size)
    return f"{head}{name}{german(n % size) if n % size else ''}"


def french(n: int) -> str:
    if n < 20:
        return ONES["fr"].split()[n]
    if n < 70:
        ten = TENS["fr"].split()[n // 10 - 2]
        return ten if n % 10 == 0 else f"{ten} et un" if n % 10 == 1 else f"{ten}-{french(n % 10)}"
    if n < 80:
        return "soixante et onze" if n == 71 else f"soixante-{french(n - 60)}"
    if n < 100:
        return "quatre-vingts" if n == 80 else f"quatre-vingt-{french(n - 80)}"
    size, name = (1000, "mille") if n >= 1000 else (100, "cent")
    head = name if n // size == 1 else f"{french(n // size)} {name}"
    return f"{head} {french(n % size)}" if n % size else head


def spanish(n: int) -> str:
    if n < 30:
        return ONES["es"].split()[n]
    if n < 100:
        ten = TENS["es"].split()[n // 10 - 2]
        return ten if n % 10 == 0 else f"{ten} y {spanish(n % 10)}"
    if n < 1000:
        head = "cien" if n == 100 else HUNDREDS.split()[n // 100 - 1]
        return f"{head} {spanish(n % 100)}" if n % 100 else head
    head = "mil" if n // 1000 == 1 else f"{spanish(n // 1000)} mil"
    return f"{head} {spanish(n % 1000)}" if n % 1000 else head


def test_numbers_in_words_are_read_as_they_are_spelt() -> None:
    draw = random.Random(0)
    chosen = [*range(2, 130), *(draw.randrange(130, 10_000) for _ in range(300))]
    for language, spell in (
        ("en", english), ("de", german), ("fr", french), ("es", spanish)
    ):  # fmt: skip
        for n in chosen:
            words = spell(n).split()
            assert read([*words, "x"], language) == (Decimal(n), len(words)), (language, words)
    for n in (10**6, 2_300_004, 250_000_000):
        assert read(english(n).split(), "en") == (Decimal(n), len(english(n).split()))


def test_hostile_numbers_are_read_in_one_pass() -> None:
    for piece in ("1,", "1.000", "1 000 ", "12/", "a-", "one ", "March 5 ", "9", "5 mg/", "1'000"):
        text = piece * (4_000 // len(piece))
        assert len(tokens(text, "en")) <= len(text)
        assert len(tokens(text, "de")) <= len(text)
