"""Telling JSON Schemas apart: ``oneOf``, ``not`` and ``if`` need places where one does not hold.

A place is narrowed by what a keyword of the other schema says, until no value of it is allowed
there; where no keyword does that, the schema is refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from linnet.errors import ConfigError
from linnet.generate.constraints.schema import ADDED, TYPES, Place, SchemaReader, kinds_of
from linnet.generate.constraints.validation import Validator

MOST_COMPARISONS = 5_000
"""Schemas that are told apart from each other."""
_APART_DEPTH = 6  # schemas within each other that are told apart


class Separation:
    """Narrows places of one document."""

    def __init__(
        self,
        reader: SchemaReader,
        validator: Validator,
        has_other_keys: Callable[[Place, str], bool],
    ) -> None:
        """``has_other_keys``: whether an object may have keys without a name, not counting one."""
        self.reader, self.validator, self._has_other_keys = reader, validator, has_other_keys
        self._comparisons = 0

    def narrowed(self, place: Place) -> list[Place]:
        """Places where none of a schema's ``nots`` holds."""
        rest = place.copied()
        schema = rest.nots.pop()
        try:
            return self.apart(rest, schema, 0)
        except InseparableError:
            raise ConfigError(
                "a JSON Schema's 'oneOf', 'not' or 'if' must be told apart by a type, a value, a "
                f"required property or a bound. Got {json.dumps(schema)[:80]}"
            ) from None

    def apart(self, place: Place, schema: Any, depth: int) -> list[Place]:
        """The place narrowed so that the schema never holds there. Raises InseparableError."""
        if schema is False:
            return [place]
        if schema is True or schema == {}:
            return []
        self._comparisons += 1
        if depth > _APART_DEPTH or self._comparisons > MOST_COMPARISONS:
            raise InseparableError
        other = self.reader.place([schema])
        if other.never or place.never:
            return [place]
        if place.values is not None:
            return [self._without(place, schema)]
        if place.choices or place.conditions or place.dependents:
            return [
                narrowed
                for one in self.reader.split(place)
                for narrowed in self.apart(one, schema, depth + 1)
            ]
        found: list[Place] = []
        for kind in sorted(place.types or place.guessed(), key=TYPES.index):
            found += self._apart_of_type(place.of(kind), kind, other, schema, depth)
        return found

    def _without(self, place: Place, schema: Any) -> Place:
        found = place.copied()
        found.schemas.append(self.reader.negated(schema))
        return found

    def _apart_of_type(
        self, place: Place, kind: str, other: Place, schema: Any, depth: int
    ) -> list[Place]:
        kinds = TYPES if other.types is None else other.types
        if kind not in kinds and not (kind == "integer" and "number" in kinds):
            if kind == "number" and "integer" in kinds:
                raise InseparableError
            return [place]
        if kind in ("null", "boolean"):
            place.values = [None] if kind == "null" else [True, False]
            return [self._without(place, schema)]
        if other.values is not None and not any(kind in kinds_of(value) for value in other.values):
            return [place]
        ways: dict[str, Callable[[Place, Place, int], Iterator[list[Place]]]] = {
            "string": self._strings_apart, "integer": self._numbers_apart,
            "number": self._numbers_apart, "array": self._arrays_apart,
            "object": self._objects_apart,
        }  # fmt: skip
        for way in (ways[kind], self._choices_apart):
            for found in way(place, other, depth):
                return found
        if other.asks_nothing(kind):
            return []
        raise InseparableError

    def _choices_apart(self, place: Place, other: Place, depth: int) -> Iterator[list[Place]]:
        for _, alternatives in other.choices:
            found = [place]
            try:
                for alternative in alternatives:
                    found = [
                        narrower
                        for one in found
                        for narrower in self.apart(one, alternative, depth + 1)
                    ]
            except InseparableError:
                continue
            yield found
        for schema in other.nots:
            found_place = place.copied()
            self.reader.add(found_place, schema)
            yield [found_place]

    def _lengths_apart(
        self, place: Place, other: Place, kind: str, *, free: bool
    ) -> Iterator[list[Place]]:
        least, most = f"min{kind}", f"max{kind}"
        own, theirs = place.bounds, other.bounds
        shorter = own.get(most, float("inf")) < theirs.get(least, 0)
        longer = own.get(least, 0) > theirs.get(most, float("inf"))
        if shorter or longer:
            yield [place]
        if free:
            return
        if theirs.get(least, 0) > 0:
            found = place.copied()
            found.at_most(most, theirs[least] - 1)
            yield [found]
        if most in theirs:
            found = place.copied()
            found.at_least(least, theirs[most] + 1)
            yield [found]

    def _strings_apart(self, place: Place, other: Place, depth: int) -> Iterator[list[Place]]:
        yield from self._lengths_apart(place, other, "Length", free=True)
        found = place.copied()
        if other.values is not None:
            found.not_values += [value for value in other.values if isinstance(value, str)]
            yield [found]
        if other.patterns:
            found.not_patterns.append(other.patterns[0])
            yield [found]
        yield from self._lengths_apart(place, other, "Length", free=False)

    def _numbers_apart(self, place: Place, other: Place, depth: int) -> Iterator[list[Place]]:
        if other.values is not None:
            found = place.copied()
            found.not_numbers += [
                value for value in other.values
                if isinstance(value, int | float) and not isinstance(value, bool)
            ]  # fmt: skip
            yield [found]
        parts = []
        for key, opposite, keep in (
            ("minimum", "exclusiveMaximum", "at_most"),
            ("exclusiveMinimum", "maximum", "at_most"),
            ("maximum", "exclusiveMinimum", "at_least"),
            ("exclusiveMaximum", "minimum", "at_least"),
        ):
            if key in other.bounds:
                found = place.copied()
                getattr(found, keep)(opposite, other.bounds[key])
                parts.append(found)
        if parts:
            yield parts

    def _arrays_apart(self, place: Place, other: Place, depth: int) -> Iterator[list[Place]]:
        yield from self._lengths_apart(place, other, "Items", free=True)
        theirs = other.item(0)
        if theirs:
            together = self.reader.made_up(("all", *map(id, theirs)), {"allOf": theirs})
            self.reader.keep(theirs)
            try:
                self.apart(self.reader.place(place.item(0)), together, depth + 1)
            except InseparableError:
                pass
            else:
                found = place.copied()
                found.at_least("minItems", 1)
                found.arrays.append(([self.reader.negated(together)], True))
                found.schemas.append(self.reader.negated(together))
                yield [found]
        yield from self._lengths_apart(place, other, "Items", free=False)

    def _objects_apart(self, place: Place, other: Place, depth: int) -> Iterator[list[Place]]:
        """By what tells them apart at no cost, by a property of both, by leaving one out."""
        for name in other.required:
            if any(schema is False for schema in self.validator.asked_of(place, name)) or (
                name not in place.possible() and not self._has_other_keys(place, name)
            ):
                yield [place]
        for name in place.required:
            if any(schema is False for schema in self.validator.asked_of(other, name)):
                yield [place]
        for name in place.required:
            apart = self._property_apart(place, other, name, depth)
            if apart is not None:
                yield [apart]
        for name in other.required:
            if name not in place.required:
                without = place.copied()
                without.objects.append(({name: False}, {}, ADDED))
                apart = self._property_apart(place, other, name, depth)
                yield [without, *([] if apart is None else [apart])]
        for properties, _, more in place.objects:
            for name in () if more is ADDED else properties:
                apart = self._property_apart(place, other, name, depth)
                if apart is not None:
                    yield [apart]

    def _property_apart(self, place: Place, other: Place, name: str, depth: int) -> Place | None:
        """The place with a property that the other does not allow; None where that cannot be."""
        theirs = self.validator.asked_of(other, name)
        if not theirs:
            return None
        self.reader.keep(theirs)
        together = self.reader.made_up(("all", *map(id, theirs)), {"allOf": theirs})
        try:
            if not self.apart(
                self.reader.place(self.validator.asked_of(place, name)), together, depth + 1
            ):
                return None
        except InseparableError:
            return None
        found = place.copied()
        found.objects.append(({name: self.reader.negated(together)}, {}, ADDED))
        if name not in found.required:
            found.required.append(name)
        return found


class InseparableError(Exception):
    """No keyword tells two schemas apart."""
