"""Answers from an index, scored: by hand, and through the command line beside BM25 alone."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from linnet import artifact
from linnet.answers.cases import Span
from linnet.answers.feedback import Feedback, note_feedback
from linnet.answers.gate import (
    GateConfig,
    changed_since,
    fit_gate,
    open_gate,
    read_gate_results,
    read_trials,
)
from linnet.answers.writer import ModelWriter
from linnet.cli import app
from linnet.data import kept_texts
from linnet.errors import ArtifactError, ConfigError
from linnet.evaluate.answering import ndcg, rank_of
from linnet.evaluate.compare_config import ModelsConfig
from linnet.evaluate.compare_models import compare_models
from linnet.examples import Example, write_examples
from linnet.respond import Abilities, Batches, Context, Conversation, Finish, Text
from linnet.retrieval import Found, Passage, Place
from linnet.retrieval.indexing import make_index
from linnet.routing.outcomes import read_outcomes

pytestmark = pytest.mark.usefixtures("reading_here", "undrawn")

TOWNS = 40


def test_a_target_is_found_at_the_first_passage_that_overlaps_it() -> None:
    found = [
        Found(Passage("x", (Place("a", n * 10, n * 10 + 10), Place("b", n, n + 1))), 1.0)
        for n in range(5)
    ]
    assert rank_of(found, [Span("a", 25, 26)]) == 3
    assert rank_of(found, [Span("b", 1, 2), Span("a", 45)]) == 2
    assert rank_of(found, [Span("a", 50)]) == float("inf")


def test_ndcg_is_that_of_the_definition() -> None:
    assert ndcg([1]) == 1
    assert ndcg([3]) == pytest.approx(1 / np.log2(4))
    assert ndcg([11]) == ndcg([float("inf")]) == 0
    # Two targets at ranks 2 and 4: gains of 1 there, and at best at 1 and 2.
    gains = [0, 1, 0, 1]
    dcg = sum(gain / np.log2(2 + place) for place, gain in enumerate(gains))
    assert ndcg([2, 4]) == pytest.approx(dcg / (1 + 1 / np.log2(3)))


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of towns with examples about half of what is said of them, and a gate."""
    place = tmp_path_factory.mktemp("towns")
    (place / "docs").mkdir()
    for n in range(TOWNS):
        (place / "docs" / f"town{n}.txt").write_text(
            f"Brinova{n}\n\nThe altitude of Brinova{n} is {300 + n} metres above the sea.\n\n"
            f"The founder of Brinova{n} was Duke Ar{n}o, who came from the coast in spring.\n"
        )
    out = place / "index"
    make_index(place / "docs", out)
    examples = []
    for kept in kept_texts(out / "corpus"):
        n = kept.source.partition("town")[2].removesuffix(".txt")
        for about, answer in (("altitude", f"{300 + int(n)} metres"), ("founder", f"Duke Ar{n}o")):
            start = kept.text.index(f"The {about}")
            end = kept.text.index(".", start) + 1
            examples.append(
                Example(f"{n}-{about}", "question", f"What is the {about} of Brinova{n}?", answer,
                        kept.text[start:end], kept.source, start, end, "test", language="en")
            )  # fmt: skip
        for kind, question in (("near_miss", f"What is the altitude of Zelt{n}?"),
                               ("off_topic", f"How do I bake {n} loaves?")):  # fmt: skip
            source = kept.source if kind == "near_miss" else None
            examples.append(Example(f"{n}-{kind}", kind, question, "I do not know.",  # type: ignore[arg-type]
                                    None, source, None, None, "test"))  # fmt: skip
    with artifact.create(
        out / "examples", kind="examples", format=1, config={}, inputs={}
    ) as draft:
        write_examples(draft.path / "examples.jsonl", examples)
    fit_gate(out, GateConfig(rate=0.2))
    return out


