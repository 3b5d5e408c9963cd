"""A JSON Schema, read: what its keywords ask of the values at one place.

All schemas that hold at a place (``allOf``, ``$ref`` and what stands beside it) are gathered to one
:class:`Place`. Keywords that the specification does not know are annotations and change nothing.

Reference: https://json-schema.org/draft/2020-12, and the drafts before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from linnet.errors import ConfigError
from linnet.generate.constraint import OF
from linnet.generate.constraints.json_values import FORMATS, MOST_ITEMS, WIDEST
from linnet.generate.constraints.substring import Passages

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
_GUESSES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("object", ("properties", "required", "additionalProperties", "patternProperties",
                "minProperties", "maxProperties", "propertyNames", "dependencies",
                "dependentRequired", "dependentSchemas", "unevaluatedProperties")),
    ("array", ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems",
               "contains", "unevaluatedItems")),
    ("string", ("pattern", "minLength", "maxLength", OF)),
    ("number", ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")),
)  # fmt: skip
_SCHEMAS = ("additionalProperties", "additionalItems", "items", "contains", "not", "if", "then",
            "else", "propertyNames", "unevaluatedProperties", "unevaluatedItems")  # fmt: skip
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
_SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas",
                "dependencies")  # fmt: skip
_NUMBER_BOUNDS = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}
_REFUSED = ("$dynamicRef", "$recursiveRef", "maxContains", "unevaluatedItems",
            "unevaluatedProperties")  # fmt: skip

DEPTH = 64
"""Schemas within each other."""
MISSING: Any = object()
"""Where a keyword is not there."""
ADDED: Any = object()
"""What a schema of our own says of properties that it does not name."""


class Place:
    """All that is asked of the values at one place."""

    def __init__(self) -> None:
        self.schemas: list[Any] = []
        self.never = False
        self.types: frozenset[str] | None = None
        self.values: list[Any] | None = None
        self.bounds: dict[str, float] = {}
        self.multiples: list[float] = []
        self.patterns: list[str] = []
        self.formats: list[str] = []
        self.passages: list[Passages] = []
        self.not_patterns: list[str] = []
        self.not_values: list[str] = []
        self.not_numbers: list[float] = []
        self.arrays: list[tuple[list[Any], Any]] = []
        self.contained: list[tuple[Any, int]] = []
        self.unique = False
        self.objects: list[tuple[dict[str, Any], dict[str, Any], Any]] = []
        self.required: list[str] = []
        self.names: list[Any] = []
        self.choices: list[tuple[bool, list[Any]]] = []
        self.nots: list[Any] = []
        self.conditions: list[tuple[Any, Any, Any]] = []
        self.dependents: list[tuple[str, Any]] = []

    def copied(self) -> Place:
        found = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, list | dict):
                setattr(found, name, value.copy())
        return found

    def of(self, kind: str) -> Place:
        """The same for one type alone."""
        found = self.copied()
        found.types = frozenset((kind,))
        return found

    def at_least(self, key: str, value: float) -> None:
        self.bounds[key] = max(value, self.bounds.get(key, value))

    def at_most(self, key: str, value: float) -> None:
        self.bounds[key] = min(value, self.bounds.get(key, value))

    def possible(self) -> set[str]:
        """Properties that an object may have here, as far as they have names."""
        return {*(name for properties, _, _ in self.objects for name in properties), *self.required}

    def guessed(self) -> frozenset[str]:
        """The types that schemas mean which do not name them."""
        words = {key for schema in self.schemas if isinstance(schema, dict) for key in schema}
        for kind, keys in _GUESSES:
            if words.intersection(keys):
                return frozenset((kind,))
        if any(name in FORMATS for name in self.formats):
            return frozenset(("string",))
        return frozenset(TYPES) - {"integer"}

    def item(self, number: int) -> list[Any]:
        """What is asked of the item at this place in an array."""
        asked = [
            first[number] if number < len(first) else rest
            for first, rest in self.arrays
            if number < len(first) or rest is not MISSING
        ]
        return asked + [schema for schema, wanted in self.contained if number < wanted]

    def asks_nothing(self, kind: str) -> bool:
        """Whether all values of a type are allowed."""
        if self.values is not None or self.choices or self.nots or self.conditions:
            return False
        bounds = {"string": "Length", "array": "Items", "object": "Properties"}.get(kind)
        if bounds is None:
            return not self.bounds.keys() & _NUMBER_BOUNDS and not self.multiples
        if any(name.endswith(bounds) for name in self.bounds):
            return False
        match kind:
            case "string":
                return not (self.patterns or self.formats or self.passages)
            case "array":
                return not (self.arrays or self.contained or self.unique)
        return not (self.objects or self.required or self.names
                    or self.dependents)  # fmt: skip


class SchemaReader:
    """Gathers schemas of one document, and follows its references."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self._kept: list[Any] = []
        self._made_up: dict[Any, dict[str, Any]] = {}
        self._own: set[int] = set()
        self._referring: list[Any] = []
        self._resources: dict[str, Any] = {}
        self._bases: dict[int, str] = {}
        self._index(schema, "")

    def keep(self, schema: Any) -> None:
        """Have no other schema take this one's ``id``."""
        self._kept.append(schema)

    def place(self, schemas: Sequence[Any]) -> Place:
        """What all of these schemas ask together."""
        found = Place()
        for schema in schemas:
            self.add(found, schema)
        return found

    def split(self, place: Place) -> list[Place]:
        """The places that one of its alternatives makes."""
        rest = place.copied()
        if place.choices:
            exclusive, alternatives = rest.choices.pop()
            found = []
            for number_, own in enumerate(alternatives):
                one = rest.copied()
                self.add(one, own)
                others = [*alternatives[:number_], *alternatives[number_ + 1 :]]
                if exclusive and any(other == own for other in others):
                    continue  # never just one of them
                one.nots += others if exclusive else []
                one.schemas += [self.negated(other) for other in others] if exclusive else []
                found.append(one)
            return found
        if place.conditions:
            condition, then, otherwise = rest.conditions.pop()
            one, other = rest, rest.copied()
            self.add(one, condition)
            self.add(one, then)
            self.add(other, self.negated(condition))
            self.add(other, otherwise)
            return [one, other]
        name, schema = rest.dependents.pop()
        one, other = rest, rest.copied()
        self.add(one, self.made_up(("required", name), {"required": [name]}))
        self.add(one, schema)
        self.add(other, self.forbidden(name))
        return [other] if name not in place.possible() else [one, other]

    def add(self, place: Place, schema: Any) -> None:
        """Have a schema hold at a place as well."""
        if schema is True:
            return
        if schema is False:
            place.never = True
            return
        if not isinstance(schema, dict):
            raise ConfigError(f"a JSON Schema must be an object. Got {json.dumps(schema)[:60]}")
        if any(known is schema for known in place.schemas):
            return
        place.schemas.append(schema)
        if len(place.schemas) > 200:
            raise ConfigError("a JSON Schema must have at most 200 schemas hold at one place")
        for key in _REFUSED:
            if schema.get(key, True) is not True:
                raise ConfigError(f"a JSON Schema's '{key}' is not supported; leave it out")
        if "$ref" in schema:
            target = self.referred(schema)
            if any(target is one for one in self._referring) or target is schema:
                raise ConfigError(
                    f"a JSON Schema refers to itself without end: {str(schema['$ref'])[:60]}"
                )
            self._referring += [schema, target]
            self.add(place, target)
            del self._referring[-2:]
        for one in listed(schema, "allOf", ()):
            self.add(place, one)
        _add_general(place, schema)
        add_scalars(place, schema)
        add_array(place, schema)
        self.add_object(place, schema)

    def add_object(self, place: Place, schema: Mapping[str, Any]) -> None:
        properties, patterns = mapped(schema, "properties"), mapped(schema, "patternProperties")
        more = schema.get("additionalProperties", MISSING)
        if properties or patterns or more is not MISSING:
            added = more is MISSING and id(schema) in self._own
            place.objects.append((properties, patterns, ADDED if added else more))
        required = schema.get("required")
        if required is not None and not isinstance(required, bool):
            place.required += [
                one for one in names(schema, "required") if one not in place.required
            ]
        for name, entry in properties.items():  # as draft 3 has it
            if isinstance(entry, dict) and entry.get("required") is True:
                place.required.append(name)
        if "propertyNames" in schema:
            place.names.append(schema["propertyNames"])
        for key in ("dependencies", "dependentSchemas", "dependentRequired"):
            for name, asked in mapped(schema, key).items():
                if isinstance(asked, list):
                    asked = self.made_up(("required", *map(str, asked)), {"required": asked})
                elif isinstance(asked, str):
                    asked = self.made_up(("required", asked), {"required": [asked]})
                place.dependents.append((name, asked))

    def made_up(self, key: Any, schema: dict[str, Any]) -> dict[str, Any]:
        """A schema of our own, the same object for the same ``key``."""
        found = self._made_up.setdefault(key, schema)
        self._own.add(id(found))
        return found

    def negated(self, schema: Any) -> Any:
        self.keep(schema)
        return self.made_up(("not", id(schema)), {"not": schema})

    def forbidden(self, name: str) -> Any:
        return self.made_up(("forbidden", name), {"properties": {name: False}})

    def _index(self, schema: Any, base: str) -> None:
        """Note what names a schema has, and what its own references begin from."""
        todo: list[tuple[Any, str]] = [(schema, base)]
        self._resources[""] = schema
        while todo:
            one, base = todo.pop()
            if not isinstance(one, dict) or id(one) in self._bases:
                continue
            for key in ("$id", "id"):
                if isinstance(one.get(key), str):
                    base = _joined(base, one[key])
                    self._resources.setdefault(base.removesuffix("#"), one)
            self._bases[id(one)] = base
            anchor = one.get("$anchor")
            if isinstance(anchor, str):
                self._resources.setdefault(f"{urldefrag(base)[0]}#{anchor}", one)
            inner: list[Any] = [one[key] for key in _SCHEMAS if key in one]
            for key in _SCHEMA_LISTS:
                inner += one[key] if isinstance(one.get(key), list) else []
            for key in _SCHEMA_MAPS:
                inner += one[key].values() if isinstance(one.get(key), dict) else []
            todo += [(child, base) for child in inner]

    def referred(self, schema: Mapping[str, Any]) -> Any:
        reference = schema["$ref"]
        if not isinstance(reference, str):
            raise ConfigError(
                f"a JSON Schema's $ref must be a text. Got {json.dumps(reference)[:60]}"
            )
        if reference.startswith("#"):
            base = urldefrag(self._bases.get(id(schema), ""))[0]
            whole = f"{base}{reference}"
        else:
            whole = _joined(self._bases.get(id(schema), ""), reference)
        whole = whole.removesuffix("#")
        if whole in self._resources:
            return self._resources[whole]
        place, _, fragment = whole.partition("#")
        if place not in self._resources:
            raise ConfigError(
                f"a JSON Schema may refer to itself only (#/...). Got {json.dumps(reference)[:60]}"
            )
        if fragment and not fragment.startswith("/"):
            raise ConfigError(f"a JSON Schema refers to {reference[:60]}, which it has not")
        found = self._pointed(self._resources[place], fragment)
        if found is MISSING and place:
            found = self._pointed(self.schema, fragment)
        if found is MISSING:
            raise ConfigError(f"a JSON Schema refers to {reference[:60]}, which it has not")
        if isinstance(found, dict) and id(found) not in self._bases:
            self._index_more(found, place)
        return found

    def _index_more(self, schema: Any, base: str) -> None:
        kept = self._resources[""]
        self._index(schema, base)
        self._resources[""] = kept

    @staticmethod
    def _pointed(found: Any, fragment: str) -> Any:
        for step in fragment.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                return MISSING
        return found


