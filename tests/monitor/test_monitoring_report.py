"""Reports of a log: what they say, to whom, and that the command line says the same."""

import csv
import io
import json
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from linnet.cli import app
from linnet.errors import ConfigError, DataError
from linnet.monitor.checking import draw, read_checked
from linnet.monitor.entry import Entry
from linnet.monitor.log import Log
from linnet.monitor.promises import Promise
from linnet.monitor.report import Report, page_of, period, report
from linnet.monitor.watching import LOG_FILE, FittedOn, Watching, fitted_on
from linnet.respond.prices import trillionths
from made_gate import gate_in

RUNNER = CliRunner()
DAY = 86_400.0
NOW = 1_800_000_000.0


def call(number: int, **more: Any) -> Entry:
    usual: dict[str, Any] = {
        "at": NOW - 3 * DAY + 600 * number, "id": f"id-{number}", "asked": "manuals",
        "model": "manuals", "seconds": 2.0, "first_seconds": 0.5, "probability": 0.96,
        "in_scope": 0.99, "grounded": 1.0, "features": {"words": 7.0, "known": 0.9},
    }  # fmt: skip
    return Entry(**usual | more)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    made = Log(tmp_path / LOG_FILE, keep_days=0, keeps_contents=True)
    yield made
    made.close()


def filled(log: Log, entries: list[Entry]) -> Log:
    for entry in entries:
        log.add(entry)
    assert log.flush()
    return log


def said(made: Report) -> dict[str, list[tuple[str, str]]]:
    """Mood and text of each sentence, by what it is about."""
    found: dict[str, list[tuple[str, str]]] = {}
    for sentence in made.sentences:
        found.setdefault(sentence.about, []).append((sentence.mood, sentence.text))
    return found


def test_costs_are_in_the_currency_that_the_log_has(tmp_path: Path) -> None:
    clock = [0.0]
    log = Log(tmp_path / LOG_FILE, keep_days=0, clock=lambda: clock[0])

    def noted(name: str, days: float) -> None:
        clock[0] = NOW - days * DAY
        log.note_currency(name)
        assert log.flush()

    noted("EUR", 9)
    filled(log, [call(n, cost=trillionths(0.5)) for n in range(4)])
    noted("EUR", 8)  # the same is not noted again
    assert log.currencies() == [(NOW - 9 * DAY, "EUR")]
    (text,) = (text for _, text in said(report(log, Watching(), until=NOW))["cost"])
    assert "The answers cost 2.00 EUR" in text
    assert report(log, Watching(), until=NOW, currency="CHF").figures.currency == "CHF"
    noted("USD", 1)
    assert report(log, Watching(), until=NOW - 2 * DAY).figures.currency == "EUR"
    mixed = said(report(log, Watching(), until=NOW))["cost"]
    assert ("bad", "Costs were counted in EUR, then in USD: their sums mean nothing.") in mixed
    log.close()


def test_a_log_that_was_made_before_currencies_were_noted_is_read(tmp_path: Path) -> None:
    file = tmp_path / LOG_FILE
    with closing(Log(file, keep_days=0)) as log:
        filled(log, [call(1)])
    with closing(sqlite3.connect(file)) as old:
        old.execute("DROP TABLE currencies")
        old.commit()
    with closing(Log(file, is_reading=True)) as log:
        assert (log.currencies(), len(list(log.read()))) == ([], 1)


