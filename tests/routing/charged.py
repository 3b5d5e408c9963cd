"""What calls cost in tests of budgets, in cents."""

from datetime import UTC, datetime

from linnet.respond.context import Charge
from linnet.respond.prices import UNIT, Price
from linnet.routing.ledger import Ledger

CENT = UNIT // 100
PRICE = Price(prompt=CENT, cached=CENT, written=2 * CENT)
"""A cent for a token read, two for one written."""


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def charge(prompt: int = 1, written: int = 0, model: str = "cloud", price: Price = PRICE) -> Charge:
    return Charge(prompt, written, price, model)


def spent(ledger: Ledger, key: str | None = None) -> tuple[int, int]:
    """Today and this month, in cents."""
    account = next(found for found in ledger.spent() if found.key == key)
    return account.day.cost // CENT, account.month.cost // CENT
