"""JSON Schemas as grammars: every text of the grammar is a document that the schema allows.

Not every document that it allows is one of the grammar: properties come in the order in
which the schema has them, others only where it says so, and white space is bounded. A
keyword that a grammar cannot hold to is refused by name; what only explains is passed over.

Reference: https://json-schema.org/draft/2020-12.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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

MOST_RULES = 5_000
DEPTH = 60
_ROOT = "root"
_SPACE, _CHARACTER, _ANY = Rule("space"), Rule("character"), Rule("any")

_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_PASSED_OVER = {
    "$schema", "$id", "$comment", "$defs", "definitions", "$anchor", "title", "description",
    "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "contentEncoding",
    "contentMediaType", "strict", "nullable", "discriminator", "type", "additionalItems",
}  # fmt: skip
_KNOWN = {
    "enum", "const", "anyOf", "oneOf", "allOf", "$ref", "properties", "required",
    "additionalProperties", "items", "prefixItems", "minItems", "maxItems", "minLength",
    "maxLength", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum",
}  # fmt: skip
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


def rules_of(schema: Any) -> dict[str, Pattern]:
    """The rules of a schema by name, ``root`` first. Raises ConfigError for what cannot be kept."""
    return _Converter(schema).convert()


class _Converter:
    """Makes a rule for each object, and for each place that is referred to."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.rules: dict[str, Pattern] = {}
        self.referred: dict[str, Rule] = {}

    def convert(self) -> dict[str, Pattern]:
        self.rules[_ROOT] = Text("")  # so that it stands first
        self.rules.update(_common())
        self.rules[_ROOT] = self._value(self.schema, 0)
        return self.rules

    def _value(self, schema: Any, depth: int) -> Pattern:
        if depth > DEPTH:
            raise ConfigError(f"a JSON Schema must be nested at most {DEPTH} deep")
        if schema is True or schema == {}:
            return _ANY
        if not isinstance(schema, dict):
            raise ConfigError(f"a JSON Schema must be an object. Got {json.dumps(schema)[:60]}")
        _require_known(schema)
        if "$ref" in schema:
            return self._referred(schema["$ref"], depth)
        if "const" in schema:
            return _literal(schema["const"])
        if "enum" in schema:
            return Either(tuple(map(_literal, _list(schema, "enum"))))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                rest = {name: value for name, value in schema.items() if name != key}
                choices = (self._merged([rest, choice], depth) for choice in _list(schema, key))
                return Either(tuple(self._value(choice, depth + 1) for choice in choices))
        if "allOf" in schema:
            rest = {name: value for name, value in schema.items() if name != "allOf"}
            return self._value(self._merged([rest, *_list(schema, "allOf")], depth), depth + 1)
        return self._of_types(schema, depth)

    def _of_types(self, schema: Mapping[str, Any], depth: int) -> Pattern:
        found = schema.get("type", _guessed(schema))
        kinds = found if isinstance(found, list) else [found]
        if schema.get("nullable") is True:
            kinds = [*kinds, "null"]
        for kind in kinds:
            if kind not in _TYPES:
                raise ConfigError(
                    f"a JSON Schema's type must be one of {', '.join(_TYPES)}. Got {kind!r}"
                )
        made = tuple(self._of_type(kind, schema, depth) for kind in dict.fromkeys(kinds))
        return made[0] if len(made) == 1 else Either(made)

    def _of_type(self, kind: str, schema: Mapping[str, Any], depth: int) -> Pattern:
        match kind:
            case "null":
                return Text("null")
            case "boolean":
                return Either((Text("true"), Text("false")))
            case "string":
                return _string(schema)
            case "array":
                return self._array(schema, depth)
            case "object":
                return self._object(schema, depth)
        return _number(schema, whole=kind == "integer")

    def _array(self, schema: Mapping[str, Any], depth: int) -> Pattern:
        first = [self._value(entry, depth + 1) for entry in _list(schema, "prefixItems", ())]
        least, most = _bounds(schema, "minItems", "maxItems")
        items = schema.get("items", not first)
        if first:
            least = max(least, len(first))
        if items is False:
            most = len(first)
        if most is not None and most < least:
            raise ConfigError(f"an array must have at most {most} items and at least {least}")
        comma = Sequenced((_SPACE, Text(","), _SPACE))
        separated = [part for entry in first for part in (comma, entry)][1:]
        parts: list[Pattern] = [*separated]
        if most is None or most > len(first):
            item = self._named(self._value(items, depth + 1))
            more_least = least - len(first)
            more_most = None if most is None else most - len(first)
            if first:
                parts.append(Repeated(Sequenced((comma, item)), more_least, more_most))
            else:
                rest = Repeated(
                    Sequenced((comma, item)),
                    max(more_least - 1, 0),
                    None if more_most is None else more_most - 1,
                )
                some = Sequenced((item, rest))
                parts.append(some if more_least else Repeated(some, 0, 1))
        return Sequenced((Text("["), _SPACE, *parts, _SPACE, Text("]")))

    def _object(self, schema: Mapping[str, Any], depth: int) -> Pattern:
        properties = schema.get("properties", {})
        required = set(_list(schema, "required", ()))
        if not isinstance(properties, dict):
            raise ConfigError("a JSON Schema's properties must be an object")
        more = schema.get("additionalProperties", not properties)
        for name in sorted(required - properties.keys()):
            if more is False:
                raise ConfigError(f"a JSON Schema requires '{name}' and does not allow it")
            properties = {**properties, name: more}
        colon = Sequenced((_SPACE, Text(":"), _SPACE))
        pairs = [
            (Sequenced((_literal(name), colon, self._value(entry, depth + 1))), name in required)
            for name, entry in properties.items()
        ]
        extra = None
        if more is not False:
            extra = Sequenced((Rule("string"), colon, self._value(more, depth + 1)))
        return Sequenced((Text("{"), _SPACE, self._pairs(pairs, extra), Text("}")))

    def _pairs(self, pairs: Sequence[tuple[Pattern, bool]], extra: Pattern | None) -> Pattern:
        """Properties in order, those that are not required left out or not; then others.

        A rule for each place to begin, as the first that is written has no comma before it.
        """
        comma = Sequenced((Text(","), _SPACE))
        ending: Pattern = Text("")
        beginning: Pattern = Text("")
        if extra is not None:
            other = Sequenced((extra, _SPACE))
            ending = Repeated(Sequenced((comma, other)), 0, None)
            beginning = Repeated(Sequenced((other, ending)), 0, 1)
        for pair, is_required in reversed(pairs):
            after = self._named(ending)
            with_it: Pattern = self._named(Sequenced((pair, _SPACE, after)))
            continued = Sequenced((comma, with_it))
            if is_required:
                ending, beginning = continued, with_it
            else:
                ending, beginning = Either((continued, after)), Either((with_it, beginning))
            beginning = self._named(beginning)
        return beginning

    def _named(self, pattern: Pattern) -> Pattern:
        """A pattern under a name of its own, so that it is written once."""
        if isinstance(pattern, Text | Rule):
            return pattern
        if len(self.rules) >= MOST_RULES:
            raise ConfigError(f"a JSON Schema must need at most {MOST_RULES:,} rules")
        name = f"part-{len(self.rules)}"
        self.rules[name] = pattern
        return Rule(name)

    def _referred(self, reference: Any, depth: int) -> Pattern:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise ConfigError(f"a JSON Schema may refer to itself only (#/...). Got {reference!r}")
        if reference not in self.referred:
            name = f"reference-{len(self.referred)}"
            self.referred[reference] = Rule(name)
            self.rules[name] = Text("")
            self.rules[name] = self._value(self._found(reference), depth + 1)
            if self.rules[name] == self.referred[reference]:
                raise ConfigError(f"a JSON Schema refers to itself without end: {reference}")
        return self.referred[reference]

    def _found(self, reference: str) -> Any:
        place = self.schema
        for step in reference.removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            if not isinstance(place, dict) or key not in place:
                raise ConfigError(f"a JSON Schema refers to {reference}, which it has not")
            place = place[key]
        return place

    def _merged(self, schemas: Sequence[Any], depth: int) -> Any:
        """One schema that asks for all that these do."""
        merged: dict[str, Any] = {}
        for schema in schemas:
            if isinstance(schema, dict) and set(schema) == {"$ref"} and len(schemas) > 1:
                schema = self._found(str(schema["$ref"])) if merged else schema
            if schema is True:
                continue
            if not isinstance(schema, dict):
                raise ConfigError("a JSON Schema in allOf, anyOf or oneOf must be an object")
            for key, value in schema.items():
                if key == "properties" and key in merged:
                    merged[key] = {**merged[key], **value}
                elif key == "required" and key in merged:
                    merged[key] = [*merged[key], *value]
                elif key in merged and merged[key] != value and key not in _PASSED_OVER - {"type"}:
                    raise ConfigError(f"a JSON Schema asks for two kinds of '{key}' at one place")
                else:
                    merged[key] = value
        return merged


