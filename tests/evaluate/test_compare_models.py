"""Models on the same questions: asked once, scored, and paid for knowingly."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from compared import (
    ROWS,
    Say,
    Server,
    asked_as,
    compare,
    knows,
    made,
    routing,
    text_of,
    verdict,
    write,
)
from typer.testing import CliRunner

from linnet.cli.compare import app
from linnet.errors import ConfigError, DataError, LinnetError, ModelError
from linnet.evaluate import compare_questions
from linnet.evaluate.compare import PAGE, RESULTS, Difference
from linnet.evaluate.compare_journal import LimitReachedError
from linnet.evaluate.compare_page import shown_amount, shown_change
from linnet.evaluate.compare_responders import ComparedModel, Reply
from linnet.evaluate.compare_return import HOURS
from linnet.progress import Progress
from linnet.respond import Context, Price, Text
from linnet.respond.prices import trillionths
from linnet.routing.outcomes import OUTCOMES, read_outcomes

# Asking.


def test_everyone_is_asked_the_same_once_and_what_it_costs_is_exact(
    serve: Callable[[Say], Server], tmp_path: Path
) -> None:
    small, large = serve(knows(*range(8))), serve(knows(*range(20)))
    file = routing(tmp_path, small=small, large=large)
    out = tmp_path / "out"
    settings = made(questions=write(tmp_path / "q.jsonl", ROWS), out=out, routing=file, cost=1.0)
    found = compare("small", "large", **settings)

    assert sorted(small.asked()) == sorted(large.asked())
    assert len(small.bodies) == 24
    assert small.asked() != sorted(small.asked())  # in an order drawn by the seed
    assert [m["role"] for m in small.bodies[0]["messages"]] == ["system", "user"]
    assert small.bodies[0]["temperature"] == 0
    assert found.measure == "contains"
    one, two = found.models
    assert (one.figures["quality"].value, two.figures["quality"].value) == (8 / 24, 20 / 24)
    # 100 tokens read and 10 written at 1 and 10 for a million.
    assert one.figures["cost"].value == pytest.approx(200e-6, rel=1e-12)
    assert one.spent == pytest.approx(24 * 200e-6, rel=1e-12)
    assert one.figures["cost_per_solved"].value == pytest.approx(24 * 200e-6 / 8)
    (pair,) = found.pairs
    assert pair.wins is not None
    assert (pair.wins.wins, pair.wins.ties, pair.wins.losses) == (12, 12, 0)
    quality = pair.difference("quality")
    assert quality is not None
    assert (quality.verdict, quality.difference) == ("better", pytest.approx(0.5))

    outcomes = read_outcomes(out / OUTCOMES)
    assert len(outcomes) == 48
    by = {(each.id, each.model): each for each in outcomes}
    assert by["q0", "small"].quality == 1.0
    assert by["q9", "small"].quality == 0.0
    assert by["q9", "large"].answer == "It is 10."
    assert by["q9", "large"].cost == pytest.approx(200e-6)
    assert by["q9", "large"].question == "What is 9 and 1?"
    assert by["q9", "large"].seconds > 0

    # Once more: nothing is asked. One more question: only that.
    again = compare("small", "large", **settings)
    assert again == found
    assert (len(small.bodies), len(large.bodies)) == (24, 24)
    write(
        settings["questions"],
        [*ROWS, {"id": "new", "question": "What is 50 and 1?", "answer": "51"}],
    )
    compare("small", "large", **settings)
    assert small.asked()[24:] == large.asked()[24:] == ["What is 50 and 1?"]
    text = (out / PAGE).read_text("utf-8")
    assert "large is better than small" in text
    results = json.loads((out / RESULTS).read_text("utf-8"))
    assert results["kind"] == "models"
    assert results["models"][1]["figures"]["solved"]["low"] > 0.5


def test_nothing_that_bills_is_asked_without_being_allowed(
    serve: Callable[[Say], Server], tmp_path: Path
) -> None:
    servers = {name: serve(knows(1)) for name in ("small", "large")}
    file = routing(tmp_path, **servers)
    questions = write(tmp_path / "q.jsonl", ROWS)
    out = tmp_path / "out"
    said: list[str] = []

    class Listening(Progress):
        def message(self, text: str) -> None:
            said.append(text)

        warn = message

    settings = made(questions=questions, routing=file, progress=Listening())
    with pytest.raises(
        ConfigError, match=r"may cost up to 0\.\d+ EUR; allow it with --cost"
    ) as raised:
        compare("small", "large", out=out, **settings)
    assert any(line.startswith("large: 24 calls, about 0.0") for line in said)
    with pytest.raises(ConfigError, match="name --out DIR"):
        compare("small", "large", cost=1.0, **settings)
    assert not any(server.bodies for server in servers.values())

    # What is named suffices; a bit less stops it in order, and it goes on from there.
    found = re.search(r"--cost ([\d.]+)", str(raised.value))
    assert found is not None
    limit = 0.004
    with pytest.raises(LimitReachedError, match="allow more with --cost"):
        compare("small", "large", out=out, cost=limit, **settings)
    asked = [text for server in servers.values() for text in server.asked()]
    assert 0 < len(asked) * 200e-6 <= limit
    done = compare("small", "large", out=out, cost=float(found[1]), **settings)
    counts = Counter(text for server in servers.values() for text in server.asked())
    assert set(counts.values()) == {2}  # once by each
    assert sum(model.spent for model in done.models) <= float(found[1])


def test_the_policy_and_the_prices_of_the_file_hold(
    serve: Callable[[Say], Server], tmp_path: Path
) -> None:
    near, far = serve(knows(1)), serve(knows(1))
    file = routing(tmp_path, near=near, far=far)
    away = file.read_text().replace('model = "far-1"', 'model = "far-1"\nplace = "elsewhere"')
    file.write_text(away)
    settings = made(
        questions=write(tmp_path / "q.jsonl", ROWS), routing=file, out=tmp_path / "o", cost=1.0
    )
    found = compare("near", "far", **settings)
    assert not far.bodies  # nothing may leave, unless the file says so
    assert (len(found.models[1].withheld), found.models[1].figures) == (24, {})
    assert any("the policy kept 24 questions from far" in line for line in found.warnings)
    assert found.models[0].answered == 24
    file.write_text(f'{away}[policy]\nfarthest = "elsewhere"\n')
    assert compare("near", "far", **settings).models[1].answered == 24
    assert len(near.bodies) == 24
    file.write_text(file.read_text().replace("input = 1.0\noutput = 10.0\n", ""))
    with pytest.raises(ConfigError, match="far has no price"):
        compare("near", "far", **settings)


def test_passages_and_what_rests_on_them_stay_where_the_policy_keeps_them(
    serve: Callable[[Say], Server], tmp_path: Path
) -> None:
    """Neither whoever answers nor the judge is shown them."""
    near, far = serve(lambda body: "Mia earns 4,000."), serve(lambda body: "Mia earns 5,000.")
    judge = serve(lambda body: verdict("1"))
    file = routing(tmp_path, near=near, far=far, judge=judge)
    text = file.read_text()
    for name in ("far", "judge"):
        text = text.replace(f'model = "{name}-1"', f'model = "{name}-1"\nplace = "elsewhere"')
    rules = '[policy]\nfarthest = "elsewhere"\nlocal_only = ["hr/**"]\n'
    rules += '[[policy.documents]]\nsources = ["**"]\nfarthest = "elsewhere"\n'
    file.write_text(text + rules)
    rows = [
        {"id": source, "question": "What does Mia earn?", "context": "It stands here.",
         "source": source}
        for source in ("hr/pay.txt", "news/pay.txt")
    ]  # fmt: skip
    settings = made(questions=write(tmp_path / "q.jsonl", rows), routing=file, cost=1.0)
    found = compare("near", "far", judge="judge", out=tmp_path / "a", **settings)
    assert (len(near.bodies), len(far.bodies), len(judge.bodies)) == (2, 1, 2)
    assert list(found.models[1].withheld) == ["hr/pay.txt"], found.models[1]
    assert "local_only" in found.models[1].withheld["hr/pay.txt"]
    # Both answered here, from both documents: still the judge elsewhere sees one pair alone.
    near_by = serve(lambda body: "I cannot say.")
    file.write_text(routing(tmp_path, near=near, by=near_by, judge=judge).read_text() + rules)
    file.write_text(
        file.read_text().replace('model = "judge-1"', 'model = "judge-1"\nplace = "elsewhere"')
    )
    found = compare("near", "by", judge="judge", out=tmp_path / "c", **settings)
    assert len(judge.bodies) == 4
    assert any("kept 1 pairs of answers from the judge" in line for line in found.warnings)


def test_a_model_that_fails_is_named_and_asked_again_later(
    serve: Callable[[Say], Server], tmp_path: Path
) -> None:
    broken = {3}

    def sometimes(body: dict[str, Any]) -> Any:
        number = int(re.findall(r"What is (\d+)", text_of(body))[0])
        return 400 if number in broken else f"{number + 1}"

    good, bad = serve(knows(*range(24))), serve(sometimes)
    file = routing(tmp_path, good=good, bad=bad)
    settings = made(
        questions=write(tmp_path / "q.jsonl", ROWS), routing=file, out=tmp_path / "o", cost=1.0
    )
    found = compare("good", "bad", **settings)
    assert list(found.models[1].failed) == ["q3"]
    assert found.pairs[0].questions == 23
    assert any("bad failed on 1 question," in line for line in found.warnings)
    broken.clear()
    assert not compare("good", "bad", **settings).models[1].failed
    assert len(bad.bodies) == 25
    broken.update(range(24))
    write(settings["questions"], [{**row, "question": f"{row['question']} Say."} for row in ROWS])
    with pytest.raises(LinnetError, match=r"bad failed 5 times in a row, at last: .*400"):
        compare("good", "bad", **settings)


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (ROWS, {"names": ["small"]}, "expected at least two models"),
        (ROWS, {"names": ["small", "http://127.0.0.1:1/v1"]}, "write it into routing.toml"),
        (ROWS, {"names": ["small", "smal"]}, "there is no such model here, and routing.toml has"),
        (ROWS, {"names": ["a=small", "a=large"]}, "two models are called a"),
        (ROWS, {"metric": "judge"}, "needs a --judge"),
        (ROWS, {"writer": "http://127.0.0.1:1/v1"}, "is compared by its name in routing.toml"),
        (ROWS, {"writer": "m.gguf"}, "--model writes the answers of an index"),
        (ROWS, {"metric": "grounded"}, "give its rows an 'answer' or a 'context'"),
        (ROWS, {"months": 12.0, "free": True}, "leave out --months"),
        (ROWS, {"judge": "person"}, "name --out DIR"),
        (ROWS, {"judge": "terminal"}, "someone at a terminal"),
        ([{"question": "Why?"}], {}, "name a --judge"),
        ([{"question": "Why?"}], {"metric": "f1"}, "no expected answers to compare by f1"),
        ([{"id": "x", "question": "Why?", "answer": "a"}] * 2, {}, "two questions have the id x"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_before_anything_is_asked(
    rows: list[dict[str, Any]], settings: dict[str, Any], message: str,
    serve: Callable[[Say], Server], tmp_path: Path,
) -> None:  # fmt: skip
    server = serve(knows(1))
    more = "" if not settings.pop("free", False) else "input = 0.0\noutput = 0.0\n"
    file = routing(tmp_path, small=server, large=server, more=more)
    if more:
        file.write_text(file.read_text().replace('model = "small-1"', 'model = "small-1"\n' + more))
    names = settings.pop("names", ["small", "large"])
    with pytest.raises((ConfigError, DataError, ModelError), match=message):
        compare(*names, questions=write(tmp_path / "q.jsonl", rows), routing=file, **settings)
    assert not server.bodies


def test_what_is_asked_of_questions_with_passages_of_none_and_of_a_task_file(
    tmp_path: Path,
) -> None:
    rows = [
        {"id": "open", "question": "Who?", "answer": "Mia", "context": "Mia came.",
         "source": "a/b"},
        {"id": "none", "question": "When?", "kind": "unanswerable", "context": "Mia came."},
        {"id": "free", "question": "Why?"},
    ]  # fmt: skip
    settings = made(split="test", limit=None, seed=0, passages=True, instruction=True, max_tokens=9)
    found = {
        each.id: each
        for each in compare_questions.read(write(tmp_path / "q.jsonl", rows), **settings).asked
    }
    shown, asked = found["open"].messages[-1].parts
    assert isinstance(shown, Text)
    assert shown.text == "Passage: Mia came."
    assert shown.origin is not None
    assert (shown.origin.kind, shown.origin.name) == ("document", "a/b")
    assert (asked.text, found["open"].bare[-1].text) == ("Who?", "Who?")  # type: ignore[union-attr]
    assert found["open"].plain.endswith("Passage: Mia came.\n\nQuestion: Who?\nAnswer:")
    score = found["open"].score
    assert score is not None
    assert score("It was Mia.", refused=False)["contains"] == 1
    assert score("I don't know.", refused=True) == {"f1": 0, "exact_match": 0, "contains": 0}
    unanswerable = found["none"].score
    assert unanswerable is not None
    assert unanswerable("no idea", refused=True)["f1"] == 1
    assert unanswerable("Monday", refused=False)["f1"] == 0
    assert found["free"].score is None

    (tmp_path / "sums.jsonl").write_text('{"n": 4, "is": 5}\n{"n": 6, "is": 7}\n')
    task = tmp_path / "sums.yaml"
    task.write_text(
        'name: sums\ndata: sums.jsonl\nprompt: "{{ n }} + 1?"\ntarget: "{{ is }}"\nformat: number\n'
    )
    read = compare_questions.read(task, **settings)
    assert read.usual == "exact_match"
    by_text = {each.question: each for each in read.asked}
    number = by_text["4 + 1?"].score
    assert number is not None
    assert number("I think that 4 + 1 is 5.0", refused=False) == {"exact_match": 1.0}
    assert number("6", refused=False) == {"exact_match": 0.0}
    task.write_text(task.read_text().replace("format: number", "kind: choice\nchoices: [a, b]"))
    with pytest.raises(ConfigError, match="must be generate"):
        compare_questions.read(task, **settings)


def test_a_model_that_continues_text_is_measured_as_well() -> None:
    given: list[Any] = []

    def chunks(request: Any) -> Iterator[Any]:
        given.append(request)
        start = SimpleNamespace(prompt_tokens=7, cached_tokens=2)
        for text, score, end in ((" Par", -1.0, None), ("is", -0.5, "stop")):
            yield SimpleNamespace(text=text, tokens=(1,), logprobs=(score,), start=start,
                                  finish_reason=end)  # fmt: skip
            start = None

    engine = SimpleNamespace(stream=chunks)
    model = ComparedModel("small", "x", writer=SimpleNamespace(engine=engine))  # type: ignore[arg-type]
    asked = asked_as("Where?", plain="Question: Where?\nAnswer:", stop=("\n",))
    reply = model.ask(asked, Context())
    assert (reply.text, reply.prompt, reply.cached, reply.written) == ("Paris", 7, 2, 2)
    assert reply.signals == {"logprob": -0.75}
    assert reply.first_seconds is not None
    assert reply.first_seconds <= reply.seconds
    assert (given[0].prompt, given[0].sampling.stop) == ("Question: Where?\nAnswer:", ("\n",))


# The command line.


def test_the_command_line_takes_runs_or_models(
    serve: Callable[[Say], Server], tmp_path: Path
) -> None:
    servers = {"small": serve(knows(*range(6))), "cloud": serve(knows(*range(20)))}
    file = routing(tmp_path, **servers)
    free = file.read_text().replace(
        'model = "small-1"\nretries = 0\ninput = 1.0\noutput = 10.0',
        'model = "small-1"\nretries = 0',
    )
    file.write_text(free)
    questions = write(tmp_path / "q.jsonl", ROWS)
    arguments = ["small", "cloud", "--questions", str(questions), "--routing", str(file)]
    arguments += ["--out", str(tmp_path / "out"), "--cost", "0.5"]
    money = ["--queries-per-month", "1e6", "--hardware", "800", "--setup-hours", "8",
             "--hourly-rate", "60", "--monthly-hours", "1", "--energy-price", "0.3"]  # fmt: skip
    run = CliRunner().invoke(app, arguments + money)
    assert run.exit_code == 0, run.output
    said = " ".join(run.output.split())
    assert "cloud is better than small: 83.3% against 25.0%" in said
    assert "small in the place of cloud" in said
    assert "not computed: watts" in said
    assert "1,000,000 × 0.0002" in said.replace("1e+06", "1,000,000")
    run = CliRunner().invoke(app, [*arguments, *money, "--watts", "60", "--months", "36", "--json"])
    found = json.loads(run.stdout)
    terms = {term["name"]: term["value"] for term in found["returns"][0]["terms"]}
    energy = 0.06 * HOURS * 0.3
    assert terms["break_even"] == pytest.approx((800 + 480) / (200 - energy - 60))
    assert len(servers["cloud"].bodies) == 24
    page = (tmp_path / "out" / PAGE).read_text("utf-8")
    assert "Does it pay? small in the place of cloud" in page

    for wrong, message in (
        (["a", "b", "--judge", "x"], "--judge is for models"),
        (["a", "b", "--cost", "1"], "--cost is for models"),
        (["a", "b"], "a"),
    ):
        failed = CliRunner().invoke(app, wrong)
        assert failed.exit_code
        assert message in str(failed.exception)
    result = tmp_path / "run"
    result.mkdir()
    (result / "results.json").write_text("{}")
    failed = CliRunner().invoke(app, [str(result), "cloud", *arguments[2:]])
    assert "is a run of 'linnet evaluate'" in str(failed.exception)


def test_outcomes_are_refused_by_their_lines(tmp_path: Path) -> None:
    good = {"id": "1", "question": "Q", "model": "m", "quality": 1, "cost": None, "seconds": 1,
            "answer": "A", "signals": {"logprob": -2.5}, "measure": "f1"}  # fmt: skip
    file = write(tmp_path / "o.jsonl", [good])
    (row,) = read_outcomes(file)
    assert (row.signals, row.cost, row.more) == ({"logprob": -2.5}, None, {"measure": "f1"})
    for name, value in (("quality", 2), ("quality", "1"), ("cost", -1), ("signals", {"x": True}),
                        ("model", 3), ("quality", 10**400)):  # fmt: skip
        write(file, [good, {**good, name: value}])
        with pytest.raises(DataError, match=f"line 2: expected '{name}"):
            read_outcomes(file)


def test_a_price_of_zero_is_a_price() -> None:
    assert not ComparedModel("m", "m", price=Price()).bills
    assert ComparedModel("m", "m", price=Price(1)).bills
    assert Reply.from_json(Reply(text="x", cost=None).to_json()) == Reply(text="x", cost=None)
    assert trillionths(0.000001) == 10**6


def test_numbers_are_as_people_read_them() -> None:
    """No power of ten, and no digits that say nothing."""
    assert [shown_amount(x, "EUR") for x in (0.0, 3.641666e-05, 1e-9, 0.5, 46_600.0)] == [
        "0.00 EUR", "0.0000364 EUR", "0.000000001 EUR", "0.5 EUR", "46,600.00 EUR",
    ]  # fmt: skip
    cost = Difference("cost", "", 0.0, 3.64e-05, 3.64e-05, None, None, 3, "lower", 0.0, None)
    slower = Difference(
        "seconds_p50", "", 0.0924, 46.7, 46.6, None, None, 3, "lower", 0.0, None
    )  # fmt: skip
    assert [shown_change(cost), shown_change(slower)] == ["+0.0000364", "+46.6 s"]
