"""What models ask for their tokens.

Money is counted in whole numbers, in trillionths of its unit: a price of a million tokens with up
to six decimals is a whole number of them for each token, so that sums are exact. The unit is
whatever the prices were written in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

UNIT = 10**12
"""Trillionths of the unit of money that make one."""
_MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    """Of one token each, in trillionths."""

    prompt: int = 0
    cached: int = 0
    """Of a token of the prompt that was read before."""
    written: int = 0

    @classmethod
    def per_million(cls, prompt: float, written: float, *, cached: float | None = None) -> Price:
        """Of prices for a million tokens; ``cached``: None asks as for any other."""
        usual = _each(prompt)
        return cls(usual, usual if cached is None else _each(cached), _each(written))

    def cost(self, prompt: int, cached: int, written: int) -> int:
        """What so many tokens cost; ``cached`` of those of the prompt."""
        return (prompt - cached) * self.prompt + cached * self.cached + written * self.written


FREE = Price()


def money(amount: int) -> Decimal:
    """So many trillionths in the unit of money."""
    return Decimal(amount) / UNIT


def readable(amount: float, currency: str = "") -> str:
    """An amount in the unit of money as people read it: cents, and of less than one as many digits
    as say something."""
    size = abs(amount)
    digits = 2 if size >= 0.1 or not size else min(12, 1 - math.floor(math.log10(size)))
    return f"{amount:,.{digits}f} {currency}".strip()


def show_money(amount: int, currency: str, *, rounding: str = ROUND_CEILING) -> str:
    """An amount in trillionths, for people; what is spent is never shown as less than it is."""
    places = 2 if abs(amount) >= 10**12 or not amount else 6
    shown = money(amount).quantize(Decimal(1).scaleb(-places), rounding=rounding)
    text = f"{shown:,f}"
    while places > 2 and text.endswith("0"):
        text, places = text[:-1], places - 1
    return f"{text} {currency}"


def trillionths(amount: float) -> int:
    """An amount in the unit of money, as it was written, as trillionths of it."""
    return round(Decimal(str(amount)) * UNIT)


def _each(per_million: float) -> int:
    return round(Decimal(str(per_million)) * UNIT / _MILLION)
