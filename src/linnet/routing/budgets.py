"""What may be spent on models that bill, by whom and until when.

Limits stand in ``routing.toml`` alone::

    [budget]                  # for all calls together
    query = 0.05              # money for one call, in the currency of the file
    day = 2.0
    month = 30.0
    day_tokens = 500_000
    timezone = "Europe/Berlin"

    [budget.each_key]         # for every key that has none of its own
    day = 0.5

    [budget.keys.anna]
    month = 10.0

A limit of 0 is nothing at all. A key with limits of its own has these alone; calls without a key
count as one key. What was spent is in the ``ledger``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import tzinfo
from decimal import ROUND_FLOOR
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from linnet.config import Config, option
from linnet.errors import ConfigError, ContradictionError
from linnet.respond.context import Charge
from linnet.respond.prices import show_money

_UNBOUNDED = 1 << 62
"""Tokens that may be written where no limit says how many."""


@dataclass(frozen=True)
class Limits(Config):
    """What calls may use; 0 is nothing at all, and what is not given has no limit."""

    query: float | None = option(None, "Money for one call.", least=0)
    day: float | None = option(None, "Money for a day.", least=0)
    month: float | None = option(None, "Money for a month.", least=0)
    query_tokens: int | None = option(None, "Tokens for one call.", least=0)
    day_tokens: int | None = option(None, "Tokens for a day.", least=0)
    month_tokens: int | None = option(None, "Tokens for a month.", least=0)

    @property
    def in_money(self) -> bool:
        """Whether any of them is in money, which needs prices."""
        return not (self.query is None and self.day is None and self.month is None)

    @property
    def is_limited(self) -> bool:
        """Whether there is any."""
        tokens = (self.query_tokens, self.day_tokens, self.month_tokens)
        return self.in_money or any(limit is not None for limit in tokens)


@dataclass(frozen=True)
class BudgetConfig(Limits):
    """For all calls together, and for single keys."""

    each_key: Limits = Limits()
    """For every key that has none of its own."""
    keys: dict[str, Limits] = field(default_factory=dict)
    """By the name of the key."""
    timezone: str | None = option(
        None, "Where days begin, such as Europe/Berlin; otherwise as this machine has it."
    )
    file: Path | None = option(
        None, "Where it is counted; otherwise beside routing.toml, as routing.usage.sqlite."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        zone_of(self.timezone)
        _refuse_contradictions("budget", self)
        _refuse_contradictions("budget.each_key", self.each_key)
        for key, limits in self.keys.items():
            _refuse_contradictions(f"budget.keys.{key}", limits)

    @property
    def all_limits(self) -> list[Limits]:
        """Those of all, of each key and of every key that has its own."""
        return [self, self.each_key, *self.keys.values()]

    @property
    def is_any_limited(self) -> bool:
        """Whether there is a limit at all, and so something to count."""
        return any(limits.is_limited for limits in self.all_limits)

    def limits_of(self, key: str) -> Limits:
        """Those of a key alone."""
        return self.keys.get(key, self.each_key)

    def unknown_keys(self, names: Collection[str]) -> list[str]:
        """Keys with limits that are none of these: a mistake, or not made yet."""
        return [name for name in self.keys if name not in names]


def _refuse_contradictions(table: str, limits: Limits) -> None:
    """A limit that could never be reached, as one for a longer time is smaller, is a mistake."""
    for names in (("query", "day", "month"), ("query_tokens", "day_tokens", "month_tokens")):
        values = [(name, getattr(limits, name)) for name in names]
        given = [(name, value) for name, value in values if value is not None]
        for (name, value), (longer, less) in pairwise(given):
            if value > less:
                raise ContradictionError(
                    f"{table}.{name} = {value:g} is more than {longer} = {less:g}; "
                    "leave it out, or make it smaller",
                    f"{table}.{name}", f"{table}.{longer}",
                )  # fmt: skip


@dataclass(frozen=True)
class Limit:
    """One limit, with what is spent of it."""

    amount: int
    spent: int
    each: str
    """``call``, ``day`` or ``month``."""
    key: str | None
    in_money: bool

    @property
    def left(self) -> int:
        return max(0, self.amount - self.spent)

    def admits(self, charge: Charge) -> bool:
        return self.spent + (charge.cost if self.in_money else charge.tokens) <= self.amount

    def writable(self, charge: Charge) -> int:
        """The tokens of an answer to this prompt that are within it."""
        if not self.in_money:
            return max(0, self.left - charge.prompt)
        left = self.left - replace(charge, written=0).cost
        each = charge.price.written
        if left < 0:
            return 0
        return left // each if each else _UNBOUNDED

    def refusal(self, charge: Charge, currency: str) -> str:
        """That a charge is beyond a limit, for people."""
        whose = "the budget" if self.key is None else f"the budget of key '{self.key}'"
        if self.key == "":
            whose = "the budget of calls without a key"
        if self.in_money:
            most, needed = (show_money(amount, currency) for amount in (self.amount, charge.cost))
            left = show_money(self.left, currency, rounding=ROUND_FLOOR)
        else:
            most, left, needed = (
                f"{count:,} tokens" for count in (self.amount, self.left, charge.tokens)
            )
        each = "for a call" if self.each == "call" else f"a {self.each}"
        if not self.amount:
            return f"{whose} is {most} {each}: no model that bills is asked"
        advice = "ask for a shorter answer (max_tokens), or raise the budget"
        if not self.writable(charge):
            advice = "what is asked takes that up by itself: shorten it, or raise the budget"
        return (
            f"{whose} of {most} {each} has {left} left, but '{charge.model}' may need {needed}; "
            f"{advice}"
        )


def zone_of(name: str | None) -> tzinfo | None:
    """None: this machine's. Raises ConfigError for one that there is not."""
    if name is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigError(
            f"budget: timezone must be one like Europe/Berlin, that this machine has. Got '{name}'"
        ) from None
