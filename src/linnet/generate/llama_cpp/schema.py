"""JSON Schemas as grammars: every text of the grammar is a document that the schema allows.

Not every document that it allows is one of the grammar: properties come in the order in
which the schema has them, others only where it says so, and white space is bounded. A
keyword that a grammar cannot hold to is refused by name; what only explains is passed over,
as is a ``format`` that is not known or stands beside a ``pattern``.

What is not looked at: whether a text fits more than one of ``oneOf``, and, beside ``enum`` and
``const``, keywords other than ``type`` and bounds of numbers and lengths.

Reference: https://json-schema.org/draft/2020-12.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from linnet.errors import ConfigError
from linnet.generate.llama_cpp.json_values import (
    ANY,
    SPACE,
    bounds,
    common_rules,
    free_key,
    is_in_bounds,
    kinds_of,
    listed,
    literal,
    names,
    number,
    string,
)
from linnet.generate.llama_cpp.pattern import (
    Either,
    Pattern,
    Repeated,
    Rule,
    Sequenced,
    Text,
    either,
)

MOST_RULES = 5_000
MOST_PLACES = 50_000
DEPTH = 60
_ROOT = "root"

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
_ONLY_EXPLAINED = _PASSED_OVER - {"type", "nullable", "additionalItems"}
_BOUNDS: dict[str, Any] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems"), min),
}
_ITEMS = ("items", "prefixItems", "additionalItems")


def rules_of(schema: Any) -> dict[str, Pattern]:
    """The rules of a schema by name, ``root`` first. Raises ConfigError for what cannot be kept."""
    return _Converter(schema).convert()


class _Converter:
    """Makes a rule for each object, and for each place that is referred to."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.rules: dict[str, Pattern] = {}
        self.referred: dict[str, Rule] = {}
        self.places = 0

    def convert(self) -> dict[str, Pattern]:
        self.rules[_ROOT] = Text("")  # so that it stands first
        self.rules.update(common_rules())
        self.rules[_ROOT] = self._value(self.schema, 0)
        return self.rules

    def _value(self, schema: Any, depth: int) -> Pattern:
        if depth > DEPTH:
            raise ConfigError(f"a JSON Schema must be nested at most {DEPTH} deep")
        self.places += 1
        if self.places > MOST_PLACES:  # a few that refer to each other can mean billions
            raise ConfigError(f"a JSON Schema must have at most {MOST_PLACES:,} parts")
        if _is_open(schema):
            return ANY
        if not isinstance(schema, dict):
            raise ConfigError(f"a JSON Schema must be an object. Got {json.dumps(schema)[:60]}")
        _require_known(schema)
        if "$ref" in schema:
            more = {name: schema[name] for name in schema.keys() & (_KNOWN | {"type"}) - {"$ref"}}
            if not more:
                return self._referred(schema["$ref"], depth)
            merged = self._merged([more, {"$ref": schema["$ref"]}], depth)
            return self._value(merged, depth + 1)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                rest = {name: value for name, value in schema.items() if name != key}
                choices = (self._merged([rest, choice], depth) for choice in listed(schema, key))
                return Either(tuple(self._value(choice, depth + 1) for choice in choices))
        if "allOf" in schema:
            rest = {name: value for name, value in schema.items() if name != "allOf"}
            return self._value(self._merged([rest, *listed(schema, "allOf")], depth), depth + 1)
        if "const" in schema or "enum" in schema:
            return either(tuple(_values(schema)))
        return self._of_types(schema, depth)

    def _of_types(self, schema: Mapping[str, Any], depth: int) -> Pattern:
        found = schema.get("type", _guessed(schema))
        kinds = _kinds(found, schema)
        made = tuple(self._of_type(kind, schema, depth) for kind in dict.fromkeys(kinds))
        return made[0] if len(made) == 1 else Either(made)

    def _of_type(self, kind: str, schema: Mapping[str, Any], depth: int) -> Pattern:
        match kind:
            case "null":
                return Text("null")
            case "boolean":
                return Either((Text("true"), Text("false")))
            case "string":
                return string(schema)
            case "array":
                return self._array(schema, depth)
            case "object":
                return self._object(schema, depth)
        return number(schema, whole=kind == "integer")

    def _array(self, schema: Mapping[str, Any], depth: int) -> Pattern:
        if isinstance(schema.get("items"), list):  # as drafts before 2020 have it
            schema = {**schema, "prefixItems": schema["items"]}
            schema["items"] = schema.get("additionalItems", False)
        first = [self._value(entry, depth + 1) for entry in listed(schema, "prefixItems", ())]
        least, most = bounds(schema, "minItems", "maxItems")
        items = schema.get("items", not first)
        if first:
            least = max(least, len(first))
        if items is False:
            most = len(first) if most is None else min(most, len(first))
        if most is not None and most < least:
            raise ConfigError(f"an array must have at most {most} items and at least {least}")
        comma = Sequenced((SPACE, Text(","), SPACE))
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
        return Sequenced((Text("["), SPACE, *parts, SPACE, Text("]")))

    def _object(self, schema: Mapping[str, Any], depth: int) -> Pattern:
        properties = _properties(schema)
        required = set(names(schema, "required"))
        more = schema.get("additionalProperties", not properties)
        for name in sorted(required - properties.keys()):
            properties = {**properties, name: schema.get("additionalProperties", True)}
        colon = Sequenced((SPACE, Text(":"), SPACE))
        pairs = []
        for name, entry in properties.items():
            if entry is not False:
                pair = Sequenced((literal(name), colon, self._value(entry, depth + 1)))
                pairs.append((pair, name in required))
            elif name in required:
                raise ConfigError(f"a JSON Schema requires '{name}' and does not allow it")
        extra = None
        if more is not False:
            key = free_key(properties.keys(), self._named)
            extra = Sequenced((key, colon, self._value(more, depth + 1)))
        return Sequenced((Text("{"), SPACE, self._pairs(pairs, extra), Text("}")))

    def _pairs(self, pairs: Sequence[tuple[Pattern, bool]], extra: Pattern | None) -> Pattern:
        """Properties in order, those that are not required left out or not; then others.

        A rule for each place to begin, as the first that is written has no comma before it.
        """
        comma = Sequenced((Text(","), SPACE))
        ending: Pattern = Text("")
        beginning: Pattern = Text("")
        if extra is not None:
            other = Sequenced((extra, SPACE))
            ending = Repeated(Sequenced((comma, other)), 0, None)
            beginning = Repeated(Sequenced((other, ending)), 0, 1)
        for pair, is_required in reversed(pairs):
            after = self._named(ending)
            with_it: Pattern = self._named(Sequenced((pair, SPACE, after)))
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
        found = self._found(reference)
        if reference not in self.referred:
            name = f"reference-{len(self.referred)}"
            self.referred[reference] = Rule(name)
            self.rules[name] = Text("")
            self.rules[name] = self._value(found, depth + 1)
            if self.rules[name] == self.referred[reference]:
                raise ConfigError(f"a JSON Schema refers to itself without end: {reference}")
        return self.referred[reference]

    def _found(self, reference: Any) -> Any:
        if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
            raise ConfigError(
                f"a JSON Schema may refer to itself only (#/...). Got {json.dumps(reference)[:60]}"
            )
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
                schema = self._found(schema["$ref"]) if merged else schema
            if schema is True:
                continue
            if not isinstance(schema, dict):
                raise ConfigError("a JSON Schema in allOf, anyOf or oneOf must be an object")
            together = _object_keywords(merged, schema)
            _require_one_kind_of_items(merged, schema)
            for key, value in schema.items():
                if key in together:
                    continue
                if key in merged and merged[key] != value and key not in _ONLY_EXPLAINED:
                    value = _combined(key, merged, schema)
                merged[key] = value
            merged.update(together)
        return merged


