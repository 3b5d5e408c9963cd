"""The ledger holds: against a plain list of what was spent, among threads, processes and kills,
whatever the clock does."""

import asyncio
import random
import sqlite3
import subprocess
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from charged import CENT, PRICE, Clock, at, charge, spent
from hypothesis import given, settings
from hypothesis import strategies as st

from full_disk import full_disk
from linnet.errors import ConfigError
from linnet.generate.sampling import Sampling
from linnet.respond import conversation
from linnet.respond.context import BudgetExceededError, Charge, Context, Settle
from linnet.respond.prices import UNIT
from linnet.respond.remote import RemoteResponder
from linnet.respond.responder import Abilities
from linnet.routing.budgets import BudgetConfig, Limits
from linnet.routing.ledger import CallBudget, Ledger

# Against a plain list


@dataclass
class Spent:
    day: str
    key: str
    call: int
    cost: int
    tokens: int


class PlainLedger:
    """The same by a list of all that was ever spent, added up anew each time."""

    def __init__(self, config: BudgetConfig) -> None:
        self.config = config
        self.entries: list[Spent] = []

    def day(self, now: float) -> str:
        """The zone has no summer time, and is behind by nine hours and a half."""
        own = datetime.fromtimestamp(now, UTC) - timedelta(hours=9, minutes=30)
        return max([own.strftime("%Y-%m-%d"), *(entry.day for entry in self.entries)])

    def admits(self, now: float, key: str, call: int, cost: int, tokens: int) -> bool:
        day = self.day(now)
        whose: dict[str | None, Limits] = {None: self.config, key: self.config.limits_of(key)}
        for one, limits in whose.items():
            entries = [entry for entry in self.entries if one in (None, entry.key)]
            for money, count, chosen in (
                (limits.query, limits.query_tokens, [e for e in entries if e.call == call]),
                (limits.day, limits.day_tokens, [e for e in entries if e.day == day]),
                (limits.month, limits.month_tokens, [e for e in entries if e.day[:7] == day[:7]]),
            ):
                if money is not None and sum(e.cost for e in chosen) + cost > money * UNIT:
                    return False
                if count is not None and sum(e.tokens for e in chosen) + tokens > count:
                    return False
        return True


amounts = st.none() | st.integers(0, 3).map(lambda cents: cents / 4)
counts = st.none() | st.integers(0, 60)


def increasing(values: list[Any]) -> list[Any]:
    given = iter(sorted(value for value in values if value is not None))
    return [None if value is None else next(given) for value in values]


limits = st.builds(
    lambda money, tokens: dict(zip(NAMES, [*increasing(money), *increasing(tokens)], strict=True)),
    st.lists(amounts, min_size=3, max_size=3), st.lists(counts, min_size=3, max_size=3),
)  # fmt: skip
NAMES = ("query", "day", "month", "query_tokens", "day_tokens", "month_tokens")
steps = st.one_of(
    st.tuples(
        st.just("reserve"), st.sampled_from(["", "anna", "ben"]), st.integers(0, 3),
        st.integers(0, 20), st.integers(0, 20),
    ),
    st.tuples(st.just("settle"), st.integers(0, 9), st.integers(0, 25), st.integers(0, 40)),
    st.tuples(st.just("clock"), st.sampled_from([-86400 * 3, -3600, 3600, 43200, 86400 * 11])),
    st.tuples(st.just("again")),
)  # fmt: skip


