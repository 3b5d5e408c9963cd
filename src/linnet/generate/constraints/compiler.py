"""From a constraint to the grammar of it that every engine follows.

All of it is read here, so that both engines accept and refuse the same, in the same words, and
what is wrong is told before native code sees it. llama.cpp and llguidance get the same rules.

Why not llguidance for both, though llama.cpp can be built with it: it goes on *without* a
grammar that it cannot read, or that exceeds a limit at some token; it takes the space before a
word for nothing with vocabularies of SentencePiece's kind; and the version in published wheels
is another than Python's, which reads other schemas.

Constraints come from strangers, and Python that compiles holds all other threads up. So engines
take a grammar from :func:`written`, which compiles in a process that ends in time.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from linnet.errors import ConfigError
from linnet.generate.constraint import Constraint
from linnet.generate.constraints import gbnf, json_schema, lark, regex, substring, tool_calls
from linnet.generate.constraints.automata import forget, written_out
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
from linnet.tokenizer import confined

MOST_CHOICES = 4096
_MOST_INLINED = 2_000

COMPILE_SECONDS = 4.0
"""Processor time. Of 9,557 published schemas four take longer than three."""
_WAIT_FACTOR = 8  # as many seconds pass before the process is ended, on a busy machine
_TOGETHER = threading.BoundedSemaphore(2)  # compiled at a time; others wait their turn

Notation: TypeAlias = Literal["lark", "gbnf", "gbnf_in_bytes"]
"""llguidance's; llama.cpp's; that for a vocabulary that spells bytes."""


@dataclass(frozen=True, eq=False)
class Grammar:
    """What a text must be, in the notation of either engine."""

    rules: Rules
    plain_rules: Rules
    """Without what llama.cpp does not have."""

    @classmethod
    def of(cls, rules: Rules, kind: str) -> Grammar:
        """Raises ConfigError for what would take llama.cpp too long."""
        require_short(rules, kind=kind)
        plain = written_out(rules)
        try:
            require_bounded(plain, root=ROOT, kind=kind)
        except ConfigError as refusal:
            root = rules[ROOT]
            if not isinstance(root, Lexeme):
                raise
            try:  # a deterministic automaton reads each text in one way
                plain = written_out({ROOT: Matching((root.part,))})
            except ConfigError:
                raise refusal from None
        return cls(rules, plain)

    def write(self, notation: Notation) -> str:
        """The grammar as one engine reads it."""
        if notation == "lark":
            return lark.write(self.rules)
        return gbnf.write(self.plain_rules, in_bytes=notation == "gbnf_in_bytes")


def written(constraint: Constraint, notation: Notation) -> str:
    """The grammar of a constraint. Raises ConfigError for what cannot be followed.

    Compiled in a process of its own: nothing else waits meanwhile, and what takes longer than
    :data:`COMPILE_SECONDS` is refused.
    """
    grammar, refusal = _compiled_apart(constraint, notation, COMPILE_SECONDS)
    if refusal:
        raise ConfigError(refusal)
    return grammar


@lru_cache(maxsize=128)  # programs send the same ones again and again
def _compiled_apart(constraint: Constraint, notation: Notation, seconds: float) -> tuple[str, str]:
    """The grammar, or why there is none."""
    request = (asdict(constraint), notation, seconds)
    try:
        with _TOGETHER:
            outcome, told = confined.call(__name__, request, seconds=_WAIT_FACTOR * seconds)
    except confined.EndedError as error:  # who asks again may find the machine less busy
        raise ConfigError(f"this {constraint.kind} cannot be compiled: {error}") from None
    if outcome == "stopped":
        return "", f"this {constraint.kind} cannot be compiled: {told}"
    return (told, "") if outcome == "done" else ("", told)


def answer(request: Any, seconds: float) -> list[str]:
    """For :mod:`linnet.tokenizer.confined`: compile one constraint."""
    fields, notation, processor_seconds = request
    try:
        with _deadline(processor_seconds):
            return ["done", compiled(Constraint(**fields)).write(notation)]
    except ConfigError as refusal:
        return ["refused", str(refusal)]
    except _TooLongError:
        return ["stopped", f"it takes longer than {processor_seconds:g} seconds"]
    finally:
        forget()


class _TooLongError(Exception):
    pass


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raises _TooLongError after so much processor time, where the system has such a clock."""

    def ring(*_: object) -> None:
        raise _TooLongError

    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def compiled(constraint: Constraint) -> Grammar:
    """The grammar of a constraint, here. Raises ConfigError for what cannot be followed."""
    rules = _rules_of(constraint)
    kind = "set of tools" if constraint.kind == "tools" else constraint.kind
    if ROOT not in complete(rules):
        raise ConfigError(f"a {kind} must allow a text that ends")
    return Grammar.of(rules, kind)


def _rules_of(constraint: Constraint) -> Rules:
    match constraint.kind:
        case "json_schema":
            return json_schema.rules_of(read_schema(constraint.value))
        case "regex":
            return {ROOT: Lexeme(regex.read(constraint.value))}
        case "choice":
            return {ROOT: Lexeme(one_of(read_choices(constraint.value)))}
        case "substring":
            return {ROOT: Lexeme(substring.read(constraint.value).pattern)}
        case "grammar":
            return _as_one(gbnf.read(constraint.value))
    asked = _json(constraint.value, "a set of tools")
    return tool_calls.rules_of(asked, lambda form: _rules_of(Constraint(**form)))


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
