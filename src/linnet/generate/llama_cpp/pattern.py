"""Patterns that regular expressions and llama.cpp's grammars are both made of.

A grammar is written in characters, or in the bytes of their UTF-8 with a character for
each byte, as ``vocabulary`` spells tokens. A set of characters is then the sequences of
ranges of bytes that its code points have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import TypeAlias

HIGHEST = 0x10FFFF
_SURROGATES = (0xD800, 0xDFFF)
_LENGTH_BOUNDS = (0x7F, 0x7FF, 0xFFFF, HIGHEST)  # of one, two, three and four bytes
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


Pattern: TypeAlias = Text | Characters | Rule | Sequenced | Either | Repeated


def characters(ranges: Sequence[tuple[int, int]], *, negated: bool = False) -> Characters:
    """A set of characters: ranges in any order, or all but these."""
    merged = _merged(ranges)
    return Characters(_without(merged) if negated else merged)


def one_of(texts: Sequence[str]) -> Pattern:
    """One of these texts, what they begin with alike written once.

    llama.cpp goes through all ways on at each token; so there are few at each place.
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


def overlap(one: Characters, other: Characters) -> Characters:
    """The characters in both."""
    found = [
        (max(first, start), min(last, end))
        for first, last in one.ranges
        for start, end in other.ranges
        if max(first, start) <= min(last, end)
    ]
    return Characters(_merged(found))


def as_grammar(rules: dict[str, Pattern], *, in_bytes: bool) -> str:
    """llama.cpp's notation of these rules, of which ``root`` is the first to be followed."""
    return "\n".join(f"{name} ::= {_written(pattern, in_bytes)}" for name, pattern in rules.items())


def byte_sequences(ranges: Ranges) -> Iterator[tuple[tuple[int, int], ...]]:
    """The UTF-8 of sets of code points, as sequences of ranges of bytes."""
    for first, last in _without_surrogates(ranges):
        below = 0
        for bound in _LENGTH_BOUNDS:
            if first <= bound and last >= below:
                yield from _aligned(max(first, below), min(last, bound))
            below = bound + 1


def _aligned(first: int, last: int) -> Iterator[tuple[tuple[int, int], ...]]:
    """Cut at places where the bytes after the first run through all that they can be."""
    start, end = chr(first).encode(), chr(last).encode()
    for place in range(1, len(start)):
        size = 1 << (6 * place)  # code points that share all but the last ``place`` bytes
        if first // size != last // size:
            if first % size:
                middle = (first // size + 1) * size
                yield from _aligned(first, middle - 1)
                yield from _aligned(middle, last)
                return
            if (last + 1) % size:
                middle = last // size * size
                yield from _aligned(first, middle - 1)
                yield from _aligned(middle, last)
                return
    yield tuple(zip(start, end, strict=True))


def _written(pattern: Pattern, in_bytes: bool, *, inside: bool = False) -> str:
    """A pattern in llama.cpp's notation; ``inside``: where it must hold together."""
    match pattern:
        case Text(value):
            spelt = value.encode("utf-8", "replace").decode("latin-1") if in_bytes else value
            return '"' + "".join(map(_in_quotes, spelt)) + '"'
        case Characters(ranges):
            return _written_set(ranges, in_bytes)
        case Rule(name):
            return name
        case Sequenced(parts):
            written = " ".join(_written(part, in_bytes, inside=True) for part in parts)
            return f"({written})" if inside else written or '""'
        case Either(choices):
            return "(" + " | ".join(_written(choice, in_bytes) for choice in choices) + ")"
        case Repeated(part, least, most):
            limits = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
            if limits is None:
                limits = f"{{{least},{'' if most is None else most}}}"
            written = _written(part, in_bytes, inside=True)
            return f"({written}){limits}" if isinstance(part, Repeated) else written + limits


def _written_set(ranges: Ranges, in_bytes: bool) -> str:
    if not in_bytes:
        return _class(ranges)
    one = [part for part in ranges if part[1] <= 0x7F]
    more = [
        "".join(f"{_class((part,))} " for part in sequence).strip()
        for sequence in byte_sequences(ranges)
        if len(sequence) > 1
    ]
    single = [sequence[0] for sequence in byte_sequences(ranges) if len(sequence) == 1]
    if not more:
        return _class(tuple(one))
    return "(" + " | ".join([*([_class(tuple(single))] if single else []), *more]) + ")"


def _class(ranges: Ranges) -> str:
    return "[" + "".join(_span(first, last) for first, last in ranges) + "]"


def _span(first: int, last: int) -> str:
    return _in_class(first) if first == last else f"{_in_class(first)}-{_in_class(last)}"


def _in_class(code: int) -> str:
    character = chr(code)
    return character if character.isascii() and character.isalnum() else _escaped(code)


def _in_quotes(character: str) -> str:
    plain = character.isascii() and character.isprintable() and character not in '"\\'
    return character if plain else _escaped(ord(character))


def _escaped(code: int) -> str:
    return f"\\x{code:02X}" if code < 0x100 else f"\\U{code:08X}"


def _merged(ranges: Sequence[tuple[int, int]]) -> Ranges:
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
    return tuple(_without_surrogates(tuple(found)))


def _without_surrogates(ranges: Ranges) -> Iterator[tuple[int, int]]:
    low, high = _SURROGATES
    for first, last in ranges:
        if first < low:
            yield first, min(last, low - 1)
        if last > high:
            yield max(first, high + 1), last
