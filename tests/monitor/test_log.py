"""The log of calls: what is added is there, whatever happens; and what is not wanted is not."""

import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from full_disk import full_disk
from linnet import database
from linnet.database import StoreError, bytes_used
from linnet.errors import ConfigError
from linnet.monitor import log as log_module
from linnet.monitor.entry import COLUMNS, Entry, entry_of
from linnet.monitor.log import Log, is_log
from linnet.respond.context import Record
from linnet.respond.pieces import Failure, Outcome, Passage, Refusal

NOW = time.time()
FULL = Entry(
    at=NOW, id="req_1", key="anna", interface="/v1/chat/completions", asked="auto", model="cloud",
    place="elsewhere", prompt=7, cached=2, written=30, cost=5, would_cost=9, seconds=1.5,
    queue_seconds=0.25, retrieval_seconds=0.5, first_seconds=0.75, state="refused",
    probability=0.25, in_scope=0.75, grounded=1.0, decided_by="router", reason="a long question",
    score=0.5, threshold=0.4, failures=("timeout", "busy"), scores=(2.5, 1.25),
    features={"length": 12.0, "margin": -0.5}, good=True, question="When?", answer="Never.",
    sources=("a/b.pdf", "ü.md"),
)  # fmt: skip


def entry(number: int, **more: Any) -> Entry:
    return replace(FULL, id=f"req_{number}", at=NOW + number, good=None, **more)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "monitor.sqlite"


@pytest.fixture
def log(file: Path) -> Iterator[Log]:
    with closing(Log(file, keeps_contents=True)) as made:
        yield made


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "RETRY_SECONDS", (0.01, 0.05))
    monkeypatch.setattr(log_module, "BATCH_SECONDS", 0.0)


def wait_until(holds: Any) -> None:
    for _ in range(3000):
        if holds():
            return
        time.sleep(0.01)
    raise AssertionError


def held(file: Path) -> bytes:
    return b"".join(path.read_bytes() for path in file.parent.iterdir())


# What is in it


def test_every_field_comes_back(log: Log) -> None:
    assert {field.name for field in fields(Entry)} == set(COLUMNS)
    for name in (field.name for field in fields(Entry)):
        assert getattr(FULL, name) != getattr(Entry(at=0, id=""), name) or name == "number", name
    log.add(FULL)
    assert log.flush()
    assert list(log.read()) == [replace(FULL, number=1)]
    log.add(Entry(at=NOW, id="x"))
    assert log.flush()
    assert log.newest(1) == [Entry(at=NOW, id="x", number=2)]


