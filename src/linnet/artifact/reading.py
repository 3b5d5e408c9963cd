"""Finding and opening artifacts, also while another process replaces them."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from linnet.artifact.manifest import (
    LONGEST_POINTER,
    MANIFEST,
    Artifact,
    check_file,
    read_manifest,
)
from linnet.config import read_bytes
from linnet.errors import ArtifactError, BusyError, OutputError
from linnet.output import SWAP_SECONDS, lock, move, refuse_links, remove, sync_directory

RECIPE = "recipe"  # in a partial directory: the recipe it is made by


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
            return read_once(path, kind, verify=verify)
        except (ArtifactError, FileNotFoundError, PermissionError):
            # Half of this may have been read before another process replaced it.
            if _identity(path) == place and not superseded_directory(path).exists():
                raise


def _a(kind: str) -> str:
    """The name of a kind with its article."""
    return f"an {kind}" if kind[:1] in tuple("aeiou") else f"a {kind}"


def read_once(path: Path, kind: str | None, *, verify: bool) -> Artifact:
    """As :func:`read`, of what nobody replaces meanwhile."""
    wanted = f"{_a(kind)} directory" if kind else "a directory made by Linnet"
    if not path.exists():
        raise ArtifactError(f"{path}: expected {wanted}, but it does not exist")
    if not (path / MANIFEST).is_file():
        raise ArtifactError(f"{path}: expected {wanted}, but it has no {MANIFEST}")
    manifest = read_manifest(path)
    if kind is not None and manifest.kind != kind:
        raise ArtifactError(f"{path}: expected {wanted}, but it is {_a(manifest.kind)}")
    for name, entry in manifest.files.items():
        check_file(path, name, entry, manifest.kind, verify=verify)
    return Artifact(path, manifest)


def within(path: Path | str, kind: str) -> Path:
    """The artifact of this kind where ``path`` is a project; any other path as it is.

    In a project each stage's directory has the name of its kind, so that ``notes-model``
    does wherever ``notes-model/corpus`` or ``notes-model/model`` would.
    """
    path = Path(path)
    inner = path / kind
    return inner if is_artifact(inner) and not is_artifact(path) else path


def is_artifact(path: Path | str) -> bool:
    """Whether there is a manifest (sound or not)."""
    return (Path(path) / MANIFEST).is_file()


def previous_version(path: Path) -> Path:
    """Where a model is kept that another has replaced at ``path``."""
    return path.with_name(f"{path.name}.previous")


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
    return (partial_directory(path) / RECIPE).is_file()


def partial_directory(path: Path) -> Path:
    return path.parent / f".{path.name}.partial"


def superseded_directory(path: Path) -> Path:
    return path.parent / f".{path.name}.superseded"


def fill(partial: Path, path: Path) -> None:
    """Move what is in a partial directory into one that has nothing of that; the manifest last,
    which makes it an artifact. Raises OutputError, before anything is moved, where it has."""
    children = sorted(partial.iterdir(), key=lambda each: each.name == MANIFEST)
    for child in children:
        if os.path.lexists(path / child.name):
            raise OutputError(
                f"{path / child.name} is in the way; move it, and run the same command again"
            )
    for child in children:
        move(child, path / child.name)
    partial.rmdir()
    sync_directory(path)


def _finish_interrupted_fill(path: Path) -> None:
    """Go on where :func:`fill` was killed: some is there already, and of that nothing waits."""
    partial = partial_directory(path)
    if not (partial / MANIFEST).is_file() or (partial / RECIPE).exists() or not path.is_dir():
        return
    refuse_links(partial)
    there, waiting = ({child.name for child in each.iterdir()} for each in (path, partial))
    if there and not there & waiting:
        fill(partial, path)


def restore_interrupted_swap(path: Path) -> None:
    """Put the old directory back if the new one did not take its place; needs the lock."""
    _finish_interrupted_fill(path)
    superseded = superseded_directory(path)
    if not superseded.exists():
        return
    if path.exists() or superseded.is_symlink():
        remove(superseded)
    else:
        move(superseded, path)


def _await_swap(path: Path) -> None:
    """For readers: let a swap that is under way end, and put right one that was killed."""
    deadline = time.monotonic() + SWAP_SECONDS
    while superseded_directory(path).exists() and not path.exists() and time.monotonic() < deadline:
        try:
            with lock(path):
                restore_interrupted_swap(path)
        except BusyError:
            time.sleep(0.01)


def _identity(path: Path) -> tuple[object, ...] | None:
    """Which artifact has this name now: the directory and, where it has those, the generation.

    Numbers of files are used again, times are not; but several updates may share a tick of the
    clock.
    """
    try:
        status, pointer = path.stat(), b""
        with contextlib.suppress(ValueError):  # a longer one is a manifest itself
            pointer = read_bytes(path / MANIFEST, LONGEST_POINTER)
        return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, pointer
    except OSError:
        return None
