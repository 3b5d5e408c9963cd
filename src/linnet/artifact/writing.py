"""Writing an artifact whole or not at all, and only where it is not there already."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from linnet.artifact.manifest import (
    MANIFEST,
    Artifact,
    FileEntry,
    Inputs,
    Manifest,
    Recipe,
    content_hash,
    hash_files,
    write_manifest,
)
from linnet.artifact.reading import (
    RECIPE,
    fill,
    is_artifact,
    partial_directory,
    read,
    read_once,
    restore_interrupted_swap,
    superseded_directory,
)
from linnet.errors import ArtifactError, BudgetError, ConfigError, DataError, OutputError
from linnet.output import (
    check_output_directory,
    create_file,
    full_disk_named,
    lock,
    make_directory,
    move,
    named,
    refuse_links,
    refuse_to_replace_here,
    remove,
    sync_directory,
)
from linnet.version import __version__


@dataclass
class Draft:
    """An artifact being written: write files into ``path`` and fill in ``stats``.

    ``resumed``: whether ``path`` holds what an interrupted run of the same recipe left.
    ``digest``: a hash that the writer may give of what is in volatile files (the rows of an SQLite
    file, say); it becomes part of the content hash.
    """

    path: Path
    resumed: bool
    recipe: Recipe
    stats: dict[str, Any] = field(default_factory=dict)
    digest: str | None = None
    started: float = field(default_factory=time.monotonic)

    def manifest(
        self,
        path: Path,
        files: dict[str, FileEntry],
        content: str,
        generation: int | None = None,
    ) -> Manifest:
        """The manifest of the artifact at ``path`` with these files."""
        return Manifest(
            kind=self.recipe.kind,
            format=self.recipe.format,
            config=dict(self.recipe.config),
            inputs=self.recipe.input_entries(path),
            files=files,
            stats=self.stats,
            recipe=self.recipe.hash,
            content=content,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(time.monotonic() - self.started, 3),
            linnet=__version__,
            generation=generation,
        )


def make(
    path: Path | str,
    write: Callable[[Draft], None],
    *,
    kind: str,
    format: int,
    config: Mapping[str, Any],
    inputs: Inputs,
    resume: bool = False,
    volatile: tuple[str, ...] = (),
    working: str | None = None,
    sources: Sequence[Path] = (),
    reuse: bool | Callable[[Artifact], bool] = True,
) -> Artifact:
    """The artifact of this recipe at ``path``: the current one, or else the one ``write`` makes.

    ``reuse``: whether a current one may be returned, or a function that decides so.
    The other arguments are those of :func:`create`.
    """
    if reuse:
        existing = current(path, Recipe(kind, format, config, inputs))
        if existing is not None and (reuse is True or reuse(existing)):
            return existing
    with create(
        path,
        kind=kind,
        format=format,
        config=config,
        inputs=inputs,
        resume=resume,
        volatile=volatile,
        working=working,
        sources=sources,
    ) as draft:
        write(draft)
    return read(path, kind=kind)


def current(path: Path | str, recipe: Recipe) -> Artifact | None:
    """The artifact at ``path`` if it is whole and was made by this recipe, else None."""
    path = named(path)
    finished = partial_directory(path)
    if _is_finished(finished, recipe.hash):  # killed before it took its place
        with lock(path):
            restore_interrupted_swap(path)
            check_output_directory(path, allowed=(MANIFEST,))
            _drop_working(finished)
            swap(finished, path)
    try:
        found = read(path, kind=recipe.kind)
    except ArtifactError:
        return None
    return found if found.manifest.recipe == recipe.hash else None


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
    path, recipe = named(path), Recipe(kind, format, config, inputs)
    refuse_own_input(path, recipe, sources)
    with lock(path), full_disk_named(path):
        restore_interrupted_swap(path)
        check_output_directory(path, allowed=(MANIFEST,))
        refuse_to_replace_here(path)  # before any work
        with partial(path, recipe, resume=resume) as draft:
            yield draft
            _complete(draft, path, volatile, working)
        swap(draft.path, path)


@contextlib.contextmanager
def partial(path: Path, recipe: Recipe, *, resume: bool) -> Iterator[Draft]:
    """The partial directory of ``path``, removed where the block raises and it is of no use."""
    place = partial_directory(path)
    if place.is_symlink():
        refuse_links(place)
    draft = Draft(place, resume and _partial_recipe(place) == recipe.hash, recipe)
    try:
        if draft.resumed:
            refuse_links(place)
        else:
            remove(place)
            make_directory(place)
            with create_file(place / RECIPE) as file:
                file.write(recipe.hash.encode("utf-8"))
        yield draft
    except BaseException as error:
        if not (resume and _is_of_use(draft, error)):
            remove(place)
        raise


def _complete(draft: Draft, path: Path, volatile: tuple[str, ...], working: str | None) -> None:
    """Hash what was written and write the manifest."""
    left_out = (MANIFEST, RECIPE, *([working] if working else []))
    files = hash_files(draft.path, volatile=volatile, leave_out=left_out)
    hashes = {name: entry.sha256 for name, entry in files.items() if entry.sha256}
    content = content_hash(draft.recipe.kind, hashes, draft.digest)
    write_manifest(draft.path / MANIFEST, draft.manifest(path, files, content))
    (draft.path / RECIPE).unlink()  # from here on it is whole: see ``current``
    if working is not None:
        remove(draft.path / working)


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


def refuse_own_input(path: Path, recipe: Recipe, sources: Sequence[Path] = ()) -> None:
    """What is written must not take the place of what it is made from."""
    artifacts = [value.path for value in recipe.inputs.values() if isinstance(value, Artifact)]
    refuse_place_of(path, (*artifacts, *sources))


def refuse_place_of(path: Path, sources: Sequence[Path]) -> None:
    """Raise OutputError where ``path`` is one of these, or holds it."""
    place = path.resolve()
    for source in sources:
        if place == source.resolve() or place in source.resolve().parents:
            raise OutputError(
                f"{path}: expected another place to write to. Got what it is to be made from "
                f"({source}), which would be lost"
            )


def _drop_working(partial: Path) -> None:
    """Remove the folders of a whole partial directory that are no part of what was made."""
    made = read_once(partial, None, verify=False)
    listed = {name.partition("/")[0] for name in made.manifest.files}
    for child in partial.iterdir():
        if child.is_symlink() or (child.is_dir() and child.name not in listed):
            remove(child)


def _is_finished(partial: Path, recipe: str) -> bool:
    """Whether this partial directory is whole and was made by this recipe."""
    if partial.is_symlink() or (partial / RECIPE).exists():
        return False
    try:
        return read_once(partial, None, verify=False).manifest.recipe == recipe
    except (ArtifactError, OSError):
        return False


def _partial_recipe(partial: Path) -> str | None:
    try:
        refuse_links(partial / RECIPE)
        return (partial / RECIPE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, OutputError):
        return ""  # of no recipe


def swap(partial: Path, path: Path) -> None:
    """Put the partial directory in place of the old one.

    There is no portable way to exchange two directories at once. A kill between
    the two renames leaves the old one under a name that ``read`` and ``create``
    know to put back. A directory that was empty is filled and not replaced, as whoever stands in
    it would be left in one that is gone, and what came to lie there since would be lost. Raises
    OutputError where that has a name of ours, and for an artifact that this process stands in;
    what was made waits then for :func:`current`.
    """
    if path.is_dir() and not is_artifact(path):
        fill(partial, path)
        return
    refuse_to_replace_here(path)
    superseded = superseded_directory(path)
    remove(superseded)
    if path.exists():
        with contextlib.suppress(OSError):  # its owner may have let others in
            partial.chmod(path.stat().st_mode & 0o7777)
        move(path, superseded)
    elif path.is_symlink():
        path.unlink()
    move(partial, path)
    sync_directory(path.parent)
    remove(superseded)