def _common() -> dict[str, Pattern]:
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
    number = numbers(None, None, open_below=False, open_above=False)
    assert number is not None
    exponent = Sequenced((_of("eE"), Repeated(_of("+-"), 0, 1), Repeated(_of("0123456789"), 1, 2)))
    comma = Sequenced((_SPACE, Text(","), _SPACE))
    colon = Sequenced((_SPACE, Text(":"), _SPACE))
    pair = Sequenced((Rule("string"), colon, _ANY))
    several_pairs = Sequenced((pair, Repeated(Sequenced((comma, pair)), 0, None)))
    several = Sequenced((_ANY, Repeated(Sequenced((comma, _ANY)), 0, None)))
    return {
        "space": Either((Text(""), Text(" "), Sequenced((Text("\n"), blanks)))),
        "character": Either((_PLAIN, Sequenced((Text("\\"), escaped)))),
        "string": Sequenced((Text('"'), Repeated(_CHARACTER, 0, None), Text('"'))),
        "number": Sequenced((number, Repeated(exponent, 0, 1))),
        "object": Sequenced((Text("{"), _SPACE, Repeated(several_pairs, 0, 1), _SPACE, Text("}"))),
        "array": Sequenced((Text("["), _SPACE, Repeated(several, 0, 1), _SPACE, Text("]"))),
        "any": Either(
            (
                *map(Rule, ("string", "number", "object", "array")),
                *map(Text, ("true", "false", "null")),
            )
        ),
    }


