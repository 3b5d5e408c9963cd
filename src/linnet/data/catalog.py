"""The catalog: every file a corpus was made from, every document in it, and what became of each.

While a corpus is being made it is the working list; afterwards it lets the next
run take over what has not changed, answers ``linnet data explain``, and is
where the judging of documents starts anew when a threshold changes. It stays
outside the corpus's content hash. Nothing here grows with the corpus in memory.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linnet.config import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from linnet.data.executor import Answer
    from linnet.data.files import SourceFile
    from linnet.data.kinds import Family

NAME = "catalog.sqlite"

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY,        -- place in the order of names
    name TEXT NOT NULL, kind TEXT,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, content TEXT NOT NULL,
    done INTEGER NOT NULL DEFAULT 0, transient INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS files_by_name ON files (name);
CREATE TABLE IF NOT EXISTS skipped (   -- what was found and is not opened
    name TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS dropped (   -- parts of files that gave no document
    file INTEGER NOT NULL, reason TEXT NOT NULL, count INTEGER NOT NULL,
    part TEXT NOT NULL,                -- the first of them
    PRIMARY KEY (file, reason)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents ( -- as they were read: tags, but no verdict
    file INTEGER NOT NULL, ordinal INTEGER NOT NULL, part TEXT NOT NULL,
    id TEXT NOT NULL, grp TEXT NOT NULL, kind TEXT NOT NULL, family TEXT NOT NULL,
    thread TEXT NOT NULL, bytes INTEGER NOT NULL,
    language TEXT NOT NULL, quality TEXT NOT NULL, changes TEXT NOT NULL,
    private TEXT NOT NULL, difference TEXT NOT NULL, bands BLOB NOT NULL, edges BLOB NOT NULL,
    blocks BLOB NOT NULL,              -- linnet.data.blocks.Structure, packed
    PRIMARY KEY (file, ordinal)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS documents_by_id ON documents (id);
CREATE INDEX IF NOT EXISTS documents_by_group ON documents (grp);
CREATE TABLE IF NOT EXISTS texts (     -- where the text with this id lies
    id TEXT PRIMARY KEY, spool TEXT NOT NULL, offset INTEGER NOT NULL, bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS verdicts (  -- what became of each document, in their order
    number INTEGER PRIMARY KEY, file INTEGER NOT NULL, ordinal INTEGER NOT NULL,
    id TEXT NOT NULL,                  -- of its final text
    kept INTEGER NOT NULL,
    side TEXT NOT NULL,                -- the split of its cluster
    cluster INTEGER NOT NULL, copies INTEGER NOT NULL,
    reason TEXT NOT NULL,              -- why it was dropped
    keeper INTEGER NOT NULL, similarity REAL NOT NULL,  -- what it repeats, and how much
    lines INTEGER NOT NULL,            -- repeated lines taken out
    positions TEXT NOT NULL            -- linnet.data.positions: from the text as read to the final
);
CREATE INDEX IF NOT EXISTS verdicts_by_id ON verdicts (id);
CREATE INDEX IF NOT EXISTS verdicts_by_place ON verdicts (file, ordinal);
"""

DOCUMENT_NAME = "f.name || CASE d.part WHEN '' THEN '' ELSE '/' || d.part END"
"""The name of a document ``d`` in a file ``f``."""

_LEAST_ID = 8  # characters that name a document by its id

