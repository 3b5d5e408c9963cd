"""Processes that die, hang or swell cost one item and nothing else."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from linnet.config import to_mapping
from linnet.data import executor, kinds, reading, worker
from linnet.data.config import DataConfig
from linnet.data.executor import Answer, ProcessPool
from linnet.data.storage import new_spool
from linnet.data.worker import Job

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where texts go; the tasks of the tests are on the path of modules."""
    found = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, found)))
    folder = tmp_path / "spools"
    folder.mkdir()
    return folder


def answers(
    spools: Path, task: str, items: Any, *, workers: int = 1, timeout: float = 20.0,
    memory_mb: int = 2000, settings: dict[str, Any] | None = None,
) -> Iterator[Answer]:  # fmt: skip
    pool = ProcessPool(workers, timeout=timeout, memory_mb=memory_mb)
    return pool.map(f"executor_tasks:{task}", items, settings=settings or {}, spools=spools)


def behaving(*actions: str) -> list[tuple[int, dict[str, Any]]]:
    return [(number, {"do": action}) for number, action in enumerate(actions)]


def last(found: Iterator[Answer]) -> dict[int, Answer]:
    return {answer.number: answer for answer in found if answer.done}


def test_any_number_of_workers_gives_the_same(spools: Path) -> None:
    def outcome(workers: int) -> dict[int, list[Any]]:
        items = ((number, {"text": f"text {number}"}) for number in range(40))
        found: dict[int, list[Any]] = {}
        for answer in answers(spools, "echo", items, workers=workers, settings={"word": "ö"}):
            assert not answer.reason
            for message in answer.messages:
                name, offset, size = message.pop("place")
                data = (spools / name).read_bytes()[offset : offset + size]
                assert data.decode() == message["text"]
                found.setdefault(answer.number, []).append(message)
        return found

    expected = {
        n: [{"part": part, "text": f"text {n} {part} ö"} for part in range(2)] for n in range(40)
    }
    assert outcome(1) == outcome(2) == outcome(3) == expected


def test_an_item_that_fails_costs_only_itself(spools: Path) -> None:
    bad = ("exit", "hang", "segfault", "allocate", "leave", "unreadable", "missing", "fail")
    actions = [a for action in bad for a in ("nothing", action)] + ["nothing", "print"]
    found = last(answers(spools, "behave", behaving(*actions), workers=2, timeout=3, memory_mb=400))
    reasons = {actions[n]: (a.reason, a.transient) for n, a in found.items() if a.reason}
    assert reasons == {
        "exit": ("the process reading it died", True),
        "segfault": ("the process reading it died", True),
        "hang": ("took longer than file_timeout", True),
        "allocate": ("needs more than file_memory", True),
        "leave": ("the parser failed", False),
        "unreadable": ("encrypted", False),
        "missing": ("no such file or directory", False),
        "fail": ("the parser failed", False),
    }
    details = {actions[n]: a.detail for n, a in found.items()}
    assert details["exit"] == "exit status 3"
    assert details["unreadable"] == "rc4"
    assert details["fail"].startswith("RuntimeError: text of a document")
    assert max(map(len, details.values())) <= 200
    if os.name == "posix":
        assert details["segfault"] == "SIGSEGV"
    fine = [a for n, a in found.items() if actions[n] in ("nothing", "print")]
    assert len(fine) == len(bad) + 2
    assert all(not a.reason and a.messages[-1]["last"] for a in fine)
    assert not spools.with_name("spools.scratch").exists()


def test_one_that_was_unlucky_is_tried_again_alone(spools: Path) -> None:
    items = [(0, {}), (1, {"unlucky": True}), (2, {})]
    found: dict[int, list[int]] = {}
    for answer in answers(spools, "crash_once", items):
        assert not answer.reason
        found.setdefault(answer.number, []).extend(m["number"] for m in answer.messages)
    every = list(range(1200))  # what was given before the process died is not given again
    assert found == {0: every, 1: every, 2: every}


def test_the_time_limit_is_for_silence(spools: Path) -> None:
    found = list(answers(spools, "dripping", [(0, {})], timeout=3))
    assert [m["number"] for answer in found for m in answer.messages] == list(range(7))
    assert len(found) > 1
    assert not found[-1].reason


def test_thousands_of_items_take_seconds_and_processes_are_renewed(spools: Path) -> None:
    begun = time.monotonic()
    found = list(answers(spools, "where", ((n, {}) for n in range(2000)), workers=2))
    assert time.monotonic() - begun < 20
    served: dict[int, int] = {}
    for answer in found:
        assert answer.done
        process = answer.messages[0]["pid"]
        served[process] = served.get(process, 0) + 1
    assert sum(served.values()) == 2000
    assert max(served.values()) == executor.LIFETIME
    assert list(spools.iterdir()) == []  # nothing was stored


def test_a_process_that_swells_is_renewed(spools: Path) -> None:
    def processes(mb: int) -> int:
        found = answers(spools, "swell", [(n, {"mb": mb}) for n in range(2)])
        return len({message["pid"] for answer in found for message in answer.messages})

    assert processes(10) == 1
    assert processes(1100) == 2


def test_items_are_drawn_as_they_are_needed(spools: Path) -> None:
    drawn = []

    def items() -> Iterator[tuple[int, dict[str, Any]]]:
        for number in range(10**9):
            drawn.append(number)
            yield number, {"text": "t"}

    found = answers(spools, "echo", items())
    for _ in range(3):
        next(found)
    found.close()  # type: ignore[attr-defined]
    assert len(drawn) < 20


