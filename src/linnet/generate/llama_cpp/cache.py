"""GGUF files made from checkpoints, kept for the next time.

A file's name is a hash of all it was made from: weights, tokenizer, number format, the
way it is written. Hashing large weights takes long, so a file's hash is noted with its
size and time of change. Files are made under a lock, beside their place, and renamed when
they are complete. When all of them together are too large, those go that were used
longest ago.

What the engine must know of a model besides its file is noted with it, so that a second start
reads no weights and loads no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import Timeout

from linnet.artifact import hash_file
from linnet.config import read_json
from linnet.errors import OutputError
from linnet.output import full_disk_named, hold, human_bytes, move, write_text
from linnet.progress import SILENT, Progress

RECIPE = 2
"""To be raised whenever the same checkpoint is written in another way."""

LIMIT = 20 << 30
"""Bytes that all files together may take."""

_KEPT = ("*.gguf", "*.sha256", "*.json")
_IN_USE = 86_400.0  # seconds after its last use in which a file is not removed
_NOTICE = 2.0  # seconds of waiting for another process before saying so

# What of a model's directory (or an adapter's) has a part in its GGUF file.
_PARTS = ("*.safetensors", "*.json", "tokenizer.model", "vocab.txt", "merges.txt", "*.jinja")
_NO_PARTS = ("manifest.json", "training_state.json", "trainer_state.json")


def cache_directory() -> Path:
    """Where they are kept: ``$XDG_CACHE_HOME/linnet/gguf``, or the system's place for such."""
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        root = Path(given)
    elif sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches"
    else:
        root = Path.home() / ".cache"
    return root / "linnet" / "gguf"


def cached(
    sources: Sequence[Path],
    kind: str,
    make: Callable[[Path], object],
    *,
    progress: Progress = SILENT,
) -> Path:
    """The file that ``make`` writes from the directories ``sources``, made now or before.

    ``kind``: what else it depends on. Raises OutputError when there is no place to write it.
    """
    place = cache_directory()
    with _writable(place):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        digest = hashlib.sha256(f"{RECIPE} {kind}".encode())
        for source in sources:
            digest.update(content_hash(source).encode())
        file = place / f"{digest.hexdigest()[:40]}.gguf"
        with _locked(file, progress):
            if not file.is_file():
                _make(file, make)
                progress.message(
                    f"kept for llama.cpp to start faster next time: {file} "
                    f"({human_bytes(file.stat().st_size)}; linnet cache --clear removes it)"
                )
            note_use(file)
        remove_oldest(place, keep=file)
    return file


def note_use(file: Path) -> None:
    """Have a file of this cache count as used now; any other is left as it is."""
    if file.parent == cache_directory():
        with contextlib.suppress(OSError):
            os.utime(file)


def content_hash(source: Path) -> str:
    """A hash of the files in ``source`` that a GGUF file is made from."""
    files = {file for pattern in _PARTS for file in source.glob(pattern) if file.is_file()}
    digest = hashlib.sha256()
    for file in sorted(file for file in files if file.name not in _NO_PARTS):
        digest.update(f"{file.name} {_hash_of(file)}\n".encode())
    return digest.hexdigest()


def kept_files() -> list[Path]:
    """All files of this cache."""
    return sorted(file for kind in _KEPT for file in cache_directory().glob(kind))


def clear_cache() -> tuple[int, int]:
    """Remove all of them; how many files that were, and their bytes.

    What has a file open goes on with it; only a worker that has to be started again
    would miss it.
    """
    count = size = 0
    for file in kept_files():
        with contextlib.suppress(OSError):  # another process removes too
            bytes_ = file.stat().st_size
            file.unlink()
            count, size = count + 1, size + bytes_
    return count, size


def remove_oldest(place: Path, *, keep: Path, limit: int | None = None) -> None:
    """Remove what was used longest ago until the files take no more than ``limit`` bytes."""
    limit = LIMIT if limit is None else limit
    now = time.time()
    found = []
    for file in [file for kind in _KEPT for file in place.glob(kind)]:
        with contextlib.suppress(OSError):  # another process removes too
            status = file.stat()
            found.append((status.st_mtime, status.st_size, file))
    total = sum(size for _, size, _ in found)
    for used, size, file in sorted(found):
        if total <= limit:
            return
        if file != keep and now - used > _IN_USE:
            with contextlib.suppress(OSError):
                file.unlink()
                total -= size


def _make(file: Path, make: Callable[[Path], object]) -> None:
    for left in file.parent.glob(f".*{file.stem}.*making*"):  # by one that was killed
        left.unlink(missing_ok=True)
    neighbour = file.with_name(f".{file.stem}.{os.getpid()}.making")
    try:
        with full_disk_named(file.parent):
            make(neighbour)
            move(neighbour, file)
    finally:
        neighbour.unlink(missing_ok=True)


def _hash_of(file: Path) -> str:
    """A file's hash, computed once for each of its states."""
    status = file.stat()
    if status.st_size < 1 << 20:
        return hash_file(file)
    state = f"{file.resolve()} {status.st_size} {status.st_mtime_ns} {status.st_ino}"
    note = cache_directory() / f"{hashlib.sha256(state.encode()).hexdigest()[:40]}.sha256"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        known = note.read_text("utf-8")
        if len(known) == 64:
            os.utime(note)
            return known
    found = hash_file(file)
    with contextlib.suppress(OSError):  # only slower the next time
        write_text(note, found)
    return found


@contextlib.contextmanager
def _locked(file: Path, progress: Progress) -> Iterator[None]:
    """Hold the right to make ``file``, waiting for another process that does."""
    place = file.with_name(f".{file.stem}.lock")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(hold(place, timeout=_NOTICE))
        except Timeout:
            with progress.task("waiting for another process that makes the same file"):
                stack.enter_context(hold(place))
        yield


@contextlib.contextmanager
def _writable(place: Path) -> Iterator[None]:
    try:
        yield
    except PermissionError as error:
        raise OutputError(
            f"{place}: cannot write here ({error.strerror}); name another place for caches with "
            "XDG_CACHE_HOME"
        ) from None


@dataclass(frozen=True)
class CachedModel:
    """What the engine must know of a model besides its file."""

    file: str
    """Its name in the cache."""
    stop_ids: tuple[int, ...]
    vocab_size: int
    context: int
    token_bytes: int
    """Bytes of the keys and values of one token."""


def find_entry(path: Path, precision: str) -> CachedModel | None:
    """What was noted of the model in this directory, if its file is still there."""
    try:
        values = read_json(_note_of(path, precision))
        known = CachedModel(**{**values, "stop_ids": tuple(values["stop_ids"])})
        os.utime(cache_directory() / known.file)  # it is in use
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return known


def write_entry(path: Path, precision: str, known: CachedModel) -> None:
    """Note it for the next time; without a place for it, nothing."""
    with contextlib.suppress(OSError):
        write_text(_note_of(path, precision), json.dumps(asdict(known)))


def _note_of(path: Path, precision: str) -> Path:
    digest = hashlib.sha256(f"{RECIPE} known {precision} {content_hash(path)}".encode())
    return cache_directory() / f"{digest.hexdigest()[:40]}.json"
