"""Keeping an assistant current: what has to be made of its documents, in order, while it answers.

The documents are read and indexed by their words first, from which moment questions can be asked.
Everything after that makes answers better; a step that fails leaves those before it in use. Each
step asks itself whether what it would make is there already, so that running all of them again
redoes only what changed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from linnet.answers.workspace import Workspace
from linnet.data import current_inputs
from linnet.data.files import labels
from linnet.errors import LinnetError, StoppedError
from linnet.progress import SILENT, Progress, Task

StepState = Literal["waiting", "running", "done", "unchanged", "skipped", "failed"]

SOONEST = 1.0
"""Seconds between two looks at the folders; more where a look takes longer."""
SHARE = 20
"""A look takes at most about one in so many seconds; and so does a step that only makes answers
better, once it was done: it waits meanwhile, however often documents change."""
INTERRUPTIONS = 3
"""So often in a row such a step is interrupted, so that changed documents are searchable soon."""
LATEST = 30.0
"""The longest pause after something failed; the first is :data:`SOONEST`, each twice the last."""


class _ChangedError(LinnetError):
    """Documents have changed while something was made that can wait."""


class SkipStep(LinnetError):
    """The step is not for these documents or this machine; the message says why."""


@dataclass(frozen=True)
class Step:
    """One thing that is made. ``make`` does it unless it is current, says in a few words what came
    of it, and None where nothing was to do. Raises SkipStep, and LinnetError where it fails.

    ``essential``: nothing after it makes sense where it fails. ``answers``: questions can be asked
    once it is done.
    """

    name: str
    title: str
    make: Callable[[Workspace, Progress], str | None]
    essential: bool = False
    answers: bool = False


@dataclass
class StepStatus:
    """How far a step is: ``done`` of ``total`` in ``unit``; ``text`` says what came of it."""

    name: str
    title: str
    state: StepState = "waiting"
    text: str = ""
    done: float = 0.0
    total: float | None = None
    unit: str = ""
    seconds: float = 0.0


@dataclass
class Status:
    """What an assistant is doing. ``working``: whether a step runs; ``answers``: whether questions
    can be asked; ``problem``: why it waits, such as a folder that is gone."""

    steps: list[StepStatus] = field(default_factory=list)
    working: bool = False
    answers: bool = False
    problem: str = ""
    follows: bool = False


class Upkeep:
    """Runs the steps, in a thread of its own or here."""

    def __init__(
        self,
        workspace: Workspace,
        steps: Sequence[Step],
        *,
        refreshed: Callable[[], None] = lambda: None,
        told: Callable[[StepStatus], None] = lambda step: None,
        follow: bool = False,
        progress: Progress = SILENT,
    ) -> None:
        """``refreshed`` is called when a step has made something that answers should use;
        ``told`` when a step begins and ends. ``follow``: look for changes of the sources.
        """
        self.workspace, self._steps = workspace, steps
        self._refreshed, self._told, self._progress = refreshed, told, progress
        self._lock = threading.Lock()
        self._status = Status(_fresh(steps), follows=follow)
        self._wanted, self._stopped = threading.Event(), threading.Event()
        self._wanted.set()
        self._thread: threading.Thread | None = None
        self._seen: dict[str, str] | None = None
        """What the sources held when they were last read."""
        self.idle = threading.Event()
        """Set while nothing is to do."""
        self._done: dict[str, tuple[float, float]] = {}
        """When each step that can wait was done, and the seconds that it took."""
        self._interruptions = 0
        self._due = float("inf")
        """When a step that waits is to be done."""
        self._looked, self._look_seconds = time.monotonic(), 0.0

    def status(self) -> Status:
        """A copy of how things stand."""
        with self._lock:
            now = self._status
            steps = [StepStatus(**vars(step)) for step in now.steps]
            return Status(steps, now.working, now.answers, now.problem, now.follows)

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread = threading.Thread(target=self._run, name="linnet-upkeep", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """The documents have changed."""
        self.idle.clear()
        self._wanted.set()

    def stop(self, *, wait: float = 5.0) -> None:
        """End soon: what runs is interrupted where it reports progress, and loses nothing that is
        finished."""
        self._stopped.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(wait)

    def _run(self) -> None:
        pause = SOONEST
        while not self._stopped.is_set():
            try:
                if self._wanted.is_set() or time.monotonic() >= self._due or self._changed():
                    self._wanted.clear()
                    self.idle.clear()
                    pause = SOONEST if self.update() else min(2 * pause, LATEST)
            except StoppedError:
                return
            with self._lock:
                failed, follows = bool(self._status.problem), self._status.follows
            if not self._wanted.is_set():
                self.idle.set()
            if failed:
                self._wanted.wait(pause)
                self._wanted.set()
            else:
                wait = self._between if follows else threading.TIMEOUT_MAX
                self._wanted.wait(max(0.0, min(wait, self._due - time.monotonic())))

    @property
    def _between(self) -> float:
        """Seconds between two looks."""
        return max(SOONEST, self._look_seconds * SHARE)

    def _changed(self) -> bool:
        """Whether the sources hold something else than when they were read."""
        if not self._status.follows:
            return False
        began = time.monotonic()
        try:
            return self._look() != self._seen
        except LinnetError:
            return True  # the update says what is wrong
        finally:
            self._looked = time.monotonic()
            self._look_seconds = self._looked - began

    def check(self, step: Step) -> None:
        """Called while a step works. Raises StoppedError, and _ChangedError where it is to give way
        to documents that have changed."""
        if self._stopped.is_set():
            raise StoppedError("stopped")
        if step.essential or self._interruptions >= INTERRUPTIONS or self._thread is None:
            return
        is_time = time.monotonic() - self._looked > self._between
        if self._wanted.is_set() or (is_time and self._changed()):
            raise _ChangedError("documents have changed")

    def _look(self) -> dict[str, str]:
        work = self.workspace
        return current_inputs(
            work.sources, work.corpus, work.reading_settings(), exclude=[work.path]
        )

    def update(self) -> bool:
        """Run all steps once; whether the essential ones succeeded. Raises StoppedError."""
        work = self.workspace
        self._due = float("inf")
        with self._lock:
            self._status.steps, self._status.working = _fresh(self._steps), True
        reading = work.begin_reading()
        try:
            if gone := vanished(work):
                return self._failed(gone)
            self._seen = self._look() if self._status.follows else None
            for place, step in enumerate(self._steps):
                error = self._step(place, step)
                if error is not None and step.essential:
                    return self._failed(error)
                if step.answers:
                    work.end_reading(reading)
                    with self._lock:
                        self._status.answers, self._status.problem = True, ""
            with self._lock:
                self._status.problem = ""
            self._interruptions = 0
            return True
        except StoppedError:
            raise
        except _ChangedError:
            self._interruptions += 1
            self._wanted.set()
            return True
        except LinnetError as error:
            return self._failed(str(error))
        finally:
            with self._lock:
                self._status.working = False

    def _failed(self, problem: str) -> bool:
        with self._lock:
            new, self._status.problem = problem != self._status.problem, problem
        if new:
            self._progress.warn(problem)
        return False

    def _step(self, place: int, step: Step) -> str | None:
        """Run one step; why it failed, if it did."""
        status = self._status.steps[place]
        if not step.essential and self._waits(step):
            with self._lock:
                status.state, status.text = "skipped", "made again later, when more has changed"
            return None
        self.check(step)
        with self._lock:
            status.state = "running"
        self._told(status)
        began, error = time.monotonic(), None
        try:
            said = step.make(self.workspace, _Reported(self, step, status, self._progress))
            state: StepState = "unchanged" if said is None else "done"
            if step.answers or (said is not None and not step.essential):
                self._refreshed()
        except (StoppedError, _ChangedError):
            raise
        except SkipStep as skipped:
            state, said = "skipped", str(skipped)
        except LinnetError as failed:
            state, said = "failed", (error := str(failed))
        except Exception as failed:  # what nobody foresaw must not end what answers
            state, said = "failed", (error := f"{type(failed).__name__}: {failed}")
        with self._lock:
            status.state, status.text = state, said or ""
            status.seconds = time.monotonic() - began
        if state != "unchanged":
            self._done[step.name] = (time.monotonic(), status.seconds)
        self._told(status)
        return error

    def _waits(self, step: Step) -> bool:
        """Whether a step was done so shortly ago that it can wait."""
        ended, seconds = self._done.get(step.name, (-float("inf"), 0.0))
        due = ended + seconds * SHARE
        if time.monotonic() >= due:
            return False
        self._due = min(self._due, due)
        return True


class _Reported(Progress):
    """Enters the progress of a step into its status, and ends it when the upkeep is stopped."""

    def __init__(self, upkeep: Upkeep, step: Step, status: StepStatus, inner: Progress) -> None:
        self._upkeep, self._step = upkeep, step
        self._status, self._inner = status, inner
        self._open: list[_ReportedTask] = []

    @contextmanager
    def task(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Task]:
        with self._inner.task(name, total=total, unit=unit) as drawn:
            task = _ReportedTask(self, drawn, name, total, unit)
            self._open.append(task)
            self.show()
            try:
                yield task
            finally:
                self._open.remove(task)

    def message(self, text: str) -> None:
        self._inner.message(text)

    def warn(self, text: str) -> None:
        self._inner.warn(text)

    def show(self) -> None:
        """What is done now is that of the task that was opened last."""
        self._upkeep.check(self._step)
        if self._open:
            task, status = self._open[-1], self._status
            with self._upkeep._lock:
                status.text, status.unit = task.name, task.unit
                status.done, status.total = task.done, task.total


class _ReportedTask(Task):
    def __init__(
        self, owner: _Reported, drawn: Task, name: str, total: float | None, unit: str
    ) -> None:
        self._owner, self._drawn = owner, drawn
        self.name, self.total, self.unit, self.done = name, total, unit, 0.0

    def advance(self, amount: float = 1) -> None:
        self.done += amount
        self._drawn.advance(amount)
        self._owner.show()

    def update(
        self, *, done: float | None = None, total: float | None = None, note: str | None = None
    ) -> None:
        self.done = self.done if done is None else done
        self.total = self.total if total is None else total
        self._drawn.update(done=done, total=total, note=note)
        self._owner.show()


def vanished(work: Workspace) -> str:
    """Which source is gone, in words: a folder that is not there, or that is empty though
    documents were read from it. Nothing is to be forgotten because a drive is not connected."""
    known = set()
    for label, root in labels(work.owner_sources).items():
        if not root.exists():
            return f"{root} is not there; its documents stay searchable, and it is waited for"
        if root.is_dir() and not _has_entries(root):
            known.add((label, root))
    for label, root in known:
        if work.documents(after=f"{label}/", limit=1, containing=f"{label}/"):
            return (
                f"{root} is empty, though documents were read from it; they stay searchable until "
                "there are others"
            )
    return ""


def _has_entries(folder: Path) -> bool:
    try:
        return next(folder.iterdir(), None) is not None
    except OSError:
        return False


def _fresh(steps: Sequence[Step]) -> list[StepStatus]:
    return [StepStatus(step.name, step.title) for step in steps]


def status_json(status: Status) -> dict[str, Any]:
    """A status as JSON."""
    return {**vars(status), "steps": [vars(step) for step in status.steps]}
