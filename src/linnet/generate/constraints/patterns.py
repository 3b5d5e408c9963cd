"""The grammar that both engines follow, before it is written in the language of one.

A grammar is a set of named rules, each a :data:`Pattern`. Every constraint is compiled to one
(``compiler``); llama.cpp is given it as GBNF (``gbnf``), llguidance as Lark (``lark``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import TypeAlias

HIGHEST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_MANY = 16  # texts to choose from that are worth sorting
_DEEPEST_BRANCH = 60  # alternatives within each other that texts are written as

Ranges: TypeAlias = tuple[tuple[int, int], ...]
"""Code points, first and last of each range, in order."""


@dataclass(frozen=True)
class Text:
    """Just this text."""

    value: str


@dataclass(frozen=True)
class Characters:
    """One of these characters."""

    ranges: Ranges


@dataclass(frozen=True)
class Rule:
    """What a rule of this name says."""

    name: str


@dataclass(frozen=True)
class Sequenced:
    """One after the other."""

    parts: tuple[Pattern, ...]


@dataclass(frozen=True)
class Either:
    """One of several."""

    choices: tuple[Pattern, ...]


@dataclass(frozen=True)
class Repeated:
    """So many times; ``most`` None: without end."""

    part: Pattern
    least: int
    most: int | None


@dataclass(frozen=True)
class Lexeme:
    """A regular pattern that is one token of the language: a JSON string, a number, a text."""

    part: Pattern


@dataclass(frozen=True)
class Matching:
    """The texts of all of ``every`` and of none of ``none``; these are regular."""

    every: tuple[Pattern, ...]
    none: tuple[Pattern, ...] = ()


@dataclass(frozen=True)
class Substring:
    """Some of these texts that follow each other, joined; or none. It is regular."""

    pieces: tuple[str, ...]


Pattern: TypeAlias = (
    Text | Characters | Rule | Sequenced | Either | Repeated | Lexeme | Matching | Substring
)
Rules: TypeAlias = dict[str, Pattern]
"""Rules by name; ``root`` is where a text begins."""

ROOT = "root"


def characters(ranges: Sequence[tuple[int, int]], *, negated: bool = False) -> Characters:
    """A set of characters: ranges in any order, or all but these."""
    found = merged(ranges)
    return Characters(_without(found) if negated else found)


def one_of(texts: Sequence[str]) -> Pattern:
    """One of these texts, what they begin with alike written once.

    Engines go through all ways on at each token; so there are few at each place.
    """
    return _branches(sorted(set(texts)), 0)


def either(choices: Sequence[Pattern]) -> Pattern:
    """One of several, many texts among each other as :func:`one_of` has them."""
    if len(choices) == 1:
        return choices[0]
    texts = [choice.value for choice in choices if isinstance(choice, Text)]
    return one_of(texts) if len(choices) == len(texts) >= _MANY else Either(tuple(choices))


def _branches(texts: Sequence[str], depth: int) -> Pattern:
    """The same for texts in order that differ from each other."""
    if depth > _DEEPEST_BRANCH:
        return Either(tuple(map(Text, texts)))
    choices: list[Pattern] = []
    for _, group in groupby(texts, key=lambda text: text[:1]):
        own = list(group)
        if len(own) == 1:
            choices.append(Text(own[0]))
        else:
            pairs = zip(own[0], own[-1], strict=False)  # as they are in order
            shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            rest = _branches([text[shared:] for text in own], depth + 1)
            choices.append(Sequenced((Text(own[0][:shared]), rest)))
    return Either(tuple(choices)) if choices[1:] else choices[0]


def can_end(pattern: Pattern, complete: Collection[str]) -> bool:
    """Whether any text is allowed, where these rules allow one."""
    match pattern:
        case Rule(name):
            return name in complete
        case Sequenced(parts):
            return all(can_end(part, complete) for part in parts)
        case Either(choices):
            return any(can_end(choice, complete) for choice in choices)
        case Repeated(part, least, _):
            return not least or can_end(part, complete)
    return True


def used_by(pattern: Pattern) -> Iterator[str]:
    """The rules that a pattern refers to."""
    match pattern:
        case Rule(name):
            yield name
        case Sequenced(parts) | Either(parts):
            for part in parts:
                yield from used_by(part)
        case Repeated(part, _, _):
            yield from used_by(part)


def complete(rules: Rules) -> set[str]:
    """The rules that allow a text; the others go on without end."""
    users: dict[str, set[str]] = {}
    for name, pattern in rules.items():
        for used in used_by(pattern):
            users.setdefault(used, set()).add(name)
    found: set[str] = set()
    todo = list(rules)
    while todo:
        name = todo.pop()
        if name not in found and can_end(rules[name], found):
            found.add(name)
            todo += users.get(name, ())
    return found


def overlap(one: Characters, other: Characters) -> Characters:
    """The characters in both."""
    found = [
        (max(first, start), min(last, end))
        for first, last in one.ranges
        for start, end in other.ranges
        if max(first, start) <= min(last, end)
    ]
    return Characters(merged(found))


def merged(ranges: Sequence[tuple[int, int]]) -> Ranges:
    """Ranges in order that neither touch nor overlap."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return tuple(found)


def _without(ranges: Ranges) -> Ranges:
    """All other characters."""
    found, below = [], 0
    for first, last in ranges:
        if first > below:
            found.append((below, first - 1))
        below = last + 1
    if below <= HIGHEST:
        found.append((below, HIGHEST))
    return tuple(without_surrogates(tuple(found)))


def without_surrogates(ranges: Ranges) -> Iterator[tuple[int, int]]:
    """Ranges without the code points that are no characters."""
    low, high = _SURROGATES
    for first, last in ranges:
        if first < low:
            yield first, min(last, low - 1)
        if last > high:
            yield max(first, high + 1), last
