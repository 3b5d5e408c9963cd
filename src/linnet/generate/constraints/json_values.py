"""Strings and numbers of JSON documents as patterns.

JSON is written without white space, unless a schema asks for some.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from typing import Any

from linnet.errors import ConfigError
from linnet.generate.constraints import regex
from linnet.generate.constraints.automata import is_possible
from linnet.generate.constraints.numerals import DIGITS, integers, numbers
from linnet.generate.constraints.patterns import (
    Characters,
    Either,
    Lexeme,
    Matching,
    Pattern,
    Repeated,
    Rule,
    Rules,
    Sequenced,
    Substring,
    Text,
    characters,
    either,
    overlap,
)
from linnet.generate.constraints.substring import Passages

NOTHING = Either(())
"""No text at all."""

COLON, COMMA = Rule("colon"), Rule("comma")
ANY = Rule("any")

_YEAR = r"(\d{3}[1-9]|\d\d[1-9]0|\d[1-9]00|[1-9]000)"  # there is no year 0000
_FOURTH = "(0[48]|[2468][048]|[13579][26])"  # of 01 to 99, what four divides
_DATE = (
    rf"({_YEAR}-((0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
    rf"|(\d\d{_FOURTH}|{_FOURTH}00)-02-29)"
)
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_HEX, _COUNT = "[0-9a-f]", r"[1-9]\d{0,3}"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_WORD, _LABEL = r"[\w+-]{1,20}", "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"
_HOST = rf"{_LABEL}(\.{_LABEL}){{0,4}}"
_PATH = r"(/([\w.~+,;@-]|%[0-9A-F]{2}){0,40}){0,8}"
_QUERY = r"(\?[\w.~+,;@/=&-]{0,80})?(#[\w.~/-]{0,40})?"
_URI = rf"(https?|ftp)://{_HOST}(:[1-9]\d{{0,3}})?{_PATH}{_QUERY}"
_EMAIL = rf"{_WORD}(\.{_WORD}){{0,2}}@{_LABEL}(\.{_LABEL}){{1,3}}"
_REFERENCE = rf"({_URI}|{_PATH[:-6]}{{1,8}}{_QUERY})"
FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "duration": rf"P({_COUNT}[DW]|T{_COUNT}[HMS]|{_COUNT}DT{_COUNT}[HMS])",
    "uuid": f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    "ipv4": rf"({_BYTE}\.){{3}}{_BYTE}",
    "ipv6": f"({_HEX}{{1,4}}:){{7}}{_HEX}{{1,4}}",
    "email": _EMAIL,
    "idn-email": _EMAIL,
    "hostname": _HOST,
    "idn-hostname": _HOST,
    "uri": _URI,
    "iri": _URI,
    "uri-reference": _REFERENCE,
    "iri-reference": _REFERENCE,
    "uri-template": _URI,
    "json-pointer": r"(/\w{0,40}){0,8}",
    "relative-json-pointer": r"(0|[1-9]\d?)(/\w{0,40}){0,8}",
    "regex": r"\^?(\w{1,20}|\[a-z\][+*]?|\\d[+*]?|\.[+*]?){1,8}\$?",
}
"""Expressions of texts that have a format, if not of all that do."""

MOST_CHARACTERS = 20_000
"""Longer strings are allowed by a schema, and not written."""
MOST_ITEMS = 100_000
_LONGEST_TOGETHER = (255, 63, 15)
"""Characters of a text whose length and pattern no part alone decides, beyond its least: the first
for which there are not too many ways."""
_FEW = 1_000  # numbers that are written one by one
WIDEST = 10**30
"""A number's bound further from zero is taken as this, which asks for no less."""

# What stands in a JSON text as it is.
_NOT_PLAIN = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F))
_PLAIN = characters(_NOT_PLAIN, negated=True)
_PLAIN_START = re.compile(r'[^\x00-\x1f"\\\x7f]*')
_MOST_PREFIXES = 60
# What a text that is compared is written in: each character in one way.
_ONE_WAY: Pattern = Either((_PLAIN, *(Text(json.dumps(c)[1:-1]) for c in '"\\\n\t\r\f\b')))