def _add_general(place: Place, schema: Mapping[str, Any]) -> None:
    if "type" in schema:
        own = declared_kinds(schema["type"], schema)
        place.types = own if place.types is None else _shared(place.types, own)
    for key in ("enum", "const"):
        if key not in schema:
            continue
        values = listed(schema, key, ()) if key == "enum" else [schema["const"]]
        known = place.values
        place.values = [
            value
            for value in (values if known is None else known)
            if known is None or any(same(value, other) for other in values)
        ]
    for key in ("anyOf", "oneOf"):
        if key in schema:
            place.choices.append((key == "oneOf", listed(schema, key)))
    if "not" in schema:
        place.nots.append(schema["not"])
    if "if" in schema:
        place.conditions.append((schema["if"], schema.get("then", True), schema.get("else", True)))


def add_scalars(place: Place, schema: Mapping[str, Any]) -> None:
    for key in ("minimum", "maximum"):
        value, opened = bound(schema, key), f"exclusive{key.title()}"
        if value is None:
            continue
        name = opened if schema.get(opened) is True else key  # as draft 4 has it
        (place.at_least if key == "minimum" else place.at_most)(name, value)
    for key, keep in (
        ("exclusiveMinimum", place.at_least),
        ("exclusiveMaximum", place.at_most),
    ):
        value = None if isinstance(schema.get(key), bool) else bound(schema, key)
        if value is not None:
            keep(key, value)
    step = bound(schema, "multipleOf")
    if step is not None:
        if step == 0:
            raise ConfigError("a JSON Schema's multipleOf must not be 0")
        place.multiples.append(abs(step))
    for kind in ("Length", "Items", "Properties"):
        for key, keep in ((f"min{kind}", place.at_least), (f"max{kind}", place.at_most)):
            count = counted(schema, key)
            if count is not None:
                keep(key, count)
    for key, texts in (("pattern", place.patterns), ("format", place.formats)):
        if key in schema:
            if not isinstance(schema[key], str):
                raise ConfigError(
                    f"a JSON Schema's {key} must be a text. Got {json.dumps(schema[key])[:60]}"
                )
            texts.append(schema[key])
    if OF in schema:
        place.passages.append(Passages.of(schema))


