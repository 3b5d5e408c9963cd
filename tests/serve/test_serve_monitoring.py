"""What a server says of its answers: to whom, in which shape, and counted once."""

import contextlib
import http.client
import json
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from scripted import Running, ScriptedEngine

from linnet.answers import Assistant
from linnet.answers.workspace import Workspace
from linnet.monitor.entry import Entry
from linnet.monitor.watching import LOG_FILE
from linnet.respond.prices import trillionths
from linnet.retrieval import Passage, PassagesInMemory, Place
from linnet.serve import Catalog, ServeConfig, Served
from linnet.serve.endpoints.dashboard import ANSWER
from linnet.serve.keys import KeyLimits, add_key
from linnet.serve.metrics import MOST_CODES, AnswerMetrics
from made_gate import gate_in

HOURS = "Opening hours\nThe library opens at nine.\nIt closes at six on Fridays.\n"


def notes() -> Served:
    passages = [Passage(HOURS, (Place("hours.txt", 0, len(HOURS)),), "Hours", language="en")]
    return Served("notes", assistant=Assistant(PassagesInMemory(passages)))


@contextlib.contextmanager
def watched(models: list[Served] | None = None, **settings: Any) -> Iterator[Running]:
    running = Running(
        Catalog(models or [notes()]), ServeConfig(port=0, log="off", **settings)
    )  # fmt: skip
    try:
        yield running
    finally:
        running.stop()


def ask(
    running: Running, path: str, body: Any = None, key: str | None = None
) -> tuple[int, dict[str, str], str]:
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=20)
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    headers |= {"Content-Type": "application/json"} if body is not None else {}
    method = "GET" if body is None else "POST"
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    connection.close()
    return found


def monitoring(running: Running, query: str = "", key: str | None = None) -> Any:
    status, _, body = ask(running, f"/v1/monitoring{query}", key=key)
    assert status == 200, body
    found = json.loads(body)
    assert list(Draft202012Validator(ANSWER).iter_errors(found)) == []
    return found


def question(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "notes", "messages": [{"role": "user", "content": text}], **more}


def metrics(running: Running) -> dict[tuple[str, ...], float]:
    said = ask(running, "/metrics")[2]
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(said)
        for sample in family.samples
    }


def flushed(running: Running) -> None:
    assert running.server.service.log is not None
    assert running.server.service.log.flush()


def test_calls_that_are_refused_before_an_answer_begins_are_in_the_log(tmp_path: Path) -> None:
    key = add_key(tmp_path / "keys.json", "ann", KeyLimits(requests_per_minute=1))
    with watched(monitor=tmp_path / "calls.sqlite", keys=tmp_path / "keys.json") as running:
        path = "/v1/chat/completions"
        asked = question("When does the library open?")
        assert ask(running, path, asked)[0] == 401  # whose it is nobody knows
        assert ask(running, path, {"model": "notes"}, key)[0] == 400
        assert ask(running, path, asked | {"model": "wombat"}, key)[0] == 404
        assert ask(running, path, asked, key)[0] == 200
        assert ask(running, path, asked, key)[0] == 429
        flushed(running)
        assert running.server.service.log is not None
        found = [(each.state, each.key, each.asked) for each in running.server.service.log.read()]
        assert found == [
            ("failed", "ann", ""), ("failed", "ann", ""), ("answered", "ann", "notes"),
            ("held", "ann", "notes"),
        ]  # fmt: skip


def test_the_page_is_told_whether_there_is_a_dashboard_for_who_asks(tmp_path: Path) -> None:
    def told(running: Running, key: str | None = None) -> Any:
        return json.loads(ask(running, "/v1/models", key=key)[2])["linnet"]

    with watched() as running:
        assert told(running) == {"dashboard": False}
    ann = add_key(tmp_path / "keys.json", "ann", KeyLimits())
    boss = add_key(tmp_path / "keys.json", "boss", KeyLimits(monitoring=True))
    with watched(monitor=tmp_path / "calls.sqlite", keys=tmp_path / "keys.json") as running:
        assert told(running, ann) == {"dashboard": False}
        assert told(running, boss) == {"dashboard": True}


