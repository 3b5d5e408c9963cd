"""How long work reports what it is doing, without knowing who listens.

Library code never prints. A stage takes ``progress: Progress`` (silent by
default) and opens a task for anything that may take over two seconds; the
command line passes one that draws (``linnet.cli.terminal``).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Task:
    """One piece of work under way. ``total`` is in ``unit``, or None if unknown."""

    def advance(self, amount: float = 1) -> None:
        """Say that ``amount`` more units are done."""

    def update(
        self, *, done: float | None = None, total: float | None = None, note: str | None = None
    ) -> None:
        """Set the units done, the total, or a short note such as ``loss 2.31``."""


class Progress:
    """Listens to nothing. Subclasses draw."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    @contextmanager
    def task(self, name: str, *, total: float | None = None, unit: str = "") -> Iterator[Task]:
        """Open a task. ``unit``: a noun such as ``files``, ``bytes``, which is scaled, or ``%``."""
        yield Task()

    def message(self, text: str) -> None:
        """A line worth keeping in the terminal's history."""

    def warn(self, text: str) -> None:
        """Something the user should know but that does not stop the work."""


SILENT = Progress()
