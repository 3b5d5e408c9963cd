"""What became of the files and documents of a corpus, and why, as its catalog has it: each in a
line, streamed (``list_documents``: for 100,000 of them too), or one of them in full (``explain``).
"""

from __future__ import annotations

import difflib
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from linnet import artifact
from linnet.config import parse_json
from linnet.data import catalog
from linnet.data.config import DataConfig
from linnet.data.document import MISSED_PAGES, SPLITS
from linnet.data.kinds import KINDS, printable
from linnet.data.quality import rules, verdict
from linnet.data.storage import read_documents
from linnet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = catalog.DOCUMENT_NAME
_TEXT = "text"  # what a file is read as whose name and first bytes tell nothing
_LISTED = 20  # documents of one file
_COMPANIONS = 5


@dataclass(frozen=True)
class Listed:
    """One document, or what gave none.

    ``verdict``: its split, ``pieces`` where those are divided, ``dropped``, or ``not
    read`` of a file. ``count`` is above 1 where several parts of a file were dropped
    for one reason; ``name`` is then the first.
    """

    verdict: str
    name: str
    kind: str
    bytes: int
    reason: str = ""
    same_as: str = ""
    count: int = 1


def list_documents(
    corpus: Path | str, *, dropped: bool = False, split: str = "", kind: str = ""
) -> Iterator[Listed]:
    """What went into a corpus and what did not, in the order of files.

    ``dropped``: only what is in no split; ``split``: only what is in this one; ``kind``:
    only this kind of files, such as ``pdf``. Files that are not read come last.
    Raises ConfigError for an unknown split or kind, DataError for a broken catalog.
    """
    if split and split not in SPLITS:
        raise ConfigError(f"split must be one of {', '.join(SPLITS)}. Got '{split}'")
    if split and dropped:
        raise ConfigError("what was dropped is in no split: give dropped or a split, not both")
    if kind and kind not in KINDS:
        raise ConfigError(f"kind must be one of {', '.join(KINDS)}. Got '{kind}'")
    found = artifact.read(corpus, kind="corpus")
    in_pieces = found.stats.get("split_by") == "piece"
    if split and in_pieces:
        return _pieces(found.path, split, kind)
    return _listed(found.path, dropped=dropped, split=split, kind=kind, in_pieces=in_pieces)


def _pieces(corpus: Path, split: str, kind: str) -> Iterator[Listed]:
    columns = ("source", "kind", "bytes")
    for document in read_documents(corpus, split, columns=columns):
        if kind in ("", document.kind):
            yield Listed(split, document.source, document.kind, document.bytes)


def _listed(
    corpus: Path, *, dropped: bool, split: str, kind: str, in_pieces: bool
) -> Iterator[Listed]:
    values = {"split": split, "kind": kind, "dropped": dropped, "text": _TEXT}
    try:
        with closing(catalog.open_to_read(corpus / catalog.NAME)) as connection:
            for name, actual, size, kept, side, reason, same in connection.execute(
                _DOCUMENTS, values
            ):
                verdict = ("pieces" if in_pieces else side) if kept else "dropped"
                yield Listed(verdict, name, actual, size, reason, same or "")
            if split:
                return
            for row in connection.execute(_PARTS, values):
                name, actual, reason, count = row
                yield Listed("dropped", name, actual, 0, reason, count=count)
            for name, actual, size, reason in connection.execute(_FILES, values):
                yield Listed("not read", name, actual, size, reason)
            if not kind and catalog.has_table(connection, "skipped"):
                for name, reason in connection.execute(_SKIPPED):
                    yield Listed("not read", name, "", 0, reason)
    except sqlite3.Error as error:
        raise DataError(f"{corpus / catalog.NAME} cannot be read: {error}") from None


_DOCUMENTS = (
    f"SELECT {_NAME}, d.kind, d.bytes, v.kept, v.side, v.reason, "
    f"(SELECT {_NAME} FROM verdicts AS k JOIN documents AS d USING (file, ordinal) "
    "JOIN files AS f ON f.number = k.file WHERE k.number = v.keeper) "
    "FROM verdicts AS v JOIN documents AS d USING (file, ordinal) "
    "JOIN files AS f ON f.number = v.file "
    "WHERE (:kind = '' OR d.kind = :kind) AND (:split = '' OR (v.kept AND v.side = :split)) "
    "AND NOT (:dropped AND v.kept) ORDER BY v.number"
)
_PARTS = (
    f"SELECT {_NAME}, coalesce(f.kind, :text), d.reason, d.count "
    "FROM dropped AS d JOIN files AS f ON f.number = d.file "
    "WHERE :kind = '' OR coalesce(f.kind, :text) = :kind ORDER BY d.file, d.reason"
)
_FILES = (
    "SELECT name, coalesce(kind, :text), size, "
    "CASE detail WHEN '' THEN reason ELSE reason || ' (' || detail || ')' END FROM files "
    "WHERE reason != '' AND (:kind = '' OR coalesce(kind, :text) = :kind) ORDER BY number"
)
_SKIPPED = "SELECT name, reason FROM skipped ORDER BY name, reason"


