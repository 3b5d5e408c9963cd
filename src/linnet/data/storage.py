"""Documents on disk: the parquet files of a corpus, and the texts as they were read.

The parquet files are the same bytes whenever the documents are the same: row
groups are cut by what is in them, and nothing in them tells the time.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from linnet import artifact
from linnet.data.document import SPLITS, Document
from linnet.errors import DamagedError, DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from linnet.data.catalog import Catalog, Place

COLUMNS = ("id", "source", "group", "kind", "text", "bytes", "copies")
TEXTS = "texts"  # the folder of all texts as they were read
_GROUP_ROWS, _GROUP_BYTES = 1_000, 4 << 20
_FILE_BYTES = 256 << 20
_READ_ROWS = 128


def read_documents(
    corpus: Path | str, split: str, *, columns: Sequence[str] = COLUMNS
) -> Iterator[Document]:
    """The documents of a split in order, a few in memory at a time.

    With ``columns`` only these are read; the other fields stay empty.
    Raises DataError for an unknown split or column, DamagedError for a broken file.
    """
    import pyarrow
    import pyarrow.parquet

    if split not in SPLITS:
        raise DataError(f"split must be one of {', '.join(SPLITS)}. Got '{split}'")
    if unknown := set(columns) - set(COLUMNS):
        raise DataError(f"columns must be among {', '.join(COLUMNS)}. Got '{min(unknown)}'")
    found = artifact.read(corpus, kind="corpus")
    for name in sorted(found.manifest.files):
        if not (name.startswith(f"{split}-") and name.endswith(".parquet")):
            continue
        path = found.path / name
        try:
            with pyarrow.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(
                    _READ_ROWS, columns=list(columns), use_threads=False
                ):
                    for row in batch.to_pylist():
                        yield Document(**row)
        except (pyarrow.ArrowException, UnicodeDecodeError) as error:
            raise DamagedError(
                f"{path} is damaged ({str(error).splitlines()[0]}); delete {found.path} "
                "and run the command that made this corpus again"
            ) from None


class SplitWriter:
    """Writes the documents of one split to ``SPLIT-00000.parquet`` and so on."""

    def __init__(self, folder: Path, split: str) -> None:
        import pyarrow

        self.folder = folder
        self.split = split
        kinds = {"bytes": pyarrow.int64(), "copies": pyarrow.int64()}
        self.schema = pyarrow.schema([(c, kinds.get(c, pyarrow.string())) for c in COLUMNS])
        self.rows: list[Document] = []
        self.group_bytes = self.file_bytes = 0
        self.number = 0
        self.writer: Any = None
        self._open()

    def add(self, document: Document) -> None:
        if self.file_bytes >= _FILE_BYTES:
            self.close()
            self.number += 1
            self._open()
        self.rows.append(document)
        self.group_bytes += document.bytes
        self.file_bytes += document.bytes
        if len(self.rows) == _GROUP_ROWS or self.group_bytes >= _GROUP_BYTES:
            self._write_group()

    def close(self) -> None:
        self._write_group()
        self.writer.close()
        self.file_bytes = 0

    def _open(self) -> None:
        from pyarrow import parquet

        self.writer = parquet.ParquetWriter(
            self.folder / f"{self.split}-{self.number:05d}.parquet",
            self.schema,
            compression="zstd",
            use_dictionary=["source", "kind"],
            write_statistics=False,
        )

    def _write_group(self) -> None:
        import pyarrow

        if self.rows:
            columns = {name: [getattr(row, name) for row in self.rows] for name in COLUMNS}
            self.writer.write_table(pyarrow.table(columns, schema=self.schema))
        self.rows = []
        self.group_bytes = 0


class Texts:
    """The texts of all documents as they were read, in spool files below one folder.

    Every worker writes its own spools; a text is found again by spool, offset
    and length. The folder stays in the corpus, so that a document can be judged
    again, or take the place of one that is gone, without reading its file.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.open: dict[str, IO[bytes]] = {}
        self.taken_over: set[str] = set()

    def read(self, place: Place) -> str:
        name, offset, size = place
        if name not in self.open:
            path = self.folder / name
            if not _is_spool(path, name):
                raise DamagedError(
                    f"{path} is no file of texts, but the catalog beside it names it as one; "
                    f"delete {self.folder.parent} and prepare the corpus again"
                )
            self.open[name] = path.open("rb")
        file = self.open[name]
        file.seek(offset)
        return file.read(size).decode("utf-8")

    def take_over(self, names: Collection[str], old: Path) -> None:
        """Share spools with another corpus; they are never written to again."""
        self.taken_over.update(names)
        for name in names:
            if (self.folder / name).exists() or not _is_spool(old / name, name):
                continue
            try:
                os.link(old / name, self.folder / name)
            except OSError:  # another disk, or a file system without links
                shutil.copyfile(old / name, self.folder / name)

    def compact(self, catalog: Catalog, *, tolerated: float) -> None:
        """Write anew the spools of which more than ``tolerated`` is out of use.

        Of those that were taken over all is that is: it may be what has been deleted.
        """
        used = catalog.spools()
        for path in sorted(self.folder.iterdir()):
            size = path.stat().st_size
            allowed = 0 if path.name in self.taken_over else tolerated
            if size - used.get(path.name, 0) <= allowed * size:
                continue
            if path.name in used:
                self._rewrite(path.name, catalog)
            self._close(path.name)
            path.unlink()

    def _rewrite(self, name: str, catalog: Catalog) -> None:
        new = new_spool(self.folder)
        places = catalog.rows("SELECT id, offset, bytes FROM texts WHERE spool = ?", name)
        moved = []
        with (self.folder / new).open("wb") as file:
            for identity, offset, size in sorted(places, key=lambda place: place[1]):
                moved.append((new, file.tell(), identity))
                file.write(self.read((name, offset, size)).encode("utf-8"))
        catalog.move_texts(moved)

    def close(self) -> None:
        for name in list(self.open):
            self._close(name)

    def _close(self, name: str) -> None:
        if name in self.open:
            self.open.pop(name).close()


def _is_spool(path: Path, name: str) -> bool:
    """Whether a catalog, which may be a stranger's, names a file of texts and nothing else."""
    plain = isinstance(name, str) and re.fullmatch(r"spool-\d{5,}", name, re.ASCII) is not None
    return plain and not path.is_symlink() and path.is_file()


def new_spool(folder: Path) -> str:
    """The name of a spool that no other process writes to, taken."""
    number = 0
    while True:
        name = f"spool-{number:05d}"
        try:
            (folder / name).touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return name
