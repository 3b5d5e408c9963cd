"""A text as the rules read it: words, values (numbers, quantities, dates) and signs, in order.

One pass of a pattern that cannot go back divides it; then numbers take their scale, unit and
month from the words beside them.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from linnet.grounding import numerals
from linnet.grounding.languages import LANGUAGES, Language
from linnet.grounding.units import CURRENCIES, NAMES, SYMBOLS, Unit
from linnet.grounding.values import Date, Value

DIGITS = 24
"""A number of more digits is read as a code."""

_SPACE = " \u00a0\u202f\u2009"
_TOKEN = re.compile(
    rf"""
    (?P<iso>\d{{4}}-\d{{2}}-\d{{2}}(?![\w-]))
  | (?P<day>\d{{1,2}})(?P<between>[./-])(?P<month>\d{{1,2}})(?P=between)(?P<year>\d{{4}})(?![\w])
  | (?P<time>\d{{1,2}}:\d{{2}}(?::\d{{2}})?)(?![\w:])
  | (?P<number>
        \d{{1,3}}(?:,\d{{3}})++(?:\.\d++)?(?![\d.,]\d)
      | \d{{1,3}}(?:\.\d{{3}})++(?:,\d++)?(?![\d.,]\d)
      | \d{{1,3}}(?:['’]\d{{3}})++(?:[.,]\d++)?(?!\d)
      | \d{{1,3}}(?:[{_SPACE}]\d{{3}})++(?:[.,]\d++)?(?!\d)
      | \d++(?:[.,]\d++)?+(?![.,]\d)
    )(?P<attached>[^\W\d_]\w*+)?
  | (?P<code>\d[\w.,:-]*\w|\d)
  | (?P<word>[^\W\d]\w*+(?:[-'’.&]\w++)*+['’]?)
  | (?P<degree>°[{_SPACE}]?[CF]\b)
  | (?P<sign>[<>=+≤≥±×÷^~%‰°€$£¥])
  | (?P<mark>[^\s\w])
    """,
    re.VERBOSE,
)
_ELIDED = re.compile(r"(?:[ldnjcmst]|qu|jusqu|lorsqu|puisqu)'", re.IGNORECASE)
_ORDINAL_ENDINGS = frozenset(("st", "nd", "rd", "th", "er", "re", "e", "ème", "º", "ª"))
_CARRYING = frozenset(("-", "–", "—", "−", "to", "or", "bis", "oder", "à", "ou", "a", "o"))
_LISTING = frozenset((",", "and", "und", "et", "y"))
_ONLY_IN = {"an": "fr", "ans": "fr", "mes": "es", "foot": "en", "tag": "de", "mi": "en",
            "grado": "es", "ton": "en", "bar": "en"}  # fmt: skip
_SQUARES = {"square": "²", "cubic": "³"}
_PER_CENT = {("per", "cent"), ("pour", "cent"), ("por", "ciento"), ("v", "h")}
_OF = frozenset(("of", "de", "del", ",", "."))
_SCALED = frozenset(("hundred", "thousand", "million", "billion"))
_SHORTENED = frozenset(("mio", "mrd", "tsd", "bn"))
_YEARS = range(1000, 2200)


class Token(NamedTuple):
    """A word, value or sign."""

    key: str
    """How it is compared: casefolded; empty where only the value counts, or nothing does."""
    text: str
    start: int
    end: int
    value: Value | None = None
    mark: bool = False
    """Whether it is punctuation."""


def tokens(text: str, language: str) -> list[Token]:
    """The tokens of a text in this language; one that is not in LANGUAGES has no number words."""
    own = LANGUAGES.get(language)
    found: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "word":
            _add_word(found, match[0], match.start(), language)
        elif kind == "mark":
            found.append(Token("", match[0], match.start(), match.end(), None, True))
        elif kind == "sign" or kind == "degree":
            found.append(Token(match[0], match[0], match.start(), match.end()))
        else:
            found.append(_numeric(match, kind or "", text, own))
    return _combined(found, text, language, own)


def key_of(word: str) -> str:
    """How a word is compared."""
    if not word.isascii():
        word = unicodedata.normalize("NFKC", word).replace("’", "'")
    return word.casefold()


def _add_word(found: list[Token], word: str, start: int, language: str) -> None:
    end = start + len(word)
    if "'" not in word and "’" not in word:
        found.append(Token(key_of(word), word, start, end))
        if language == "en" and found[-1].key == "cannot":
            found[-1:] = [Token("can", word[:3], start, start + 3),
                          Token("not", word[3:], start + 3, end)]  # fmt: skip
        return
    key = key_of(word)
    if language == "fr":
        while (elided := _ELIDED.match(key)) and len(key) == len(word):
            cut = elided.end()
            found.append(Token(key[:cut], word[:cut], start, start + cut))
            word, key, start = word[cut:], key[cut:], start + cut
    elif language == "en" and key.endswith("n't") and len(key) == len(word) > 3:
        cut = len(word) - 3
        stems = {"ca": "can", "wo": "will", "sha": "shall"}
        first = stems.get(key[:cut], key[:cut])
        found.append(Token(first, word[:cut], start, start + cut))
        found.append(Token("not", word[cut:], start + cut, end))
        return
    if key := key.rstrip("'"):
        word = word.rstrip("'’")
        found.append(Token(key, word, start, start + len(word)))


def _numeric(match: re.Match[str], kind: str, text: str, language: Language | None) -> Token:
    start, end, own = match.start(), match.end(), match[0]
    value: Value | None = None
    if kind == "iso":
        year, month, day = (int(part) for part in own.split("-"))
        if _valid(year, month, day):
            value = Value("date", own, start, end, dates=((year, month, day),))
    elif kind == "year":
        value = _numeric_date(match, language)
    elif kind == "time":
        hours, minutes, *rest = (int(part) for part in own.split(":"))
        seconds = 3600 * hours + 60 * minutes + (rest[0] if rest else 0)
        value = Value("time", own, start, end, readings=(Decimal(seconds),))
    elif kind in ("number", "attached") and len(match["number"]) <= DIGITS:
        value = _number(match["number"], start, text, language)
        if value is not None and match["attached"]:
            value = _attached(value, own, match["attached"])
    if value is None:
        return Token(key_of(own), own, start, end)
    return Token("", own, start, end, value)


def _valid(year: int, month: int, day: int) -> bool:
    return year > 0 and 1 <= month <= 12 and 1 <= day <= 31


def _numeric_date(match: re.Match[str], language: Language | None) -> Value | None:
    year = int(match["year"])
    first, second = int(match["day"]), int(match["month"])
    readings: list[Date] = [(year, second, first)]
    if match["between"] != "." and (language is None or language.code == "en"):
        readings.append((year, first, second))
    valid = tuple(dict.fromkeys(
        date for date in readings if _valid(date[0] or 0, date[1] or 0, date[2] or 0)
    ))  # fmt: skip
    if not valid:
        return None
    return Value("date", match[0], match.start(), match.end(), dates=valid)


def _number(own: str, start: int, text: str, language: Language | None) -> Value | None:
    end = start + len(own)
    decimal = language.decimal if language else "."
    readings: tuple[Decimal, ...]
    plain = own
    for space in _SPACE[1:] + "'’":
        plain = plain.replace(space, "")
    if " " in plain:  # grouped by what may also stand between two numbers
        sign = "," if "," in plain else "."
        parts = [_decimal(part, sign) for part in plain.split(" ")]
        joined = _decimal(plain.replace(" ", ""), sign)
        readings = (joined,) if decimal == "," else tuple(dict.fromkeys((joined, *parts)))
    else:
        dots, commas = plain.count("."), plain.count(",")
        group = "." if decimal == "," else ","
        sign = "." if dots else ","
        if not dots and not commas:
            readings = (_decimal(plain),)
        elif dots and commas:
            decimal = "." if plain.rfind(".") > plain.rfind(",") else ","
            readings = (_decimal(plain, decimal),)
        elif dots + commas > 1:
            readings = (_decimal(plain.replace(sign, "")),)
        elif sign == group and len(plain) - plain.index(sign) == 4 and plain[0] != "0":
            # Spanish is written with both signs.
            grouped, broken = _decimal(plain.replace(sign, "")), _decimal(plain, sign)
            readings = (grouped, broken) if language and language.code == "es" else (grouped,)
        elif sign != group and len(plain) - plain.index(sign) == 4 and plain[0] != "0" and (
            language is None or language.code == "es"
        ):  # fmt: skip
            readings = (_decimal(plain, sign), _decimal(plain.replace(sign, "")))
        else:
            readings = (_decimal(plain, sign),)
    if text[start - 1 : start] in ("-", "−") and (start < 2 or text[start - 2] in " \n\t(["):
        readings = tuple(-reading for reading in readings)
    return Value("number", own, start, end, readings=readings)


def _decimal(digits: str, decimal: str = ".") -> Decimal:
    other = "," if decimal == "." else "."
    return Decimal(digits.replace(other, "").replace(decimal, "."))


def _attached(value: Value, text: str, attached: str) -> Value | None:
    """A number with letters at its end: a unit, an ordinal, or a code."""
    value = replace(value, text=text, end=value.start + len(text))
    if attached.casefold() in _ORDINAL_ENDINGS:
        return replace(value, kind="ordinal")
    if attached == "s" and value.readings[0] in _YEARS:
        return None  # a decade
    unit = SYMBOLS.get(attached)
    return replace(value, unit=unit) if unit else None


@cache
def _number_words(language: str) -> frozenset[str]:
    scales = () if language == "en" else numerals.SCALES.get(language, {})
    return numerals.words_below_scales(language).union(scales)


def _combined(
    found: list[Token], text: str, language: str, own: Language | None
) -> list[Token]:  # fmt: skip
    """Numbers with what belongs to them, in one token each."""
    if own is not None:
        found = _with_number_words(found, language)
    if not any(token.value for token in found):
        return found
    combined: list[Token] = []
    place = 0
    while place < len(found):
        token = found[place]
        if token.value is None:
            combined.append(token)
            place += 1
            continue
        date = _date(found, place, combined, own)
        if date is not None:
            token, place = date
            combined.append(token)
            continue
        token, place = _quantity(found, place, language)
        if combined and combined[-1].text in CURRENCIES and token.value is not None:
            if token.value.unit is None:
                sign = combined[-1]
                value = replace(token.value, unit=CURRENCIES[sign.text], start=sign.start)
                token = token._replace(start=sign.start, value=value)
            combined.pop()
        combined.append(token)
    return [_whole(token, text) for token in _carried(combined)]


def _whole(token: Token, text: str) -> Token:
    """A token whose text is all of the stretch that it was made of."""
    if token.value is None:
        return token
    own = text[token.start : token.end]
    return token._replace(text=own, value=replace(token.value, text=own))


def _with_number_words(found: list[Token], language: str) -> list[Token]:
    firsts, ordinals = _number_words(language), numerals.ordinals() if language == "en" else {}
    if not any(
        token.key in firsts or token.key in ordinals or "-" in token.key
        or token.key in _SCALED or "tausend" in token.key
        for token in found
    ):  # fmt: skip
        return found
    read: list[Token] = []
    place = 0
    while place < len(found):
        token = found[place]
        key = token.key
        if key in ordinals:
            value = Value("ordinal", token.text, token.start, token.end,
                          readings=(Decimal(ordinals[key]),))  # fmt: skip
            read.append(token._replace(key="", value=value))
            place += 1
            continue
        article = language == "en" and key == "a" and place + 1 < len(found)
        if article:
            article = found[place + 1].key in _SCALED
        is_first = key in firsts or ("-" in key and key.partition("-")[0] in firsts)
        is_first = is_first or (language == "de" and "tausend" in key)
        if key in ("cent", "ciento") and read and (read[-1].key, key) in _PER_CENT:
            is_first = False
        if is_first or article:
            words = [other.key for other in found[place : place + numerals.LONGEST]]
            if article:
                words[0] = "one"
            number = numerals.read(words, language)
            if number is not None:
                amount, taken = number
                start, end = token.start, found[place + taken - 1].end
                written = " ".join(other.text for other in found[place : place + taken])
                value = Value("number", written, start, end, readings=(amount,))
                read.append(Token("", written, start, end, value))
                place += taken
                continue
        read.append(token)
        place += 1
    return read


def _quantity(found: list[Token], place: int, language: str) -> tuple[Token, int]:
    """The number at ``place`` with scale and unit, and where it goes on behind them."""
    token = found[place]
    value = token.value
    assert value is not None
    place += 1
    if value.kind == "time" and _key(found, place) in ("am", "pm", "a.m", "p.m"):
        late = found[place].key[0] == "p" and value.readings[0] < 43200
        value = replace(value, readings=(value.readings[0] + 43200 * late,))
        return token._replace(end=found[place].end, value=_until(value, found[place])), place + 1
    if value.kind != "number" or value.unit is not None:
        return token, place
    scales = numerals.SCALES.get(language, {})
    following = _key(found, place)
    if following in scales and scales[following] >= 1000:
        scale = scales[following]
        value = replace(value, readings=tuple(reading * scale for reading in value.readings))
        value, place = _until(value, found[place]), place + 1
        if following in _SHORTENED and place < len(found) and found[place].text == ".":
            place += 1
        if _key(found, place) in ("of", "de", "d'"):  # "3,5 millions d'euros"
            counted, after = _with_unit(value, found, place + 1, language)
            if counted.unit is not None:
                value, place = counted, after
            return token._replace(text=value.text, end=value.end, value=value), place
    if _key(found, place) == "uhr" or _key(found, place) in ("am", "pm", "a.m", "p.m"):
        value, place = _clock(value, found, place)
    else:
        value, place = _with_unit(value, found, place, language)
    return token._replace(text=value.text, end=value.end, value=value), place


def _key(found: list[Token], place: int) -> str:
    return found[place].key if place < len(found) else ""


def _until(value: Value, last: Token) -> Value:
    return replace(value, text=f"{value.text} {last.text}", end=last.end)


def _clock(value: Value, found: list[Token], place: int) -> tuple[Value, int]:
    hours, _, minutes = str(value.readings[0]).partition(".")
    if not hours.isdigit() or int(hours) > 24 or len(minutes) not in (0, 2):
        return value, place
    half = 12 if _key(found, place) in ("pm", "p.m") and int(hours) < 12 else 0
    seconds = 3600 * (int(hours) + half) + 60 * int(minutes or 0)
    value = replace(_until(value, found[place]), kind="time", readings=(Decimal(seconds),))
    return value, place + 1


def _with_unit(
    value: Value, found: list[Token], place: int, language: str
) -> tuple[Value, int]:  # fmt: skip
    """The value with the unit that follows, if one does: ``mg/dl``, ``per cent``, ``-year``."""
    first = place
    if place + 1 < len(found) and found[place].text in ("-", "‑") and (
        found[place].start == value.end and found[place + 1].start == found[place].end
    ):  # fmt: skip
        place += 1  # "5-year"
    power = _SQUARES.get(_key(found, place), "")
    place += bool(power)
    if (_key(found, place), _key(found, place + 1)) in _PER_CENT:
        return replace(_until(value, found[place + 1]), unit=NAMES["percent"]), place + 2
    unit = _unit(found, place, language)
    if unit is None and place > first:  # "5-year-old": what it is of stays a word
        unit = NAMES.get(_key(found, place).partition("-")[0])
        return replace(value, unit=unit), first
    if unit is None:
        return value, first
    if unit.dimension == "share" and _key(found, place + 1) in ("point", "points"):
        return replace(_until(value, found[place + 1]), unit=NAMES["prozentpunkt"]), place + 2
    if unit.dimension == "angle" and _key(found, place + 1) in ("celsius", "fahrenheit", "c", "f"):
        place += 1
        name = "celsius" if found[place].key[0] == "c" else "fahrenheit"
        unit = NAMES[name]
    if power:
        unit = Unit(unit.dimension + power, unit.factor ** (2 if power == "²" else 3))
    place += 1
    while place + 1 < len(found) and found[place].text == "/":
        below = _unit(found, place + 1, language)
        if below is None:
            break
        unit = Unit(f"{unit.dimension}/{below.dimension}", unit.factor / below.factor)
        place += 2
    return replace(_until(value, found[place - 1]), unit=unit), place


def _unit(found: list[Token], place: int, language: str) -> Unit | None:
    if place >= len(found) or found[place].value is not None:
        return None
    text, key = found[place].text, found[place].key
    if text[:1] == "°" and len(text) > 1:
        return SYMBOLS[f"°{text[-1]}"]
    if key in _ONLY_IN and _ONLY_IN[key] != language:
        return None
    powers = {"²": 2, "³": 3}
    if text[-1:] in powers and text[:-1] in SYMBOLS:
        plain = SYMBOLS[text[:-1]]
        return Unit(plain.dimension + text[-1], plain.factor ** powers[text[-1]])
    return SYMBOLS.get(text) or NAMES.get(key)


def _carried(found: list[Token]) -> list[Token]:
    """The unit that stands once behind several numbers, with each: ``5 to 10 mg``."""
    for place in range(len(found) - 3, -1, -1):
        value, after = found[place].value, found[place + 2].value
        if value is None or after is None or value.unit is not None or after.unit is None:
            continue
        if value.kind != "number" or after.start - value.end > 8:
            continue
        joint = found[place + 1].key or found[place + 1].text
        year = value.readings[0] in _YEARS and "," not in value.text and "." not in value.text
        if joint in _CARRYING or (joint in _LISTING and not year):
            found[place] = found[place]._replace(value=replace(value, unit=after.unit))
    return found


def _date(
    found: list[Token], place: int, before: list[Token], language: Language | None
) -> tuple[Token, int] | None:
    """The date whose first number stands here, and where it goes on; None where it is none.

    What of it stands before the number (a month) is taken from ``before``.
    """
    value = found[place].value
    if language is None or value is None or value.kind not in ("number", "ordinal"):
        return None
    if not value.certain or value.unit is not None:
        return None
    amount = value.readings[0]
    if amount != int(amount) or not 0 < amount < 2200 or not value.text[0].isdigit():
        return None
    number = int(amount)
    behind = len(before) - 1  # the month before the number: "March 5", "March of 2024"
    while behind >= 0 and behind >= len(before) - 2 and _between(before[behind]):
        behind -= 1
    month = _month(before[behind], language) if behind >= 0 else None
    if month is not None and not before[behind].value:
        taken, first = len(before) - behind, before[behind]
        if number in _YEARS and value.kind == "number" and len(value.text) == 4:
            del before[-taken:]
            return _dated(first, found[place], (number, month, None)), place + 1
        if number <= 31 and (taken == 1 or before[behind + 1].text == "."):  # "Mar. 5"
            del before[-taken:]
            last, after, year = _year(found, place)
            return _dated(first, last, (year, month, number)), after
        return None
    following = place + 1
    while following < len(found) and following <= place + 2 and _between(found[following]):
        following += 1
    month = _month(found[following], language) if following < len(found) else None
    if month is None or number > 31 or found[following].start - value.end > 8:
        return None
    last, after, year = _year(found, following)
    return _dated(found[place], last, (year, month, number)), after


def _between(token: Token) -> bool:
    return (token.key or token.text) in _OF


def _month(token: Token, language: Language) -> int | None:
    if not token.key or token.key not in language.months:
        return None
    if language.code in ("en", "de") and not token.text[0].isupper():
        return None
    return language.months[token.key]


def _year(found: list[Token], last: int) -> tuple[Token, int, int | None]:
    """The year behind the token at ``last``: the last token of the date, what is next, the year."""
    place = last + 1
    while place < len(found) and place <= last + 2 and _between(found[place]):
        place += 1
    if place < len(found):
        value = found[place].value
        if value is not None and value.kind == "number" and value.certain and (
            len(value.text) == 4 and value.text.isdigit() and int(value.text) in _YEARS
        ):  # fmt: skip
            return found[place], place + 1, int(value.text)
    return found[last], last + 1, None


def _dated(first: Token, last: Token, date: Date) -> Token:
    start, end = first.start, last.end
    text = first.text if first is last else f"{first.text} {last.text}"
    return Token("", text, start, end, Value("date", text, start, end, dates=(date,)))
