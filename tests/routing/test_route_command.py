"""``linnet route``: settings to fill in, training, explaining, and the past replayed."""

from __future__ import annotations

import json
import math
import time
import tomllib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from outcomes_made import made
from typer.testing import CliRunner

from linnet.cli.route import app
from linnet.monitor.entry import Entry
from linnet.monitor.log import Log
from linnet.respond.responder import Abilities
from linnet.routing.outcomes import write_outcomes
from linnet.routing.queries import Queries
from linnet.routing.router import Router, Rule
from linnet.routing.settings import read_routing
from linnet.routing.simulation import replay_calls, replay_queries, simulate
from linnet.routing.template import template

SETTINGS = """
currency = "EUR"
[models.cloud]
address = "https://api.example.com/v1"
model = "large-2"
[router]
file = "router"
share = 0.5
[[rules]]
name = "greeting"
shorter = 12
"""
NOW = time.time()  # (what is old is not kept)
LONG = "Ann has 3 apples. " + "Then she buys 4 more apples. " * 8 + "How many apples does she have?"


def run(*arguments: str | Path, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if code == 0 and result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("project")
    rows = [own for query in made(120).rows for own in query.outcomes.values()]
    write_outcomes(directory / "outcomes.jsonl", rows)
    (directory / "routing.toml").write_text(SETTINGS)
    found = json.loads(
        run("train", directory, "--out", directory / "router", "--encoder", "lexical",
            "--learner", "ridge", "--folds", "3", "--json")
    )  # fmt: skip
    assert found["stages"].keys() == {"question", "attempt"}
    assert [each["model"] for each in found["single"]] == ["local", "cloud"]
    return directory


def test_settings_to_fill_in_can_be_read_as_they_are_and_filled_in(tmp_path: Path) -> None:
    file = tmp_path / "routing.toml"
    assert str(file) in run("init", "--out", file)
    assert read_routing(file).policy.farthest == "here"
    assert not read_routing(file).models
    with pytest.raises(Exception, match="is there already"):
        run("init", "--out", file)
    # Every line that can be set is TOML as it stands, and known.
    lines = [line.removeprefix("# ") for line in template().splitlines()]
    known = [line for line in lines if line.startswith("[") or " = " in line.split("#")[0]]
    every = tomllib.loads("\n".join(known))
    assert every["models"]["cloud"]["model"] == "large-2"
    assert len(every["rules"][0]) == 9
    left_out = {"key_file", "probability", "shorter"}  # which contradict another one
    file.write_text("\n".join(line for line in known if line.split(" =")[0] not in left_out))
    filled = read_routing(file)
    assert (filled.router.share, filled.rules[0].languages) == (0.2, ("de",))


def test_training_shows_what_can_be_reached(project: Path) -> None:
    told = run("train", project / "outcomes.jsonl", "--out", project / "router", "--encoder",
               "lexical", "--learner", "ridge", "--folds", "3")  # fmt: skip
    assert "cloud alone: 87.5% right" in told
    assert "(APGR)" in told
    assert told.count("100%") >= 2


def test_a_decision_is_explained(project: Path) -> None:
    policy = ("--routing", project / "routing.toml")
    told = run("explain", "Hello there", *policy)
    assert "rule 1 (greeting), to local: fits" in told
    told = run("explain", LONG, *policy)
    assert "does not fit" in told
    assert "expected by the question alone: local 0." in told
    assert "How good that answer is decides" in told
    found = json.loads(run("explain", LONG, *policy, "--answer", "3 + 8 = 14. 11.", "--json"))
    assert found["model"] == "cloud"
    assert [route["decided_by"] for route in found["routes"]] == ["router", "attempt"]
    assert found["routes"][-1]["score"] >= found["routes"][-1]["threshold"]
    assert found["rules"] == [{"rule": 1, "name": "greeting", "model": "local", "fits": False}]


def test_the_past_is_replayed_and_drawn(project: Path) -> None:
    for name, begins in (("plot.png", b"\x89PNG"), ("plot.svg", b"<?xml")):
        told = run("simulate", project / "outcomes.jsonl", "--policy", project / "routing.toml",
                   "--plot", project / name)  # fmt: skip
        assert (project / name).read_bytes().startswith(begins)
    for line in ("replayed: 120 questions", "120 of 120 questions are those that the router",
                 "this policy", "best at equal cost: local", "at random", "every outcome known",
                 ):  # fmt: skip
        assert line in told
    with pytest.raises(Exception, match=r"ends in \.png or \.svg"):
        run("simulate", project / "outcomes.jsonl", "--policy", project / "routing.toml",
            "--plot", "plot.jpg")  # fmt: skip


def test_a_replay_is_what_counting_gives() -> None:
    queries = made(80, seed=4)
    router = Router(rules=(Rule(model="cloud", longer=200), Rule()),
                    models={"cloud": Abilities("cloud", 0, "elsewhere")})  # fmt: skip
    found = simulate(replay_queries(queries, router, {"local": "local", "cloud": "cloud"}))
    sent = [len(row.question) > 200 for row in queries.rows]
    chosen = [row.outcomes["cloud" if s else "local"] for row, s in zip(queries.rows, sent,
                                                                       strict=True)]  # fmt: skip
    policy, both = found.policy, [
        np.mean([row.outcomes[m].quality for row in queries.rows]) for m in ("local", "cloud")
    ]  # fmt: skip
    assert policy.quality == pytest.approx(np.mean([own.quality for own in chosen]))
    assert policy.share == pytest.approx(np.mean(sent))
    assert policy.cost == pytest.approx(0.001 * np.mean(sent))
    assert policy.low is not None
    assert policy.high is not None
    assert policy.low < (policy.quality or 0) < policy.high
    assert [each.quality for each in found.singles] == pytest.approx(both)
    assert found.single_at_cost is not None
    assert found.single_at_cost.name == "local"
    assert found.random is not None
    assert found.random.quality == pytest.approx(both[0] + np.mean(sent) * (both[1] - both[0]))
    # Nothing is better than to send those that gain, first those that the cost allows.
    gained = sum(row.outcomes["cloud"].quality > row.outcomes["local"].quality
                 for row in queries.rows)  # fmt: skip
    within = min(gained, sum(sent))
    assert found.oracle is not None
    assert (found.oracle.quality or 0) == pytest.approx(both[0] + within / 80, abs=0.04)
    assert (found.oracle_curve[-1].quality or 0) == pytest.approx(both[0] + gained / 80)
    assert found.decided_by == {"rule": 80}
    assert found.curve == []  # no threshold decides


def test_a_question_that_was_learned_from_counts_as_it_was_held_out(project: Path) -> None:
    settings = read_routing(project / "routing.toml")
    from linnet.routing.router import open_router

    router = open_router(settings, base=project, models={"cloud": Abilities("cloud", 0)})
    queries = made(120)
    replay = replay_queries(queries, router, {"local": "local", "cloud": "cloud"})
    assert router.learned is not None
    stage = router.learned.stages["attempt"]
    assert replay.gains is not None
    assert (replay.gains == stage.held_out.gains)[~replay.fixed].all()
    other = replay_queries(made(30, seed=9), router, {"local": "local", "cloud": "cloud"})
    assert not any("learned from" in note for note in other.notes)


def test_outcomes_that_lack_a_model_are_counted(project: Path) -> None:
    queries = made(10)
    for row in queries.rows[:3]:
        del row.outcomes["local"]  # type: ignore[attr-defined]
    router = Router(models={"cloud": Abilities("cloud", 0)})
    replay = replay_queries(queries, router, {"local": "local", "cloud": "cloud"})
    assert len(replay.chosen) == 7
    assert dict(replay.unreplayed) == {
        "the local answer, by which it is judged, is not there": 3
    }  # fmt: skip
    empty = replay_queries(Queries(), router, {"local": "local", "cloud": "cloud"})
    assert len(empty.chosen) == 0


def entry(number: int, **more: object) -> Entry:
    values = {"at": NOW + number, "id": str(number), "model": "small", **more}
    return Entry(**values)  # type: ignore[arg-type]


def test_a_log_tells_what_it_can_and_counts_the_rest(project: Path) -> None:
    trillion = 10**12
    calls = [
        entry(1, score=0.9, threshold=0.5, decided_by="attempt", good=False, would_cost=trillion),
        entry(2, score=0.1, threshold=0.5, decided_by="attempt", good=True, would_cost=trillion),
        entry(3, score=0.8, decided_by="attempt", model="cloud", place="elsewhere", good=True,
              cost=2 * trillion),
        entry(4, score=0.7, decided_by="attempt", would_cost=3 * trillion),
        entry(5, would_cost=trillion),
        entry(6, model="gone", place="elsewhere", score=0.5),
        entry(7, question="Hello", answer="Hello!", good=True, would_cost=trillion),
        entry(8, question=LONG, answer="3 + 8 = 14. She has 11.", would_cost=trillion),
        entry(9, question=LONG, model="cloud", place="elsewhere", cost=trillion),
    ]  # fmt: skip
    file = project / "log.sqlite"
    with closing(Log(file, keeps_contents=True)) as log:
        for each in calls:
            log.add(each)
        assert log.flush()
    from linnet.routing.router import open_router

    router = open_router(
        read_routing(project / "routing.toml"), base=project, models={"cloud": Abilities("c", 0)}
    )
    replay = replay_calls(calls, router, ("local", "cloud"))
    threshold = router.thresholds["attempt"]
    assert 0.1 < threshold < 0.7
    assert replay.chosen.tolist() == [1, 0, 1, 1, 0, 1]  # 1, 2, 3, 4, 7, 8
    assert dict(replay.unreplayed) == {
        "neither the question nor a score is in the log": 1,
        "'gone' answered, which the policy does not have": 1,
        "the local answer, by which it is judged, is not in the log": 1,
    }
    quality, cost = replay.taken(replay.chosen)
    assert [None if math.isnan(q) else q for q in quality] == [None, 1, 1, None, 1, None]
    assert cost.tolist() == [1, 0, 2, 3, 0, 1]
    told = run("simulate", file, "--policy", project / "routing.toml")
    for line in ("replayed: 6 questions", "not replayed: 1, as neither the question nor a score",
                 "of 3 rated", "4 calls have no contents", "EUR a question"):  # fmt: skip
        assert line in told, told
    assert "every outcome known" not in told
    nothing = project / "empty.sqlite"
    with closing(Log(nothing)) as log:
        log.add(calls[4])
        assert log.flush()
    with pytest.raises(Exception, match="nothing could be replayed"):
        run("simulate", nothing, "--policy", project / "routing.toml")