def test_answers_are_in_the_figures_and_their_texts_are_not(tmp_path: Path) -> None:
    with watched(monitor=tmp_path / "calls.sqlite") as running:
        for text in ("When does the library open?", "Zxqv wombat?", "When does it close?"):
            status, _, body = ask(running, "/v1/chat/completions", question(text))
            assert status == 200
        name = json.loads(body)["choices"][0]["message"]["linnet"][-1]["id"]
        judged = {"answer": name, "question": "?", "good": True, "citations": []}
        status, _, body = ask(running, "/v1/linnet/feedback", {"id": name, "good": True})
        assert status == 200, (body, judged)
        flushed(running)
        found = monitoring(running)
        figures = found["figures"]
        assert (figures["calls"], figures["answered"]["part"]) == (3, 2)
        assert (figures["refused"]["part"], figures["good"]) == (1, 1)
        assert figures["times"]["retrieval"]["calls"] == 3
        assert figures["grounded"] == 1
        assert [row["name"] for row in figures["models"]] == ["notes"]
        assert found["log"]["keeps_contents"] is False
        every = metrics(running)
        said = json.dumps(monitoring(running, "?since=24h&contents=true"))
    assert every["linnet_answers_total", "answered", "notes"] == 2
    assert every["linnet_answers_total", "notes", "refused"] == 1
    assert every["linnet_verdicts_total", "good"] == 1
    assert every["linnet_retrieval_seconds_count",] == 3
    assert every["linnet_log_dropped",] == 0
    assert '"shown": []' in said
    assert "library" not in said
    assert "wombat" not in said


def test_questions_that_are_kept_are_shown_where_somebody_asks(tmp_path: Path) -> None:
    with watched(monitor=tmp_path / "calls.sqlite", monitor_contents=True) as running:
        for text in ("When does the library open?", "Zxqv wombat?"):
            ask(running, "/v1/chat/completions", question(text))
        flushed(running)
        assert "shown" not in monitoring(running)
        (shown,) = monitoring(running, "?contents=true")["shown"]
    assert (shown["question"], shown["state"]) == ("Zxqv wombat?", "refused")


