"""Whether a model of one's own pays: a formula, with its owner's numbers.

    bill       = queries a month x what the model that is replaced costs for one (measured)
    energy     = watts / 1000 x hours of a month x price of a kilowatt-hour
    upkeep     = hours of work a month x rate
    running    = energy + upkeep
    investment = hardware + hours of work to set it up x rate
    saving     = bill - running
    break-even = investment / saving, in months
    net        = months x saving - investment
    return     = net / investment

Nothing is assumed: what was not given is named, and what needs it is not computed. 0 is a number
that may be given. The model that is replaced costs what it cost in the comparison, with its
interval; how sensitive the result is, is shown by halving and doubling each number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

from linnet.config import Config, option

HOURS = 365.25 * 24 / 12
"""Of a month."""
GROUP = "Return on investment"


@dataclass(frozen=True)
class ReturnConfig(Config):
    """What only the owner knows."""

    queries_per_month: float | None = option(
        None, "questions a month", group=GROUP, least=0, most=1e12
    )
    hardware: float | None = option(
        None, "price of the hardware that is bought for it", group=GROUP, least=0, most=1e12
    )
    watts: float | None = option(
        None, "what it draws on average, day and night", group=GROUP, least=0, most=1e9
    )
    energy_price: float | None = option(
        None, "price of a kilowatt-hour", group=GROUP, least=0, most=1e6
    )
    setup_hours: float | None = option(
        None, "hours of work to set it up", group=GROUP, least=0, most=1e6
    )
    monthly_hours: float | None = option(
        None, "hours of work a month to run it", group=GROUP, least=0, most=1e6
    )
    hourly_rate: float | None = option(
        None, "what an hour of work costs", group=GROUP, least=0, most=1e6
    )
    months: float | None = option(None, "months that it is to run", group=GROUP, above=0, most=1200)

    @property
    def given(self) -> dict[str, float]:
        """Those of the numbers that were given."""
        values = {field.name: getattr(self, field.name) for field in fields(ReturnConfig)}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Term:
    """One line of the formula."""

    name: str
    formula: str
    """With the numbers in it; empty where it is not computed."""
    value: float | None
    missing: tuple[str, ...] = ()
    """What was not given, by the names of the settings."""


@dataclass(frozen=True)
class Change:
    """What becomes of the result where one number is another one."""

    number: str
    value: float
    break_even: float | None
    net: float | None


@dataclass(frozen=True)
class Return:
    """What replacing one model by another is worth."""

    replaced: str
    own: str
    cost: float | None
    """What the replaced one costs for a question."""
    low: float | None
    high: float | None
    terms: tuple[Term, ...]
    changes: tuple[Change, ...]
    unsolved: float | None = None
    """How many questions more a month the replaced one solves; below 0: fewer."""

    def term(self, name: str) -> Term:
        """By its name."""
        return next(term for term in self.terms if term.name == name)


def compute(
    replaced: str,
    own: str,
    config: ReturnConfig,
    *,
    cost: float | None,
    low: float | None = None,
    high: float | None = None,
    solved_more: float | None = None,
) -> Return:
    """``cost``: of a question to the replaced model, and its interval; None: its price is not
    known. ``solved_more``: of the questions, the share that it solves more."""
    terms = _terms(config, cost)
    queries = config.queries_per_month
    unsolved = None if solved_more is None or queries is None else solved_more * queries
    changes = _changes(config, cost, low, high)
    return Return(replaced, own, cost, low, high, tuple(terms.values()), changes, unsolved)


def _terms(config: ReturnConfig, cost: float | None) -> dict[str, Term]:
    given: Mapping[str, float] = config.given | ({} if cost is None else {"cost": cost})
    found: dict[str, Term] = {}

    def term(name: str, formula: str, *needs: str) -> None:
        """``formula``: of these, each a number that was given or a term before it."""
        values: dict[str, float] = {}
        missing: list[str] = []
        for need in needs:
            before = found.get(need)
            value = given.get(need) if before is None else before.value
            if value is not None:
                values[need] = value
            else:
                missing += [need] if before is None else before.missing
        if missing:
            found[name] = Term(name, "", None, tuple(dict.fromkeys(missing)))
            return
        said = formula.format(**{need: f"{value:,.6g}" for need, value in values.items()})
        found[name] = Term(name, said, _VALUES[name](values))

    term("bill", "{queries_per_month} × {cost}", "queries_per_month", "cost")
    term("energy", f"{{watts}} ÷ 1000 × {HOURS:g} × {{energy_price}}", "watts", "energy_price")
    term("upkeep", "{monthly_hours} × {hourly_rate}", "monthly_hours", "hourly_rate")
    term("running", "{energy} + {upkeep}", "energy", "upkeep")
    term("investment", "{hardware} + {setup_hours} × {hourly_rate}",
         "hardware", "setup_hours", "hourly_rate")  # fmt: skip
    term("saving", "{bill} − {running}", "bill", "running")
    term("break_even", "{investment} ÷ {saving}", "investment", "saving")
    term("net", "{months} × {saving} − {investment}", "months", "saving", "investment")
    term("return", "{net} ÷ {investment}", "net", "investment")
    return found


def _break_even(values: Mapping[str, float]) -> float | None:
    """None: never. 0 where nothing is invested."""
    if values["saving"] > 0:
        return values["investment"] / values["saving"]
    return 0.0 if not values["investment"] and not values["saving"] else None


_VALUES: Mapping[str, Callable[[Mapping[str, float]], float | None]] = {
    "bill": lambda v: v["queries_per_month"] * v["cost"],
    "energy": lambda v: v["watts"] / 1000 * HOURS * v["energy_price"],
    "upkeep": lambda v: v["monthly_hours"] * v["hourly_rate"],
    "running": lambda v: v["energy"] + v["upkeep"],
    "investment": lambda v: v["hardware"] + v["setup_hours"] * v["hourly_rate"],
    "saving": lambda v: v["bill"] - v["running"],
    "break_even": _break_even,
    "net": lambda v: v["months"] * v["saving"] - v["investment"],
    "return": lambda v: v["net"] / v["investment"] if v["investment"] else None,
}


def _changes(
    config: ReturnConfig, cost: float | None, low: float | None, high: float | None
) -> tuple[Change, ...]:
    """Each number halved and doubled; the cost at either end of its interval."""
    if _terms(config, cost)["saving"].value is None:
        return ()
    assert cost is not None
    found = []
    for end in (low, high):
        if end is not None:
            found.append(_change("cost", end, config, end))
    for name, value in config.given.items():
        for factor in (0.5, 2.0):
            if value:
                changed = replace(config, **{name: factor * value})
                found.append(_change(name, factor * value, changed, cost))
    return tuple(found)


def _change(number: str, value: float, config: ReturnConfig, cost: float) -> Change:
    terms = _terms(config, cost)
    return Change(number, value, terms["break_even"].value, terms["net"].value)
