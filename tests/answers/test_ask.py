"""``linnet ask`` over an index that was made of a few files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from linnet.answers import Assistant
from linnet.cli.ask import app
from linnet.errors import ConfigError, DataError, EngineError
from linnet.retrieval import make_index

pytestmark = pytest.mark.usefixtures("reading_here")

GUIDE = """# Router guide

The Kestrel router was introduced in March 2021. It costs 49 euros.

## Prices

| Country | Price |
|---|---|
| Germany | 49 EUR |
| Spain | 52 EUR |
"""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("ask")
    (place / "docs").mkdir()
    (place / "docs" / "guide.md").write_text(GUIDE)
    make_index(place / "docs", place / "index")
    return place / "index"


def ask(*words: str, given: str | bytes = "") -> tuple[str, Exception | None]:
    result = CliRunner().invoke(app, list(words), input=given)
    error = result.exception
    return result.stdout, error if isinstance(error, Exception) else None


def test_an_answer_is_shown_with_its_citations(index: Path) -> None:
    said, error = ask(str(index), "What is the price in Spain?")
    assert error is None
    assert said.startswith("Country: Spain; Price: 52 EUR [1]\n\n[1] docs/guide.md, line")
    assert "Spain | 52 EUR" in said


def test_a_refusal_is_no_error_and_shows_what_is_nearest(index: Path) -> None:
    said, error = ask(str(index), "What is the Kestrel population of Peru?")
    assert error is None
    assert said.startswith("I don't know")
    assert "Nearest passages:\n- docs/guide.md" in said


def test_json_is_alone_and_its_spans_are_stored_text(index: Path) -> None:
    said, error = ask(str(index), "When was the router introduced?", "--json")
    assert error is None
    found = json.loads(said)
    assert {"id", "answer", "refused", "probability", "in_scope", "citations", "claims"} <= (
        found.keys()
    )
    (citation,) = found["citations"]
    assert citation["text"] == "The Kestrel router was introduced in March 2021."
    stored = GUIDE.replace("# ", "", 1)
    assert stored[citation["start"] : citation["end"]] == citation["text"]


def test_a_line_out_for_each_line_in(index: Path, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "question": "How much does the router cost?"},
        {"id": 7, "question": "And when was it introduced?",
         "turns": [{"question": "How much does the Kestrel router cost?", "answer": ""}]},
    ]  # fmt: skip
    bad = ["{", '{"id": "x"}', '{"id": [], "question": "What?"}', '{"question": "?", "turns": [3]}']
    lines = [json.dumps(rows[0]), *bad, "", json.dumps(rows[1])]
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(lines), encoding="utf-8")
    said, error = ask(str(index), "--questions", str(file))
    found = [json.loads(line) for line in said.splitlines()]
    assert [row["id"] for row in found] == ["a", None, None, None, None, "7"]
    assert found[0]["answer"] == "It costs 49 euros."
    assert "March 2021" in found[5]["answer"]
    for number, row in enumerate(found[1:5], 2):
        assert f"questions.jsonl, line {number}: expected" in row["error"]
    assert isinstance(error, DataError)
    assert "4 lines held no question" in str(error)
    again, error = ask(str(index), "--questions", "-", given=json.dumps(rows[0]))
    assert error is None
    assert json.loads(again)["citations"] == found[0]["citations"]


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (EngineError("the model failed"), "line 1: the model failed"),
        (TimeoutError(), "line 1: TimeoutError"),
        (ZeroDivisionError("by\nzero"), "line 1: ZeroDivisionError: by zero"),
    ],
)
def test_a_question_whose_answer_fails_is_a_line_and_no_bad_one(
    error: Exception, named: str, index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Assistant.ask

    def ask_or_fail(self: Assistant, question: str, *given: Any, **more: Any) -> Any:
        if question == "fail":
            raise error
        return answer(self, question, *given, **more)

    monkeypatch.setattr(Assistant, "ask", ask_or_fail)
    file = tmp_path / "questions.jsonl"
    file.write_text('{"question": "fail"}\n{\n{"question": "How much does the router cost?"}\n')
    said, raised = ask(str(index), "--questions", str(file))
    failed, bad, good = map(json.loads, said.splitlines())
    assert (failed["id"], bad["id"], good["answer"]) == ("1", None, "It costs 49 euros.")
    assert failed["error"].endswith(named)
    assert "1 line held no question, 1 question failed" in str(raised)
    file.write_text('{"question": "fail"}')
    _, raised = ask(str(index), "--questions", str(file))
    assert str(raised) == f"{file}: 1 question failed; see above"


def test_a_question_or_a_file_of_them(index: Path) -> None:
    for words in ((), ("What?", "--questions", "x.jsonl")):
        assert isinstance(ask(str(index), *words)[1], ConfigError)
    assert isinstance(ask(str(index), "--questions", "nothing.jsonl")[1], DataError)