@given(limits, limits, limits, st.lists(steps, max_size=30))
@settings(max_examples=60, deadline=None)
def test_it_spends_as_a_plain_list_would(
    total: dict[str, Any], each: dict[str, Any], own: dict[str, Any], todo: list[Any]
) -> None:
    config = BudgetConfig(
        **total, each_key=Limits(**each), keys={"anna": Limits(**own)},
        timezone="Pacific/Marquesas",
    )  # fmt: skip
    clock = Clock(at("2026-11-29T18:00:00"))
    ledger, plain = Ledger(None, config, clock=clock), PlainLedger(config)
    calls: dict[tuple[str, int], CallBudget] = {}
    unsettled: list[tuple[Settle, Spent]] = []
    for step in todo:
        if step[0] == "clock":
            clock.now += step[1]
        elif step[0] == "again":
            calls.clear()  # other calls from here on; those of before may still be settled
            for entry in plain.entries:
                entry.call = -1
        elif step[0] == "settle" and unsettled:
            settle, entry = unsettled.pop(step[1] % len(unsettled))
            # Not more than was reserved, so that the model is not cut off: see below.
            used, cost = min(step[2], entry.tokens), min(step[3] * CENT, entry.cost)
            settle(used, cost)
            settle(999, 999)  # only the first counts
            entry.tokens, entry.cost = used, cost
        elif step[0] == "reserve":
            _, key, number, prompt, written = step
            call = calls.setdefault((key, number), ledger.budget(key or None))
            asked = charge(prompt, written)
            name = hash((key, number))

            def admits(writes: int, key: str = key, name: int = name, prompt: int = prompt) -> bool:
                one = charge(prompt, writes)
                return plain.admits(clock.now, key, name, one.cost, one.tokens)

            if admits(written):
                settle = call.reserve(asked)
                entry = Spent(plain.day(clock.now), key, name, asked.cost, asked.tokens)
                plain.entries.append(entry)
                unsettled.append((settle, entry))
            else:
                with pytest.raises(BudgetExceededError) as caught:
                    call.reserve(asked)
                most = max((some for some in range(written) if admits(some)), default=0)
                assert caught.value.writable == most
    day = plain.day(clock.now)
    for account in ledger.spent():
        mine = [entry for entry in plain.entries if account.key in (None, entry.key)]
        for amount, entries in (
            (account.day, [entry for entry in mine if entry.day == day]),
            (account.month, [entry for entry in mine if entry.day[:7] == day[:7]]),
        ):
            assert amount.cost == sum(entry.cost for entry in entries)
            assert amount.tokens == sum(entry.tokens for entry in entries)
            assert amount.calls == len(entries)
            open_ones = [entry for _, entry in unsettled if entry in entries]
            assert amount.reserved == sum(entry.cost for entry in open_ones)


# Concurrency and kills


