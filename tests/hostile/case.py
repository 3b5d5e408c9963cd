"""One hostile input: how it is made, what is done with it, and what must come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MB = 1 << 20


@dataclass(frozen=True)
class Case:
    """``make`` writes the input into an empty directory. ``DIR`` in ``command`` stands for that.

    ``line``: an expression that the one line on standard error begins with after ``error: ``; empty
    where the input does no harm and the run must succeed. ``project``: start from a built project
    in ``DIR/project``. ``quick``: in the default run.
    """

    name: str
    make: Callable[[Path], object]
    command: tuple[str, ...]
    line: str
    seconds: float = 30.0
    memory: int = 2_500 * MB
    project: bool = False
    quick: bool = False
    environment: tuple[tuple[str, str], ...] = ()


def deep(levels: int = 100_000) -> str:
    """JSON or a TOML value of lists in lists."""
    return "[" * levels + "]" * levels
