"""Responses and conversations that a server keeps: in memory, or in a file where its owner says so.

One SQLite database either way. In memory it is bounded in bytes and number, and what was used
longest ago goes first, of whoever keeps the most. In a file (``--conversations``) nothing goes
before its time; where the disk or the file is full, keeping fails and is told, and the answer is
given all the same. Both forget what was not used for ``keep_days``.

Everything belongs to an owner, the name of a key, and is found for that one alone. Items have the
form that OpenAI's interface gives them; a response and a conversation may share them.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from linnet.database import Contents, Database, Run, StoreError, containing
from linnet.errors import LinnetError
from linnet.serve import retention
from linnet.serve.kept_items import (
    Item,
    MissingError,
    Order,
    Page,
    as_text,
    conversation_preview,
    insert_items,
    items_before,
    items_page,
    items_within,
    no_item,
    use_chain,
)

MEMORY_BYTES = 64_000_000
MEMORY_ENTRIES = 10_000
"""Responses, and conversations, that are kept in memory."""
FILE_BYTES = 16 << 30
SEARCH_SECONDS = 5.0
PURGE_SECONDS = 600.0
_DAY = 86_400.0
_EXPORTED = 20
"""Conversations that are read at once."""

_TABLES = """
CREATE TABLE conversations (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created INTEGER NOT NULL, used REAL NOT NULL,
    metadata TEXT NOT NULL, size INTEGER NOT NULL
);
CREATE INDEX conversations_owner ON conversations (owner, used);
CREATE TABLE responses (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, created INTEGER NOT NULL, used REAL NOT NULL,
    previous TEXT, conversation TEXT, body TEXT NOT NULL
);
CREATE INDEX responses_owner ON responses (owner, used);
CREATE INDEX responses_conversation ON responses (conversation);
CREATE TABLE items (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, owner TEXT NOT NULL,
    conversation TEXT, response TEXT, is_output INTEGER NOT NULL, body TEXT NOT NULL
);
CREATE INDEX items_id ON items (id);
CREATE INDEX items_conversation ON items (conversation, number);
CREATE INDEX items_response ON items (response, number);
CREATE TRIGGER items_deleted AFTER DELETE ON items BEGIN
    DELETE FROM texts WHERE rowid = old.number;
