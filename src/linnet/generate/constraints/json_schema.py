"""JSON Schemas as grammars: every text of the grammar is a document that the schema allows.

Not every document that it allows is one of the grammar: properties come in the order in which the
schema has them, others only where it says so, numbers have at most so many digits, white space is
bounded. Keywords that the specification does not know are annotations and change nothing, as it
says; one that it knows and a grammar cannot hold to is refused by name.

A schema is read as a *conjunction*: all schemas that hold at one place (``allOf``, ``$ref`` and
what stands beside it) are gathered to one :class:`_Place`. ``oneOf``, ``not`` and ``if`` need
places at which a schema does *not* hold: ``_Separation`` narrows a place until it cannot, and
refuses where no keyword tells the two apart.

Reference: https://json-schema.org/draft/2020-12, and the drafts before it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from linnet.errors import ConfigError
from linnet.generate.constraint import OF
from linnet.generate.constraints import regex, substring
from linnet.generate.constraints.automata import Automaton
from linnet.generate.constraints.json_values import (
    ANY,
    COLON,
    COMMA,
    FORMATS,
    MOST_CHARACTERS,
    MOST_ITEMS,
    NOTHING,
    WIDEST,
    common_rules,
    free_key,
    literal,
    number,
    separated,
    string,
)
from linnet.generate.constraints.patterns import (
    ROOT,
    Either,
    Lexeme,
    Pattern,
    Repeated,
    Rule,
    Rules,
    Sequenced,
    Text,
    can_end,
    complete,
    either,
    used_by,
)

MOST_RULES = 20_000
MOST_PLACES = 20_000
MOST_COMPARISONS = 5_000
"""Schemas that are told apart from each other."""
DEPTH = 64
_APART_DEPTH = 6  # schemas within each other that are told apart
_STATES = 20_000  # of an object whose properties are counted

_TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")
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

_MISSING: Any = object()
_ADDED: Any = object()  # what is said of other properties by what was added here to tell apart


def rules_of(schema: Any) -> Rules:
    """The rules of a schema by name, ``root`` first. Raises ConfigError for what cannot be kept."""
    try:
        return _Compiler(schema).rules_of_root()
    except RecursionError:
        raise ConfigError("a JSON Schema must be nested less deep") from None


class _Place:
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
        self.passages: list[substring.Passages] = []
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

    def copied(self) -> _Place:
        found = copy(self)
        for name, value in vars(self).items():
            if isinstance(value, list | dict):
                setattr(found, name, value.copy())
        return found

    def of(self, kind: str) -> _Place:
        """The same for one type alone."""
        found = self.copied()
        found.types = frozenset((kind,))
        return found

    def at_least(self, key: str, value: float) -> None:
        self.bounds[key] = max(value, self.bounds.get(key, value))

    def at_most(self, key: str, value: float) -> None:
        self.bounds[key] = min(value, self.bounds.get(key, value))


class _Inseparable(Exception):
    """No keyword tells two schemas apart."""


class _Compiler:
    """Makes a rule for each conjunction of schemas."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.rules: Rules = {ROOT: Text(""), **common_rules()}
        self.made: dict[tuple[int, ...], Rule] = {}
        self.kept: list[Any] = []
        self.synthetic: dict[Any, dict[str, Any]] = {}
        self.own: set[int] = set()
        self.referring: list[Any] = []
        self.places = self.comparisons = 0
        self.resources: dict[str, Any] = {}
        self.bases: dict[int, str] = {}
        self.searches: dict[tuple[str, bool], Automaton] = {}
        self._index(schema, "")

    def rules_of_root(self) -> Rules:
        self.rules[ROOT] = self.value((self.schema,), 0)
        return _pruned(self.rules)

    # Places

    def value(self, schemas: Sequence[Any], depth: int) -> Pattern:
        """What is allowed where all of these schemas hold."""
        if depth > DEPTH:
            raise ConfigError(f"a JSON Schema must be nested at most {DEPTH} deep")
        asked = [schema for schema in schemas if not (schema is True or schema == {})]
        if any(schema is False for schema in asked):
            return NOTHING
        if not asked:
            return ANY
        key = tuple(sorted(set(map(id, asked))))
        if key not in self.made:
            self.kept.append(asked)
            name = f"value-{len(self.made)}"
            self.made[key] = Rule(name)
            self.rules[name] = NOTHING
            self.rules[name] = self.value_at(self.place(asked), depth)
        return self.made[key]

    def place(self, schemas: Sequence[Any]) -> _Place:
        found = _Place()
        for schema in schemas:
            self.add(found, schema)
        return found

    def value_at(self, place: _Place, depth: int) -> Pattern:
        self.places += 1
        if self.places > MOST_PLACES:  # a few that refer to each other can mean billions
            raise ConfigError(f"a JSON Schema must have at most {MOST_PLACES:,} parts")
        if place.never:
            return NOTHING
        if place.values is not None:
            return self._literals(place)
        if place.choices or place.conditions or place.dependents:
            return _either([self.value_at(one, depth + 1) for one in self._split(place)])
        if place.types is None:
            place = place.copied()
            place.types = self._guessed(place)
        if place.nots:
            return _either([self.value_at(one, depth + 1) for one in self._narrowed(place)])
        kinds = sorted(place.types or (), key=_TYPES.index)
        return _either([self._of_type(kind, place, depth) for kind in kinds])

    def _literals(self, place: _Place) -> Pattern:
        assert place.values is not None
        kept = [
            value
            for value in place.values
            if all(self.holds(value, schema) for schema in place.schemas)
            and (place.types is None or any(kind in place.types for kind in kinds_of(value)))
        ]
        if not kept:
            return NOTHING
        return Lexeme(either([literal(value) for value in kept]))

    def _split(self, place: _Place) -> list[_Place]:
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
        return [other] if name not in self._possible(place) else [one, other]

    def _narrowed(self, place: _Place) -> list[_Place]:
        rest = place.copied()
        schema = rest.nots.pop()
        try:
            return self.apart(rest, schema, 0)
        except _Inseparable:
            raise ConfigError(
                "a JSON Schema's 'oneOf', 'not' or 'if' must be told apart by a type, a value, a "
                f"required property or a bound. Got {json.dumps(schema)[:80]}"
            ) from None

    def _guessed(self, place: _Place) -> frozenset[str]:
        """The types that a schema means which does not name them."""
        words = {key for schema in place.schemas if isinstance(schema, dict) for key in schema}
        for kind, keys in _GUESSES:
            if words.intersection(keys):
                return frozenset((kind,))
        if any(name in FORMATS for name in place.formats):
            return frozenset(("string",))
        return frozenset(_TYPES) - {"integer"}

    def _possible(self, place: _Place) -> set[str]:
        """Properties that an object may have here, as far as they have names."""
        named = {name for properties, _, _ in place.objects for name in properties}
        return {*named, *place.required}

    # Gathering

    def add(self, place: _Place, schema: Any) -> None:
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
            if any(target is one for one in self.referring) or target is schema:
                raise ConfigError(
                    f"a JSON Schema refers to itself without end: {str(schema['$ref'])[:60]}"
                )
            self.referring += [schema, target]
            self.add(place, target)
            del self.referring[-2:]
        for one in listed(schema, "allOf", ()):
            self.add(place, one)
        self._add_general(place, schema)
        self._add_scalars(place, schema)
        self._add_array(place, schema)
        self._add_object(place, schema)

    def _add_general(self, place: _Place, schema: Mapping[str, Any]) -> None:
        if "type" in schema:
            own = _kinds(schema["type"], schema)
            place.types = own if place.types is None else _shared(place.types, own)
        for key in ("enum", "const"):
            if key not in schema:
                continue
            values = listed(schema, key, ()) if key == "enum" else [schema["const"]]
            known = place.values
            place.values = [
                value
                for value in (values if known is None else known)
                if known is None or any(_same(value, other) for other in values)
            ]
        for key in ("anyOf", "oneOf"):
            if key in schema:
                place.choices.append((key == "oneOf", listed(schema, key)))
        if "not" in schema:
            place.nots.append(schema["not"])
        if "if" in schema:
            place.conditions.append(
                (schema["if"], schema.get("then", True), schema.get("else", True))
            )

    def _add_scalars(self, place: _Place, schema: Mapping[str, Any]) -> None:
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
            place.passages.append(substring.Passages.of(schema))

    def _add_array(self, place: _Place, schema: Mapping[str, Any]) -> None:
        first, rest = listed(schema, "prefixItems", ()), schema.get("items", _MISSING)
        if isinstance(rest, list):  # as drafts before 2020 have it
            first, rest = rest, schema.get("additionalItems", _MISSING)
        if first or rest is not _MISSING:
            place.arrays.append((first, rest))
        if "contains" in schema:
            least = counted(schema, "minContains")
            place.contained.append((schema["contains"], 1 if least is None else least))
        place.unique = place.unique or schema.get("uniqueItems") is True

    def _add_object(self, place: _Place, schema: Mapping[str, Any]) -> None:
        properties, patterns = mapped(schema, "properties"), mapped(schema, "patternProperties")
        more = schema.get("additionalProperties", _MISSING)
        if properties or patterns or more is not _MISSING:
            added = more is _MISSING and id(schema) in self.own
            place.objects.append((properties, patterns, _ADDED if added else more))
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
        found = self.synthetic.setdefault(key, schema)
        self.own.add(id(found))
        return found

    def negated(self, schema: Any) -> Any:
        self.kept.append(schema)
        return self.made_up(("not", id(schema)), {"not": schema})

    def forbidden(self, name: str) -> Any:
        return self.made_up(("forbidden", name), {"properties": {name: False}})

    # Types

    def _of_type(self, kind: str, place: _Place, depth: int) -> Pattern:
        bounds = place.bounds
        match kind:
            case "null":
                return Text("null")
            case "boolean":
                return Either((Text("true"), Text("false")))
            case "string":
                return string(
                    least=int(bounds.get("minLength", 0)),
                    most=_at_most(bounds.get("maxLength"), MOST_CHARACTERS),
                    patterns=place.patterns,
                    formats=place.formats,
                    quotations=place.passages,
                    not_patterns=place.not_patterns,
                    not_values=place.not_values,
                )
            case "array":
                return self._array(place, depth)
            case "object":
                return self._object(place, depth)
        return _number(place, whole=kind == "integer")

    def _array(self, place: _Place, depth: int) -> Pattern:
        least = int(place.bounds.get("minItems", 0))
        most = _at_most(place.bounds.get("maxItems"), MOST_ITEMS)
        count = max((len(first) for first, _ in place.arrays), default=0)
        for first, rest in place.arrays:
            if rest is False or (first and rest is _MISSING):
                most = len(first) if most is None else min(most, len(first))
        for _, wanted in place.contained:
            least, count = max(least, wanted), max(count, wanted)
        if most is not None and most < least:
            return NOTHING
        items = [self._item(place, number) for number in range(count + 1)]
        if place.unique and (most is None or most > 1):
            return self._unique(items, least, most)
        made = [self.value(item, depth + 1) for item in items[:-1][:most]]
        more = self.value(items[-1], depth + 1) if most is None or most > count else NOTHING
        rest = _and_more(
            more, max(least - len(made), 0), None if most is None else most - len(made)
        )
        if not made:
            return Sequenced((Text("["), separated(more, least, most), Text("]")))
        for place_, one in reversed(list(enumerate(made))):
            rest = self.named(Sequenced((one if not place_ else Sequenced((COMMA, one)), rest)))
            if place_ >= least:
                rest = self.named(_either([rest, Text("")]))
        return Sequenced((Text("["), rest, Text("]")))

    def _item(self, place: _Place, number: int) -> list[Any]:
        """What is asked of the item at this place in an array."""
        asked = [
            first[number] if number < len(first) else rest
            for first, rest in place.arrays
            if number < len(first) or rest is not _MISSING
        ]
        return asked + [schema for schema, wanted in place.contained if number < wanted]

    def _unique(self, items: list[list[Any]], least: int, most: int | None) -> Pattern:
        """Different values, in the order in which the schema has them."""
        found = self.place(items[0])
        values = found.values
        if values is None and found.types is not None and found.types <= {"boolean", "null"}:
            values = [
                *([True, False] * ("boolean" in found.types)),
                *([None] * ("null" in found.types)),
            ]
        if len(items) > 1 or values is None:
            raise ConfigError(
                "a JSON Schema's 'uniqueItems' must stand beside items with an enum; leave it out"
            )
        kept: list[Any] = []
        for value in values:
            if not any(_same(value, other) for other in kept) and all(
                self.holds(value, schema) for schema in found.schemas
            ):
                kept.append(value)
        pairs = [(literal(value), False) for value in kept]
        return Sequenced((Text("["), self._pairs(pairs, None, least, most), Text("]")))

    def _object(self, place: _Place, depth: int) -> Pattern:
        declared = dict.fromkeys(name for properties, _, _ in place.objects for name in properties)
        declared.update(dict.fromkeys(place.required))
        for schema in place.names:
            values = self.place([schema]).values
            if values is not None:
                declared.update(dict.fromkeys(value for value in values if isinstance(value, str)))
        pairs: list[tuple[Pattern, bool]] = []
        for name in declared:
            asked = self._asked_of(place, name)
            is_required = name in place.required
            if not any(schema is False for schema in asked):
                value = self.value(asked, depth + 1)
                pairs.append((Sequenced((literal(name), COLON, value)), is_required))
            elif is_required:
                return NOTHING
        extras = [
            Sequenced((key, COLON, self.value(asked, depth + 1)))
            for key, asked in self._other_keys(place, list(declared))
        ]
        least = int(place.bounds.get("minProperties", 0))
        most = _at_most(place.bounds.get("maxProperties"), MOST_ITEMS)
        extra = self.named(_either(extras)) if extras else None
        if least > len(pairs) + (extra is not None) and extra is not None:
            raise ConfigError(
                "a JSON Schema's minProperties must be at most one more than it has properties: "
                f"other keys may be the same. Got {least} and {len(pairs)}"
            )
        return Sequenced((Text("{"), self._pairs(pairs, extra, least, most), Text("}")))

    def _asked_of(self, place: _Place, name: str) -> list[Any]:
        """All that is asked of a property."""
        found: list[Any] = []
        for properties, patterns, more in place.objects:
            own = [properties[name]] if name in properties else []
            own += [asked for pattern, asked in patterns.items() if self.finds(pattern, name)]
            found += own or ([] if more in (_MISSING, _ADDED) else [more])
        if not all(self.holds(name, schema) for schema in place.names):
            found.append(False)
        return found

    def _other_keys(
        self, place: _Place, declared: list[str]
    ) -> Iterator[tuple[Pattern, list[Any]]]:
        """Keys that a schema does not name, with what is asked of their values."""
        keys = self.place(place.names)
        if keys.values is not None or keys.never:
            return
        patterns = list(dict.fromkeys(p for _, own, _ in place.objects for p in own))
        for pattern in patterns:
            asked = [
                own.get(pattern, more)
                for _, own, more in place.objects
                if pattern in own or more not in (_MISSING, _ADDED)
            ]
            if not any(schema is False for schema in asked):
                others = [other for other in patterns if other != pattern]
                key = self._key(keys, [pattern], others, declared)
                if key != NOTHING:
                    yield key, asked
        asked = [more for _, _, more in place.objects if more not in (_MISSING, _ADDED)]
        is_open = bool(asked) or all(more is _ADDED for _, _, more in place.objects)
        if not is_open or any(schema is False for schema in asked):
            return
        key = self._key(keys, [], patterns, declared)
        if key != NOTHING:
            yield key, asked

    def _key(
        self, keys: _Place, patterns: list[str], others: list[str], declared: list[str]
    ) -> Pattern:
        limits = {name for name in keys.bounds if name.endswith("Length")}
        if keys.passages:
            raise ConfigError(f"{OF} is for values. Got it in propertyNames")
        if not (patterns or others or keys.patterns or keys.formats or keys.not_patterns or limits):
            return free_key(declared, self.named)
        return string(
            least=int(keys.bounds.get("minLength", 0)),
            most=_at_most(keys.bounds.get("maxLength"), MOST_CHARACTERS),
            patterns=[*patterns, *keys.patterns],
            formats=keys.formats,
            not_patterns=[*others, *keys.not_patterns],
            not_values=declared,
        )

    def _pairs(
        self,
        pairs: Sequence[tuple[Pattern, bool]],
        extra: Pattern | None,
        least: int,
        most: int | None,
    ) -> Pattern:
        """Members in order, those that are not required left out or not; then others.

        A rule for each place to go on from and number of members before it, counted as far as it
        matters: the first that is written has no comma before it.
        """
        top = max(1, least, most or 0)
        if (len(pairs) + 1) * (top + 1) > _STATES:
            raise ConfigError(
                "a JSON Schema's minProperties, maxProperties, minItems or maxItems must be "
                f"smaller here. Got {top}"
            )
        after = [self._others(extra, count, least, most) for count in range(top + 1)]
        for pair, is_required in reversed(pairs):
            found: list[Pattern] = []
            for count in range(top + 1):
                more = after[min(count + 1, top)] if most is None or count < most else NOTHING
                one: Pattern = Sequenced((*((COMMA,) if count else ()), pair, more))
                found.append(self.named(one if is_required else _either([one, after[count]])))
            after = found
        return after[0]

    def _others(self, extra: Pattern | None, count: int, least: int, most: int | None) -> Pattern:
        missing = max(0, least - count)
        if extra is None or (most is not None and count >= most):
            return Text("") if not missing else NOTHING
        if missing > 1:  # the same key may come twice, which counts as one
            return NOTHING
        left = None if most is None else most - count
        if not count:
            return separated(extra, missing, left)
        return Repeated(Sequenced((COMMA, extra)), missing, left)

    def named(self, pattern: Pattern) -> Pattern:
        """A pattern under a name of its own, so that it is written once."""
        if isinstance(pattern, Text | Rule) or pattern == NOTHING:
            return pattern
        if len(self.rules) >= MOST_RULES:
            raise ConfigError(f"a JSON Schema must need at most {MOST_RULES:,} rules")
        name = f"part-{len(self.rules)}"
        self.rules[name] = pattern
        return Rule(name)

    # Separation

    def apart(self, place: _Place, schema: Any, depth: int) -> list[_Place]:
        """The place narrowed so that the schema never holds there. Raises _Inseparable."""
        if schema is False:
            return [place]
        if schema is True or schema == {}:
            return []
        self.comparisons += 1
        if depth > _APART_DEPTH or self.comparisons > MOST_COMPARISONS:
            raise _Inseparable
        other = self.place([schema])
        if other.never or place.never:
            return [place]
        if place.values is not None:
            return [self._without(place, schema)]
        if place.choices or place.conditions or place.dependents:
            return [
                narrowed
                for one in self._split(place)
                for narrowed in self.apart(one, schema, depth + 1)
            ]
        found: list[_Place] = []
        for kind in sorted(place.types or self._guessed(place), key=_TYPES.index):
            found += self._apart_of_type(place.of(kind), kind, other, schema, depth)
        return found

    def _without(self, place: _Place, schema: Any) -> _Place:
        found = place.copied()
        found.schemas.append(self.negated(schema))
        return found

    def _apart_of_type(
        self, place: _Place, kind: str, other: _Place, schema: Any, depth: int
    ) -> list[_Place]:
        kinds = _TYPES if other.types is None else other.types
        if kind not in kinds and not (kind == "integer" and "number" in kinds):
            if kind == "number" and "integer" in kinds:
                raise _Inseparable
            return [place]
        if kind in ("null", "boolean"):
            place.values = [None] if kind == "null" else [True, False]
            return [self._without(place, schema)]
        if other.values is not None and not any(kind in kinds_of(value) for value in other.values):
            return [place]
        ways: dict[str, Callable[[_Place, _Place, int], Iterator[list[_Place]]]] = {
            "string": self._strings_apart, "integer": self._numbers_apart,
            "number": self._numbers_apart, "array": self._arrays_apart,
            "object": self._objects_apart,
        }  # fmt: skip
        for way in (ways[kind], self._choices_apart):
            for found in way(place, other, depth):
                return found
        if _asks_nothing(other, kind):
            return []
        raise _Inseparable

    def _choices_apart(self, place: _Place, other: _Place, depth: int) -> Iterator[list[_Place]]:
        for _, alternatives in other.choices:
            found = [place]
            try:
                for alternative in alternatives:
                    found = [
                        narrower
                        for one in found
                        for narrower in self.apart(one, alternative, depth + 1)
                    ]
            except _Inseparable:
                continue
            yield found
        for schema in other.nots:
            found_place = place.copied()
            self.add(found_place, schema)
            yield [found_place]

    def _lengths_apart(
        self, place: _Place, other: _Place, kind: str, *, free: bool
    ) -> Iterator[list[_Place]]:
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

    def _strings_apart(self, place: _Place, other: _Place, depth: int) -> Iterator[list[_Place]]:
        yield from self._lengths_apart(place, other, "Length", free=True)
        found = place.copied()
        if other.values is not None:
            found.not_values += [value for value in other.values if isinstance(value, str)]
            yield [found]
        if other.patterns:
            found.not_patterns.append(other.patterns[0])
            yield [found]
        yield from self._lengths_apart(place, other, "Length", free=False)

    def _numbers_apart(self, place: _Place, other: _Place, depth: int) -> Iterator[list[_Place]]:
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

    def _arrays_apart(self, place: _Place, other: _Place, depth: int) -> Iterator[list[_Place]]:
        yield from self._lengths_apart(place, other, "Items", free=True)
        theirs = self._item(other, 0)
        if theirs:
            together = self.made_up(("all", *map(id, theirs)), {"allOf": theirs})
            self.kept.append(theirs)
            try:
                self.apart(self.place(self._item(place, 0)), together, depth + 1)
            except _Inseparable:
                pass
            else:
                found = place.copied()
                found.at_least("minItems", 1)
                found.arrays.append(([self.negated(together)], True))
                found.schemas.append(self.negated(together))
                yield [found]
        yield from self._lengths_apart(place, other, "Items", free=False)

    def _objects_apart(self, place: _Place, other: _Place, depth: int) -> Iterator[list[_Place]]:
        """By what tells them apart at no cost, by a property of both, by leaving one out."""
        for name in other.required:
            if any(schema is False for schema in self._asked_of(place, name)) or (
                name not in self._possible(place) and not list(self._other_keys(place, [name]))
            ):
                yield [place]
        for name in place.required:
            if any(schema is False for schema in self._asked_of(other, name)):
                yield [place]
        for name in place.required:
            apart = self._property_apart(place, other, name, depth)
            if apart is not None:
                yield [apart]
        for name in other.required:
            if name not in place.required:
                without = place.copied()
                without.objects.append(({name: False}, {}, _ADDED))
                apart = self._property_apart(place, other, name, depth)
                yield [without, *([] if apart is None else [apart])]
        for properties, _, more in place.objects:
            for name in () if more is _ADDED else properties:
                apart = self._property_apart(place, other, name, depth)
                if apart is not None:
                    yield [apart]

    def _property_apart(self, place: _Place, other: _Place, name: str, depth: int) -> _Place | None:
        """The place with a property that the other does not allow; None where that cannot be."""
        theirs = self._asked_of(other, name)
        if not theirs:
            return None
        self.kept.append(theirs)
        together = self.made_up(("all", *map(id, theirs)), {"allOf": theirs})
        try:
            if not self.apart(self.place(self._asked_of(place, name)), together, depth + 1):
                return None
        except _Inseparable:
            return None
        found = place.copied()
        found.objects.append(({name: self.negated(together)}, {}, _ADDED))
        if name not in found.required:
            found.required.append(name)
        return found

    # Values

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

        if "$ref" in schema and not all_of([self.referred(schema)]):
            return False
        if "type" in schema and not any(
            kind in _kinds(schema["type"], schema) for kind in kinds_of(value)
        ):
            return False
        if "enum" in schema and not any(_same(value, one) for one in listed(schema, "enum", ())):
            return False
        if "const" in schema and not _same(value, schema["const"]):
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
        place = _Place()
        self._add_scalars(place, schema)
        bounds = place.bounds
        return (
            value >= bounds.get("minimum", value)
            and value <= bounds.get("maximum", value)
            and ("exclusiveMinimum" not in bounds or value > bounds["exclusiveMinimum"])
            and ("exclusiveMaximum" not in bounds or value < bounds["exclusiveMaximum"])
            and all(value % step == 0 for step in place.multiples)
        )

    def _string_holds(self, value: str, schema: Mapping[str, Any], widely: bool) -> bool:
        place = _Place()
        self._add_scalars(place, schema)
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
        place = _Place()
        self._add_scalars(place, schema)
        self._add_array(place, schema)
        if not _counts(place, "Items", len(value)):
            return False
        for number_, item in enumerate(value):
            for first, rest in place.arrays:
                asked = first[number_] if number_ < len(first) else rest
                if asked is not _MISSING and not self.holds(
                    item, asked, widely=widely, depth=depth + 1
                ):
                    return False
        for asked, wanted in place.contained:
            count = sum(self.holds(item, asked, widely=widely, depth=depth + 1) for item in value)
            if count < wanted:
                return False
        return not place.unique or not any(
            _same(one, other) for at, one in enumerate(value) for other in value[:at]
        )

    def _object_holds(
        self, value: dict[str, Any], schema: Mapping[str, Any], widely: bool, depth: int
    ) -> bool:
        place = _Place()
        self._add_scalars(place, schema)
        self._add_object(place, schema)
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
                if not all(holds(one, asked) for asked in own or [more] if asked is not _MISSING):
                    return False
            if not all(holds(name, asked) for asked in place.names):
                return False
        return all(holds(value, asked) for name, asked in place.dependents if name in value)

    def finds(self, pattern: str, text: str, *, widely: bool = True) -> bool:
        """Whether an expression matches anywhere in a text."""
        if (pattern, widely) not in self.searches:
            found = regex.read(pattern, search=True, wide=widely)
            self.searches[pattern, widely] = Automaton(found)
        return self.searches[pattern, widely].matches(text)

    # References

    def _index(self, schema: Any, base: str) -> None:
        """Note what names a schema has, and what its own references begin from."""
        todo: list[tuple[Any, str]] = [(schema, base)]
        self.resources[""] = schema
        while todo:
            one, base = todo.pop()
            if not isinstance(one, dict) or id(one) in self.bases:
                continue
            for key in ("$id", "id"):
                if isinstance(one.get(key), str):
                    base = _joined(base, one[key])
                    self.resources.setdefault(base.removesuffix("#"), one)
            self.bases[id(one)] = base
            anchor = one.get("$anchor")
            if isinstance(anchor, str):
                self.resources.setdefault(f"{urldefrag(base)[0]}#{anchor}", one)
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
            base = urldefrag(self.bases.get(id(schema), ""))[0]
            whole = f"{base}{reference}"
        else:
            whole = _joined(self.bases.get(id(schema), ""), reference)
        whole = whole.removesuffix("#")
        if whole in self.resources:
            return self.resources[whole]
        place, _, fragment = whole.partition("#")
        if place not in self.resources:
            raise ConfigError(
                f"a JSON Schema may refer to itself only (#/...). Got {json.dumps(reference)[:60]}"
            )
        if fragment and not fragment.startswith("/"):
            raise ConfigError(f"a JSON Schema refers to {reference[:60]}, which it has not")
        found = self._pointed(self.resources[place], fragment)
        if found is _MISSING and place:
            found = self._pointed(self.schema, fragment)
        if found is _MISSING:
            raise ConfigError(f"a JSON Schema refers to {reference[:60]}, which it has not")
        if isinstance(found, dict) and id(found) not in self.bases:
            self._index_more(found, place)
        return found

    def _index_more(self, schema: Any, base: str) -> None:
        kept = self.resources[""]
        self._index(schema, base)
        self.resources[""] = kept

    @staticmethod
    def _pointed(found: Any, fragment: str) -> Any:
        for step in fragment.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdigit() and int(key) < len(found):
                found = found[int(key)]
            else:
                return _MISSING
        return found


