"""A server whose ``auto`` chooses between its own model, or documents, and one behind a server."""

import contextlib
import dataclasses
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest
from scripted import Running, ScriptedEngine, serving
from test_serve_running import leave, open_stream, wait_until
from typer.testing import CliRunner

from linnet.answers import Assistant
from linnet.cli import app
from linnet.data.blocks import derived
from linnet.data.document import text_id
from linnet.data.locating import Listing, StoredText, Unread
from linnet.errors import ConfigError
from linnet.generate.engine import Request
from linnet.monitor.entry import Entry
from linnet.progress import Progress
from linnet.respond.prices import UNIT
from linnet.retrieval import IndexConfig, Passage, PassagesInMemory, Place
from linnet.retrieval.updating import index_texts
from linnet.routing.opening import OpenRouting
from linnet.serve import Catalog, ServeConfig, Served
from linnet.serve.keys import KeyLimits, add_key
from linnet.serve.sources import open_catalog, open_routing, remote_models, routed

SETTINGS = """
currency = "EUR"

[models.cloud]
address = "{url}/v1"
model = "tiny"
place = "elsewhere"
retries = 0
input = 1.0
output = 2.0

[policy]
farthest = "elsewhere"
{policy}

[budget]
{budget}

[[rules]]
matches = "hard|founded by"
model = "cloud"
"""
FOUNDED = "The library was founded in 1891 by Anna Weiss."
CUP = "Whoever won the trophy writes to anna.weiss@example.org."
WHEN = "When was the library founded by Anna Weiss?"
PAY = "The librarian Anna Weiss earns 5,200 euros a month."


def says(prompt: str, request: Request) -> str:
    """What the larger model says: of documents a statement, as it is asked for."""
    if "as JSON" not in prompt:
        return "the cloud says so"
    quote = FOUNDED if FOUNDED in prompt else PAY
    return json.dumps({"statements": [{"quote": quote, "statement": quote}]})


class Routed:
    """The two servers, and a client of the first."""

    def __init__(self, near: Running, cloud: ScriptedEngine, routing: OpenRouting) -> None:
        self.near, self.cloud, self.routing = near, cloud, routing

    def client(self, key: str = "x") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.near.url}/v1", api_key=key, max_retries=0)

    def post(self, path: str, *, key: str | None = None, **body: Any) -> tuple[int, Any]:
        headers = {"content-type": "application/json"}
        headers |= {"authorization": f"Bearer {key}"} if key else {}
        request = urllib.request.Request(
            self.near.url + path, json.dumps(body).encode(), headers, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())

    def chat(self, text: str, model: str = "auto", **more: Any) -> tuple[Any, dict[str, Any]]:
        """The message, and who wrote it."""
        status, found = self.post("/v1/chat/completions", model=model, messages=asked(text), **more)
        assert status == 200, found
        message = found["choices"][0]["message"]
        return message, wrote(message["linnet"])

    def entries(self) -> list[Entry]:
        """The log, newest first."""
        log = self.near.server.service.log
        assert log is not None
        wait_until(lambda: not self.near.server.service.busy)  # a line follows its answer
        assert log.flush()
        return log.newest(100)