def _of(text: str) -> Characters:
    return characters([(ord(character), ord(character)) for character in text])


def _character() -> Pattern:
    """One of a JSON string, as it is or escaped."""
    hexadecimal = _of("0123456789abcdefABCDEF")
    first = _of("0123456789abcefABCEF")
    no_surrogate = Either(
        (
            Sequenced((first, Repeated(hexadecimal, 3, 3))),
            Sequenced((_of("dD"), _of("01234567"), Repeated(hexadecimal, 2, 2))),
        )
    )
    escaped = Either((_of('"\\/bfnrt'), Sequenced((Text("u"), no_surrogate))))
    return Either((_PLAIN, Sequenced((Text("\\"), escaped))))


CHARACTER = _character()


def quoted(content: Pattern) -> Pattern:
    """A JSON string."""
    return Lexeme(Sequenced((Text('"'), content, Text('"'))))


def common_rules(*, spaces: bool = False) -> Rules:
    """Rules that every grammar has; ``spaces``: one is allowed behind a colon and a comma."""
    space = Repeated(Text(" "), 0, 1)
    numeral = numbers(None, None, open_below=False, open_above=False)
    assert numeral is not None
    exponent = Sequenced((_of("eE"), Repeated(_of("+-"), 0, 1), Repeated(_of("0123456789"), 1, 2)))
    pair = Sequenced((Rule("string"), COLON, ANY))
    return {
        "colon": Sequenced((Text(":"), space)) if spaces else Text(":"),
        "comma": Sequenced((Text(","), space)) if spaces else Text(","),
        "string": quoted(Repeated(CHARACTER, 0, None)),
        "number": Lexeme(Sequenced((numeral, Repeated(exponent, 0, 1)))),
        "object": Sequenced((Text("{"), separated(pair, 0, None), Text("}"))),
        "array": Sequenced((Text("["), separated(ANY, 0, None), Text("]"))),
        "any": Either(
            (
                *map(Rule, ("string", "number", "object", "array")),
                *map(Text, ("true", "false", "null")),
            )
        ),
    }


def separated(part: Pattern, least: int, most: int | None) -> Pattern:
    """So many parts with commas between them."""
    if most is not None and most < max(least, 1):
        return Text("") if least == 0 else NOTHING
    rest = Repeated(Sequenced((COMMA, part)), max(least - 1, 0), None if most is None else most - 1)
    some = Sequenced((part, rest))
    return some if least else Repeated(some, 0, 1)


def string(
    *,
    least: int = 0,
    most: int | None = None,
    patterns: Sequence[str] = (),
    formats: Sequence[str] = (),
    quotations: Sequence[Passages] = (),
    not_patterns: Sequence[str] = (),
    not_values: Sequence[str] = (),
) -> Pattern:
    """Strings with all of the patterns and formats, without what they must not be."""
    if most is not None and most < least:
        return NOTHING
    known = [FORMATS[name] for name in formats if name in FORMATS]
    every = [regex.read(one, from_anchor=True) for one in dict.fromkeys((*patterns, *known))]
    if quotations:
        return _quotation(every, quotations, least, most, not_values)
    if not every and not not_patterns and not not_values:
        if (least, most) == (0, None):
            return Rule("string")
        return quoted(Repeated(CHARACTER, least, most))
    if len(every) == 1 and not not_patterns and not not_values:
        content = _within(every[0], least, most)
        shortest, longest = _lengths(content)
        if shortest >= least and (most is None or (longest is not None and longest <= most)):
            return quoted(_in_json(content))
    none = [
        _in_json(regex.read(one, search=True, wide=True), all_ways=True) for one in not_patterns
    ]
    if not_values:
        none.append(_in_json(either([Text(value) for value in not_values])))
    longest = most if not every or (not least and most is None) else least + _LONGEST_TOGETHER[0]
    for shorter in (longest, *(least + more for more in _LONGEST_TOGETHER[1:])):
        limit = shorter if most is None or shorter is None else min(shorter, most)
        together = Matching((Repeated(_ONE_WAY, least, limit), *map(_in_json, every)), tuple(none))
        try:
            return quoted(together) if is_possible(together) else NOTHING
        except ConfigError as error:
            refusal = error
    raise refusal


