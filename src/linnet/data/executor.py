"""Work on many items, none of which can spoil the run: what does it, and how it is done here.

An executor is handed the name of a task and items, and gives back what the task
yields for each. ``ProcessPool`` does it in processes of this machine: plain
subprocesses (``linnet.data.worker``) spoken to in lines of JSON. One that crashes, is killed or
takes too long costs the item it was at; another takes its place. (``concurrent.futures``
gives up the whole pool when a process dies, and ``multiprocessing`` runs the
caller's main module again.)
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Protocol

from linnet.data import sandbox
from linnet.data.storage import new_spool

Item = tuple[int, dict[str, Any]]
"""The number by which an item's answers are told from others, and what the task is given."""

LIFETIME = 500  # items that a process works on before another takes its place
_AHEAD = 4  # items taken from the caller before they are needed, for each process
_TICK = 0.2  # seconds between looks at what else happens
_ALONE = 4.0, 0.25  # seconds that the first process has, and more from its first answer on
_LONGEST_LINE = 256 << 20  # of an answer; more at once is an error of the process


@dataclass(frozen=True)
class Answer:
    """What became of (a part of) an item. ``messages``: what the task yielded, in order.

    With ``done`` the item's last. It failed if there is a ``reason``; messages
    that came before are void then. ``transient``: the process died, ran out of time
    or memory, so the same item may fare better on another day.
    """

    number: int
    messages: list[dict[str, Any]]
    done: bool = False
    reason: str = ""
    detail: str = ""
    transient: bool = False


class Executor(Protocol):
    """What runs a task over items."""

    def map(
        self,
        task: str,
        items: Iterable[Item],
        *,
        settings: dict[str, Any],
        spools: Path,
    ) -> Iterator[Answer]:
        """Answers as they are ready: those of one item in order, the items in any.

        ``task`` is ``module:function``, a generator function ``(item, job)`` that yields
        the same plain JSON values whenever it is given the same item. ``items`` is drawn
        from as room is made, in the caller's thread. Texts that the task stores go to
        files below ``spools``. Raises OSError when these cannot be written.
        """
        ...


class ProcessPool:
    """Confined processes on this machine (``linnet.data.sandbox``).

    An item fails when nothing is heard of it for ``timeout`` seconds, or its process
    needs more than ``memory_mb``. One that fails for such a reason is tried once
    more at the end, in a new process with no other beside it.
    """

    def __init__(self, workers: int, *, timeout: float, memory_mb: int) -> None:
        self.workers = max(workers, 1)
        self.timeout = timeout
        self.memory_mb = memory_mb

    def map(
        self,
        task: str,
        items: Iterable[Item],
        *,
        settings: dict[str, Any],
        spools: Path,
    ) -> Iterator[Answer]:
        """See Executor."""
        scratch = spools.with_name(f"{spools.name}.scratch")
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed
        setup = {"task": task, "settings": settings, "memory_mb": self.memory_mb}
        try:
            starter = Starter(setup, spools, scratch, self.timeout)
            yield from self._twice(items, starter)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _twice(self, items: Iterable[Item], starter: Starter) -> Iterator[Answer]:
        given: Counter[int] = Counter()  # messages of unfinished items that the caller has
        failed: list[Item] = []
        for item, answer in _attempt(items, starter, self.workers, LIFETIME):
            if answer.transient:
                failed.append(item)
                continue
            given[answer.number] += len(answer.messages)
            if answer.done:
                del given[answer.number]
            yield answer
        for _, answer in _attempt(failed, starter, 1, lifetime=1):
            known = min(given[answer.number], len(answer.messages))
            given[answer.number] -= known
            yield replace(answer, messages=answer.messages[known:])


def _attempt(
    items: Iterable[Item], starter: Starter, workers: int, lifetime: int
) -> Iterator[tuple[Item, Answer]]:
    """Work on the items in as many processes; answers with the item that they belong to."""
    coming = iter(items)
    alone_until = time.monotonic() + _ALONE[0]
    requests: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
    answers: queue.Queue[Answer | BaseException] = queue.Queue(2 * workers)
    lanes: list[_Lane] = []
    stop = threading.Event()
    waiting: dict[int, Item] = {}
    try:
        while True:
            while len(waiting) < _AHEAD * workers and (item := next(coming, None)) is not None:
                waiting[item[0]] = item
                requests.put(item)
            if not waiting:
                return
            # Where there is little to do, starting a process takes longer than the work.
            grown = len(lanes) < workers and time.monotonic() > alone_until
            while not requests.empty() and len(lanes) < (workers if grown else 1):
                lanes.append(_Lane(requests, answers, stop, starter, lifetime))
                lanes[-1].start()
            answer = _next(answers, lanes)
            if answer is None:
                continue
            if isinstance(answer, BaseException):
                raise answer
            alone_until = min(alone_until, time.monotonic() + _ALONE[1])
            item = waiting.pop(answer.number) if answer.done else waiting[answer.number]
            yield item, answer
    finally:
        stop.set()
        for lane in lanes:
            requests.put(None)
            lane.kill()
        for lane in lanes:
            lane.join()


