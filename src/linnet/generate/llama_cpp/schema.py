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
from linnet.generate.llama_cpp.json_values import (
    ANY,
    SPACE,
    bounds,
    common_rules,
    listed,
    literal,
    number,
    string,
)
from linnet.generate.llama_cpp.pattern import Either, Pattern, Repeated, Rule, Sequenced, Text

MOST_RULES = 5_000
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
        self.rules.update(common_rules())
        self.rules[_ROOT] = self._value(self.schema, 0)
        return self.rules

    def _value(self, schema: Any, depth: int) -> Pattern:
        if depth > DEPTH:
            raise ConfigError(f"a JSON Schema must be nested at most {DEPTH} deep")
        if schema is True or schema == {}:
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
        if "const" in schema:
            return literal(schema["const"])
        if "enum" in schema:
            return Either(tuple(map(literal, listed(schema, "enum"))))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                rest = {name: value for name, value in schema.items() if name != key}
                choices = (self._merged([rest, choice], depth) for choice in listed(schema, key))
                return Either(tuple(self._value(choice, depth + 1) for choice in choices))
        if "allOf" in schema:
            rest = {name: value for name, value in schema.items() if name != "allOf"}
            return self._value(self._merged([rest, *listed(schema, "allOf")], depth), depth + 1)
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
            most = len(first)
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
        properties = schema.get("properties", {})
        required = set(listed(schema, "required", ()))
        if not isinstance(properties, dict):
            raise ConfigError("a JSON Schema's properties must be an object")
        more = schema.get("additionalProperties", not properties)
        for name in sorted(required - properties.keys()):
            given = schema.get("additionalProperties", True)
            if given is False:
                raise ConfigError(f"a JSON Schema requires '{name}' and does not allow it")
            properties = {**properties, name: given}
        colon = Sequenced((SPACE, Text(":"), SPACE))
        pairs = [
            (Sequenced((literal(name), colon, self._value(entry, depth + 1))), name in required)
            for name, entry in properties.items()
        ]
        extra = None
        if more is not False:
            extra = Sequenced((Rule("string"), colon, self._value(more, depth + 1)))
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
