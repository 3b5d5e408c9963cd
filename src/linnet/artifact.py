"""Artifacts: what a stage writes, and how one is known to be complete and current.

An artifact is a directory with a ``manifest.json``. A stage writes it under a
hidden partial name and renames it when it is complete, so whatever carries the
final name is whole; a killed run leaves only the partial directory, which the
next run takes up again (stages that can resume) or throws away.

Two hashes answer two questions:

* ``recipe``  what was it made from? Hash of kind, format, settings and the
  *content* of each input. Equal recipe means that making it again is needless.
* ``content`` what is in it? Hash of the files. Things that differ from run to run
  though nothing changed (wall time, SQLite files, logs) are listed as volatile
  and stay outside, so an input remade with the same content leaves what was
  made from it current.

Writers hold a lock beside the artifact, so two runs never write to one place
(``linnet.output``).

An artifact may come from a stranger. Its manifest is checked value by value, the files that it
names lie in it and are regular ones, and a partial directory is taken up only if it holds nothing
but files and directories.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from linnet.config import from_mapping, read_json
from linnet.errors import (
    ArtifactError,
    BudgetError,
    BusyError,
    ConfigError,
    DamagedError,
    DataError,
    OutputError,
)
from linnet.output import create_file, full_disk_named, is_plain_name, make_directory, refuse_links
from linnet.output import human_bytes as human_bytes
from linnet.output import lock as lock
from linnet.output import refuse_foreign as refuse_foreign
from linnet.output import remove as remove
from linnet.output import require_space as require_space
from linnet.output import write_json as write_json
from linnet.output import write_text as write_text
from linnet.version import __version__

MANIFEST = "manifest.json"
RECIPE = "recipe"  # in a partial directory: the recipe it is made by
SWAP_SECONDS = 5.0  # far longer than two renames take
LARGEST_MANIFEST = 1 << 28  # bytes; one lists every file of an artifact
ALWAYS_VOLATILE = ("*.sqlite", "*.sqlite-*", "*.log")


_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact. ``sha256`` is None for a volatile file."""

    bytes: int
    sha256: str | None


