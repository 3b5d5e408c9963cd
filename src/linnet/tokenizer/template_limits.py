"""What a chat template may use: work, time, and room asked for before it is taken.

See :mod:`linnet.tokenizer.template_sandbox`, which runs templates within these limits.
"""

from __future__ import annotations

import re
import time
import types
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import jinja2
from jinja2.runtime import BlockReference, LoopContext, Macro, TemplateReference, Undefined
from jinja2.utils import Namespace, missing

LONGEST_TEMPLATE = 1 << 18  # characters; the longest published ones have a tenth
SECONDS = 5.0
SMALLEST_LIMIT = 1 << 18  # characters and entries that one value may have, at least
WORK = 16  # times that limit, all values and outputs together
STEP = 8  # work that a loop's turn or a call counts as, beside what it makes
LARGEST_ARGUMENT = 1_000  # for widths, counts and precisions
LARGEST_NUMBER = 4_096  # bits

# Views of a dict are written out as what they show is; these types, as asking for the abstract ones
# takes long.
_SEQUENCES: Any = (list, tuple, type({}.keys()), type({}.values()), type({}.items()))
# What is written in a few characters, whatever it holds. An iterator is: who reads it counts that.
_SMALL: tuple[type, ...] = (
    float,
    range,
    type(reversed([])),
    type(reversed("")),
    types.GeneratorType,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
    type,
    BlockReference,
    LoopContext,
    Macro,
    TemplateReference,
    Undefined,
)

_ITERATORS: Any = (types.GeneratorType, type(reversed([])), type(reversed("")))

_WIDE_FORMAT = re.compile(r"\d{4,}|%[^a-zA-Z%]*\*|\{[^{}]*\{")


class TooMuchError(jinja2.TemplateError):
    """A template that needs more time or room than any conversation can."""


class RefusedError(jinja2.TemplateError):
    """What the template itself raised: it does not take this conversation."""


@dataclass
class Budget:
    """What one rendering may still use."""

    limit: int
    seconds: float = SECONDS
    work: int = 0
    # Written around what {% generation %} encloses.
    marks: tuple[str, str] = ("", "")
    deadline: float = field(init=False)

    def __post_init__(self) -> None:
        self.deadline = time.monotonic() + self.seconds

    def spend(self, amount: int) -> None:
        """Count some work. Raises TooMuchError when it was too much."""
        self.work += max(amount, 0) + STEP
        if self.work > WORK * self.limit:
            raise TooMuchError("it does more work than a conversation can need")
        if time.monotonic() > self.deadline:
            raise TooMuchError(f"it takes longer than {self.seconds:.3g} seconds")

    def check_size(self, size: int) -> None:
        """Raise TooMuchError for a value of this size, before it is made."""
        if size > self.limit:
            raise TooMuchError("it makes a value larger than a conversation can need")

    def keep(self, value: Any) -> Any:
        """Count a value that was made, and hand it on."""
        size = size_of(value, self.limit)
        self.check_size(size)
        self.spend(size)
        return value


_BUDGET: ContextVar[Budget] = ContextVar("budget")


def current() -> Budget:
    """The budget of the rendering that goes on."""
    return _BUDGET.get()


@contextmanager
def budget(
    content: Any, *, marks: tuple[str, str] = ("", ""), seconds: float = SECONDS
) -> Iterator[Budget]:
    """Allow one rendering of ``content`` what it needs."""
    size = size_of(content, 1 << 40)
    token = _BUDGET.set(Budget(SMALLEST_LIMIT + 8 * size, seconds, marks=marks))
    try:
        yield _BUDGET.get()
    finally:
        _BUDGET.reset(token)


