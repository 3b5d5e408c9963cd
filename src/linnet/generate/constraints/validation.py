"""Whether a value is what a JSON Schema asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from linnet.errors import ConfigError
from linnet.generate.constraints import regex
from linnet.generate.constraints.automata import Automaton
from linnet.generate.constraints.json_values import FORMATS
from linnet.generate.constraints.schema import (
    ADDED,
    DEPTH,
    MISSING,
    Place,
    SchemaReader,
    add_array,
    add_scalars,
    declared_kinds,
    kinds_of,
    listed,
    same,
)


class Validator:
    """Checks values against the schemas of one document."""

    def __init__(self, reader: SchemaReader) -> None:
        self.reader = reader
        self._searches: dict[tuple[str, bool], Automaton] = {}

    def holds(self, value: Any, schema: Any, *, widely: bool = False, depth: int = 0) -> bool:
        """Whether a value is what a schema asks for; ``widely``: where readers differ, yes."""
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict):
            raise ConfigError(f"a JSON Schema must be an object. Got {json.dumps(schema)[:60]}")
        if depth > DEPTH:
            raise ConfigError("a JSON Schema must be nested less deep, or not refer to itself")

        def all_of(schemas: Sequence[Any]) -> bool:
            return all(self.holds(value, one, widely=widely, depth=depth + 1) for one in schemas)

        def does_not(one: Any) -> bool:
            return not self.holds(value, one, widely=not widely, depth=depth + 1)

        if "$ref" in schema and not all_of([self.reader.referred(schema)]):
            return False
        if "type" in schema and not any(
            kind in declared_kinds(schema["type"], schema) for kind in kinds_of(value)
        ):
            return False
        if "enum" in schema and not any(same(value, one) for one in listed(schema, "enum", ())):
            return False
        if "const" in schema and not same(value, schema["const"]):
            return False
        if not all_of(listed(schema, "allOf", ())):
            return False
        if "anyOf" in schema and not any(all_of([one]) for one in listed(schema, "anyOf")):
            return False
        if "oneOf" in schema:
            alternatives = listed(schema, "oneOf")
            holding = [one for one in alternatives if all_of([one])]
            certain = [one for one in alternatives if not does_not(one)]
            if not holding or len(certain) > 1:
                return False
        if "not" in schema and not does_not(schema["not"]):
            return False
        if "if" in schema:
            is_so, is_not = all_of([schema["if"]]), does_not(schema["if"])
            if not (
                (is_so and all_of([schema.get("then", True)]))
                or (is_not and all_of([schema.get("else", True)]))
            ):
                return False
        match value:
            case bool() | None:
                return True
            case int() | float():
                return self._number_holds(value, schema)
            case str():
                return self._string_holds(value, schema, widely)
            case list():
                return self._array_holds(value, schema, widely, depth)
        return self._object_holds(value, schema, widely, depth)

    def _number_holds(self, value: float, schema: Mapping[str, Any]) -> bool:
        place = Place()
        add_scalars(place, schema)
        bounds = place.bounds
        return (
            value >= bounds.get("minimum", value)
            and value <= bounds.get("maximum", value)
            and ("exclusiveMinimum" not in bounds or value > bounds["exclusiveMinimum"])
            and ("exclusiveMaximum" not in bounds or value < bounds["exclusiveMaximum"])
            and all(value % step == 0 for step in place.multiples)
        )

    def _string_holds(self, value: str, schema: Mapping[str, Any], widely: bool) -> bool:
        place = Place()
        add_scalars(place, schema)
        if not _counts(place, "Length", len(value)):
            return False
        if not all(self.finds(one, value, widely=widely) for one in place.patterns):
            return False
        if not all(own.has(value) for own in place.passages):
            return False
        return widely or all(
            Automaton(regex.read(FORMATS[name])).matches(value)
            for name in place.formats
            if name in FORMATS
        )

    def _array_holds(
        self, value: list[Any], schema: Mapping[str, Any], widely: bool, depth: int
    ) -> bool:
        place = Place()
        add_scalars(place, schema)
        add_array(place, schema)
        if not _counts(place, "Items", len(value)):
            return False
        for number_, item in enumerate(value):
            for first, rest in place.arrays:
                asked = first[number_] if number_ < len(first) else rest
                if asked is not MISSING and not self.holds(
                    item, asked, widely=widely, depth=depth + 1
                ):
                    return False
        for asked, wanted in place.contained:
            count = sum(self.holds(item, asked, widely=widely, depth=depth + 1) for item in value)
            if count < wanted:
                return False
        return not place.unique or not any(
            same(one, other) for at, one in enumerate(value) for other in value[:at]
        )

    def _object_holds(
        self, value: dict[str, Any], schema: Mapping[str, Any], widely: bool, depth: int
    ) -> bool:
        place = Place()
        add_scalars(place, schema)
        self.reader.add_object(place, schema)
        if not _counts(place, "Properties", len(value)):
            return False
        if not all(name in value for name in place.required):
            return False

        def holds(one: Any, asked: Any) -> bool:
            return self.holds(one, asked, widely=widely, depth=depth + 1)

        for name, one in value.items():
            for properties, patterns, more in place.objects:
                own = [properties[name]] if name in properties else []
                own += [
                    asked
                    for pattern, asked in patterns.items()
                    if self.finds(pattern, name, widely=not widely)
                ]
                if not all(holds(one, asked) for asked in own or [more] if asked is not MISSING):
                    return False
            if not all(holds(name, asked) for asked in place.names):
                return False
        return all(holds(value, asked) for name, asked in place.dependents if name in value)

    def finds(self, pattern: str, text: str, *, widely: bool = True) -> bool:
        """Whether an expression matches anywhere in a text."""
        if (pattern, widely) not in self._searches:
            found = regex.read(pattern, search=True, wide=widely)
            self._searches[pattern, widely] = Automaton(found)
        return self._searches[pattern, widely].matches(text)

    def asked_of(self, place: Place, name: str) -> list[Any]:
        """All that is asked of a property."""
        found: list[Any] = []
        for properties, patterns, more in place.objects:
            own = [properties[name]] if name in properties else []
            own += [asked for pattern, asked in patterns.items() if self.finds(pattern, name)]
            found += own or ([] if more in (MISSING, ADDED) else [more])
        if not all(self.holds(name, schema) for schema in place.names):
            found.append(False)
        return found


def _counts(place: Place, kind: str, count: int) -> bool:
    bounds = place.bounds
    return bounds.get(f"min{kind}", 0) <= count <= bounds.get(f"max{kind}", count)