@given(
    st.text(), st.floats() | st.none(), st.integers(), st.lists(st.floats(), max_size=5),
    st.dictionaries(st.text(), st.floats(), max_size=3),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_anything_can_be_added(
    text: str, number: float | None, count: int, numbers: list[float], named: dict[str, float]
) -> None:
    with closing(Log(keeps_contents=True)) as log:
        log.add(replace(
            FULL, id=text, key=text, reason=text, question=text, answer=text, score=number,
            cost=count, would_cost=count, scores=tuple(numbers), features=named, sources=(text,),
            failures=(text,),
        ))  # fmt: skip
        assert log.flush(30)
        assert (log.state.written, log.state.dropped) == (1, 0)
        (found,) = log.read()
    clean = text.encode("utf-8", "replace").decode()
    assert (found.id, found.question, found.sources) == (clean[:300], clean, (clean[:4096],))
    assert found.score == (number if number is not None and math.isfinite(number) else None)
    assert found.cost == max(0, min(count, 2**63 - 1))
    assert list(found.scores) == [each for each in numbers if math.isfinite(each)]


def test_what_is_no_entry_is_counted_and_harms_no_other(log: Log) -> None:
    wrong: list[Any] = [
        replace(FULL, at="today"),
        replace(FULL, id=7),
        replace(FULL, scores=[None]),
    ]  # type: ignore[arg-type]
    for each in (wrong[0], entry(1), *wrong[1:], replace(FULL, state="odd"), entry(2)):  # type: ignore[arg-type]
        log.add(each)
    assert log.flush()
    assert [found.id for found in log.read()] == ["req_1", "req_2"]
    assert (log.state.written, log.state.dropped) == (2, 4)
    log.add(entry(3))
    assert log.flush()
    assert log.drops() == 4  # the log itself says so from then on
    assert log.drops(until=NOW - 1) == 0


def test_contents_are_kept_where_the_owner_wants_it_alone(file: Path) -> None:
    with closing(Log(file)) as log:
        log.add(replace(FULL, question="SECRET" * 9, answer="SECRET", sources=("SECRET",)))
        assert log.flush()
        assert b"SECRET" not in held(file)
        (found,) = log.read()
        assert (found.question, found.answer, found.sources) == (None, None, ())
    with closing(Log(file, keeps_contents=True)) as log:
        log.add(entry(2, question="Q" * 200_000))
        assert log.flush()
        kept = log.newest(1)[0].question or ""
        assert kept == "Q" * 100_000 + " [100,000 more characters were not kept]"


def test_reading_is_by_time_key_and_model(log: Log) -> None:
    added = [
        entry(number * 7 % 1300, key=f"k{number % 3}", model=f"m{number % 2}")
        for number in range(1300)
    ]
    for each in added:
        log.add(each)
    assert log.flush()
    numbered = [replace(each, number=place) for place, each in enumerate(added, 1)]
    in_order = sorted(numbered, key=lambda each: (each.at, each.number))
    assert list(log.read()) == in_order
    assert list(log.read(NOW + 3, NOW + 900)) == [
        each for each in in_order if NOW + 3 <= each.at < NOW + 900
    ]
    assert list(log.read(key="k1", model="m0", after=700)) == [
        each for each in in_order if (each.key, each.model) == ("k1", "m0") and each.number > 700
    ]
    assert log.newest(3) == in_order[:-4:-1]
    with log.reading() as run:
        assert run("SELECT COUNT(*), SUM(cost) FROM calls").fetchone() == (1300, 6500)


def test_a_verdict_is_on_the_last_call_of_its_key(log: Log) -> None:
    for key in ("anna", "ben", "anna"):  # whoever asks may choose the same id
        log.add(replace(FULL, id="same", key=key, good=None))
    log.judge("same", "anna", good=True)
    log.judge("same", None, good=True)
    log.judge("other", "anna", good=True)
    assert log.flush()
    assert [found.good for found in log.read()] == [None, None, True]
    assert log.state.unmatched == 2
    log.judge("same", "anna", good=False)
    assert log.flush()
    assert [found.good for found in log.read()] == [None, None, False]


def test_the_entry_of_a_record() -> None:
    record = Record("req_9", model="cloud", cost=7, queue_seconds=0.5, retrieval_seconds=0.25)
    record.began, record.first_at = 100.0, 102.0
    record.tokens.prompt, record.tokens.cached, record.tokens.written = 5, 4, 3
    record.groundedness, record.features = 0.5, {"length": 3.0}
    record.facts["route"] = {
        "decided_by": "rule", "reason": "long", "score": 0.5, "threshold": 0.25, "model": "cloud",
    }  # fmt: skip
    for piece in (
        Passage(source="a", start=0, end=1, text="SECRET", score=0.5),
        Passage(source="a", start=1, end=2, text="SECRET", score=0.25),
        Outcome(id="req_9", refused=False, probability=0.75, in_scope=1.0),
        Failure(text="SECRET", code="timeout"), Failure(text="SECRET"),
    ):  # fmt: skip
        record.note(piece)
    made = entry_of(record, at=3.0, seconds=4.0, key=None, interface="/x", asked="auto")
    assert made == Entry(
        at=3.0, id="req_9", interface="/x", asked="auto", model="cloud", prompt=5, cached=4,
        written=3, cost=7, seconds=4.0, queue_seconds=0.5, retrieval_seconds=0.25,
        first_seconds=2.0, probability=0.75, in_scope=1.0, grounded=0.5, decided_by="rule",
        reason="long", score=0.5, threshold=0.25, failures=("timeout", "failed"),
        scores=(0.5, 0.25), features={"length": 3.0}, sources=("a",),
    )  # fmt: skip
    assert "SECRET" not in repr(made)
    record.note(Refusal(text="No."))
    assert entry_of(record, at=0, seconds=0).refused
    assert entry_of(record, at=0, seconds=0, state="left").state == "left"


# Whatever happens


def test_adding_waits_for_nothing(log: Log, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the file: what is beyond the queue is dropped, and all is counted."""
    monkeypatch.setattr(log_module, "MOST_WAITING", 50)
    log.add(entry(0))
    assert log.flush()
    monkeypatch.setattr("linnet.database._BUSY_SECONDS", 0.05)
    log._database._connection.execute("PRAGMA busy_timeout = 50")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.process_time()
    for number in range(1, 81):
        log.add(entry(number))
    assert time.process_time() - began < 4
    wait_until(lambda: "locked" in log.state.failing)
    state = log.state
    assert (state.written, state.waiting, state.dropped) == (1, 50, 30)
    assert not log.flush(0.01)
    other.rollback()
    other.close()
    assert log.flush(30)
    assert log.state == log_module.LogState(written=51, waiting=0, dropped=30)
    assert [found.id for found in log.read()] == [f"req_{number}" for number in range(51)]
    assert log.drops() == 30
    monkeypatch.setattr(log_module, "WAITING_BYTES", 5000)
    log.add(entry(99, answer="x" * 5000))
    assert log.state.dropped == 31


def test_many_threads_add(log: Log) -> None:
    def work(number: int) -> None:
        for place in range(50):
            log.add(entry(number * 50 + place))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert log.flush(30)
    assert sorted(found.at for found in log.read()) == [NOW + number for number in range(800)]


def test_a_full_disk_loses_what_the_queue_cannot_hold(
    log: Log, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "MOST_WAITING", 20)
    log.add(entry(0))
    assert log.flush()
    with full_disk(file.with_name(f"{file.name}-wal").stat().st_size):
        for number in range(1, 31):
            log.add(entry(number))
        wait_until(lambda: log.state.failing)
        assert [found.id for found in log.read()] == ["req_0"]  # it can be read
        assert (log.state.waiting, log.state.dropped) == (20, 10)
    assert log.flush(30)
    assert [found.id for found in log.read()] == [f"req_{number}" for number in range(21)]
    assert log.drops() == 10


def test_a_log_that_ends_while_nothing_can_be_written_says_what_is_lost(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(file)
    log.add(entry(0))
    assert log.flush()
    with full_disk(file.with_name(f"{file.name}-wal").stat().st_size):
        log.add(entry(1))
        wait_until(lambda: log.state.failing)
        log.close()
    assert (log.state.written, log.state.dropped) == (1, 1)
    log.add(entry(2))  # after the end
    assert log.state.dropped == 2


@pytest.mark.parametrize("how", ["deleted", "replaced", "damaged"])
def test_a_file_that_goes_is_made_anew(log: Log, file: Path, how: str) -> None:
    log.add(entry(0))
    assert log.flush()
    if how == "damaged":
        log.close()
        content = file.read_bytes()
        file.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
        log = Log(file)
        log.add(entry(1))
        wait_until(lambda: "malformed" in log.state.failing)
    if how != "replaced":
        file.unlink()
        for name in ("-wal", "-shm"):
            file.with_name(file.name + name).unlink(missing_ok=True)
    else:
        file.rename(file.with_name("old"))
    log.add(entry(2))
    assert log.flush(30)
    assert [found.id for found in log.read()][-1] == "req_2"
    with closing(Log(file, is_reading=True)) as other:
        assert other.newest(1)[0].id == "req_2"
    log.close()


def test_a_file_that_is_busy_is_not_called_something_else(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Log(file).close()
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match=r"another program has been writing there for 0.05 s"):
            Log(file)


def test_a_file_that_is_something_else_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match="there is no log of calls here"):
        Log(file, is_reading=True)
    Log(file).close()
    assert is_log(file)
    whole = file.read_bytes()
    other = sqlite3.connect(file.with_name("other"))
    other.execute("CREATE TABLE calls (x)")
    other.close()
    for content in (b"hello", file.with_name("other").read_bytes(), whole[:2000],
                    whole[:60] + b"\0\0\0\7" + whole[64:]):  # fmt: skip
        file.write_bytes(content)
        file.chmod(0o644)
        with pytest.raises(ConfigError, match="expected a file of Linnet's for its log of calls"):
            Log(file)
        assert file.read_bytes() == content
        if sys.platform != "win32":  # it is somebody's
            assert file.stat().st_mode & 0o777 == 0o644
    assert not is_log(file.with_name("other"))
    assert not is_log(file.with_name("absent"))
    file.write_bytes(b"")
    with pytest.raises(ConfigError, match="there is no log of calls here"):
        Log(file, is_reading=True)
    assert not file.read_bytes()
    file.write_bytes(whole)
    Log(file).close()
    if sys.platform != "win32":
        assert file.stat().st_mode & 0o777 == 0o600


_ADD = """
import sys, time
from pathlib import Path
from linnet.monitor.entry import Entry
from linnet.monitor.log import Log

log = Log(Path(sys.argv[1]), keeps_contents=True)
number = 0
while True:
    for _ in range(20):
        log.add(Entry(at=time.time(), id=f"{sys.argv[2]}-{number}", answer="x" * 500))
        number += 1
    log.flush(60)
    print(number, flush=True)
"""


def test_a_killed_process_loses_its_last_batch_at_most(file: Path) -> None:
    """Two add to one file and are killed at any moment."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _ADD, str(file), str(name)], stdout=subprocess.PIPE, text=True
        )
        for name in range(2)
    ]
    said = []
    for place, process in enumerate(processes):
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) >= 100 * (place + 1):
                break
        os.kill(process.pid, signal.SIGKILL)
        rest = [text for text in process.stdout.readlines() if text.endswith("\n")]
        said.append(int([line, *rest][-1]))
        process.wait()
    with closing(Log(file, is_reading=True)) as log:
        found = [each.id for each in log.read()]
    for place, written in enumerate(said):
        own = [name for name in found if name.startswith(f"{place}-")]
        assert own == [f"{place}-{number}" for number in range(len(own))]
        assert written <= len(own) <= written + 40
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# What goes