END;
"""
_CONTENTS = Contents("conversations", 0x4C6E7443, 1, _TABLES, has_texts=True)  # "LntC"


class ConversationStore:
    """What is kept; may be used from any thread, and a file from several processes."""

    def __init__(
        self,
        file: Path | None = None,
        *,
        keep_days: float = 30,
        most_bytes: int | None = None,
        most_entries: int = MEMORY_ENTRIES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``file``: where; None: in memory. ``keep_days``: 0 for ever. Raises ConfigError for a
        file that is something else, or cannot be written.
        """
        self.file = file
        self.keep_days = keep_days
        self._most_bytes = most_bytes or (MEMORY_BYTES if file is None else FILE_BYTES)
        self._most_entries = most_entries
        self._clock = clock
        self._purged = 0.0
        self._closed = threading.Event()
        self._database = Database(file, _CONTENTS, most_bytes=self._most_bytes)
        with contextlib.suppress(StoreError):  # busy or full: the next time
            self.purge()
        if file is not None:
            threading.Thread(target=self._purging, name="linnet-purging", daemon=True).start()

    def close(self) -> None:
        """Nothing is kept or read any more."""
        self._closed.set()
        self._database.close()

    # Responses

    def add_response(
        self,
        owner: str,
        body: Item,
        given: Sequence[Item],
        written: Sequence[Item],
        *,
        is_kept: bool = True,
    ) -> None:
        """Keep a response with the items that it was given and has written, and append these to
        its conversation where it has one. ``is_kept``: whether it is found by its name afterwards.

        Raises StoreError; MissingError where its conversation is gone.
        """
        conversation = (body.get("conversation") or {}).get("id")
        previous, now = body.get("previous_response_id"), self._clock()
        with self._changing() as run:
            if conversation is not None:
                self._touch_conversation(run, owner, conversation)
            if not (is_kept or conversation):
                return
            if previous is not None:
                use_chain(run, owner, previous, now)
            name = body["id"] if is_kept else None
            if is_kept:
                own = {key: value for key, value in body.items() if key != "output"}
                run(
                    "INSERT INTO responses VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (
                        name,
                        owner,
                        int(body["created_at"]),
                        now,
                        previous,
                        conversation,
                        as_text(own),
                    ),
                )
            insert_items(run, owner, given, conversation=conversation, response=name)
            insert_items(run, owner, written, conversation=conversation, response=name, output=True)
            if name is not None:
                self._make_space(run, "responses", name)
            elif conversation is not None:
                self._make_space(run, "conversations", conversation)

    def response(self, owner: str, name: str) -> dict[str, Any]:
        """A response as it was given. Raises MissingError."""
        with self._database.reading() as run:
            found = run(
                "SELECT body FROM responses WHERE id = ? AND owner = ?", (name, owner)
            ).fetchone()
            if found is None:
                raise _no_response(name)
            output = run(
                "SELECT body FROM items WHERE response = ? AND is_output ORDER BY number", (name,)
            )
            return {**json.loads(found[0]), "output": [json.loads(row[0]) for row in output]}

    def input_items(
        self, owner: str, name: str, *, limit: int, after: str | None = None, order: Order = "desc"
    ) -> Page:
        """What a response was given. Raises MissingError."""
        with self._database.reading() as run:
            if not run(
                "SELECT 1 FROM responses WHERE id = ? AND owner = ?", (name, owner)
            ).fetchone():
                raise _no_response(name)
            where = "response = ? AND NOT is_output"
            return items_page(run, where, name, limit=limit, after=after, order=order)

    def delete_response(self, owner: str, name: str) -> None:
        """Forget a response; what belongs to a conversation, too, stays there. Raises
        MissingError."""
        with self._changing(is_deleting=True) as run:
            if not run("DELETE FROM responses WHERE id = ? AND owner = ?", (name, owner)).rowcount:
                raise _no_response(name)
            run("DELETE FROM items WHERE response = ? AND conversation IS NULL", (name,))
            run("UPDATE items SET response = NULL WHERE response = ?", (name,))

    def history(
        self, owner: str, *, previous: str | None = None, conversation: str | None = None
    ) -> list[dict[str, Any]]:
        """The items before an answer, which follows a response or stands in a conversation.

        Raises MissingError and LongHistoryError.
        """
        with self._database.reading() as run:
            if conversation is not None:
                self._require_conversation(run, owner, conversation)
                return items_within(run, [("conversation = ?", (conversation,))])
            return [] if previous is None else items_before(run, owner, previous)

    def item(self, owner: str, name: str) -> dict[str, Any]:
        """An item of any response or conversation. Raises MissingError."""
        with self._database.reading() as run:
            found = run(
                "SELECT body FROM items WHERE id = ? AND owner = ? ORDER BY number DESC LIMIT 1",
                (name, owner),
            ).fetchone()
        if found is None:
            raise no_item(name)
        value: dict[str, Any] = json.loads(found[0])
        return value

    # Conversations

    def create(
        self, owner: str, name: str, metadata: Mapping[str, str], items: Sequence[Item]
    ) -> dict[str, Any]:
        """Begin a conversation. Raises StoreError."""
        now = self._clock()
        with self._changing() as run:
            run(
                "INSERT INTO conversations VALUES (?, ?, ?, ?, ?, 0)",
                (name, owner, int(now), now, as_text(metadata)),
            )
            insert_items(run, owner, items, conversation=name)
            self._make_space(run, "conversations", name)
        return _conversation(name, int(now), metadata)

    def conversation(self, owner: str, name: str) -> dict[str, Any]:
        """One conversation, without its items. Raises MissingError."""
        with self._database.reading() as run:
            created, metadata = self._require_conversation(run, owner, name)
        return _conversation(name, created, json.loads(metadata))

    def update(self, owner: str, name: str, metadata: Mapping[str, str]) -> dict[str, Any]:
        """Give a conversation other metadata. Raises MissingError and StoreError."""
        with self._changing() as run:
            created, _ = self._require_conversation(run, owner, name)
            run("UPDATE conversations SET metadata = ? WHERE id = ?", (as_text(metadata), name))
        return _conversation(name, created, metadata)

    def delete(self, owner: str, name: str) -> None:
        """Forget a conversation, with its items and responses. Raises MissingError."""
        with self._changing(is_deleting=True) as run:
            self._require_conversation(run, owner, name)
            retention.forget_conversations(run, (name,))

    def delete_all(self, owner: str) -> tuple[int, int]:
        """Forget all that an owner has: how many conversations and responses it was."""
        with self._changing(is_deleting=True) as run:
            conversations = run("DELETE FROM conversations WHERE owner = ?", (owner,)).rowcount
            responses = run("DELETE FROM responses WHERE owner = ?", (owner,)).rowcount
            run("DELETE FROM items WHERE owner = ?", (owner,))
        return conversations, responses

    def add_items(self, owner: str, name: str, items: Sequence[Item]) -> None:
        """Append items. Raises MissingError, DuplicateItemError and StoreError."""
        with self._changing() as run:
            self._touch_conversation(run, owner, name)
            insert_items(run, owner, items, conversation=name)
            self._make_space(run, "conversations", name)

    def items(
        self, owner: str, name: str, *, limit: int, after: str | None = None, order: Order = "desc"
    ) -> Page:
        """Items of a conversation. Raises MissingError."""
        with self._database.reading() as run:
            self._require_conversation(run, owner, name)
            return items_page(run, "conversation = ?", name, limit=limit, after=after, order=order)

    def item_of(self, owner: str, name: str, item: str) -> dict[str, Any]:
        """One item of a conversation. Raises MissingError."""
        with self._database.reading() as run:
            self._require_conversation(run, owner, name)
            found = run(
                "SELECT body FROM items WHERE conversation = ? AND id = ?", (name, item)
            ).fetchone()
        if found is None:
            raise no_item(item)
        value: dict[str, Any] = json.loads(found[0])
        return value

    def delete_item(self, owner: str, name: str, item: str) -> dict[str, Any]:
        """Take an item out of a conversation, and out of the response that gave it; gives the
        conversation. Raises MissingError."""
        with self._changing(is_deleting=True) as run:
            created, metadata = self._touch_conversation(run, owner, name)
            where = "WHERE conversation = ? AND id = ?"
            found = run(f"SELECT LENGTH(body) FROM items {where}", (name, item)).fetchone()
            if found is None:
                raise no_item(item)
            run(f"DELETE FROM items {where}", (name, item))
            run("UPDATE conversations SET size = size - ? WHERE id = ?", (found[0], name))
        return _conversation(name, created, json.loads(metadata))

    def conversations(
        self, owner: str, *, query: str = "", limit: int, after: str | None = None
    ) -> Page:
        """An owner's conversations, those used last first; with ``query`` those in which all of
        its words stand. Raises MissingError for an ``after`` that is gone."""
        where, values = ["owner = ?"], [owner]
        words = query.replace("\0", " ").split()  # which would end a pattern
        for word in words:
            condition, found = self._condition(word)
            where.append(condition)
            values += found
        with self._database.reading(seconds=SEARCH_SECONDS) as run:
            bounds: list[Any] = []
            if after is not None:
                self._require_conversation(run, owner, after)
                used = run("SELECT used FROM conversations WHERE id = ?", (after,)).fetchone()[0]
                where.append("(used, id) < (?, ?)")
                bounds = [used, after]
            rows = run(
                "SELECT id, created, used, metadata FROM conversations "
                f"WHERE {' AND '.join(where)} ORDER BY used DESC, id DESC LIMIT ?",
                (*values, *bounds, limit + 1),
            ).fetchall()
            entries = [
                {
                    **_conversation(name, created, json.loads(metadata)),
                    "linnet": {"updated_at": int(used), **conversation_preview(run, name, words)},
                }
                for name, created, used, metadata in rows[:limit]
            ]
        return Page(entries, len(rows) > limit)

    def export(self, owner: str) -> Iterator[dict[str, Any]]:
        """All that an owner has: conversations with their items, then the other responses with
        theirs. What changes meanwhile may be in it or not."""
        last = ""
        while rows := self._names(
            "SELECT id, created, used, metadata FROM conversations WHERE owner = ? AND id > ? "
            "ORDER BY id LIMIT ?", owner, last,
        ):  # fmt: skip
            for name, created, used, metadata in rows:
                last = name
                found = _conversation(name, created, json.loads(metadata))
                items = self._bodies("conversation = ?", name)
                yield {**found, "updated_at": int(used), "items": items}
        last = ""
        while rows := self._names(
            "SELECT id, body FROM responses WHERE owner = ? AND id > ? AND conversation IS NULL "
            "ORDER BY id LIMIT ?", owner, last,
        ):  # fmt: skip
            for name, body in rows:
                last = name
                given = self._bodies("response = ? AND NOT is_output", name)
                output = self._bodies("response = ? AND is_output", name)
                yield {**json.loads(body), "input": given, "output": output}

    def purge(self) -> None:
        """Forget what was not used for so long as things are kept."""
        self._purged = self._clock()
        if not self.keep_days:
            return
        before = self._clock() - self.keep_days * _DAY
        with self._database.changing(is_deleting=True) as run:
            retention.forget_unused(run, before)

    def _names(self, statement: str, owner: str, last: str) -> list[tuple[Any, ...]]:
        with self._database.reading() as run:
            return run(statement, (owner, last, _EXPORTED)).fetchall()

    def _bodies(self, where: str, name: str) -> list[Any]:
        with self._database.reading() as run:
            rows = run(f"SELECT body FROM items WHERE {where} ORDER BY number", (name,))
            return [json.loads(body) for (body,) in rows]

    def _condition(self, word: str) -> tuple[str, list[str]]:
        """What a conversation must fulfil to have a word, in an item or its metadata."""
        matching, value = self._database.matching(word)
        return (
            "(id IN (SELECT conversation FROM texts JOIN items ON items.number = texts.rowid "
            f"WHERE {matching}) OR metadata LIKE ? ESCAPE '\\')",
            [value, containing(word)],
        )

    def _require_conversation(self, run: Run, owner: str, name: str) -> tuple[int, str]:
        found: tuple[int, str] | None = run(
            "SELECT created, metadata FROM conversations WHERE id = ? AND owner = ?", (name, owner)
        ).fetchone()
        if found is None:
            raise MissingError(
                "conversation", name, f"Conversation with id '{name[:100]}' not found."
            )
        return found

    def _touch_conversation(self, run: Run, owner: str, name: str) -> tuple[int, str]:
        found = self._require_conversation(run, owner, name)
        run("UPDATE conversations SET used = ? WHERE id = ?", (self._clock(), name))
        return found

    def _make_space(self, run: Run, table: str, name: str) -> None:
        """In memory, for what is new there. Raises StoreError where it is too large for that."""
        if self.file is None:
            retention.make_space(
                self._database, run, table, name,
                most_bytes=self._most_bytes, most_entries=self._most_entries,
            )  # fmt: skip

    @contextlib.contextmanager
    def _changing(self, *, is_deleting: bool = False) -> Iterator[Run]:
        """A change, before which what is too old is forgotten now and then."""
        if self._clock() - self._purged > PURGE_SECONDS:
            with contextlib.suppress(StoreError):  # then the change says why, or works
                self.purge()
        with self._database.changing(is_deleting=is_deleting) as run:
            yield run

    def _purging(self) -> None:
        """In a thread of its own, as a server without requests forgets as well."""
        while not self._closed.wait(PURGE_SECONDS):
            with contextlib.suppress(LinnetError):  # busy or full: the next time
                self.purge()


def _conversation(name: str, created: int, metadata: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": name, "object": "conversation", "created_at": created, "metadata": dict(metadata),
    }  # fmt: skip


def _no_response(name: str) -> MissingError:
    return MissingError("response", name, f"Response with id '{name[:100]}' not found.")