def size_of(value: Any, limit: int) -> int:
    """Characters and entries that ``value`` would have written out, counted up to ``limit``.

    A list that holds another twice counts it twice, as writing it does. Raises TooMuchError for a
    value of a kind whose size is not understood.
    """
    size, waiting = 0, [value]
    while waiting and size <= limit:
        value = waiting.pop()
        size += 1
        if isinstance(value, str):
            size += len(value)
        elif isinstance(value, dict):
            waiting.extend(value.keys())
            waiting.extend(value.values())
        elif isinstance(value, int):
            size += value.bit_length() // 8
        elif isinstance(value, _SEQUENCES):
            waiting.extend(value)
        elif isinstance(value, Namespace):
            waiting.append(object.__getattribute__(value, "_Namespace__attrs"))
        elif not (value is None or value is missing or isinstance(value, _SMALL)):
            raise TooMuchError(f"it uses a value of a kind not offered ({type(value).__name__})")
    return size


def check_filter(
    name: str, value: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, tuple[Any, ...]]:
    """Ask for room for what a filter makes; an iterator that it gets is read here."""
    allowed = current()
    if isinstance(value, _ITERATORS):
        value = allowed.keep(list(value))
    elif not isinstance(value, str):
        # Most filters go through all of it, and some write it out.
        allowed.spend(size_of(value, allowed.limit))
    match name:
        case "replace":
            old, new = [*args, kwargs.get("old", ""), kwargs.get("new", "")][:2]
            allowed.check_size(_replaced(str(value), str(old), str(new)))
        case "join":
            separator = str([*args, kwargs.get("d", "")][0])
            allowed.check_size(size_of(value, allowed.limit) + len(separator) * _count(value))
        case "indent":
            width = [*args, kwargs.get("width", 4)][0]
            each = len(width) if isinstance(width, str) else int(width)
            allowed.check_size((str(value).count("\n") + 1) * each + len(str(value)))
        case "batch" | "slice":
            value = allowed.keep(list(value))
    return value, args


def check_arguments(name: str, arguments: Iterable[Any]) -> None:
    """Refuse numbers that no conversation needs."""
    for argument in arguments:
        if isinstance(argument, int) and abs(argument) > LARGEST_ARGUMENT and name != "default":
            raise TooMuchError(f"it calls {name} with {str(argument)[:20]}")


def check_text(name: str, text: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Ask for room for a method of a string; an iterator among its arguments is read here."""
    allowed = current()
    if name == "replace" and len(args) >= 2:
        allowed.check_size(_replaced(text, str(args[0]), str(args[1])))
    elif name == "join" and args:
        parts = allowed.keep(list(args[0]))
        allowed.check_size(size_of(parts, allowed.limit) + len(text) * len(parts))
        return (parts,)
    return args


def check_operation(operator: str, left: Any, right: Any) -> None:
    """Ask for room for what an operator makes."""
    allowed = current()
    numbers = isinstance(left, int) and isinstance(right, int)
    if operator == "**":
        if not numbers or left.bit_length() * abs(right) > LARGEST_NUMBER:
            if isinstance(left, float) and isinstance(right, int | float):
                return
            raise TooMuchError("it computes a power too large")
    elif operator == "*" and numbers:
        if left.bit_length() + right.bit_length() > LARGEST_NUMBER:
            raise TooMuchError("it computes a number too large")
    elif operator == "*" and (isinstance(left, int) or isinstance(right, int)):
        count, value = (left, right) if isinstance(left, int) else (right, left)
        allowed.check_size(max(count, 0) * size_of(value, allowed.limit))
    elif operator == "+":
        allowed.check_size(size_of((left, right), allowed.limit))
    elif operator == "%" and isinstance(left, str):
        check_format(left, "%", right)


def check_format(text: str, sign: str, values: Any) -> None:
    """Ask for room for what a format makes."""
    allowed = current()
    if _WIDE_FORMAT.search(text):
        raise TooMuchError("it formats with a width")
    places = text.count(sign)
    allowed.check_size(len(text) + places * (LARGEST_ARGUMENT + size_of(values, allowed.limit)))


def _replaced(text: str, old: str, new: str) -> int:
    return len(text) + text.count(old) * len(new)


def _count(value: Any) -> int:
    try:
        return len(value)
    except TypeError:
        return 1
