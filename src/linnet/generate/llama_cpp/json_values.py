"""The values of JSON documents as patterns: texts, numbers, and what stands between them."""

from __future__ import annotations

import json
from collections.abc import Mapping
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
_DATE = r"\d{3}[1-9]-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])"  # days that every month has
_TIME = r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
_HEX = "[0-9a-f]"
_FORMATS = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f"{_DATE}T{_TIME}",
    "uuid": f"{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}",
    "ipv4": r"((25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(25[0-5]|2[0-4]\d|1?\d?\d)",
    "email": r"[\w.+-]{1,40}@[a-z0-9-]{1,30}(\.[a-z0-9-]{1,20}){1,3}",
}

# What stands in a JSON text as it is.
_PLAIN = characters([(0, 0x1F), (0x22, 0x22), (0x5C, 0x5C), (0x7F, 0x7F)], negated=True)


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
    given = schema.get("pattern") or _FORMATS.get(str(schema.get("format")))
    if given is None:
        content: Pattern = Repeated(CHARACTER, least, most)
        if (least, most) == (0, None):
            return Rule("string")
        return Sequenced((Text('"'), content, Text('"')))
    if "pattern" in schema and (least or most is not None):
        raise ConfigError("a JSON Schema's text may have a pattern or bounds of its length")
    return Sequenced((Text('"'), _in_json(regex.read(str(given))), Text('"')))


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
    least, open_below = _bound(schema, "minimum", "exclusiveMinimum", max)
    most, open_above = _bound(schema, "maximum", "exclusiveMaximum", min)
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
    schema: Mapping[str, Any], closed: str, opened: str, stricter: Any
) -> tuple[float | None, bool]:
    values = []
    for key, is_open in ((closed, False), (opened, True)):
        value = schema.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e15:
            raise ConfigError(f"a JSON Schema's {key} must be a number. Got {value!r}")
        values.append((value, is_open))
    if not values:
        return None, False
    found: tuple[float, bool] = stricter(values)
    return found


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
            raise ConfigError(
                f"a JSON Schema's {key} must be at most {regex.MOST_REPEATS:,}. Got {value:,}"
            )
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


def literal(value: Any) -> Text:
    """Just this value."""
    return Text(json.dumps(value, ensure_ascii=False))


def _of(text: str) -> Characters:
    return characters([(ord(character), ord(character)) for character in text])