def people(index: Path) -> Path:
    file = index.parent / "people.jsonl"
    rows = [
        {"id": f"p{n}", "question": f"who was the founder of Brinova{n}", "answer": f"Duke Ar{n}o",
         "source": f"docs/town{n}.txt", "quote": f"The founder of Brinova{n}"}
        for n in range(30)
    ]  # fmt: skip
    rows.append({"id": "off", "question": "what is the price of a bicycle", "kind": "off_topic"})
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_answers_are_scored_beside_bm25_and_runs_compare(index: Path, tmp_path: Path) -> None:
    questions = people(index)
    out = tmp_path / "scored"
    scored = ("evaluate", "--answers", index, questions, "--resamples", 50)
    found = json.loads(run(*scored, "--out", out, "--json"))
    own, alone = found["tasks"]["answers"]["figures"], found["tasks"]["answers_bm25"]["figures"]
    assert own["recall_at_5"]["value"] == 1
    assert own["drafts_right"]["value"] > 0.9
    assert own["answered"]["value"] < alone["answered"]["value"] == 1
    assert own["auroc_in_scope"]["value"] == 1
    assert own["refused_unanswerable"]["value"] == 1
    assert alone["refused_unanswerable"]["value"] == 0
    assert "auroc" not in alone
    assert all({"low", "high"} <= own[name].keys() for name in ("recall_at_1", "mrr", "seconds"))
    items = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
    refused = next(item for item in items if item["id"] == "off" and item["task"] == "answers")
    assert refused["answer"].startswith("I don't know")
    for item in items:  # what is counted is what the items say
        assert item["scores"]["wrong"] <= item["scores"]["answered"]
    assert "Answers from the documents" in (out / "report.html").read_text()
    again = tmp_path / "again"
    shutil.copytree(out, again)
    said = json.loads(run("compare", out, again, "--out", tmp_path / "compared", "--json"))
    assert "answers" in json.dumps(said)


def test_an_index_is_compared_as_it_answers(index: Path, tmp_path: Path) -> None:
    """It is asked the question alone, and finds the passages itself."""
    rows = [
        {"id": str(n), "question": f"What is the altitude of Brinova{n}?", "answer": f"{300 + n}",
         "context": "This is not shown to it."}
        for n in range(4)
    ]  # fmt: skip
    rows.append({"id": "none", "question": "Who sang at Zelt3?", "kind": "off_topic"})
    questions = tmp_path / "q.jsonl"
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = compare_models(
        [f"docs={index}", f"again={index}"],
        questions,
        tmp_path / "out",
        ModelsConfig(resamples=100),
    )
    assert found.measure == "contains"
    assert found.models[0].figures["quality"].value == 1.0  # of which one is a refusal
    assert found.models[0].figures["refused"].value == 0.2
    outcomes = {each.id: each for each in read_outcomes(tmp_path / "out" / "outcomes.jsonl")}
    assert outcomes["2"].answer.startswith("The altitude of Brinova2 is 302 metres")
    assert outcomes["2"].signals["refused"] == 0
    assert outcomes["none"].signals["refused"] == 1
    journal = (tmp_path / "out" / "journal.jsonl").read_text()
    assert journal.count('"answer"') == 5  # both are the same index
    assert re.search(r'"sources": \[[^]]*town2\.txt', journal)
    assert "not shown" not in journal


def test_one_split_is_asked_and_the_others_are_named(index: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in people(index).read_text().splitlines()[:6]]
    for row, split in zip(rows, ("test", "test", "train", "train", "train", "validation"),
                          strict=True):  # fmt: skip
        row["split"] = split
    file = tmp_path / "divided.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    scored = ("evaluate", "--answers", index, file, "--resamples", 10)
    said = " ".join(run(*scored).split())
    assert "leaves out 3 questions of the train split: --split train asks these" in said
    assert "1 questions of the validation split" in said
    found = json.loads(run(*scored, "--split", "train", "--json"))
    assert found["tasks"]["answers"]["items"] == 3


