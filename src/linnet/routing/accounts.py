"""What was spent, by key and altogether, as the tables of the ledger have it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from linnet.database import Run
from linnet.respond.prices import trillionths
from linnet.routing.budgets import BudgetConfig, Limits

TOTAL = ""
"""The account of all calls together; those of keys begin with ``_KEY``."""
FORGOTTEN = "forgotten"
"""The account of keys that are forgotten, for the calls that had not ended then."""
_KEY = "key:"


@dataclass(frozen=True)
class Amount:
    """What was spent in a time."""

    cost: int = 0
    """In trillionths of the unit of money; with what is reserved."""
    tokens: int = 0
    calls: int = 0
    reserved: int = 0
    """Of the cost, that of calls which have not ended."""
    assumed: int = 0
    """Of the cost, that of calls whose process died: all that they had reserved."""


@dataclass(frozen=True)
class Account:
    """What a key has spent, or all together, and may spend."""

    key: str | None
    """None: all together; empty: calls without a key."""
    limits: Limits
    day: Amount
    month: Amount

    @property
    def left(self) -> int | None:
        """Money that may still be spent today, in trillionths; None: no limit."""
        pairs = ((self.limits.day, self.day.cost), (self.limits.month, self.month.cost))
        left = [trillionths(limit) - cost for limit, cost in pairs if limit is not None]
        return max(0, min(left)) if left else None

    @property
    def tokens_left(self) -> int | None:
        """Tokens that may still be used today; None: no limit."""
        day, month = self.limits.day_tokens, self.limits.month_tokens
        pairs = ((day, self.day.tokens), (month, self.month.tokens))
        left = [limit - tokens for limit, tokens in pairs if limit is not None]
        return max(0, min(left)) if left else None


def read_accounts(run: Run, day: str, config: BudgetConfig) -> list[Account]:
    """What was spent on a day and in its month: all together first, then by key."""
    amounts = {
        (period, account): Amount(int(cost), int(tokens), calls)
        for period, account, cost, tokens, calls in run(
            "SELECT * FROM spent WHERE period IN (?, ?)", (day, day[:7])
        )
    }
    for there, account, cost, is_lost in run(
        "SELECT day, account, cost, is_lost FROM reserved WHERE SUBSTR(day, 1, 7) = ?",
        (day[:7],),
    ):
        for period in {day} & {there} | {day[:7]}:
            for one in (TOTAL, account):
                found = amounts.get((period, one), Amount())
                name = "assumed" if is_lost else "reserved"
                more = getattr(found, name) + int(cost)
                amounts[period, one] = replace(found, **{name: more})
    accounts = {account for _, account in amounts} - {TOTAL, FORGOTTEN}
    keys = {account.removeprefix(_KEY) for account in accounts}
    return [
        Account(
            key,
            config if key is None else config.limits_of(key),
            *(amounts.get((period, account_of(key)), Amount()) for period in (day, day[:7])),
        )
        for key in (None, *sorted(keys | config.keys.keys()))
    ]


def account_of(key: str | None) -> str:
    """Of a key; None: of all calls together."""
    return TOTAL if key is None else _KEY + key
