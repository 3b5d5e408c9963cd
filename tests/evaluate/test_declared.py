"""Tasks in YAML: what they ask, how it is scored, and what is wrong with a file, by its line."""

import json
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from scripted_engine import Scripted, asked_in, run_of

from linnet.errors import ConfigError, DataError, LinnetError, ModelError
from linnet.evaluate.task import TaskResult, run_task
from linnet.evaluate.tasks.declared import declared_task

ROWS = [
    {"id": "fr", "country": "France", "capital": "Paris", "split": "test",
     "names": ["Paris", "Lutetia"]},
    {"id": "de", "country": "Germany", "capital": "Berlin", "split": "test", "names": ["Berlin"]},
    {"id": "it", "country": "Italy", "capital": "Rome", "split": "test", "names": ["Rome", "Roma"]},
    {"id": "no", "country": "Norway", "capital": "Oslo", "split": "train", "names": ["Oslo"]},
]  # fmt: skip

CAPITALS = """\
name: capitals
data: rows.jsonl
where: {split: test}
prompt: |
  Question: Capital of {{ country }}?
  Answer:
target: names
stop: ["\\n"]
"""


def run(folder: Path, text: str, engine: Scripted, **settings: Any) -> TaskResult:
    rows = "\n".join(map(json.dumps, ROWS))
    (folder / "rows.jsonl").write_text(rows, encoding="utf-8")
    (folder / "task.yaml").write_text(text, encoding="utf-8")
    _, make = declared_task(folder / "task.yaml")
    run = run_of(engine, **settings)
    make(run).require()
    return run_task(make, run)


def test_written_answers_are_compared_with_all_that_are_right(tmp_path: Path) -> None:
    says = {"France": "Lutetia.", "Germany": "Berlin, the city", "Italy": "Milan"}
    engine = Scripted(lambda prompt: " " + says[asked_in(prompt)[11:-1]])
    found = run(tmp_path, CAPITALS, engine)
    assert engine.prompts[0] == "Question: Capital of France?\nAnswer:"
    assert {name: figure.value for name, figure in found.figures.items()} == {
        "exact_match": pytest.approx(1 / 3), "f1": pytest.approx((1 + 2 / 3) / 3),
        "contains": pytest.approx(2 / 3), "in_format": 1.0, "ends_itself": 1.0,
    }  # fmt: skip
    assert [item.id for item in found.items] == ["fr", "de", "it"]
    (row, *_) = found.rows()
    assert row["prompt"] == "Question: Capital of France?\nAnswer:"
    assert (row["answer"], row["expected"]) == (" Lutetia.", ["Paris", "Lutetia"])


def test_solved_examples_are_the_same_before_every_question(tmp_path: Path) -> None:
    engine = Scripted()
    shots = CAPITALS + "few_shot: {count: 1, where: {split: train}}\nsystem: Be brief.\n"
    found = run(tmp_path, shots, engine)
    before = "Be brief.\n\nQuestion: Capital of Norway?\nAnswer: Oslo\n\nQuestion: Capital of "
    assert [prompt.startswith(before) for prompt in engine.prompts] == [True] * 3
    assert found.facts["shots"] == [["Question: Capital of Norway?\nAnswer:", "Oslo"]]
    # Without rows of their own they are taken from those asked, which are asked no more.
    for seed in (0, 1):
        found = run(tmp_path, CAPITALS + f"few_shot: {{count: 2, seed: {seed}}}\n", Scripted())
        solved = {shot[0] for shot in found.facts["shots"]}
        assert len(found.items) == 1
        assert not solved & {row["prompt"] for row in found.rows()}
    with pytest.raises(ConfigError, match=r"line 9: few_shot asks for 3 solved examples"):
        run(tmp_path, CAPITALS + "few_shot: {count: 3}\n", Scripted())


def test_a_conversation_goes_through_the_chat_template(tmp_path: Path) -> None:
    text = CAPITALS + "chat: true\nsystem: Be brief.\nfew_shot: {count: 1, where: {split: train}}\n"
    engine = Scripted(chat=True)
    run(tmp_path, text, engine)
    assert engine.prompts[0] == (
        "<system>Be brief.<user>Question: Capital of Norway?\nAnswer:<assistant>Oslo"
        "<user>Question: Capital of France?\nAnswer:<assistant>"
    )
    with pytest.raises(ModelError, match="capitals needs a model with a chat template"):
        run(tmp_path, text, Scripted())


CHOICE = """\
name: choice
data: rows.jsonl
kind: choice
prompt: "Capital of {{ country }}?"
choices: ["{{ capital }}", "Timbuktu", "X"]
target: capital
"""


