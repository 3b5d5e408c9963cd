"""The process for code that may never return: whatever it does, the caller goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from linnet.tokenizer import confined

Call = Callable[..., Any]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("SECRET_TOKEN", "x")
    monkeypatch.setattr(confined, "GRACE_SECONDS", 0.2)
    pool = confined._Pool()
    monkeypatch.setattr(confined, "_POOL", pool)
    yield lambda request, seconds=20.0: confined.call("confined_tasks", request, seconds=seconds)
    pool.close()


def test_it_answers_and_goes_on_in_the_same_process(call: Call) -> None:
    text = "\ud800 \U0001f600 " * 50_000
    assert call((text, {1: None})) == [[text, {"1": None}], 20.0]
    assert call("process") == call("process")


def test_it_has_nothing_of_the_environment(call: Call) -> None:
    assert call("environment") == []


def test_c_code_is_ended_at_the_deadline(call: Call) -> None:
    before = call("process")
    with pytest.raises(confined.EndedError, match=r"longer than 0\.2 seconds") as caught:
        call("burn", 0.2)
    assert caught.value.late
    assert call("process") != before


@pytest.mark.skipif(sys.platform != "linux", reason="others do not limit memory so")
def test_memory_is_limited(call: Call) -> None:
    assert call("memory") == ["stopped", "it takes more memory than this can need"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")
def test_a_crash_stays_in_its_process(call: Call) -> None:
    for request, reason in (("crash", "SIGABRT"), ("exit", "exit status 3")):
        with pytest.raises(confined.EndedError, match=reason):
            call(request)
    assert call("deep") == ["stopped", "it nests without end"]


def test_a_process_that_died_idle_is_replaced(call: Call) -> None:
    before = call("process")
    (idle,) = confined._POOL._idle["confined_tasks"]
    idle._process.kill()
    idle._process.wait()
    assert call("process") != before


def test_threads_do_not_wait_for_each_other(call: Call) -> None:
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(call, [f"text {number}" for number in range(12)]))
    assert answers == [[f"text {number}", 20.0] for number in range(12)]
    assert len(confined._POOL._idle["confined_tasks"]) <= confined.IDLE
