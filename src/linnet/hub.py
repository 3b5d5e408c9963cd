"""Models from anywhere: a directory here, or a name on the Hugging Face hub.

(The rest of this module is being written.)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linnet.progress import SILENT, Progress


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


def find(source: Path | str, *, progress: Progress = SILENT) -> Located:
    """Find a model's directory."""
    return Located(Path(source))
