"""Grammars in llama.cpp's notation (GBNF): read and written.

Those that are read come from strangers: what is wrong with them is told here, in one line, before
native code sees it.

Reference: ``grammars/README.md`` in https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from linnet.errors import ConfigError
from linnet.generate.constraints.patterns import (
    HIGHEST,
    ROOT,
    Characters,
    Either,
    Lexeme,
    Matching,
    Pattern,
    Ranges,
    Repeated,
    Rule,
    Rules,
    Sequenced,
    Substring,
    Text,
    characters,
    either,
    merged,
    without_surrogates,
)

MOST_REPEATS = 1_000
"""llama.cpp refuses more."""

_LENGTH_BOUNDS = (0x7F, 0x7FF, 0xFFFF, HIGHEST)  # of one, two, three and four bytes
_DEPTH = 100

_HEAD = re.compile(r"\s*([A-Za-z0-9_-]+)\s*::=")
_BLANK = re.compile(r"(?:[ \t]|#[^\n]*)*")
_BLANK_LINES = re.compile(r"(?:\s|#[^\n]*)*")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_BOUNDS = re.compile(r"\{\s*(\d{1,9})\s*(,?)\s*(\d{1,9})?\s*\}")
_ESCAPED = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_SIMPLE: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def read(grammar: str) -> Rules:
    """The rules of a grammar by name, ``root`` first. Raises ConfigError naming what is wrong."""
    reader = _Reader(grammar)
    rules: Rules = {}
    reader.skip(lines=True)
    while reader.place < len(grammar):
        name = reader.head()
        rules[name] = reader.either(nested=False)
        reader.skip(lines=True)
    if ROOT not in rules:
        raise ConfigError(
            f"a grammar must have a rule '{ROOT}'. Got {', '.join(rules)[:60] or 'none'}"
        )
    for name in sorted(reader.named - rules.keys()):
        raise ConfigError(f"a grammar must say what each of its rules is. '{name}' is missing")
    return {ROOT: rules[ROOT], **rules}


class _Reader:
    """Goes through a grammar once, from its beginning to its end."""

    def __init__(self, grammar: str) -> None:
        self.text = grammar
        self.place = 0
        self.depth = 0
        self.named: set[str] = set()

    def head(self) -> str:
        """The name of a rule and what stands behind it."""
        found = _HEAD.match(self.text, self.place)
        if found is None:
            raise self._refusal("the name of a rule and '::='")
        self.place = found.end()
        self.skip(lines=True)
        return found[1]

    def either(self, *, nested: bool) -> Pattern:
        """Alternatives; ``nested``: in brackets, where they may go over lines."""
        self.depth += 1
        if self.depth > _DEPTH:
            raise self._refusal(f"brackets at most {_DEPTH} deep")
        choices = [self._sequence(nested=nested)]
        while self._continues(nested=nested):
            self.place += 1
            self.skip(lines=True)
            choices.append(self._sequence(nested=nested))
        self.depth -= 1
        return either(choices)

    def skip(self, *, lines: bool) -> None:
        """Pass over blanks and remarks."""
        found = (_BLANK_LINES if lines else _BLANK).match(self.text, self.place)
        assert found is not None
        self.place = found.end()

    def _continues(self, *, nested: bool) -> bool:
        """Whether another alternative follows; it may stand on the next line."""
        place = self.place
        self.skip(lines=True)
        if self.text.startswith("|", self.place):
            return True
        if not nested:
            self.place = place
        return False

    def _sequence(self, *, nested: bool) -> Pattern:
        parts: list[Pattern] = []
        while True:
            self.skip(lines=nested)
            part = self._atom()
            if part is None:
                return parts[0] if len(parts) == 1 else Sequenced(tuple(parts))
            parts.append(self._repeated(part, nested=nested))

    def _atom(self) -> Pattern | None:
        character = self.text[self.place : self.place + 1]
        if character == '"':
            return self._quoted()
        if character == "[":
            return self._class()
        if character == "(":
            self.place += 1
            found = self.either(nested=True)
            self.skip(lines=True)
            if not self.text.startswith(")", self.place):
                raise self._refusal("')'")
            self.place += 1
            return found
        if character == ".":
            self.place += 1
            return characters([], negated=True)
        name = _NAME.match(self.text, self.place)
        if name is None:
            if character and character not in "|)\n\r":
                raise self._refusal('a name, "text", [a class] or (a group)')
            return None
        self.place = name.end()
        self.named.add(name[0])
        return Rule(name[0])

    def _repeated(self, part: Pattern, *, nested: bool) -> Pattern:
        while True:
            self.skip(lines=nested)
            simple = _SIMPLE.get(self.text[self.place : self.place + 1])
            if simple is not None:
                self.place += 1
                part = Repeated(part, *simple)
                continue
            found = _BOUNDS.match(self.text, self.place)
            if found is None:
                return part
            self.place = found.end()
            least = int(found[1])
            most = (int(found[3]) if found[3] else None) if found[2] else least
            if max(least, most or 0) > MOST_REPEATS:
                raise self._refusal(f"at most {MOST_REPEATS:,} repetitions")
            part = Repeated(part, least, most)

    def _quoted(self) -> Text:
        self.place += 1
        found = []
        while not self.text.startswith('"', self.place):
            found.append(chr(self._character()))
        self.place += 1
        return Text("".join(found))

    def _class(self) -> Characters:
        self.place += 1
        negated = self.text.startswith("^", self.place)
        self.place += negated
        ranges = []
        while not self.text.startswith("]", self.place):
            first = last = self._character()
            if self.text.startswith("-", self.place) and not self.text.startswith("-]", self.place):
                self.place += 1
                last = self._character()
            if last < first:
                raise self._refusal("a range that ends after it begins")
            ranges.append((first, last))
        self.place += 1
        made = characters(ranges, negated=negated)
        if not made.ranges:
            raise self._refusal("a class with characters")
        return made

    def _character(self) -> int:
        if self.place >= len(self.text):
            raise self._refusal("the end of a text or class")
        if self.text[self.place] != "\\":
            self.place += 1
            return ord(self.text[self.place - 1])
        found = _ESCAPED.match(self.text, self.place)
        if found is None or (found[4] is not None and found[4].isalnum() and found[4] not in "nrt"):
            raise self._refusal("an escape that is known")
        self.place = found.end()
        if found[4] is not None:
            return ord(_CONTROLS.get(found[4], found[4]))
        code = int(found[1] or found[2] or found[3], 16)
        if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise self._refusal("an escape that names a character")
        return code

    def _refusal(self, expected: str) -> ConfigError:
        line = self.text.count("\n", 0, self.place) + 1
        rest = self.text[self.place : self.place + 30]
        return ConfigError(f"a grammar must have {expected}. Got {rest!r} in line {line}")


def write(rules: Rules, *, in_bytes: bool) -> str:
    """llama.cpp's notation of rules without ``Lexeme`` and ``Matching``.

    ``in_bytes``: for a vocabulary with a character for each byte of UTF-8 (Latin-1), as the files
    made for serving have it; a set of characters is then the sequences of bytes that it has.
    """
    writer = _Writer(in_bytes, rules.keys())
    written = {name: writer.pattern(pattern) for name, pattern in rules.items()}
    return "\n".join(f"{name} ::= {text}" for name, text in {**written, **writer.groups}.items())


def byte_sequences(ranges: Ranges) -> Iterator[tuple[tuple[int, int], ...]]:
    """The UTF-8 of sets of code points, as sequences of ranges of bytes."""
    for first, last in without_surrogates(ranges):
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


class _Writer:
    """Writes patterns; what is repeated and no single symbol becomes a rule of its own.

    llama.cpp counts the rules in brackets for each of their repetitions, and soon refuses.
    """

    def __init__(self, in_bytes: bool, taken: Collection[str]) -> None:
        self.in_bytes = in_bytes
        self.taken = taken
        self.groups: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def pattern(self, pattern: Pattern, *, inside: bool = False) -> str:
        """A pattern in llama.cpp's notation; ``inside``: where it must hold together."""
        match pattern:
            case Text(value):
                spelt = value
                if self.in_bytes:
                    spelt = value.encode("utf-8", "replace").decode("latin-1")
                return '"' + "".join(map(_in_quotes, spelt)) + '"'
            case Characters(ranges):
                return _tree(list(byte_sequences(ranges))) if self.in_bytes else _class(ranges)
            case Rule(name):
                return name
            case Sequenced(parts):
                written = " ".join(self.pattern(part, inside=True) for part in parts)
                return f"({written})" if inside else written or '""'
            case Either(choices):
                return "(" + " | ".join(map(self.pattern, choices)) + ")"
            case Repeated(_, _, 0):
                return '""'
            case Repeated(part, least, most):
                return self._repeated(part, least, most)
            case Lexeme() | Matching() | Substring():
                raise TypeError("a grammar for llama.cpp must be written out first")

    def _repeated(self, part: Pattern, least: int, most: int | None) -> str:
        written = self.pattern(part, inside=True)
        limits = {(0, None): "*", (1, None): "+", (0, 1): "?"}.get((least, most))
        if limits is not None:
            return f"({written}){limits}" if isinstance(part, Repeated) else written + limits
        if written.startswith("(") or isinstance(part, Repeated):
            written = self._group(written)
        return f"{written}{{{least},{'' if most is None else most}}}"

    def _group(self, written: str) -> str:
        """The name of a rule for this."""
        if written not in self._names:
            number = len(self._names)
            while (name := f"group-{number}") in self.taken or name in self.groups:
                number += 1
            self._names[written] = name
            self.groups[name] = written
        return self._names[written]


def _tree(sequences: Sequence[Sequence[tuple[int, int]]]) -> str:
    """Sequences of ranges of bytes with what follows a byte written once: few ways at a place."""
    following: dict[tuple[int, int], list[Sequence[tuple[int, int]]]] = {}
    for sequence in sequences:
        following.setdefault(sequence[0], []).append(sequence[1:])
    leading: dict[str, list[tuple[int, int]]] = {}
    for first, rests in following.items():
        leading.setdefault(_tree(rests) if rests[0] else "", []).append(first)
    choices = [f"{_class(merged(firsts))} {rest}".strip() for rest, firsts in leading.items()]
    return choices[0] if len(choices) == 1 and " " not in choices[0] else f"({' | '.join(choices)})"


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
