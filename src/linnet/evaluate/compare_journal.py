"""What was asked already, so that nothing is paid for twice; and asking the rest.

``journal.jsonl`` has a row for every answer and verdict, written and synced before the next one is
asked for, and a row before each call that may bill, with the most that it may cost. A call that
was begun and has no answer, because the process was killed, counts as having cost that much.

Ctrl-C lets the answer that is under way end, as it is paid for; a second one gives it up.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from linnet import output
from linnet.config import parse_json
from linnet.errors import DamagedError, LinnetError, StoppedError
from linnet.progress import SILENT, Progress
from linnet.respond.context import BudgetExceededError, Charge, Context, Settle
from linnet.respond.prices import money, readable

JOURNAL = "journal.jsonl"
IN_A_ROW = 5
"""Failures of one model, one after the other, after which there is no sense in going on."""
_LOOK_SECONDS = 0.2

Row: TypeAlias = dict[str, Any]


def key_of(*parts: str) -> str:
    """The key of what these parts decide."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


class Journal:
    """Rows by their keys, in memory and in a file."""

    def __init__(self, file: Path | None = None) -> None:
        """Raises DamagedError for a file with something else in it."""
        self.rows: dict[str, Row] = {}
        self.lost = 0
        """What calls cost that never ended, as the process was killed: the most that they may."""
        self._begun: dict[str, int] = {}
        self._file = file
        self._lock = threading.Lock()
        if file is not None and file.is_file():
            self._read(file)

    def __contains__(self, key: str) -> bool:
        return key in self.rows

    def __getitem__(self, key: str) -> Row:
        return self.rows[key]

    @property
    def spent(self) -> int:
        """What all calls cost, in trillionths; of those that never ended what they could have."""
        with self._lock:
            return self.settled + sum(self._begun.values())

    @property
    def settled(self) -> int:
        """The same without the calls that are under way."""
        return sum(row.get("spent") or 0 for row in list(self.rows.values())) + self.lost

    def begin(self, key: str, cost: int) -> None:
        """A call may cost so much from now on."""
        with self._lock:
            self._begun[key] = self._begun.get(key, 0) + cost
            self._write({"key": key, "begun": cost})

    def settle(self, key: str, more: int) -> None:
        """A call that is not over costs so much more or less than it was begun with."""
        with self._lock:
            self._begun[key] = self._begun.get(key, 0) + more

    def add(self, key: str, row: Row) -> None:
        """It has ended, and this is what came of it."""
        with self._lock:
            self._begun.pop(key, None)
            self.rows[key] = row
            self._write({"key": key, **row})

    def _write(self, row: Row) -> None:
        if self._file is None:
            return
        line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with output.full_disk_named(self._file), output.open_to_append(self._file) as rows:
            rows.write(line)
            rows.flush()
            os.fsync(rows.fileno())

    def _read(self, file: Path) -> None:
        content = file.read_bytes()
        whole, newline, torn = content.rpartition(b"\n")
        for number, line in enumerate(whole.split(b"\n") if newline else (), 1):
            try:
                row = parse_json(line.decode())
                key = row.pop("key")
                if "begun" in row:
                    self._begun[key] = self._begun.get(key, 0) + int(row["begun"])
                elif "lost" in row:
                    self._begun.pop(key, None)
                    self.lost += int(row["lost"])
                else:
                    self._begun.pop(key, None)
                    # What failed and cost nothing is asked again.
                    if row.get("spent") or not row.get("error"):
                        self.rows[key] = row
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise DamagedError(
                    f"{file}, line {number}: expected what linnet compare wrote ({error}); take "
                    "the line out, and its answer is asked for again"
                ) from None
        if torn:  # the process was killed while it wrote this line
            with output.replacing(file) as neighbour:
                neighbour.write_bytes(whole + newline)
        for key, cost in self._begun.items():
            self.lost += cost
            self._write({"key": key, "lost": cost})
        self._begun.clear()


class LimitReachedError(BudgetExceededError):
    """The next call might cost more than the owner allows."""


class Limit:
    """The money that a comparison may cost, all of its runs together."""

    def __init__(self, journal: Journal, most: int | None, currency: str) -> None:
        """``most``: in trillionths; None: nothing that bills may be asked."""
        self.journal, self.most, self.currency = journal, most, currency

    def reserve(self, key: str, cost: int) -> None:
        """Set money aside for a call. Raises LimitReachedError where there is not as much."""
        spent = self.journal.spent
        if self.most is None or spent + cost > self.most:
            raise LimitReachedError(
                f"{money(spent):.6f} of {money(self.most or 0):f} {self.currency} are spent, and "
                f"the next answer may cost {money(cost):.6f}; allow more with --cost, and the same "
                "command goes on from here"
            )
        self.journal.begin(key, cost)


