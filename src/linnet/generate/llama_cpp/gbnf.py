"""Grammars in llama.cpp's notation (GBNF), read into patterns.

They come from strangers: what cannot be read is refused here, in one line, before
native code sees it.

Reference: ``grammars/README.md`` in https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

import re

from linnet.errors import ConfigError
from linnet.generate.llama_cpp.pattern import (
    Characters,
    Pattern,
    Repeated,
    Rule,
    Sequenced,
    Text,
    characters,
    either,
)
from linnet.generate.llama_cpp.regex import MOST_REPEATS

ROOT = "root"
_DEPTH = 100

_HEAD = re.compile(r"\s*([A-Za-z0-9_-]+)\s*::=")
_BLANK = re.compile(r"(?:[ \t]|#[^\n]*)*")
_BLANK_LINES = re.compile(r"(?:\s|#[^\n]*)*")
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_BOUNDS = re.compile(r"\{\s*(\d{1,9})\s*(,?)\s*(\d{1,9})?\s*\}")
_ESCAPED = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t"}
_SIMPLE: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


def read(grammar: str) -> dict[str, Pattern]:
    """The rules of a grammar by name, ``root`` first. Raises ConfigError naming what is wrong."""
    reader = _Reader(grammar)
    rules: dict[str, Pattern] = {}
    reader.skip(lines=True)
    while reader.place < len(grammar):
        name = reader.head()
        rules[name] = reader.either(nested=False)
        reader.skip(lines=True)
    if ROOT not in rules:
        raise ConfigError(f"a grammar must have a rule '{ROOT}'. Got {', '.join(rules) or 'none'}")
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