@dataclass(frozen=True)
class InputEntry:
    """One input: its content hash and, where it was an artifact, its path from this one."""

    content: str
    path: str | None = None


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` holds."""

    kind: str
    format: int
    config: dict[str, Any]
    inputs: dict[str, InputEntry]
    files: dict[str, FileEntry]
    stats: dict[str, Any]
    recipe: str
    content: str
    created: str
    seconds: float
    linnet: str


@dataclass(frozen=True)
class Artifact:
    """A complete artifact on disk."""

    path: Path
    manifest: Manifest

    @property
    def content(self) -> str:
        return self.manifest.content

    @property
    def stats(self) -> dict[str, Any]:
        return self.manifest.stats


Inputs: TypeAlias = Mapping[str, "Artifact | str"]
"""Inputs by role: an artifact, or the content hash of something that is not one."""


def recipe_hash(kind: str, format: int, config: Mapping[str, Any], inputs: Inputs) -> str:
    """The hash of what an artifact is made from."""
    contents = {role: _content_of(value) for role, value in inputs.items()}
    return _hash_json({"kind": kind, "format": format, "config": config, "inputs": contents})


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path | str, *, kind: str | None = None, verify: bool = False) -> Artifact:
    """Open an artifact, or the one of this ``kind`` in a project.

    Checks that every listed file is there with its size; with ``verify`` also
    its hash. Raises ArtifactError when there is none of that kind, and
    DamagedError when the files are not the ones that were written.
    """
    path = Path(path) if kind is None else within(path, kind)
    while True:
        _await_swap(path)
        place = _identity(path)
        try:
            return _read(path, kind, verify=verify)
        except (ArtifactError, FileNotFoundError):
            # Half of this may have been read before another process replaced it.
            if _identity(path) == place and not _superseded(path).exists():
                raise


def _read(path: Path, kind: str | None, *, verify: bool) -> Artifact:
    manifest_path = path / MANIFEST
    wanted = f"{kind} directory" if kind else "directory made by Linnet"
    if not path.exists():
        raise ArtifactError(f"{path}: expected a {wanted}, but it does not exist")
    if not manifest_path.is_file():
        raise ArtifactError(f"{path}: expected a {wanted}, but it has no {MANIFEST}")
    try:
        manifest = _manifest(read_json(manifest_path, limit=LARGEST_MANIFEST))
    except (ValueError, ConfigError) as error:
        raise DamagedError(
            f"{manifest_path} is damaged ({error}); delete {path} and run the same command again"
        ) from None
    if kind is not None and manifest.kind != kind:
        raise ArtifactError(f"{path}: expected a {kind} directory, but it is a {manifest.kind}")
    for name, entry in manifest.files.items():
        _check_file(path, name, entry, manifest.kind, verify=verify)
    return Artifact(path, manifest)


def within(path: Path | str, kind: str) -> Path:
    """The artifact of this kind where ``path`` is a project; any other path as it is.

    In a project each stage's directory has the name of its kind, so that ``notes-model``
    does wherever ``notes-model/corpus`` or ``notes-model/model`` would.
    """
    path = Path(path)
    inner = path / kind
    return inner if is_artifact(inner) and not is_artifact(path) else path


def _manifest(raw: Any) -> Manifest:
    """The manifest, each value of its type. Raises ValueError or ConfigError."""
    if not isinstance(raw, dict):
        raise ValueError("it is no JSON object")
    found = from_mapping(Manifest, raw, where="manifest")
    for name, file in found.files.items():
        if not is_plain_name(name):
            raise ValueError(f"a file in it has a name, not a path elsewhere. Got {name[:60]!r}")
        if file.bytes < 0 or not (file.sha256 is None or _SHA256.fullmatch(file.sha256)):
            raise ValueError(f"file {name[:60]!r} has no size and hash")
    for role, entry in found.inputs.items():
        if entry.path is not None and "\0" in entry.path:
            raise ValueError(f"input {role[:60]!r} names no path")
    return found


def previous_version(path: Path) -> Path:
    """Where a model is kept that another has replaced at ``path``."""
    return path.with_name(f"{path.name}.previous")


def is_artifact(path: Path | str) -> bool:
    """Whether there is a manifest (sound or not)."""
    return (Path(path) / MANIFEST).is_file()


def current(path: Path | str, recipe: str, *, kind: str) -> Artifact | None:
    """The artifact at ``path`` if it is whole and was made by this recipe, else None."""
    path = Path(path)
    if _is_finished(_partial(path), recipe):  # killed before it took its place
        with lock(path):
            _restore_interrupted_swap(path)
            refuse_foreign(path, allowed=(MANIFEST,))
            _drop_working(_partial(path))
            _swap(_partial(path), path)
    try:
        found = read(path, kind=kind)
    except ArtifactError:
        return None
    return found if found.manifest.recipe == recipe else None


def _drop_working(partial: Path) -> None:
    """Remove the folders of a whole partial directory that are no part of what was made."""
    listed = {name.partition("/")[0] for name in _read(partial, None, verify=False).manifest.files}
    for child in partial.iterdir():
        if child.is_symlink() or (child.is_dir() and child.name not in listed):
            remove(child)


def _is_finished(partial: Path, recipe: str) -> bool:
    """Whether this partial directory is whole and was made by this recipe."""
    if partial.is_symlink() or (partial / RECIPE).exists():
        return False
    try:
        return _read(partial, None, verify=False).manifest.recipe == recipe
    except (ArtifactError, OSError):
        return False


@dataclass
class Draft:
    """An artifact being written. Write into ``path``; fill ``stats``.

    ``resumed`` says that ``path`` holds what an interrupted run of the same
    recipe left.
    """

    path: Path
    resumed: bool
    stats: dict[str, Any] = field(default_factory=dict)


@contextlib.contextmanager
def create(
    path: Path | str,
    *,
    kind: str,
    format: int,
    config: Mapping[str, Any],
    inputs: Inputs,
    resume: bool = False,
    volatile: tuple[str, ...] = (),
    working: str | None = None,
    sources: Sequence[Path] = (),
) -> Iterator[Draft]:
    """Write an artifact whole or not at all.

    On leaving the block the files are hashed, the manifest written, everything
    synced and the partial directory renamed over the old artifact. When the
    block raises, the old artifact stays as it was; with ``resume`` the partial
    directory stays too, for the next call with the same recipe, where that is of use to it.

    ``volatile``: patterns of files that stay outside the content hash.
    ``working``: a folder in it that is only needed until everything else is written.
    ``sources``: directories that it is made from besides the artifacts in ``inputs``; what would
    take the place of one of them is refused.
    Raises BusyError when another process is writing here, and OutputError when
    ``path`` holds something that Linnet did not write or the disk is full.
    """
    path = Path(path)
    _refuse_own_input(path, [v.path for v in inputs.values() if isinstance(v, Artifact)])
    _refuse_own_input(path, sources)
    with lock(path), full_disk_named(path):
        _restore_interrupted_swap(path)
        refuse_foreign(path, allowed=(MANIFEST,))
        recipe = recipe_hash(kind, format, config, inputs)
        partial = _partial(path)
        if partial.is_symlink():
            refuse_links(partial)
        draft = Draft(partial, resumed=resume and _partial_recipe(partial) == recipe)
        started = time.monotonic()
        try:
            if draft.resumed:
                refuse_links(partial)
            else:
                remove(partial)
                make_directory(partial)
                with create_file(partial / RECIPE) as file:
                    file.write(recipe.encode("utf-8"))
            yield draft
            files = _entries(partial, ALWAYS_VOLATILE + volatile, working)
            manifest = Manifest(
                kind=kind,
                format=format,
                config=dict(config),
                inputs={role: _input_entry(value, path) for role, value in inputs.items()},
                files=files,
                stats=draft.stats,
                recipe=recipe,
                content=_hash_json([kind, {n: e.sha256 for n, e in files.items() if e.sha256}]),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=round(time.monotonic() - started, 3),
                linnet=__version__,
            )
            write_json(partial / MANIFEST, asdict(manifest))
            (partial / RECIPE).unlink()  # from here on it is whole: see ``current``
            if working is not None:
                remove(partial / working)
        except BaseException as error:
            if not (resume and _is_of_use(draft, error)):
                remove(partial)
            raise
        _swap(partial, path)


def _is_of_use(draft: Draft, error: BaseException) -> bool:
    """Whether the next run of the same recipe has something to carry on from.

    Not where it would end with the same error, nor where nothing was written yet.
    """
    if draft.resumed:
        return True
    if isinstance(error, ConfigError | DataError | BudgetError):
        return False
    files = (place for place in draft.path.rglob("*") if place.is_file())
    return any(file.name != RECIPE and file.stat().st_size for file in files)


def _refuse_own_input(path: Path, sources: Sequence[Path]) -> None:
    """What is written must not take the place of what it is made from."""
    place = path.resolve()
    for source in sources:
        if place == source.resolve() or place in source.resolve().parents:
            raise OutputError(
                f"{path}: expected another place to write to. Got what it is to be made from "
                f"({source}), which would be lost"
            )


def lineage(path: Path | str) -> list[Artifact]:
    """The artifact and all it was made from, found by walking the manifests; itself first."""
    found: dict[Path, Artifact] = {}
    queue = [Path(path).resolve()]
    while queue:
        place = queue.pop(0)
        if place in found or not is_artifact(place):
            continue
        artifact = read(place)
        found[place] = artifact
        for entry in artifact.manifest.inputs.values():
            if entry.path is not None:
                queue.append((place / entry.path).resolve())
    return list(found.values())


def partial_exists(path: Path) -> bool:
    """Whether an interrupted run left something to carry on from."""
    return (_partial(path) / RECIPE).is_file()


def _partial(path: Path) -> Path:
    return path.parent / f".{path.name}.partial"


def _superseded(path: Path) -> Path:
    return path.parent / f".{path.name}.superseded"


def _partial_recipe(partial: Path) -> str | None:
    try:
        refuse_links(partial / RECIPE)
        return (partial / RECIPE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, OutputError):
        return ""  # of no recipe


def _swap(partial: Path, path: Path) -> None:
    """Put the partial directory in place of the old one.

    There is no portable way to exchange two directories at once. A kill between
    the two renames leaves the old one under a name that ``read`` and ``create``
    know to put back.
    """
    superseded = _superseded(path)
    remove(superseded)
    if path.exists():
        with contextlib.suppress(OSError):  # its owner may have let others in
            partial.chmod(path.stat().st_mode & 0o7777)
        path.rename(superseded)
    elif path.is_symlink():
        path.unlink()
    partial.rename(path)
    _sync_directory(path.parent)
    remove(superseded)


def _identity(path: Path) -> tuple[int, int, int] | None:
    """Which directory it is that has this name now (numbers are used again, times are not)."""
    try:
        status = path.stat()
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns
    except OSError:
        return None


def _await_swap(path: Path) -> None:
    """For readers: let a swap that is under way end, and put right one that was killed."""
    deadline = time.monotonic() + SWAP_SECONDS
    while _superseded(path).exists() and not path.exists() and time.monotonic() < deadline:
        try:
            with lock(path):
                _restore_interrupted_swap(path)
        except BusyError:
            time.sleep(0.01)


def _restore_interrupted_swap(path: Path) -> None:
    """Put the old directory back if the new one did not take its place; needs the lock."""
    superseded = _superseded(path)
    if not superseded.exists():
        return
    if path.exists() or superseded.is_symlink():
        remove(superseded)
    else:
        superseded.rename(path)


def _entries(
    directory: Path, volatile: tuple[str, ...], working: str | None
) -> dict[str, FileEntry]:
    entries = {}
    for file in sorted(p for p in directory.rglob("*") if p.is_file()):
        name = file.relative_to(directory).as_posix()
        if name in (MANIFEST, RECIPE) or (working and name.startswith(f"{working}/")):
            continue
        _sync_file(file)
        outside = any(fnmatch.fnmatch(name, pattern) for pattern in volatile)
        entries[name] = FileEntry(file.stat().st_size, None if outside else hash_file(file))
    return entries


def _check_file(directory: Path, name: str, entry: FileEntry, kind: str, *, verify: bool) -> None:
    path = directory / name
    remedy = f"delete {directory} and run the command that made this {kind} again"
    place = path
    while place != directory:
        if place.is_symlink():
            raise DamagedError(f"{place} is a symbolic link, which linnet did not write; {remedy}")
        place = place.parent
    if not path.is_file():
        raise DamagedError(f"{path} is missing; {remedy}")
    if entry.sha256 is None:
        return
    size = path.stat().st_size
    if size != entry.bytes:
        raise DamagedError(f"{path} should have {entry.bytes} bytes. Got {size}; {remedy}")
    if verify and hash_file(path) != entry.sha256:
        raise DamagedError(f"{path} is not what was written (its hash differs); {remedy}")


def _input_entry(value: Artifact | str, path: Path) -> InputEntry:
    if isinstance(value, str):
        return InputEntry(value)
    relative = os.path.relpath(value.path.resolve(), path.resolve())
    return InputEntry(value.content, Path(relative).as_posix())


def _content_of(value: Artifact | str) -> str:
    return value if isinstance(value, str) else value.content


def _hash_json(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _sync_file(path: Path) -> None:
    with path.open("rb") as file, contextlib.suppress(OSError):
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
