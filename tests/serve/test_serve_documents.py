"""Documents behind the server: answers with citations, searches, and who may see which."""

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest
from scripted import Running

from linnet.answers import Assistant
from linnet.retrieval import Index, Passage, PassagesInMemory, Place
from linnet.serve import Catalog, ServeConfig, Served
from linnet.serve.keys import KeyLimits, add_key, read_keys

HOURS = "Opening hours\nThe library opens at nine.\nIt closes at six on Fridays.\n"
SALARY = "The head librarian earns 5,200 euros a month.\n"


def passages() -> PassagesInMemory:
    return PassagesInMemory(
        [
            Passage(HOURS, (Place("hours.txt", 10, 10 + len(HOURS), 2),), "Hours", language="en"),
            Passage(SALARY, (Place("staff/pay.txt", 0, len(SALARY)),), collection="staff"),
        ]
    )


@contextlib.contextmanager
def serving_documents(**settings: Any) -> Iterator[tuple[Running, openai.OpenAI]]:
    catalog = Catalog([Served("notes", assistant=Assistant(passages()))])
    running = Running(catalog, ServeConfig(port=0, log="off", **settings))
    try:
        yield running, openai.OpenAI(base_url=f"{running.url}/v1", api_key="x", max_retries=0)
    finally:
        running.stop()


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Running, openai.OpenAI]]:
    with serving_documents() as found:
        yield found


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


Served_ = tuple[Running, openai.OpenAI]


def test_an_answer_has_its_citations_as_annotations(served: Served_) -> None:
    client = served[1]
    whole = client.chat.completions.create(
        model="notes", messages=asked("When does the library open?")
    )
    message: Any = whole.choices[0].message
    assert message.content == "The library opens at nine."
    (note,) = message.annotations
    assert note.type == "url_citation"
    cited = note.url_citation
    assert (cited.start_index, cited.end_index, cited.title) == (0, 26, "Hours")
    start = 10 + HOURS.index("The library")
    assert cited.url.endswith(f"?model=notes&source=hours.txt&start={start}&end={start + 26}")
    own = {piece["type"]: piece for piece in reversed(message.linnet)}
    assert own["citation"]["text"] == message.content
    assert (own["passage"]["source"], own["passage"]["page"]) == ("hours.txt", 2)
    assert own["status"]["state"] == "search"
    assert own["outcome"]["refused"] is False
    assert whole.choices[0].finish_reason == "stop"


def test_a_stream_brings_the_same(served: Served_) -> None:
    client = served[1]
    text, kinds = "", []
    annotations: list[Any] = []
    for event in client.chat.completions.create(
        model="notes", messages=asked("When does the library open?"), stream=True
    ):
        delta: Any = event.choices[0].delta
        text += delta.content or ""
        annotations += getattr(delta, "annotations", None) or []
        kinds += [piece["type"] for piece in getattr(delta, "linnet", None) or ()]
    assert text == "The library opens at nine."
    assert [note["url_citation"]["end_index"] for note in annotations] == [26]
    assert kinds == ["status", "passage", "passage", "claim", "citation", "outcome"]
    with client.chat.completions.stream(  # puts lists together by the index of their entries
        model="notes", messages=asked("When does the library open?")
    ) as stream:
        stream.until_done()
        message: Any = stream.get_final_completion().choices[0].message
    assert message.content == text
    assert [piece["type"] for piece in message.linnet] == kinds
    (note,) = message.annotations
    assert note.url_citation.end_index == 26


def test_what_the_documents_do_not_say_is_refused_in_words(served: Served_) -> None:
    client = served[1]
    whole = client.chat.completions.create(model="notes", messages=asked("Zxqv wombat?"))
    message: Any = whole.choices[0].message
    assert message.refusal == message.content
    assert message.content.startswith("I don't know")
    assert message.linnet[-1]["refused"] is True
    assert whole.choices[0].finish_reason == "stop"


