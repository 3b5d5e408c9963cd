"""Figures of a log: counted as by hand, with intervals that hold."""

import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from linnet.monitor.entry import Entry
from linnet.monitor.figures import OTHERS, figures, read_calls
from linnet.monitor.intervals import quantile
from linnet.monitor.log import Log
from linnet.monitor.promises import Promise
from linnet.respond.prices import trillionths
from linnet.scoring.bounds import binomial_tail

DAY = 86_400.0
BEGAN = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


def call(number: int, **more: Any) -> Entry:
    """One a quarter of an hour after the last."""
    usual: dict[str, Any] = {"model": "manuals", "seconds": 1.0 + number % 10}
    return Entry(at=BEGAN + 900 * number, id=str(number), **usual | more)


@pytest.fixture
def log() -> Iterator[Log]:
    made = Log(keep_days=0)
    yield made
    made.close()


def filled(log: Log, entries: list[Entry]) -> Log:
    for entry in entries:
        log.add(entry)
    assert log.flush()
    return log


def test_everything_is_counted_once(log: Log) -> None:
    entries = [
        call(
            n,
            key=f"key-{n % 3}",
            model="cloud" if n % 4 == 0 else "manuals",
            place="elsewhere" if n % 4 == 0 else "here",
            state=("answered", "answered", "refused", "failed", "left")[n % 5],
            cost=trillionths(0.002) if n % 4 == 0 else 0,
            would_cost=trillionths(0.003) if n % 2 == 0 else None,
            prompt=100,
            cached=40,
            written=10,
            decided_by="router" if n % 4 == 0 else "attempt",
            reason="too hard" if n % 4 == 0 else "good enough",
            failures=("timeout", "timeout", "http_500") if n % 10 == 0 else (),
            good={0: True, 1: False}.get(n % 20),
            grounded=0.5 if n % 2 else 1.0,
            probability=0.9,
            queue_seconds=0.25,
        )
        for n in range(200)
    ]
    found = figures(read_calls(filled(log, entries)), since=BEGAN, until=BEGAN + 3 * DAY, zone=UTC)
    assert (found.calls, found.prompt, found.cached, found.written) == (200, 20_000, 8000, 2000)
    shares = found.answered, found.refused, found.failed, found.left
    assert [each.part for each in shares] == [80, 40, 40, 40]
    assert (found.escalated.part, found.escalated.whole) == (20, 80)
    assert (found.cost, found.billed) == (0.1, 50)
    assert (found.would_cost, found.compared, found.compared_cost) == (0.3, 100, 0.1)
    assert (found.good, found.bad) == (10, 10)
    assert found.sure == pytest.approx(0.9)
    assert (found.grounded, found.grounded_calls) == (0.75, 80)
    assert found.times["queue"].calls == 120  # of those that came to an end
    assert found.times["retrieval"].p50 is None
    assert {(r.name, r.calls) for r in found.failures} == {("timeout", 20), ("http_500", 20)}
    assert {(r.model, r.decided_by, r.name, r.calls) for r in found.routes} == {
        ("cloud", "router", "too hard", 50), ("manuals", "attempt", "good enough", 150),
    }  # fmt: skip
    for rows in (found.models, found.keys, found.spans):
        for name, total in (("calls", 200), ("answered", 80), ("refused", 40), ("good", 10)):
            assert sum(getattr(row, name) for row in rows) == total
        assert sum(row.cost for row in rows) == pytest.approx(0.1)
    assert [(row.name, row.calls) for row in found.models] == [("manuals", 150), ("cloud", 50)]
    assert found.span == "hour"
    assert len(found.spans) == 72  # hours without a call are shown


def test_a_period_is_what_arrived_in_it(log: Log) -> None:
    filled(log, [call(n, key="a" if n < 150 else "b") for n in range(300)])
    found = read_calls(log, BEGAN + 900 * 100, BEGAN + 900 * 200)
    assert list(found.ids) == [str(n) for n in range(100, 200)]
    assert list(read_calls(log, BEGAN + 900 * 100, key="a").ids) == [
        str(n) for n in range(100, 150)
    ]
    newest = read_calls(log, most=30)
    assert (list(newest.ids), newest.left_out) == ([str(n) for n in range(270, 300)], 270)
    nothing = figures(read_calls(log, 0, 1), until=1.0)
    assert (nothing.calls, nothing.answered.value, nothing.first, nothing.spans) == (
        0,
        None,
        None,
        [],
    )


