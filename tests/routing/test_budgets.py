"""Budgets: what is beyond a limit, and the settings that say so."""

import asyncio
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from charged import CENT, charge
from typer.testing import CliRunner

from linnet.cli import app
from linnet.errors import ConfigError
from linnet.respond.context import BudgetExceededError, Charge, Context
from linnet.respond.prices import FREE, UNIT, Price, show_money
from linnet.routing.budgets import BudgetConfig, Limits
from linnet.routing.ledger import Ledger, ledger_file, open_ledger
from linnet.routing.settings import read_routing, setting_lines

# Limits


@pytest.mark.parametrize(
    ("given", "said", "writable"),
    [
        ({"day": 0.0}, "the budget is 0.00 EUR a day: no model that bills is asked", 0),
        ({"day_tokens": 0}, "the budget is 0 tokens a day: no model that bills is asked", 0),
        ({"query": 0.1}, "the budget of 0.10 EUR for a call has 0.10 EUR left, but 'cloud' may "
         "need 0.21 EUR; ask for a shorter answer (max_tokens), or raise the budget", 4),
        ({"month_tokens": 9}, "the budget of 9 tokens a month has 9 tokens left, but 'cloud' may "
         "need 11 tokens; ask for a shorter answer (max_tokens), or raise the budget", 8),
        ({"query_tokens": 1}, "the budget of 1 tokens for a call has 1 tokens left, but 'cloud' "
         "may need 11 tokens; what is asked takes that up by itself: shorten it, or raise the "
         "budget", 0),
        ({"each_key": Limits(day=0.05)}, "the budget of key 'anna' of 0.05 EUR a day has 0.05 EUR "
         "left, but 'cloud' may need 0.21 EUR; ask for a shorter answer (max_tokens), or raise the "
         "budget", 2),
    ],
)  # fmt: skip
def test_what_is_beyond_a_limit_is_said(given: dict[str, Any], said: str, writable: int) -> None:
    ledger = Ledger(None, BudgetConfig(**given), currency="EUR")
    with pytest.raises(BudgetExceededError) as caught:
        ledger.budget("anna").reserve(charge(1, 10))
    assert str(caught.value) == said
    assert caught.value.writable == writable
    assert ledger.spent()[0].month.calls == 0


def test_a_key_with_limits_of_its_own_has_these_alone() -> None:
    config = BudgetConfig(each_key=Limits(day=0.01), keys={"anna": Limits(month=1.0)})
    ledger = Ledger(None, config)
    ledger.budget("anna").reserve(charge(50))
    for key in ("ben", None):  # calls without a key count as one
        ledger.budget(key).reserve(charge(1))
        with pytest.raises(BudgetExceededError):
            ledger.budget(key).reserve(charge(1))
    found = {account.key: account.left for account in ledger.spent()}
    assert found == {None: None, "": 0, "anna": 50 * CENT, "ben": 0}
    assert config.unknown_keys(["ben"]) == ["anna"]


def test_what_answers_on_this_machine_is_not_counted() -> None:
    ledger = Ledger(None, BudgetConfig(day=0.0, day_tokens=0))
    ledger.budget("k").reserve(Charge(1000, 1000))(2000, 0)
    assert ledger.spent()[0].month.tokens == 0
    ledger = Ledger(None, BudgetConfig(day=0.0))
    ledger.budget("k").reserve(charge(1000, 1000, price=FREE))(2000, 0)  # it asks for no money
    assert ledger.spent()[0].month.tokens == 2000


def test_limits_for_a_call_are_for_all_its_attempts_and_parts() -> None:
    ledger = Ledger(None, BudgetConfig(query=0.10))

    async def ask() -> None:
        context = Context(key="k")
        context.reserve(charge(6), ledger)(5, 5 * CENT)
        with context.part() as part:
            settle = part.reserve(charge(5), ledger)
        with pytest.raises(BudgetExceededError):
            context.reserve(charge(1), ledger)
        settle(0, 0)
        context.reserve(charge(1), ledger)
        Context(key="k").reserve(charge(10), ledger)  # another call

    asyncio.run(ask())


def test_amounts_beyond_64_bits_are_exact() -> None:
    """A currency of small units: 25 million a day are more trillionths than SQLite counts."""
    ledger = Ledger(None, BudgetConfig(day=25e6, month=1e9), currency="IDR")
    price = Price.per_million(4_000_000, 160_000_000)
    ledger.budget(None).reserve(charge(1_000_001, 100_000, price=price))(1, 3)
    ledger.budget(None).reserve(charge(1_000_001, 100_000, price=price))
    assert ledger.spent()[0].day.cost == 3 + 1_000_001 * 4 * UNIT + 100_000 * 160 * UNIT
    with pytest.raises(BudgetExceededError, match=r"has 4,999,995\.99 IDR left"):
        ledger.budget(None).reserve(charge(5_000_000, price=price))


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (0, "0.00 EUR"), (UNIT, "1.00 EUR"), (1234 * UNIT + 1, "1,234.01 EUR"),
        (UNIT // 100, "0.01 EUR"), (UNIT // 1000 * 5, "0.005 EUR"), (1, "0.000001 EUR"),
    ],
)  # fmt: skip
def test_amounts_are_shown_for_people(amount: int, shown: str) -> None:
    assert show_money(amount, "EUR") == shown


# Settings

ROUTING = """currency = "EUR"

[models.cloud]
address = "https://api.example.com/v1"
model = "large-2"
{prices}

[budget]
{budget}
"""