def test_a_gate_is_fitted_reported_and_kept_while_nothing_changes(index: Path) -> None:
    found = read_gate_results(index)
    assert found["promise"]["kept"]
    said = run("gate", "report", index)
    assert "At most 20.0% of the questions it answers are answered wrongly" in said
    assert json.loads(run("gate", "report", index, "--json")) == found
    trials = list(read_trials(index))
    assert {trial.kind for trial in trials} == {
        "answerable", "near_miss", "off_topic", "withheld",
    }  # fmt: skip
    gate = open_gate(index)
    for trial in trials[:20]:
        assert gate.right.probability(trial.features) == pytest.approx(trial.probability)
    page = (index / "gate" / "report.html").read_text()
    assert "<svg" in page
    before = (index / "gate" / "manifest.json").read_bytes()
    run("gate", "fit", index, "--rate", "0.2")
    assert (index / "gate" / "manifest.json").read_bytes() == before
    assert changed_since(index) == []
    note_feedback(index, Feedback("a", "What is the founder of Brinova3?", True))
    assert changed_since(index) == ["feedback"]
    assert "Since it was fitted feedback changed" in run("gate", "report", index)
    (index / "feedback.jsonl").unlink()


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["evaluate", "--answers", "{index}"], "name the questions"),
        (["evaluate", "--answers", "{index}", "none.jsonl"], "expected a file of questions"),
        (["evaluate", "--answers", "{index}", "{people}", "--task", "bias"], "leave out --task"),
        (["evaluate", "--answers", "{people}", "{people}"], "expected an index directory"),
        (["gate", "fit", "{people}"], "expected a"),
        (["gate", "fit", "{index}", "--rate", "0.2", "--people", "none.jsonl"], "none.jsonl"),
        (["gate", "report", "{docs}"], "expected a gate directory"),
        (["reranker", "report", "{index}"], "run linnet reranker train"),
    ],
)
def test_wrong_input_is_named(index: Path, arguments: list[str], wrong: str) -> None:
    places = {"index": index, "people": people(index), "docs": index.parent / "docs"}
    result = CliRunner().invoke(app, [each.format(**places) for each in arguments])
    assert result.exit_code != 0
    assert wrong in f"{result.output}{result.exception}"


class Quoting:
    """States what it was shown about the town that is asked about, of altitudes alone."""

    abilities = Abilities("quoting", 4096)

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        shown = conversation.messages[-1].text
        town = re.findall(r"altitude of (Brinova\d+)\?", shown)[-1:]
        said = [sentence for name in town for sentence in re.findall(
            rf"The altitude of {name} is \d+ metres above the sea\.", shown)]  # fmt: skip
        statements = [{"quote": each, "statement": each} for each in said[:1]]
        yield [Text(json.dumps({"statements": statements})), Finish("stop")]


def test_a_model_that_writes_is_measured_and_gets_a_gate_of_its_own(
    index: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "index"
    shutil.copytree(index, place)
    before = read_gate_results(place)
    opened: list[str] = []

    def open_writer(source: str, **_: object) -> ModelWriter:
        opened.append(source)
        return ModelWriter(Quoting(), name="quoting")

    monkeypatch.setattr("linnet.cli.gate.open_writer", open_writer)
    monkeypatch.setattr("linnet.evaluate.answering.open_writer", open_writer)
    run("gate", "fit", place, "--rate", "0.2", "--model", model)
    written = read_gate_results(place)
    assert written != before
    stated = {trial.features["stated"] for trial in read_trials(place)}
    assert 1.0 in stated  # of what the model wrote; not known of what passages answered
    scored = ("evaluate", "--answers", place, people(index), "--model", model, "--resamples", 20)
    found = json.loads(run(*scored, "--out", tmp_path / "scored", "--json"))
    assert set(found["tasks"]) == {"answers", "answers_passages", "answers_bm25"}
    assert found["model"] == model.name
    assert found["tasks"]["answers"]["about"] == f"{model.name} writes"
    # It never states who founded a town, and then the passages answer.
    own, passages = (found["tasks"][name]["figures"] for name in ("answers", "answers_passages"))
    assert own["drafts_right"] == passages["drafts_right"]
    assert opened == [str(model)] * 2
    json.loads(run(*scored, "--out", tmp_path / "scored", "--json"))  # as it was made before
    assert len(opened) == 2


def test_without_an_index_there_is_no_gate(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        open_gate(tmp_path)


def test_the_promise_may_be_for_people_and_generated_ones_stand_beside(index: Path) -> None:
    questions = people(index)
    with pytest.raises(ConfigError, match="--people"):
        fit_gate(index, GateConfig(promise="people"))
    run("gate", "fit", index, "--rate", "0.3", "--people", questions, "--promise", "people")
    found = read_gate_results(index)
    assert found["promise"]["questions"] == found["questions"]["people"]["questions"] < 31
    assert found["questions"]["people"]["accuracy"]["value"] > 0.8
    assert found["questions"].keys() == {"people", "generated"}
