"""What a scan of the sources finds: files to read, files passed over, and why."""

from __future__ import annotations

import os
import stat
from collections import Counter
from dataclasses import dataclass, field

from linnet.data import kinds

_EXAMPLES = 2


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to read. ``name`` is the source's label and the path below it, as valid Unicode."""

    name: str
    group: str
    path: str
    kind: str | None
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class SkippedFile:
    """A file or folder that is not read, and why."""

    name: str
    reason: str
    detail: str = ""


@dataclass
class Scan:
    """What the sources hold."""

    files: list[SourceFile] = field(default_factory=list)
    skipped: list[SkippedFile] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """Hidden files, junk and what patterns leave out: counted but not listed."""
    ignored_examples: dict[str, list[str]] = field(default_factory=dict)
    """By reason: the names of a few of them."""
    reads_images: bool = False
    """Whether OCR reads files that are images."""

    def add(self, path: str, name: str, group: str, kind: str | None = None) -> None:
        """List a file to be read, or as skipped when its name or nature forbids that."""
        base = os.path.basename(path)
        if reason := kinds.refusal(base, images=self.reads_images):
            self.skip(name, reason)
            return
        try:
            status = os.stat(path)
        except OSError as error:  # it may also have gone since its folder was listed
            self.skip(name, "broken link" if os.path.islink(path) else explain(error))
            return
        if not stat.S_ISREG(status.st_mode):
            self.skip(name, "not a regular file")
            return
        kind = kind or kinds.kind_of(base)
        try:
            lacking = kinds.lacking(kind, path) if kind else None
        except OSError as error:
            lacking = explain(error)
        if lacking:
            self.skip(name, lacking)
            return
        self.files.append(SourceFile(name, group, path, kind, status.st_size, status.st_mtime_ns))

    def ignore(self, name: str, reason: str) -> None:
        """Count a file or folder that is passed over."""
        self.ignored[reason] += 1
        examples = self.ignored_examples.setdefault(reason, [])
        if len(examples) < _EXAMPLES:
            examples.append(name)

    def skip(self, name: str, reason: str) -> None:
        self.skipped.append(SkippedFile(name, reason))


def explain(error: OSError) -> str:
    """An operating system's error as a reason for skipping a file."""
    if isinstance(error, PermissionError):
        return "permission denied"
    return (error.strerror or "cannot be read").lower()