Place = tuple[str, int, int]
"""Where a text lies: spool, offset, bytes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document as it was read. ``number`` is its place in the order of all."""

    number: int
    file: int
    ordinal: int
    source: str
    part: str
    id: str
    group: str
    kind: str
    family: Family
    thread: str
    bytes: int
    language: str
    quality: str

    @property
    def name(self) -> str:
        """The file and the part of it."""
        return f"{self.source}/{self.part}" if self.part else self.source

    @property
    def label(self) -> str:
        """The source it comes from."""
        return self.source.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a document.

    ``side`` is the split of its cluster, also where it was dropped; empty where
    pieces are divided instead. ``keeper`` is the number of the document that a
    duplicate repeats, else -1.
    """

    number: int
    file: int
    ordinal: int
    id: str
    kept: bool
    side: str
    cluster: int
    copies: int
    reason: str
    keeper: int
    similarity: float
    lines: int
    positions: str


class Catalog:
    """One catalog, open for writing."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        # Safe against a killed process; safety against power loss would cost more than
        # making the corpus again.
        self.connection.execute("PRAGMA synchronous=OFF")
        self.connection.execute("PRAGMA cache_size=-65536")  # KiB; hashes arrive in random order
        self.connection.execute("PRAGMA secure_delete=ON")  # what is forgotten leaves no trace
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

    # -- files -------------------------------------------------------------------------

    def add_files(self, files: Iterable[tuple[int, SourceFile, str]]) -> None:
        """Files with their numbers and content hashes, unless they are in already."""
        self.connection.executemany(
            "INSERT OR IGNORE INTO files (number, name, kind, size, mtime_ns, content) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                (number, file.name, file.kind, file.size, file.mtime_ns, content)
                for number, file, content in files
            ),
        )

    def set_skipped(self, files: Iterable[tuple[str, str]]) -> None:
        """Replace the list of files that are not opened: name and reason."""
        self.connection.execute("DELETE FROM skipped")
        self.connection.executemany("INSERT INTO skipped VALUES (?, ?)", files)

    def unfinished(self) -> list[int]:
        rows = self.connection.execute("SELECT number FROM files WHERE NOT done ORDER BY number")
        return [number for (number,) in rows]

    def discard_unfinished(self) -> None:
        """Forget what an interrupted run had of files it did not finish."""
        for table in ("documents", "dropped"):
            self.connection.execute(
                f"DELETE FROM {table} WHERE file IN (SELECT number FROM files WHERE NOT done)"
            )

    def take(self, answer: Answer, first: int) -> int:
        """Record what was read from a file; its documents are numbered on from ``first``.

        Gives how many documents there were.
        """
        found = [m for m in answer.messages if "dropped" not in m]
        self.connection.executemany(
            f"INSERT INTO documents VALUES ({', '.join('?' * 17)})",
            (
                (
                    answer.number, first + index, m["part"], m["id"], m["group"], m["kind"],
                    m["family"], m["thread"], m["place"][2], m["language"],
                    _json(m["quality"]), _json(m["changes"]), _json(m["private"]),
                    m["difference"], bytes.fromhex(m["bands"]), bytes.fromhex(m["edges"]),
                    bytes.fromhex(m["blocks"]),
                )
                for index, m in enumerate(found)
            ),
        )  # fmt: skip
        self.add_texts((m["id"], *m["place"]) for m in found)
        self.connection.executemany(
            "INSERT INTO dropped VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE SET count = count + 1",
            ((answer.number, m["dropped"], m["part"]) for m in answer.messages if "dropped" in m),
        )
        return len(found)

    def finish(self, answer: Answer) -> None:
        """Record how reading a file ended; one that failed yields nothing."""
        if answer.reason:
            for table in ("documents", "dropped"):
                self.connection.execute(f"DELETE FROM {table} WHERE file = ?", (answer.number,))
        self.connection.execute(
            "UPDATE files SET done = 1, reason = ?, detail = ?, transient = ? WHERE number = ?",
            (answer.reason, answer.detail, answer.transient, answer.number),
        )

    def adopt(self, old: Path) -> None:
        """Take over from an older catalog the files whose content has not changed."""
        columns = "part, id, grp, kind, family, thread, bytes, language, quality, changes, private"
        columns += ", difference, bands, edges, blocks"
        self.connection.execute("COMMIT")
        self.connection.execute("ATTACH ? AS old", (str(old),))
        self.connection.executescript(
            f"""
            BEGIN;
            CREATE TEMP TABLE same (new INTEGER PRIMARY KEY, old INTEGER, reason TEXT, detail TEXT);
            INSERT INTO same
                SELECT new.number, old.number, old.reason, old.detail
                FROM files AS new JOIN old.files AS old USING (name)
                WHERE new.content = old.content AND new.kind IS old.kind
                    AND old.done AND NOT old.transient AND NOT new.done;
            UPDATE files SET done = 1, (reason, detail) =
                (SELECT reason, detail FROM same WHERE new = number)
                WHERE number IN (SELECT new FROM same);
            INSERT INTO documents
                SELECT same.new, ordinal, {columns}
                FROM same JOIN old.documents ON file = same.old;
            INSERT INTO dropped SELECT same.new, d.reason, count, part
                FROM same JOIN old.dropped AS d ON file = same.old;
            INSERT OR IGNORE INTO texts SELECT * FROM old.texts
                WHERE id IN (SELECT id FROM documents);
            DROP TABLE same;
            COMMIT;
            DETACH old;
            BEGIN;
            """
        )

    def forget_incomplete(self) -> None:
        """Mark files to be read again that have a document without text."""
        self.connection.execute(
            "UPDATE files SET done = 0 WHERE number IN "
            "(SELECT file FROM documents WHERE id NOT IN (SELECT id FROM texts))"
        )
        self.discard_unfinished()

    # -- texts -------------------------------------------------------------------------

    def add_texts(self, texts: Iterable[tuple[str, str, int, int]]) -> None:
        """Where texts lie: id, spool, offset, bytes."""
        self.connection.executemany("INSERT OR IGNORE INTO texts VALUES (?, ?, ?, ?)", texts)

    def place(self, identity: str) -> Place | None:
        """Where the text with this id lies."""
        found: Place | None = self.connection.execute(
            "SELECT spool, offset, bytes FROM texts WHERE id = ?", (identity,)
        ).fetchone()
        return found

    def drop_texts(self, unwanted: Callable[[str], bool], reason: str) -> None:
        """Remove all documents with a text whose id is unwanted; only their number is noted."""
        found = [identity for (identity,) in self.rows("SELECT id FROM texts")]
        for identity in filter(unwanted, found):
            self.connection.execute(
                "INSERT INTO dropped SELECT file, ?, count(*), '' FROM documents WHERE id = ? "
                "GROUP BY file ON CONFLICT DO UPDATE SET count = count + excluded.count",
                (reason, identity),
            )
            for table in ("documents", "texts"):
                self.connection.execute(f"DELETE FROM {table} WHERE id = ?", (identity,))

    def move_texts(self, places: Iterable[tuple[str, int, str]]) -> None:
        """New spool and offset of texts, by id."""
        self.connection.executemany("UPDATE texts SET spool = ?, offset = ? WHERE id = ?", places)

    def drop_unused_texts(self) -> None:
        """Forget the places of texts that no document has any more."""
        self.connection.execute(
            "DELETE FROM texts WHERE id NOT IN (SELECT id FROM documents) "
            "AND id NOT IN (SELECT id FROM verdicts)"
        )

    def spools(self) -> dict[str, int]:
        """The spools that texts lie in, and how many bytes of each are in use."""
        rows = self.connection.execute("SELECT spool, sum(bytes) FROM texts GROUP BY spool")
        return dict(rows.fetchall())

    def spool_ends(self) -> list[tuple[str, int]]:
        """The spools that texts lie in, and how long each must be."""
        query = "SELECT spool, max(offset + bytes) FROM texts GROUP BY spool ORDER BY spool"
        return self.connection.execute(query).fetchall()

    def forget_spool(self, spool: str) -> None:
        """Forget the places of the texts in a spool that is lost."""
        self.connection.execute("DELETE FROM texts WHERE spool = ?", (spool,))

    # -- documents and verdicts --------------------------------------------------------

    def entries(self) -> Iterator[Entry]:
        """All documents in their order: that of files, then that within a file."""
        rows = self.connection.execute(
            "SELECT d.file, d.ordinal, f.name, d.part, d.id, d.grp, d.kind, d.family, d.thread, "
            "d.bytes, d.language, d.quality FROM documents AS d "
            "JOIN files AS f ON f.number = d.file ORDER BY d.file, d.ordinal"
        )
        return (Entry(number, *row) for number, row in enumerate(rows))

    def column(self, name: str) -> Iterator[Any]:
        """One column of all documents, in their order."""
        assert name.isidentifier()
        rows = self.connection.execute(f"SELECT {name} FROM documents ORDER BY file, ordinal")
        return (value for (value,) in rows)

    def set_verdicts(self, verdicts: Iterable[Verdict]) -> None:
        """Replace all verdicts."""
        self.connection.execute("DELETE FROM verdicts")
        self.connection.executemany(
            f"INSERT INTO verdicts VALUES ({', '.join('?' * len(Verdict.__slots__))})",
            (tuple(getattr(v, name) for name in Verdict.__slots__) for v in verdicts),
        )

    def count(self, query: str) -> int:
        """The one number that a query gives."""
        return int(self.connection.execute(query).fetchone()[0])

    def rows(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        """The rows that a query gives."""
        yield from self.connection.execute(query, values)


def known_files(path: Path) -> dict[str, tuple[int, int, str]]:
    """Size, time of change and content hash of each file in the catalog; empty if there is none."""
    try:
        with closing(open_to_read(path)) as connection:
            rows = connection.execute("SELECT name, size, mtime_ns, content FROM files")
            return {name: (size, mtime, content) for name, size, mtime, content in rows}
    except sqlite3.Error:
        return {}


def read_meta(path: Path) -> dict[str, Any]:
    """The settings noted in a catalog; empty if there is none or it is damaged."""
    try:
        with closing(open_to_read(path)) as connection:
            rows = connection.execute("SELECT name, value FROM meta")
            return {name: parse_json(value) for name, value in rows}
    except (sqlite3.Error, ValueError):
        return {}


def is_damaged(path: Path) -> bool:
    """Whether there is a catalog that cannot be trusted."""
    if not path.is_file():
        return False
    try:
        with closing(open_to_read(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.DatabaseError:
        return True


def open_to_read(path: Path) -> sqlite3.Connection:
    """Raises sqlite3.Error when there is no catalog."""
    if not path.is_file():
        raise sqlite3.OperationalError("no such file")
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def has_table(connection: sqlite3.Connection, name: str) -> bool:
    """Whether a catalog, perhaps of an older version, has a table."""
    query = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?"
    return connection.execute(query, (name,)).fetchone() is not None


def has_column(connection: sqlite3.Connection, table: str, column: str) -> bool:
    """Whether a catalog, perhaps of an older version, has a column."""
    assert table.isidentifier()
    rows = connection.execute(f"SELECT name FROM pragma_table_info('{table}')")
    return any(row[0] == column for row in rows)


def is_id(name: str) -> bool:
    """Whether this can be the beginning of a document's id."""
    return len(name) >= _LEAST_ID and set(name) <= set("0123456789abcdef")


def escaped(text: str) -> str:
    """For LIKE: its wildcards as themselves."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