class _Spending:
    """What one job costs: the budget of its call."""

    def __init__(self, limit: Limit, key: str) -> None:
        self._limit, self._key = limit, key
        self._costs: list[int] = []
        self._lock = threading.Lock()

    @property
    def spent(self) -> int:
        """What its attempts cost, in trillionths; of one that is not settled what it may."""
        return sum(self._costs)

    def reserve(self, charge: Charge) -> Settle:
        """See :class:`Budget`."""
        with self._lock:
            place, reserved = len(self._costs), charge.cost
            if reserved:
                self._limit.reserve(self._key, reserved)
            self._costs.append(reserved)
        settled = False

        def settle(tokens: int, cost: int) -> None:
            nonlocal settled
            with self._lock:
                if not settled:
                    settled, self._costs[place] = True, cost
                    self._limit.journal.settle(self._key, cost - reserved)

        return settle


@dataclass(frozen=True)
class Job:
    """Something to ask."""

    key: str
    who: str
    """The model."""
    work: Callable[[Context], Row]
    """Asks, and gives the row; with an ``error`` where it failed."""


@dataclass
class Runner:
    """Asks one thing after the other."""

    journal: Journal
    limit: Limit
    progress: Progress = SILENT

    def run(self, jobs: Sequence[Job], title: str, unit: str) -> None:
        """Those that are not in the journal.

        Raises StoppedError where the user stops it, LimitReachedError where the money is spent,
        and the error of a model that fails again and again.
        """
        waiting = [job for job in jobs if job.key not in self.journal]
        if not waiting:
            return
        with self.progress.task(title, total=len(jobs), unit=unit) as task:
            task.update(done=len(jobs) - len(waiting))
            with _Worker(self, waiting) as worker:
                for _ in worker.ended():
                    task.advance()
                    if self.limit.most is not None:
                        spent = float(money(self.journal.settled))
                        task.update(note=readable(spent, self.limit.currency))


class _Worker:
    """A thread that asks. Ctrl-C, which goes to the main thread, ends it between two calls."""

    def __init__(self, runner: Runner, jobs: Sequence[Job]) -> None:
        self.runner, self.jobs = runner, jobs
        self.done = 0
        self._over = False
        self._changed = threading.Condition()
        self._context: Context | None = None
        self._error: BaseException | None = None
        self._failures: dict[str, int] = {}
        self._thread = threading.Thread(target=self._work, name="linnet-compare", daemon=True)
        self._held = ExitStack()

    def __enter__(self) -> _Worker:
        from linnet.train.distributed import interruptible

        self._interrupt = self._held.enter_context(interruptible())
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        with self._held:
            self._interrupt.requested = True
            context = self._context
            if self._thread.is_alive() and context is not None:
                context.cancel()
            self._thread.join()

    def ended(self) -> Iterator[None]:
        """Once for each job that has ended; raises what ended them all."""
        seen, said = 0, False
        while True:
            with self._changed:
                if self.done == seen and not self._over:
                    self._changed.wait(_LOOK_SECONDS)
                done, over = self.done, self._over
            while seen < done:
                seen += 1
                yield
            if over:
                break
            if self._interrupt.requested and not said:
                said = True
                self.runner.progress.message(
                    "stopping once the answer under way is there, as it is paid for; Ctrl-C again "
                    "gives it up"
                )
        if self._error is not None:
            raise self._error
        if seen < len(self.jobs):
            raise StoppedError(
                f"stopped: {seen:,} of {len(self.jobs):,} more were asked and are kept; the same "
                "command goes on from there"
            )

    def _work(self) -> None:
        try:
            for job in self.jobs:
                if self._interrupt.requested:
                    return
                if job.key not in self.runner.journal:  # the same may be asked twice
                    self._ask(job)
                with self._changed:
                    self.done += 1
                    self._changed.notify_all()
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    def _ask(self, job: Job) -> None:
        spending = _Spending(self.runner.limit, job.key)
        self._context = context = Context(budget=spending)
        row = job.work(context)
        self.runner.journal.add(job.key, {**row, "spent": spending.spent})
        failures = self._failures.get(job.who, 0) + 1 if _failed(row) else 0
        self._failures[job.who] = failures
        if failures == IN_A_ROW:
            raise LinnetError(
                f"{job.who} failed {IN_A_ROW} times in a row, at last: {row['error']}; what was "
                "answered is kept, and the same command goes on from there"
            )


def _failed(row: Mapping[str, Any]) -> bool:
    return bool(row.get("error")) and not row.get("withheld")


@contextmanager
def open_journal(directory: Path | None) -> Iterator[Journal]:
    """The journal of a directory, which is held meanwhile; one in memory without a directory."""
    if directory is None:
        yield Journal()
        return
    output.make_directory(directory)
    with output.lock(directory):
        output.refuse_links(directory / JOURNAL)
        yield Journal(directory / JOURNAL)
