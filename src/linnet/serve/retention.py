"""What goes out of a store of responses and conversations again: what is too old, or too much."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from linnet.database import Database, Run, StoreError, bytes_used


def forget_unused(run: Run, before: float) -> None:
    """Forget what was not used since."""
    old = run("SELECT id FROM conversations WHERE used < ?", (before,)).fetchall()
    forget_conversations(run, [name for (name,) in old])
    _forget_responses(run, "used < ?", before)


def forget_conversations(run: Run, names: Iterable[str]) -> None:
    """With their items and responses."""
    for name in names:
        run("DELETE FROM conversations WHERE id = ?", (name,))
        run("DELETE FROM items WHERE conversation = ?", (name,))
        _forget_responses(run, "conversation = ?", name)


def _forget_responses(run: Run, where: str, value: Any) -> None:
    chosen = f"(SELECT id FROM responses WHERE {where})"
    run(f"DELETE FROM items WHERE conversation IS NULL AND response IN {chosen}", (value,))
    run(f"UPDATE items SET response = NULL WHERE response IN {chosen}", (value,))
    run(f"DELETE FROM responses WHERE {where}", (value,))


def make_space(
    database: Database, run: Run, table: str, name: str, *, most_bytes: int, most_entries: int
) -> None:
    """Forget what was used longest ago until there is space for what is new.

    Raises StoreError where it is too large for that.
    """
    for each in ("responses", "conversations"):
        over = run(f"SELECT COUNT(*) FROM {each}").fetchone()[0] - most_entries
        if over > 0:
            _forget_oldest(run, each, over + most_entries // 20)
    while bytes_used(run) > most_bytes:
        heaviest = run(
            "SELECT owner FROM items GROUP BY owner ORDER BY SUM(LENGTH(body)) DESC LIMIT 1"
        ).fetchone()
        for each in ("responses", "conversations"):
            where, values = ("WHERE owner = ?", heaviest) if heaviest else ("", ())
            count = run(f"SELECT COUNT(*) FROM {each} {where}", values).fetchone()[0]
            _forget_oldest(run, each, -(-count // 10), *values)
        database.merge_words(run)
        if not run(f"SELECT 1 FROM {table} WHERE id = ?", (name,)).fetchone():
            raise StoreError(f"in memory at most {most_bytes:,} bytes are kept")


def _forget_oldest(run: Run, table: str, count: int, owner: str | None = None) -> None:
    """The oldest entries of an owner; None: of whoever has the most of them."""
    if count <= 0:
        return
    if owner is None:
        owner = run(
            f"SELECT owner FROM {table} GROUP BY owner ORDER BY COUNT(*) DESC LIMIT 1"
        ).fetchone()[0]
    rows = run(
        f"SELECT id FROM {table} WHERE owner = ? ORDER BY used LIMIT ?", (owner, count)
    ).fetchall()
    names = [name for (name,) in rows]
    if table == "conversations":
        forget_conversations(run, names)
    else:
        for name in names:
            _forget_responses(run, "id = ?", name)
