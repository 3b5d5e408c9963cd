"""What goes out of the log of calls again: what is too old, too much, or to be forgotten."""

from __future__ import annotations

from linnet.database import Database, bytes_used

_AT_ONCE = 500
"""Entries that go in one change, so that others may write between."""


def purge(database: Database, *, before: float, most_bytes: int) -> int:
    """Forget entries that arrived earlier, and the oldest ones beyond so many bytes; how many.

    Raises StoreError.
    """
    count = 0
    while True:
        with database.changing(is_deleting=True) as run:
            gone = run(
                "DELETE FROM calls WHERE number IN "
                "(SELECT number FROM calls WHERE at < ? ORDER BY at LIMIT ?)",
                (before, _AT_ONCE),
            ).rowcount
            if not gone and bytes_used(run) > most_bytes:
                gone = run(
                    "DELETE FROM calls WHERE number IN "
                    "(SELECT number FROM calls ORDER BY at LIMIT ?)",
                    (_AT_ONCE,),
                ).rowcount
            run("DELETE FROM drops WHERE at < ?", (before,))
        if not gone:
            return count
        count += gone