def wrote(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = (piece for piece in pieces if piece["type"] == "attribution")
    return found


def asked(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@contextlib.contextmanager
def routing_server(
    folder: Path,
    *,
    policy: str = "",
    budget: str = "",
    documents: bool = False,
    private: bool = False,
    **settings: Any,
) -> Iterator[Routed]:
    cloud = ScriptedEngine(says, context=20_000)
    file = folder / "routing.toml"
    with serving(cloud) as far:
        file.write_text(SETTINGS.format(url=far.url, policy=policy, budget=budget))
        routing = OpenRouting.open(file)
        local = Served("tiny", ScriptedEngine())
        if documents:
            index = PassagesInMemory(
                [
                    Passage(FOUNDED, (Place("open/history.txt", 0, len(FOUNDED)),), language="en"),
                    Passage(PAY, (Place("staff/pay.txt", 0, len(PAY)),), language="en"),
                ]
            )
            if private:
                about = Passage(CUP, (Place("open/cup.txt", 0, len(CUP)),), language="en")
                index = PassagesInMemory([about])
            local = Served("notes", assistant=Assistant(index))
        models = [local, routed(routing, local, ""), *remote_models(routing)]
        if documents:  # there is no directory, for what was measured there
            models[1] = dataclasses.replace(models[1], answering=routing.auto(local.conversing))
        catalog = Catalog(models, routing=routing)
        monitor = {"monitor": folder / "log.sqlite"}
        near = Running(catalog, ServeConfig(**{"port": 0, "log": "off", **monitor, **settings}))
        try:
            yield Routed(near, cloud, routing)
        finally:
            near.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routed]:
    folder = tmp_path_factory.mktemp("routing")
    with routing_server(folder, monitor_contents=True) as found:
        yield found


def test_each_interface_says_who_wrote_it_why_and_what_it_cost(server: Routed) -> None:
    why = {"decided_by": "rule", "reason": "rule 1: the question matches hard|founded by"}
    chat, found = server.chat("a hard question")
    tokens = len("<user> a hard question"), len("the cloud says so")
    cost = (tokens[0] * 1.0 + tokens[1] * 2.0) / 1e6
    assert chat["content"] == "the cloud says so"
    assert (found["model"], found["place"], found["route"]) == ("cloud", "elsewhere", why)
    assert (found["cost"], found["currency"]) == (pytest.approx(cost), "EUR")

    easy, found = server.chat("an easy one")
    assert (easy["content"], found["model"], found["cost"]) == ("eno ysae na >resu<", "tiny", 0.0)

    text, pieces, usage = "", [], None
    for chunk in server.client().chat.completions.create(
        model="auto", messages=asked("a hard question"), stream=True,
        stream_options={"include_usage": True},
    ):  # fmt: skip
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            pieces += getattr(choice.delta, "linnet", None) or ()
    assert (text, wrote(pieces)["cost"]) == ("the cloud says so", pytest.approx(cost))
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == tokens

    _, response = server.post("/v1/responses", model="auto", input="a hard question")
    assert wrote(response["linnet"])["model"] == "cloud"
    _, message = server.post(
        "/v1/messages", model="auto", messages=asked("a hard question"), max_tokens=99
    )
    assert wrote(message["linnet"])["cost"] == pytest.approx(cost)
    _, line = server.post("/api/chat", model="auto", messages=asked("a hard one"), stream=False)
    assert wrote(line["linnet"])["model"] == "cloud"
    _, line = server.post("/api/generate", model="auto", prompt="a hard one", stream=False)
    assert wrote(line["linnet"])["model"] == "cloud"


def test_one_call_may_be_sent_elsewhere_and_the_log_has_all_of_it(server: Routed) -> None:
    before = len(server.entries())
    for path, body in (
        ("/v1/chat/completions", {"messages": asked("easy, but mine")}),
        ("/v1/responses", {"input": "easy, but mine"}),
        ("/v1/messages", {"messages": asked("easy, but mine"), "max_tokens": 99}),
        ("/api/chat", {"messages": asked("easy, but mine"), "stream": False}),
    ):
        status, _ = server.post(path, model="auto", linnet={"route": "cloud"}, **body)
        assert status == 200
    entries = server.entries()
    assert len(entries) == before + 4
    for entry in entries[:4]:
        assert (entry.asked, entry.model, entry.place) == ("auto", "cloud", "elsewhere")
        assert (entry.decided_by, entry.question) == ("request", "easy, but mine")
        assert (entry.answer, entry.state) == ("the cloud says so", "answered")
        assert entry.cost == entry.would_cost == entry.prompt * 10**6 + entry.written * 2 * 10**6
    assert {entry.interface for entry in entries[:4]} == {
        "/v1/chat/completions", "/v1/responses", "/v1/messages", "/api/chat"
    }  # fmt: skip
    _, found = server.chat("hard, but stays", linnet={"route": "local"})
    assert (found["model"], found["route"]["decided_by"]) == ("tiny", "request")
    (entry,) = server.entries()[:1]
    assert (entry.cost, entry.would_cost) == (0, entry.prompt * 10**6 + entry.written * 2 * 10**6)
    status, error = server.post(
        "/v1/chat/completions", model="auto", messages=asked("x"), linnet={"route": "sky"}
    )
    assert (status, error["error"]["code"]) == (400, "model_not_found")
    status, error = server.post(
        "/v1/chat/completions", model="tiny", messages=asked("x"), linnet={"route": "cloud"}
    )
    assert (status, error["error"]["param"]) == (400, "linnet.route")


def test_a_verdict_is_noted_in_the_log(server: Routed) -> None:
    _, found = server.chat("an easy one")
    assert server.post("/v1/linnet/feedback", id=found["id"], good=False) == (200, {"noted": True})
    (entry,) = server.entries()[:1]
    assert (entry.id, entry.good) == (found["id"], False)
    status, error = server.post("/v1/linnet/feedback", id="chatcmpl-0123", good=True)
    assert (status, error["error"]["code"], error["error"]["param"]) == (404, "not_found", "id")
    assert "X-Request-Id" in error["error"]["message"]


def test_models_are_listed_with_their_places_and_prices(server: Routed) -> None:
    cards = {card.id: card.linnet for card in server.client().models.list()}  # type: ignore[attr-defined]
    assert list(cards) == ["tiny", "auto", "cloud"]
    assert [card["place"] for card in cards.values()] == ["here", "elsewhere", "elsewhere"]
    assert cards["cloud"]["price"] == {"input": 1.0, "output": 2.0, "currency": "EUR"}
    assert cards["auto"]["adapter_of"] is None
    message, found = server.chat("easy", model="cloud")
    assert (message["content"], found["route"]["decided_by"]) == ("the cloud says so", "request")


def test_what_a_model_elsewhere_would_be_sent_is_shown_before(server: Routed) -> None:
    before = len(server.cloud.requests)
    status, found = server.post(
        "/v1/linnet/route", model="auto",
        messages=[{"role": "system", "content": "Be brief."}, *asked("an easy one")],
    )  # fmt: skip
    (prospect,) = found["models"]
    assert (status, prospect["model"], prospect["allowed"]) == (200, "cloud", True)
    assert [m["content"] for m in prospect["messages"]] == ["Be brief.", "an easy one"]
    # Two prices by bounds: a token has a byte at least, and an answer is 4,096 at most.
    assert 4096 * 2.0 / 1e6 < prospect["most_cost"] < (4096 * 2.0 + 1500) / 1e6
    assert len(server.cloud.requests) == before
    assert server.post("/v1/linnet/route", model="tiny", messages=asked("x"))[0] == 400


def test_a_model_that_fails_in_the_middle_or_before(server: Routed) -> None:
    """What was given out stays; before the first word the local model answers."""
    message, found = server.chat("hard, slow and broken")
    assert message["content"] == "the"
    assert found["model"] == "cloud"
    assert [p["type"] for p in message["linnet"]] == ["decision", "error", "attribution"]
    entry = server.entries()[0]
    assert (entry.state, entry.model, len(entry.failures)) == ("answered", "cloud", 1)
    # "unfit" fails before there is a word, at both: what kept the cloud from answering is told too.
    status, error = server.post("/v1/chat/completions", model="auto", messages=asked("hard, unfit"))
    assert status >= 400
    assert server.entries()[0].state == "failed"
    status, error = server.post("/v1/chat/completions", model="cloud", messages=asked("unfit"))
    assert (status, error["error"]["code"]) == (502, "remote_error")
    stream: Any = open_stream(server.near, "hard " + "slow " * 200, model="auto")
    stream.read(200)
    leave(stream)
    wait_until(lambda: server.cloud.running == 0)
    assert server.entries()[0].state == "left"


@pytest.mark.parametrize(
    ("policy", "budget", "cause", "status", "said"),
    [
        ('keys = {owner = "here"}', "", "policy", 403, "no farther than 'here'"),
        ("", "day = 0", "budget", 429, "day"),
        ("", "query_tokens = 10", "budget", 429, "10"),
    ],
)
def test_policy_and_budget_hold_whichever_way_it_is_asked(
    tmp_path: Path, policy: str, budget: str, cause: str, status: int, said: str
) -> None:
    keys = tmp_path / "keys.json"
    owner = add_key(keys, "owner", KeyLimits(remote=True))
    guest = add_key(keys, "guest")
    with routing_server(tmp_path, policy=policy, budget=budget, keys=keys) as server:
        message, found = server.chat("a hard one", key=owner)
        assert (message["content"], found["model"]) == ("eno drah a >resu<", "tiny")
        assert found["route"]["decided_by"] == cause
        assert said in found["route"]["reason"]
        got, error = server.post(
            "/v1/chat/completions", key=owner, model="cloud", messages=asked("x")
        )
        assert (got, said in error["error"]["message"]) == (status, True)
        # A key that was not made for it uses nothing beyond this machine.
        _, found = server.chat("a hard one", key=guest)
        assert (found["model"], found["route"]["decided_by"]) == ("tiny", "policy")
        got, error = server.post(
            "/v1/chat/completions", key=guest, model="cloud", messages=asked("x")
        )
        assert (got, error["error"]["code"]) == (403, "not_allowed")
        _, shown = server.post("/v1/linnet/route", key=guest, model="auto", messages=asked("x"))
        assert not shown["models"][0]["allowed"]
        assert "--remote" in shown["models"][0]["reasons"][0]
        assert server.cloud.requests == []
        # What is not let through is no failure of the server.
        ended = [(entry.state, entry.failures) for entry in server.entries()]
        assert ended[0] == ("held", ("not_allowed",))
        assert ended[2] == ("held", ("policy" if cause == "policy" else "budget_exceeded",))


def test_64_clients_never_exceed_the_budget_which_is_settled_exactly(tmp_path: Path) -> None:
    """Each answer costs 46 or 47 millionths, so that there is not enough for all, and may have
    cost more than three times as much."""
    with routing_server(tmp_path, budget="day = 0.002") as server:

        def ask(number: int) -> tuple[int, Any]:
            return server.post(
                "/v1/chat/completions",
                model="cloud",
                max_tokens=60,
                messages=asked(f"no. {number}"),
            )

        with ThreadPoolExecutor(64) as clients:
            answers = list(clients.map(ask, range(64)))
        (total, *_) = server.routing.ledger.spent()
    statuses = [status for status, _ in answers]
    assert set(statuses) == {200, 429}
    usages = [found["usage"] for status, found in answers if status == 200]
    billed = sum(each["prompt_tokens"] * 1 + each["completion_tokens"] * 2 for each in usages)
    assert total.day.cost == billed * UNIT // 1_000_000 <= 0.002 * UNIT
    assert (total.day.calls, total.day.reserved) == (len(usages), 0)
    assert len(server.cloud.requests) == len(usages)


def test_a_model_elsewhere_writes_from_documents_that_may_leave(tmp_path: Path) -> None:
    with routing_server(tmp_path, policy=OPEN, documents=True) as server:
        for model in ("auto", "notes"):  # there is one answer to each question, whoever writes it
            status, error = server.post(
                "/v1/chat/completions", model=model, n=2, messages=asked("When was it founded?")
            )
            assert (status, error["error"]["param"]) == (400, "n")
            assert "have no 'n': there is one to each question; send" in error["error"]["message"]
        message, found = server.chat("When was the library founded?", linnet={"route": "cloud"})
        assert (message["content"], found["model"]) == (FOUNDED, "cloud")
        assert message["annotations"][0]["url_citation"]["title"] == "open/history.txt"
        assert found["cost"] > 0
        decisions = [piece for piece in message["linnet"] if piece["type"] == "decision"]
        assert "was not shown 1 of 2 passages" in str(decisions)
        assert PAY not in server.cloud.detokenize(server.cloud.requests[-1].prompt)  # type: ignore[arg-type]
        status, shown = server.post(
            "/v1/linnet/route", model="auto", messages=asked("When was the library founded?")
        )
        assert (status, shown["models"][0]["allowed"]) == (200, True)
        assert FOUNDED in shown["models"][0]["messages"][-1]["content"]
        assert FOUNDED in shown["models"][0]["form"]
        assert PAY not in str(shown)
        # Where what it wrote is supported by nothing, the passages are what answers.
        message, found = server.chat(
            "How much does the librarian earn a month?", linnet={"route": "cloud"}
        )
        assert PAY in message["content"]
        assert found["model"] == "notes"
        assert "nothing that cloud wrote is supported" in found["route"]["reason"]
        # What the documents do not answer it is asked without them, and that is said.
        message, found = server.chat("Who won the cup in 2031?")
        assert (message["refusal"], message["content"]) == (None, "the cloud says so")
        assert "annotations" not in message
        assert found["model"] == "cloud"
        assert found["route"]["reason"].startswith("the local answer is a refusal")
        said = {p["subject"]: p for p in message["linnet"] if p["type"] == "decision"}
        assert "answers from what it knows" in said["documents"]["reason"]
        assert not [p for p in message["linnet"] if p["type"] in ("passage", "outcome")]
        assert "2031" in server.cloud.detokenize(server.cloud.requests[-1].prompt)  # type: ignore[arg-type]
        assert FOUNDED not in server.cloud.detokenize(server.cloud.requests[-1].prompt)  # type: ignore[arg-type]
        assert len(server.cloud.requests) == 4
    open_policy = f"{OPEN}\n[router]\nbeyond = false"
    with routing_server(tmp_path, policy=open_policy, documents=True) as server:
        message, found = server.chat("Who won the cup in 2031?")
        assert message["refusal"]


def test_who_sees_no_private_data_is_not_shown_it_before_it_leaves(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    limits = {
        "keep": KeyLimits(remote=True, private_data="keep"),
        "mask": KeyLimits(remote=True, private_data="mask"),
    }
    names = {name: add_key(keys, name, each) for name, each in limits.items()}
    policy = f'private = "send"\n{OPEN}'
    with routing_server(tmp_path, policy=policy, documents=True, private=True, keys=keys) as server:
        for name, key in names.items():
            _, shown = server.post(
                "/v1/linnet/route", key=key, model="auto",
                messages=asked("Whom does one write to who won the trophy?"),
            )  # fmt: skip
            assert "won the trophy writes to" in shown["models"][0]["messages"][-1]["content"]
            assert ("anna.weiss@example.org" in str(shown)) == (name == "keep")


def test_documents_that_stay_here_are_answered_from_here(tmp_path: Path) -> None:
    with routing_server(tmp_path, documents=True) as server:
        message, found = server.chat("When was the library founded?", linnet={"route": "cloud"})
        assert (message["content"], found["model"]) == (FOUNDED, "notes")
        assert found["route"]["decided_by"] == "policy"
        assert "all that was found stays here" in found["route"]["reason"]
        status, shown = server.post(
            "/v1/linnet/route", model="auto", messages=asked("When was the library founded?")
        )
        assert (status, shown["models"][0]["allowed"]) == (200, False)
        assert server.cloud.requests == []


def test_what_is_wrong_is_said_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "routing.toml"
    file.write_text(SETTINGS.format(url="http://127.0.0.1:9", policy="", budget=""))
    routing = OpenRouting.open(file)
    with pytest.raises(ConfigError, match="has a model 'cloud', and so is one here called"):
        open_catalog("nowhere", ServeConfig(), name="cloud", routing=routing)
    with pytest.raises(ConfigError, match="has a model 'auto'"):
        open_catalog("nowhere", ServeConfig(), models={"auto": "x"}, routing=routing)
    with pytest.raises(ConfigError, match="does not hold any"):
        routed(routing, Served("plain", ScriptedEngine(chat=False)), "")
    with pytest.raises(ConfigError, match="--monitor FILE"):
        ServeConfig(monitor_contents=True)
    routing.close()


class Two:
    """A document that may leave, and one that stays."""

    def __init__(self) -> None:
        self.texts = {"open/history.txt": FOUNDED, "staff/pay.txt": PAY}

    def listings(self) -> list[Listing]:
        return [
            Listing(number, name, name, text_id(text), "txt", "prose", "en", 0)
            for number, (name, text) in enumerate(self.texts.items())
        ]

    def read(self, listing: Listing) -> StoredText:
        text = self.texts[listing.source]
        return StoredText(listing.source, listing.id, text, derived(text, listing.family))

    def unread(self) -> list[Unread]:
        return []


@pytest.fixture(scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("index") / "notes"
    index_texts(Two(), place / "index", IndexConfig(), inputs={})
    (place / "corpus").mkdir()
    return place


OPEN = '[[policy.documents]]\nsources = ["open/**"]\nfarthest = "elsewhere"'


def test_an_index_is_served_with_what_chooses(tmp_path: Path, notes: Path) -> None:
    """As the command line opens it: text of a document that stays does not leave in a question."""
    warned: list[str] = []

    class Noting(Progress):
        def warn(self, text: str) -> None:
            warned.append(text)

    policy = f'local_only = ["hr/**"]\n{OPEN}'
    cloud = ScriptedEngine(says, context=20_000)
    file = tmp_path / "routing.toml"
    with serving(cloud) as far:
        file.write_text(SETTINGS.format(url=far.url, policy=policy, budget=""))
        config = ServeConfig(port=0, log="off", routing=file)
        routing = open_routing(config)
        assert routing is not None
        catalog = open_catalog(str(notes), config, routing=routing, progress=Noting())
        assert list(catalog.models) == ["notes", "auto", "cloud"]
        assert warned == [f"{file}: no document falls under 'hr/**'"]
        near = Running(catalog, config)
        try:
            server = Routed(near, cloud, routing)
            _, own = server.post("/v1/chat/completions", messages=asked("Who has founded it?"))
            assert own["model"] == "notes"  # where none is named nothing leaves
            message, found = server.chat("When was the library founded?", linnet={"route": "cloud"})
            assert (message["content"], found["model"]) == (FOUNDED, "cloud")
            sent = len(cloud.requests)
            status, error = server.post(
                "/v1/chat/completions", model="cloud", messages=asked(f"Is it true? {PAY}")
            )
            assert (status, error["error"]["code"]) == (403, "policy")
            assert len(cloud.requests) == sent
        finally:
            near.stop()


def test_commands_answer_by_it_too(tmp_path: Path, notes: Path) -> None:
    file, questions = tmp_path / "routing.toml", tmp_path / "questions.jsonl"
    questions.write_text(json.dumps({"id": "7", "question": WHEN}))
    with serving(ScriptedEngine(says, context=20_000)) as far:
        file.write_text(SETTINGS.format(url=far.url, policy=OPEN, budget="day = 1.0"))

        def run(*words: str, given: str = "") -> Any:
            done = CliRunner().invoke(app, [*words, "--routing", str(file)], input=given)
            assert done.exit_code == 0, done.output
            return done

        done = run("ask", str(notes), WHEN)
        assert FOUNDED in done.stdout
        assert "cloud (elsewhere): rule 1: the question matches" in done.stderr
        assert re.search(r"; 0\.00\d+ EUR$", done.stderr.strip())
        done = run("ask", str(notes), "How much does the librarian earn?")
        assert "notes (this machine): the local answer stands" in done.stderr
        done = run("ask", str(notes), "Which zebras juggle xylophones?")
        assert done.stdout.startswith("the cloud says so")  # what was paid for, and no refusal
        assert "cloud (elsewhere): the local answer is a refusal; 0.0" in done.stderr
        found = json.loads(run("ask", str(notes), "--questions", str(questions)).stdout)
        assert (found["id"], found["attribution"]["model"]) == ("7", "cloud")
        assert found["citations"][0]["source"] == "open/history.txt"
        given = f"/route local\n{WHEN}\n/route local\n/route sky\nWhich zebras juggle?\n"
        done = run("chat", "--docs", str(notes), given=given)
        assert done.stdout.count(FOUNDED) == 2 * 2  # each with its citation
        for said in (
            "no answer yet", "cloud (elsewhere): rule 1", "notes (this machine): local was asked",
            "no model 'sky'",
        ):  # fmt: skip
            assert said in done.stderr
        assert "answers from what it knows)" in done.stdout
        # Another model beyond this machine would be one that no policy is about.
        elsewhere = ("--model", "http://192.0.2.1/v1", "--model-name", "x")
        command = ["ask", str(notes), WHEN, "--routing", str(file), *elsewhere]
        refused = CliRunner().invoke(app, command).exception
        assert isinstance(refused, ConfigError)
        assert f"are those of {file}, which its policy and budget are about" in str(refused)
        plain = CliRunner().invoke(app, ["chat", "--docs", str(notes)], input="Who?\n/route sky\n")
        assert "which --routing names" in plain.stderr
    assert [each.name for each in tmp_path.glob("*.lock")] == []