def test_a_manager_is_told_what_happened(log: Log) -> None:
    away = {"model": "large", "place": "elsewhere", "cost": trillionths(0.01)}
    entries = [
        call(
            n, would_cost=trillionths(0.02), prompt=10, written=5,
            decided_by="attempt", reason="probability under 0.9" if n % 4 == 0 else "good enough",
            **(away if n % 4 == 0 else {}),
        )
        for n in range(80)
    ]  # fmt: skip
    entries += [call(80 + n, state="refused", decided_by="policy", reason="hr") for n in range(15)]
    entries += [call(95, state="failed", failures=("timeout",))]
    entries += [call(96 + n, state="held", failures=("policy",)) for n in range(4)]
    made = report(
        filled(log, entries), Watching(), since=NOW - 3 * DAY, until=NOW, currency="EUR",
        compared_with="large",
    )  # fmt: skip
    found = said(made)
    assert re.fullmatch(
        r"From \d+ January 2027 to \d+ January 2027 there were 100 questions: 80 were answered "
        r"\(80%\), 15 were refused, as the documents do not seem to answer them \(15%\), 4 were "
        r"not let through \[policy\] \(4%\) and 1 was not "
        r"finished because of an error \(1%\)\.",
        found["questions"][0][1],
    )
    assert found["speed"][0][1] == (
        "Half of the answers began within 0.5 s and were complete within 2.0 s; 19 of 20 within "
        "2.0 s."
    )
    assert found["cost"] == [
        ("good", "The answers cost 0.20 EUR (20 of them were billed). By large alone they would "
         "have cost 1.60 EUR for 80 of them: 1.40 EUR less this way.")
    ]  # fmt: skip
    assert found["routing"][0][1] == (
        "20 of 80 answers came from models beyond this machine (25%): 20 because the local answer "
        "was not good enough; kept here were 15 by the policy."
    )
    assert found["errors"] == [("bad", "On the way something failed: timeout in 1 calls.")]
    assert "96% likely to be right" in found["answers"][0][1]
    json.dumps(made.to_json(), allow_nan=False)


def test_nothing_is_said_of_nothing(log: Log) -> None:
    made = report(log, Watching(), since=NOW - DAY, until=NOW)
    assert [sentence.text for sentence in made.sentences] == ["Nothing was asked in this period."]
    alone = report(filled(log, [call(0, probability=None, grounded=None)]), Watching(), until=NOW)
    found = said(alone)
    assert "there was 1 question: 1 was answered (100%)" in found["questions"][0][1]
    assert found["cost"] == [("fact", "Nothing was billed: all was computed here.")]
    assert found["errors"] == [("good", "Nothing failed.")]
    assert "promise" not in found


@pytest.mark.parametrize(
    ("judged", "wrong", "mood", "words"),
    [
        (0, 0, "open", "nobody judged one"),
        (20, 0, "open", "it is not known yet whether that holds"),
        (80, 0, "good", "and that holds: 0 of 80 that were judged were wrong, which means between"),
        (40, 12, "bad", "and that does not hold: 12 of 40 that were judged were wrong"),
    ],
)  # fmt: skip
def test_a_promise_is_held_against_what_was_judged(
    log: Log, judged: int, wrong: int, mood: str, words: str
) -> None:
    entries = [call(n, good=None if n >= judged else n >= wrong) for n in range(100)]
    gate = FittedOn("x", 0.0, Promise(0.05, 0.95), None)
    made = report(filled(log, entries), Watching({"": gate}), until=NOW)
    ((found, text),) = said(made)["promise"]
    assert found == mood
    assert words in text
    if judged:
        assert (
            f"without that, between {wrong / 100:.1%} and {1 - (judged - wrong) / 100:.1%}" in text
        )


def test_questions_are_compared_with_those_of_the_gate(log: Log, tmp_path: Path) -> None:
    assert fitted_on(tmp_path) is None
    gate_in(tmp_path)
    gate = fitted_on(tmp_path)
    assert gate is not None
    assert gate.promise == Promise(0.05, 0.95, "generated")
    assert gate.reference is not None
    assert gate.reference.questions == 40  # calibrated on, and of the promise
    assert set(gate.reference.numbers) == {"known", "in_scope", "probability", "words"}
    early = FittedOn(gate.content, 0.0, gate.promise, gate.reference)
    generator = np.random.default_rng(2)
    entries = [
        call(n, in_scope=0.01 * generator.random(), probability=None,
             features={"known": generator.random(), "words": 3.0})
        for n in range(60)
    ]  # fmt: skip
    watching = Watching({"": early})
    made = report(filled(log, entries), watching, until=NOW)
    (mood, text), *_ = said(made)["drift"]
    assert mood == "bad"
    assert "Questions differ much from those that the gate was fitted on since about" in text
    assert ": 'how likely the documents are about the question' is less than before" in text
    # What is new alone is taken in at the next look; and a gate of later sees nothing of before.
    before = made.drift[0].questions
    assert report(filled(log, [call(100)]), watching, until=NOW).drift[0].questions == before + 1
    later = FittedOn(gate.content, NOW, gate.promise, gate.reference)
    assert report(log, Watching({"": later}), until=NOW).drift[0].state == "few"


def test_a_gate_of_few_questions_is_no_reference(tmp_path: Path) -> None:
    gate_in(tmp_path, questions=20, kept=False)
    gate = fitted_on(tmp_path)
    assert gate is not None
    assert (gate.reference, gate.promise) == (None, None)