def _asks_nothing(place: _Place, kind: str) -> bool:
    """Whether all values of a type are allowed."""
    if place.values is not None or place.choices or place.nots or place.conditions:
        return False
    bounds = {"string": "Length", "array": "Items", "object": "Properties"}.get(kind)
    if bounds is None:
        return not place.bounds.keys() & _NUMBER_BOUNDS and not place.multiples
    if any(name.endswith(bounds) for name in place.bounds):
        return False
    match kind:
        case "string":
            return not (place.patterns or place.formats or place.passages)
        case "array":
            return not (place.arrays or place.contained or place.unique)
    return not (place.objects or place.required or place.names
                or place.dependents)  # fmt: skip


def _joined(base: str, reference: str) -> str:
    try:
        return urljoin(base, reference)
    except ValueError:
        raise ConfigError(
            f"a JSON Schema's references must be addresses. Got {reference[:60]!r}"
        ) from None


def _number(place: _Place, *, whole: bool) -> Pattern:
    least, most, open_below, open_above = None, None, False, False
    bounds = place.bounds
    if "minimum" in bounds or "exclusiveMinimum" in bounds:
        least = max(bounds.get("minimum", -WIDEST), bounds.get("exclusiveMinimum", -WIDEST))
        open_below = least == bounds.get("exclusiveMinimum")
    if "maximum" in bounds or "exclusiveMaximum" in bounds:
        most = min(bounds.get("maximum", WIDEST), bounds.get("exclusiveMaximum", WIDEST))
        open_above = most == bounds.get("exclusiveMaximum")
    return number(
        least, most, open_below=open_below, open_above=open_above, whole=whole,
        multiples=place.multiples, without=place.not_numbers,
    )  # fmt: skip