def test_choices_are_compared_by_likelihood(tmp_path: Path) -> None:
    nats = {" Paris": 4.0, " Berlin": 9.0, " Rome": 3.0, " Oslo": 5.0, " Timbuktu": 8.0, " X": 5.0}
    found = run(tmp_path, CHOICE, Scripted(nats=lambda prompt, text: nats[text]))
    assert found.figures["accuracy"].value == 0.5  # a tie is not right
    # Nats for each character: Paris .8, Berlin 1.5, Rome .75, Oslo 1.25, Timbuktu 1.
    assert found.figures["accuracy_by_length"].value == 0.5
    assert found.figures["chance"].value == pytest.approx(1 / 3)
    assert [item.scores["margin"] for item in found.items] == [1.0, -4.0, 2.0, 0.0]
    assert found.items[1].detail["answer"] == "X"
    letters = CHOICE.replace("target: capital", "target: '{{ \"A\" }}'")
    assert run(tmp_path, letters, Scripted(nats=lambda prompt, text: nats[text])).figures[
        "accuracy"
    ].value == pytest.approx(0.5)


def test_likelihood_needs_no_prompt(tmp_path: Path) -> None:
    text = "name: words\ndata: rows.jsonl\nkind: likelihood\ntarget: capital\n"
    found = run(tmp_path, text, Scripted(nats=lambda prompt, text: 2.0))
    letters = len("ParisBerlinRomeOslo")
    assert found.figures["bits_per_byte"].value == pytest.approx(8 / math.log(2) / letters)
    assert found.figures["perplexity"].value == pytest.approx(math.exp(8 / letters))


def test_answers_that_are_never_in_the_format_are_counted_and_said(tmp_path: Path) -> None:
    text = CAPITALS + "format: number\nanswer_after: '#'\n"
    engine = Scripted(lambda prompt: "forty-two")
    assert run(tmp_path, text, engine).figures["in_format"].value == 0
    found = run_of(engine)
    _, make = declared_task(tmp_path / "task.yaml")
    result = run_task(make, found)
    assert result.figures["exact_match"].value == 0
    assert result.failed == []
    (said,) = found.progress.warnings  # type: ignore[attr-defined]
    assert "none of 3 answers is in the format 'number' after '#'" in said
    assert "'forty-two'" in said


