"""What a server keeps: in memory within bounds, in a file that survives and forgets."""

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
from scripted import Running, serving

from linnet import database
from linnet.database import StoreError
from linnet.errors import ConfigError
from linnet.serve import kept_items
from linnet.serve.conversations import ConversationStore
from linnet.serve.kept_items import DuplicateItemError, LongHistoryError, MissingError


def said(text: str, name: str = "", role: str = "user") -> dict[str, Any]:
    content = [{"type": "input_text", "text": text}]
    return {"id": name or f"msg_{text[:40]}", "type": "message", "role": role, "content": content}


def answered(name: str, *, previous: str | None = None, talk: str | None = None) -> dict[str, Any]:
    return {
        "id": name, "object": "response", "created_at": 1, "previous_response_id": previous,
        "conversation": talk and {"id": talk},
    }  # fmt: skip


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.days = 0.0

    def __call__(self) -> float:
        self.days += 1e-6  # no two things at once
        return self.days * 86_400


def bytes_of(file: Path) -> bytes:
    """The database with all that lies beside it."""
    return b"".join(path.read_bytes() for path in file.parent.glob(f"{file.name}*"))


def names(store: ConversationStore, query: str = "", owner: str = "") -> list[str]:
    return [entry["id"] for entry in store.conversations(owner, query=query, limit=100).entries]


def test_the_official_client_keeps_conversations(tiny_server: Running) -> None:
    client = openai.OpenAI(
        base_url=f"{tiny_server.url}/v1", api_key="x", max_retries=0,
        _strict_response_validation=True,
    )  # fmt: skip
    made = client.conversations.create(
        metadata={"title": "Birds"}, items=[{"role": "user", "content": "Do linnets sing?"}]
    )
    added = client.conversations.items.create(
        made.id,
        items=[
            {"role": "assistant", "content": "They do.", "linnet": [{"type": "x"}]},  # type: ignore[list-item]
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "3"},
            {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": "x"},
            {"type": "custom_tool_call_output", "call_id": "d", "output": "4"},
            {"type": "reasoning", "id": "rs_1", "summary": []},
        ],
    )
    kinds = [item.type for item in client.conversations.items.list(made.id, limit=2, order="asc")]
    assert kinds == ["message", *(item.type for item in added.data)]
    last = client.conversations.items.list(made.id, limit=1).data[0]
    assert last.id == added.last_id == "rs_1"
    kept = client.conversations.items.retrieve(added.first_id, conversation_id=made.id)
    assert kept.linnet == [{"type": "x"}]  # type: ignore[union-attr]
    assert client.conversations.items.delete(added.first_id, conversation_id=made.id).id == made.id
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.retrieve(added.first_id, conversation_id=made.id)
    assert client.conversations.update(made.id, metadata={"title": "Finches"}).metadata == {
        "title": "Finches"
    }
    found: Any = client.get("/conversations?query=linn", cast_to=object)
    (entry,) = found["data"]
    assert entry["linnet"]["items"] == 6
    assert entry["linnet"]["preview"] == entry["linnet"]["match"] == "Do linnets sing?"
    assert found["linnet"] == {"stored": "memory", "keep_days": 30.0}
    for path, param in (
        ("/conversations?limit=0", "limit"), ("/conversations?order=up", "order"),
        ("/conversations?birds=1", "birds"), (f"/conversations?query={'a' * 300}", "query"),
        (f"/conversations/{made.id}/items?order=up", "order"),
    ):  # fmt: skip
        with pytest.raises(openai.BadRequestError) as raised:
            client.get(path, cast_to=object)
        assert raised.value.param == param
    with pytest.raises(openai.BadRequestError) as raised:
        client.conversations.items.create(made.id, items=[{"type": "item_reference", "id": "rs_1"}])
    assert raised.value.param == "items[0].type"
    with pytest.raises(openai.BadRequestError) as raised:
        client.conversations.items.create(
            made.id, items=[{"type": "reasoning", "id": "rs_1", "summary": []}]
        )
    assert raised.value.code == "duplicate_item"
    assert client.conversations.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.retrieve(made.id)


def test_words_are_found_in_any_order_and_script() -> None:
    store = ConversationStore()
    store.create("", "birds", {"title": "Vögel, 100% echt"}, [said("The linnet sings at dawn")])
    store.create("", "fish", {}, [said("Ein Fisch schwimmt"), said("über dem linnet-Haus")])
    store.create("", "tokyo", {}, [said("東京の\0鳥が歌う")])
    store.create("other", "hers", {}, [said("The linnet sings")])
    for query, found in (
        ("linnet", ["fish", "birds"]), ("dawn LINN", ["birds"]), ("fisch uber", ["fish"]),
        ("vögel", ["birds"]), ("100%", ["birds"]), ("鳥が", ["tokyo"]), ("inne", []),
        ('"sings AND', []), ("a*b", []), ("", ["tokyo", "fish", "birds"]), ("%", ["birds"]),
        ("linnet dawn fisch", []), ("haus", ["fish"]),
        ("dawn\0linn", ["birds"]), ("\0", ["tokyo", "fish", "birds"]), ("%\0fisch", []),
    ):  # fmt: skip
        assert names(store, query) == found, query
    assert names(store, owner="other") == ["hers"]
    first = store.conversations("", limit=2)
    assert first.more
    rest = store.conversations("", limit=2, after=first.entries[-1]["id"])
    assert [entry["id"] for entry in (*first.entries, *rest.entries)] == ["tokyo", "fish", "birds"]
    assert not rest.more
    store.delete_item("", "birds", "msg_The linnet sings at dawn")
    assert names(store, "dawn") == []


