"""The values of JSON documents as patterns: texts, numbers, and what stands between them."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from linnet.errors import ConfigError
from linnet.generate.llama_cpp import regex
from linnet.generate.llama_cpp.numerals import integers, numbers
from linnet.generate.llama_cpp.pattern import (
    Characters,
    Either,
    Pattern,
    Repeated,
    Rule,
    Sequenced,
    Text,
    characters,
    overlap,
)

SPACE, CHARACTER, ANY = Rule("space"), Rule("character"), Rule("any")
_YEAR = r"(\d{3}[1-9]|\d\d[1-9]0|\d[1-9]00|[1-9]000)"  # there is no year 0000
_FOURTH = "(0[48]|[2468][048]|[13579][26])"  # of 01 to 99, what four divides
_DATE = (
    rf"({_YEAR}-((0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])|(0[13-9]|1[0-2])-(29|30)|(0[13578]|1[02])-31)"
    rf"|(\d\d{_FOURTH}|{_FOURTH}00)-02-29)"
)
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_HEX = "[0-9a-f]"
_BYTE = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_WORD, _LABEL = r"[\w+-]{1,20}", "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"
_FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    "ipv4": rf"({_BYTE}\.){{3}}{_BYTE}",
    "email": rf"{_WORD}(\.{_WORD}){{0,2}}@{_LABEL}(\.{_LABEL}){{1,3}}",
}

_WIDEST = 10**30
"""A number's bound further from zero is taken as this, which asks for no less."""

# What stands in a JSON text as it is.
_NOT_PLAIN = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F))
_PLAIN = characters(_NOT_PLAIN, negated=True)
_PLAIN_START = re.compile(r'[^\x00-\x1f"\\\x7f]*')
_MOST_PREFIXES = 60


def common_rules() -> dict[str, Pattern]:
    """Rules that every grammar has."""
    hexadecimal = characters([(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)])
    no_surrogate = Either(
        (
            Sequenced(
                (
                    characters(
                        [(0x30, 0x39), (0x41, 0x43), (0x45, 0x46), (0x61, 0x63), (0x65, 0x66)]
                    ),
                    Repeated(hexadecimal, 3, 3),
                )
            ),
            Sequenced((_of("dD"), _of("01234567"), Repeated(hexadecimal, 2, 2))),
        )
    )
    escaped = Either((_of('"\\/bfnrt'), Sequenced((Text("u"), no_surrogate))))
    blanks = Repeated(_of(" \t"), 0, regex.WHITE_SPACE)
    numeral = numbers(None, None, open_below=False, open_above=False)
    assert numeral is not None
    exponent = Sequenced((_of("eE"), Repeated(_of("+-"), 0, 1), Repeated(_of("0123456789"), 1, 2)))
    comma = Sequenced((SPACE, Text(","), SPACE))
    colon = Sequenced((SPACE, Text(":"), SPACE))
    pair = Sequenced((Rule("string"), colon, ANY))
    several_pairs = Sequenced((pair, Repeated(Sequenced((comma, pair)), 0, None)))
    several = Sequenced((ANY, Repeated(Sequenced((comma, ANY)), 0, None)))
    return {
        "space": Either((Text(""), Text(" "), Sequenced((Text("\n"), blanks)))),
        "character": Either((_PLAIN, Sequenced((Text("\\"), escaped)))),
        "string": Sequenced((Text('"'), Repeated(CHARACTER, 0, None), Text('"'))),
        "number": Sequenced((numeral, Repeated(exponent, 0, 1))),
        "object": Sequenced((Text("{"), SPACE, Repeated(several_pairs, 0, 1), SPACE, Text("}"))),
        "array": Sequenced((Text("["), SPACE, Repeated(several, 0, 1), SPACE, Text("]"))),
        "any": Either(
            (
                *map(Rule, ("string", "number", "object", "array")),
                *map(Text, ("true", "false", "null")),
            )
        ),
    }


def string(schema: Mapping[str, Any]) -> Pattern:
    """The texts that a schema allows, in their quotes."""
    least, most = bounds(schema, "minLength", "maxLength")
    pattern = schema.get("pattern")
    if pattern is not None and not isinstance(pattern, str):
        raise ConfigError(f"a JSON Schema's pattern must be a text. Got {json.dumps(pattern)[:60]}")
    given = pattern or _FORMATS.get(str(schema.get("format")))
    if given is None:
        content: Pattern = Repeated(CHARACTER, least, most)
        if (least, most) == (0, None):
            return Rule("string")
        return Sequenced((Text('"'), content, Text('"')))
    content = _within(regex.read(given), least, most)
    shortest, longest = _lengths(content)
    for key, broken in (
        ("minLength", shortest < least),
        ("maxLength", most is not None and (longest is None or longest > most)),
    ):
        if broken:
            raise ConfigError(
                f"a JSON Schema's {key} beside a pattern or format must hold for every text that "
                f"follows it; leave one of them out. Got {schema[key]}"
            )
    return Sequenced((Text('"'), _in_json(content), Text('"')))


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
        made[prefix] = named(Either(tuple(choices)))
    return named(Sequenced((Text('"'), made[""], Text('"'))))


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
        case Rule():
            return 0, None