def _combined(key: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> Any:
    """What a keyword must say to ask for what it does in both schemas."""
    found: Any = None
    match key:
        case "required":
            return [*names(one, key), *names(other, key)]
        case "allOf":
            return [*listed(one, key), *listed(other, key)]
        case "enum":
            allowed = [literal(value) for value in listed(other, key)]
            found = [value for value in listed(one, key) if literal(value) in allowed]
        case "type":
            first, second = (_kinds(schema[key], {}) for schema in (one, other))
            found = [kind for kind in first if kind in second]
            for kinds, others in ((first, second), (second, first)):
                if "integer" in kinds and "number" in others and "integer" not in found:
                    found.append("integer")  # a kind of number
        case _ if key in _BOUNDS and all(type(s[key]) in (int, float) for s in (one, other)):
            return _BOUNDS[key](one[key], other[key])
    if not found:
        raise ConfigError(f"a JSON Schema asks for two kinds of '{key}' at one place")
    return found


def _object_keywords(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """``properties`` and ``additionalProperties`` that ask for what those of both schemas do.

    What a schema says of additional ones is said of each property that it does not name.
    """
    first, second = _properties(one), _properties(other)
    more = [schema.get("additionalProperties", True) for schema in (one, other)]
    found: dict[str, Any] = {}
    if "properties" in one or "properties" in other:
        found["properties"] = {
            name: _both(first.get(name, more[0]), second.get(name, more[1]))
            for name in {**first, **second}
        }
    if "additionalProperties" in one or "additionalProperties" in other:
        found["additionalProperties"] = _both(*more)
    return found


def _both(one: Any, other: Any) -> Any:
    """A schema that asks for what both do."""
    if one is False or other is False:
        return False
    if _is_open(one) or one == other:
        return other
    return one if _is_open(other) else {"allOf": [one, other]}


def _require_one_kind_of_items(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """``items`` is said of those behind ``prefixItems``: the two belong together."""
    found = [{key: schema[key] for key in _ITEMS if key in schema} for schema in (one, other)]
    if all(found) and found[0] != found[1]:
        raise ConfigError("a JSON Schema asks for two kinds of 'items' at one place")


def _properties(schema: Mapping[str, Any]) -> dict[str, Any]:
    found = schema.get("properties", {})
    if not isinstance(found, dict):
        raise ConfigError("a JSON Schema's properties must be an object")
    return found


def _is_open(schema: Any) -> bool:
    """Whether a schema allows every value."""
    return schema is True or schema == {}


def _values(schema: Mapping[str, Any]) -> list[Text]:
    """The values that ``enum`` and ``const`` leave, of the type and in the bounds beside them."""
    found = [literal(value) for value in listed(schema, "enum")] if "enum" in schema else None
    values = [schema["const"]] if "const" in schema else schema["enum"]
    kinds = set(_kinds(schema.get("type", list(_TYPES)), schema))
    fitting = [
        literal(value)
        for value in values
        if kinds.intersection(kinds_of(value)) and is_in_bounds(value, schema)
    ]
    left = [value for value in fitting if found is None or value in found]
    if not left:
        raise ConfigError("a JSON Schema's enum or const must have a value of its type and bounds")
    return left


def _kinds(found: Any, schema: Mapping[str, Any]) -> list[str]:
    """Names of types, as ``type`` has them. Raises ConfigError for others."""
    kinds = found if isinstance(found, list) and found else [found]
    for kind in kinds:
        if kind not in _TYPES:
            raise ConfigError(
                f"a JSON Schema's type must be one of {', '.join(_TYPES)}. Got {kind!r}"
            )
    return [*kinds, "null"] if schema.get("nullable") is True else kinds


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


def _require_known(schema: Mapping[str, Any]) -> None:
    for key in schema:
        if key not in _KNOWN and key not in _PASSED_OVER and not key.startswith("x-"):
            raise ConfigError(f"a JSON Schema's '{key}' is not supported; leave it out")
