"""Regular expressions of the kind that automata match, read into patterns.

Characters, classes, groups, alternatives and repetition. What looks around, refers back
or depends on the language (``\\b``, ``(?i)``) is refused by name. ``\\d``, ``\\w`` and
``\\s`` mean their ASCII characters and ``\\D``, ``\\S`` what is outside them in all of Unicode,
so that a text that follows them follows them for every reader of such expressions.
"""

from __future__ import annotations

import string
import unicodedata
from functools import cache

from linnet.errors import ConfigError
from linnet.generate.llama_cpp.pattern import (
    HIGHEST,
    Characters,
    Either,
    Pattern,
    Ranges,
    Repeated,
    Sequenced,
    Text,
    characters,
    either,
)

MOST_REPEATS = 1_000
"""llama.cpp refuses more."""

WHITE_SPACE = 20
"""Where an expression leaves the amount of white space free: so much of it at most."""

_DEPTH = 100
_SPACES = " \t\n\r\f\v"
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0", "a": "\a"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


def read(expression: str) -> Pattern:
    """The pattern of an expression for a whole text. Raises ConfigError for what it cannot."""
    return _Reader(expression).whole()


class _Reader:
    """Goes through an expression once, from left to right."""

    def __init__(self, expression: str) -> None:
        self.text = expression
        self.place = 0
        self.depth = 0

    def whole(self) -> Pattern:
        found = self._either()
        if self.place < len(self.text):
            raise self._refusal(f"an unmatched '{self.text[self.place]}'")
        return found

    def _either(self) -> Pattern:
        self.depth += 1
        if self.depth > _DEPTH:
            raise self._refusal(f"groups more than {_DEPTH} deep")
        choices = [self._sequence()]
        while self._next("|"):
            choices.append(self._sequence())
        self.depth -= 1
        return either(choices)

    def _sequence(self) -> Pattern:
        parts: list[Pattern] = []
        while self.place < len(self.text) and self.text[self.place] not in "|)":
            part = self._atom()
            if part is not None:
                parts.append(self._repeated(part))
        return parts[0] if len(parts) == 1 else Sequenced(tuple(parts))

    def _atom(self) -> Pattern | None:
        character = self.text[self.place]
        self.place += 1
        match character:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case ".":
                return characters([(ord("\n"), ord("\n"))], negated=True)
            case "\\":
                return self._escape()
            case "^" if self.place == 1 or self.depth == 1:
                if self.text[: self.place - 1].strip("(") in ("", "?:"):
                    return None
                raise self._refusal("'^' in the middle")
            case "$":
                if self.text[self.place :].strip(")") == "":
                    return None
                raise self._refusal("'$' in the middle")
            case "*" | "+" | "?" | "^" | "{":
                if character == "{":
                    return Text(character)
                raise self._refusal(f"'{character}' with nothing to repeat")
        return Text(character)

    def _group(self) -> Pattern:
        if self._next("?"):
            if self._next("P<") or (self.text[self.place : self.place + 1] == "<"):
                self._name()
            elif not self._next(":"):
                raise self._refusal(f"'(?{self.text[self.place : self.place + 1]}'")
        found = self._either()
        if not self._next(")"):
            raise self._refusal("a '(' that is never closed")
        return found

    def _name(self) -> None:
        self._next("<")
        end = self.text.find(">", self.place)
        if end < 0 or not self.text[self.place : end].isidentifier():
            raise self._refusal("a look behind, or a group without a name")
        self.place = end + 1

    def _repeated(self, part: Pattern) -> Pattern:
        while self.place < len(self.text):
            bounds = self._bounds()
            if bounds is None:
                return part
            least, most = bounds
            if max(least, most or 0) > MOST_REPEATS:
                raise self._refusal(f"a repetition of more than {MOST_REPEATS:,}")
            if most is not None and most < least:
                raise self._refusal(f"a repetition of at most {most} and at least {least}")
            self._next("?")  # as few as possible: the same texts
            if most is None and _is_white(part):
                most = least + WHITE_SPACE
            part = Repeated(part, least, most)
        return part

    def _bounds(self) -> tuple[int, int | None] | None:
        character = self.text[self.place]
        simple = {"*": (0, None), "+": (1, None), "?": (0, 1)}.get(character)
        if simple is not None:
            self.place += 1
            return simple
        if character != "{":
            return None
        end = self.text.find("}", self.place)
        inner = self.text[self.place + 1 : end] if end > 0 else ""
        least, comma, most = inner.partition(",")
        if comma and not least and most.isdigit():
            raise self._refusal(f"'{{,{most}}}', which means two things")
        if not (least.isascii() and least.isdigit()) or not (most == "" or most.isdigit()):
            return None  # a plain brace
        self.place = end + 1
        if not comma:
            return int(least), int(least)
        return int(least), int(most) if most else None

    def _class(self) -> Characters:
        negated = self._next("^")
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self._next("]"):
            if self.place >= len(self.text):
                raise self._refusal("a '[' that is never closed")
            ranges += self._class_part()
            first = False
        made = characters(ranges, negated=negated)
        if not made.ranges:
            raise self._refusal("a class without characters")
        return made

    def _class_part(self) -> Ranges:
        start = self._class_end()
        if isinstance(start, Characters):
            return start.ranges
        if self.text[self.place : self.place + 1] != "-" or (
            self.text[self.place + 1 : self.place + 2] in ("]", "")
        ):
            return ((start, start),)
        self.place += 1
        last = self._class_end()
        if isinstance(last, Characters) or last < start:
            raise self._refusal("a range that ends before it begins")
        return ((start, last),)

    def _class_end(self) -> int | Characters:
        character = self.text[self.place]
        if self.text.startswith(("[:", "&&", "--", "~~"), self.place):
            raise self._refusal(f"'{self.text[self.place : self.place + 2]}' in a class")
        self.place += 1
        if character != "\\":
            return ord(character)
        found = self._escape()
        return ord(found.value) if isinstance(found, Text) else found

    def _escape(self) -> Text | Characters:
        character = self.text[self.place : self.place + 1]
        self.place += 1
        if character in _CLASSES:
            return _CLASSES[character]
        if character in ("D", "S"):
            return _outside(character)
        if character in _HEX_DIGITS:
            return Text(self._code(_HEX_DIGITS[character]))
        if character in _CONTROLS:
            return Text(_CONTROLS[character])
        if not character or character.isalnum():
            raise self._refusal(f"'\\{character}'")
        return Text(character)

    def _code(self, digits: int) -> str:
        written = self.text[self.place : self.place + digits]
        self.place += digits
        if self.text[self.place - digits : self.place - digits + 1] == "{":
            end = self.text.find("}", self.place - digits)
            written = self.text[self.place - digits + 1 : max(end, 0)]
            self.place = end + 1
        elif len(written) < digits:
            written = ""
        try:
            code = int(written, 16) if set(written) <= set(string.hexdigits) else -1
        except ValueError:
            code = -1
        if not 0 <= code <= HIGHEST or 0xD800 <= code <= 0xDFFF:
            raise self._refusal("an escape that names no character")
        return chr(code)

    def _next(self, expected: str) -> bool:
        if self.text.startswith(expected, self.place):
            self.place += len(expected)
            return True
        return False

    def _refusal(self, found: str) -> ConfigError:
        return ConfigError(
            "expected a regular expression of characters, classes, groups, '|' and repetition. "
            f"Got {found} at place {self.place} of {self.text[:60]!r}"
        )


def _of(text: str) -> Characters:
    return characters([(ord(character), ord(character)) for character in text])


_CLASSES = {
    "d": _of(string.digits),
    "w": _of(string.ascii_letters + string.digits + "_"),
    "s": _of(_SPACES),
    # Which letters others count among \w differs; what is outside for all of them is ASCII.
    "W": _of("".join(c for c in map(chr, range(128)) if not (c.isalnum() or c == "_"))),
}


@cache
def _outside(kind: str) -> Characters:
    """``\\D`` and ``\\S``: neither a digit, or white space, of ASCII nor of Unicode."""
    inside = (
        [code for code in range(HIGHEST + 1) if unicodedata.category(chr(code)) == "Nd"]
        if kind == "D"
        else [code for code in range(0x3001) if chr(code).isspace()]
    )
    return characters([(code, code) for code in inside], negated=True)


def _is_white(part: Pattern) -> bool:
    if isinstance(part, Text):
        return part.value.isspace()
    if isinstance(part, Characters):
        return all(last < 128 and first >= 9 for first, last in part.ranges) and all(
            chr(code).isspace() for first, last in part.ranges for code in range(first, last + 1)
        )
    return isinstance(part, Either) and all(map(_is_white, part.choices))