def add_array(place: Place, schema: Mapping[str, Any]) -> None:
    first, rest = listed(schema, "prefixItems", ()), schema.get("items", MISSING)
    if isinstance(rest, list):  # as drafts before 2020 have it
        first, rest = rest, schema.get("additionalItems", MISSING)
    if first or rest is not MISSING:
        place.arrays.append((first, rest))
    if "contains" in schema:
        least = counted(schema, "minContains")
        place.contained.append((schema["contains"], 1 if least is None else least))
    place.unique = place.unique or schema.get("uniqueItems") is True


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError:
        raise ConfigError(
            f"a JSON Schema's references must be addresses. Got {reference[:60]!r}"
        ) from None


def declared_kinds(found: Any, schema: Mapping[str, Any]) -> frozenset[str]:
    """Names of types, as ``type`` has them. Raises ConfigError for others."""
    kinds = found if isinstance(found, list) and found else [found]
    for kind in kinds:
        if kind not in TYPES:
            raise ConfigError(
                f"a JSON Schema's type must be one of {', '.join(TYPES)}. Got {kind!r}"
            )
    more = ["null"] if schema.get("nullable") is True else []
    return frozenset(kinds) - ({"integer"} if "number" in kinds else set()) | set(more)


def _shared(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    found = one & other
    for first, second in ((one, other), (other, one)):
        if "integer" in first and "number" in second:
            found |= {"integer"}
    return found


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


def same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: 1 is 1.0, and no truth value."""
    if one is other or isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return (type(one) is type(other) and bool(one == other)) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )


def bound(schema: Mapping[str, Any], key: str) -> float | None:
    """A keyword's number, taken as nearer to zero where no reader holds it."""
    value = schema.get(key)
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value != value:  # NaN is not itself
        raise ConfigError(f"a JSON Schema's {key} must be a number. Got {json.dumps(value)[:60]}")
    outside = value < -WIDEST if "max" in key.lower() else value > WIDEST
    if outside:
        raise ConfigError(
            f"a JSON Schema's {key} must be at {'least -' if 'max' in key.lower() else 'most '}"
            f"{1e30:g}. Got {json.dumps(value)[:30]}"
        )
    return max(-WIDEST, min(WIDEST, value))


def counted(schema: Mapping[str, Any], key: str) -> int | None:
    """A keyword's number of characters, items or properties."""
    value = schema.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value % 1:
        raise ConfigError(f"a JSON Schema's {key} must be a whole number. Got {value!r}")
    if key.startswith("min") and value > MOST_ITEMS:
        raise ConfigError(f"a JSON Schema's {key} must be at most {MOST_ITEMS:,}. Got {value:,}")
    return int(min(value, MOST_ITEMS))


def listed(schema: Mapping[str, Any], key: str, default: Any = None) -> list[Any]:
    """A keyword's list. Raises ConfigError for another value, or none without a ``default``."""
    found = schema.get(key, default)
    if not isinstance(found, list | tuple) or (not found and default is None):
        raise ConfigError(f"a JSON Schema's {key} must be a list. Got {json.dumps(found)[:60]}")
    return list(found)


def mapped(schema: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A keyword's object, empty where it is not there."""
    found = schema.get(key, {})
    if not isinstance(found, dict):
        raise ConfigError(f"a JSON Schema's {key} must be an object. Got {json.dumps(found)[:60]}")
    return found


def names(schema: Mapping[str, Any], key: str) -> list[str]:
    """A keyword's list of names. Raises ConfigError for another value."""
    found = listed(schema, key, ())
    if not all(isinstance(name, str) for name in found):
        raise ConfigError(
            f"a JSON Schema's {key} must be a list of names. Got {json.dumps(found)[:60]}"
        )
    return found
