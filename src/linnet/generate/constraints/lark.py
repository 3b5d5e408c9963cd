"""Grammars in llguidance's notation (Lark), written.

Reference: ``docs/syntax.md`` in https://github.com/guidance-ai/llguidance.
"""

from __future__ import annotations

import json
import re

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
    Substring,
    Text,
    without_surrogates,
)

_PLAIN = re.compile(r"[A-Za-z0-9 _,:;<>=!%&@'\"-]")
_VALID = "/(?s:.*)/"
"""Any text in UTF-8: what is not something may otherwise be no text at all."""


def write(rules: Rules) -> str:
    """These rules, each regular part of which is one terminal."""
    return _Writer(rules).whole()


class _Writer:
    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.names = {name: f"r{place}" for place, name in enumerate(rules)}
        self.names[ROOT] = "start"
        self.terminals: dict[str, str] = {}

    def whole(self) -> str:
        lines = [f"{self.names[name]}: {self._rule(p)}" for name, p in self.rules.items()]
        lines += [f"{name}: {body}" for body, name in self.terminals.items()]
        return "\n".join(lines) + "\n"

    def _rule(self, pattern: Pattern) -> str:
        match pattern:
            case Text(value):
                return json.dumps(value, ensure_ascii=False) if value else '""'
            case Rule(name):
                return self.names[name]
            case Sequenced(parts):
                return " ".join(map(self._rule, parts)) if parts else '""'
            case Either(choices):
                return f"({' | '.join(map(self._rule, choices))})"
            case Repeated(_, _, 0):
                return '""'
            case Repeated(part, least, most):
                return f"({self._rule(part)}){_times(least, most)}"
            case Lexeme(part):
                return self._terminal(part)
        return self._terminal(pattern)

    def _terminal(self, pattern: Pattern) -> str:
        if isinstance(pattern, Matching):
            every = [self._terminal(part) for part in pattern.every]
            none = [f"~{self._terminal(part)}" for part in pattern.none]
            body = " & ".join([*every, *none, *([_VALID] if none else [])])
        elif isinstance(pattern, Substring):
            body = f"%regex {json.dumps({'substring_chunks': pattern.pieces}, ensure_ascii=False)}"
        elif isinstance(pattern, Sequenced | Either) and _is_composed(pattern):
            joint = " " if isinstance(pattern, Sequenced) else " | "
            body = joint.join(map(self._terminal, _parts(pattern)))
        else:
            body = f"/{self._regex(pattern)}/"
        return self.terminals.setdefault(body, f"T{len(self.terminals)}")

    def _regex(self, pattern: Pattern) -> str:
        match pattern:
            case Text(value):
                return "".join(map(_escaped, value))
            case Characters(ranges):
                spans = without_surrogates(ranges)
                return "[" + "".join(_span(first, last) for first, last in spans) + "]"
            case Rule(name):
                return self._regex(self.rules[name])
            case Lexeme(part):
                return self._regex(part)
            case Sequenced(parts):
                return "".join(map(self._regex, parts))
            case Either(choices):
                return f"(?:{'|'.join(map(self._regex, choices))})"
            case Repeated(_, _, 0):
                return ""
            case Repeated(part, least, most):
                return f"(?:{self._regex(part)}){_times(least, most)}"
            case Matching() | Substring():
                raise TypeError("'and' and 'not' stand at the top of a terminal only")


def _is_composed(pattern: Sequenced | Either) -> bool:
    """Whether it has parts that no expression has."""
    return any(isinstance(part, Matching | Substring) for part in _parts(pattern))


def _parts(pattern: Sequenced | Either) -> tuple[Pattern, ...]:
    return pattern.parts if isinstance(pattern, Sequenced) else pattern.choices


def _times(least: int, most: int | None) -> str:
    short = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
    return short or (f"{{{least},}}" if most is None else f"{{{least},{most}}}")


def _span(first: int, last: int) -> str:
    return _code(first) if first == last else f"{_code(first)}-{_code(last)}"


def _code(code: int) -> str:
    return f"\\x{{{code:x}}}"


def _escaped(character: str) -> str:
    return character if _PLAIN.fullmatch(character) else _code(ord(character))
