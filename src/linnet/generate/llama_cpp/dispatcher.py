"""The thread that talks to llama.cpp for all requests of an engine.

It starts as many as llama.cpp computes together, reads what comes for them and hands it
on; the others wait in line. A small model writes a token in less time than it takes to
wake everyone a token passes by on its way to a reader, on the very cores that compute the
next. So the first token is handed on at once, and after it a text rests for some
milliseconds, in which its tokens gather to one piece.

When llama.cpp's process crashes or hangs (:class:`Watchdog`) it is started again. Of the requests
that it was computing those are suspect that have a constraint, or all where none has. A
suspect that was the only one is refused. Several are computed again, each alone, as is
whatever else had delivered nothing; what had delivered something ends with an error. A
constraint that hung once is not tried again.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from linnet.errors import ConfigError, LinnetError, ModelError
from linnet.llama_cpp.process import LlamaCppProcess, LlamaCppSettings

if TYPE_CHECKING:
    from linnet.generate.constraint import Constraint
    from linnet.generate.engine import Deliver
    from linnet.generate.llama_cpp.completion import Answer


_SEND_SECONDS = 60
_READ_BYTES = 1 << 18
_REST = 0.004  # seconds between two pieces of a text
_MOST_REST = 0.016  # where many are written beside it
_LOOK_SECONDS = 1.0  # between two looks at whether llama.cpp still gets on
_WITHOUT_CONSTRAINT = 10  # times as long a step may take, as only a long prompt can be the cause
_ATTEMPTS = 3  # times that a request is computed whose llama.cpp ends each time
_CLOSE_SECONDS = 5.0
_REMEMBERED = 256  # constraints that hung


class Job:
    """One request on its way."""

    def __init__(
        self,
        body: bytes,
        make_answer: Callable[[], Answer],
        deliver: Deliver,
        *,
        tokens: int,
        constraint: Constraint | None = None,
    ) -> None:
        """``make_answer``: what reads the answer; called each time that the job is started.
        ``tokens``: those that prompt and continuation may have together.
        """
        self.body = body
        self.answer = make_answer()
        self.make_answer = make_answer
        self.deliver = deliver
        self.tokens = tokens
        self.constraint = constraint
        self.attempts = 0
        self.alone = False
        """Whether nothing else may be computed with it, as it may be what hangs."""
        self.delivered = False
        self.arrived = time.monotonic()
        self.cancelled = False
        self.connection: socket.socket | None = None
        self.resting = False


class Dispatcher:
    """Runs jobs on one llama.cpp."""

    def __init__(self, settings: LlamaCppSettings, *, path: str = "/completion") -> None:
        """Starts llama.cpp. Raises ModelError when it does not accept the file."""
        self.settings = settings
        self._path = path
        self._process: LlamaCppProcess | None = LlamaCppProcess(settings)
        self._starting = threading.Lock()
        self._lock = threading.Lock()
        self._waiting: deque[Job] = deque()
        self._cancelled: list[Job] = []
        self._running: set[Job] = set()
        self._refused: OrderedDict[Constraint, None] = OrderedDict()
        self._watchdog = Watchdog(self._cpu_seconds)
        self._step_seconds = allowed_seconds(settings.stall_seconds, _size(settings.model))
        self._resting: deque[tuple[float, Job]] = deque()
        self._closed = False
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        self._woken.setblocking(False)
        self._wake.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="linnet-llama.cpp", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> Callable[[], None]:
        """Run a job when there is a slot and context for it; gives what cancels it.

        Raises ConfigError for a constraint that llama.cpp was ended for before.
        """
        with self._lock:
            if self._closed:
                raise ModelError("the engine is closed; open it again")
            if job.constraint in self._refused:
                raise _too_costly(job)
            self._waiting.append(job)
        self._notify()
        return lambda: self._cancel(job)

    def process(self) -> LlamaCppProcess:
        """The running llama.cpp, started again where it has ended."""
        with self._starting:
            if self._closed:
                raise ModelError("the engine is closed; open it again")
            if self._process is None or not self._process.alive:
                if self._process is not None:
                    self._process.close()
                    self._process = None
                started = LlamaCppProcess(self.settings)
                if self._closed:
                    started.close()
                    raise ModelError("the engine is closed; open it again")
                self._process = started
            return self._process

    @property
    def memory_bytes(self) -> int:
        """Memory of the process, 0 while there is none."""
        process = self._process
        return process.memory_bytes if process is not None else 0

    def close(self) -> None:
        """End llama.cpp; what is being written ends with an error."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._notify()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=_CLOSE_SECONDS)
        if self._starting.acquire(timeout=_CLOSE_SECONDS):  # else it ends as soon as it is there
            try:
                if self._process is not None:
                    self._process.close()
                    self._process = None
            finally:
                self._starting.release()

    @property
    def waiting(self) -> int:
        """Requests that nothing is computed for yet."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that are being written."""
        return len(self._running)

    def _cancel(self, job: Job) -> None:
        job.cancelled = True
        with self._lock:
            self._cancelled.append(job)
        self._notify()

    def _notify(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            self._wake.send(b"\0")

    def _run(self) -> None:
        while not self._closed:
            try:
                self._turn()
            except Exception as error:  # whatever it is, the next request must find it running
                self._end_all(ModelError(f"llama.cpp cannot be talked to: {error}"))
        self._end_all(ModelError("the engine was closed while this text was written"))
        self._selector.close()
        self._woken.close()
        self._wake.close()

    def _turn(self) -> None:
        """Start what can be, and take what has come."""
        self._drop_cancelled()
        self._start_waiting()
        pause = None
        if self._resting:
            pause = max(0.0, min(due for due, _ in self._resting) - time.monotonic())
        elif self._running:
            pause = min(_LOOK_SECONDS, self._step_seconds / 10)
        for key, _ in self._selector.select(pause):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    self._woken.recv(4096)
            else:
                self._receive(key.data)
        now = time.monotonic()
        for _ in range(len(self._resting)):
            due, job = self._resting.popleft()
            if due <= now:
                self._receive(job)
            else:
                self._resting.append((due, job))
        if self._running:
            self._look()

    def _look(self) -> None:
        """End llama.cpp where it hangs."""
        constrained = any(job.constraint is not None for job in self._running)
        allowed = self._step_seconds * (1 if constrained else _WITHOUT_CONSTRAINT)
        if not self._watchdog.is_stalled(allowed):
            return
        process = self._process
        if process is not None:
            process.stop()
            process.has_ended(within=5.0)
        self._recover(f"it computed for {allowed:.0f} seconds without any progress", hung=True)

    def _cpu_seconds(self) -> float | None:
        process = self._process
        return process.cpu_seconds if process is not None else None

    def _drop_cancelled(self) -> None:
        with self._lock:
            cancelled, self._cancelled = self._cancelled, []
            for job in cancelled:
                if job in self._waiting:
                    self._waiting.remove(job)
        for job in cancelled:
            self._drop(job)

    def _start_waiting(self) -> None:
        """Start what there is context for, in the order of arrival."""
        while len(self._running) < self.settings.slots:
            with self._lock:
                if not self._waiting or not self._fits(self._waiting[0]):
                    return
                if self._running and (
                    self._waiting[0].alone or any(job.alone for job in self._running)
                ):
                    return
                job = self._waiting.popleft()
            if not job.cancelled:
                self._start(job)

    def _fits(self, job: Job) -> bool:
        """Whether the context that slots share is enough for one text more."""
        taken = sum(other.tokens for other in self._running)
        return not self.settings.unified or taken + job.tokens <= self.settings.context

    def _start(self, job: Job) -> None:
        if job.attempts:
            job.answer = job.make_answer()
        job.attempts += 1
        job.answer.queue_seconds = time.monotonic() - job.arrived
        try:
            process = self.process()
            process.trim_log()
            job.connection = process.connect(timeout=_SEND_SECONDS)
            if not self._running:
                self._watchdog.progress()
            self._running.add(job)
            job.connection.sendall(process.request_bytes(self._path, job.body))
            job.connection.setblocking(False)
            self._selector.register(job.connection, selectors.EVENT_READ, job)
        except LinnetError as error:
            self._end(job, error)
        except OSError as error:
            self._lost(job, str(error))

    def _receive(self, job: Job) -> None:
        if job.connection is None:  # dropped since the selector saw it
            return
        try:
            data = job.connection.recv(_READ_BYTES)
        except BlockingIOError:
            self._watch(job)
            return
        except OSError as error:
            self._lost(job, str(error))
            return
        if data:
            self._watchdog.progress()
        else:
            if job.answer.refused:
                self._end(job, job.answer.end("it refused"))
            else:
                self._lost(job, "the connection was closed")
            return
        try:
            chunk = job.answer.feed(data)
        except LinnetError as error:
            self._end(job, error)
            return
        except (ValueError, KeyError, TypeError) as error:
            self._end(job, ModelError(f"llama.cpp's answer cannot be read: {error}"))
            return
        if chunk is not None and chunk.finish_reason is not None:
            self._drop(job)
        elif chunk is None or job.answer.left <= 2 * len(chunk.tokens):
            self._watch(job)  # it has not begun yet, or is about to end
        else:
            self._rest(job)
        if chunk is not None:
            self._hand_over(job, chunk)

    def _watch(self, job: Job) -> None:
        """Read what comes as soon as it does."""
        if job.resting and job.connection is not None:
            job.resting = False
            self._selector.register(job.connection, selectors.EVENT_READ, job)

    def _rest(self, job: Job) -> None:
        """Let some tokens gather before they are read."""
        if not job.resting and job.connection is not None:
            job.resting = True
            self._selector.unregister(job.connection)
        rest = min(_REST * max(1.0, len(self._running) / 2), _MOST_REST)
        # All that rest are read in one turn, so that everyone on the way wakes once for them.
        due = (time.monotonic() // rest + 1) * rest
        self._resting.append((due, job))

    def _lost(self, job: Job, reason: str) -> None:
        """An answer that ended too early: of one request, or of all since the process ended."""
        process = self._process
        if process is not None and not process.has_ended(within=0.5):
            self._end(job, job.answer.end(reason))
            return
        words = process.last_words() if process is not None else reason
        self._running.add(job)
        self._recover(words, hung=False)

    def _recover(self, reason: str, *, hung: bool) -> None:
        """llama.cpp ended: refuse the request that did it, and compute the others again."""
        jobs = sorted(self._running, key=lambda job: job.arrived)
        suspects = [job for job in jobs if job.constraint is not None] or jobs
        again = []
        for job in jobs:
            self._drop(job)
            if suspects == [job] and (hung or job.alone):
                self._refuse(job, reason, hung=hung)
            elif job.delivered or job.attempts >= _ATTEMPTS:
                self._hand_over(job, _ended(reason))
            elif not job.cancelled:
                job.alone = job in suspects
                again.append(job)
        with self._lock:
            self._waiting.extendleft(reversed(again))

    def _refuse(self, job: Job, reason: str, *, hung: bool) -> None:
        """End the request that llama.cpp was ended for."""
        if job.constraint is None:
            self._hand_over(job, _ended(reason))
            return
        if hung:
            with self._lock:
                self._refused[job.constraint] = None
                while len(self._refused) > _REMEMBERED:
                    self._refused.popitem(last=False)
        self._hand_over(job, _too_costly(job))

    def _end_all(self, error: ModelError) -> None:
        for job in [*self._running]:
            self._end(job, error)
        if self._closed:
            with self._lock:
                waiting, self._waiting = [*self._waiting], deque()
            for job in waiting:
                self._end(job, error)

    def _end(self, job: Job, error: LinnetError) -> None:
        self._drop(job)
        self._hand_over(job, error)

    def _drop(self, job: Job) -> None:
        """Free what a job holds; llama.cpp notices the closed connection and stops."""
        self._running.discard(job)
        connection, job.connection = job.connection, None
        if connection is not None:
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(connection)
            connection.close()

    def _hand_over(self, job: Job, piece: object) -> None:
        if job.cancelled:
            return
        job.delivered = True
        try:
            job.deliver(piece)  # type: ignore[arg-type]
        except Exception:  # the receiver is gone; the others must not suffer
            job.cancelled = True
            self._drop(job)


def _ended(reason: str) -> ModelError:
    return ModelError(
        f"llama.cpp ended in the middle of a text ({reason}); it is started again for the next "
        "request"
    )


def _too_costly(job: Job) -> ConfigError:
    assert job.constraint is not None
    return ConfigError(
        f"llama.cpp cannot follow this {job.constraint.kind} in any reasonable time; have less in "
        "it that is optional, repeated or can be read in several ways"
    )


def _size(file: str) -> int:
    try:
        return os.stat(file).st_size
    except OSError:
        return 0


_CLOCK_MULTIPLE = 10
"""A process that has no processor time and reports nothing is given up after so many stalls."""
_SLOWEST_WEIGHTS = 25 << 20
"""Bytes of weights that a step reads in a second, where it reads a whole batch of a prompt."""


def allowed_seconds(stall_seconds: float, weight_bytes: int) -> float:
    """How long one step of a model may take."""
    return stall_seconds + weight_bytes / _SLOWEST_WEIGHTS


class Watchdog:
    """Judges one loop by what is reported of it."""

    def __init__(
        self,
        cpu_seconds: Callable[[], float | None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``cpu_seconds``: what the process has used so far; None where that is not known."""
        self._cpu_seconds = cpu_seconds
        self._clock = clock
        self._since = clock()
        self._used: float | None = None
        self._looked = False

    def progress(self) -> None:
        """Something was reported, or is only expected from now on."""
        self._since = self._clock()
        self._looked = False

    def is_stalled(self, allowed: float) -> bool:
        """Whether more than ``allowed`` seconds were spent since; to be called every second."""
        if not self._looked:
            self._looked = True
            self._used = self._cpu_seconds()
        silent = self._clock() - self._since
        if silent < allowed:
            return False
        now = self._cpu_seconds()
        if self._used is None or now is None:
            return True
        return now - self._used >= 0.8 * allowed or silent >= _CLOCK_MULTIPLE * allowed
