"""Numbers, quantities and dates as values, whatever notation they are in, and how two compare.

``1,234``, ``1.234`` (German) and ``1 234`` are one value, and so are ``2024-03-05`` and
``5 March 2024``. Where a notation has two readings both are kept, and a comparison that hangs on
the choice is unsure: no rule decides by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, TypeAlias

from linnet.grounding.units import CONVERTIBLE, Unit

Comparison: TypeAlias = Literal["same", "different", "unsure"]
Date: TypeAlias = tuple[int | None, int | None, int | None]
"""Year, month and day, as far as they are named."""

ROUGH = Decimal("0.02")
"""How far a converted amount may be off, and still be the same one, rounded."""


@dataclass(frozen=True, slots=True)
class Value:
    """A number with its unit, or a date, where it stands."""

    kind: Literal["number", "ordinal", "date", "time"]
    text: str
    start: int
    end: int
    readings: tuple[Decimal, ...] = ()
    """What the number may be."""
    unit: Unit | None = None
    dates: tuple[Date, ...] = ()
    """What the date may be."""

    @property
    def certain(self) -> bool:
        """Whether there is one reading alone."""
        return len(self.readings) + len(self.dates) == 1


def compare(one: Value, other: Value) -> Comparison:
    """Whether two values in the same place of a statement say the same."""
    if one.kind == other.kind == "date":
        return _compare_dates(one, other)
    if one.kind != other.kind:
        return "unsure"
    if one.kind in ("ordinal", "time"):
        return _alike(one, other)
    left, right = one.unit, other.unit
    if left == right:
        return _alike(one, other)
    if left is None or right is None:
        return "different" if _alike(one, other) == "different" else "unsure"
    if left.dimension != right.dimension:
        pair = {left.dimension, right.dimension}
        return "unsure" if any(pair <= group for group in CONVERTIBLE) else "different"
    if not (one.certain and other.certain):
        return "unsure"
    first, second = one.readings[0] * left.factor, other.readings[0] * right.factor
    if first == second:
        return "same"
    return "unsure" if abs(first - second) <= ROUGH * abs(second) else "different"


def _alike(one: Value, other: Value) -> Comparison:
    if one.certain and other.certain:
        return "same" if one.readings == other.readings else "different"
    if one.text == other.text:
        return "same"
    return "unsure" if set(one.readings) & set(other.readings) else "different"


def _compare_dates(one: Value, other: Value) -> Comparison:
    if one.certain and other.certain and one.dates == other.dates:
        return "same"
    if one.text == other.text:
        return "same"
    near = any(compatible(left, right) for left in one.dates for right in other.dates)
    return "unsure" if near else "different"


def compatible(one: Date, other: Date) -> bool:
    """Whether two dates may be of one day: what both name is equal."""
    return all(a is None or b is None or a == b for a, b in zip(one, other, strict=True))


def within(one: Date, other: Date) -> bool:
    """Whether all that ``one`` names is named alike by ``other``."""
    return all(a is None or a == b for a, b in zip(one, other, strict=True))
