"""An SQLite database for what is private: in memory, or in a file that is its owner's alone.

Changes are whole or not made, by several threads and processes at once (a write-ahead log, so that
a killed process loses nothing that was kept). What is deleted is overwritten (``secure_delete``),
in the index of words too, and the log is emptied, as pages of before stand in it. A page may still
have a copy of a row that it moved while it was rearranged; ``rewrite`` leaves none.

Reference: https://www.sqlite.org/wal.html, https://www.sqlite.org/fts5.html
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from linnet.errors import ConfigError, LinnetError

Run: TypeAlias = Callable[..., sqlite3.Cursor]
"""Runs a statement within a transaction."""

_BUSY_SECONDS = 5.0
_TOKENIZE = "tokenize = 'unicode61 remove_diacritics 2'"
_WITHOUT_SPACES = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
"""Scripts that put no spaces between words, which an index of words knows nothing of."""


class StoreError(LinnetError):
    """Nothing could be kept or read: the disk is full, or the file is damaged or busy."""


@dataclass(frozen=True)
class Contents:
    """What a database holds."""

    name: str
    """In messages, such as ``conversations``."""
    application: int
    """``application_id`` of its files, by which they are known."""
    version: int
    """Of its tables; a file of another one is refused."""
    tables: str
    """The statements that make a new one."""
    added: tuple[tuple[str, str], ...] = ()
    """Tables that files made before them are given, by their names: of the same version, as whoever
    does not know of them loses nothing."""
    has_texts: bool = False
    """Whether there is a table ``texts`` beside these, of one column ``text``, for searching."""


class Database:
    """The database, open for several threads."""

    def __init__(
        self,
        file: Path | None,
        contents: Contents,
        *,
        most_bytes: int,
        is_durable: bool = False,
    ) -> None:
        """``file``: None for one in memory. ``most_bytes``: beyond these a file is full.
        ``is_durable``: whether a change is on disk when it returns, so that it survives a power
        failure as well as a kill; it takes as long as the disk does.

        Raises ConfigError for a file that is something else, or cannot be written.
        """
        self.file = file
        self._name = contents.name
        self._lock = threading.RLock()
        self._connection = _connect(file, contents.name)
        self._identity = None if file is None else _identity(file)
        self._log_is_full = False
        """Whether the log still has what was deleted."""
        try:
            _prepare(self._connection, file, contents)
            made = self._connection.execute("SELECT sql FROM sqlite_master WHERE name = 'texts'")
            self._has_words = contents.has_texts and "fts5" in made.fetchone()[0]
            self._keeps_words = self._has_words and not _overwrites_words(self._connection)
            """Whether words of deleted texts stay in the index until it is merged."""
            self._is_durable = is_durable
            if is_durable:
                self._connection.execute("PRAGMA synchronous = FULL")
                self._connection.execute("PRAGMA fullfsync = ON")  # of macOS alone
            if file is not None:
                (size,) = self._connection.execute("PRAGMA page_size").fetchone()
                self._connection.execute(f"PRAGMA max_page_count = {most_bytes // size}").fetchone()
        except (sqlite3.Error, OSError, ConfigError) as error:
            self._connection.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                raise ConfigError(
                    f"{file}: another program has been writing there for {_BUSY_SECONDS:g} s; "
                    "try again when it is done"
                ) from None
            raise ConfigError(
                f"{file}: expected a file of Linnet's for its {contents.name} ({error})"
            ) from None

    @property
    def is_current(self) -> bool:
        """Whether its file is still the one of that name: it may have been deleted or replaced."""
        return self.file is None or self._identity == _identity(self.file)

    def close(self) -> None:
        """Nothing is kept or read any more."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def reading(self, *, seconds: float | None = None) -> Iterator[Run]:
        """One consistent view. Raises StoreError for what fails, or takes longer than that."""
        with self._lock, _failing_as(self._name, "read"):
            if seconds is not None:
                until = time.monotonic() + seconds
                self._connection.set_progress_handler(lambda: time.monotonic() > until, 10_000)
            self._connection.execute("BEGIN")
            try:
                yield self._connection.execute
            finally:
                self._connection.set_progress_handler(None, 0)
                self._connection.rollback()

    @contextlib.contextmanager
    def changing(self, *, is_deleting: bool = False, waits_for_disk: bool = True) -> Iterator[Run]:
        """All of it or nothing. Raises StoreError for what fails.

        ``waits_for_disk``: whether it is durable, where the database is; otherwise it is so with
        the next change, and a power failure before that undoes it.
        """
        with self._lock, _failing_as(self._name, "kept"), self._synchronous(waits_for_disk):
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                before = connection.total_changes
                yield connection.execute
                if is_deleting and connection.total_changes > before:
                    self._log_is_full = self.file is not None
                    if self.file is not None:
                        self.merge_words(connection.execute)
                connection.commit()
            finally:
                if connection.in_transaction:
                    connection.rollback()
            if self._log_is_full:
                # Where another process reads, or the disk is full: with the next change.
                with contextlib.suppress(sqlite3.Error):
                    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                    self._log_is_full = bool(busy)

    @contextlib.contextmanager
    def _synchronous(self, waits_for_disk: bool) -> Iterator[None]:
        if waits_for_disk or not self._is_durable:
            yield
            return
        self._connection.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self._connection.execute("PRAGMA synchronous = FULL")

    def rewrite(self, *, seconds: float = 10.0) -> None:
        """Write the file anew, so that no byte of what was deleted is left in it or its log: a
        deleted row is overwritten, but a page may have a copy of it from when it moved.

        Takes as much memory as the file has bytes. Raises StoreError where others use it for
        longer than ``seconds``; they may go on meanwhile.
        """
        until = time.monotonic() + seconds
        with self._lock, _failing_as(self._name, "written anew"):
            self._connection.execute("VACUUM")
            while self.file is not None:
                if not self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    return
                if time.monotonic() > until:
                    raise StoreError(
                        f"{self.file}: what was deleted still stands in its log, as another "
                        "process reads it; do this again later"
                    )
                time.sleep(0.05)

    def merge_words(self, run: Run) -> None:
        """Take what was deleted out of the index of words, where that does not happen anyway."""
        if self._keeps_words:
            run("INSERT INTO texts (texts) VALUES ('optimize')")

    def matching(self, word: str) -> tuple[str, str]:
        """A condition on ``texts``, with its parameter: that a word, or one that begins with it,
        stands in the text."""
        if self._has_words and re.search(r"\w", word) and not _WITHOUT_SPACES.search(word):
            return "texts MATCH ?", '"' + word.replace('"', '""') + '" *'
        return "texts.text LIKE ? ESCAPE '\\'", containing(word)