def test_each_model_has_documents_of_its_own(log: Log) -> None:
    entries = [call(n, asked=("a", "auto", "b", "gone")[n % 4]) for n in range(400)]
    entries += [call(400 + n, asked="b", features={}, probability=None, in_scope=None)
                for n in range(10)]  # fmt: skip
    watching = Watching(names={"a": "a", "auto": "a", "b": "b"})
    watching.look(filled(log, entries))
    assert [(one.model, one.reference) for one in watching.found(NOW)] == [
        ("a", "first"), ("b", "first"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7d", 7 * DAY), ("12h", DAY / 2), ("30m", 1800), ("2w", 14 * DAY), ("all", None)],
)
def test_periods(text: str, seconds: float | None) -> None:
    assert period(text, NOW) == (None if seconds is None else NOW - seconds)


@pytest.mark.parametrize("text", ["999999w", "1969-01-01", "0100-01-01"])
def test_no_period_begins_before_there_were_clocks(log: Log, text: str) -> None:
    since = period(text, NOW)
    assert since == 0
    entries = [call(1), call(2, at=NOW + DAY)]
    made = report(filled(log, entries), Watching(), since=since, until=NOW)
    assert made.figures.calls == 1
    ((mood, text),) = said(made)["log"]
    assert (mood, text[:29]) == ("bad", "1 more is dated in the future")


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "yesterday", "2026-13-01", "9999999d"])
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected a period such as 7d"):
        period(text, NOW)


def test_a_sample_is_drawn_checked_and_believed(log: Log, tmp_path: Path) -> None:
    entries = [call(n, good=False if n < 20 else None, question=f"q{n}") for n in range(300)]
    entries += [call(300 + n, state="refused") for n in range(100)]
    rows = draw(filled(log, entries), None, 100, seed=3)
    assert len({row["id"] for row in rows}) == 100
    assert rows == draw(log, None, 100, seed=3)
    assert rows != draw(log, None, 100, seed=4)
    assert all(row["question"].startswith("q") and row["good"] is None for row in rows)
    file = tmp_path / "checked.jsonl"
    verdicts = [{**row, "good": True if n < 70 else None} for n, row in enumerate(rows)]
    file.write_text("".join(json.dumps(row) + "\n" for row in verdicts))
    checked = read_checked(file)
    assert len(checked) == 70  # the others are left open
    gate = FittedOn("x", 0.0, Promise(0.05, 0.95), None)
    made = report(log, Watching({"": gate}), until=NOW, checked=checked)
    ((mood, text),) = said(made)["promise"]
    assert mood == "good"
    assert "0 of 70 that were drawn at random and checked were wrong" in text
    assert "if people" not in text
    ((mood, text),) = said(report(log, Watching(), until=NOW, checked=checked))["promise"]
    assert (mood, text[:8], text[-12:]) == ("fact", "0 of 70 ", "is promised.")


@pytest.mark.parametrize(
    "line", ["{", "[]", '{"id": 1, "good": true}', '{"id": "a"}', '{"id": "a", "good": 1}']
)
def test_a_sample_with_a_mistake_is_refused_by_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "checked.jsonl"
    file.write_text(f'{{"id": "a", "good": null}}\n{line}\n')
    with pytest.raises(DataError, match="line 2: expected an object in JSON"):
        read_checked(file)


def test_a_sample_of_nothing_is_not_written(log: Log, tmp_path: Path) -> None:
    filled(log, [call(0, state="refused")])
    out = tmp_path / "check.jsonl"
    done = RUNNER.invoke(app, ["monitor", "sample", str(log.file), "--out", str(out)])
    assert isinstance(done.exception, DataError)
    assert "nothing to check" in str(done.exception)
    assert not out.exists()


def test_a_page_holds_names_as_text_and_loads_nothing(log: Log) -> None:
    name = "<script>alert(1)</script>"
    entries = [call(n, model=name, key="<b>", decided_by="rule", reason="<i>x</i>",
                    failures=("<u>",)) for n in range(60)]  # fmt: skip
    made = page_of(report(filled(log, entries), Watching(), since=NOW - 3 * DAY, until=NOW))
    assert "<script" not in made
    assert not re.search(r"<(b|i|u)>", made)
    assert "&lt;script&gt;" in made
    assert not re.search(r"""(src|href)=|url\(|@import""", made)
    assert made.count("</table>") >= 6


