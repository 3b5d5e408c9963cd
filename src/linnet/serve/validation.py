"""Checks JSON values against schemas: those that the OpenAPI document shows.

So what the document says is what is accepted. Of JSON Schema it knows what these
schemas use: type, enum, const, bounds, lengths, items, properties, required,
additionalProperties (whether there may be more, or of what schema) and anyOf.

Reference: https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from linnet.serve.errors import ApiError

Schema: TypeAlias = Mapping[str, Any]

_NAMES = {
    "object": "an object", "array": "an array", "string": "a string", "number": "a number",
    "integer": "an integer", "boolean": "true or false", "null": "null",
}  # fmt: skip
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_LONGEST_SHOWN = 60
_WHOLE_RULES = frozenset(("type", "minimum", "maximum", "description"))


def read_json(raw: bytes) -> Any:
    """A request's body as JSON. Raises ApiError where it is none."""
    try:
        value = json.loads(raw, parse_constant=_no_constant)
        if _SURROGATE.search(raw):  # halves of characters cannot be encoded
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        reason = "it nests too deeply" if isinstance(error, RecursionError) else str(error)
        raise ApiError(400, f"The request's body must be JSON in UTF-8: {reason[:200]}") from None
    return value


def check(schema: Schema, value: Any, path: str = "") -> None:
    """Raise ApiError, naming the place, unless ``value`` follows the schema."""
    if "anyOf" in schema:
        _check_any(schema["anyOf"], value, path)
        return
    if "type" in schema and not _is_of(schema["type"], value):
        raise _wrong(path, f"must be {_named(schema['type'])}", value)
    if "const" in schema and value != schema["const"]:
        raise _wrong(path, f"must be {json.dumps(schema['const'])}", value)
    if "enum" in schema and value not in schema["enum"]:
        raise _wrong(path, f"must be one of {', '.join(map(json.dumps, schema['enum']))}", value)
    if isinstance(value, str | list | dict):
        for rule, works, expected in _SIZES[type(value)]:
            if rule in schema and not works(len(value), schema[rule]):
                raise _wrong(path, _sized(expected, schema[rule]), len(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        for rule, within, expected in _BOUNDS:
            if rule in schema and not within(value, schema[rule]):
                raise _wrong(path, expected.format(schema[rule]), value)
    if isinstance(value, list) and "items" in schema and not _all_whole(schema["items"], value):
        for place, item in enumerate(value):
            check(schema["items"], item, f"{path}[{place}]")
    if isinstance(value, dict):
        _check_object(schema, value, path)


def _all_whole(schema: Schema, values: list[Any]) -> bool:
    """Whether these are all integers within the schema's bounds, seen in one pass.

    Lists of tokens are long; where one is wrong, the slow way finds which.
    """
    if not schema.keys() <= _WHOLE_RULES or schema.get("type") != "integer" or not values:
        return False
    if set(map(type, values)) != {int}:
        return False
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    return bool(min(values) >= low and max(values) <= high)


def _check_object(schema: Schema, value: Mapping[str, Any], path: str) -> None:
    known: Mapping[str, Schema] = schema.get("properties", {})
    more = schema.get("additionalProperties", True)
    for name in schema.get("required", ()):
        if name not in value:
            where = _join(path, name)
            raise ApiError(400, f"Missing required parameter: '{where}'.", param=where)
    for name, entry in value.items():
        if name in known:
            check(known[name], entry, _join(path, name))
        elif more is False:
            near = difflib.get_close_matches(name[:_LONGEST_SHOWN], known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            where = _join(path, name)[:200]
            raise ApiError(
                400, f"Unrecognized request argument supplied: {where}.{hint}",
                param=where, code="unknown_parameter",
            )  # fmt: skip
        elif more is not True:
            check(more, entry, _join(path, name))


def _check_any(choices: list[Schema], value: Any, path: str) -> None:
    choices = _told_apart(choices, value, path)
    errors = []
    for choice in choices:
        try:
            check(choice, value, path)
        except ApiError as error:
            errors.append((choice, error))
        else:
            return
    # The choice that is nearest is the one whose error says most: of the right type, or deepest.
    fitting = [error for choice, error in errors if _is_of(choice.get("type", "object"), value)]
    if fitting:
        raise max(fitting, key=lambda error: len(error.param or ""))
    kinds = [kind for choice in choices for kind in _kinds(choice.get("type", "object"))]
    raise _wrong(path, f"must be {_named(kinds)}", value)


def _told_apart(choices: list[Schema], value: Any, path: str) -> list[Schema]:
    """Of choices that are objects told apart by one property, the one that is meant."""
    objects = [choice for choice in choices if choice.get("type") == "object"]
    if not isinstance(value, dict) or len(objects) < 2:
        return choices
    for name in objects[0]["properties"]:
        tags = [_tags(choice["properties"].get(name, {})) for choice in objects]
        if all(tags):
            if name not in value:
                where = _join(path, name)
                raise ApiError(400, f"Missing required parameter: '{where}'.", param=where)
            check({"enum": [tag for own in tags for tag in own]}, value[name], _join(path, name))
            return [c for c, own in zip(objects, tags, strict=True) if value[name] in own]
    return choices


def _tags(schema: Schema) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", ()))


def _kinds(kind: str | list[str]) -> list[str]:
    return [kind] if isinstance(kind, str) else list(kind)


def _is_of(kind: str | list[str], value: Any) -> bool:
    return any(_TYPES[name](value) for name in _kinds(kind))


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)  # of any length


_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": _is_number,
    "integer": lambda value: _is_number(value) and value == int(value),
}

Rule: TypeAlias = tuple[str, Callable[[Any, Any], bool], str]
_BOUNDS: tuple[Rule, ...] = (
    ("minimum", lambda value, bound: value >= bound, "must be at least {}"),
    ("exclusiveMinimum", lambda value, bound: value > bound, "must be above {}"),
    ("maximum", lambda value, bound: value <= bound, "must be at most {}"),
)
_SIZES: Mapping[type, tuple[Rule, ...]] = {
    str: (
        ("minLength", lambda size, bound: size >= bound, "must have at least {} characters"),
        ("maxLength", lambda size, bound: size <= bound, "must have at most {} characters"),
    ),
    list: (
        ("minItems", lambda size, bound: size >= bound, "must have at least {} entries"),
        ("maxItems", lambda size, bound: size <= bound, "must have at most {} entries"),
    ),
    dict: (
        ("minProperties", lambda size, bound: size >= bound, "must have at least {} entries"),
        ("maxProperties", lambda size, bound: size <= bound, "must have at most {} entries"),
    ),
}


def _sized(expected: str, bound: int) -> str:
    """What a size must be; a bound of one is singular."""
    said = expected.format(bound)
    if bound != 1:
        return said
    return said.replace("entries", "entry").replace("characters", "character")


def _wrong(path: str, expected: str, value: Any) -> ApiError:
    shown = json.dumps(value) if not isinstance(value, dict | list) else _named_value(value)
    if len(shown) > _LONGEST_SHOWN:
        shown = shown[:_LONGEST_SHOWN] + "..."
    subject = f"'{path}'" if path else "The request's body"
    return ApiError(400, f"{subject} {expected}. Got {shown}", param=path or None)


def _named_value(value: Any) -> str:
    return "an object" if isinstance(value, dict) else "an array"


def _named(kind: str | list[str]) -> str:
    names = [_NAMES[name] for name in dict.fromkeys(_kinds(kind))]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