def containing(word: str) -> str:
    """The pattern of LIKE for texts that have this in them."""
    return "%" + re.sub(r"([%_\\])", r"\\\1", word) + "%"


def bytes_used(run: Run) -> int:
    """What a database takes, without its free pages."""
    pages, free, size = (
        run(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _connect(file: Path | None, name: str) -> sqlite3.Connection:
    if file is None:
        return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    try:
        _create_private(file, name)
        return sqlite3.connect(
            file, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{file}: {name} cannot be kept here ({reason})") from None


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _create_private(file: Path, name: str) -> None:
    """Make the file, if there is none. SQLite gives its others the same mode."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o600)
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise ConfigError(f"{file}: expected a file to keep {name} in")
    finally:
        os.close(descriptor)


def _make_private(file: Path) -> None:
    """Make a file that is known to be ours its owner's alone, and SQLite's others with it."""
    if sys.platform == "win32":
        return
    for each in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_IMODE(os.stat(each).st_mode) != 0o600:
                os.chmod(each, 0o600)


def _prepare(connection: sqlite3.Connection, file: Path | None, contents: Contents) -> None:
    """Set the database up, and make its tables where it is new."""
    run = connection.execute
    run("BEGIN")  # one view: another process may be making it
    try:
        found = [run(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
        made = {sql for (sql,) in run("SELECT sql FROM sqlite_master")}
    finally:
        connection.rollback()
    is_new = not made
    statements = re.split(r";\n(?=CREATE|\Z)", contents.tables.strip() + "\n")
    is_ours = found == [contents.application, contents.version]
    is_ours = is_ours and made.issuperset(filter(None, statements))
    if not is_new and not is_ours:
        raise ConfigError("it is another database, or of another version")
    if file is not None:
        _make_private(file)  # not before: whoever names a file by mistake must not change it
    run("PRAGMA secure_delete = ON")
    run("PRAGMA temp_store = MEMORY")
    if file is not None:
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = NORMAL")
    run("BEGIN IMMEDIATE")
    try:
        if not run("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
            if contents.has_texts:
                _make_texts(run)
            for statement in statements:
                run(statement)
            run(f"PRAGMA application_id = {contents.application}")
            run(f"PRAGMA user_version = {contents.version}")
        tables = {name for (name,) in run("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for name, statement in contents.added:
            if name not in tables:
                run(statement)
        connection.commit()
    finally:
        if connection.in_transaction:
            connection.rollback()


def _make_texts(run: Run) -> None:
    try:
        run(f"CREATE VIRTUAL TABLE texts USING fts5(text, {_TOKENIZE})")
    except sqlite3.OperationalError:  # SQLite was built without: texts are looked through
        run("CREATE TABLE texts (text TEXT NOT NULL)")


def _overwrites_words(connection: sqlite3.Connection) -> bool:
    """Whether deleting a text takes its words out of the index at once (SQLite 3.42)."""
    try:
        connection.execute("INSERT INTO texts (texts, rank) VALUES ('secure-delete', 1)")
    except sqlite3.Error:
        return False
    return True


@contextlib.contextmanager
def _failing_as(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"the {name} could not be {what} ({error})") from None