def test_what_is_too_old_or_too_much_goes(file: Path) -> None:
    now = NOW
    with closing(Log(file, keep_days=2, clock=lambda: now)) as log:
        for days in range(5):
            log.add(replace(FULL, id=str(days), at=NOW - days * 86_400 + 1))
        assert log.flush()
    with closing(Log(file, keep_days=2, clock=lambda: now)) as log:
        wait_until(lambda: len(log.newest(9)) == 3)
        assert [found.id for found in log.newest(9)] == ["0", "1", "2"]
    with closing(Log(file, keep_days=2, is_reading=True, clock=lambda: NOW * 2)) as log:
        assert len(log.newest(9)) == 3  # nothing goes from what is only read
    with closing(Log(file, keep_days=0, keeps_contents=True, most_bytes=4_000_000)) as log:
        for number in range(100):
            log.add(entry(number, answer=f"{number:08}" * 10_000))
        assert log.flush(60)
        with log.reading() as run:
            assert bytes_used(run) <= 4_000_000
        kept = [found.at for found in log.read()]
    assert file.stat().st_size <= 5_000_000
    assert 10 < len(kept) < 50
    assert kept == [NOW + number for number in range(100)][-len(kept) :]  # the newest
    assert log.state.dropped == 0
    with pytest.raises(ConfigError, match="at least 4,000,000 bytes"):
        Log(file, most_bytes=1)


