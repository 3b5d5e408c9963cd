"""The catalog: every file a corpus was made from and the documents in it, in SQLite.

While a corpus is being made it is the working list; afterwards it lets the next
run know which files have changed, and find the documents of those that have
not. It stays outside the corpus's content hash. Nothing here grows with the
corpus in memory: hashes of millions of documents lie on disk.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from linnet.data.files import SourceFile
    from linnet.data.pool import Answer

NAME = "catalog.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY,        -- place in the order of names
    name TEXT NOT NULL, kind TEXT,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, content TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0, transient INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT '',
    dropped TEXT NOT NULL DEFAULT '{}'
);
CREATE INDEX IF NOT EXISTS files_by_name ON files (name);
CREATE TABLE IF NOT EXISTS documents (
    file INTEGER NOT NULL, ordinal INTEGER NOT NULL,
    id TEXT NOT NULL, grp TEXT NOT NULL, kind TEXT NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (file, ordinal)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS documents_by_id ON documents (id);
CREATE TABLE IF NOT EXISTS pieces (    -- documents that were cut, for putting them together
    document TEXT NOT NULL, ordinal INTEGER NOT NULL, id TEXT NOT NULL, gap TEXT NOT NULL,
    PRIMARY KEY (document, ordinal)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS pieces_by_id ON pieces (id);
CREATE TABLE IF NOT EXISTS texts (     -- where the texts lie while the corpus is being made
    id TEXT PRIMARY KEY, spool TEXT NOT NULL, offset INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Entry:
    """A document to be written: the first with its text."""

    id: str
    source: str
    group: str
    kind: str
    spool: str
    offset: int
    bytes: int


class Catalog:
    """One catalog, open for writing."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        # Safe against a killed process; safety against power loss would cost more than
        # making the corpus again.
        self.connection.execute("PRAGMA synchronous=OFF")
        self.connection.execute("PRAGMA cache_size=-65536")  # KiB; hashes arrive in random order
        self.connection.executescript(_SCHEMA)
        self.connection.execute("BEGIN")

    def close(self) -> None:
        self.commit()
        self.connection.close()

    def commit(self) -> None:
        self.connection.execute("COMMIT")
        self.connection.execute("BEGIN")

    def set_meta(self, name: str, value: Any) -> None:
        self.connection.execute(
            "INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, json.dumps(value))
        )

    def add_files(self, files: Iterable[tuple[SourceFile, str]]) -> None:
        """The files of a scan with their content hashes, unless they are in already."""
        self.connection.executemany(
            "INSERT OR IGNORE INTO files (number, name, kind, size, mtime_ns, content) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                (number, file.name, file.kind, file.size, file.mtime_ns, content)
                for number, (file, content) in enumerate(files)
            ),
        )

    def discard_unfinished(self) -> None:
        """Forget what an interrupted run had of files it did not finish."""
        self.connection.execute(
            "DELETE FROM documents WHERE file IN (SELECT number FROM files WHERE NOT done)"
        )

    def unfinished(self) -> list[int]:
        rows = self.connection.execute("SELECT number FROM files WHERE NOT done ORDER BY number")
        return [number for (number,) in rows]

    def take(self, answer: Answer, first: int) -> None:
        """Record documents read from a file, the first of them with this ordinal."""
        self.connection.executemany(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
            (
                (answer.number, first + index, found.id, found.group, found.kind, found.bytes)
                for index, found in enumerate(answer.documents)
            ),
        )
        self.connection.executemany(
            "INSERT OR IGNORE INTO texts VALUES (?, ?, ?, ?)",
            ((found.id, found.spool, found.offset, found.bytes) for found in answer.documents),
        )

    def finish(self, answer: Answer) -> None:
        """Record how reading a file ended; one that failed yields nothing."""
        if answer.reason:
            self.connection.execute("DELETE FROM documents WHERE file = ?", (answer.number,))
        self.connection.execute(
            "UPDATE files SET done = 1, reason = ?, detail = ?, transient = ?, dropped = ? "
            "WHERE number = ?",
            (
                answer.reason,
                answer.detail,
                answer.transient,
                json.dumps(answer.dropped, sort_keys=True),
                answer.number,
            ),
        )

    def add_text(self, identity: str, spool: str, offset: int, size: int) -> None:
        self.connection.execute(
            "INSERT OR IGNORE INTO texts VALUES (?, ?, ?, ?)", (identity, spool, offset, size)
        )

    def find_text(self, identity: str) -> tuple[str, int, int] | None:
        """Spool, offset and bytes of a text."""
        found: tuple[str, int, int] | None = self.connection.execute(
            "SELECT spool, offset, bytes FROM texts WHERE id = ?", (identity,)
        ).fetchone()
        return found

    def adopt(self, old: Path) -> None:
        """Take over from an older catalog the files whose content has not changed.

        Their texts are still to be found: see ``lacks_text``.
        """
        self.connection.execute("COMMIT")
        self.connection.execute("ATTACH ? AS old", (str(old),))
        self.connection.executescript(
            """
            BEGIN;
            CREATE TEMP TABLE same AS
                SELECT new.number AS new, old.number AS old, old.reason, old.detail, old.dropped
                FROM files AS new JOIN old.files AS old USING (name)
                WHERE new.content = old.content AND new.kind IS old.kind
                    AND old.done AND NOT old.transient AND NOT new.done;
            UPDATE files SET done = 1, (reason, detail, dropped) =
                (SELECT reason, detail, dropped FROM same WHERE new = number)
                WHERE number IN (SELECT new FROM same);
            INSERT INTO documents
                SELECT same.new, ordinal, id, grp, kind, bytes
                FROM same JOIN old.documents ON file = same.old;
            INSERT OR IGNORE INTO pieces SELECT * FROM old.pieces
                WHERE document IN (SELECT id FROM documents);
            DROP TABLE same;
            COMMIT;
            DETACH old;
            BEGIN;
            """
        )

    def lacks_text(self, identity: str) -> bool:
        """Whether this is a document, or a piece of one, whose text is in no spool."""
        found = self.connection.execute(
            "SELECT (EXISTS (SELECT 1 FROM documents WHERE id = :id) "
            "    OR EXISTS (SELECT 1 FROM pieces WHERE id = :id)) "
            "AND NOT EXISTS (SELECT 1 FROM texts WHERE id = :id)",
            {"id": identity},
        ).fetchone()
        return bool(found[0])

    def cut_documents(self) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Documents that were cut: their pieces' ids and the gaps after them."""
        for (document,) in self.connection.execute("SELECT DISTINCT document FROM pieces"):
            rows = self.connection.execute(
                "SELECT id, gap FROM pieces WHERE document = ? ORDER BY ordinal", (document,)
            )
            yield document, rows.fetchall()

    def set_pieces(self, document: str, pieces: Iterable[tuple[str, str]]) -> None:
        self.connection.executemany(
            "INSERT OR REPLACE INTO pieces VALUES (?, ?, ?, ?)",
            ((document, index, identity, gap) for index, (identity, gap) in enumerate(pieces)),
        )

    def forget_incomplete(self) -> None:
        """Mark files to be read again that have a document without text."""
        for statement in (
            "UPDATE files SET done = 0 WHERE number IN "
            "(SELECT file FROM documents WHERE id NOT IN (SELECT id FROM texts))",
            "DELETE FROM documents WHERE file IN (SELECT number FROM files WHERE NOT done)",
            "DELETE FROM pieces",
        ):
            self.connection.execute(statement)

    def entries(self) -> Iterator[Entry]:
        """The documents in the order of files, each text once, where it occurs first."""
        rows = self.connection.execute(
            "SELECT d.id, f.name, d.grp, d.kind, t.spool, t.offset, t.bytes "
            "FROM documents AS d JOIN files AS f ON f.number = d.file "
            "JOIN texts AS t ON t.id = d.id "
            "WHERE NOT EXISTS (SELECT 1 FROM documents AS e WHERE e.id = d.id "
            "    AND (e.file, e.ordinal) < (d.file, d.ordinal)) "
            "ORDER BY d.file, d.ordinal"
        )
        return (Entry(*row) for row in rows)

    def duplicates(self, limit: int) -> Iterator[tuple[str, str, int]]:
        """Files with documents that occurred before: their name, the first one's, how many."""
        yield from self.connection.execute(
            "SELECT f.name, g.name, count(*) FROM documents AS d "
            "JOIN (SELECT id, min(file) AS first FROM documents GROUP BY id HAVING count(*) > 1) "
            "    AS s ON s.id = d.id "
            "JOIN files AS f ON f.number = d.file JOIN files AS g ON g.number = s.first "
            "WHERE EXISTS (SELECT 1 FROM documents AS e WHERE e.id = d.id "
            "    AND (e.file, e.ordinal) < (d.file, d.ordinal)) "
            "GROUP BY f.number, g.number ORDER BY f.number, g.number LIMIT ?",
            (limit,),
        )

    def count(self, query: str) -> int:
        """The one number that a query gives."""
        return int(self.connection.execute(query).fetchone()[0])

    def files(self) -> Iterator[tuple[str, str | None, str, str, dict[str, int]]]:
        """Name, kind, reason and detail if it was skipped, what was dropped."""
        rows = self.connection.execute(
            "SELECT name, kind, reason, detail, dropped FROM files ORDER BY number"
        )
        for name, kind, reason, detail, dropped in rows:
            yield name, kind, reason, detail, json.loads(dropped)

    def drop_working_tables(self) -> None:
        """Remove what is only needed while a corpus is being made."""
        self.connection.execute("COMMIT")
        self.connection.executescript("DROP TABLE texts; VACUUM; BEGIN;")


def known_files(path: Path) -> dict[str, tuple[int, int, str]]:
    """Size, time of change and content hash of each file in the catalog; empty if there is none."""
    try:
        with closing(_open_to_read(path)) as connection:
            rows = connection.execute("SELECT name, size, mtime_ns, content FROM files")
            return {name: (size, mtime, content) for name, size, mtime, content in rows}
    except sqlite3.Error:
        return {}


def read_meta(path: Path) -> dict[str, Any]:
    """The settings noted in a catalog; empty if there is none or it is damaged."""
    try:
        with closing(_open_to_read(path)) as connection:
            rows = connection.execute("SELECT name, value FROM meta")
            return {name: json.loads(value) for name, value in rows}
    except (sqlite3.Error, ValueError):
        return {}


def _open_to_read(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise sqlite3.OperationalError("no such file")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
