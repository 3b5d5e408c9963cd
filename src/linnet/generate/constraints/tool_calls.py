"""Answers that are calls of tools, or else something of another form, as one grammar.

``{"calls": SCHEMA, "opening": "<tool_call>", "closing": "</tool_call>", "most": 16,
"entered": false, "otherwise": ...}``: one call is a document of the schema; with an opening each
stands between that and the closing, and up to ``most`` follow each other. ``entered``: the prompt
ends within the first. ``otherwise``: null where only calls are allowed, ``"text"`` for text that
calls may follow, or a constraint ``{"kind": ..., "value": ...}`` that a whole answer may follow
instead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from linnet.generate.constraints import json_schema
from linnet.generate.constraints.patterns import (
    ROOT,
    Characters,
    Either,
    Lexeme,
    Matching,
    Pattern,
    Repeated,
    Rule,
    Rules,
    Sequenced,
    Text,
    characters,
)

ANYTHING = "text"
_LINE = Repeated(Text("\n"), 0, 1)
_CHARACTER = characters([], negated=True)
_BLANK = Characters(((0x09, 0x0A), (0x0D, 0x0D), (0x20, 0x20)))
_NO_JSON = characters([*_BLANK.ranges, (0x5B, 0x5B), (0x7B, 0x7B)], negated=True)


def rules_of(asked: Any, rules_of_form: Callable[[Any], Rules]) -> Rules:
    """The rules of an answer; ``rules_of_form``: those of a constraint in JSON.

    Raises ConfigError for what a grammar cannot keep.
    """
    calls = _renamed(json_schema.rules_of(asked["calls"]), "call-")
    one, most, otherwise = Rule(f"call-{ROOT}"), asked["most"], asked["otherwise"]
    opening, closing = asked.get("opening", ""), asked.get("closing", "")
    if not opening:
        free: Pattern = Lexeme(_no_json())
        return _either(one, free, calls, otherwise, rules_of_form)
    end = Sequenced((_LINE, Text(closing)))
    further = Sequenced((_LINE, Text(opening), _LINE, one, end))
    several = Sequenced((one, end, Repeated(further, 0, most - 1)))
    if asked["entered"]:
        return {ROOT: several if most > 1 else one, **calls}
    if otherwise == ANYTHING:
        before = Sequenced((_before(opening), _LINE, several))
        return {ROOT: Either((before, _without(opening))), **calls}
    return _either(
        Sequenced((Text(opening), _LINE, several)), Text(""), calls, otherwise, rules_of_form
    )


def _either(
    calling: Pattern, free: Pattern, calls: Rules, otherwise: Any, rules_of_form: Any
) -> Rules:
    if otherwise is None:
        return {ROOT: calling, **calls}
    if otherwise == ANYTHING:
        return {ROOT: Either((calling, free)), **calls}
    form = _renamed(rules_of_form(otherwise), "form-")
    return {ROOT: Either((calling, Rule(f"form-{ROOT}"))), **calls, **form}


def _before(opening: str) -> Pattern:
    """Text up to the first opening, with it."""
    anything = Repeated(_CHARACTER, 0, None)
    early = Sequenced((anything, Text(opening), Repeated(_CHARACTER, 1, None)))
    return Lexeme(Matching((Sequenced((anything, Text(opening))),), (early,)))


def _without(opening: str) -> Pattern:
    """Text that never has the opening."""
    anything = Repeated(_CHARACTER, 0, None)
    return Lexeme(Matching((anything,), (Sequenced((anything, Text(opening), anything)),)))


def _no_json() -> Pattern:
    """Text that does not begin as an object or a list does."""
    some = Sequenced((Repeated(_BLANK, 0, None), _NO_JSON, Repeated(_CHARACTER, 0, None)))
    return Repeated(some, 0, 1)


def _renamed(rules: Rules, prefix: str) -> Rules:
    """The same rules under names that begin so."""

    def renamed(pattern: Pattern) -> Pattern:
        match pattern:
            case Rule(name):
                return Rule(prefix + name)
            case Sequenced(parts):
                return Sequenced(tuple(map(renamed, parts)))
            case Either(choices):
                return Either(tuple(map(renamed, choices)))
            case Repeated(part, least, most):
                return Repeated(renamed(part), least, most)
        return pattern

    return {prefix + name: renamed(pattern) for name, pattern in rules.items()}
