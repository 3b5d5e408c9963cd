"""What goes out of the log of calls again: what is too old, too much, or to be forgotten."""

from __future__ import annotations

import json
from collections.abc import Collection

from linnet.data.forgetting import Quotations
from linnet.database import Database, Run, bytes_used

_AT_ONCE = 500
"""Entries that are changed at once, so that others may write between."""


def purge(database: Database, *, before: float, most_bytes: int) -> int:
    """Forget entries that arrived earlier, and the oldest ones beyond so many bytes; how many.

    Raises StoreError.
    """
    count = 0
    while True:
        with database.changing(is_deleting=True) as run:
            gone = _delete(run, "at < ?", before)
            if not gone and bytes_used(run) > most_bytes:
                (left,) = run("SELECT COUNT(*) FROM calls").fetchone()
                gone = _delete(run, "1", most=max(1, left // 20))
            run("DELETE FROM drops WHERE at < ?", (before,))
        if not gone:
            return count
        count += gone


def forget_key(database: Database, key: str) -> int:
    """Forget all calls of a key, whatever is known of them; how many. Raises StoreError."""
    count = 0
    while True:
        with database.changing(is_deleting=True) as run:
            gone = _delete(run, "key = ?", key)
        if not gone:
            return count
        count += gone


def forget_contents(database: Database, sources: Collection[str], texts: Collection[str]) -> int:
    """Forget what was asked and answered where it rests on one of the sources, names one or quotes
    one of the texts; how many calls. What these used stays. Raises StoreError."""
    names, quotations = set(sources) - {""}, Quotations(texts)
    count, last = 0, 0
    while True:
        with database.changing(is_deleting=True) as run:
            rows = run(
                "SELECT number, question, answer, reason, sources FROM calls WHERE number > ? AND "
                "(question IS NOT NULL OR answer IS NOT NULL OR reason != '' OR sources != '[]') "
                "ORDER BY number LIMIT ?",
                (last, _AT_ONCE),
            ).fetchall()
            for number, question, answer, reason, listed in rows:
                last = number
                said = (question or "", answer or "", reason)
                if (
                    not names.isdisjoint(json.loads(listed))
                    or any(name in text for name in names for text in said)
                    or any(map(quotations.quotes, said))
                ):
                    count += 1
                    run(
                        "UPDATE calls SET question = NULL, answer = NULL, sources = '[]', "
                        "reason = '' WHERE number = ?",
                        (number,),
                    )
        if not rows:
            return count


def _delete(run: Run, where: str, *values: float | str, most: int = _AT_ONCE) -> int:
    """Delete some of the oldest entries of which this holds; how many."""
    chosen = f"SELECT number FROM calls WHERE {where} ORDER BY at LIMIT ?"
    return run(
        f"DELETE FROM calls WHERE number IN ({chosen})", (*values, min(most, _AT_ONCE))
    ).rowcount
