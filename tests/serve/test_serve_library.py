"""The documents of an assistant over HTTP: opened, listed, added, removed, judged."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, urlencode

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Running, ScriptedEngine

from linnet.answers import Assistant
from linnet.answers.feedback import MOST_VERDICTS, Feedback, GivenAnswers, read_feedback
from linnet.answers.feedback import Span as FeedbackSpan
from linnet.answers.upkeep import Step, Upkeep
from linnet.answers.workspace import Workspace
from linnet.data import prepare, stored_texts
from linnet.errors import DataError
from linnet.progress import Progress
from linnet.retrieval import Index, PassagesInMemory
from linnet.retrieval.indexing import IndexConfig, index_corpus
from linnet.serve import Catalog, ServeConfig, Served, uploads
from linnet.serve.errors import ApiError
from linnet.serve.keys import KeyLimits, add_key
from linnet.serve.multipart import Form

pytestmark = pytest.mark.usefixtures("reading_here")

TABLE = "# Birds\n\n| name | colour |\n|---|---|\n" + "".join(
    f"| bird {k} | grey {k} |\n" for k in range(600)
)
MAIL = """From: Ada <ada@example.org>
To: Bo <bo@example.org>
Subject: The heron
Date: Mon, 1 Jan 2024 10:00:00 +0000
Content-Type: text/plain; charset=utf-8