def _next(
    answers: queue.Queue[Answer | BaseException], lanes: list[_Lane]
) -> Answer | BaseException | None:
    """The next answer, if it comes soon; processes that have been silent for too long are ended."""
    for lane in lanes:
        if worker := lane.worker:
            worker.end_if_late()
    try:
        return answers.get(timeout=_TICK)
    except queue.Empty:
        return None


class _Lane(threading.Thread):
    """Hands items to one process at a time and starts another when it is gone."""

    def __init__(
        self,
        requests: queue.SimpleQueue[Item | None],
        answers: queue.Queue[Answer | BaseException],
        stop: threading.Event,
        starter: Starter,
        lifetime: int,
    ) -> None:
        super().__init__(daemon=True)
        self.requests = requests
        self.answers = answers
        self.stop = stop
        self.starter = starter
        self.lifetime = lifetime
        self.worker: WorkerProcess | None = None

    def run(self) -> None:
        try:
            while (item := self.requests.get()) is not None and not self.stop.is_set():
                self._work(item)
        except BaseException as error:  # handed to the thread that waits for answers
            self._put(error)
        finally:
            self._retire()

    def kill(self) -> None:
        """End what is being worked on; called by the thread that no longer takes answers."""
        if worker := self.worker:
            worker.process.kill()

    def _work(self, item: Item, *, known: int = 0) -> None:
        """``known``: of its messages so many have been passed on."""
        given = 0
        if self.worker is None:
            self.worker = self.starter.start()
            if self.stop.is_set():  # perhaps too late for ``kill``
                return
        worker = self.worker
        worker.served += 1
        for message in worker.run(item[1]):
            if message.get("converts"):  # a process can only be given a converter at its start
                self._retire()
                self.starter.converting = True
                self._work(item, known=given)
                return
            new = message["messages"][max(known - given, 0) :]
            given += len(message["messages"])
            message["messages"] = new
            if "failed" in message:
                number = message["failed"]
                raise OSError(number, os.strerror(number), str(worker.spool))
            retires = message.pop("retires", False) or worker.served >= self.lifetime
            answer = Answer(item[0], **message)
            if answer.done and retires:
                self._retire()
            self._put(answer)
            if answer.done:
                return
        detail = self._retire()
        reason = "the process reading it died"
        if worker.late:
            reason, detail = "took longer than file_timeout", f"{worker.timeout:g} s"
        self._put(Answer(item[0], [], done=True, reason=reason, detail=detail, transient=True))

    def _put(self, answer: Answer | BaseException) -> None:
        while not self.stop.is_set():
            with contextlib.suppress(queue.Full):
                self.answers.put(answer, timeout=_TICK)
                return

    def _retire(self) -> str:
        worker, self.worker = self.worker, None
        return worker.end() if worker else ""


@dataclass
class Starter:
    """What every process is started with. ``converting``: with a process beside it that
    converts documents, which is started for those alone that need it."""

    setup: dict[str, Any]
    spools: Path
    scratch: Path
    timeout: float
    converting: bool = False

    def start(self) -> WorkerProcess:
        spool = self.spools / new_spool(self.spools)
        scratch = self.scratch / spool.name
        scratch.mkdir(parents=True, exist_ok=True)
        setup = {**self.setup, "converting": self.converting}
        return WorkerProcess(setup, spool, scratch, self.timeout)


class WorkerProcess:
    """A process that works on one item after the other. ``late``: it was ended for its silence."""

    def __init__(self, setup: dict[str, Any], spool: Path, scratch: Path, timeout: float) -> None:
        self.spool, self.scratch, self.timeout = spool, scratch, timeout
        self.served = 0
        self.deadline = math.inf
        self.late = False
        self.process = sandbox.start("linnet.data.worker:main")
        sandbox.say(
            self.process,
            {**setup, "spool": str(spool.absolute()), "scratch": str(scratch.absolute())},
        )

    def run(self, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Messages of an answer; they end early when the process is gone or makes no sense."""
        self.deadline = time.monotonic() + self.timeout
        sandbox.say(self.process, item)
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while line := self._read_line(self.process.stdout):
                yield json.loads(line)

    def end_if_late(self) -> None:
        """Called by another thread than the one that waits for the answer."""
        if time.monotonic() > self.deadline:
            self.late = True
            self.process.kill()

    def end(self) -> str:
        """End it if it runs and clear up. Gives how it ended, in words."""
        self._close(self.process.stdin)
        self.process.kill()
        code = self.process.wait()
        self._close(self.process.stdout)
        shutil.rmtree(self.scratch, ignore_errors=True)
        with contextlib.suppress(OSError):
            if not self.spool.stat().st_size:
                self.spool.unlink()
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"exit status {code}"

    def _read_line(self, stream: IO[bytes]) -> bytes:
        self.deadline = time.monotonic() + self.timeout
        try:
            return stream.readline(_LONGEST_LINE)
        finally:
            self.deadline = math.inf

    @staticmethod
    def _close(pipe: IO[bytes] | None) -> None:
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
