"""Data sets as Hugging Face keeps them: ``hf:NAME[:CONFIG][@SPLIT[START:STOP]]``.

``NAME`` is one on the hub, or a local folder: one of Parquet or JSON lines files
as on the hub, or one that ``Dataset.save_to_disk`` wrote. Rows are streamed into
Parquet files of our own, so that a corpus is made again from the same rows
without the network. No program of a data set is ever run: releases of
``datasets`` from 4.0 cannot.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.data.sources.folder import make_cache_folder
from linnet.errors import DataError, LinnetError, MissingExtraError
from linnet.output import move, remove
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow

PREFIX = "hf:"
_SPEC = re.compile(
    r"(?P<name>.+?)(?::(?P<config>[^:@/\\]+))?"
    r"(?:@(?P<split>[\w.-]+)(?:\[(?P<start>\d*):(?P<stop>\d*)\])?)?"
)
_FORM = "hf:NAME, hf:NAME:CONFIG, hf:NAME@SPLIT or hf:NAME@SPLIT[0:1000]"
_MOST_BYTES = 50_000_000_000
_FILE_BYTES = 64_000_000  # uncompressed: files are what workers share
_BATCH_ROWS = 1000


@dataclass(frozen=True)
class Wanted:
    """Rows ``start`` to ``stop`` (None: the end) of one split of a data set."""

    name: str
    config: str | None
    split: str
    start: int
    stop: int | None

    @property
    def label_and_owner(self) -> tuple[str, str]:
        """What its documents are named after, ``TinyStories`` of ``roneneldan/TinyStories``, and
        what sources that share this label have in common: their files have different names."""
        label = os.path.basename(self.name.rstrip("/\\")) or "dataset"
        return label, repr((self.folder or self.name, self.config, self.start, self.stop))

    @property
    def folder(self) -> str | None:
        """The local folder that it is, or None for one on the hub."""
        path = os.path.abspath(os.path.expanduser(self.name))
        return path if os.path.isdir(path) else None


def parse(source: str) -> Wanted:
    """Take a source apart. Raises DataError when it is not of the form above."""
    text = source.removeprefix(PREFIX)
    if os.path.isdir(os.path.expanduser(text)):
        return Wanted(text, None, "train", 0, None)
    match = _SPEC.fullmatch(text)
    wanted = match and Wanted(
        match["name"],
        match["config"],
        match["split"] or "train",
        int(match["start"] or 0),
        int(match["stop"]) if match["stop"] else None,
    )
    if not wanted or ("@" in wanted.name and wanted.folder is None):
        raise DataError(f"{source}: a data set is named as {_FORM}")
    if wanted.stop is not None and wanted.stop <= wanted.start:
        raise DataError(f"{source}: there are no rows from {wanted.start} to {wanted.stop}")
    return wanted


def fetch_dataset(
    source: str,
    cache: Path,
    *,
    refresh: bool = False,
    limit: int = _MOST_BYTES,
    progress: Progress = SILENT,
) -> list[Path]:
    """The rows of a data set as Parquet files below ``cache``, in order.

    ``limit``: bytes of rows, uncompressed. A local folder that has changed is
    read again; one from the hub only with ``refresh``. Raises DataError when it
    cannot be had and MissingExtraError without ``datasets``.
    """
    wanted = parse(source)
    try:
        return sorted(_fetched(source, wanted, cache, refresh, limit, progress).iterdir())
    except OSError as error:  # of the cache
        raise DataError(f"{source}: cannot be kept ({error})") from None


def _fetched(
    source: str, wanted: Wanted, cache: Path, refresh: bool, limit: int, progress: Progress
) -> Path:
    """The folder of the files."""
    name = hashlib.sha256(repr((wanted, wanted.folder)).encode()).hexdigest()[:24]
    state = _state(wanted.folder) if wanted.folder else "hub"
    place = cache / f"{name}-{state}"
    if place.is_dir() and not place.is_symlink() and not refresh:
        return place
    make_cache_folder(cache)
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetch-") as scratch:
        made = Path(scratch) / "rows"
        made.mkdir()
        with progress.task(f"fetching {source}", unit="rows") as task:
            for rows in _write(source, wanted, Path(scratch), made, limit):
                task.advance(rows)
        for old in cache.glob(f"{name}-*"):
            remove(old)
        move(made, place)
    return place


def _state(folder: str) -> str:
    """What changes when a file of the folder does."""
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            status = path.stat()
            digest.update(
                f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode(errors="replace")
            )
    return digest.hexdigest()[:24]


def _write(source: str, wanted: Wanted, scratch: Path, out: Path, limit: int) -> Iterator[int]:
    """Write Parquet files; yields the number of rows as they come."""
    import pyarrow.parquet

    writer: pyarrow.parquet.ParquetWriter | None = None
    schema: pyarrow.Schema | None = None
    rows = size = in_file = files = 0
    try:
        for table in _tables(source, wanted, scratch):
            table = table.select([field.name for field in table.schema if _is_text(field.type)])
            if schema is None:
                schema = _schema(table)
            if size + table.nbytes > limit:
                part = f"{wanted.name}@{wanted.split}[{wanted.start}:{wanted.start + (rows or 1)}]"
                raise DataError(
                    f"{source}: more than {limit:,} bytes of rows; take a part of it, such as "
                    f"{PREFIX}{part}"
                )
            if writer is None or in_file > _FILE_BYTES:
                if writer is not None:
                    writer.close()
                place = out / f"{wanted.split}-{files:05d}.parquet"
                writer = pyarrow.parquet.ParquetWriter(place, schema, compression="zstd")
                files, in_file = files + 1, 0
            writer.write_table(_conform(table, schema))
            rows += table.num_rows
            size += table.nbytes
            in_file += table.nbytes
            yield table.num_rows
    except LinnetError:
        raise
    except Exception as error:  # of the hub, the network, and readers of many formats
        raise DataError(f"{source}: cannot be read ({_first_line(error)})") from None
    finally:
        if writer is not None:
            writer.close()
    if not rows:
        raise DataError(f"{source}: there are no rows in it")


def _tables(source: str, wanted: Wanted, scratch: Path) -> Iterator[pyarrow.Table]:
    try:
        import datasets  # type: ignore[import-untyped, import-not-found]
    except ImportError:
        raise MissingExtraError("datasets", f"reading {source}") from None
    datasets.disable_progress_bars()
    path = wanted.folder or wanted.name
    if wanted.folder and os.path.isfile(os.path.join(path, "dataset_dict.json")):
        path = os.path.join(path, wanted.split)  # several splits, each saved in its own folder
        if not os.path.isdir(path):
            raise DataError(f"{source}: it has no split '{wanted.split}'")
    builder = datasets.load_dataset_builder(path, wanted.config, cache_dir=str(scratch / "cache"))
    in_split = path == wanted.folder or not wanted.folder
    _require_own_files(source, builder, path if wanted.folder else None)
    rows = builder.as_streaming_dataset(wanted.split if in_split else "train").with_format("arrow")
    if wanted.start:
        rows = rows.skip(wanted.start)
    if wanted.stop is not None:
        rows = rows.take(wanted.stop - wanted.start)
    yield from rows.iter(batch_size=_BATCH_ROWS)


def _require_own_files(source: str, builder: Any, folder: str | None) -> None:
    """A data set's README may name any file as its data, also one that is none of its business."""
    for files in (builder.config.data_files or {}).values():
        for file in files:
            file = file.rpartition("::")[2]  # a member of an archive: its path, then the archive's
            if folder is None:
                own = file.startswith("hf://datasets/")
            else:
                real = os.path.realpath(folder)
                own = os.path.commonpath([real, os.path.realpath(file)]) == real
            if not own:
                raise DataError(f"{source}: it names a file outside of itself as its data ({file})")


def _is_text(kind: pyarrow.DataType) -> bool:
    """Whether values of this type can be written down: no images, sounds or other bytes."""
    import pyarrow
    from pyarrow import types

    if types.is_struct(kind):
        return all(_is_text(kind.field(number).type) for number in range(kind.num_fields))
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _is_text(kind.value_type)
    if types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return not (
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or isinstance(kind, pyarrow.BaseExtensionType)
    )


def _schema(table: pyarrow.Table) -> pyarrow.Schema:
    """The table's columns; one that has been empty so far may come to hold anything."""
    import pyarrow
    from pyarrow import types

    return pyarrow.schema(
        pyarrow.field(field.name, pyarrow.string() if types.is_null(field.type) else field.type)
        for field in table.schema
    )


def _conform(table: pyarrow.Table, schema: pyarrow.Schema) -> pyarrow.Table:
    """The table with the columns of the first one; what JSON lines lack in places is null."""
    import pyarrow

    columns = [
        table[field.name].cast(field.type)
        if field.name in table.column_names
        else pyarrow.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pyarrow.table(columns, schema=schema)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