def test_a_row_that_cannot_be_asked_is_named_and_in_no_figure(tmp_path: Path) -> None:
    rows = [
        *ROWS[:2],
        {"id": "x", "country": None, "capital": "?", "split": "test", "names": ["?"]},
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    (tmp_path / "task.yaml").write_text(CAPITALS, encoding="utf-8")
    _, make = declared_task(tmp_path / "task.yaml")
    result = run_task(make, run_of(Scripted(lambda prompt: "Paris")))
    assert {item.id: item.error for item in result.failed} == {
        "x": "the row has no value for country, which prompt needs"
    }
    assert result.figures["exact_match"].items == 2


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".json"])
def test_rows_of_all_formats_are_the_same_task(suffix: str, tmp_path: Path) -> None:
    plain = [{k: v for k, v in row.items() if k != "names"} for row in ROWS]
    file = tmp_path / f"other{suffix}"
    if suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(plain), file)
    elif suffix == ".json":
        file.write_text(json.dumps(plain), encoding="utf-8")
    else:
        mark = "," if suffix == ".csv" else "\t"
        lines = [plain[0].keys(), *(row.values() for row in plain)]
        file.write_text("\n".join(mark.join(line) for line in lines), encoding="utf-8")
    text = CAPITALS.replace("rows.jsonl", file.name).replace("names", "capital")
    found = run(tmp_path, text, Scripted(lambda prompt: " Paris"))
    assert found.figures["exact_match"].value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("change", "to", "said"),
    [
        ("name: capitals\n", "", r"task.yaml, line 1: name is missing; expected a name"),
        ("name: capitals", "name: a b", r"line 1: name must be up to 64 letters.*Got 'a b'"),
        ("data: rows.jsonl\n", "", r"data is missing"),
        ("data: rows.jsonl", "data: none.jsonl", r"none.jsonl: expected a file of rows"),
        ("data: rows.jsonl", "data: rows.xml", r"expected a file that ends in .jsonl"),
        ("stop:", "stpo:", r"task.yaml, line 8: unknown setting 'stpo'; did you mean 'stop'"),
        ("target: names", "target: nmes", r"line 7: target must be a column \(id, country"),
        ("target: names", "target: '{{ nmes }}'", r"line 7: target names the column 'nmes'"),
        ("{{ country }}", "{{ contry }}", r"line 5: prompt names the column 'contry', but"),
        ("{{ country }}", "{{ country }", r"line 5: prompt is no template \(line 5\)"),
        ("Answer:", "{% if %}", r"prompt is no template \(line 6\)"),
        ("split: test", "split: tset", r"line 2: data: there is no row to ask"),
        ("split: test", "spilt: test", r"line 3: where names the column 'spilt', but there is"),
        ('stop: ["\\n"]', "stop: yes", r"line 8: stop must be a list. Got True"),
        ("name: capitals", "name: capitals\nname: b", r"line 2: name stands here for the second"),
        ("name: capitals", "name: [", r"line \d+: not valid YAML"),
        ("name: capitals", "name: &a capitals", r"line 1: not valid YAML: anchors and aliases"),
        ("name: capitals", "name: !!python/name:os.system x", r"expected no tag"),
        ("name: capitals", "max_tokens: " + "9" * 5000, r"line 1: not valid.*a number"),
        ("name: capitals", "kind: chioce\nname: c", r"line 1: kind must be one of generate, ch"),
        ("name: capitals", "kind: choice\nname: c", r"choices is missing"),
        ("name: capitals", "metrics: [accuracy]\nname: c", r"line 1: metrics of a task of kind "),
        ("name: capitals", "format: choice\nname: c", r"line 1: format is choice, so expected ch"),
        ("name: capitals", "id: nr\nname: c", r"line 1: id names no column"),
        ("name: capitals", "max_tokens: 0\nname: c", r"line 1: max_tokens must be at least 1"),
        ("name: capitals", "sampling: {top_k: -3}\nname: c", r"line 1: sampling: top_k must be 0"),
        ("target: names", "target: [names]", r"line 7: target is a list of templates; for the col"),
        ("name: capitals", "sampling: {temperature: hot}\nname: c", r"line 1: sampling: temperat"),
        ("name: capitals", "sampling:\n  max_tokens: 3\nname: c", r"line 2: max_tokens is a sett"),
        ("name: capitals", "few_shot:\n  count: 1\n  sed: 3\nname: c", r"line 3: few_shot: unknow"),
        (CAPITALS, "- a", r"line 1: expected settings"),
        (CAPITALS, "", r"name is missing"),
        (CAPITALS, "a: " + "[" * 3000, r"line 1: not valid YAML: it nests too"),
        (CAPITALS, CHOICE + "stop: [x]", r"line 7: stop has no meaning in a task of kind choice"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_before_anything_runs(
    change: str, to: str, said: str, tmp_path: Path
) -> None:
    assert change in CAPITALS
    engine = Scripted()
    with pytest.raises(LinnetError, match=said) as caught:
        run(tmp_path, CAPITALS.replace(change, to, 1), engine)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert engine.prompts == []


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": ', r"a.jsonl, line 2: not valid JSON"),
        ("a.jsonl", "[1]", r"line 1: expected a JSON object"),
        ("a.json", '{"a": 1}', r"expected a list of JSON objects"),
        ("a.json", '{"a": 1}\n{"a": ', r"a.json, line 2: not valid JSON"),
        ("a.csv", "a,b\n1,2,3", r"a.csv, line 2: expected 2 cells, as in line 1. Got 3"),
        ("a.csv", "a,a\n1,2", r"line 1: expected names that differ"),
        ("a.parquet", "no", r"not valid Parquet"),
    ],
)
def test_a_damaged_file_of_rows_is_named_with_its_line(
    name: str, content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        run(tmp_path, CAPITALS.replace("rows.jsonl", name), Scripted())


def test_the_example_of_the_documentation_runs_as_it_stands(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf-8")
    for name, text in re.findall(r"^`(capitals\.\w+)`\n\n```\w+\n(.*?)^```$", page, re.M | re.S):
        (tmp_path / name).write_text(text, encoding="utf-8")
    declaration, make = declared_task(tmp_path / "capitals.yaml")
    engine = Scripted(lambda prompt: " Paris\n" if "France" in prompt else " Milan")
    result = run_task(make, run_of(engine))
    assert result.figures["exact_match"].value == 0.5
    assert "What is the capital of Norway?\nAnswer: Oslo\n\n" in engine.prompts[0]
    settings = {field.name for field in fields(declaration)} - {"file", "lines"}
    table = page.split("| setting | meaning |")[1].split("\n\n")[0]
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.M))))
    assert told == settings
