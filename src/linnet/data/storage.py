"""Documents on disk: parquet files of a corpus, and spools while it is being made.

The parquet files are the same bytes whenever the documents are the same: row
groups are cut by what is in them, and nothing in them tells the time.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from linnet import artifact
from linnet.data.document import SPLITS, Document
from linnet.errors import DamagedError, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COLUMNS = ("id", "source", "group", "kind", "text", "bytes")
_GROUP_ROWS, _GROUP_BYTES = 1_000, 4 << 20
_FILE_BYTES = 256 << 20
_READ_ROWS = 128
_OWN_SPOOL = "own"


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
        kinds = {"bytes": pyarrow.int64()}
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


class Spools:
    """Files of texts, found again by name, offset and length.

    Every worker writes its own; this process adds to one more.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.own: IO[bytes] = (folder / _OWN_SPOOL).open("ab")
        self.open: dict[str, IO[bytes]] = {}

    def add(self, text: str) -> tuple[str, int, int]:
        """Keep a text; gives its spool, offset and length in bytes."""
        data = text.encode("utf-8")
        offset = self.own.tell()
        self.own.write(data)
        return _OWN_SPOOL, offset, len(data)

    def read(self, name: str, offset: int, size: int) -> str:
        if name == _OWN_SPOOL:
            self.own.flush()
        if name not in self.open:
            self.open[name] = (self.folder / name).open("rb")
        file = self.open[name]
        file.seek(offset)
        return file.read(size).decode("utf-8")

    def close(self) -> None:
        for file in (self.own, *self.open.values()):
            file.close()
        self.open.clear()
