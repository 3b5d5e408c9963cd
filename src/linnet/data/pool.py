"""Reading many files in several processes, none of which can spoil the run.

Workers are plain subprocesses spoken to in lines of JSON. One that crashes, is
killed or takes too long costs the file it was reading; another takes its
place. (``concurrent.futures`` gives up the whole pool when a process dies,
and ``multiprocessing`` runs the caller's main module again.)
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import linnet
from linnet.config import to_mapping

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from linnet.data.config import DataConfig

_WAITING = 64  # answers held before workers are made to wait
# ``-P`` and this keep the working directory, where documents may lie, off the path of
# modules, and put the place of this package at its end, where it hides nothing.
_START = "import sys; sys.path.append(sys.argv.pop(1)); from linnet.data.worker import main; main()"


@dataclass(frozen=True)
class Request:
    """A file to read. ``number`` is its place in the order of files."""

    number: int
    path: str
    kind: str | None
    group: str


@dataclass(frozen=True)
class Found:
    """A document of a file: its text lies in ``spool``."""

    id: str
    group: str
    kind: str
    spool: str
    offset: int
    bytes: int


@dataclass(frozen=True)
class Answer:
    """Some documents of a file; with ``done`` the last ones."""

    number: int
    documents: list[Found]
    done: bool = False
    dropped: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""
    transient: bool = False
    """Whether reading the file once more might succeed: the worker died or ran out of time."""


def read_files(
    requests: Sequence[Request], spools: Path, config: DataConfig, *, workers: int
) -> Iterator[Answer]:
    """Read the files; answers come as they are ready, those of one file in order."""
    answers: queue.Queue[Answer | BaseException | None] = queue.Queue(_WAITING)
    waiting: queue.SimpleQueue[Request] = queue.SimpleQueue()
    for request in requests:
        waiting.put(request)
    stop = threading.Event()
    count = max(min(workers, len(requests)), 1)
    readers = [_Reader(waiting, answers, stop, spools, config) for _ in range(count)]
    for reader in readers:
        reader.start()
    try:
        for _ in readers:
            while (answer := answers.get()) is not None:
                if isinstance(answer, BaseException):
                    raise answer
                yield answer
    finally:
        stop.set()
        for reader in readers:
            reader.end()


class _Reader(threading.Thread):
    """Hands files to one worker at a time and starts another when it is gone."""

    def __init__(
        self,
        waiting: queue.SimpleQueue[Request],
        answers: queue.Queue[Answer | BaseException | None],
        stop: threading.Event,
        spools: Path,
        config: DataConfig,
    ) -> None:
        super().__init__(daemon=True)
        self.waiting = waiting
        self.answers = answers
        self.stop = stop
        self.spools = spools
        self.config = config
        self.worker: subprocess.Popen[str] | None = None
        self.spool = ""

    def run(self) -> None:
        last: BaseException | None = None
        try:
            while not self.stop.is_set():
                self._read(self.waiting.get_nowait())
        except queue.Empty:
            pass
        except BaseException as error:  # handed to the thread that waits for answers
            last = error
        self._kill()
        if last is not None:
            self._put(last)
        self._put(None)

    def end(self) -> None:
        """Stop at once; called by the thread that no longer takes answers."""
        self._kill()
        self.join()

    def _read(self, request: Request) -> None:
        worker = self._worker()
        alarm = _Alarm(self.config.file_timeout, worker)
        asked = {"path": request.path, "kind": request.kind, "group": request.group}
        for line in _conversation(worker, json.dumps(asked), alarm):
            answer = self._parse(request.number, json.loads(line))
            self._put(answer)
            if answer.done:
                return
        self._kill()
        reason = "took longer than file_timeout" if alarm.rang else "the process reading it died"
        self._put(Answer(request.number, [], done=True, reason=reason, transient=True))

    def _parse(self, number: int, message: dict[str, Any]) -> Answer:
        if failed := message.get("failed"):
            raise OSError(failed, os.strerror(failed), str(self.spools / self.spool))
        documents = [
            Found(identity, group, kind, self.spool, offset, size)
            for identity, group, kind, offset, size in message["documents"]
        ]
        done = message.get("done")
        return Answer(number, documents, done=True, **done) if done else Answer(number, documents)

    def _put(self, answer: Answer | BaseException | None) -> None:
        while not self.stop.is_set():
            try:
                self.answers.put(answer, timeout=0.2)
                return
            except queue.Full:
                continue

    def _worker(self) -> subprocess.Popen[str]:
        if self.worker is not None and self.worker.poll() is None:
            return self.worker
        self.spool = _new_spool(self.spools)
        self.worker = subprocess.Popen(
            [
                sys.executable, "-P", "-c", _START, str(Path(linnet.__file__).parents[1]),
                str(self.spools / self.spool), json.dumps(to_mapping(self.config)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )  # fmt: skip
        return self.worker

    def _kill(self) -> None:
        worker, self.worker = self.worker, None
        if worker is None:
            return
        worker.kill()
        worker.wait()
        for pipe in (worker.stdin, worker.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _conversation(worker: subprocess.Popen[str], request: str, alarm: _Alarm) -> Iterator[str]:
    """Ask, then hear the lines of the answer; they end early when the worker is gone."""
    assert worker.stdin is not None
    assert worker.stdout is not None
    with contextlib.suppress(OSError):  # the pipe broke
        worker.stdin.write(request + "\n")
        worker.stdin.flush()
        while line := alarm.guard(worker.stdout.readline):
            yield line


class _Alarm:
    """Kills a worker from which nothing is heard for some seconds."""

    def __init__(self, seconds: float, worker: subprocess.Popen[str]) -> None:
        self.seconds = seconds
        self.worker = worker
        self.rang = False

    def guard(self, wait: Callable[[], str]) -> str:
        timer = threading.Timer(self.seconds, self._ring)
        timer.daemon = True
        timer.start()
        try:
            return wait()
        finally:
            timer.cancel()

    def _ring(self) -> None:
        self.rang = True
        self.worker.kill()


def _new_spool(spools: Path) -> str:
    """The name of a file that no other worker writes to."""
    number = 0
    while True:
        name = f"spool-{number:05d}"
        try:
            (spools / name).touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return name