""" + "\n\n".join(f"Line {k} says that the heron stands still for a while." for k in range(80))


def read_documents(workspace: Workspace, progress: Progress) -> str | None:
    """The first step of every assistant."""
    before = workspace.corpus.stat().st_ino if workspace.corpus.exists() else None
    prepare(
        workspace.sources, workspace.corpus, workspace.reading_settings(),
        exclude=[workspace.path], progress=progress,
    )  # fmt: skip
    return None if workspace.corpus.stat().st_ino == before else "read"


READING = Step("documents", "Reading the documents", read_documents, essential=True, answers=True)


@dataclass
class Opened:
    """A server with the documents of one assistant."""

    url: str
    folder: Path
    workspace: Workspace
    upkeep: Upkeep
    given: GivenAnswers
    key: str | None = None
    origin: str | None = None

    def ask(
        self, method: str, path: str, body: Any = None, **query: Any
    ) -> tuple[int, dict[str, Any]]:
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        url = f"{self.url}/v1/documents{path}?{urlencode(query)}"
        request = urllib.request.Request(url, data, method=method)
        request.add_header("Content-Type", "application/json")
        if self.key:
            request.add_header("Authorization", f"Bearer {self.key}")
        if self.origin:
            request.add_header("Origin", self.origin)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)["error"]

    def names(self, state: str = "searchable") -> list[str]:
        data = self.ask("GET", "")[1]["data"]
        return [each["name"] for each in data if each["state"] == state]

    def settled(self) -> None:
        assert self.upkeep.idle.wait(60)


@contextlib.contextmanager
def opened(folder: Path, place: Path, **settings: Any) -> Iterator[Opened]:
    workspace = Workspace.of([folder], place)
    upkeep = Upkeep(workspace, [READING])
    assistant = Assistant(PassagesInMemory(()))
    served = Served("notes", ScriptedEngine(), workspace=workspace, upkeep=upkeep,
                    assistant=assistant)  # fmt: skip
    plain = Served("plain", ScriptedEngine())
    running = Running(Catalog([plain, served]), ServeConfig(port=0, log="off", **settings))
    upkeep.start()
    try:
        key, given = settings.get("api_key"), assistant.given
        found = Opened(running.url, folder, workspace, upkeep, given, key)
        found.settled()
        yield found
    finally:
        upkeep.stop()
        running.stop()


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    root = tmp_path_factory.mktemp("documents")
    folder = root / "notes"
    folder.mkdir()
    (folder / "birds.md").write_text(TABLE)
    (folder / "heron.eml").write_text(MAIL)
    (folder / "empty.txt").write_text("")
    (folder / "wren [1].md").write_text("# Wren\n\n## Nest\n\nThe wren builds its nest of moss.\n")
    with opened(folder, root / "assistant") as found:
        yield found


def span(documents: Opened, source: str, words: str) -> dict[str, Any]:
    text = stored_texts(documents.workspace.corpus, source)[0].text
    start = text.index(words)
    return {"model": "notes", "source": source, "start": start, "end": start + len(words)}


def test_what_is_cited_opens_in_its_surroundings(documents: Opened) -> None:
    status, cited = documents.ask(
        "GET", "/source", **span(documents, "notes/wren [1].md", "nest of moss")
    )
    assert status == 200
    assert cited["text"] == "nest of moss"
    assert cited["headings"] == ["Wren", "Nest"]
    assert cited["where"] == "line 5"
    assert [block["kind"] for block in cited["blocks"]] == ["heading", "heading", "paragraph"]
    parts = cited["blocks"][-1]["parts"]
    assert parts == [["The wren builds its ", False], ["nest of moss", True], [".", False]]
    assert not cited["is_gone"]


def test_a_row_has_its_header_and_a_mail_its_own(documents: Opened) -> None:
    _, row = documents.ask("GET", "/source", **span(documents, "notes/birds.md", "grey 222"))
    table = row["blocks"][-1]
    assert table["has_header"]
    assert table["gap"]
    assert table["rows"][0]["cells"] == [[["name", False]], [["colour", False]]]
    (cited,) = [shown for shown in table["rows"] if shown["cited"]]
    assert cited["cells"] == [[["bird 222", False]], [["grey 222", True]]]
    assert row["where"] == cited["where"] == "line 227"
    assert row["before"]
    assert row["after"]
    assert len(table["rows"]) < 200
    _, mail = documents.ask("GET", "/source", **span(documents, "notes/heron.eml", "Line 70"))
    assert mail["blocks"][0]["kind"] == "message"
    assert "Subject: The heron" in mail["blocks"][0]["parts"][0][0]
    assert mail["blocks"][1]["gap"]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"source": "notes/other.md", "start": 0, "end": 4}, 404, "document_gone"),
        ({"source": "notes/wren [1].md", "start": 0, "end": 10**9}, 404, "document_gone"),
        ({"source": "wren [1].md", "start": 0, "end": 4}, 404, "document_gone"),
        ({"source": "notes/wren [1].md", "start": "-1", "end": 4}, 400, None),
        ({"source": "notes/wren [1].md", "start": 4}, 400, None),
        ({"model": "plain", "source": "x", "start": 0, "end": 4}, 404, "no_documents"),
    ],
)
def test_what_is_not_there_is_said(
    documents: Opened, query: dict[str, Any], status: int, code: str | None
) -> None:
    answered, error = documents.ask("GET", "/source", **query)
    assert (answered, error["code"]) == (status, code)
    assert str(documents.folder.parent) not in error["message"]


def test_documents_are_listed_added_and_removed(documents: Opened) -> None:
    before = documents.names()
    assert before == ["notes/birds.md", "notes/heron.eml", "notes/wren [1].md"]
    (unread,) = [d for d in documents.ask("GET", "")[1]["data"] if d["state"] == "unreadable"]
    assert (unread["name"], unread["reason"]) == ("notes/empty.txt", "empty file")
    page = documents.ask("GET", "", limit=2)[1]
    assert page["has_more"]
    assert len(page["data"]) == 2
    assert documents.ask("GET", "", find="WREN")[1]["data"][0]["name"] == "notes/wren [1].md"

    body = b"The owl hunts at night, without a sound.\n" * 3
    assert documents.ask("PUT", "/files/owls/owl.txt", body) == (
        201,
        {"name": "added/owls/owl.txt"},
    )
    documents.settled()
    assert "added/owls/owl.txt" in documents.names()
    status, error = documents.ask("PUT", "/files/owls/owl.txt", b"Another owl altogether.")
    assert (status, error["code"]) == (409, "name_taken")
    assert (documents.workspace.path / "added/owls/owl.txt").read_bytes() == body
    kept = documents.ask("PUT", "/files/owls/owl.txt", b"Another owl, grey.", taken="keep")
    assert kept == (201, {"name": "added/owls/owl (2).txt"})
    same = documents.ask("PUT", "/files/owls/owl.txt", body)
    assert same == (201, {"name": "added/owls/owl.txt"})
    documents.settled()
    assert [n for n in documents.names() if "owl" in n] == [
        "added/owls/owl (2).txt", "added/owls/owl.txt"
    ]  # fmt: skip

    for name in ("added/owls/owl.txt", "added/owls/owl (2).txt"):
        answered = documents.ask("DELETE", f"/files/{quote(name)}")
        assert answered == (200, {"name": name, "deleted_file": True})
    answered = documents.ask("DELETE", f"/files/{quote('notes/wren [1].md')}")
    assert answered == (200, {"name": "notes/wren [1].md", "deleted_file": False})
    documents.settled()
    assert documents.names() == ["notes/birds.md", "notes/heron.eml"]
    assert documents.names("removed") == ["notes/wren [1].md"]
    assert (documents.folder / "wren [1].md").exists()  # a file of the owner's own
    assert documents.ask("POST", "/restore", {"name": "notes/wren [1].md"})[0] == 200
    documents.settled()
    assert documents.names() == before
    assert documents.ask("DELETE", "/files/notes/none.md")[0] == 404


@pytest.mark.parametrize(
    "name",
    ["../out.txt", "a/../../out.txt", ".hidden.txt", "con.txt", "con .txt", "COM¹.txt",
     "a:b.txt", "picture.png", "a\\b.txt", "x" * 201 + ".txt", "a/b/c/d/e/f/g/h/i.txt",
     "end.", "~$open.docx"],
)  # fmt: skip
def test_names_lead_nowhere_else(documents: Opened, name: str) -> None:
    before = sorted(documents.workspace.path.parent.rglob("*"))
    assert documents.ask("PUT", f"/files/{quote(name)}", b"Some words of text.")[0] == 400
    assert sorted(documents.workspace.path.parent.rglob("*")) == before


def test_nothing_is_removed_but_what_was_added(documents: Opened, tmp_path: Path) -> None:
    (tmp_path / "own.md").write_text("# Mine\n")
    added = documents.workspace.path / "added"
    added.mkdir(exist_ok=True)
    for name, target in (("link", tmp_path), ("file.md", tmp_path / "own.md")):
        (added / name).symlink_to(target)
    try:
        assert documents.ask("DELETE", "/files/added/link/own.md")[0] == 400
        assert documents.ask("DELETE", "/files/added/none.md")[0] == 404
        assert documents.ask("DELETE", "/files/added/file.md")[0] == 200  # the link itself
        assert (tmp_path / "own.md").exists()
        assert not (added / "file.md").is_symlink()
    finally:
        (added / "link").unlink()
    documents.settled()


def test_what_is_too_large_is_not_kept(documents: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linnet.serve.endpoints.documents.LARGEST_FILE", 1000)
    with contextlib.suppress(urllib.error.URLError, ConnectionError):  # it is told while it sends
        assert documents.ask("PUT", "/files/long.txt", b"x" * 5000)[0] == 413
    assert list((documents.workspace.path / ".uploads").iterdir()) == []
    assert not (documents.workspace.path / "added/long.txt").exists()


def test_feedback_is_kept_with_what_was_cited(documents: Opened) -> None:
    documents.given.add(
        Feedback("a1", "Which?", False, citations=(FeedbackSpan("notes/birds.md", 3, 9),))
    )
    body = {"answer": "a1", "question": "Another?", "good": False, "citations": []}
    assert documents.ask("POST", "/feedback", body)[0] == 200
    with (documents.workspace.path / "feedback.jsonl").open("ab") as file:
        file.write(b'{"answer": "torn')  # by a kill
    for _ in range(2):  # saying the same again is saying it once
        assert documents.ask("POST", "/feedback", {**body, "good": True})[0] == 200
    said = list(read_feedback(documents.workspace.path))
    assert [(each.answer, each.good) for each in said] == [("a1", False), ("a1", True)]
    assert (said[0].question, said[0].citations[0].end) == ("Which?", 9)  # as it was given
    assert said[0].at.startswith("20")
    assert documents.ask("POST", "/feedback", {**body, "extra": 1})[0] == 400
    assert documents.ask("POST", "/feedback", {**body, "answer": "a2"})[1]["code"] == "not_judged"
    for good in (False, True, False):
        status = documents.ask("POST", "/feedback", {**body, "good": good})[0]
    assert status == 409
    assert len(list(read_feedback(documents.workspace.path))) == MOST_VERDICTS


def test_an_answer_is_judged_by_the_key_that_it_was_given_to() -> None:
    given = GivenAnswers(most=2)
    spans = tuple(FeedbackSpan("a", n, n + 1) for n in range(1000))
    given.add(Feedback("1", "What?", False, citations=spans, by="ada"))
    said = given.judged("1", "ada", good=True)
    assert said is not None
    assert said.good
    assert len(said.citations) < 100
    for answer, by in (("1", "bo"), ("1", ""), ("2", "ada")):
        with pytest.raises(DataError, match="was not given here"):
            given.judged(answer, by, good=True)
    for number in (2, 3):
        given.add(Feedback(str(number), "What?", False, by="ada"))
    with pytest.raises(DataError, match="too long ago"):
        given.judged("1", "ada", good=True)


def test_a_slow_upload_ends_and_a_stalled_one_gives_up_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def call(key: str | None) -> Any:
        return SimpleNamespace(account=key and SimpleNamespace(key=SimpleNamespace(name=key)))

    async def hold(places: uploads.Uploads, key: str | None, there: asyncio.Event) -> None:
        async with places.place(call(key)) as upload:
            upload.arrived(10)
            there.set()
            await asyncio.Event().wait()

    async def held(places: uploads.Uploads, key: str | None = None) -> asyncio.Task[None]:
        there = asyncio.Event()
        task = asyncio.create_task(hold(places, key, there))
        waiting = asyncio.create_task(there.wait())
        await asyncio.wait([task, waiting], return_when="FIRST_COMPLETED")
        waiting.cancel()
        return task

    async def status(task: asyncio.Task[None]) -> int:
        with pytest.raises(ApiError) as refused:
            await task
        return refused.value.status

    async def ended(*tasks: asyncio.Task[None]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def run() -> None:
        places = uploads.Uploads(2)
        first, second = await held(places), await held(places)
        monkeypatch.setattr(uploads, "STALLED_SECONDS", 1e9)
        assert await status(await held(places)) == 429
        monkeypatch.setattr(uploads, "STALLED_SECONDS", 0.0)
        third = await held(places)
        assert await status(first) == 408
        assert not second.done()
        await ended(second, third)
        own = await held(places, "ada")
        assert await status(await held(places, "ada")) == 429  # of two places one is for others
        other = await held(places, "bo")
        await ended(own, other)
        monkeypatch.setattr(uploads, "GRACE_SECONDS", 0.0)
        assert await status(await held(places)) == 408
        async with places.place(call(None)) as upload:
            upload.complete()
            await asyncio.sleep(0.01)

    asyncio.run(run())


def test_only_the_owner_lists_and_changes(documents: Opened, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    owner, guest = add_key(keys, "owner", KeyLimits(documents=True)), add_key(keys, "guest")
    served = Served("notes", ScriptedEngine(), workspace=documents.workspace,
                    upkeep=documents.upkeep)  # fmt: skip
    running = Running(Catalog([served]), ServeConfig(port=0, log="off", keys=keys))
    theirs = Opened(running.url, documents.folder, documents.workspace, documents.upkeep,
                    documents.given, guest)  # fmt: skip
    try:
        assert theirs.ask("GET", "/source", **span(documents, "notes/birds.md", "bird 7"))[0] == 200
        assert theirs.ask("GET", "/status")[1]["can_change"] is False
        for method, path in (("GET", ""), ("PUT", "/files/a.txt"), ("DELETE", "/files/notes/x")):
            body = b"Some words." if method == "PUT" else None
            assert theirs.ask(method, path, body)[1]["code"] == "not_allowed"
        theirs.key = owner
        assert theirs.ask("GET", "")[0] == 200
        theirs.key = None
        assert theirs.ask("GET", "")[0] == 401
    finally:
        running.stop()


def test_a_page_of_another_site_that_may_read_is_not_the_owner(documents: Opened) -> None:
    site = "https://wiki.example"
    served = Served("notes", ScriptedEngine(), workspace=documents.workspace,
                    upkeep=documents.upkeep)  # fmt: skip
    running = Running(Catalog([served]), ServeConfig(port=0, log="off", cors=(site,)))
    theirs = Opened(running.url, documents.folder, documents.workspace, documents.upkeep,
                    documents.given)  # fmt: skip
    try:
        assert theirs.ask("GET", "")[0] == 200
        theirs.origin = site
        assert theirs.ask("GET", "/status")[1]["can_change"] is False
        assert theirs.ask("GET", "")[1]["code"] == "not_allowed"
        assert theirs.ask("PUT", "/files/a.txt", b"Some words.")[1]["code"] == "not_allowed"
    finally:
        running.stop()


def test_a_key_opens_its_own_collections_and_private_data_by_its_policy(
    documents: Opened, tmp_path: Path
) -> None:
    work = documents.workspace
    index_corpus(work.corpus, work.path / "index", IndexConfig(collections=("mail=*.eml",)))
    keys = tmp_path / "keys.json"
    mail = add_key(keys, "mail", KeyLimits(collections=("mail",), private_data="mask"))
    with Index.open(work.path) as index:
        served = Served("notes", assistant=Assistant(index))  # as 'linnet serve INDEX' has it
        running = Running(Catalog([served]), ServeConfig(port=0, log="off", keys=keys))
        try:
            theirs = Opened(running.url, documents.folder, work, documents.upkeep,
                            documents.given, mail)  # fmt: skip
            status, shown = theirs.ask(
                "GET", "/source", **span(documents, "notes/heron.eml", "Line 7")
            )
            assert status == 200
            assert "ada@example.org" not in json.dumps(shown)
            assert "<EMAIL>" in shown["blocks"][0]["parts"][0][0]
            assert shown["text"] == "Line 7"
            query = span(documents, "notes/birds.md", "bird 7")
            assert theirs.ask("GET", "/source", **query)[1]["code"] == "document_gone"
            for part in ("ada@ex", "da@example.o", "example.org>\nTo: Bo <bo"):  # half a value
                _, shown = theirs.ask("GET", "/source", **span(documents, "notes/heron.eml", part))
                told = re.sub("<EMAIL>", "", json.dumps(shown))
                assert not re.search("ada@|da@|@ex|example|bo@|<bo", told), told
                assert "<EMAIL>" in shown["text"]
            told = theirs.ask("GET", "/status")[1]
            assert told["documents"] == {"searchable": 1, "reading": 0, "unreadable": 0}
            request = urllib.request.Request(
                f"{running.url}/v1/models", headers={"Authorization": f"Bearer {mail}"}
            )
            with urllib.request.urlopen(request) as answer:
                (card,) = json.load(answer)["data"]
            assert 0 < card["linnet"]["documents"] == index.count(["mail"]) < len(index)
        finally:
            running.stop()


def test_sources_and_feedback_count_as_requests(documents: Opened, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    few = add_key(keys, "few", KeyLimits(requests_per_minute=2))
    assistant = Assistant(PassagesInMemory(()))
    assistant.given.add(Feedback("few", "Which?", False, by="few"))
    served = Served("notes", ScriptedEngine(), workspace=documents.workspace, assistant=assistant)
    running = Running(Catalog([served]), ServeConfig(port=0, log="off", keys=keys))
    try:
        theirs = Opened(running.url, documents.folder, documents.workspace, documents.upkeep,
                        documents.given, few)  # fmt: skip
        query = span(documents, "notes/birds.md", "bird 7")
        body = {"answer": "few", "question": "Which?", "good": True, "citations": []}
        assert theirs.ask("GET", "/source", **query)[0] == 200
        assert theirs.ask("POST", "/feedback", body)[0] == 200
        assert theirs.ask("GET", "/source", **query)[0] == 429
        assert theirs.ask("POST", "/feedback", body)[0] == 429
    finally:
        running.stop()


def test_what_is_being_made_is_told(documents: Opened) -> None:
    status = documents.ask("GET", "/status")[1]
    assert status["answers"]
    assert not status["working"]
    assert status["can_change"]
    assert [(s["name"], s["state"]) for s in status["steps"]] in (
        [("documents", "done")], [("documents", "unchanged")]
    )  # fmt: skip
    assert status["documents"]["unreadable"] == 1


def test_documents_as_openai_s_files(documents: Opened) -> None:
    client = openai.OpenAI(base_url=f"{documents.url}/v1", api_key="x", max_retries=0)
    content = b"# Kite\n\r\nThe kite hovers.\r\n--\r\n"
    added = client.files.create(file=("k\u00efte.md", content), purpose="assistants")
    assert (added.filename, added.bytes) == ("added/k\u00efte.md", len(content))
    place = documents.workspace.file_of(added.filename)
    assert place is not None
    assert place.read_bytes() == content
    documents.settled()
    assert client.files.retrieve(added.id).status == "processed"
    names = {each.filename: each for each in client.files.list(limit=2)}  # page by page
    assert {"notes/birds.md", "notes/empty.txt", added.filename} <= set(names)
    assert names["notes/empty.txt"].status == "error"
    (store,) = client.vector_stores.list()
    assert store.file_counts.failed == 1
    assert client.vector_stores.retrieve(store.id).file_counts == store.file_counts
    assert added.id in [each.id for each in client.vector_stores.files.list(store.id)]
    with pytest.raises(openai.ConflictError, match="another document"):
        client.files.create(file=("k\u00efte.md", b"other"), purpose="assistants")
    for file, purpose, message in (
        (("a.md", b"a"), "fine-tune", "'purpose' must be one of"),
        (("../a.md", b"a"), "assistants", "cannot be named"),
        (("a.exe", b"a"), "assistants", "is not read"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            client.files.create(file=file, purpose=purpose)  # type: ignore[arg-type]
    assert client.files.delete(added.id).deleted
    documents.settled()
    for missing in (added.id, "file-x", "file-////"):
        with pytest.raises(openai.NotFoundError, match="There is no file"):
            client.files.retrieve(missing)
    with pytest.raises(openai.BadRequestError, match="not given out"):
        client.files.content(names["notes/birds.md"].id)
    with pytest.raises(openai.NotFoundError, match="There is no vector store 'vs_x'"):
        client.vector_stores.retrieve("vs_x")
    assert not list((documents.workspace.path / ".uploads").iterdir())


HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.md"\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "message"),
    [
        ("application/json", b"{}", "Send the file as multipart/form-data"),
        ("multipart/form-data", HEAD, "Send the file as multipart/form-data"),
        ("multipart/form-data; boundary=" + "b" * 300, HEAD, "Send the file as"),
        ("multipart/form-data; boundary=b", HEAD + b"text", "ends before it is complete"),
        ("multipart/form-data; boundary=b", b"--c\r\n", "cannot be read"),
        ("multipart/form-data; boundary=b", b"--b\r\nX: " + b"y" * 9000, "cannot be read"),
        ("multipart/form-data; boundary=b", HEAD + b"x\r\n" + HEAD + b"y\r\n--b--", "one file"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + b"x" * 5000,
            "at most 4096 bytes",
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 17,
            "at most 16 parts",
        ),
    ],
)
def test_forms_of_strangers(documents: Opened, kind: str, body: bytes, message: str) -> None:
    request = urllib.request.Request(f"{documents.url}/v1/files", body, method="POST")
    request.add_header("Content-Type", kind)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    assert message in json.load(caught.value)["error"]["message"]
    assert caught.value.code in (400, 415)
    assert not any((documents.workspace.path / ".uploads").glob("*.partial"))


@given(st.lists(st.integers(1, 200), max_size=40), st.binary(max_size=200))
def test_a_form_is_read_alike_however_it_is_cut(sizes: list[int], content: bytes) -> None:
    form = Form("multipart/form-data; boundary=bound")
    body = HEAD.replace(b"--b", b"--bound") + content + b"\r\n--bound--\r\n"
    if b"\r\n--bound" in content:
        return
    found = b""
    for size in [*sizes, len(body)]:
        found += form.feed(body[:size])
        body = body[size:]
    assert (found, form.filename, form.complete) == (content, "a.md", True)
