"""What ``manifest.json`` holds, and the hashes in it."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

from linnet.config import from_mapping, parse_json, read_bytes
from linnet.errors import ArtifactError, ConfigError, DamagedError
from linnet.output import is_plain_name, path_from, sync_file, write_json

MANIFEST = "manifest.json"
LARGEST_MANIFEST = 1 << 28  # bytes; one lists every file of an artifact
LONGEST_POINTER = 200  # bytes; one has a number and a hash
ALWAYS_VOLATILE = ("*.sqlite", "*.sqlite-*", "*.log")

_SHA256 = re.compile("[0-9a-f]{64}")
_IN_GENERATION = re.compile("generation-[0-9]{1,18}/.")


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
    generation: int | None = None
    """Of an artifact that is updated by transaction, which of its generations this is."""


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

    @property
    def names(self) -> dict[str, str]:
        """The files by the names that they were written under, with where they lie below ``path``.

        The two differ where an artifact is updated by transaction: there each file lies in the
        directory of the generation that wrote it.
        """
        if self.manifest.generation is None:
            return {name: name for name in self.manifest.files}
        return {name.partition("/")[2]: name for name in self.manifest.files}

    def file(self, name: str) -> Path:
        """Where the file of this name lies. Raises ArtifactError when there is none."""
        try:
            return self.path / self.names[name]
        except KeyError:
            raise ArtifactError(
                f"{self.path}: expected a file {name} in it, but it has none"
            ) from None


Inputs: TypeAlias = Mapping[str, "Artifact | str | InputEntry"]
"""Inputs by role: an artifact, the content hash of something that is not one, or what a manifest
said of either."""


@dataclass(frozen=True)
class Recipe:
    """What an artifact is made from, and how."""

    kind: str
    format: int
    config: Mapping[str, Any]
    inputs: Inputs

    @property
    def hash(self) -> str:
        contents = {role: _content_of(value) for role, value in self.inputs.items()}
        return hash_json(
            {"kind": self.kind, "format": self.format, "config": self.config, "inputs": contents}
        )

    def input_entries(self, path: Path) -> dict[str, InputEntry]:
        """The inputs as the manifest of an artifact at ``path`` lists them."""
        return {role: _input_entry(value, path) for role, value in self.inputs.items()}


def hash_file(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def content_hash(kind: str, files: Mapping[str, str], digest: str | None) -> str:
    """The content of an artifact: hashes of its files by name, and the digest that it gave."""
    return hash_json([kind, files] if digest is None else [kind, files, digest])


def is_volatile(name: str, patterns: tuple[str, ...]) -> bool:
    """Whether a file stays outside the content hash."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in ALWAYS_VOLATILE + patterns)


def hash_files(
    directory: Path, *, volatile: tuple[str, ...] | None, leave_out: tuple[str, ...] = ()
) -> dict[str, FileEntry]:
    """The files below a directory, each synced to the disk, with size and hash.

    ``volatile``: patterns of files that get no hash, beside those that never get one; None: all
    get one. ``leave_out``: names of files and directories at its top that are passed over.
    """
    entries = {}
    for file in sorted(p for p in directory.rglob("*") if p.is_file()):
        name = file.relative_to(directory).as_posix()
        if name.partition("/")[0] in leave_out:
            continue
        sync_file(file)
        hashed = volatile is None or not is_volatile(name, volatile)
        entries[name] = FileEntry(file.stat().st_size, hash_file(file) if hashed else None)
    return entries


def write_manifest(file: Path, manifest: Manifest) -> None:
    values = asdict(manifest)
    if manifest.generation is None:
        del values["generation"]
    write_json(file, values)


@dataclass(frozen=True)
class _Pointer:
    """What ``manifest.json`` holds where the manifest is that of a generation."""

    generation: int
    sha256: str


def write_pointer(path: Path, generation: int) -> None:
    """Make a generation, whose manifest is there, the one that is read."""
    digest = hash_file(path / generation_file(generation))
    write_json(path / MANIFEST, asdict(_Pointer(generation, digest)))


def generation_file(generation: int) -> str:
    """The manifest of a generation."""
    return f"generation-{generation}.json"


def directory(generation: int) -> str:
    """The files that a generation wrote."""
    return f"generation-{generation}"


def read_manifest(path: Path) -> Manifest:
    """The manifest of the artifact at ``path``, each value of its type. Raises DamagedError."""
    with _damage_named(path, path / MANIFEST):
        raw = _object(read_bytes(path / MANIFEST, LARGEST_MANIFEST))
        if raw.keys() != {"generation", "sha256"}:
            return _checked(raw, generation=None)
        pointer = from_mapping(_Pointer, raw, where="manifest")
        if not 0 < pointer.generation < 10**18:
            raise ValueError("it names no generation")
    return read_generation(path, pointer.generation, sha256=pointer.sha256)


def read_generation(path: Path, generation: int, *, sha256: str | None = None) -> Manifest:
    """The manifest of one generation, of this hash. Raises DamagedError."""
    with _damage_named(path, file := path / generation_file(generation)):
        content = read_bytes(file, LARGEST_MANIFEST)
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"it is not what {MANIFEST} says")
        return _checked(_object(content), generation=generation)


@contextlib.contextmanager
def _damage_named(path: Path, file: Path) -> Iterator[None]:
    remedy = f"delete {path} and run the same command again"
    try:
        yield
    except FileNotFoundError:
        raise DamagedError(f"{file} is missing; {remedy}") from None
    except (ValueError, ConfigError) as error:
        raise DamagedError(f"{file} is damaged ({error}); {remedy}") from None


def _object(content: bytes) -> dict[str, Any]:
    raw = parse_json(content.decode("utf-8"))
    if not isinstance(raw, dict):
        raise ValueError("it is no JSON object")
    return raw


def _checked(raw: dict[str, Any], *, generation: int | None) -> Manifest:
    found = from_mapping(Manifest, raw, where="manifest")
    if found.generation != generation:
        raise ValueError(f"it is of generation {found.generation}, not {generation}")
    for name, file in found.files.items():
        if not is_plain_name(name):
            raise ValueError(f"a file in it has a name, not a path elsewhere. Got {name[:60]!r}")
        if generation is not None and not _IN_GENERATION.match(name):
            raise ValueError(f"file {name[:60]!r} is of no generation")
        if file.bytes < 0 or not (file.sha256 is None or _SHA256.fullmatch(file.sha256)):
            raise ValueError(f"file {name[:60]!r} has no size and hash")
    for role, entry in found.inputs.items():
        if entry.path is not None and "\0" in entry.path:
            raise ValueError(f"input {role[:60]!r} names no path")
    return found


def check_file(directory: Path, name: str, entry: FileEntry, kind: str, *, verify: bool) -> None:
    """Raise DamagedError unless a listed file is there: of its size and, to verify, its hash."""
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


def _input_entry(value: Artifact | str | InputEntry, path: Path) -> InputEntry:
    if isinstance(value, InputEntry):
        return value
    if isinstance(value, str):
        return InputEntry(value)
    return InputEntry(value.content, path_from(path, value.path))


def _content_of(value: Artifact | str | InputEntry) -> str:
    return value if isinstance(value, str) else value.content