def test_a_full_disk_ends_the_run(spools: Path) -> None:
    with pytest.raises(OSError, match="spool-00000") as caught:
        list(answers(spools, "full", [(0, {})]))
    assert caught.value.errno == errno.ENOSPC


def test_a_spool_that_may_not_grow_is_no_fault_of_a_document(spools: Path) -> None:
    # What fits no more into one that has something already fits into a new one.
    found = last(answers(spools, "full", [(0, {"longest": 1}), (1, {"longest": 1})]))
    assert {number: answer.reason for number, answer in found.items()} == {0: "", 1: ""}
    # What never fits is named by what limits it, and is tried again another time.
    (answer,) = answers(spools, "full", [(0, {"longest": 0})])
    assert answer.reason.startswith("needs a larger file than may be written here (ulimit -f")
    assert answer.transient


def test_what_is_left_behind_is_cleared(spools: Path) -> None:
    found = last(answers(spools, "behave", behaving("litter", "litter", "litter")))
    assert [a.reason for a in found.values()] == ["", "", ""]


class InThisProcess:
    """The least that is an executor: what another one, on other machines, has to do."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def map(
        self, task: str, items: Iterable[executor.Item], *, settings: dict[str, Any], spools: Path
    ) -> Iterator[Answer]:
        job = Job(settings, self.scratch, spools / new_spool(spools))
        for number, item in items:
            for line in worker.answer(task, item, job):
                fields = json.loads(line)
                fields.pop("retires", None)
                yield Answer(number, **fields)


def test_another_executor_gives_the_same(spools: Path, folder: Path) -> None:
    def outcome(other: executor.Executor) -> dict[int, list[Any]]:
        found: dict[int, list[Any]] = {}
        for answer in other.map(reading.READ, items, settings=settings, spools=spools):
            for message in answer.messages:
                if "place" in message:
                    name, offset, size = message.pop("place")
                    message["text"] = (spools / name).read_bytes()[offset : offset + size]
            found.setdefault(answer.number, []).extend(answer.messages)
            if answer.done:
                found[answer.number].append(answer.reason)
        return found

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    requests = [{"path": str(f), "kind": kinds.kind_of(f.name), "group": f.name} for f in files]
    items, settings = list(enumerate(requests)), to_mapping(DataConfig())
    here = outcome(InThisProcess(spools.parent))
    assert sum("id" in message for found in here.values() for message in found[:-1]) > 60
    assert here == outcome(ProcessPool(2, timeout=60, memory_mb=2000))


def test_half_characters_do_not_reach_the_caller(spools: Path) -> None:
    (answer,) = answers(spools, "echo", [(0, {"text": "name \udcff"})])
    assert answer.reason == "the parser failed"  # it cannot be stored
    assert "UnicodeEncodeError" in answer.detail
    (answer,) = answers(spools, "behave", behaving("\udcff"))
    assert answer.detail.encode("utf-8")


def test_modules_beside_the_documents_are_not_imported(
    spools: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "html", "lxml", "typing", "executor_tasks"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported a document')")
    monkeypatch.chdir(tmp_path)
    assert not last(answers(spools, "behave", behaving("nothing")))[0].reason


@POSIX
def test_stopping_early_leaves_no_process(spools: Path) -> None:
    found = answers(spools, "where", ((n, {"stay": n > 0}) for n in range(4)), workers=2)
    process = next(found).messages[0]["pid"]
    begun = time.monotonic()
    found.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 2
    assert gone(process)
    assert not spools.with_name("spools.scratch").exists()


_PARENT = """
import sys
from pathlib import Path
from linnet.data.executor import ProcessPool
pool = ProcessPool(1, timeout=600, memory_mb=2000)
items = [(0, {"stay": True})]
for answer in pool.map("executor_tasks:where", items, settings={}, spools=Path(sys.argv[1])):
    print(answer.messages[0]["pid"], flush=True)
"""


# A shell starts what runs in the background deaf to Ctrl-C, which all of its children are then.
_LISTENING = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def parent(spools: Path) -> tuple[subprocess.Popen[str], int]:
    """A process with a pool at work, in a group of its own, and the process that works."""
    started = subprocess.Popen(
        [sys.executable, "-c", _LISTENING + _PARENT, str(spools)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert started.stdout is not None
    return started, int(started.stdout.readline())


@POSIX
def test_when_the_parent_is_killed_the_workers_end(spools: Path) -> None:
    started, worker = parent(spools)
    assert not gone(worker, within=0)
    started.kill()
    started.communicate()
    assert gone(worker)


@POSIX
def test_interrupting_shows_one_traceback_at_most(spools: Path) -> None:
    started, worker = parent(spools)
    os.killpg(started.pid, signal.SIGINT)  # as Ctrl-C in a terminal does
    _, errors = started.communicate(timeout=60)
    assert errors.count("Traceback (most recent call last)") == 1
    assert "worker.py" not in errors
    assert gone(worker)


def gone(process: int, *, within: float = 5.0) -> bool:
    """Whether a process has ended, or does in a moment."""
    until = time.monotonic() + within
    while True:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return True
        try:  # ended, but whoever adopted it has not asked how
            if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            pass
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
