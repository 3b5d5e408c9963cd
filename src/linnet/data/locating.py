"""Where in its file a stretch of a document's text stands."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from linnet import artifact
from linnet.config import parse_json
from linnet.data import catalog
from linnet.data.blocks import Block, BlockKind, Place, Structure, derived
from linnet.data.document import SPLITS, text_id
from linnet.data.inspection import list_documents, missed_pages
from linnet.data.kinds import Family, printable
from linnet.data.positions import Positions
from linnet.data.split import cut_pieces
from linnet.data.storage import TEXTS, Texts, read_documents
from linnet.errors import DataError

_QUERY = (
    f"SELECT {catalog.DOCUMENT_NAME} AS name, v.id, d.*, v.side, v.positions, t.spool, t.offset, "
    "t.bytes AS size FROM verdicts AS v JOIN documents AS d USING (file, ordinal) "
    "JOIN files AS f ON f.number = v.file JOIN texts AS t ON t.id = v.id WHERE "
)


@dataclass(frozen=True)
class Location:
    """Where ``text``, which is ``[start:end]`` of a document, stands: in which file (and part of
    it), under which headings, in a block of which kind, at which place of the file. ``known``:
    whether the corpus has the places; one that an older version made has not."""

    source: str
    id: str
    start: int
    end: int
    text: str
    kind: BlockKind
    headings: tuple[str, ...]
    place: Place
    known: bool


@dataclass(frozen=True)
class StoredText:
    """A document as a corpus has it: its text, and the structure if that is known.

    ``id`` is that of the piece where documents were divided into pieces."""

    source: str
    id: str
    text: str
    structure: Structure | None

    def blocks(self) -> Iterator[Block]:
        """The blocks of the text in order; none where they are not known."""
        return iter(()) if self.structure is None else self.structure.blocks(self.text)

    def locate(self, start: int, end: int) -> Location:
        """Raises DataError for a stretch that is not in the text."""
        if not 0 <= start <= end <= len(self.text):
            raise DataError(
                f"{self.source} has {len(self.text):,} characters; a stretch of it is "
                f"START:END from 0 to there. Got {start}:{end}"
            )
        block: Block | None = None
        for each in self.blocks():
            if each.start >= max(end, start + 1):
                break
            block = each
            if each.end > start:
                break
        return Location(
            self.source, self.id, start, end, self.text[start:end],
            block.kind if block else "paragraph", block.headings if block else (),
            self.structure.place(start, end) if self.structure else Place(),
            self.structure is not None,
        )  # fmt: skip


@dataclass(frozen=True)
class KeptText(StoredText):
    """A document that a corpus kept. ``splits``: stretches of the text, in order, each with the
    split that it is in; a single one but where documents were divided into pieces."""

    family: Family
    language: str
    """ISO 639-1; empty where it is not known."""
    splits: tuple[tuple[int, int, str], ...]


def kept_texts(corpus: Path | str) -> Iterator[KeptText]:
    """Every document that a corpus kept, in order, one in memory at a time.

    Where an older version made it, and the structure is not known, it is derived from the text.
    """
    found = artifact.read(corpus, kind="corpus")
    texts = Texts(found.path / TEXTS)
    try:
        with closing(catalog.open_to_read(found.path / catalog.NAME)) as connection:
            connection.row_factory = sqlite3.Row
            pieces = _splits_of_pieces(found.path, connection)
            for row in connection.execute(f"{_query(connection)}v.kept ORDER BY v.number"):
                stored, family = _stored(row, texts), row["family"]
                yield KeptText(
                    stored.source, stored.id, stored.text,
                    stored.structure or derived(stored.text, family), family, row["language"],
                    _splits(stored.text, row["side"], pieces),
                )  # fmt: skip
    except sqlite3.Error as error:
        raise DataError(f"{found.path / catalog.NAME} cannot be read: {error}") from None
    finally:
        texts.close()


@dataclass(frozen=True, slots=True)
class Listing:
    """One document of a corpus, kept or dropped, without its text. ``id`` is that of its text."""

    number: int
    source: str
    file: str
    """The name of the file that it is in."""
    id: str
    kind: str
    family: Family
    language: str
    modified: int
    """When its file was changed last, in seconds since 1970; 0 where it is not known."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file, or a part of one, of which there is no text. ``count``: of parts of a file for one
    reason; ``source`` is then the first, or the document where these are pages of it."""

    source: str
    kind: str
    reason: str
    count: int = 1


class CorpusTexts:
    """Every document that a corpus has, dropped ones too; a context manager."""

    def __init__(self, corpus: Path | str) -> None:
        found = artifact.read(corpus, kind="corpus")
        self._corpus = found.path
        self._catalog = found.path / catalog.NAME
        self._texts = Texts(found.path / TEXTS)
        with self._damage_named():
            self._connection = catalog.open_to_read(self._catalog)
            self._connection.row_factory = sqlite3.Row
            self._query = f"{_query(self._connection)}v.number = ?"

    def __enter__(self) -> CorpusTexts:
        return self

    def __exit__(self, *_: object) -> None:
        self._texts.close()
        self._connection.close()

    def listings(self) -> list[Listing]:
        """The documents in the order of their files."""
        with self._damage_named():
            rows = self._connection.execute(_LISTINGS).fetchall()
        return [Listing(*row) for row in rows]

    def read(self, listing: Listing) -> StoredText:
        """The text of one of them, with its structure, derived where that is not known."""
        with self._damage_named():
            row = self._connection.execute(self._query, (listing.number,)).fetchone()
            found = _stored(row, self._texts)
        structure = found.structure or derived(found.text, listing.family)
        return StoredText(found.source, found.id, found.text, structure)

    def unread(self) -> list[Unread]:
        """What gave no document, and pages that are missing in one."""
        found = [
            Unread(row.name, row.kind, row.reason, row.count)
            for row in list_documents(self._corpus, dropped=True)
            if row.verdict == "not read" or not row.bytes
        ]
        with self._damage_named():
            rows = self._connection.execute(_WITH_PAGES).fetchall()
        for name, kind, changes in rows:
            found += [
                Unread(name, kind, reason, count) for reason, count in missed_pages(changes).items()
            ]
        return found

    @contextmanager
    def _damage_named(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise DataError(f"{self._catalog} cannot be read: {error}") from None


_LISTINGS = (
    f"SELECT v.number, {catalog.DOCUMENT_NAME}, f.name, v.id, d.kind, d.family, d.language, "
    "f.mtime_ns / 1000000000 FROM verdicts AS v JOIN documents AS d USING (file, ordinal) "
    "JOIN files AS f ON f.number = v.file ORDER BY v.number"
)

_WITH_PAGES = (
    f"SELECT {catalog.DOCUMENT_NAME}, d.kind, d.changes FROM documents AS d "
    "JOIN files AS f ON f.number = d.file WHERE d.changes LIKE '%pages%' "
    "ORDER BY d.file, d.ordinal"
)


def _splits_of_pieces(corpus: Path, connection: sqlite3.Connection) -> dict[str, str]:
    """The split of each piece by its id, where documents were divided into pieces."""
    query = "SELECT 1 FROM verdicts WHERE kept AND side = '' LIMIT 1"
    if connection.execute(query).fetchone() is None:
        return {}
    return {
        piece.id: split
        for split in SPLITS
        for piece in read_documents(corpus, split, columns=("id",))
    }


def _splits(text: str, side: str, pieces: dict[str, str]) -> tuple[tuple[int, int, str], ...]:
    if side:
        return ((0, len(text), side),)
    found, start = [], 0
    for piece, gap in cut_pieces(text):
        end = start + len(piece)
        if (split := pieces.get(text_id(piece))) is not None:
            found.append((start, end, split))
        start = end + len(gap)
    return tuple(found)


def locate(
    corpus: Path | str, document: str, start: int = 0, end: int | None = None
) -> list[Location]:
    """Where characters ``start`` to ``end`` of a document's text stand in its file.

    ``document``: its name as ``Document.source`` has it, the end of one, or the first 8 or more
    characters of its id. Of equal texts every one is found. Raises DataError where there is no
    such document or stretch.
    """
    return [
        found.locate(start, len(found.text) if end is None else end)
        for found in stored_texts(corpus, document)
    ]


def stored_texts(corpus: Path | str, document: str) -> list[StoredText]:
    """The documents that ``document`` names, as ``locate`` understands it, dropped ones too."""
    found = artifact.read(corpus, kind="corpus")
    texts = Texts(found.path / TEXTS)
    try:
        with closing(catalog.open_to_read(found.path / catalog.NAME)) as connection:
            connection.row_factory = sqlite3.Row
            stored = [_stored(row, texts) for row in _rows(connection, printable(document))]
            if not stored and catalog.is_id(document):
                stored = list(_piece(found.path, connection, texts, document))
    except sqlite3.Error as error:
        raise DataError(f"{found.path / catalog.NAME} cannot be read: {error}") from None
    finally:
        texts.close()
    if not stored:
        raise DataError(f"no document '{document}' in this corpus")
    return stored


def _query(connection: sqlite3.Connection) -> str:
    lines = "v.positions" if catalog.has_column(connection, "verdicts", "positions") else "''"
    return _QUERY.replace("v.positions", f"{lines} AS positions")


def _rows(connection: sqlite3.Connection, name: str) -> list[sqlite3.Row]:
    query = _query(connection)
    conditions = [
        (f"{catalog.DOCUMENT_NAME} = :name", name),
        (f"{catalog.DOCUMENT_NAME} LIKE :name ESCAPE '\\'", f"%/{catalog.escaped(name)}"),
    ]
    if catalog.is_id(name):
        conditions.append(("v.id LIKE :name", f"{name}%"))
    for condition, value in conditions:
        rows = connection.execute(f"{query}{condition} ORDER BY v.number", {"name": value})
        if found := rows.fetchall():
            return found
    return []


def _stored(row: sqlite3.Row, texts: Texts) -> StoredText:
    structure = None
    if "blocks" in row.keys():  # noqa: SIM118 - a row's values are what it holds
        structure = Structure.unpack(row["blocks"])
        if row["positions"]:
            structure = structure.moved(Positions.from_lists(parse_json(row["positions"])))
    text = texts.read((row["spool"], row["offset"], row["size"]))
    return StoredText(row["name"], row["id"], text, structure)


def _piece(
    corpus: Path, connection: sqlite3.Connection, texts: Texts, identity: str
) -> Iterator[StoredText]:
    """The piece of a document that has this id, where documents were divided into pieces."""
    for split in SPLITS:
        for piece in read_documents(corpus, split, columns=("id", "source")):
            if not piece.id.startswith(identity):
                continue
            for row in _rows(connection, piece.source):
                whole, start = _stored(row, texts), 0
                for text, gap in cut_pieces(whole.text):
                    end = start + len(text)
                    if text_id(text) == piece.id:
                        inner = whole.structure and whole.structure.part(start, end)
                        yield StoredText(whole.source, piece.id, text, inner)
                    start = end + len(gap)