def _string(schema: Mapping[str, Any]) -> Pattern:
    least, most = _bounds(schema, "minLength", "maxLength")
    given = schema.get("pattern") or _FORMATS.get(str(schema.get("format")))
    if given is None:
        content: Pattern = Repeated(_CHARACTER, least, most)
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


def _number(schema: Mapping[str, Any], *, whole: bool) -> Pattern:
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


def _bounds(schema: Mapping[str, Any], least: str, most: str) -> tuple[int, int | None]:
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


def _guessed(schema: Mapping[str, Any]) -> Any:
    """The type that a schema means which does not name it."""
    for kind, keys in (
        ("object", ("properties", "required", "additionalProperties")),
        ("array", ("items", "prefixItems", "minItems", "maxItems")),
        ("string", ("pattern", "minLength", "maxLength", "format")),
        ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")),
    ):
        if any(key in schema for key in keys):
            return kind
    return list(_TYPES)


def _list(schema: Mapping[str, Any], key: str, default: Any = None) -> list[Any]:
    found = schema.get(key, default)
    if not isinstance(found, list | tuple) or (not found and default is None):
        raise ConfigError(f"a JSON Schema's {key} must be a list. Got {json.dumps(found)[:60]}")
    return list(found)


def _literal(value: Any) -> Text:
    return Text(json.dumps(value, ensure_ascii=False))


def _of(text: str) -> Characters:
    return characters([(ord(character), ord(character)) for character in text])


def _require_known(schema: Mapping[str, Any]) -> None:
    for key in schema:
        if key not in _KNOWN and key not in _PASSED_OVER and not key.startswith("x-"):
            raise ConfigError(f"a JSON Schema's '{key}' is not supported; leave it out")