def test_an_sqlite_without_an_index_of_words_looks_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_TOKENIZE", "tokenize = 'of no such kind'")
    store = ConversationStore()
    store.create("", "birds", {}, [said("The linnet sings")])
    assert names(store, "LINN sing") == ["birds"]
    store.delete("", "birds")
    assert names(store, "linnet") == []


def test_memory_is_bounded_in_number_bytes_and_age() -> None:
    clock = Clock()
    store = ConversationStore(most_entries=20, clock=clock)
    for number in range(30):
        store.add_response("many", answered(f"m{number}"), [said(f"m{number}")], [])
    store.add_response("few", answered("f"), [said("f")], [])
    for number in range(30, 60):
        store.add_response("many", answered(f"m{number}"), [said(f"m{number}")], [])
    assert store.response("few", "f")["id"] == "f"  # whoever has the most loses the oldest
    assert store.response("many", "m59")
    kept = [name for name in (f"m{n}" for n in range(60)) if _is_kept(store, "many", name)]
    assert kept == [f"m{n}" for n in range(60 - len(kept), 60)]
    assert len(kept) <= 19

    small = ConversationStore(most_bytes=400_000, clock=clock)
    for number in range(40):
        small.create("", f"c{number}", {}, [said("a" * 30_000, f"i{number}")])
    left = names(small)
    assert left[0] == "c39"
    assert 2 <= len(left) <= 13
    with pytest.raises(StoreError, match="400,000 bytes"):
        small.create("", "huge", {}, [said("a" * 1_000_000)])
    assert names(small) == left

    aged = ConversationStore(keep_days=10, clock=clock)
    aged.add_response("", answered("a"), [said("one", "1")], [said("two", "2")])
    clock.days += 6
    aged.add_response("", answered("b", previous="a"), [said("three", "3")], [])
    clock.days += 6  # 'a' was used six days ago, by 'b'
    aged.create("", "talk", {}, [])
    assert [item["id"] for item in aged.history("", previous="b")] == ["1", "2", "3"]
    clock.days += 11
    aged.purge()
    assert not _is_kept(aged, "", "b")
    assert names(aged) == []


def _is_kept(store: ConversationStore, owner: str, name: str) -> bool:
    try:
        store.response(owner, name)
    except MissingError:
        return False
    return True


def test_who_keeps_the_most_bytes_makes_space_in_memory() -> None:
    store = ConversationStore(most_bytes=1_000_000)
    for place in range(20):
        store.create("many", f"small{place}", {}, [said("a few words")])
    for place in range(12):
        store.create("large", f"large{place}", {}, [said(f"{place} {'word ' * 30_000}")])
    assert len(names(store, owner="many")) == 20
    assert names(store, owner="large")[0] == "large11"


def test_a_history_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_items, "MOST_HISTORY", 5)
    store = ConversationStore()
    store.create("", "talk", {}, [said(str(n)) for n in range(5)])
    assert len(store.history("", conversation="talk")) == 5
    store.add_items("", "talk", [said("six")])
    with pytest.raises(LongHistoryError):
        store.history("", conversation="talk")
    for number in range(8):
        before = f"r{number - 1}" if number else None
        store.add_response("", answered(f"r{number}", previous=before), [said(f"n{number}")], [])
    with pytest.raises(LongHistoryError):
        store.history("", previous="r7")
    monkeypatch.setattr(kept_items, "HISTORY_BYTES", 1000)
    store.create("", "small", {}, [said("a" * 600, "1")])
    with pytest.raises(LongHistoryError, match="1,000"):
        store.add_items("", "small", [said("a" * 600, "2")])
    store.delete_item("", "small", "1")
    store.add_items("", "small", [said("a" * 600, "2")])
    monkeypatch.setattr(kept_items, "HISTORY_BYTES", 100)
    with pytest.raises(LongHistoryError):
        store.history("", previous="r3")