def routing(tmp_path: Path, budget: str, prices: str = "input = 1\noutput = 2.0") -> Any:
    file = tmp_path / "routing.toml"
    file.write_text(ROUTING.format(budget=budget, prices=prices))
    return read_routing(file)


def test_settings_of_budgets(tmp_path: Path) -> None:
    found = routing(tmp_path, "day = 1\n[budget.each_key]\nday = 0\n[budget.keys.anna]\nmonth = 5")
    assert found.budget == BudgetConfig(
        day=1, each_key=Limits(day=0), keys={"anna": Limits(month=5)}
    )
    file = tmp_path / "routing.toml"
    assert ledger_file(file, found.budget) == tmp_path / "routing.usage.sqlite"
    ledger = open_ledger(file, found.budget, currency=found.currency)
    assert ledger.file == tmp_path / "routing.usage.sqlite"
    with pytest.raises(BudgetExceededError, match=r"'ben' is 0\.00 EUR"):
        ledger.budget("ben").reserve(charge())
    free = routing(tmp_path, "file = 'sums'\ntimezone = 'Asia/Tokyo'")
    assert ledger_file(file, free.budget) == tmp_path / "sums"
    assert open_ledger(file, free.budget).file is None  # without limits nothing is written


@pytest.mark.parametrize(
    ("budget", "prices", "said"),
    [
        ("day = 5\n# so\nmonth = 2", None,
         r"budget\.day = 5 is more than month = 2; .* \(lines 10 and 12\)"),
        ("[budget.keys]\n'a b' = { query_tokens = 9, month_tokens = 8 }", None,
         r"budget\.keys\.a b\.query_tokens = 9 is more .* \(line 11\)"),
        ("[budget.each_key]\nday = 0.1\nquery = 0.2", None,
         r"each_key\.query = 0\.2 .* \(lines 11 and 12\)"),
        ("day = 5", "",
         r"a budget in money, but models\.cloud has no price: .* \(lines 3 and 8\)"),
        ("[budget.keys.x]\nquery = 5", "", r"models\.cloud has no price"),
        ("day_tokens = 5", "", None),
        ("day = -1", None, "must be 0 or more"),
        ("day = nan", None, "day must be"),
        ("timezone = 'Mars'", None, "timezone must be one like Europe/Berlin"),
        ("timezone = '../x'", None, "timezone must be one like Europe/Berlin"),
        ("daily = 1", None, "did you mean"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be(
    tmp_path: Path, budget: str, prices: str | None, said: str | None
) -> None:
    given = {} if prices is None else {"prices": prices}
    if said is None:
        routing(tmp_path, budget, **given)
        return
    with pytest.raises(ConfigError, match=said):
        routing(tmp_path, budget, **given)


def test_the_command_shows_it(tmp_path: Path) -> None:
    def said(*options: str) -> str:
        done = CliRunner().invoke(app, ["budget", str(tmp_path / "routing.toml"), *options])
        return done.output if done.exception is None else str(done.exception)

    found = routing(tmp_path, "day = 2\n[budget.keys.anna]\nday_tokens = 50")
    assert "nothing was spent yet" in said()
    assert json.loads(said("--json"))["accounts"][0]["left"] == "2"
    assert "nothing was spent yet, by any key" in said("--forget", "anna")
    assert not (tmp_path / "routing.usage.sqlite").exists()
    with closing(
        open_ledger(tmp_path / "routing.toml", found.budget, currency=found.currency)
    ) as ledger:
        ledger.budget("anna").reserve(charge(3, 4))(7, 11 * CENT)
        ledger.budget(None).reserve(charge(3, 4, model="greedy"))(8, 12 * CENT)
    assert [line.split() for line in said().splitlines()][:4] == [
        ["today", "this", "month"],
        [
            "all",
            "together",
            "0.23",
            "EUR",
            "of",
            "2.00",
            "EUR,",
            "15",
            "tokens",
            "0.23",
            "EUR,",
            "15",
            "tokens",
        ],
        ["without", "a", "key", "0.12", "EUR,", "8", "tokens", "0.12", "EUR,", "8", "tokens"],
        ["anna", "0.11", "EUR,", "7", "tokens", "of", "50", "0.11", "EUR,", "7", "tokens"],
    ]
    assert "'greedy' is cut off since" in said()
    everything = json.loads(said("--json"))
    assert everything["accounts"][0]["left"] == "1.77"
    assert everything["accounts"][2]["tokens_left"] == 43
    assert "those that are: greedy" in said("--lift", "cloud")
    assert "greedy" not in said("--lift", "greedy", "--correct-clock")
    assert "anna 0.00 EUR, 0 tokens" in " ".join(said("--forget", "anna").split())
    assert "key 'ana' has spent nothing this month" in said("--forget", "ana")
    (tmp_path / "routing.toml").write_text("")
    assert "there is no [budget]" in said()


def test_lines_of_settings() -> None:
    text = 'a = 1\n[b."c d"] # so\nx.y = 2\n[[r]]\nm = 1\n\n[[r]]\n  m = { n = 3, o.p = 4 }\n[r.s]'
    assert setting_lines(text) == {
        "a": 1, "b.c d": 2, "b.c d.x.y": 3, "r.0": 4, "r.0.m": 5, "r.1": 7, "r.1.m": 8,
        "r.1.m.n": 8, "r.1.m.o.p": 8, "r.1.s": 9,
    }  # fmt: skip
