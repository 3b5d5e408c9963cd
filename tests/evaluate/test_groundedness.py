"""The task groundedness: the model's answers and given ones, claim by claim."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from linnet.errors import DataError
from linnet.evaluate import TasksConfig, evaluate_tasks
from linnet.evaluate.tasks.groundedness import given_answers
from linnet.generate.engine import Chunk, Deliver, Request, Start
from linnet.generate.torch_engine import TorchEngine

PASSAGE = (
    "The drug was approved on 5 March 2024 for the treatment of Wilson disease. It costs 35 euros. "
    "It is not harmful to children."
)


def write(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def evaluated(model: Path, file: Path, tmp_path: Path) -> tuple[dict, dict]:
    out = tmp_path / "out"
    found = evaluate_tasks(
        model, None, [f"groundedness={file}"], out, TasksConfig(device="cpu", resamples=50)
    )
    rows = [json.loads(line) for line in (out / "items.jsonl").read_text("utf-8").splitlines()]
    assert "Does it keep to the passage?" in (out / "report.html").read_text("utf-8")
    return found["tasks"]["groundedness"], {row["id"]: row for row in rows}


def test_answers_of_the_model_are_checked_claim_by_claim(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        "one": "It costs 35 euros. It is not harmful to children.",
        "two": "It costs 36 euros. It was made by Pfizer in Berlin.",
        "three": "I don't know.",
        "four": " \n",
    }

    answers = iter(said.values())

    def submit(engine: TorchEngine, request: Request, deliver: Deliver) -> Callable[[], None]:
        deliver(Chunk(next(answers), (1,), "stop", start=Start(1, 0, 0.0)))
        return lambda: None

    monkeypatch.setattr(TorchEngine, "submit", submit)
    rows = [{"id": word, "question": f"Say {word}?", "answer": "35", "context": PASSAGE}
            for word in said]  # fmt: skip
    found, items = evaluated(model, write(tmp_path / "questions.jsonl", rows), tmp_path)
    figures = {name: figure["value"] for name, figure in found["figures"].items()}
    assert figures["claims_supported"] == pytest.approx(2 / 4)
    assert figures["answers_supported"] == pytest.approx(1 / 2)
    assert figures["claims_contradicted"] == pytest.approx(1 / 4)
    assert figures["numbers_made_up"] == figures["names_made_up"] == pytest.approx(1 / 4)
    assert figures["refused"] == pytest.approx(1 / 3)
    assert found["failed"] == {"four": "the answer is empty: there is nothing to check"}
    assert "auroc_of_support" in found["undefined"]
    assert [claim["status"] for claim in items["two"]["claims"]] == [
        "contradicted", "unsupported",
    ]  # fmt: skip
    assert items["two"]["claims"][0]["missing"] == ["number: 36 euros"]
    assert items["three"]["claims"] == []


def test_answers_that_people_judged_give_an_auroc(model: Path, tmp_path: Path) -> None:
    """Rows in HaluEval's form, and our own."""
    halueval = [
        {"knowledge": PASSAGE, "question": "What does it cost?", "right_answer": "35 euros",
         "hallucinated_answer": "It costs 350 euros."},
        {"knowledge": PASSAGE, "question": "When?", "right_answer": "It costs 35 euros.",
         "hallucinated_answer": "It was approved in Berlin in 1999."},
    ]  # fmt: skip
    lines = write(tmp_path / "qa.json", halueval)  # by its name one value, as HaluEval has it
    found, items = evaluated(model, lines, tmp_path)
    assert found["figures"]["auroc_of_support"]["value"] == 1.0
    assert found["answers"] == "of the file"
    assert set(items) == {
        f"{n} {side}_answer" for n in (1, 2) for side in ("right", "hallucinated")
    }
    own = [{"passage": PASSAGE, "response": "It costs 35 euros.", "supported": "yes"}]
    with pytest.raises(DataError, match="row 1: supported must be true or false"):
        evaluated(model, write(tmp_path / "own.jsonl", own), tmp_path / "other")
    own = [{"passage": "", "response": "It costs 35 euros."}]
    with pytest.raises(DataError, match="row 1: expected a 'passage', as text"):
        evaluated(model, write(tmp_path / "own.jsonl", own), tmp_path / "other")


def test_given_answers_are_taken_as_their_rows_say(model: Path, tmp_path: Path) -> None:
    """Too long for a claim, in a language of their own; and judged, in CSV."""
    rows = [
        {"response": "It costs 35 euros. " * 800, "passage": PASSAGE},
        {"response": "Das weiß ich nicht.", "passage": PASSAGE, "language": "de"},
        {"response": "It costs 35 euros.", "passage": PASSAGE},
    ]
    found, items = evaluated(model, write(tmp_path / "a.jsonl", rows), tmp_path)
    assert list(found["failed"]) == ["1"]
    assert "at most 10,000 are checked" in found["failed"]["1"]
    assert found["figures"]["refused"]["value"] == 0.5
    assert items["2"]["claims"] == []
    table = tmp_path / "a.csv"
    table.write_text("response,passage,supported\na 1,a 1,TRUE\na 2,a 1,false\na 3,a 1,\n")
    assert [given.faithful for _, given in given_answers(table) or ()] == [True, False, None]
    rows = [{"response": "It costs 35 euros.", "passage": ["P", ["Title", [PASSAGE]]]}]
    with pytest.raises(DataError, match="row 1: expected a 'passage', as text or a list of texts"):
        given_answers(write(tmp_path / "b.jsonl", rows))
