"""The run's diary: one line of JSON for each step, validation, sample and event."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from linnet.config import parse_json
from linnet.output import open_to_append, write_text

if TYPE_CHECKING:
    from pathlib import Path

METRICS = "metrics.jsonl"


class MetricsLog:
    """Appends to ``metrics.jsonl`` in a directory. Every entry has its ``step``."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / METRICS

    def write(self, entry: dict[str, Any]) -> None:
        """Add a line. A figure that is not a number is written as null, as JSON has none."""
        entry = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in entry.items()
        }
        with open_to_append(self.path) as file:
            file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8"))

    def clear(self) -> None:
        """Begin anew."""
        self.path.unlink(missing_ok=True)

    def cut(self, step: int) -> None:
        """Drop what was logged after the state of ``step`` was saved, and a half-written line."""
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if parse_json(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError, IndexError):
                continue
        write_text(self.path, "".join(f"{line}\n" for line in kept))
