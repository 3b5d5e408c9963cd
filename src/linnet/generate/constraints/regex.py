"""Regular expressions of the kind that automata match, read into patterns.

Characters, classes (``[[:alpha:]]`` and ``\\p{Lu}`` too), groups, alternatives, repetition, and
``(?i)`` and ``(?s)``. What looks around or refers back is refused by name.

Readers of expressions differ about ``\\d``, ``\\w``, ``\\s`` and ``.`` outside ASCII. What is
written follows an expression for all of them, so these are read narrowly. Where a text must *not*
match (``wide``) they are read as widely as anyone does.
"""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections.abc import Iterable
from functools import cache

from linnet.errors import ConfigError
from linnet.generate.constraints.patterns import (
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

MOST_REPEATS = 100_000

WHITE_SPACE = 20
"""Where an expression leaves the amount of white space free: so much of it at most."""

_DEPTH = 100
_SPACES = " \t\n\r\f\v"
_CONTROLS = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v", "0": "\0", "a": "\a"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


def read(
    expression: str, *, search: bool = False, wide: bool = False, from_anchor: bool = False
) -> Pattern:
    """The pattern of an expression for a whole text. Raises ConfigError for what it cannot.

    ``search``: of the texts that hold a match anywhere; ``from_anchor``: of those, where one end
    alone is anchored; ``wide``: for what must not match.
    """
    return _Reader(expression, search=search, wide=wide, from_anchor=from_anchor).whole()


class _Reader:
    """Goes through an expression once, from left to right."""

    def __init__(self, expression: str, *, search: bool, wide: bool, from_anchor: bool) -> None:
        self.text = expression
        self.search, self.wide, self.from_anchor = search, wide, from_anchor
        self.place = 0
        self.depth = 0
        self.any_case = self.dot_all = False
        self.leading = True
        """Whether nothing stands before this place in the texts that are matched."""

    def whole(self) -> Pattern:
        if self.text.startswith("(?") and self.text[2:3] in ("i", "s"):
            end = self.text.find(")")
            flags = self.text[2 : max(end, 0)]
            if set(flags) <= {"i", "s"}:
                self.any_case, self.dot_all = "i" in flags, "s" in flags
                self.place = end + 1
        found = self._either()
        if self.place < len(self.text):
            raise self._refusal(f"an unmatched '{self.text[self.place]}'")
        return found

    def _either(self) -> Pattern:
        self.depth += 1
        if self.depth > _DEPTH:
            raise self._refusal(f"groups more than {_DEPTH} deep")
        leading = self.leading
        choices = [self._sequence()]
        while self._next("|"):
            self.leading = leading
            choices.append(self._sequence())
        self.leading = False
        self.depth -= 1
        return either(choices)

    def _sequence(self) -> Pattern:
        parts: list[Pattern] = []
        begins, ends = self.depth > 1, self.depth > 1
        while self.place < len(self.text) and self.text[self.place] not in "|)":
            anchor = self.text[self.place]
            part = self._atom()
            if part is not None:
                parts.append(self._repeated(part))
                self.leading = False
            elif self.search and self.depth > 1:
                raise self._refusal(f"'{anchor}' in a group")
            else:
                begins, ends = begins or anchor == "^", ends or anchor == "$"
        if self.search or (self.from_anchor and begins != ends and self.depth == 1):
            parts = [*([] if begins else [_ANYTHING]), *parts, *([] if ends else [_ANYTHING])]
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
                none = "" if self.dot_all else "\n" if self.wide else "\n\r\u2028\u2029"
                return characters(_of(none).ranges, negated=True)
            case "\\":
                return self._escape()
            case "^":
                if self.leading:
                    return None
                raise self._refusal("'^' in the middle")
            case "$":
                if self._ends_here():
                    return None
                raise self._refusal("'$' in the middle")
            case "*" | "+" | "?" | "{":
                if character == "{":
                    return Text(character)
                raise self._refusal(f"'{character}' with nothing to repeat")
        return self._text(character)

    def _ends_here(self) -> bool:
        """Whether nothing stands behind this place in the texts that are matched."""
        rest = _ATOMS.findall(self.text, self.place)
        depth = 0
        passing = False  # over the other alternatives of a group
        for atom in rest:
            if atom == ")" and depth == 0:
                passing = False
            elif passing:
                depth += (atom == "(") - (atom == ")")
            elif atom == "|":
                passing = True
            else:
                return False
        return True

    def _text(self, character: str) -> Pattern:
        """A character as it is, or in either case."""
        if not self.any_case:
            return Text(character)
        found = self._cased(_of(character))
        return Text(character) if found == _of(character) else found

    def _cased(self, found: Characters) -> Characters:
        """Characters with those that differ from them in case alone."""
        if not self.any_case:
            return found
        more = [
            (other, other)
            for code, others in _other_cases().items()
            if any(first <= code <= last for first, last in found.ranges)
            for other in others
            if self.wide or (code < 128) == (other < 128)
        ]
        return characters([*found.ranges, *more])

    def _group(self) -> Pattern:
        if self._next("?"):
            if self._next("P<") or (self.text[self.place : self.place + 1] == "<"):
                self._name()
            elif self._next("i:"):
                before, self.any_case = self.any_case, True
                found = self._either()
                self.any_case = before
                if not self._next(")"):
                    raise self._refusal("a '(' that is never closed")
                return found
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
            if most is None and _is_white(part) and not self.search:
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
        self.wide ^= negated
        ranges: list[tuple[int, int]] = []
        first = True
        while first or not self._next("]"):
            if self.place >= len(self.text):
                raise self._refusal("a '[' that is never closed")
            ranges += self._class_part()
            first = False
        made = characters(self._cased(characters(ranges)).ranges, negated=negated)
        self.wide ^= negated
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
        named = _POSIX.match(self.text, self.place)
        if named is not None and named[2] in _ASCII_CLASSES:
            self.place = named.end()
            return characters(_ASCII_CLASSES[named[2]].ranges, negated=bool(named[1]))
        if self.text.startswith(("[:", "&&", "--", "~~"), self.place):
            raise self._refusal(f"'{self.text[self.place : self.place + 2]}' in a class")
        self.place += 1
        if character != "\\":
            return ord(character)
        found = self._escape(in_class=True)
        return ord(found.value) if isinstance(found, Text) else found

    def _escape(self, *, in_class: bool = False) -> Text | Characters:
        character = self.text[self.place : self.place + 1]
        self.place += 1
        if character and character in "dwsDWS":
            return _class_of(character, wide=self.wide)
        if character and character in "pP":
            return self._property(negated=character == "P")
        if character in _HEX_DIGITS:
            found = self._code(_HEX_DIGITS[character])
        elif character == "b" and in_class:
            found = "\b"
        elif character in _CONTROLS:
            found = _CONTROLS[character]
        elif not character or character.isalnum():
            raise self._refusal(f"'\\{character}'")
        else:
            found = character
        return Text(found) if in_class else self._text(found)  # type: ignore[return-value]

    def _property(self, *, negated: bool) -> Characters:
        """``\\p{Lu}``, ``\\pL``: characters by their general category."""
        start = self.place
        self.place += 1
        name = self.text[start : self.place]
        if name == "{":
            end = self.text.find("}", self.place)
            name = self.text[self.place : max(end, 0)]
            self.place = end + 1
        flipped = name.startswith("^")
        name = name.removeprefix("^").rpartition("=")[2]
        category = _CATEGORIES.get(name, name)
        ranges = _ranges_of_category(category)
        if not ranges:
            raise self._refusal(f"'\\p{{{name[:20]}}}', which is no general category of Unicode,")
        return characters(ranges, negated=negated ^ flipped)

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


_ANYTHING = Repeated(characters([], negated=True), 0, None)
_ATOMS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.", re.DOTALL)
_POSIX = re.compile(r"\[:(\^?)(\w+):\]")
_ASCII_CLASSES = {
    "alpha": _of(string.ascii_letters),
    "digit": _of(string.digits),
    "alnum": _of(string.ascii_letters + string.digits),
    "upper": _of(string.ascii_uppercase),
    "lower": _of(string.ascii_lowercase),
    "punct": _of(string.punctuation),
    "xdigit": _of(string.hexdigits),
    "word": _of(string.ascii_letters + string.digits + "_"),
    "space": _of(_SPACES),
    "blank": _of(" \t"),
    "print": characters([(0x20, 0x7E)]),
    "graph": characters([(0x21, 0x7E)]),
    "cntrl": characters([(0, 0x1F), (0x7F, 0x7F)]),
}
_CATEGORIES = {
    "Letter": "L", "Uppercase_Letter": "Lu", "Lowercase_Letter": "Ll", "Titlecase_Letter": "Lt",
    "Modifier_Letter": "Lm", "Other_Letter": "Lo", "Mark": "M", "Number": "N",
    "Decimal_Number": "Nd", "Letter_Number": "Nl", "Punctuation": "P", "Symbol": "S",
    "Math_Symbol": "Sm", "Currency_Symbol": "Sc", "Separator": "Z", "Space_Separator": "Zs",
    "Other": "C", "Control": "Cc", "Lowercase": "Ll", "Uppercase": "Lu", "Alphabetic": "L",
}  # fmt: skip


@cache
def _class_of(name: str, *, wide: bool) -> Characters:
    """``\\d`` and its kind, as narrowly or as widely as anyone reads it."""
    if name.isupper():
        if name == "W" and not wide:  # who reads it most narrowly differs by version of Unicode
            return characters([(0x80, HIGHEST), *_class_of("w", wide=True).ranges], negated=True)
        return characters(_class_of(name.lower(), wide=not wide).ranges, negated=True)
    plain = _ASCII_CLASSES[{"d": "digit", "w": "word", "s": "space"}[name]]
    if not wide:
        return plain
    more: Iterable[tuple[int, int]] = {
        "d": lambda: _ranges_of_category("Nd"),
        "w": lambda: [r for kind in ("L", "M", "N", "Pc", "Cf") for r in _ranges_of_category(kind)],
        "s": lambda: [(0x1C, 0x1F), (0x85, 0x85), (0xFEFF, 0xFEFF), *_ranges_of_category("Z")],
    }[name]()
    return characters([*plain.ranges, *more])


@cache
def _ranges_of_category(name: str) -> Ranges:
    """All characters of a general category, or of those that begin alike; none if it is unknown."""
    if not name or len(name) > 2:
        return ()
    return characters(
        [span for kind, spans in _categories().items() if kind.startswith(name) for span in spans]
    ).ranges


@cache
def _categories() -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    start, kind = 0, unicodedata.category("\0")
    for code in range(1, sys.maxunicode + 2):
        own = unicodedata.category(chr(code)) if code <= sys.maxunicode else ""
        if own != kind:
            found.setdefault(kind, []).append((start, code - 1))
            start, kind = code, own
    return found


@cache
def _other_cases() -> dict[int, list[int]]:
    """Characters by code with those that differ in case alone."""
    found: dict[int, list[int]] = {}
    for first, last in _ranges_of_category("L"):
        for code in range(first, last + 1):
            own = chr(code)
            for other in {own.lower(), own.upper()} - {own}:
                if len(other) == 1:
                    found.setdefault(code, []).append(ord(other))
                    found.setdefault(ord(other), []).append(code)
    return found


def _is_white(part: Pattern) -> bool:
    if isinstance(part, Text):
        return part.value.isspace()
    if isinstance(part, Characters):
        return all(last < 128 and first >= 9 for first, last in part.ranges) and all(
            chr(code).isspace() for first, last in part.ranges for code in range(first, last + 1)
        )
    return isinstance(part, Either) and all(map(_is_white, part.choices))
