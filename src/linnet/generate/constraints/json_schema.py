"""JSON Schemas as grammars: every text of the grammar is a document that the schema allows.

Not every document that it allows is one of the grammar: properties come in the order in which the
schema has them, others only where it says so, numbers have at most so many digits, white space is
bounded. Keywords that the specification does not know are annotations and change nothing, as it
says; one that it knows and a grammar cannot hold to is refused by name.

A schema is read as a *conjunction*: all schemas that hold at one place (``allOf``, ``$ref`` and
what stands beside it) are gathered to one :class:`Place`. ``oneOf``, ``not`` and ``if`` need
places at which a schema does *not* hold: ``_Separation`` narrows a place until it cannot, and
refuses where no keyword tells the two apart.

Reference: https://json-schema.org/draft/2020-12, and the drafts before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from linnet.errors import ConfigError
from linnet.generate.constraint import COMPACT, OF, SPACES, WHITESPACE
from linnet.generate.constraints.json_values import (
    ANY,
    COLON,
    COMMA,
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
from linnet.generate.constraints.schema import (
    ADDED,
    DEPTH,
    MISSING,
    TYPES,
    Place,
    SchemaReader,
    kinds_of,
    same,
)
from linnet.generate.constraints.separation import Separation
from linnet.generate.constraints.validation import Validator

MOST_RULES = 20_000
MOST_PLACES = 20_000
_STATES = 20_000  # of an object whose properties are counted


def rules_of(schema: Any) -> Rules:
    """The rules of a schema by name, ``root`` first. Raises ConfigError for what cannot be kept."""
    try:
        return _Compiler(schema).rules_of_root()
    except RecursionError:
        raise ConfigError("a JSON Schema must be nested less deep") from None


def _has_spaces(schema: Any) -> bool:
    """Whether a document may have white space: as a schema says at its root."""
    wanted = schema.get(WHITESPACE, COMPACT) if isinstance(schema, dict) else COMPACT
    if wanted not in (COMPACT, SPACES):
        raise ConfigError(
            f"{WHITESPACE} must be '{COMPACT}' or '{SPACES}'. Got {str(wanted)[:40]!r}"
        )
    return bool(wanted == SPACES)


class _Compiler:
    """Makes a rule for each conjunction of schemas."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.rules: Rules = {ROOT: Text(""), **common_rules(spaces=_has_spaces(schema))}
        self.reader = SchemaReader(schema)
        self.validator = Validator(self.reader)
        self.separation = Separation(self.reader, self.validator, self._has_other_keys)
        self._made: dict[tuple[int, ...], Rule] = {}
        self._places = 0

    def rules_of_root(self) -> Rules:
        self.rules[ROOT] = self.value((self.schema,), 0)
        return _pruned(self.rules)

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
        if key not in self._made:
            self.reader.keep(asked)
            name = f"value-{len(self._made)}"
            self._made[key] = Rule(name)
            self.rules[name] = NOTHING
            self.rules[name] = self.value_at(self.reader.place(asked), depth)
        return self._made[key]

    def value_at(self, place: Place, depth: int) -> Pattern:
        self._places += 1
        if self._places > MOST_PLACES:  # a few that refer to each other can mean billions
            raise ConfigError(f"a JSON Schema must have at most {MOST_PLACES:,} parts")
        if place.never:
            return NOTHING
        if place.values is not None:
            return self._literals(place)
        if place.choices or place.conditions or place.dependents:
            return any_of([self.value_at(one, depth + 1) for one in self.reader.split(place)])
        if place.types is None:
            place = place.copied()
            place.types = place.guessed()
        if place.nots:
            return any_of(
                [self.value_at(one, depth + 1) for one in self.separation.narrowed(place)]
            )
        kinds = sorted(place.types or (), key=TYPES.index)
        return any_of([self._of_type(kind, place, depth) for kind in kinds])

    def _literals(self, place: Place) -> Pattern:
        assert place.values is not None
        kept = [
            value
            for value in place.values
            if all(self.validator.holds(value, schema) for schema in place.schemas)
            and (place.types is None or any(kind in place.types for kind in kinds_of(value)))
        ]
        if not kept:
            return NOTHING
        return Lexeme(either([literal(value) for value in kept]))

    def _of_type(self, kind: str, place: Place, depth: int) -> Pattern:
        bounds = place.bounds
        match kind:
            case "null":
                return Text("null")
            case "boolean":
                return Either((Text("true"), Text("false")))
            case "string":
                return string(
                    least=int(bounds.get("minLength", 0)),
                    most=_capped(bounds.get("maxLength"), MOST_CHARACTERS),
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

    def _array(self, place: Place, depth: int) -> Pattern:
        least = int(place.bounds.get("minItems", 0))
        most = _capped(place.bounds.get("maxItems"), MOST_ITEMS)
        count = max((len(first) for first, _ in place.arrays), default=0)
        for first, rest in place.arrays:
            if rest is False or (first and rest is MISSING):
                most = len(first) if most is None else min(most, len(first))
        for _, wanted in place.contained:
            least, count = max(least, wanted), max(count, wanted)
        if most is not None and most < least:
            return NOTHING
        items = [place.item(number) for number in range(count + 1)]
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
                rest = self.named(any_of([rest, Text("")]))
        return Sequenced((Text("["), rest, Text("]")))

    def _unique(self, items: list[list[Any]], least: int, most: int | None) -> Pattern:
        """Different values, in the order in which the schema has them."""
        found = self.reader.place(items[0])
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
            if not any(same(value, other) for other in kept) and all(
                self.validator.holds(value, schema) for schema in found.schemas
            ):
                kept.append(value)
        pairs = [(literal(value), False) for value in kept]
        return Sequenced((Text("["), self._pairs(pairs, None, least, most), Text("]")))

    def _object(self, place: Place, depth: int) -> Pattern:
        declared = dict.fromkeys(name for properties, _, _ in place.objects for name in properties)
        declared.update(dict.fromkeys(place.required))
        for schema in place.names:
            values = self.reader.place([schema]).values
            if values is not None:
                declared.update(dict.fromkeys(value for value in values if isinstance(value, str)))
        pairs: list[tuple[Pattern, bool]] = []
        for name in declared:
            asked = self.validator.asked_of(place, name)
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
        most = _capped(place.bounds.get("maxProperties"), MOST_ITEMS)
        extra = self.named(any_of(extras)) if extras else None
        if least > len(pairs) + (extra is not None) and extra is not None:
            raise ConfigError(
                "a JSON Schema's minProperties must be at most one more than it has properties: "
                f"other keys may be the same. Got {least} and {len(pairs)}"
            )
        return Sequenced((Text("{"), self._pairs(pairs, extra, least, most), Text("}")))

    def _other_keys(self, place: Place, declared: list[str]) -> Iterator[tuple[Pattern, list[Any]]]:
        """Keys that a schema does not name, with what is asked of their values."""
        keys = self.reader.place(place.names)
        if keys.values is not None or keys.never:
            return
        patterns = list(dict.fromkeys(p for _, own, _ in place.objects for p in own))
        for pattern in patterns:
            asked = [
                own.get(pattern, more)
                for _, own, more in place.objects
                if pattern in own or more not in (MISSING, ADDED)
            ]
            if not any(schema is False for schema in asked):
                others = [other for other in patterns if other != pattern]
                key = self._key(keys, [pattern], others, declared)
                if key != NOTHING:
                    yield key, asked
        asked = [more for _, _, more in place.objects if more not in (MISSING, ADDED)]
        is_open = bool(asked) or all(more is ADDED for _, _, more in place.objects)
        if not is_open or any(schema is False for schema in asked):
            return
        key = self._key(keys, [], patterns, declared)
        if key != NOTHING:
            yield key, asked

    def _has_other_keys(self, place: Place, name: str) -> bool:
        return any(True for _ in self._other_keys(place, [name]))

    def _key(
        self, keys: Place, patterns: list[str], others: list[str], declared: list[str]
    ) -> Pattern:
        limits = {name for name in keys.bounds if name.endswith("Length")}
        if keys.passages:
            raise ConfigError(f"{OF} is for values. Got it in propertyNames")
        if not (patterns or others or keys.patterns or keys.formats or keys.not_patterns or limits):
            return free_key(declared, self.named)
        return string(
            least=int(keys.bounds.get("minLength", 0)),
            most=_capped(keys.bounds.get("maxLength"), MOST_CHARACTERS),
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
                found.append(self.named(one if is_required else any_of([one, after[count]])))
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


def _number(place: Place, *, whole: bool) -> Pattern:
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


def any_of(choices: Sequence[Pattern]) -> Pattern:
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
                return any_of([pruned(choice) for choice in choices if can_end(choice, ending)])
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


def _capped(value: float | None, most: int) -> int | None:
    return None if value is None else int(min(value, most))