def _quotation(
    every: Sequence[Pattern],
    quotations: Sequence[Passages],
    least: int,
    most: int | None,
    not_values: Sequence[str],
) -> Pattern:
    """Strings that are quotations, and what else they must be."""
    lengths = () if not least and most is None else (Repeated(_ONE_WAY, least, most),)
    parts = [one.runs for one in quotations]
    none = [part for one in quotations for part in one.none]
    none += [Text(value) for value in not_values]
    together = Matching(
        (*map(_in_json, (*parts, *every)), *lengths),
        tuple(_in_json(one, all_ways=True) for one in none),
    )
    return quoted(together) if is_possible(together) else NOTHING


def free_key(names: Collection[str], named: Callable[[Pattern], Pattern]) -> Pattern:
    """The keys, in their quotes, that are none of ``names``.

    A key parts from each of the names at a character that is written as it is, and with many or
    long names within their first ones. ``named`` gives a pattern a name of its own.
    """
    if not names:
        return Rule("string")
    stems = [_PLAIN_START.match(name)[0] for name in names]  # type: ignore[index]
    prefixes = {""}
    for size in itertools.count(1):
        longer = {stem[:size] for stem in stems if len(stem) >= size}
        if not longer or len(prefixes | longer) > _MOST_PREFIXES:
            break
        prefixes |= longer
    made: dict[str, Pattern] = {}
    for prefix in sorted(prefixes, key=lambda prefix: (-len(prefix), prefix)):
        size = len(prefix)
        following = sorted({name[size] for name in names if name[size:] and name[:size] == prefix})
        other = characters([*_NOT_PLAIN, *((ord(c), ord(c)) for c in following)], negated=True)
        choices: list[Pattern] = [] if prefix in names else [Text("")]
        choices += [Sequenced((Text(c), made[prefix + c])) for c in following if prefix + c in made]
        choices.append(Sequenced((other, Repeated(CHARACTER, 0, None))))
        made[prefix] = Either(tuple(choices))
    return named(quoted(made[""]))


