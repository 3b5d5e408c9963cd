"""What may be spent, by whom and until when."""

from __future__ import annotations

from dataclasses import dataclass, field

from linnet.config import Config, option


@dataclass(frozen=True)
class Limits(Config):
    """What calls may use; 0 is nothing at all, and what is not given has no limit."""

    query: float | None = option(None, "Money for one call.", least=0)
    day: float | None = option(None, "Money for a day.", least=0)
    month: float | None = option(None, "Money for a month.", least=0)
    query_tokens: int | None = option(None, "Tokens for one call.", least=0)
    day_tokens: int | None = option(None, "Tokens for a day.", least=0)
    month_tokens: int | None = option(None, "Tokens for a month.", least=0)


@dataclass(frozen=True)
class BudgetConfig(Limits):
    """For all calls together, and for single keys."""

    each_key: Limits = Limits()
    """For every key that has none of its own."""
    keys: dict[str, Limits] = field(default_factory=dict)
    """By the name of the key."""