def test_documents_are_in_the_list_of_models(served: Served_) -> None:
    (card,) = served[1].models.list()
    assert card.id == "notes"
    assert card.linnet["documents"] == 2  # type: ignore[attr-defined]
    assert card.linnet["chat"] is True  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
        ({"n": 2}, "'n'"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"messages": asked("a" * 20_000)}, "at most 10,000 characters"),
        ({"messages": [{"role": "system", "content": "a"}]}, "expected a question"),
    ],
)
def test_what_answers_from_documents_cannot_have(
    served: Served_, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        served[1].chat.completions.create(
            **{"model": "notes", "messages": asked("When?"), **settings}
        )


def test_json_is_as_declared(served: Served_) -> None:
    with served[1].chat.completions.with_streaming_response.create(
        model="notes", messages=asked("When does the library open?")
    ) as response:
        body = json.loads(response.read())
    assert set(body["choices"][0]["message"]) <= {
        "role", "content", "refusal", "annotations", "linnet",
    }  # fmt: skip


def post(running: Running, path: str, body: Any, key: str = "") -> tuple[int, Any]:
    request = urllib.request.Request(
        running.url + path, json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {key}"},
    )  # fmt: skip
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_search(served: Served_) -> None:
    status, found = post(served[0], "/v1/search", {"query": "library open", "k": 1})
    assert status == 200
    (entry,) = found["data"]
    assert (entry["source"], entry["start"], entry["page"], entry["title"]) == (
        "hours.txt", 10, 2, "Hours",
    )  # fmt: skip
    assert entry["text"] == HOURS
    for body, said in (({}, "query"), ({"query": "a", "k": 0}, "'k'")):
        status, error = post(served[0], "/v1/search", body)
        assert (status, said in error["error"]["message"]) == (400, True)


def test_rerank_is_as_its_clients_know_it(served: Served_) -> None:
    class ByLength:
        def score(self, question: str, passages: Sequence[str]) -> list[float]:
            return [len(passage) / 10 for passage in passages]

    class WithItsOwn(Index):
        reranker = ByLength()  # type: ignore[assignment]

        def __init__(self) -> None:
            """Nothing on a disk."""

    assert post(served[0], "/v1/rerank", {"query": "a", "documents": ["b"]})[0] == 400
    asked: dict[str, Any] = {"query": "a", "documents": ["bb", {"text": "bbbb"}, "b", "bb"]}
    catalog = Catalog([
        Served("order", assistant=Assistant(passages()), reranking=ByLength()),
        Served("own", assistant=Assistant(WithItsOwn())),
    ])  # fmt: skip
    running = Running(catalog, ServeConfig(port=0, log="off"))
    try:
        for model in ("order", "own"):
            _, found = post(running, "/v1/rerank", {**asked, "model": model})
            assert [(r["index"], r["relevance_score"]) for r in found["results"]] == [
                (1, 0.4), (0, 0.2), (3, 0.2), (2, 0.1),
            ]  # fmt: skip
        by_cohere = {"query": "a", "documents": ["bb", "b"], "max_tokens_per_doc": 4096}
        _, found = post(running, "/v2/rerank", {**by_cohere, "model": "order"})
        assert [result["index"] for result in found["results"]] == [0, 1]
        _, found = post(running, "/v1/rerank", {**asked, "top_n": 1, "return_documents": True})
        assert found["results"] == [
            {"index": 1, "relevance_score": 0.4, "document": {"text": "bbbb"}}
        ]
    finally:
        running.stop()


def test_a_key_sees_its_collections_alone(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    every = add_key(file, "owner")
    guest = add_key(file, "guest", KeyLimits(collections=("open,lost",)))
    staff = add_key(file, "staff", KeyLimits(collections=("staff",), private_data="mask"))
    with serving_documents(keys=file) as (running, _):
        body = {"query": "librarian earns euros"}
        counts = {}
        for name, key in (("owner", every), ("guest", guest), ("staff", staff)):
            _, found = post(running, "/v1/search", body, key)
            counts[name] = len(found["data"])
            _, narrowed = post(running, "/v1/search", {**body, "collections": ["staff"]}, key)
            counts[f"{name} staff"] = len(narrowed["data"])
            chat = {"messages": asked("What does the librarian earn?")}
            _, answer = post(running, "/v1/chat/completions", chat, key)
            counts[f"{name} told"] = int("5,200" in json.dumps(answer))
        assert counts == {
            "owner": 1, "owner staff": 1, "owner told": 1,
            "guest": 0, "guest staff": 0, "guest told": 0,
            "staff": 1, "staff staff": 1, "staff told": 1,
        }  # fmt: skip
    assert read_keys(file)[1].limits.collections == ("open", "lost")


def test_documents_as_a_vector_store(served: Served_) -> None:
    client = served[1]
    (store,) = client.vector_stores.list()
    assert (store.name, store.object) == ("notes", "vector_store")
    assert client.vector_stores.retrieve(store.id).file_counts == store.file_counts
    for name in (store.id, "notes"):
        (found, *_) = client.vector_stores.search(name, query="When does the library open?")
        assert found.filename == "hours.txt"
        assert found.content[0].text == HOURS
        assert found.attributes is not None
        assert (found.attributes["page"], found.attributes["title"]) == (2, "Hours")
    own = {"type": "eq", "key": "collection", "value": "staff"}
    found_in = client.vector_stores.search(store.id, query="librarian", filters=own)  # type: ignore[arg-type]
    assert {each.filename for each in found_in} == {"staff/pay.txt"}
    for wrong, message in (
        ({**own, "type": "ne"}, "Got 'ne' of 'collection'"),
        ({"type": "or", "filters": [own]}, "several of these under 'and'"),
        ({"type": "and", "filters": ["x"]}, "Got 'None'"),
        ({**own, "key": "kind"}, "have no filters"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            client.vector_stores.search(store.id, query="a", filters=wrong)  # type: ignore[arg-type]


def test_without_documents_vector_stores_say_what_serves_some(tiny_server: Running) -> None:
    client = openai.OpenAI(base_url=f"{tiny_server.url}/v1", api_key="x", max_retries=0)
    assert list(client.vector_stores.list()) == []
    for ask in (lambda: client.files.list(), lambda: client.vector_stores.retrieve("vs_a")):
        with pytest.raises(openai.NotFoundError, match="start 'linnet serve INDEX'"):
            ask()
