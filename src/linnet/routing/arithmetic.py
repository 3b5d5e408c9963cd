"""The arithmetic that a text states, done again.

Sums, differences, products, quotients and powers of numbers, with brackets and percentages, as
people and models write them: ``3 x $4.50 = $13.50``, ``<<9*2=18>>``, ``20% * 80 = 16``. What is
not that is passed over. A result that was rounded holds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
_PARTS = frozenset("0123456789 ,.()$€£%+-*/×÷·−^x\\\t")
"""Characters of an expression."""
_OPERATORS = frozenset("+-*/×÷·−^x")
_BREAK = re.compile(r"[.,](?=\s)")
_STATED = re.compile(r"\s*[$€£]?\s*(-?\d[\d,]*(?:\.\d+)?|-?\.\d+)\s*(%?)")
_TOKEN = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+|[-+*/^()%])")
_SIGNS = str.maketrans({"×": "*", "÷": "/", "·": "*", "−": "-", "x": "*", "$": "", "€": "", "£": "",
                        ",": ""})  # fmt: skip
_DIGITS = frozenset("0123456789.")
_LONGEST = 200  # characters of an expression
_DEEPEST = 20
_LARGEST = 1e15
MOST = 200
"""Equations of a text that are looked at."""


@dataclass(frozen=True)
class Equation:
    """What stands before an equals sign, and behind it."""

    value: float
    """Of the expression, computed here."""
    stated: float
    holds: bool
    length: int
    """Of the expression, in characters."""


def numbers(text: str) -> list[float]:
    """The numbers of a text, in order, without their signs."""
    found = []
    for each in _NUMBER.findall(text):
        value = float(each.replace(",", ""))
        if value < _LARGEST:
            found.append(value)
    return found


def equations(text: str) -> list[Equation]:
    """The equations of a text that can be checked, in order."""
    found: list[Equation] = []
    at = text.find("=")
    while at >= 0 and len(found) < MOST:
        equation = _equation(text, at)
        if equation is not None:
            found.append(equation)
        at = text.find("=", at + 1)
    return found


def _equation(text: str, at: int) -> Equation | None:
    """The one whose equals sign is there."""
    left, right = _before(text, at), _behind(text, at + 1)
    if not _OPERATORS.intersection(left):
        return None
    value, match = value_of(left), _STATED.match(right)
    if value is None or match is None or abs(value) > _LARGEST:
        return None
    stated = float(match[1].replace(",", ""))
    places = len(match[1].partition(".")[2])
    rest = right[match.end() :].lstrip()
    if rest and rest[0] in _OPERATORS and (whole := value_of(right)) is not None:
        stated, places = whole, 2  # it goes on: 5 * 2 + 3 = 10 + 3 = 13
    least = 0.51 * 10.0**-places + 1e-9 * abs(value)
    holds = abs(value - stated) <= least or (match[2] == "%" and abs(100 * value - stated) <= least)
    return Equation(value, stated, holds, len(left))


def _before(text: str, at: int) -> str:
    """What could be an expression before a place."""
    begin = at
    while begin > max(0, at - _LONGEST) and text[begin - 1] in _PARTS:
        begin -= 1
    run = text[begin:at]
    breaks = [match.end() for match in _BREAK.finditer(run)]
    return run[breaks[-1] if breaks else 0 :].strip().lstrip("x,%)*/^+×÷·").strip()


def _behind(text: str, at: int) -> str:
    """What could be an expression behind a place."""
    end = at
    while end < min(len(text), at + _LONGEST) and text[end] in _PARTS:
        end += 1
    run = text[at:end]
    broken = _BREAK.search(run)
    return (run[: broken.start()] if broken else run).rstrip().rstrip(".,$€£(")


def value_of(expression: str) -> float | None:
    """What an expression comes to; None where it is none."""
    text = expression.replace("\\times", "*").replace("\\", "").translate(_SIGNS)
    tokens: list[str] = []
    at = 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        if tokens and match[1][0] in _DIGITS and tokens[-1][0] in _DIGITS:
            tokens.clear()  # two numbers side by side: what stands before is no part of it
        tokens.append(match[1])
        at = match.end()
    try:
        reader = _Reader(tokens)
        value = reader.sum(0)
    except (_NoExpressionError, ZeroDivisionError, OverflowError):
        return None
    if reader.at < len(tokens) or isinstance(value, complex):
        return None
    return value


class _NoExpressionError(Exception):
    pass


class _Reader:
    """Reads an expression by descent: sums of products of powers."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.next
        self.at += 1
        return token

    def sum(self, depth: int) -> float:
        value = self.product(depth)
        while self.next in ("+", "-"):
            value = (
                value + self.product(depth) if self.take() == "+" else value - self.product(depth)
            )
        return value

    def product(self, depth: int) -> float:
        value = self.power(depth)
        while self.next in ("*", "/", "("):
            if self.next == "(" or self.take() == "*":  # 2(3+4)
                value *= self.power(depth)
            else:
                value /= self.power(depth)
        return value

    def power(self, depth: int) -> float:
        value = self.single(depth)
        while self.next == "%":
            self.take()
            value /= 100
        if self.next == "^":
            self.take()
            exponent = self.single(depth)
            if abs(exponent) > 100:
                raise _NoExpressionError
            value = float(value**exponent)
        return value

    def single(self, depth: int) -> float:
        token = self.take()
        if token == "-":
            return -self.single(depth)
        if token == "(":
            if depth > _DEEPEST:
                raise _NoExpressionError
            value = self.sum(depth + 1)
            if self.take() != ")":
                raise _NoExpressionError
            return value
        if not token or token[0] not in _DIGITS:
            raise _NoExpressionError
        return float(token)