def _and_more(part: Pattern, least: int, most: int | None) -> Pattern:
    """Further items of an array that has some."""
    if most is not None and most <= 0:
        return Text("")
    if part == NOTHING:
        return Text("") if not least else NOTHING
    return Repeated(Sequenced((COMMA, part)), least, most)


def _either(choices: Sequence[Pattern]) -> Pattern:
    """One of several, without those that allow nothing and those that come twice."""
    kept = [choice for choice in dict.fromkeys(choices) if choice != NOTHING]
    return kept[0] if len(kept) == 1 else Either(tuple(kept))


def _pruned(rules: Rules) -> Rules:
    """The rules that are reached, without what no text can complete."""
    ending = complete(rules)

    def pruned(pattern: Pattern) -> Pattern:
        match pattern:
            case Sequenced(parts):
                return Sequenced(tuple(map(pruned, parts)))
            case Either(choices):
                return _either([pruned(choice) for choice in choices if can_end(choice, ending)])
            case Repeated(part, least, most):
                return Repeated(pruned(part), least, most) if can_end(part, ending) else Text("")
        return pattern

    if ROOT not in ending:
        raise ConfigError(
            "a JSON Schema must allow a value that ends. Got one that contradicts itself, or "
            "refers to itself without end"
        )
    found: Rules = {}
    reached = [ROOT]
    for name in reached:
        if name not in found:
            found[name] = pruned(rules[name])
            reached += used_by(found[name])
    return found


def _kinds(found: Any, schema: Mapping[str, Any]) -> frozenset[str]:
    """Names of types, as ``type`` has them. Raises ConfigError for others."""
    kinds = found if isinstance(found, list) and found else [found]
    for kind in kinds:
        if kind not in _TYPES:
            raise ConfigError(
                f"a JSON Schema's type must be one of {', '.join(_TYPES)}. Got {kind!r}"
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


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: 1 is 1.0, and no truth value."""
    if one is other or isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return (type(one) is type(other) and bool(one == other)) or (
        isinstance(one, int | float) and isinstance(other, int | float) and one == other
    )


def _counts(place: _Place, kind: str, count: int) -> bool:
    bounds = place.bounds
    return bounds.get(f"min{kind}", 0) <= count <= bounds.get(f"max{kind}", count)


def _at_most(value: float | None, most: int) -> int | None:
    return None if value is None else int(min(value, most))


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