def test_a_file_is_private_and_forgets(tmp_path: Path) -> None:
    file = tmp_path / "kept.sqlite"
    file.touch(mode=0o644)
    clock = Clock()
    store = ConversationStore(file, keep_days=10, clock=clock)
    secret = [said(f"quokka{number} zanzibar") for number in range(30)]
    store.create("", "talk", {"title": "quokka"}, [*secret, said("linnet")])
    store.add_response("", answered("r", talk="talk"), [said("numbat")], [said("dugong")])
    store.add_response("", answered("s"), [said("wombat")], [said("bilby")])
    if sys.platform != "win32":
        modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
        assert modes == {0o600}
    again = ConversationStore(file, clock=clock)  # as a second server
    assert names(again, "quokka2 zanzi") == ["talk"]
    assert again.response("", "r")["output"][0]["content"][0]["text"] == "dugong"
    for item in secret[:-1]:
        again.delete_item("", "talk", item["id"])
    assert b"quokka7 " not in bytes_of(file)
    again.delete_response("", "s")
    assert b"wombat" not in bytes_of(file)
    again.delete_response("", "r")  # its items are the conversation's, too
    assert names(store, "numbat dugong quokka29") == ["talk"]
    clock.days += 11
    store.purge()
    assert names(again) == []
    for word in (b"quokka", b"zanzibar", b"numbat", b"dugong", b"linnet"):
        assert word not in bytes_of(file)
    for each in (store, again):
        each.close()


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE a (b)")
    connection.close()
    earlier = tmp_path / "earlier.sqlite"  # with other columns, and the same number
    ConversationStore(earlier).close()
    with sqlite3.connect(earlier) as connection:
        connection.execute("ALTER TABLE conversations DROP COLUMN size")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    text = tmp_path / "text"
    text.write_text("not a database at all, but long enough to be taken for one" * 20)
    for file in (other, earlier, text, tmp_path, tmp_path / "none" / "x"):
        before = file.read_bytes() if file.is_file() else b""
        with pytest.raises(ConfigError, match=file.name):
            ConversationStore(file)
        assert (file.read_bytes() if file.is_file() else b"") == before


def test_a_full_or_busy_file_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.01)
    file = tmp_path / "kept.sqlite"
    store = ConversationStore(file, most_bytes=100_000)
    store.create("", "small", {}, [said("linnet")])
    with pytest.raises(StoreError, match="full"):
        store.create("", "large", {}, [said("a" * 200_000)])
    assert names(store) == ["small"]  # whole or not at all
    with pytest.raises(DuplicateItemError):
        store.add_items("", "small", [said("new"), said("linnet")])
    assert len(store.items("", "small", limit=9).entries) == 1
    holding = sqlite3.connect(file, isolation_level=None)
    holding.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="locked"):
        store.create("", "other", {}, [])
    assert names(store, "linnet") == ["small"]  # reading goes on
    holding.rollback()
    holding.close()
    store.create("", "other", {}, [])
    store.close()


WRITER = """
import sys
from pathlib import Path
from linnet.serve.conversations import ConversationStore
store = ConversationStore(Path(sys.argv[1]))
for number in range(int(sys.argv[3])):
    name = f"{sys.argv[2]}{number}"
    item = {"id": name, "type": "message", "role": "user", "content": [{"text": name}]}
    store.create("", name, {}, [item])
    print(name, flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_kept(tmp_path: Path) -> None:
    """Two processes write at once; one is killed in the middle."""
    file = tmp_path / "kept.sqlite"
    writing = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, file, name, count], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for name, count in (("a", "1000000"), ("b", "40"))
    ]  # fmt: skip
    killed, whole = writing
    assert killed.stdout is not None
    said_so = [killed.stdout.readline().strip() for _ in range(20)]
    killed.kill()
    said_so += killed.stdout.read().split()
    said_so += whole.communicate()[0].split()
    assert killed.wait() == (-signal.SIGKILL if sys.platform != "win32" else 1)
    assert whole.returncode == 0
    store = ConversationStore(file)
    kept = {entry["id"] for entry in store.export("")}
    assert set(said_so) <= kept
    assert len(kept) <= len(said_so) + 1  # one may have been kept and not told
    assert names(store, "b39") == ["b39"]
    store.close()


def test_a_server_keeps_in_its_file(tmp_path: Path) -> None:
    file = tmp_path / "kept.sqlite"
    names_of: list[str] = []
    for turn in range(2):
        with serving(conversations=file, keep_days=7) as running:
            client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
            if turn:
                assert client.responses.retrieve(names_of[0]).output_text == "olleh >resu<"
            before = names_of[-1] if names_of else None
            made = client.responses.create(model="tiny", input="hello", previous_response_id=before)
            names_of.append(made.id)
            found: Any = client.get("/conversations", cast_to=object)
            assert found["linnet"] == {"stored": "file", "keep_days": 7.0}
    store = ConversationStore(file)
    exported = [json.loads(json.dumps(entry)) for entry in store.export("")]
    assert sorted(names_of) == [entry["id"] for entry in exported]
    assert [entry["input"][0]["content"][0]["text"] for entry in exported] == ["hello"] * 2
    store.close()