def number(
    least: float | None,
    most: float | None,
    *,
    open_below: bool,
    open_above: bool,
    whole: bool,
    multiples: Sequence[float] = (),
    without: Sequence[float] = (),
) -> Pattern:
    """Numbers in bounds; ``whole``: without fractions; ``multiples``: of all of these."""
    digits = DIGITS
    units = [int(step) for step in multiples if step == int(step)]
    for step in multiples:
        if step != int(step):
            places = -round(math.log10(step))
            if step != float(f"1e-{places}"):
                raise ConfigError(
                    "a JSON Schema's multipleOf must be a whole number, or 0.1, 0.01 and so on. "
                    f"Got {step}"
                )
            digits = min(digits, places)
    if units or whole:
        low = None if least is None else -int(-least // 1)
        high = None if most is None else int(most // 1)
        low = low + 1 if low is not None and open_below and low == least else low
        high = high - 1 if high is not None and open_above and high == most else high
        made = _multiples(low, high, math.lcm(*units)) if units else integers(low, high)
    elif least is None and most is None and digits == DIGITS and not without:
        return Rule("number")
    else:
        made = numbers(least, most, open_below=open_below, open_above=open_above, digits=digits)
    if made is None:
        return NOTHING
    if without:
        matching = Matching((made,), tuple(Text(_numeral(value)) for value in without))
        return Lexeme(matching) if is_possible(matching) else NOTHING
    return Lexeme(made)


def _multiples(low: int | None, high: int | None, step: int) -> Pattern | None:
    """Multiples in these bounds, the few nearest to zero or to a bound where there are many."""
    if step == 1:
        return integers(low, high)
    first = None if low is None else -(-low // step)
    last = None if high is None else high // step
    if first is None:
        first = (-_FEW // 2) if last is None or last >= 0 else last - _FEW
    if last is None:
        last = max(first, 0) + _FEW
    if first < -_FEW and last > _FEW:
        first, last = -_FEW, _FEW
    last = min(last, first + 2 * _FEW)
    if first > last:
        return None
    return either([Text(str(step * count)) for count in range(first, last + 1)])


def _numeral(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def literal(value: Any) -> Text:
    """Just this value."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        raise ConfigError("a JSON Schema's values must be ones that JSON has, unlike NaN") from None
    if any("\ud800" <= character <= "\udfff" for character in text):
        text = json.dumps(value, separators=(",", ":"))
    return Text(text)


def _within(pattern: Pattern, least: int, most: int | None) -> Pattern:
    """Those texts of a pattern that are as long as asked, where one part of it alone decides that.

    Otherwise the pattern as it is.
    """
    parts = pattern.parts if isinstance(pattern, Sequenced) else (pattern,)
    found = [_lengths(part) for part in parts]
    free = [place for place, (low, high) in enumerate(found) if low != high]
    if len(free) != 1:
        return pattern
    (place,) = free
    part = parts[place]
    if not isinstance(part, Repeated) or _lengths(part.part) != (1, 1):
        return pattern
    others = sum(low for low, _ in found) - found[place][0]
    fewest = max(part.least, least - others)
    furthest = [
        high for high in (part.most, None if most is None else most - others) if high is not None
    ]
    if furthest and min(furthest) < fewest:
        return pattern
    own = Repeated(part.part, fewest, min(furthest, default=None))
    return Sequenced((*parts[:place], own, *parts[place + 1 :]))


def _lengths(pattern: Pattern) -> tuple[int, int | None]:
    """How many characters a text of this pattern has at least and at most."""
    match pattern:
        case Text(value):
            return len(value), len(value)
        case Characters():
            return 1, 1
        case Sequenced(parts) | Either(parts):
            found = [_lengths(part) for part in parts]
            shortest = [low for low, _ in found]
            longest = [high for _, high in found if high is not None]
            total, furthest = (sum, sum) if isinstance(pattern, Sequenced) else (min, max)
            is_bounded = len(longest) == len(found)
            return total(shortest), furthest(longest) if is_bounded else None
        case Repeated(part, least, most):
            low, high = _lengths(part)
            if high == 0 or most == 0:
                return 0, 0
            return low * least, None if most is None or high is None else high * most
    return 0, None


def _in_json(pattern: Pattern, *, all_ways: bool = False) -> Pattern:
    """A pattern of a text as it is spelt within a JSON document.

    ``all_ways``: with the characters that are escaped beside others, too.
    """
    match pattern:
        case Text(value):
            return Text(json.dumps(value, ensure_ascii=False)[1:-1])
        case Characters():
            found = overlap(pattern, _PLAIN)
            if found.ranges and not all_ways:
                return found
            special = overlap(pattern, Characters(_NOT_PLAIN))
            escaped = [chr(c) for first, last in special.ranges for c in range(first, last + 1)]
            texts = tuple(Text(json.dumps(c)[1:-1]) for c in escaped)
            return Either((*((found,) if found.ranges else ()), *texts))
        case Sequenced(parts):
            return Sequenced(tuple(_in_json(part, all_ways=all_ways) for part in parts))
        case Either(choices):
            return Either(tuple(_in_json(choice, all_ways=all_ways) for choice in choices))
        case Repeated(part, least, most):
            return Repeated(_in_json(part, all_ways=all_ways), least, most)
        case Substring(pieces):
            return Substring(tuple(json.dumps(piece, ensure_ascii=False)[1:-1] for piece in pieces))
    return pattern
