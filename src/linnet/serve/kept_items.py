"""Items as they are kept: rows of one table, which responses and conversations share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from linnet.database import Run
from linnet.errors import LinnetError

Item: TypeAlias = Mapping[str, Any]
Order: TypeAlias = Literal["asc", "desc"]

MOST_HISTORY = 4096
"""Items that an answer may follow."""
HISTORY_BYTES = 16_000_000
"""Characters of these items together, and of a conversation's, as JSON."""
PREVIEW = 160
"""Characters of a conversation's first words, and of where it was found."""

_CHAIN = """
WITH RECURSIVE chain (id, previous, conversation, depth) AS (
    SELECT id, previous, conversation, 0 FROM responses WHERE id = :id AND owner = :owner
    UNION ALL
    SELECT r.id, r.previous, r.conversation, depth + 1 FROM chain JOIN responses r
    ON r.id = chain.previous AND r.owner = :owner WHERE depth < :most
)
"""


class MissingError(LinnetError):
    """What is named is not kept here, or is somebody else's. ``kind``: what it would be."""

    def __init__(self, kind: str, name: str, message: str) -> None:
        super().__init__(message)
        self.kind, self.name = kind, name


class LongHistoryError(LinnetError):
    """There is more before an answer than is read for one."""


class DuplicateItemError(LinnetError):
    """A conversation has an item of this name already."""


@dataclass(frozen=True)
class Page:
    """Some entries of a list, in order; ``more``: whether others follow."""

    entries: Sequence[Item]
    more: bool


def insert_items(
    run: Run,
    owner: str,
    items: Iterable[Item],
    *,
    conversation: str | None = None,
    response: str | None = None,
    output: bool = False,
) -> None:
    """Keep items, in order. Raises DuplicateItemError and LongHistoryError."""
    size = 0
    for item in items:
        if (
            conversation is not None
            and run(
                "SELECT 1 FROM items WHERE conversation = ? AND id = ?",
                (conversation, item["id"]),
            ).fetchone()
        ):
            raise DuplicateItemError(f"Duplicate item found with id {item['id'][:100]}.")
        body = as_text(item)
        size += len(body)
        number = run(
            "INSERT INTO items (id, owner, conversation, response, is_output, body) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (item["id"], owner, conversation, response, output, body),
        ).lastrowid
        if conversation is not None and (text := text_of(item)):
            run("INSERT INTO texts (rowid, text) VALUES (?, ?)", (number, _words(text)))
    if conversation is not None:
        run("UPDATE conversations SET size = size + ? WHERE id = ?", (size, conversation))
        found = run("SELECT size FROM conversations WHERE id = ?", (conversation,)).fetchone()
        if found[0] > HISTORY_BYTES:
            raise LongHistoryError(
                f"a conversation has at most {HISTORY_BYTES:,} characters; begin a new one"
            )


def items_page(
    run: Run, where: str, name: str, *, limit: int, after: str | None, order: Order
) -> Page:
    """Items of what is named, from the one after ``after`` on. Raises MissingError."""
    values: list[Any] = [name]
    if after is not None:
        found = run(f"SELECT number FROM items WHERE {where} AND id = ?", (name, after)).fetchone()
        if found is None:
            raise no_item(after)
        where += f" AND number {'>' if order == 'asc' else '<'} ?"
        values.append(found[0])
    rows = run(
        f"SELECT body FROM items WHERE {where} ORDER BY number {order} LIMIT ?",
        (*values, limit + 1),
    ).fetchall()
    return Page([json.loads(body) for (body,) in rows[:limit]], len(rows) > limit)


def use_chain(run: Run, owner: str, previous: str, now: float) -> None:
    """Note of a response, and of those that it follows, that they were used."""
    run(
        f"{_CHAIN} UPDATE responses SET used = :now WHERE id IN (SELECT id FROM chain)",
        {"id": previous, "owner": owner, "most": MOST_HISTORY, "now": now},
    )


