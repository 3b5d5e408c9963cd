"""The log of calls: one row each, in an SQLite file of its owner's alone or in memory.

A row has counts, names and numbers (``entry``). What was asked and answered is kept only where the
owner wants it (``keeps_contents``); nothing of it reaches the database otherwise.

Adding never waits: an entry goes into a bounded queue, which one thread writes in batches. Where
the queue is full, because the disk is full or the file is busy, entries are dropped, counted and,
once writing works again, noted in the log itself. A killed process loses the last batch at most.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from linnet.database import Contents, Database, Run, StoreError, bytes_used
from linnet.errors import ConfigError, LinnetError
from linnet.monitor import retention
from linnet.monitor.entry import COLUMNS, Entry, clean, entry_of_row, row_of

FILE_BYTES = 1 << 29
MEMORY_BYTES = 64_000_000
LEAST_BYTES = 4_000_000
KEEP_DAYS = 90.0
MOST_WAITING = 10_000
"""Entries that wait to be written."""
WAITING_BYTES = 32_000_000
BATCH_SECONDS = 0.1
"""Between two batches."""
RETRY_SECONDS = (0.5, 30.0)
"""Between two tries where nothing can be written: at first, and at most."""
PURGE_SECONDS = 600.0
_DAY = 86_400.0
_READ = 500
"""Entries that are read at once."""
_ENTRY_BYTES = 1000
"""What an entry takes without contents, roughly."""
_TABLES = """
CREATE TABLE calls (
    number INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, id TEXT NOT NULL,
    key TEXT NOT NULL, interface TEXT NOT NULL, asked TEXT NOT NULL, model TEXT NOT NULL,
    place TEXT NOT NULL, prompt INTEGER NOT NULL, cached INTEGER NOT NULL,
    written INTEGER NOT NULL, cost INTEGER NOT NULL, would_cost INTEGER, seconds REAL NOT NULL,
    queue_seconds REAL, retrieval_seconds REAL, first_seconds REAL, state TEXT NOT NULL,
    probability REAL, in_scope REAL, grounded REAL, decided_by TEXT NOT NULL,
    reason TEXT NOT NULL, score REAL, threshold REAL, failures TEXT NOT NULL,
    scores TEXT NOT NULL, features TEXT NOT NULL, good INTEGER, question TEXT, answer TEXT,
    sources TEXT NOT NULL
);
CREATE INDEX calls_at ON calls (at);
CREATE INDEX calls_id ON calls (id, key);
CREATE INDEX calls_key ON calls (key);
CREATE TABLE drops (
    number INTEGER PRIMARY KEY, at REAL NOT NULL, entries INTEGER NOT NULL
);
"""
_CURRENCIES = "CREATE TABLE currencies (at REAL NOT NULL, currency TEXT NOT NULL)"
CONTENTS = Contents(  # "LntL"
    "log of calls", 0x4C6E744C, 1, _TABLES, added=(("currencies", _CURRENCIES),)
)
_INSERT = (
    f"INSERT INTO calls ({', '.join(COLUMNS[1:])}) VALUES ({', '.join('?' * len(COLUMNS[1:]))})"
)


@dataclass(frozen=True)
class _Verdict:
    id: str
    key: str
    good: bool


@dataclass(frozen=True)
class _Currency:
    name: str


_Item: TypeAlias = Entry | _Verdict | _Currency


def is_log(file: Path) -> bool:
    """Whether a file is a log of calls."""
    try:
        with file.open("rb") as opened:
            start = opened.read(72)
    except OSError:
        return False
    magic = b"SQLite format 3\0"  # https://www.sqlite.org/fileformat.html#the_database_header
    return start.startswith(magic) and start[68:] == CONTENTS.application.to_bytes(4, "big")


@dataclass
class _Counted:
    """Of a batch."""

    written: int = 0
    unmatched: int = 0
    damaged: int = 0


@dataclass(frozen=True)
class LogState:
    """How the log does."""

    written: int
    """Entries since it was opened."""
    waiting: int
    dropped: int
    """Entries and verdicts that are lost, as there was no space for them."""
    unmatched: int = 0
    """Verdicts on calls that the log does not have."""
    failing: str = ""
    """Why nothing can be written at the moment."""


class Log:
    """The log, open for several threads; a file may be open in several processes."""

    def __init__(
        self,
        file: Path | None = None,
        *,
        keeps_contents: bool = False,
        keep_days: float = KEEP_DAYS,
        most_bytes: int | None = None,
        is_reading: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``file``: None: in memory. ``keeps_contents``: questions, answers and the sources of
        passages, too. ``keep_days``: 0 for ever. ``most_bytes``: beyond these the oldest entries
        go. ``is_reading``: of a file that must be there, and from which nothing goes meanwhile.

        Raises ConfigError for a file that is something else, is damaged or cannot be written.
        """
        if most_bytes is not None and most_bytes < LEAST_BYTES:
            raise ConfigError(f"a log has at least {LEAST_BYTES:,} bytes. Got {most_bytes:,}")
        if is_reading and file is not None and not (file.is_file() and file.stat().st_size):
            raise ConfigError(f"{file}: there is no log of calls here")
        self.file = file
        self.keeps_contents = keeps_contents
        self.keep_days = keep_days
        self._most_bytes = most_bytes or (MEMORY_BYTES if file is None else FILE_BYTES)
        self._clock = clock
        self._database = self._open()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: deque[tuple[_Item, int]] = deque()
        """With what each takes."""
        self._waiting_bytes = 0
        self._writing = 0
        self._written = self._dropped = self._unmatched = 0
        self._unnoted = 0
        """Those dropped that the log itself does not say yet."""
        self._failing = ""
        self._closed = False
        self._purged = -math.inf
        self._thread: threading.Thread | None = None
        if not is_reading:
            self._start()

    def add(self, entry: Entry) -> None:
        """Have an entry written. Never waits, and never fails."""
        self._put(entry, len(entry.question or "") + len(entry.answer or ""))

    def judge(self, id: str, key: str | None, *, good: bool) -> None:
        """Have a verdict written to the last call of that id and key. Never waits."""
        self._put(_Verdict(id, key or "", good), 0)

    def has(self, id: str, key: str | None) -> bool:
        """Whether a call of that id and key may be judged: it is in the log, or will be. Waits for
        what is being written. Raises StoreError."""
        if not self.flush():
            return True  # nobody knows before it is
        with self._database.reading() as run:
            values = (clean(id), clean(key or ""))
            return (
                run("SELECT 1 FROM calls WHERE id = ? AND key = ?", values).fetchone() is not None
            )

    def note_currency(self, name: str) -> None:
        """Have it written that costs are in this unit of money from now on. Never waits."""
        self._put(_Currency(name), 0)

    def currencies(self) -> list[tuple[float, str]]:
        """The units of money that costs are in, in order, and since when; nothing is known where
        nobody said. Raises StoreError."""
        with self._database.reading() as run:
            rows = run("SELECT at, currency FROM currencies ORDER BY rowid").fetchall()
        return [(float(at), str(name)) for at, name in rows]

    def flush(self, seconds: float = 5.0) -> bool:
        """Wait until what was added is written; whether it is."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self._writing, timeout=seconds
            )

    def close(self, seconds: float = 5.0) -> None:
        """Write what waits, as far as that works, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(seconds)
        self._database.close()

    @property
    def state(self) -> LogState:
        """How it does."""
        with self._lock:
            waiting = len(self._waiting) + self._writing
            return LogState(self._written, waiting, self._dropped, self._unmatched, self._failing)

    def read(
        self,
        since: float = -math.inf,
        until: float = math.inf,
        *,
        key: str | None = None,
        model: str | None = None,
        after: int = 0,
    ) -> Iterator[Entry]:
        """Entries that arrived from ``since`` to before ``until``, in this order.

        ``after``: those of a higher number alone. What is added meanwhile may be among them.
        Raises StoreError.
        """
        where = ["(at, number) > (?, ?)", "at < ?", "number > ?"]
        values: list[float | str] = [until, after]
        for name, value in (("key", key), ("model", model)):
            if value is not None:
                where.append(f"{name} = ?")
                values.append(value)
        last = (since, 0)
        while True:
            with self._database.reading() as run:
                rows = run(
                    f"SELECT {', '.join(COLUMNS)} FROM calls WHERE {' AND '.join(where)} "
                    "ORDER BY at, number LIMIT ?",
                    (*last, *values, _READ),
                ).fetchall()
            for row in rows:
                yield entry_of_row(row)
            if len(rows) < _READ:
                return
            last = (rows[-1][COLUMNS.index("at")], rows[-1][0])

    def newest(self, count: int) -> list[Entry]:
        """The last entries, newest first. Raises StoreError."""
        with self._database.reading() as run:
            rows = run(
                f"SELECT {', '.join(COLUMNS)} FROM calls ORDER BY at DESC, number DESC LIMIT ?",
                (count,),
            ).fetchall()
        return [entry_of_row(row) for row in rows]

    def drops(self, since: float = -math.inf, until: float = math.inf) -> int:
        """How many entries and verdicts were lost meanwhile, as far as the log says."""
        with self._database.reading() as run:
            found = run(
                "SELECT SUM(entries) FROM drops WHERE at >= ? AND at < ?", (since, until)
            ).fetchone()
        return found[0] or 0

    def forget_key(self, key: str) -> int:
        """Forget all calls of a key, down to the bytes; how many they were.

        What another process has not written yet may come after. Raises StoreError.
        """
        self.flush()
        count = retention.forget_key(self._database, key)
        self._database.rewrite()
        return count

    def forget_before(self, at: float) -> int:
        """Forget all calls that arrived earlier, down to the bytes; how many. Raises StoreError."""
        self.flush()
        count = retention.purge(self._database, before=at, most_bytes=self._most_bytes)
        self._database.rewrite()
        return count

    def forget_contents(self, sources: Collection[str], texts: Collection[str] = ()) -> int:
        """Forget, down to the bytes, what was asked and answered in calls that rest on one of the
        sources, or quote one of the texts; how many calls. What they used and cost stays.

        What another process has not written yet may come after. Raises StoreError.
        """
        self.flush()
        count = retention.forget_contents(self._database, sources, texts)
        self._database.rewrite()
        return count

    @contextlib.contextmanager
    def reading(self) -> Iterator[Run]:
        """SQL over the table ``calls``, whose columns are the fields of :class:`Entry`; lists and
        ``features`` are JSON. Nothing is written meanwhile, so briefly. Raises StoreError."""
        with self._database.reading() as run:
            yield run

    def _open(self) -> Database:
        """The file may grow a little beyond its bound: by a batch, after which space is made."""
        most = self._most_bytes + self._most_bytes // 4
        return Database(self.file, CONTENTS, most_bytes=most)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._work, name="linnet-logging", daemon=True)
        self._thread.start()

    def _put(self, item: _Item, size: int) -> None:
        size += _ENTRY_BYTES
        with self._changed:
            is_full = len(self._waiting) + self._writing >= MOST_WAITING
            if is_full or self._waiting_bytes + size > WAITING_BYTES or self._closed:
                self._dropped += 1
                self._unnoted += 1
                return
            self._waiting.append((item, size))
            self._waiting_bytes += size
            if self._thread is None:
                self._start()
            if len(self._waiting) == 1:
                self._changed.notify_all()

    def _work(self) -> None:
        """Write batches, in a thread of its own."""
        pause = RETRY_SECONDS[0]
        while self._has_work():
            with self._changed:
                batch, unnoted = self._next_batch(), self._unnoted
                self._writing = len(batch)
            try:
                counted = self._write([item for item, _ in batch], unnoted)
            except LinnetError as error:  # the disk is full, or the file busy, damaged or gone
                with self._changed:
                    batch.extend(self._waiting)
                    self._waiting, self._writing = batch, 0
                    self._failing = str(error)
                    if self._changed.wait_for(lambda: self._closed, timeout=pause):
                        self._dropped += len(self._waiting)
                        return
                pause = min(2 * pause, RETRY_SECONDS[1])
                continue
            pause = RETRY_SECONDS[0]
            with self._changed:
                self._written += counted.written
                self._unmatched += counted.unmatched
                self._dropped += counted.damaged
                self._unnoted += counted.damaged - unnoted
                self._waiting_bytes -= sum(size for _, size in batch)
                self._writing, self._failing = 0, ""
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed, timeout=BATCH_SECONDS)

    def _next_batch(self) -> deque[tuple[_Item, int]]:
        """What waits, as far as there is space for it at once."""
        batch: deque[tuple[_Item, int]] = deque()
        size = 0
        while self._waiting and (not batch or size < self._most_bytes // 20):
            batch.append(self._waiting.popleft())
            size += batch[-1][1]
        return batch

    def _has_work(self) -> bool:
        """Wait for some; whether there is more before the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                if not self._changed.wait(PURGE_SECONDS):
                    return True
            return bool(self._waiting) or not self._closed

    def _write(self, items: Sequence[_Item], unnoted: int) -> _Counted:
        """Write a batch. Raises LinnetError."""
        if not self._database.is_current:
            self._database.close()
            self._database = self._open()
        counted = _Counted()
        if items or unnoted:
            try:
                self._insert(items, unnoted, counted)
            except StoreError:
                with contextlib.suppress(StoreError):  # for the next try
                    self._purge()
                raise
        with contextlib.suppress(StoreError):  # what is written is written
            self._purge()
        return counted

    def _insert(self, items: Sequence[_Item], unnoted: int, counted: _Counted) -> None:
        with self._database.changing() as run:
            for item in items:
                self._write_one(run, item, counted)
            if unnoted:
                run("INSERT INTO drops (at, entries) VALUES (?, ?)", (self._clock(), unnoted))

    def _write_one(self, run: Run, item: _Item, counted: _Counted) -> None:
        if isinstance(item, _Verdict):
            found = run(
                "UPDATE calls SET good = ? WHERE number = "
                "(SELECT MAX(number) FROM calls WHERE id = ? AND key = ?)",
                (item.good, clean(item.id), clean(item.key)),
            )
            counted.unmatched += not found.rowcount
            return
        if isinstance(item, _Currency):
            name = clean(item.name)
            last = run("SELECT currency FROM currencies ORDER BY rowid DESC LIMIT 1").fetchone()
            if last is None or last[0] != name:
                run("INSERT INTO currencies VALUES (?, ?)", (self._clock(), name))
            return
        try:
            row = row_of(item, keeps_contents=self.keeps_contents)
        except (TypeError, ValueError, AttributeError):  # whoever made it is at fault
            counted.damaged += 1
            return
        run(_INSERT, row)
        counted.written += 1

    def _purge(self) -> None:
        """Forget what is too old or too much, now and then. Raises StoreError."""
        now = time.monotonic()
        with self._database.reading() as run:
            is_large = bytes_used(run) > self._most_bytes
        if now - self._purged < PURGE_SECONDS and not is_large:
            return
        self._purged = now  # also where it fails: nothing is gained by trying at every batch
        before = self._clock() - self.keep_days * _DAY if self.keep_days else -math.inf
        retention.purge(self._database, before=before, most_bytes=self._most_bytes)