def test_figures_are_for_the_owner_and_keys_made_for_them(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    plain = add_key(file, "plain", KeyLimits(documents=True, tools=True))
    made = add_key(file, "made", KeyLimits(monitoring=True))
    log = tmp_path / "calls.sqlite"
    with watched(monitor=log, keys=file) as running:
        assert ask(running, "/v1/monitoring")[0] == 401
        status, _, body = ask(running, "/v1/monitoring", key=plain)
        assert (status, json.loads(body)["error"]["code"]) == (403, "not_allowed")
        monitoring(running, key=made)
        # The page's files have nothing in them, so that it can ask for the key.
        assert ask(running, "/dashboard/")[0] == 200
    with watched(monitor=log, without_keys=True, host="127.0.0.1",
                 allow_host=("chat.example.org",)) as running:  # fmt: skip
        assert ask(running, "/v1/monitoring")[0] == 403
    with watched() as running:
        status, _, body = ask(running, "/v1/monitoring")
        assert (status, json.loads(body)["error"]["code"]) == (404, "no_log")


@pytest.mark.parametrize(
    ("query", "param"),
    [("since=yesterday", "since"), ("since=" + "9" * 40, "since"), ("contents=1", "contents")],
)
def test_what_is_asked_wrongly_is_refused_by_name(quiet: Running, query: str, param: str) -> None:
    status, _, body = ask(quiet, f"/v1/monitoring?{query}")
    assert (status, json.loads(body)["error"]["param"]) == (400, param)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with watched(monitor=tmp_path_factory.mktemp("log") / LOG_FILE) as running:
        yield running


def test_the_page_is_in_a_folder_and_may_load_nothing_from_elsewhere(quiet: Running) -> None:
    status, headers, _ = ask(quiet, "/dashboard")
    assert (status, headers["location"]) == (308, "dashboard/")
    status, headers, body = ask(quiet, "/dashboard/")
    assert status == 200
    assert "default-src 'none'" in headers["content-security-policy"]
    for name in re.findall(r'(?:src|href)="([^"]+)"', body):
        assert "//" not in name
        place = "/" if name == "../" else f"/dashboard/{name}"
        assert ask(quiet, place)[0] == 200


def test_drift_is_that_of_the_documents_whoever_answers(tmp_path: Path) -> None:
    gate_in(tmp_path)
    (tmp_path / "corpus").mkdir()
    own = notes()
    models = [
        Served("notes", assistant=own.assistant, workspace=Workspace(tmp_path)),
        Served("auto", assistant=own.assistant, workspace=Workspace(tmp_path)),
        Served("tiny", ScriptedEngine()),
    ]
    generator = np.random.default_rng(3)
    with watched(models, monitor=tmp_path / "calls.sqlite") as running:
        log = running.server.service.log
        assert log is not None
        now = time.time()
        for n in range(80):
            log.add(Entry(
                at=now + n / 100, id=f"{n}", asked=("notes", "auto", "tiny")[n % 3], model="cloud",
                in_scope=0.01 * generator.random(), features={"known": generator.random()},
            ))  # fmt: skip
        flushed(running)
        found = monitoring(running)
        gate, first = found["drift"]
        every = metrics(running)
    assert (gate["model"], gate["reference"], gate["state"]) == ("notes", "gate", "drifting")
    assert gate["questions"] == 54  # of three, those to the documents
    assert (first["reference"], first["state"]) == ("first", "few")
    assert every["linnet_drift", "gate", "notes"] == 1
    assert every["linnet_drift", "first", "notes"] == 0
    assert found["figures"]["realised"]["promised"] == 0.05


def test_metrics_do_not_wait_for_drift(tmp_path: Path) -> None:
    """It is looked for in a thread, one at a time; the next look has it."""
    with watched(monitor=tmp_path / "calls.sqlite") as running:
        monitored = running.server.service.monitoring
        log = running.server.service.log
        assert monitored is not None
        assert log is not None
        log.add(Entry(at=time.time(), id="a", asked="notes", features={"words": 3.0}))
        flushed(running)
        assert monitored.latest_drift() == ()
        for thread in threading.enumerate():
            if thread.name == "linnet-drift":
                thread.join(20)
        (found,) = monitored.latest_drift()
        assert (found.model, found.state) == ("notes", "few")


def test_labels_are_few_whatever_comes() -> None:
    registry = CollectorRegistry()
    made = AnswerMetrics(registry)
    for n in range(200):
        made.count(
            Entry(at=0, id="", model=f"m{n}", decided_by=f"d{n}", place="elsewhere",
                  cost=trillionths(0.5), would_cost=trillionths(1), failures=(f"f{n}",)),
            {"m0", "m1"},
        )  # fmt: skip
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert len(samples) < 120 + 2 * (MOST_CODES + 1)
    values = {(s.name, *s.labels.values()): s.value for s in samples}
    assert values["linnet_answers_total", "other", "answered"] == 198
    assert values["linnet_cost_total", "m0"] == 0.5
    assert values["linnet_would_cost_total",] == 200
    assert values["linnet_escalations_total", "other"] == 200
    assert values["linnet_failures_total", "other"] == 200 - MOST_CODES


def test_budgets_and_breakers_are_shown() -> None:
    from linnet.routing.accounts import Account, Amount
    from linnet.routing.budgets import Limits
    from linnet.routing.ledger import CutOff
    from linnet.routing.resilience import Health

    registry = CollectorRegistry()
    made = AnswerMetrics(registry)
    spent = Amount(trillionths(0.75)), Amount(trillionths(3))
    made.show_routing(
        {"cloud": Health("open", 5, "down", 3.0, 9, 6), "other": Health("closed", 0, "", 0, 1, 0)},
        [Account(None, Limits(day=2.0), *spent), Account("a", Limits(day=1.0), *spent),
         Account("stranger", Limits(), *spent)],
        [CutOff("other", 0.0, 1, 2, 3, 4)],
        {"a"},
    )  # fmt: skip
    values = {(s.name, *s.labels.values()): s.value for f in registry.collect() for s in f.samples}
    assert values["linnet_budget_left", "all"] == 1.25
    assert values["linnet_budget_left", "key a"] == 0.25
    assert values["linnet_budget_spent", "all", "month"] == 3
    assert values["linnet_breaker_open", "cloud"] == 1
    assert values["linnet_breaker_open", "other"] == 0
    assert values["linnet_model_cut_off", "other"] == 1
    assert not any("stranger" in label for key in values for label in map(str, key))


def test_a_log_that_fails_is_said(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    made = AnswerMetrics(registry)
    made.show_log(SimpleNamespace(waiting=3, dropped=7, failing="the disk is full"))  # type: ignore[arg-type]
    values = {s.name: s.value for f in registry.collect() for s in f.samples}
    assert (values["linnet_log_waiting"], values["linnet_log_dropped"]) == (3, 7)
    assert values["linnet_log_failing"] == 1
