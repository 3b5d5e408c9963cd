"""From a constraint to the grammar of it that every engine follows.

All of it is read here, so that both engines accept and refuse the same, in the same words, and
what is wrong is told before native code sees it. llama.cpp and llguidance get the same rules.

Why not llguidance for both, though llama.cpp can be built with it: it goes on *without* a
grammar that it cannot read, or that exceeds a limit at some token; it takes the space before a
word for nothing with vocabularies of SentencePiece's kind; and the version in published wheels
is another than Python's, which reads other schemas.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from linnet.errors import ConfigError
from linnet.generate.constraints import gbnf, json_schema, lark, regex, substring
from linnet.generate.constraints.automata import written_out
from linnet.generate.constraints.cost import require_bounded, require_short
from linnet.generate.constraints.patterns import (
    ROOT,
    Either,
    Lexeme,
    Matching,
    Pattern,
    Repeated,
    Rule,
    Rules,
    Sequenced,
    complete,
    one_of,
)

if TYPE_CHECKING:
    from linnet.generate.constraint import Constraint

MOST_CHOICES = 4096
_MOST_INLINED = 2_000


@dataclass(frozen=True, eq=False)
class Grammar:
    """What a text must be, in the notation of either engine."""

    rules: Rules
    kind: str

    @cached_property
    def plain_rules(self) -> Rules:
        """As llama.cpp follows them. Raises ConfigError for what would take it too long."""
        require_short(self.rules, kind=self.kind)
        found = written_out(self.rules)
        try:
            require_bounded(found, root=ROOT, kind=self.kind)
        except ConfigError as refusal:
            root = self.rules[ROOT]
            if not isinstance(root, Lexeme):
                raise
            try:  # a deterministic automaton reads each text in one way
                found = written_out({ROOT: Matching((root.part,))})
            except ConfigError:
                raise refusal from None
        return found

    def gbnf(self, *, in_bytes: bool) -> str:
        """For llama.cpp; ``in_bytes``: for a vocabulary that spells bytes."""
        return self._gbnf_in_bytes if in_bytes else gbnf.write(self.plain_rules, in_bytes=False)

    @cached_property
    def _gbnf_in_bytes(self) -> str:
        return gbnf.write(self.plain_rules, in_bytes=True)

    @cached_property
    def lark(self) -> str:
        """For llguidance."""
        return lark.write(self.rules)


@lru_cache(maxsize=64)  # programs send the same ones again and again
def compiled(constraint: Constraint) -> Grammar:
    """The grammar of a constraint. Raises ConfigError for what cannot be followed."""
    match constraint.kind:
        case "json_schema":
            rules = json_schema.rules_of(read_schema(constraint.value))
        case "regex":
            rules = {ROOT: Lexeme(regex.read(constraint.value))}
        case "choice":
            rules = {ROOT: Lexeme(one_of(read_choices(constraint.value)))}
        case "substring":
            rules = {ROOT: Lexeme(substring.read(constraint.value).pattern)}
        case "grammar":
            rules = _as_one(gbnf.read(constraint.value))
    if ROOT not in complete(rules):
        raise ConfigError(f"a {constraint.kind} must allow a text that ends")
    grammar = Grammar(rules, constraint.kind)
    _ = grammar.plain_rules
    return grammar


def _as_one(rules: Rules) -> Rules:
    """A grammar whose rules never come back to themselves as one regular pattern.

    llguidance follows that in much less time. Others it follows character by character.
    """
    size = 0

    def inlined(pattern: Pattern, within: frozenset[str]) -> Pattern:
        nonlocal size
        size += 1
        if size > _MOST_INLINED:
            raise _NotRegular
        match pattern:
            case Rule(name):
                if name in within:
                    raise _NotRegular
                return inlined(rules[name], within | {name})
            case Sequenced(parts):
                return Sequenced(tuple(inlined(part, within) for part in parts))
            case Either(choices):
                return Either(tuple(inlined(choice, within) for choice in choices))
            case Repeated(part, least, most):
                return Repeated(inlined(part, within), least, most)
        return pattern

    try:
        return {ROOT: Lexeme(inlined(rules[ROOT], frozenset((ROOT,))))}
    except _NotRegular:
        return rules


class _NotRegular(Exception):
    """A rule comes back to itself, or is large when it is written out."""


def read_schema(value: str) -> Any:
    """A JSON Schema. Raises ConfigError unless it is JSON, and an object or true."""
    schema = _json(value, "a JSON Schema")
    if not isinstance(schema, dict) and schema is not True:
        raise ConfigError(f"a JSON Schema must be an object. Got {value[:40]!r}")
    return schema


def read_choices(value: str) -> list[str]:
    """The texts of a choice. Raises ConfigError unless it is a JSON list of some."""
    choices = _json(value, "a choice")
    good = isinstance(choices, list) and all(isinstance(one, str) and one for one in choices)
    if not good or not 0 < len(choices) <= MOST_CHOICES:
        raise ConfigError(
            f"a choice must be a JSON list of 1 to {MOST_CHOICES} texts. Got {value[:40]!r}"
        )
    return list(choices)


def _json(value: str, what: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        told = " ".join(str(error).split())[:100]
        raise ConfigError(f"{what} must be JSON. Got {value[:60]!r}: {told}") from None