@dataclass(frozen=True)
class ListedFile:
    """A file, and how many documents were read from it. ``reason``: why none was, or not all of
    it."""

    name: str
    kind: str
    bytes: int
    documents: int
    reason: str = ""


def list_files(
    corpus: Path | str, *, containing: str = "", after: str = "", limit: int = -1
) -> list[ListedFile]:
    """The files of a corpus by name, with those that could not be read.

    ``containing``: only names with this in them, in whatever case; ``after``: only those that come
    after this name; ``limit``: so many at most. Raises DataError for a broken catalog.
    """
    found = artifact.read(corpus, kind="corpus").path / catalog.NAME
    values = {"part": f"%{catalog.escaped(containing)}%", "after": after, "limit": limit}
    try:
        with closing(catalog.open_to_read(found)) as connection:
            skipped = _SKIPPED_FILES if catalog.has_table(connection, "skipped") else ""
            query = _EVERY_FILE.replace("{skipped}", skipped)
            return [
                ListedFile(name, kind, size, documents, reason or _pages(changes))
                for name, kind, size, documents, reason, changes in connection.execute(
                    query, values
                )
            ]
    except sqlite3.Error as error:
        raise DataError(f"{found} cannot be read: {error}") from None


_EVERY_FILE = (
    "SELECT name, kind, size, documents, reason, changes FROM ("
    f"SELECT name, coalesce(kind, '{_TEXT}') AS kind, size, "
    "(SELECT count(*) FROM documents AS d WHERE d.file = f.number) AS documents, "
    "CASE WHEN reason != '' THEN "
    "CASE detail WHEN '' THEN reason ELSE reason || ' (' || detail || ')' END "
    "ELSE coalesce((SELECT min(reason) FROM dropped AS p WHERE p.file = f.number), '') END "
    "AS reason, (SELECT group_concat(changes, char(10)) FROM documents AS d "
    "WHERE d.file = f.number AND d.changes LIKE '%pages%') AS changes FROM files AS f{skipped}) "
    "WHERE name > :after AND name LIKE :part ESCAPE '\\' ORDER BY name LIMIT :limit"
)
_SKIPPED_FILES = " UNION ALL SELECT name, '', 0, 0, reason, NULL FROM skipped"


def missed_pages(changes: str) -> dict[str, int]:
    """How many pages of a document there is no text of, by the reason, as its ``changes`` in the
    catalog say."""
    known = parse_json(changes)
    return {reason: int(known[reason]) for reason in MISSED_PAGES if known.get(reason)}


def _pages(changes: str | None) -> str:
    """That pages of a file are missing in its documents."""
    found: Counter[str] = Counter()
    for line in (changes or "").splitlines():
        found.update(missed_pages(line))
    return ", ".join(f"{reason}: {count:,}" for reason, count in found.items())


@dataclass(frozen=True)
class Story:
    """One document from file to split."""

    name: str
    id: str
    kind: str
    family: str
    bytes: int
    language: str
    group: str
    changes: dict[str, int]
    private: dict[str, int]
    repeated_lines: int
    quality: dict[str, float]
    kept: bool
    split: str
    copies: int
    reason: str
    """Why it was dropped; what was the verdict of the quality rules if that was it."""
    same_as: str
    similarity: float
    cluster: tuple[str, ...]
    """Some of the documents that can never be separated from it."""
    cluster_size: int


@dataclass(frozen=True)
class FileStory:
    """A file and what was found in it. ``reason`` says why it yielded nothing."""

    name: str
    kind: str
    bytes: int
    reason: str
    detail: str
    dropped: dict[str, int]
    """Parts of it that gave no document, by reason."""
    documents: list[Story] = field(default_factory=list)
    document_count: int = 0


def explain(corpus: Path | str, what: str) -> list[FileStory]:
    """The files or documents that ``what`` names.

    ``what``: a file's name as the report gives it, the end of one (such as
    ``handbook.pdf``), or the first 8 or more characters of a document's id.
    Raises DataError when there is none, naming the nearest.
    """
    found = artifact.read(corpus, kind="corpus")
    try:
        with closing(catalog.open_to_read(found.path / catalog.NAME)) as connection:
            connection.row_factory = sqlite3.Row
            return _Explainer(connection, found.manifest.config).explain(printable(what))
    except sqlite3.Error as error:
        raise DataError(f"{found.path / catalog.NAME} cannot be read: {error}") from None