def test_what_is_forgotten_leaves_no_byte(file: Path) -> None:
    """Pages of SQLite keep copies of rows that moved, which deleting alone does not overwrite."""
    with closing(Log(file, keeps_contents=True)) as log:
        for number in range(800):
            name = f"mark{number % 20}x"
            log.add(entry(number, key=f"key-{name}", answer=f"<{name}>" * (1 + number % 37),
                          sources=(f"{name}.pdf",), reason=f"of {name}"))  # fmt: skip
            if not number % 50:
                log.flush(30)
        assert log.flush(30)
        assert log.forget_key("key-mark3x") == 40
        assert b"mark3x" not in held(file)
        cost = sum(found.cost for found in log.read())
        assert log.forget_contents(["mark4x.pdf", "none.pdf"]) == 40
        assert held(file).replace(b"key-mark4x", b"").count(b"mark4x") == 0
        assert log.forget_contents([], ["It says:\n" + "<mark5x>" * 9]) > 15
        assert log.forget_contents([], [""]) == 0 == log.forget_key("")
        assert sum(found.cost for found in log.read()) == cost
        assert b"mark6x" in held(file)


def test_what_cannot_be_forgotten_is_said(
    log: Log, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.add(entry(1))
    assert log.flush()
    reader = sqlite3.connect(file, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM calls").fetchone()
    log._database._connection.execute("PRAGMA busy_timeout = 0")
    monkeypatch.setattr("time.monotonic", iter(range(0, 10**9, 5)).__next__)
    with pytest.raises(StoreError, match="still stands in its log"):
        log._database.rewrite()
    reader.close()
    log._database.rewrite()
