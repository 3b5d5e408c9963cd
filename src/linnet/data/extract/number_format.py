"""Cells of a spreadsheet as they are shown: numbers by their format code.

Format codes follow ECMA-376 part 1, section 18.8.31. Dates and times come out in
ISO 8601 whatever their code, so that the order of day and month is no riddle;
conditions and colours are passed over.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from functools import lru_cache

# The codes that files name by number alone (section 18.8.30).
BUILTIN = {
    0: "General", 1: "0", 2: "0.00", 3: "#,##0", 4: "#,##0.00", 9: "0%", 10: "0.00%",
    11: "0.00E+00", 12: "# ?/?", 13: "# ??/??", 14: "mm-dd-yy", 15: "d-mmm-yy", 16: "d-mmm",
    17: "mmm-yy", 18: "h:mm AM/PM", 19: "h:mm:ss AM/PM", 20: "h:mm", 21: "h:mm:ss",
    22: "m/d/yy h:mm", 37: "#,##0 ;(#,##0)", 38: "#,##0 ;(#,##0)", 39: "#,##0.00;(#,##0.00)",
    40: "#,##0.00;(#,##0.00)", 45: "mm:ss", 46: "[h]:mm:ss", 47: "mmss.0", 48: "##0.0E+0",
    49: "@",
}  # fmt: skip

_TOKEN = re.compile(
    r'"(?P<quoted>[^"]*)"|\\(?P<escaped>.)|[_*].|\[\$(?P<currency>[^\]-]*)[^\]]*\]'
    r"|\[(?P<elapsed>h+|m+|s+)\]|\[[^\]]*\]|(?P<general>general)|(?P<exponent>e[+-])|(?P<end>;)"
    r"|(?P<half>am/pm|a/p)|(?P<digits>[0#?][0#?,.]*|[.,][0#?,.]*)|(?P<date>[ymdhs])|(?P<other>.)",
    re.IGNORECASE | re.DOTALL,
)
_FRACTION = re.compile(r"/\s*(?:(?P<places>[?#0]{1,3})|(?P<fixed>[1-9]\d{0,2}))")
_LONGEST_CODE = 255  # characters, by the specification
_LARGEST = 1e30  # larger ones are shown by their exponent, whatever the code
_EXACT = Context(prec=120)  # of the digits before the point and after it
_LONGEST_NUMBER = 60  # characters of a code that stand for digits
_PLACES = "0#?"
_LAST_DAY = 2_958_466  # the serial number after 9999-12-31


@dataclass(frozen=True)
class _Section:
    """What a code says about numbers of one sign.

    ``digits`` is the code from the first place of a digit to the last, with what
    stands between them; empty where no number is shown.
    """

    before: str = ""
    after: str = ""
    digits: str = ""
    percent: int = 0
    date: str = ""  # the letters of date and time in their order
    elapsed: bool = False
    general: bool = False
    exponent: bool = False
    fraction: int = 0  # the largest denominator
    denominator: int = 0  # the only denominator, such as 8


def displayed(value: float, code: str, *, epoch_1904: bool = False) -> str:
    """A number as a cell with this format code shows it."""
    value = float(value)
    sections = _sections(code[:_LONGEST_CODE])
    if sections[0].date and 0 <= value < _LAST_DAY:
        return _date(value, sections[0], epoch_1904)
    if value != value or abs(value) >= _LARGEST:
        return f"{value:g}"
    section = sections[0]
    negative = value < 0
    if negative and len(sections) > 1:  # a section of its own brings its own sign
        section, negative = sections[1], False
    elif value == 0 and len(sections) > 2:
        section = sections[2]
    number = _number(abs(value), section)
    sign = "-" if negative and any(c in "123456789" for c in number) else ""
    return f"{sign}{section.before}{number}{section.after}".strip()


def _number(value: float, section: _Section) -> str:
    """A number that is not negative, without what stands before and after its digits."""
    if section.general or section.date:
        return general(value)
    whole, _, decimals = section.digits.partition(".")
    least = len(decimals.rstrip("#?,"))
    most = len(decimals.rstrip(","))
    if section.exponent:
        return f"{value:.{most}E}"
    if section.fraction:
        return _fraction(value, section)
    if not section.digits:
        return ""
    # A comma at the end of either part divides by a thousand, one within groups the digits.
    thousands = sum(len(part) - len(part.rstrip(",")) for part in (whole, decimals))
    exact = Decimal(f"{value:.15g}").scaleb(2 * section.percent - 3 * thousands)
    rounded = exact.quantize(Decimal(1).scaleb(-most), ROUND_HALF_UP, _EXACT)
    integer, _, fraction = f"{rounded:f}".partition(".")
    while len(fraction) > least and fraction.endswith("0"):
        fraction = fraction[:-1]
    if "," in whole.rstrip(","):
        integer = f"{int(integer):,}"
    else:
        integer = _filled(whole.rstrip(","), integer if integer != "0" else "")
    return f"{integer}.{fraction}" if fraction else integer


def _filled(places: str, digits: str) -> str:
    """Digits in their places from the right, as in ``000-00-0000``; 0 where there are too few."""
    filled = []
    first = next((n for n, place in enumerate(places) if place in _PLACES), -1)
    for n in range(len(places) - 1, -1, -1):
        if places[n] not in _PLACES:
            filled.append(places[n])
        elif n == first:
            filled.append(digits or ("0" if places[n] == "0" else ""))
        else:
            filled.append(digits[-1:] or ("0" if places[n] == "0" else ""))
            digits = digits[:-1]
    return "".join(reversed(filled))


def general(value: float) -> str:
    """A number without a format: integers in full, of others the digits that cells show."""
    return f"{Decimal(repr(value)):.0f}" if value.is_integer() else f"{value:.10g}"


def _fraction(value: float, section: _Section) -> str:
    """Such as ``1 1/2``."""
    whole, rest = divmod(value, 1.0)
    if section.denominator:
        above, below = round(rest * section.denominator), section.denominator
    else:
        above, below = Fraction(rest).limit_denominator(section.fraction).as_integer_ratio()
    if above == below:
        whole, above = whole + 1, 0
    parts = [f"{whole:.0f}"] if whole or not above else []
    return " ".join([*parts, f"{above}/{below}"] if above else parts)


def _date(value: float, section: _Section, epoch_1904: bool) -> str:
    """A serial number: days since 1899-12-30 (or 1904-01-01), the time as their fraction."""
    seconds = round(value * 86400)
    if section.elapsed:
        return _elapsed(seconds, section.date)
    if not epoch_1904 and value < 60:
        seconds += 86400  # the calendar of 1900 has a 29 February
    start = datetime.datetime(1904, 1, 1) if epoch_1904 else datetime.datetime(1899, 12, 30)
    moment = start + datetime.timedelta(seconds=seconds)
    letters = section.date
    has_time = "h" in letters or "s" in letters
    has_date = "y" in letters or "d" in letters or ("m" in letters and not has_time)
    time = moment.strftime("%H:%M:%S" if moment.second else "%H:%M")
    if has_date and has_time:
        return f"{moment.date().isoformat()} {time}"
    return moment.date().isoformat() if has_date else time


def _elapsed(seconds: int, letters: str) -> str:
    """A span of time in the units that a code names, the largest without end."""
    minutes, rest = divmod(seconds, 60)
    if letters.startswith("[s"):
        return str(seconds)
    if letters.startswith("[m"):
        return f"{minutes}:{rest:02d}" if "s" in letters else str(minutes)
    hours, minutes = divmod(minutes, 60)
    shown = f"{hours}:{minutes:02d}" if "m" in letters else str(hours)
    return f"{shown}:{rest:02d}" if "s" in letters else shown


@lru_cache(maxsize=1024)
def _sections(code: str) -> tuple[_Section, ...]:
    """The sections of a code: positive, negative, zero."""
    sections = []
    tokens: list[re.Match[str]] = []
    for token in _TOKEN.finditer(code):
        if token.lastgroup == "end":
            sections.append(_section(tokens))
            tokens = []
        else:
            tokens.append(token)
    return (*sections, _section(tokens))[:3]


def _section(tokens: list[re.Match[str]]) -> _Section:
    before = digits = after = ""
    for token in tokens:
        kind = token.lastgroup
        if kind == "general" or (kind == "digits" and not digits):
            digits = token[0]
        elif kind == "exponent":
            break
        elif kind == "digits":
            digits += after + token[0]
            after = ""
        elif kind in ("quoted", "escaped", "currency", "other"):
            text = "".join(c for c in token[kind] if c not in "@.,0#?")
            before, after = (before, after + text) if digits else (before + text, "")
    kinds = {token.lastgroup for token in tokens}
    others = [token[0] for token in tokens if token.lastgroup == "other"]
    if "general" in kinds or "@" in others or not tokens:
        return _Section(before, after, general=True)
    if digits and (over := _FRACTION.search("".join(token[0] for token in tokens))):
        places, fixed = over["places"], over["fixed"]
        return _Section(
            digits=digits, fraction=10 ** len(places or "9") - 1, denominator=int(fixed or 0)
        )
    return _Section(
        before,
        after,
        digits=digits[:_LONGEST_NUMBER],
        percent=others.count("%"),
        date="".join(t[0].lower() for t in tokens if t.lastgroup in ("date", "elapsed")),
        elapsed="elapsed" in kinds,
        exponent="exponent" in kinds,
    )