def _in_json(pattern: Pattern) -> Pattern:
    """A pattern of a text as it is spelt within a JSON document."""
    match pattern:
        case Text(value):
            return Text(json.dumps(value, ensure_ascii=False)[1:-1])
        case Characters():
            found = overlap(pattern, _PLAIN)
            if not found.ranges:
                escaped = [chr(c) for first, last in pattern.ranges for c in range(first, last + 1)]
                return Either(tuple(Text(json.dumps(c)[1:-1]) for c in escaped))
            return found
        case Sequenced(parts):
            return Sequenced(tuple(map(_in_json, parts)))
        case Either(choices):
            return Either(tuple(map(_in_json, choices)))
        case Repeated(part, least, most):
            return Repeated(_in_json(part), least, most)
        case Rule():
            return pattern


def number(schema: Mapping[str, Any], *, whole: bool) -> Pattern:
    """The numbers that a schema allows; ``whole``: without fractions."""
    least, open_below = _bound(schema, "minimum", "exclusiveMinimum", -1)
    most, open_above = _bound(schema, "maximum", "exclusiveMaximum", 1)
    if least is None and most is None and not whole:
        return Rule("number")
    if whole:
        low = None if least is None else -int(-least // 1)
        high = None if most is None else int(most // 1)
        low = low + 1 if low is not None and open_below and low == least else low
        high = high - 1 if high is not None and open_above and high == most else high
        made = integers(low, high)
    else:
        made = numbers(least, most, open_below=open_below, open_above=open_above)
    if made is None:
        raise ConfigError(f"a JSON Schema asks for a number between {least} and {most}")
    return made


def _bound(
    schema: Mapping[str, Any], closed: str, opened: str, side: int
) -> tuple[float | None, bool]:
    """The stricter of two bounds, and whether it is outside; ``side``: 1 for those above."""
    values: list[tuple[float, bool]] = []
    for key, is_open in ((closed, False), (opened, True)):
        value = schema.get(key)
        if value is None:
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or value != value:  # NaN is not itself
            raise ConfigError(
                f"a JSON Schema's {key} must be a number. Got {json.dumps(value)[:60]}"
            )
        if value * side < -_WIDEST:
            raise ConfigError(
                f"a JSON Schema's {key} must be at {'least' if side > 0 else 'most'} "
                f"{-side * 1e30:g}. Got {json.dumps(value)[:30]}"
            )
        values.append((min(value, _WIDEST) if side > 0 else max(value, -_WIDEST), is_open))
    if not values:
        return None, False
    return min(values, key=lambda bound: (bound[0] * side, not bound[1]))


def bounds(schema: Mapping[str, Any], least: str, most: str) -> tuple[int, int | None]:
    """How many there are at least and at most, by the schema's keywords for that."""
    found: list[int | None] = []
    for key in (least, most):
        value = schema.get(key)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or value < 0
        ):
            raise ConfigError(f"a JSON Schema's {key} must be a whole number. Got {value!r}")
        if value is not None and value > regex.MOST_REPEATS:
            if key == least:
                raise ConfigError(
                    f"a JSON Schema's {key} must be at most {regex.MOST_REPEATS:,}. Got {value:,}"
                )
            value = regex.MOST_REPEATS  # fewer are allowed too
        found.append(value)
    low, high = found[0] or 0, found[1]
    if high is not None and high < low:
        raise ConfigError(f"a JSON Schema's {most} must be at least its {least}. Got {high}")
    return low, high


def listed(schema: Mapping[str, Any], key: str, default: Any = None) -> list[Any]:
    """A keyword's list. Raises ConfigError for another value, or none without a ``default``."""
    found = schema.get(key, default)
    if not isinstance(found, list | tuple) or (not found and default is None):
        raise ConfigError(f"a JSON Schema's {key} must be a list. Got {json.dumps(found)[:60]}")
    return list(found)


def names(schema: Mapping[str, Any], key: str) -> list[str]:
    """A keyword's list of names. Raises ConfigError for another value."""
    found = listed(schema, key, ())
    if not all(isinstance(name, str) for name in found):
        raise ConfigError(
            f"a JSON Schema's {key} must be a list of names. Got {json.dumps(found)[:60]}"
        )
    return found


def literal(value: Any) -> Text:
    """Just this value."""
    try:
        return Text(json.dumps(value, ensure_ascii=False, allow_nan=False))
    except ValueError:
        raise ConfigError("a JSON Schema's values must be ones that JSON has, unlike NaN") from None


def is_in_bounds(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a value keeps a schema's bounds of numbers, or of lengths."""
    match value:
        case bool():
            return True
        case int() | float():
            least, open_below = _bound(schema, "minimum", "exclusiveMinimum", -1)
            most, open_above = _bound(schema, "maximum", "exclusiveMaximum", 1)
            return not (
                (least is not None and (value < least or (open_below and value == least)))
                or (most is not None and (value > most or (open_above and value == most)))
            )
        case str() | list():
            unit = "Length" if isinstance(value, str) else "Items"
            fewest, furthest = bounds(schema, f"min{unit}", f"max{unit}")
            return fewest <= len(value) and (furthest is None or len(value) <= furthest)
    return True


def kinds_of(value: Any) -> tuple[str, ...]:
    """What a schema may call the type of a value."""
    match value:
        case None:
            return ("null",)
        case bool():
            return ("boolean",)
        case int():
            return ("number", "integer")
        case float():
            return ("number", "integer") if value.is_integer() else ("number",)
        case str():
            return ("string",)
        case list():
            return ("array",)
    return ("object",)


def _of(text: str) -> Characters:
    return characters([(ord(character), ord(character)) for character in text])
