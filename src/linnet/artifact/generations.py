"""Artifacts that are updated by transactions instead of being rewritten.

::

    index/manifest.json          the current generation, and the hash of its manifest
    index/generation-7.json      its manifest
    index/generation-7/...       the files that it added
    index/generation-5/...       files of an earlier generation that it still uses
    index/readers/7-...          one lock per reader of generation 7

Committed files are immutable. An update writes its files into the directory of the next generation,
then the manifest, and finally replaces ``manifest.json``: readers see all of an update or none of
it, and a process killed at any point leaves the previous generation current. A reader that needs
the files for longer takes a :func:`snapshot`, which locks its generation; an update removes only
files that neither the current generation nor a locked one uses. The operating system releases the
lock of a reader that dies.

Every file has a hash, even a volatile one, so that ``read(..., verify=True)`` finds any changed
byte; one in a manifest is found by every ``read``. The *content* hash follows the usual rule:
volatile files are left out, unless the writer covers them by a digest of its own.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import Timeout

from linnet.artifact.manifest import (
    MANIFEST,
    Artifact,
    FileEntry,
    Inputs,
    Recipe,
    content_hash,
    directory,
    generation_file,
    hash_files,
    is_volatile,
    read_generation,
    read_manifest,
    write_manifest,
    write_pointer,
)
from linnet.artifact.reading import (
    RECIPE,
    is_artifact,
    read,
    restore_interrupted_swap,
)
from linnet.artifact.writing import Draft, current, partial, refuse_own_input, swap
from linnet.errors import ArtifactError, BusyError, DamagedError, OutputError
from linnet.output import (
    check_output_directory,
    full_disk_named,
    hold,
    lock,
    make_directory,
    make_inner_directory,
    named,
    refuse_links,
    remove,
    sync_directory,
)

READERS = "readers"
_OURS = re.compile(r"generation-\d{1,18}(\.json)?|\.generation-\d{1,18}\.json\.partial")
_READER = re.compile(r"(\d{1,18})-[0-9a-f]{32}")


@dataclass
class Generation(Draft):
    """The draft of an artifact's next generation.

    A file written into ``path`` replaces the one of that name; the others are inherited.
    """

    before: Artifact | None = None
    """The generation to update; None if there is none of this kind and format."""
    removed: set[str] = field(default_factory=set)

    def remove(self, name: str) -> None:
        """Drop a file of the previous generation."""
        if self.before is None or name not in self.before.names:
            raise ArtifactError(f"expected a file of the previous generation. Got {name}")
        self.removed.add(name)

    def copy(self, name: str) -> Path:
        """Copy a file of the previous generation, to be changed in this one."""
        if self.before is None:
            raise ArtifactError(f"expected a file of the previous generation. Got {name}")
        target = self.path / name
        make_directory(target.parent)
        shutil.copyfile(self.before.file(name), target)
        return target

    def inherited(self, written: Mapping[str, FileEntry]) -> dict[str, FileEntry]:
        """The files taken over from the previous generation, by their paths."""
        if self.before is None:
            return {}
        gone = self.removed | written.keys()
        files = self.before.manifest.files
        return {
            place: files[place] for name, place in self.before.names.items() if name not in gone
        }


CLEARING_SECONDS = 2.0
"""For which an update waits: a reader that closes a snapshot may be removing what it needed."""


@contextlib.contextmanager
def update(
    path: Path | str,
    *,
    kind: str,
    format: int,
    config: Mapping[str, Any],
    inputs: Inputs,
    volatile: tuple[str, ...] = (),
) -> Iterator[Generation]:
    """Write the next generation of an artifact, or the first.

    Leaving the block commits it. If the block raises or the process is killed, the previous
    generation stays current. An artifact of another kind or format is replaced.
    ``volatile``: patterns of files that are left out of the content hash.
    Raises what :func:`linnet.artifact.create` raises, and DamagedError if the previous generation
    is damaged.
    """
    path, recipe = named(path), Recipe(kind, format, config, inputs)
    refuse_own_input(path, recipe)
    with lock(path, wait=CLEARING_SECONDS), full_disk_named(path):
        restore_interrupted_swap(path)
        check_output_directory(path, allowed=(MANIFEST,))
        before = read(path) if is_artifact(path) else None
        if before is None or before.manifest.generation is None:
            # Written to a partial directory and renamed, so that it appears as a whole.
            with partial(path, recipe, resume=False) as outer:
                draft = Generation(outer.path / directory(1), False, recipe)
                make_directory(draft.path)
                yield draft
                _commit(draft, outer.path, path, 1, volatile)
                (outer.path / RECIPE).unlink()
            swap(outer.path, path)
            return
        refuse_links(path)
        number = before.manifest.generation + 1
        _remove_unused(path)
        draft = Generation(path / directory(number), False, recipe)
        if (before.manifest.kind, before.manifest.format) == (kind, format):
            draft.before = before
        try:
            make_directory(draft.path)
            yield draft
            _commit(draft, path, path, number, volatile)
        finally:
            _remove_unused(path)


def make_generation(
    path: Path | str,
    write: Callable[[Generation], None],
    *,
    kind: str,
    format: int,
    config: Mapping[str, Any],
    inputs: Inputs,
    volatile: tuple[str, ...] = (),
) -> Artifact:
    """The artifact of this recipe at ``path``: the current one, or the one ``write`` updates to."""
    if existing := current(path, Recipe(kind, format, config, inputs)):
        return existing
    with update(
        path, kind=kind, format=format, config=config, inputs=inputs, volatile=volatile
    ) as draft:
        write(draft)
    return read(path, kind=kind)


@contextlib.contextmanager
def snapshot(
    path: Path | str, *, kind: str | None = None, verify: bool = False
) -> Iterator[Artifact]:
    """Open an artifact as :func:`linnet.artifact.read` does, and keep its files from updates.

    Protects against :func:`update` (not against :func:`linnet.artifact.create`), provided that the
    reader may write a lock into the directory. Raises what ``read`` raises.
    """
    while True:
        found = read(path, kind=kind, verify=verify)
        number = found.manifest.generation
        if number is None:
            yield found
            return
        with contextlib.ExitStack() as stack:
            reader = found.path / READERS / f"{number}-{uuid.uuid4().hex}"
            with contextlib.suppress(OSError, OutputError):
                make_inner_directory(reader.parent)
                stack.enter_context(hold(reader))
            # An update may have removed the files before the lock was there.
            if read(found.path, kind=kind).manifest.generation == number:
                yield found
                return


def remove_unused(path: Path | str) -> None:
    """Remove what a reader needed that has closed its snapshot since the last update. Does nothing
    where another process writes; the next update does it then."""
    path = Path(path)
    with contextlib.suppress(BusyError, OutputError), lock(path):
        refuse_links(path)
        _remove_unused(path)


def _commit(
    draft: Generation, place: Path, path: Path, number: int, volatile: tuple[str, ...]
) -> None:
    """Write the manifest into ``place``, which is or becomes ``path``, and make it current."""
    written = hash_files(draft.path, volatile=None)
    files = draft.inherited(written)
    files |= {f"{directory(number)}/{name}": entry for name, entry in written.items()}
    hashes = {
        name: entry.sha256
        for where, entry in files.items()
        if entry.sha256 and not is_volatile(name := where.partition("/")[2], volatile)
    }
    content = content_hash(draft.recipe.kind, hashes, draft.digest)
    manifest = draft.manifest(path, files, content, number)
    for inner in (draft.path, *draft.path.rglob("*")):
        if inner.is_dir():
            sync_directory(inner)
    write_manifest(place / generation_file(number), manifest)
    write_pointer(place, number)
    sync_directory(place)


def _remove_unused(path: Path) -> None:
    """Remove the files that neither the current generation nor one that is being read uses."""
    needed = {MANIFEST}
    try:
        numbers, current_number = _being_read(path), read_manifest(path).generation
        for number in numbers if current_number is None else {*numbers, current_number}:
            needed.add(generation_file(number))
            needed |= read_generation(path, number).files.keys()
    except DamagedError:
        return  # no telling what is needed
    for place in path.iterdir():
        if _OURS.fullmatch(place.name):
            _remove_unless(place, path, needed)


def _remove_unless(place: Path, path: Path, needed: set[str]) -> None:
    """Remove a file, or those in a directory, unless they are needed or in use."""
    if place.is_dir():
        for inner in place.iterdir():
            _remove_unless(inner, path, needed)
        with contextlib.suppress(OSError):  # not empty
            place.rmdir()
    elif place.relative_to(path).as_posix() not in needed:
        remove(place)


def _being_read(path: Path) -> set[int]:
    """The generations that are locked by readers. Removes the lock files of dead readers."""
    numbers = set()
    for file in (path / READERS).glob("*"):
        if found := _READER.fullmatch(file.name):
            try:
                with hold(file, timeout=0):
                    pass
            except Timeout:
                numbers.add(int(found[1]))
    return numbers