def test_days_are_those_of_a_place_even_where_a_clock_is_changed(log: Log) -> None:
    zone = ZoneInfo("Europe/Berlin")
    begin = datetime(2026, 3, 27, tzinfo=zone).timestamp()  # the 29th has 23 hours there
    entries = [Entry(at=begin + 3600 * n, id=str(n)) for n in range(24 * 5 - 1)]
    found = figures(
        read_calls(filled(log, entries)), since=begin, until=begin + 119 * 3600, zone=zone
    )
    assert [(row.name, row.calls) for row in found.spans] == [
        ("2026-03-27", 24), ("2026-03-28", 24), ("2026-03-29", 23), ("2026-03-30", 24),
        ("2026-03-31", 24),
    ]  # fmt: skip


def test_many_names_are_counted_together(log: Log) -> None:
    entries = [call(n, key=f"{n % 80}", failures=(f"e{n % 80}",)) for n in range(400)]
    found = figures(read_calls(filled(log, entries)), until=BEGAN + DAY)
    assert len(found.keys) == 51
    assert (found.keys[-1].name, found.keys[-1].calls) == (OTHERS, 150)


@pytest.mark.parametrize(("count", "share"), [(10, 0.5), (60, 0.5), (200, 0.95), (1000, 0.95)])
def test_intervals_of_quantiles_hold(count: int, share: float) -> None:
    """The chance that each bound is on the wrong side, by the binomial distribution itself."""
    found = quantile(np.arange(count, dtype=np.float64), share)
    assert found is not None
    assert found.value == math.ceil(share * count) - 1
    if found.low is not None:  # the value of that place is above the quantile
        assert binomial_tail(int(found.low), count, share) <= 0.025
        assert binomial_tail(int(found.low) + 1, count, share) > 0.025
    if found.high is not None:
        assert 1 - binomial_tail(int(found.high), count, share) <= 0.025
        assert 1 - binomial_tail(int(found.high) - 1, count, share) > 0.025
    assert (found.low is None, found.high is None) == (False, (count, share) in [(10, 0.95)])


def test_few_values_have_no_interval_and_none_no_quantile() -> None:
    assert quantile(np.empty(0), 0.5) is None
    found = quantile(np.array([3.0]), 0.95)
    assert found is not None
    assert (found.value, found.low, found.high) == (3.0, None, None)


@pytest.mark.parametrize(
    ("judged", "wrong", "kept"),
    [(0, 0, "open"), (58, 0, "open"), (59, 0, "kept"), (40, 2, "open"), (40, 9, "broken")],
)
def test_a_promise_is_kept_broken_or_open(log: Log, judged: int, wrong: int, kept: str) -> None:
    entries = [
        call(n, probability=0.97, good=None if n >= judged else n >= wrong) for n in range(100)
    ]
    entries += [call(100 + n, good=False) for n in range(50)]  # no gate judged these
    entries += [call(150 + n, state="refused", probability=0.2, good=False) for n in range(50)]
    calls = read_calls(filled(log, entries))
    found = figures(calls, until=BEGAN + DAY, promise=Promise(0.05, 0.95)).realised
    assert (found.answers, found.judged, found.wrong) == (100, judged, wrong)
    assert found.kept == kept
    assert found.least == wrong / 100
    assert found.most == pytest.approx((wrong + 100 - judged) / 100)
    if judged == 0:
        assert found.needed == 59
    assert figures(calls, until=BEGAN + DAY).realised.promised is None


def test_a_sample_that_was_checked_goes_before_verdicts(log: Log) -> None:
    entries = [call(n, probability=0.97, good=False if n < 30 else None) for n in range(200)]
    calls = read_calls(filled(log, entries))
    checked = {str(n): True for n in range(100, 160)} | {"unknown": False}
    promise = Promise(0.05, 0.95)
    found = figures(calls, until=BEGAN + DAY, promise=promise, checked=checked).realised
    assert (found.judged, found.wrong, found.kept, found.is_sample) == (60, 0, "kept", True)


def test_a_log_on_disk_gives_the_same(tmp_path: Path) -> None:
    generator = random.Random(3)
    entries = [call(n, cost=generator.randrange(10**9), good=n % 2 == 0) for n in range(700)]
    with_file = Log(tmp_path / "log.sqlite", keep_days=0)
    memory = Log(keep_days=0)
    both = [
        figures(read_calls(filled(each, entries)), until=BEGAN + 8 * DAY)
        for each in (with_file, memory)
    ]
    with_file.close()
    memory.close()
    assert both[0] == both[1]
    assert both[0].cost == pytest.approx(sum(entry.cost for entry in entries) / 10**12, rel=1e-15)
