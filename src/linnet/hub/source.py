"""How a source is named: a directory, or ``org/name``, ``org/name@revision`` on the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from linnet.errors import ModelError

PREFIX = "hf:"
_PART = r"[A-Za-z0-9][\w.-]*"
_NAME = re.compile(
    rf"(?P<prefix>hf:)?(?P<name>{_PART}(?:/{_PART})?)(?:@(?P<revision>\w[\w./-]*))?", re.ASCII
)


@dataclass(frozen=True)
class Source:
    """A repository of the hub; ``revision`` is a branch, a tag or a commit."""

    name: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision != "main" else self.name


@dataclass(frozen=True)
class Located:
    """Where a model is: ``name`` and ``revision`` (a commit) for one from the hub."""

    path: Path
    name: str | None = None
    revision: str | None = None

    @property
    def pin(self) -> str | None:
        """``org/name@commit``, which will always mean these files; None for a local directory."""
        return f"{self.name}@{self.revision}" if self.name else None


def parse(source: str) -> Source | None:
    """The repository that a text names, or None where it is a path.

    What exists here is a path, and so is what begins like one (``./``, ``/``, ``~``, or
    with a directory that exists): a mistyped path must not be asked of the hub. ``hf:``
    before a name says that the hub is meant. Raises ModelError for a name after ``hf:``
    that none can have.
    """
    match = _NAME.fullmatch(source)
    if match is None or ".." in (match["revision"] or ""):
        if source.startswith(PREFIX):
            raise ModelError(f"{source}: a model on the hub is named as org/name@revision")
        return None
    name = match["name"]
    if not match["prefix"]:
        if Path(source).exists() or Path(name.partition("/")[0]).is_dir():
            return None
        if "/" not in name:
            return None
    return Source(name, match["revision"] or "main")
