"""The journal: nothing is paid for twice."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from linnet.errors import DamagedError, StoppedError
from linnet.evaluate.compare_journal import JOURNAL, Job, Journal, Limit, Runner
from linnet.respond import Charge, Context, Price


def test_ctrl_c_lets_the_answer_under_way_end_and_the_rest_is_asked_later(tmp_path: Path) -> None:
    file = tmp_path / JOURNAL
    asked: list[str] = []

    def work(key: str, stops: bool) -> Callable[[Context], dict[str, Any]]:
        def answer(context: Context) -> dict[str, Any]:
            asked.append(key)
            settle = context.reserve(Charge(10, 10, Price.per_million(1, 1), "m"))
            if stops:
                os.kill(os.getpid(), signal.SIGINT)
            settle(15, 15)
            return {"answer": key}

        return answer

    def run(stops_at: str) -> Journal:
        journal = Journal(file)
        jobs = [Job(key, "m", work(key, key == stops_at)) for key in "abcde"]
        Runner(journal, Limit(journal, 10**12, "EUR")).run(jobs, "asking", "answers")
        return journal

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(StoppedError, match="the same command goes on from there"):
        run("c")
    assert asked[:3] == ["a", "b", "c"]
    before = len(asked)
    assert before < 5 or asked == list("abcde")
    assert signal.getsignal(signal.SIGINT) is handler
    journal = run("")
    assert asked == list("abcde")  # each once
    assert {key: row["answer"] for key, row in journal.rows.items()} == dict(
        zip("abcde", "abcde", strict=True)
    )
    assert journal.spent == 5 * 15


def test_what_a_kill_left_is_counted_once_and_a_torn_line_is_asked_again(tmp_path: Path) -> None:
    file = tmp_path / JOURNAL
    journal = Journal(file)
    journal.begin("a", 70)
    journal.add("a", {"answer": "A", "spent": 50})
    journal.begin("b", 70)  # and the process is killed
    with file.open("ab") as rows:
        rows.write(b'{"key": "c", "answer"')
    for _ in range(2):
        journal = Journal(file)
        assert list(journal.rows) == ["a"]
        assert (journal.spent, journal.lost) == (120, 70)
    journal.begin("b", 70)
    journal.settle("b", -30)
    assert journal.spent == 160
    journal.add("b", {"answer": "B", "spent": 40})
    journal.add("d", {"error": "broken", "spent": 0})
    journal.add("e", {"error": "broken", "spent": 7})
    again = Journal(file)
    assert (again.spent, again.lost) == (167, 70)
    assert list(again.rows) == ["a", "b", "e"]  # what failed for nothing is asked again
    file.write_bytes(b"what?\n" + file.read_bytes())
    with pytest.raises(DamagedError, match="line 1"):
        Journal(file)
