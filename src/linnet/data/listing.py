"""Every file and document of a corpus with its verdict, streamed: for 100,000 of them too."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet import artifact
from linnet.data import catalog
from linnet.data.document import SPLITS
from linnet.data.kinds import KINDS
from linnet.data.storage import read_documents
from linnet.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_TEXT = "text"  # what a file is read as whose name and first bytes tell nothing


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


_NAME = "{f}.name || CASE {d}.part WHEN '' THEN '' ELSE '/' || {d}.part END"
_DOCUMENTS = (
    f"SELECT {_NAME.format(f='f', d='d')}, d.kind, d.bytes, v.kept, v.side, v.reason, "
    f"(SELECT {_NAME.format(f='g', d='e')} FROM verdicts AS k "
    "JOIN documents AS e ON (e.file, e.ordinal) = (k.file, k.ordinal) "
    "JOIN files AS g ON g.number = k.file WHERE k.number = v.keeper) "
    "FROM verdicts AS v JOIN documents AS d USING (file, ordinal) "
    "JOIN files AS f ON f.number = v.file "
    "WHERE (:kind = '' OR d.kind = :kind) AND (:split = '' OR (v.kept AND v.side = :split)) "
    "AND NOT (:dropped AND v.kept) ORDER BY v.number"
)
_PARTS = (
    f"SELECT {_NAME.format(f='f', d='d')}, coalesce(f.kind, :text), d.reason, d.count "
    "FROM dropped AS d JOIN files AS f ON f.number = d.file "
    "WHERE :kind = '' OR coalesce(f.kind, :text) = :kind ORDER BY d.file, d.reason"
)
_FILES = (
    "SELECT name, coalesce(kind, :text), size, "
    "CASE detail WHEN '' THEN reason ELSE reason || ' (' || detail || ')' END FROM files "
    "WHERE reason != '' AND (:kind = '' OR coalesce(kind, :text) = :kind) ORDER BY number"
)
_SKIPPED = "SELECT name, reason FROM skipped ORDER BY name, reason"