def items_before(run: Run, owner: str, previous: str) -> list[dict[str, Any]]:
    """The items of a response, and of those that it follows.

    Raises MissingError and LongHistoryError.
    """
    chain = run(
        f"{_CHAIN} SELECT id, previous, conversation FROM chain ORDER BY depth DESC",
        {"id": previous, "owner": owner, "most": MOST_HISTORY},
    ).fetchall()
    if not chain:
        raise _no_previous(previous)
    first, before, around = chain[0]
    if before is not None:
        if len(chain) > MOST_HISTORY:
            raise _too_long()
        raise _no_previous(before, within=previous)
    parts: list[tuple[str, Sequence[Any]]] = [("response = ?", (name,)) for name, _, _ in chain]
    if around is not None:
        earlier = "conversation = ? AND number < (SELECT MIN(number) FROM items WHERE response = ?)"
        parts.insert(0, (earlier, (around, first)))
    return items_within(run, parts)


def items_within(run: Run, parts: Sequence[tuple[str, Sequence[Any]]]) -> list[dict[str, Any]]:
    """The items of these parts together, unless they are too many."""
    found: list[dict[str, Any]] = []
    size = 0
    for where, values in parts:
        count, length = run(
            f"SELECT COUNT(*), COALESCE(SUM(LENGTH(body)), 0) FROM items WHERE {where}", values
        ).fetchone()
        size += length
        if len(found) + count > MOST_HISTORY or size > HISTORY_BYTES:
            raise _too_long()
        rows = run(f"SELECT body FROM items WHERE {where} ORDER BY number", values)
        found += [json.loads(body) for (body,) in rows]
    return found


def conversation_preview(run: Run, name: str, words: Sequence[str]) -> dict[str, Any]:
    """How many items a conversation has, its first words, and some around the word looked for."""
    count = run("SELECT COUNT(*) FROM items WHERE conversation = ?", (name,)).fetchone()[0]
    found: dict[str, Any] = {"items": count, "preview": ""}
    rows = run(
        "SELECT text FROM items JOIN texts ON texts.rowid = items.number "
        "WHERE conversation = ? ORDER BY number", (name,),
    )  # fmt: skip
    for (text,) in rows:
        found["preview"] = found["preview"] or " ".join(text[: 4 * PREVIEW].split())[:PREVIEW]
        if not words:
            break
        place = text.lower().find(words[0].lower())
        if place >= 0:
            around = text[max(0, place - PREVIEW // 2) : place + PREVIEW // 2]
            found["match"] = " ".join(around.split())
            break
    return found


def text_of(item: Item) -> str:
    """The words of an item, as they are searched."""
    for name in ("output", "content", "arguments", "input"):
        found = item.get(name)
        if isinstance(found, str):
            return found
        if isinstance(found, Sequence):
            parts = [part.get("text") or part.get("refusal") or "" for part in found]
            return "\n".join(part for part in parts if part)
    return ""


def no_item(name: str) -> MissingError:
    """It is not here."""
    return MissingError("item", name, f"Item with id '{name[:100]}' not found.")


def _no_previous(name: str, *, within: str | None = None) -> MissingError:
    message = f"Previous response with id '{name[:100]}' not found."
    if within is not None:
        message += f" '{within[:100]}' follows it, but it was deleted or has expired."
    return MissingError("previous", name, message)


def _too_long() -> LongHistoryError:
    return LongHistoryError(
        f"an answer follows at most {MOST_HISTORY:,} items, of {HISTORY_BYTES:,} characters "
        "together; begin a new conversation, or give the input whole"
    )


def as_text(value: Any) -> str:
    """As JSON, as it is kept."""
    return _clean(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _words(text: str) -> str:
    """As they are searched: without NUL, at which SQLite's comparisons end."""
    return _clean(text).replace("\0", " ")


def _clean(text: str) -> str:
    """Without halves of characters, which no file takes."""
    return text.encode("utf-8", "replace").decode()