def test_64_threads_never_exceed_it_and_settle_exactly(tmp_path: Path) -> None:
    limit = 300
    ledger = Ledger(
        tmp_path / "usage.sqlite", BudgetConfig(day=limit / 100, keys={"k1": Limits(day=0.2)})
    )
    lock, held, most, refused = threading.Lock(), 0, 0, 0
    used = {f"k{number}": 0 for number in range(4)}
    begin = threading.Barrier(64)

    def work(number: int) -> None:
        nonlocal held, most, refused
        chance, key = random.Random(number), f"k{number % 4}"
        begin.wait()
        for _ in range(3):
            asked = charge(chance.randrange(1, 4), chance.randrange(3))
            really = chance.randrange(asked.cost // CENT + 1)
            try:
                settle = ledger.budget(key).reserve(asked)
            except BudgetExceededError:
                with lock:
                    refused += 1
                continue
            with lock:
                held += asked.cost // CENT
                most = max(most, held)
            with lock:  # counted before it is free again
                held -= asked.cost // CENT - really
                used[key] += really
            settle(really, really * CENT)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= limit
    assert refused
    assert used["k1"] <= 20
    assert spent(ledger) == (sum(used.values()), sum(used.values()))
    found = {account.key: account.day.cost // CENT for account in ledger.spent()}
    assert {key: found.get(key, 0) for key in used} == used
    assert all(found.day.reserved == 0 for found in ledger.spent())
    ledger.close()
    assert [file.name for file in tmp_path.iterdir()] == ["usage.sqlite"]


_SPEND = """
import random, sys
from pathlib import Path
from linnet.respond.context import BudgetExceededError, Charge
from linnet.respond.prices import UNIT, Price
from linnet.routing.budgets import BudgetConfig
from linnet.routing.ledger import Ledger

file, seed, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
ledger = Ledger(file, BudgetConfig(day=9.0))
chance = random.Random(seed)
say = lambda *words: print(*words, flush=True)
for number in range(rounds):
    cost = chance.randrange(1, 9)
    say("reserving", number, cost)
    try:
        settle = ledger.budget("k").reserve(Charge(cost, 0, Price(UNIT // 100), "cloud"))
    except BudgetExceededError:
        say("refused", number, 0)
        continue
    say("reserved", number, cost)
    used = chance.randrange(cost + 1)
    say("settling", number, used)
    settle(used, used * (UNIT // 100))
    say("settled", number, used)
ledger.close()
"""


def test_processes_that_are_killed_leave_what_they_reserved(tmp_path: Path) -> None:
    """Three are killed at any moment, one ends by itself; each says what it does before and after,
    so that only what it was about to do is uncertain."""
    file = tmp_path / "usage.sqlite"
    command = [sys.executable, "-c", _SPEND, str(file)]
    processes = [
        subprocess.Popen([*command, str(seed), rounds], stdout=subprocess.PIPE, text=True)
        for seed, rounds in enumerate(("1000000", "1000000", "1000000", "8"))
    ]
    outputs = []
    for place, process in enumerate(processes):
        assert process.stdout is not None
        lines = []
        if place < 3:
            for line in process.stdout:
                lines.append(line)
                if len(lines) > 9 + 7 * place:  # in the midst of any of its steps
                    break
            process.kill()
        lines += process.stdout.readlines()
        # A line that a kill cut short was about something that was not begun.
        outputs.append([line.split() for line in lines if line.endswith("\n")])
        process.wait()
    least = most = 0
    for place, lines in enumerate(outputs):
        costs: dict[str, tuple[int, int]] = {}
        for does, number, cents in lines:
            _, high = costs.get(number, (0, 0))
            costs[number] = {
                "reserving": (0, int(cents)),
                "refused": (0, 0),
                "reserved": (int(cents), int(cents)),
                "settling": (int(cents), high),
                # A thread writes it, and a kill may come before.
                "settled": (int(cents), high if place < 3 else int(cents)),
            }[does]
        least += sum(low for low, _ in costs.values())
        most += sum(high for _, high in costs.values())
    ledger = Ledger(file, BudgetConfig(day=9.0))
    (total, *_) = ledger.spent()
    assert least <= total.day.cost // CENT <= most
    assert total.day.cost <= 9 * UNIT
    assert total.day.reserved == 0  # nobody lives who will settle it
    with sqlite3.connect(file) as connection:
        (lost,) = connection.execute("SELECT COUNT(*) FROM reserved WHERE is_lost").fetchone()
        assert connection.execute("SELECT COUNT(*) FROM reserved").fetchone() == (lost,)
    assert lost <= 3
    assert (total.day.assumed > 0) == (lost > 0)
    connection.close()
    ledger.close()
    assert [file.name for file in tmp_path.iterdir()] == ["usage.sqlite"]


def test_what_a_living_process_reserved_is_not_lost(tmp_path: Path) -> None:
    one, other = Ledger(tmp_path / "u"), Ledger(tmp_path / "u")
    settle = one.budget("k").reserve(charge(5))
    assert other.spent()[0].day.reserved == 5 * CENT
    one._presence._lock.release()  # as the system does when one dies
    found = Ledger(tmp_path / "u").spent()[0].day
    assert (found.cost, found.reserved, found.assumed) == (5 * CENT, 0, 5 * CENT)
    settle(3, 3 * CENT)  # it was not dead after all
    assert one.spent()[0].day.cost == 3 * CENT == other.spent()[0].day.cost


def test_it_is_on_disk_before_anything_is_sent(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "u")
    with ledger._database.reading() as run:
        assert run("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert run("PRAGMA journal_mode").fetchone() == ("wal",)
    ledger.budget(None).reserve(charge(5))
    assert spent(Ledger(tmp_path / "u")) == (5, 5)


# Clocks


@pytest.mark.parametrize(
    ("zone", "times"),
    [
        ("Europe/Berlin", {  # 23 hours on 29 March, 25 on 25 October
            "2026-03-28T22:59:59": "2026-03-28", "2026-03-28T23:00:00": "2026-03-29",
            "2026-03-29T21:59:59": "2026-03-29", "2026-03-29T22:00:00": "2026-03-30",
            "2026-10-24T22:00:00": "2026-10-25", "2026-10-25T22:59:59": "2026-10-25",
            "2026-10-25T23:00:00": "2026-10-26", "2026-12-31T22:59:59": "2026-12-31",
            "2026-12-31T23:00:00": "2027-01-01",
        }),
        ("Pacific/Kiritimati", {"2026-11-29T09:59:59": "2026-11-29",
                                "2026-11-30T10:00:00": "2026-12-01"}),
        ("America/St_Johns", {"2026-12-01T03:29:59": "2026-11-30",
                              "2026-12-01T03:30:00": "2026-12-01"}),
    ],
)  # fmt: skip
def test_days_and_months_are_the_owners(zone: str, times: dict[str, str]) -> None:
    clock = Clock(0)
    ledger = Ledger(None, BudgetConfig(timezone=zone), clock=clock)
    for time in times:
        clock.now = at(time)
        ledger.budget(None).reserve(charge())
    with ledger._database.reading() as run:
        rows = dict(run("SELECT period, calls FROM spent WHERE account = '' ORDER BY period"))
    days = list(times.values())
    assert {day: rows[day] for day in days} == {day: days.count(day) for day in days}
    months = [day[:7] for day in days]
    assert {month: rows[month] for month in months} == {m: months.count(m) for m in months}


def test_without_a_timezone_days_are_this_machines() -> None:
    now = datetime.now().astimezone()
    ledger = Ledger(None)
    ledger.budget(None).reserve(charge())
    with ledger._database.reading() as run:
        (day,) = run("SELECT MAX(period) FROM spent").fetchone()
    assert day in (now.date().isoformat(), datetime.now().astimezone().date().isoformat())


def test_what_spans_midnight_counts_where_it_began() -> None:
    clock = Clock(at("2026-11-30T23:59:59"))
    ledger = Ledger(None, BudgetConfig(day=0.10, timezone="UTC"), clock=clock)
    settle = ledger.budget(None).reserve(charge(10))
    clock.now += 2
    assert spent(ledger) == (0, 0)
    settle(4, 4 * CENT)
    ledger.budget(None).reserve(charge(10))
    assert spent(ledger) == (10, 10)
    with ledger._database.reading() as run:
        found = dict(run("SELECT period, cost FROM spent WHERE account = ''").fetchall())
    assert found["2026-11-30"] == found["2026-11"] == str(4 * CENT)


def test_a_clock_that_goes_back_frees_nothing(tmp_path: Path) -> None:
    clock = Clock(at("2026-11-30T12:00:00"))
    config = BudgetConfig(day=0.10, month=0.15, timezone="UTC")
    ledger = Ledger(tmp_path / "u", config, clock=clock)
    ledger.budget(None).reserve(charge(7))
    for back in ("2026-11-30T00:00:00", "2026-11-02T12:00:00", "1970-01-01T00:00:10"):
        clock.now = at(back)
        ledger.close()
        ledger = Ledger(tmp_path / "u", config, clock=clock)  # as after it was started again
        with pytest.raises(BudgetExceededError):
            ledger.budget(None).reserve(charge(4))
    ledger.budget(None).reserve(charge(3))
    clock.now = at("2026-11-30T13:00:00")
    assert spent(ledger) == (10, 10)
    clock.now = at("2026-12-01T00:00:00")
    assert spent(ledger) == (0, 0)


def test_a_clock_that_went_ahead_is_put_right() -> None:
    clock = Clock(at("2026-11-30T12:00:00"))
    ledger = Ledger(None, BudgetConfig(day=0.10, timezone="UTC"), clock=clock)
    ledger.budget("k").reserve(charge(2))
    clock.now = at("2031-01-01T12:00:00")
    settle = ledger.budget("k").reserve(charge(9))  # a new day, as it cannot be told
    clock.now = at("2026-11-30T12:01:00")
    assert spent(ledger) == (9, 9)  # and it stays that day
    with pytest.raises(BudgetExceededError, match=r"for 2031-01-01, .* --correct-clock"):
        ledger.budget("k").reserve(charge(2))
    assert ledger.correct_clock() == 1
    assert spent(ledger) == (11, 11) == spent(ledger, "k")
    settle(1, CENT)
    assert spent(ledger) == (3, 3) == spent(ledger, "k")
    assert ledger.correct_clock() == 0
    clock.now = at("2026-12-01T12:01:00")
    assert spent(ledger) == (0, 0)


# Models that bill more


@pytest.mark.parametrize(("tokens", "cost"), [(5, 7), (7, 5), (10**30, 10**30)])
def test_a_model_that_bills_beyond_is_cut_off(tmp_path: Path, tokens: int, cost: int) -> None:
    ledger = Ledger(tmp_path / "u", BudgetConfig(day=1.0))
    settle = ledger.budget("k").reserve(charge(6, model="greedy"))
    other = ledger.budget("k").reserve(charge(6, model="greedy"))
    settle(tokens, cost * CENT)
    assert ledger.spent()[0].day.cost == (cost + 6) * CENT  # recorded all the same
    other(6, 6 * CENT)
    ledger.close()
    ledger = Ledger(tmp_path / "u", BudgetConfig(day=1e40))
    with pytest.raises(BudgetExceededError, match="'greedy' is cut off"):
        ledger.budget("k").reserve(charge(model="greedy"))
    ledger.budget("k").reserve(charge(model="cloud"))(1, CENT)
    found = ledger.cut_off("greedy")
    assert ledger.cut_off("cloud") is None
    assert found is not None
    assert (found.reserved, found.cost) == (6 * CENT, cost * CENT)
    assert (found.reserved_tokens, found.tokens) == (6, tokens)
    assert ledger.lift("greedy")
    assert not ledger.lift("greedy")
    ledger.budget("k").reserve(charge(model="greedy"))


def test_a_call_that_is_cancelled_while_it_reserves_gives_it_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = Ledger(None, BudgetConfig(day=100.0))
    far = RemoteResponder(
        "http://127.0.0.1:9/v1", "m", abilities=Abilities("far", 100), price=PRICE, ledger=ledger
    )
    begun, go_on = threading.Event(), threading.Event()
    reserve = Ledger.reserve

    def slowly(self: Ledger, call: CallBudget, charge: Charge) -> Settle:
        begun.set()
        assert go_on.wait(60)
        return reserve(self, call, charge)

    monkeypatch.setattr(Ledger, "reserve", slowly)
    asked = conversation([{"role": "user", "content": "?"}], sampling=Sampling(max_tokens=1))

    async def main() -> None:
        async def ask() -> None:
            async for _ in far.respond(asked, Context()):
                pass

        task = asyncio.create_task(ask())
        await asyncio.to_thread(begun.wait, 60)  # the loop is free meanwhile
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await asyncio.get_running_loop().shutdown_default_executor()

    asyncio.run(main())
    found = ledger.spent()[0].day
    assert (found.cost, found.calls) == (0, 1)


# Files


def test_what_cannot_be_kept_is_not_spent(tmp_path: Path) -> None:
    file = tmp_path / "u"
    ledger = Ledger(file, BudgetConfig(day=1.0))
    settle = ledger.budget("k").reserve(charge(9))
    late = ledger.budget("k").reserve(charge(8))
    with full_disk(file.with_name("u-wal").stat().st_size):
        settle(1, CENT)  # the answer is there: nothing fails, and all that was reserved counts
        with pytest.raises(BudgetExceededError, match="cannot be kept"):
            ledger.budget("k").reserve(charge(1))
        assert spent(ledger) == (17, 17)
    late(2, 2 * CENT)
    assert spent(ledger) == (3, 3)
    ledger.budget("k").reserve(charge(1))
    file.rename(tmp_path / "elsewhere")
    with pytest.raises(BudgetExceededError, match="was moved or deleted"):
        ledger.budget("k").reserve(charge(1))


def test_a_file_that_is_something_else_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "u"
    ledger = Ledger(file)
    ledger.budget("k").reserve(charge(1))
    ledger.close()
    whole = file.read_bytes()
    other = sqlite3.connect(tmp_path / "other")
    other.execute("CREATE TABLE spent (x)")
    other.close()
    for content in (b"hello", (tmp_path / "other").read_bytes(), b"SQLite format 3\0" + b"x" * 5000,
                    whole[:2048]):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(
            ConfigError, match="expected a file of Linnet's for its ledger of budgets"
        ):
            Ledger(file).spent()
        assert file.read_bytes() == content


def test_a_forgotten_key_leaves_nothing_but_the_sum(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "u")
    settle = ledger.budget("anna-1970").reserve(charge(5))
    ledger.budget("ben").reserve(charge(4))
    ledger.forget("anna-1970")
    assert b"anna-1970" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    settle(1, CENT)
    assert spent(ledger) == (5, 5)
    assert spent(ledger, "ben") == (4, 4)
    assert {account.key for account in ledger.spent()} == {None, "ben"}
