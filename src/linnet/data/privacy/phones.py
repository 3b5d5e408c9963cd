"""Telephone numbers: written internationally (E.123), or as at home with evidence.

A candidate is judged by libphonenumber's numbering plans (phonenumbers). What
has a plus and separators need only be of a possible length; everything else
must be a number that is really given out in one of ``_REGIONS``, or be called a
phone number by the words before it. Tables and logs are full of other numbers:
there the words are needed wherever the plus is missing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from linnet.data.privacy.span import Columns, Span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from phonenumbers import PhoneNumber

    from linnet.data.kinds import Family

_REGIONS = ("GB", "DE", "FR", "AT", "CH", "NL", "BE", "AU", "JP", "IE")

# Digits with up to three separators between them: any number, date or version is one run.
_RUN = re.compile(r"[0-9](?:[ \u00a0().\-/\u2010\u2011\u2013]{0,3}[0-9])*+")
_LEAST_LENGTH = 6
_SEPARATOR = r"[ \u00a0().\-/\u2010\u2011\u2013]"
_HYPHEN = r"[\-\u2010\u2011]"
_CANDIDATE = re.compile(
    rf"""
      (?P<international> (?: (?<![\w.])\(?\+\(?[1-9] | (?<![\w.,])00(?=[1-9 ]) )
        (?:{_SEPARATOR}{{0,3}}[0-9]){{6,16}} )
    | (?P<american> (?<![\w.\-/]) (?:1[ .\-])?
        (?: \([0-9]{{3}}\)[ \-.]?[0-9]{{3}}(?:[ .]|{_HYPHEN})[0-9]{{4}}
          | [2-9][0-9]{{2}}{_HYPHEN}[0-9]{{3}}{_HYPHEN}[0-9]{{4}}
          | [2-9][0-9]{{2}}\.[2-9][0-9]{{2}}\.[0-9]{{4}} ) )
    | (?P<national> (?<![\w.,:\-/])(?<![0-9][ ]) \(?0[1-9][0-9]{{0,4}}\)?
        (?:{_SEPARATOR}{{1,3}}[0-9]{{2,8}}){{1,5}} )
    """,
    re.VERBOSE,
)
_EXTENSION = re.compile(
    r"(?:,?\s?(?:ext(?:ension)?|durchwahl|poste)[.:]?\s?|\s?x\s?)[0-9]{1,5}\b", re.I
)
_NO_END = re.compile(rf"\w|[.,:\-/][0-9]|%|{_SEPARATOR}?[€$£°]")

# A word that says "this is a phone number", then at most a few words and signs. After "<" it
# would be a placeholder.
_STRONG = (
    r"(?:telephone|telefon[eo]?|t[ée]l[ée]phone|tel[ée]fono|(?:smart)?phone|tele?fax|t[ée]l|fax"
    r"|hotline|tt[yd]|tdd|whats ?app|mobile|handy|mobil|sms)"
)
_WEAK = (
    r"(?:call(?:ing|ed)?|dial(?:ing|ed|led)?|cell|toll[- ]?free|contact(?:ed)?|reach(?:ed)?|ring"
    r"|text|portable|anrufen|ruf(?:nummer)?|appelez)"
)
_LINK = (
    r"(?:[^\w<]{0,4}(?:no|nr|num|numbers?|at|on|me|us|him|her|them|is|are|was|under|unter|work|home"
    r"|office|and|or|cell|mobile|phone|fax|please)\b){0,4}[\s.,:#=()*|/\"'>\-]{0,5}\Z"
)
_STRONG_BEFORE = re.compile(rf"(?<![\w<]){_STRONG}{_LINK}", re.IGNORECASE)
_ANY_BEFORE = re.compile(rf"(?<![\w<])(?:{_STRONG}|{_WEAK}){_LINK}", re.IGNORECASE)
_TITLE = re.compile(rf"\b(?:{_STRONG}|cell|contact)\b", re.IGNORECASE)
_BEFORE = 48

_DATE = re.compile(
    r"(?:[0-3]?[0-9]([./\- ])[0-3]?[0-9]\1(?:[0-9]{2}){1,2}"
    r"|(?:19|20)[0-9]{2}([./\- ])[01]?[0-9]\2[0-3]?[0-9]"
    r"|(?:1[5-9]|20)[0-9]{2}[\-\u2013/](?:1[5-9]|20)?[0-9]{2})(?![0-9])"
)


def phones(text: str, family: Family) -> Iterator[Span]:
    """Telephone numbers of a text; none in source code."""
    if family in ("code", "symbols"):
        return
    strict = family in ("table", "log")
    titled = Columns(text, _TITLE) if family == "table" else None
    for run in _RUN.finditer(text):
        if run.end() - run.start() >= _LEAST_LENGTH:
            start, end = _widened(text, run), run.end()
            called = _is_called(text, start, titled)
            found = list(_formed(text, start, end, evident=called or not strict))
            yield from found or _called(text, start, end, called=called)


def _widened(text: str, run: re.Match[str]) -> int:
    """The run with ``+`` and ``(`` before it."""
    start = run.start()
    while start > 0 and run.start() - start < 3 and text[start - 1] in "(+":
        start -= 1
    return start


def _is_called(text: str, start: int, titled: Columns | None) -> bool:
    """Whether words before it, or the title of its column, say that it is a phone number."""
    return _before(text, start, _ANY_BEFORE) or (titled is not None and titled.hold(start))


def _before(text: str, start: int, words: re.Pattern[str]) -> bool:
    return words.search(text, max(0, start - _BEFORE), start) is not None


def _formed(text: str, start: int, end: int, *, evident: bool) -> Iterator[Span]:
    """Numbers in the run whose form tells what they are."""
    for match in _CANDIDATE.finditer(text, start, end):
        form = match.lastgroup or ""
        if form == "international" or evident or _before(text, match.start(), _ANY_BEFORE):
            stop = _stop(text, match, form)
            if stop is not None:
                yield Span(match.start(), _with_extension(text, stop), "PHONE")


def _stop(text: str, match: re.Match[str], form: str) -> int | None:
    """Where the number ends: numbers after it may have been taken for part of it."""
    if form == "american":
        return match.end() if _may_end(text, match.end()) else None
    ends = _ends(match)
    if form == "national":  # 01 02 03 04 05 06 is a row of numbers
        in_row = re.match(r"[ .\-][0-9]", text[match.end() : match.end() + 2]) or "  " in match[0]
        ends = [] if in_row else ends[:1]
    for end in ends:
        value = match[0][: end - match.start()]
        is_date = _DATE.fullmatch(value.strip("(")) is not None
        if not is_date and _may_end(text, end) and _is_number(value, form):
            return end
    return None


def _may_end(text: str, end: int) -> bool:
    return _NO_END.match(text, end) is None or _EXTENSION.match(text, end) is not None


def _ends(match: re.Match[str]) -> list[int]:
    """Ends of the groups of digits, the last first."""
    ends = [match.start() + group.end() for group in re.finditer(r"[0-9]+\)?", match[0])]
    if match[0].count("(") < match[0].count(")"):
        ends = [end for end in ends if match.string[end - 1] != ")"]
    return ends[::-1]


def _is_number(value: str, form: str) -> bool:
    import phonenumbers

    if form == "national":
        return any(_judged(value, region, phonenumbers.is_valid_number) for region in _REGIONS)
    if value.startswith("00"):
        return _judged("+" + value[2:], None, phonenumbers.is_valid_number)
    if re.fullmatch(r"\+[0-9]+\.[0-9]{1,3}", value):
        return False
    # +10.000.000 is an amount and +1234567890 may be one
    grouped = re.search(r"[ \u00a0()\-/\u2010\u2011]", value) is not None
    judge = phonenumbers.is_possible_number if grouped else phonenumbers.is_valid_number
    return _judged(value, None, judge)


def _judged(value: str, region: str | None, judge: Callable[[PhoneNumber], bool]) -> bool:
    import phonenumbers

    try:
        return judge(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


def _called(text: str, start: int, end: int, *, called: bool) -> Iterator[Span]:
    """The run itself, if it is called a phone number and could be one: ``Tel. 555 0123``."""
    value = text[start:end]
    count = sum(character.isdigit() for character in value)
    if not called or not 6 <= count <= 15 or _DATE.search(value) or not _may_end(text, end):
        return
    if re.match(r"[\w.,]", text[start - 1 : start]) or "  " in value:
        return
    if count >= 9 or "-" in value or _before(text, start, _STRONG_BEFORE):
        yield Span(start, _with_extension(text, end), "PHONE")


def _with_extension(text: str, end: int) -> int:
    extension = _EXTENSION.match(text, end)
    return extension.end() if extension else end