def test_the_command_line_reports_samples_and_exports(log: Log, tmp_path: Path) -> None:
    import time

    now = time.time()
    entries = [
        call(n, at=now - 3600 * n, key="=cmd", question="secret?", answer="yes", good=n % 3 > 0,
             cost=trillionths(0.25 if n else 0.000_000_722), prompt=2_000_000)
        for n in range(90)
    ]  # fmt: skip
    filled(log, entries)
    gate_in(tmp_path)
    done = RUNNER.invoke(app, ["monitor", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "there were 90 questions" in done.output
    assert not re.search(r"e-0\d|…", done.output)  # numbers as people read them, and whole
    assert "! The gate promises that at most 5.0% of the answers are wrong" in done.output
    assert "secret" not in done.output
    place = str(log.file)
    little = RUNNER.invoke(app, ["monitor", place, "--since", "30m"])
    assert re.search(r"0\.00000072 +2 s", little.output), little.output
    shown = RUNNER.invoke(app, ["monitor", place, "--since", "24h", "--json"])
    found = json.loads(shown.output)
    assert found["figures"]["calls"] == 24
    page = tmp_path / "report.html"
    assert RUNNER.invoke(app, ["monitor", place, "--html", str(page)]).exit_code == 0
    assert "secret" not in page.read_text("utf-8")

    text = RUNNER.invoke(app, ["monitor", "export", place]).stdout_bytes.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 90
    assert "question" not in rows[0]
    assert (rows[-2]["key"], rows[-2]["cost"], rows[-2]["good"]) == ("'=cmd", "0.25", "1")
    lines = RUNNER.invoke(
        app, ["monitor", "export", place, "--format", "jsonl", "--contents", "--since", "1h"]
    ).stdout.splitlines()  # fmt: skip
    assert [json.loads(line)["question"] for line in lines] == ["secret?"]

    out = tmp_path / "sample.jsonl"
    assert RUNNER.invoke(app, ["monitor", "sample", place, "--out", str(out)]).exit_code == 0
    assert len(out.read_text().splitlines()) == 90
    if sys.platform != "win32":  # what the log has is its owner's alone
        assert out.stat().st_mode & 0o777 == 0o600
    out.write_text(out.read_text().replace('"good": null', '"good": true'))
    shown = RUNNER.invoke(app, ["monitor", place, "--since", "12h", "--checked", str(out)])
    assert "78 of 90 checked answers are not among those of this period" in shown.output
    again = RUNNER.invoke(app, ["monitor", "sample", place, "--out", str(out)])
    assert isinstance(again.exception, ConfigError)  # there may be verdicts in it
    nothing = RUNNER.invoke(app, ["monitor", str(tmp_path / "none.sqlite")])
    assert isinstance(nothing.exception, ConfigError)


def test_calls_are_forgotten_by_key_document_and_age(log: Log) -> None:
    secret = "the wombat's salary"
    entries = [
        call(n, key=f"key-{n % 3}", question=secret, answer="5,200",
             sources=("pay.txt",) if n % 2 else ("hours.txt",))
        for n in range(30)
    ]  # fmt: skip
    filled(log, entries)
    assert log.file is not None
    place = str(log.file)

    def forget(*arguments: str) -> str:
        done = RUNNER.invoke(app, ["monitor", "forget", place, "--yes", *arguments])
        assert done.exit_code == 0, done.exception
        return done.output.strip()

    assert forget("--key", "key-1") == "10 calls forgotten"
    assert (
        forget("--source", "pay.txt", "--source", "none.txt") == "10 calls without their contents"
    )
    left = list(log.read())
    assert {entry.key for entry in left} == {"key-0", "key-2"}
    assert sum(entry.question is None for entry in left) == 10
    assert forget("--before", "all") == "20 calls forgotten"
    every = b"".join(file.read_bytes() for file in log.file.parent.glob(f"{log.file.name}*"))
    assert secret.encode() not in every
    for wrong in ([], ["--key", "a", "--before", "1d"]):
        done = RUNNER.invoke(app, ["monitor", "forget", place, *wrong])
        assert isinstance(done.exception, ConfigError)
    asked = RUNNER.invoke(app, ["monitor", "forget", place, "--key", "a"], input="n\n")
    assert asked.exit_code == 1
