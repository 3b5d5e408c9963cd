"""An artifact that is updated by transaction instead of being written anew.

::

    index/manifest.json          which generation is current, and the hash of its manifest
    index/generation-7.json      its manifest
    index/generation-7/...       the files that it wrote
    index/generation-5/...       files of before that it still has
    index/readers/7-...          locks: who reads which generation

Files are never changed once they are committed. An update writes its own under the number of the
next generation, then the manifest, and at last replaces ``manifest.json``: whoever reads sees all
of it or nothing, and a kill at any moment leaves the generation before. :func:`snapshot` holds a
lock on the generation that it opened, by which the next update sees which files somebody still
needs; the operating system drops it when the reader dies. All else is removed.

Every file has its hash, whatever it is: a flipped byte is found by ``read(..., verify=True)``, one
in a manifest by every ``read``. To the *content* volatile files count as in any artifact: not at
all, or by the digest that the writer gives.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import time
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
    SWAP_SECONDS,
    is_artifact,
    read,
    restore_interrupted_swap,
)
from linnet.artifact.writing import Draft, current, partial, refuse_own_input, swap
from linnet.errors import ArtifactError, OutputError
from linnet.output import (
    full_disk_named,
    hold,
    lock,
    make_directory,
    make_inner_directory,
    refuse_foreign,
    refuse_links,
    remove,
    sync_directory,
)

READERS = "readers"
_OURS = re.compile(r"generation-\d{1,18}(\.json)?|\.generation-\d{1,18}\.json\.partial")
_READER = re.compile(r"(\d{1,18})-[0-9a-f]{32}")


@dataclass
class Generation(Draft):
    """The next generation of an artifact. What is written into ``path`` is added to it.

    A file takes the place of the one that had its name before; all others stay.
    """

    before: Artifact | None = None
    """The generation that this one changes, None where there is none of this kind and format."""
    removed: set[str] = field(default_factory=set)

    def remove(self, name: str) -> None:
        """Leave a file of the generation before out of this one."""
        if self.before is None or name not in self.before.names:
            raise ArtifactError(f"expected the name of a file of the generation before. Got {name}")
        self.removed.add(name)

    def copy(self, name: str) -> Path:
        """A copy of a file of the generation before, to be changed."""
        if self.before is None:
            raise ArtifactError(f"expected the name of a file of the generation before. Got {name}")
        target = self.path / name
        make_directory(target.parent)
        shutil.copyfile(self.before.file(name), target)
        return target

    def kept(self, written: Mapping[str, FileEntry]) -> dict[str, FileEntry]:
        """Files of the generation before that are still in this one, by where they lie."""
        if self.before is None:
            return {}
        gone = self.removed | written.keys()
        files = self.before.manifest.files
        return {
            place: files[place] for name, place in self.before.names.items() if name not in gone
        }


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
    """Change an artifact by a transaction, or begin it.

    On leaving the block the next generation is current; when the block raises, or the process is
    killed, the one before is. Another artifact at ``path``, or one of another format, is replaced.
    ``volatile``: patterns of files that stay outside the content hash.
    Raises what :func:`linnet.artifact.create` raises, and DamagedError when the generation before
    is damaged.
    """
    path, recipe = Path(path), Recipe(kind, format, config, inputs)
    refuse_own_input(path, recipe)
    with lock(path), full_disk_named(path):
        restore_interrupted_swap(path)
        refuse_foreign(path, allowed=(MANIFEST,))
        before = read(path) if is_artifact(path) else None
        if before is None or before.manifest.generation is None:
            # Written beside it as any artifact, so that the first generation is there whole or not.
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
        _clean(path)
        draft = Generation(path / directory(number), False, recipe)
        if (before.manifest.kind, before.manifest.format) == (kind, format):
            draft.before = before
        try:
            make_directory(draft.path)
            yield draft
            _commit(draft, path, path, number, volatile)
        finally:
            _clean(path)


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
    """The artifact of this recipe at ``path``: as it is there, or as ``write`` updates it now."""
    if existing := current(path, Recipe(kind, format, config, inputs).hash, kind=kind):
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
    """Open an artifact as :func:`linnet.artifact.read` does; its files stay until the block ends.

    That holds for an artifact that is updated by transaction, and where the reader may write a
    lock into its directory. Raises what ``read`` raises.
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
            # An update that ended before the lock was there may have removed the files.
            if read(found.path, kind=kind).manifest.generation == number:
                yield found
                return


def _commit(
    draft: Generation, place: Path, path: Path, number: int, volatile: tuple[str, ...]
) -> None:
    """Write the manifest of what will lie at ``path`` into ``place``, and make it the current."""
    written = hash_files(draft.path, volatile=None)
    files = draft.kept(written)
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
    deadline = time.monotonic() + SWAP_SECONDS
    while True:
        try:
            write_pointer(place, number)
            break
        except PermissionError:  # Windows replaces no file that a reader has open
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    sync_directory(place)


def _clean(path: Path) -> None:
    """Remove what neither the current generation nor one that is being read consists of."""
    needed = {MANIFEST}
    for number in {read_manifest(path).generation, *_being_read(path)}:
        assert number is not None
        needed.add(generation_file(number))
        needed |= read_generation(path, number).files.keys()
    for place in path.iterdir():
        if _OURS.fullmatch(place.name):
            _remove_unless(place, path, needed)


def _remove_unless(place: Path, path: Path, needed: set[str]) -> None:
    """Remove a file or what is in a directory, as far as it is not needed and can be removed."""
    if place.is_dir():
        for inner in place.iterdir():
            _remove_unless(inner, path, needed)
        with contextlib.suppress(OSError):  # not empty
            place.rmdir()
    elif place.relative_to(path).as_posix() not in needed:
        remove(place)


def _being_read(path: Path) -> set[int]:
    """The generations that a reader holds a lock on; the locks of dead readers are removed."""
    numbers = set()
    for file in (path / READERS).glob("*"):
        if found := _READER.fullmatch(file.name):
            try:
                with hold(file, timeout=0):
                    pass
            except Timeout:
                numbers.add(int(found[1]))
    return numbers
