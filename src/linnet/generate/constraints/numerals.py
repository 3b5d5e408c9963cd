"""Numbers within bounds, as patterns of their digits."""

from __future__ import annotations

import math

from linnet.generate.constraints.patterns import (
    Either,
    Pattern,
    Repeated,
    Sequenced,
    Text,
    characters,
)

DIGITS = 15
"""The most digits of a number without bounds: more are lost where it is read as a float."""

_DIGIT = characters([(ord("0"), ord("9"))])
_FIRST = characters([(ord("1"), ord("9"))])


def integers(least: int | None, most: int | None) -> Pattern | None:
    """The decimal numerals of the integers in these bounds; None where there are none."""
    if least is not None and most is not None and least > most:
        return None
    choices: list[Pattern] = []
    if least is None or least < 0:
        smallest = 1 if most is None or most >= 0 else -most
        below = _upwards(smallest, None if least is None else -least)
        choices.append(Sequenced((Text("-"), below)))
    if most is None or most >= 0:
        choices.append(_upwards(max(least or 0, 0), most))
    return Either(tuple(choices))


def numbers(
    least: float | None,
    most: float | None,
    *,
    open_below: bool,
    open_above: bool,
    digits: int = DIGITS,
) -> Pattern | None:
    """Numerals of numbers in these bounds, with and without a fraction.

    Where a bound is no integer, those between it and the next integer are left out, but for the
    bound. ``open_below``, ``open_above``: whether the bound itself is outside; ``digits``: of a
    fraction, at most.
    """
    low = None if least is None else math.ceil(least)
    high = None if most is None else math.floor(most)
    whole = integers(
        low + 1 if low is not None and low == least and open_below else low,
        high - 1 if high is not None and high == most and open_above else high,
    )
    nonzero = Sequenced((Text("."), Repeated(_DIGIT, 0, digits - 1), _FIRST))
    choices = [] if whole is None else [whole]
    for bound, is_open in ((least, open_below), (most, open_above)):
        if bound is not None and not is_open and bound != int(bound):
            text = repr(float(bound))
            if "e" not in text and len(text.rpartition(".")[2]) <= digits:
                choices.append(Text(text))
    # n.f lies above n where n is not negative, and below it where it is: -n.f is under -n.
    if high is None or high > 0:
        above = integers(max(low or 0, 0), None if high is None else high - 1)
        choices += [] if above is None else [Sequenced((above, nonzero))]
    if low is None or low < 0:
        fewest = 0 if high is None or high >= 0 else -high
        below = integers(fewest, None if low is None else -low - 1)
        choices += [] if below is None else [Sequenced((Text("-"), below, nonzero))]
    return Either(tuple(choices)) if choices else None


def _upwards(least: int, most: int | None) -> Pattern:
    """From ``least``, not negative, on."""
    if most is not None:
        return Either(tuple(_spans(least, most)))
    length = max(len(str(least)), 1)
    same = list(_spans(least, 10**length - 1))
    if length < DIGITS:
        longer = Sequenced((_FIRST, Repeated(_DIGIT, length, DIGITS - 1)))
        return Either((*same, longer))
    return Either(tuple(same))


def _spans(least: int, most: int) -> list[Pattern]:
    """Numerals between two that are not negative, in parts that differ in the last digits only."""
    found: list[Pattern] = []
    while least <= most:
        # The largest block that begins here: 120 to 129, 200 to 299, ...
        size = 1
        while least and least % (size * 10) == 0 and least + size * 10 - 1 <= most:
            size *= 10
        # And all of its neighbours that differ in one digit more.
        count = min(9 - least // size % 10, (most - least + 1) // size - 1)
        first, digits = str(least)[: len(str(least // size)) - 1], len(str(size)) - 1
        digit = least // size % 10
        span = characters([(ord("0") + digit, ord("0") + digit + count)])
        rest = (Repeated(_DIGIT, digits, digits),) if digits else ()
        found.append(Sequenced((Text(first), span, *rest) if first else (span, *rest)))
        least += size * (count + 1)
    return found