class _Explainer:
    def __init__(self, connection: sqlite3.Connection, config: dict[str, Any]) -> None:
        self.connection = connection
        self.rules = rules(tuple(config.get("quality", DataConfig().quality)))

    def explain(self, what: str) -> list[FileStory]:
        files = self._named("files", what)
        if files:
            return [self._file(row) for row in files]
        if catalog.is_id(what):
            documents = self._documents("d.id LIKE :id OR v.id LIKE :id", id=f"{what}%")
            stories = [(row["file"], self._story(row)) for row in documents]
            if stories:
                numbers = sorted({number for number, _ in stories})
                return [
                    self._file(
                        self._rows("SELECT * FROM files WHERE number = :n", n=number)[0],
                        [story for place, story in stories if place == number],
                    )
                    for number in numbers
                ]
        if catalog.has_table(self.connection, "skipped"):
            skipped = self._named("skipped", what)
            if skipped:
                return [FileStory(row["name"], "", 0, row["reason"], "", {}) for row in skipped]
        raise DataError(self._nearest(what))

    def _named(self, table: str, what: str) -> list[sqlite3.Row]:
        """Rows of files with this name, or with one that ends so."""
        return self._rows(
            f"SELECT * FROM {table} WHERE name = :what OR name LIKE :end ESCAPE '\\' "
            "ORDER BY name LIMIT :limit",
            what=what, end=f"%/{catalog.escaped(what.lstrip('/'))}", limit=_LISTED,
        )  # fmt: skip

    def _file(self, row: sqlite3.Row, stories: list[Story] | None = None) -> FileStory:
        number = row["number"]
        dropped = self._rows("SELECT reason, count FROM dropped WHERE file = :n", n=number)
        count = self._rows("SELECT count(*) AS n FROM documents WHERE file = :n", n=number)[0]["n"]
        if stories is None:
            stories = [self._story(found) for found in self._documents("d.file = :n", n=number)]
        return FileStory(
            name=row["name"],
            kind=row["kind"] or "text",
            bytes=row["size"],
            reason=row["reason"],
            detail=row["detail"],
            dropped={entry["reason"]: entry["count"] for entry in dropped},
            documents=stories,
            document_count=count,
        )

    def _documents(self, where: str, **values: Any) -> list[sqlite3.Row]:
        return self._rows(
            "SELECT d.*, f.name AS file_name, v.number, v.id AS final, v.kept, v.side, v.copies, "
            "v.reason, v.keeper, v.similarity, v.cluster, v.lines FROM documents AS d "
            "JOIN files AS f ON f.number = d.file "
            f"JOIN verdicts AS v USING (file, ordinal) WHERE {where} "
            "ORDER BY d.file, d.ordinal LIMIT :limit",
            **values, limit=_LISTED,
        )  # fmt: skip

    def _story(self, row: sqlite3.Row) -> Story:
        signals = parse_json(row["quality"])
        reason = row["reason"]
        fault = verdict(signals, row["family"], self.rules)
        companions = self._rows(
            f"SELECT {_NAME} AS name FROM verdicts AS v JOIN documents AS d USING (file, ordinal) "
            "JOIN files AS f ON f.number = v.file WHERE v.cluster = :cluster AND v.number != :own "
            "ORDER BY v.number LIMIT :limit",
            cluster=row["cluster"], own=row["number"], limit=_COMPANIONS,
        )  # fmt: skip
        size = self._rows(
            "SELECT count(*) AS n FROM verdicts WHERE cluster = :cluster", cluster=row["cluster"]
        )
        return Story(
            name=f"{row['file_name']}/{row['part']}" if row["part"] else row["file_name"],
            id=row["final"],
            kind=row["kind"],
            family=row["family"],
            bytes=row["bytes"],
            language=row["language"],
            group=row["grp"],
            changes=parse_json(row["changes"]),
            private=parse_json(row["private"]),
            repeated_lines=row["lines"],
            quality=signals,
            kept=bool(row["kept"]),
            split=row["side"] if row["kept"] else "",
            copies=row["copies"],
            reason=reason or (fault if not row["kept"] else ""),
            same_as=self._name(row["keeper"]),
            similarity=row["similarity"],
            cluster=tuple(entry["name"] for entry in companions),
            cluster_size=size[0]["n"],
        )

    def _name(self, number: int) -> str:
        """The name of a document by its number."""
        rows = self._rows(
            f"SELECT {_NAME} AS name FROM verdicts AS v JOIN documents AS d USING (file, ordinal) "
            "JOIN files AS f ON f.number = v.file WHERE v.number = :n",
            n=number,
        )
        return rows[0]["name"] if rows else ""

    def _nearest(self, what: str) -> str:
        names = [row["name"] for row in self._rows("SELECT name FROM files LIMIT 100000")]
        ends = {name.rpartition("/")[2]: name for name in names}
        near = difflib.get_close_matches(what.rpartition("/")[2], ends, n=1, cutoff=0.5)
        hint = f"; did you mean '{ends[near[0]]}'?" if near else ""
        return f"no document or file '{what}' in this corpus{hint}"

    def _rows(self, query: str, **values: Any) -> list[sqlite3.Row]:
        return self.connection.execute(query, values).fetchall()
