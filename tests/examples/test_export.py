"""Exports, read again by the published rules of each format."""

import collections
import csv
import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import few_examples
import pyarrow.json
import pytest
from typer.testing import CliRunner

from linnet.cli.examples import app
from linnet.data import kept_texts
from linnet.errors import ArtifactError, ConfigError, DataError, OutputError
from linnet.examples import Example, Quote, Turn
from linnet.examples.decisions import decisions_file
from linnet.examples.export import export_examples
from linnet.examples.prompts import REFUSALS
from linnet.examples.review import Review


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def with_splits(examples: list[Example]) -> list[Example]:
    """A few of each split, whatever the corpus says."""
    splits = ["train"] * 8 + ["validation"] * 4 + ["test"] * 4
    return [replace(e, split=s) for e, s in zip(examples, splits, strict=True)]  # type: ignore


@pytest.fixture
def divided(place: Path, trees: Path, tree_examples: list[Example]) -> list[Example]:
    """Examples of all splits at ``place``; with a conversation, and one off topic."""
    examples = with_splits(tree_examples)
    question = examples[0]
    examples.append(replace(question, id="0a", kind="follow_up", turns=(Turn("Hi?", "Hello."),)))
    examples.append(
        Example("0b", "off_topic", "Who won?", "", None, None, None, None, "train", language="fr")
    )
    assert question.quote is not None
    assert question.start is not None
    assert question.end is not None
    quotes = (Quote(question.quote, question.start, question.end),)
    examples.append(replace(question, id="0c", kind="multi_part", answer="Two.", quotes=quotes))
    few_examples.write(place, examples, trees)
    return examples


def test_messages(place: Path, divided: list[Example], tmp_path: Path) -> None:
    exported = export_examples(place, tmp_path / "out", format="messages")
    assert exported.files == {"train.jsonl": 11, "validation.jsonl": 4, "test.jsonl": 4}
    rows = lines(tmp_path / "out" / "train.jsonl")
    by_id = {row["id"]: row["messages"] for row in rows}
    assert by_id[divided[0].id] == [
        {"role": "user", "content": divided[0].question},
        {"role": "assistant", "content": divided[0].answer},
    ]
    assert [turn["role"] for turn in by_id["0a"]] == ["user", "assistant"] * 2
    assert by_id["0b"][-1]["content"] == REFUSALS["fr"]
    assert by_id[divided[1].id][-1]["content"] == REFUSALS["de"]
    # As `datasets` reads it: one type for each column.
    table = pyarrow.json.read_json(tmp_path / "out" / "train.jsonl")
    assert str(table.schema.field("messages").type).startswith("list<item: struct<role: string")


def test_prompt_and_completion_open_book(
    place: Path, trees: Path, divided: list[Example], tmp_path: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    exported = export_examples(place, file, format="prompt-completion", book="open")
    assert exported.files == {"rows.jsonl": 11}  # a file holds what is to be trained on
    rows = {row["id"]: row for row in lines(file)}
    texts = {kept.source: kept.text for kept in kept_texts(trees)}
    question, refused = divided[0], divided[1]
    row = rows[question.id]
    assert row["completion"] == question.answer
    passage = row["prompt"].removesuffix(f"\n\n{question.question}\n")
    assert question.quote in passage  # type: ignore[operator]
    assert passage in texts[question.source]  # type: ignore[index]
    # What was taken out is not in the context; what is there is of the same document.
    start, end = refused.passage  # type: ignore[misc]
    passage = rows[refused.id]["prompt"].removesuffix(f"\n\n{refused.question}\n")
    assert passage in texts[refused.source]  # type: ignore[index]
    assert texts[refused.source][start:end] not in passage  # type: ignore[index]
    assert len(passage) > 200
    lent = rows["0b"]["prompt"].removesuffix("\n\nWho won?\n")  # off topic: another's passage
    assert any(lent in text for text in texts.values())


# The functions of the official evaluation script for SQuAD 2.0 that read its data.


def normalize_answer(text: str) -> str:
    text = "".join(ch for ch in text.lower() if ch not in set(string.punctuation))
    return " ".join(word for word in text.split() if word not in ("a", "an", "the"))


def make_qid_to_has_ans(dataset: Any) -> dict[str, bool]:
    return {
        qa["id"]: bool(qa["answers"])
        for article in dataset
        for paragraph in article["paragraphs"]
        for qa in paragraph["qas"]
    }


def test_squad(place: Path, divided: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "squad"
    exported = export_examples(place, out, format="squad")
    assert exported.files == {"train.json": 9, "dev.json": 4, "test.json": 4}
    assert exported.left_out == {
        "it goes on with a conversation": 1, "its answer is no stretch of the text": 1,
    }  # fmt: skip
    expected = {example.id: example for example in divided}
    seen = {}
    for file in out.iterdir():
        whole = json.loads(file.read_text("utf-8"))
        assert whole["version"] == "v2.0"
        seen |= make_qid_to_has_ans(whole["data"])
        for article in whole["data"]:
            assert article.keys() == {"title", "paragraphs"}
            for paragraph in article["paragraphs"]:
                for qa in paragraph["qas"]:
                    assert qa["is_impossible"] == (not qa["answers"])
                    for answer in qa["answers"]:
                        start = answer["answer_start"]
                        text = paragraph["context"][start : start + len(answer["text"])]
                        assert text == answer["text"]
                        assert normalize_answer(text)
                        assert text == expected[qa["id"]].answer
    left_out = {"0a", "0c"}
    assert seen == {id_: e.answerable for id_, e in expected.items() if id_ not in left_out}


def load_beir(folder: Path, split: str) -> tuple[Any, Any, Any]:
    """As beir's GenericDataLoader does it."""
    corpus = {row["_id"]: row for row in lines(folder / "corpus.jsonl")}
    queries = {row["_id"]: row["text"] for row in lines(folder / "queries.jsonl")}
    qrels: dict[str, dict[str, int]] = collections.defaultdict(dict)
    with (folder / "qrels" / f"{split}.tsv").open(encoding="utf-8") as file:
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_MINIMAL)
        next(reader)
        for query, document, score in reader:
            qrels[query][document] = int(score)
    return corpus, {query: queries[query] for query in qrels}, qrels


def test_beir(place: Path, trees: Path, divided: list[Example], tmp_path: Path) -> None:
    out = tmp_path / "beir"
    exported = export_examples(place, out, format="beir")
    expected = {example.id: example for example in divided}
    count = 0
    for split in ("train", "dev", "test"):
        corpus, queries, qrels = load_beir(out, split)
        count += len(queries)
        for query, relevant in qrels.items():
            assert queries[query] == expected[query].question
            assert relevant
            assert any(expected[query].quote in corpus[one]["text"] for one in relevant)  # type: ignore
    assert exported.files == {"queries.jsonl": count} == {"queries.jsonl": 9}
    assert exported.left_out["no passage answers it"] == 9
    texts = {kept.source: kept.text for kept in kept_texts(trees)}
    assert set(texts) == {row["metadata"]["source"] for row in corpus.values()}
    for row in corpus.values():
        where = row["metadata"]
        assert texts[where["source"]][where["start"] : where["end"]] == row["text"]
    export_examples(place, out, format="beir", split="train")  # over an earlier one
    assert [file.name for file in (out / "qrels").iterdir()] == ["train.tsv"]


def test_decisions_are_exported(place: Path, divided: list[Example], tmp_path: Path) -> None:
    review = Review(place)
    me = review.sitting("me")
    review.decide(me, divided[0].id, "mended", question="Mended?")
    review.decide(me, divided[2].id, "rejected")
    export_examples(place, tmp_path / "squad", format="squad", split="train")
    text = (tmp_path / "squad" / "train.json").read_text("utf-8")
    assert "Mended?" in text
    assert divided[2].id not in text


def test_nothing_that_linnet_made_is_written_over(place: Path, divided: list[Example]) -> None:
    kept = (place / "examples.jsonl").read_bytes()
    for out in (place / "examples.jsonl", place / "x.jsonl", decisions_file(place)):
        with pytest.raises(OutputError, match="what Linnet made; choose another"):
            export_examples(place, out, format="messages")
    assert (place / "examples.jsonl").read_bytes() == kept
    with pytest.raises(ConfigError, match="--book open is for messages and prompt-completion"):
        export_examples(place, place.parent / "x", format="beir", book="open")


def test_wrong_input(place: Path, divided: list[Example], trees: Path, tmp_path: Path) -> None:
    (tmp_path / "alone.jsonl").write_bytes((place / "examples.jsonl").read_bytes())
    with pytest.raises(ArtifactError, match="name it with --corpus"):
        export_examples(tmp_path / "alone.jsonl", tmp_path / "x.json", format="squad")
    export_examples(tmp_path / "alone.jsonl", tmp_path / "x.json", format="squad", corpus=trees)
    follow_ups = [example for example in divided if example.turns]
    few_examples.write(place, follow_ups, trees)
    with pytest.raises(DataError, match="1: it goes on with a conversation"):
        export_examples(place, tmp_path / "y.json", format="squad")
    with pytest.raises(DataError, match="none in split test"):
        export_examples(place, tmp_path / "y", format="messages", split="test")
    moved = [replace(example, start=example.start + 1, end=example.end + 1)  # type: ignore[operator]
             for example in divided if example.kind == "question"]  # fmt: skip
    few_examples.write(place, moved, trees)
    with pytest.raises(DataError, match="not in the corpus as it was"):
        export_examples(place, tmp_path / "z.json", format="squad")
    for option, value in (("--format", "parquet"), ("--split", "dev"), ("--book", "ajar")):
        options = {"--format": "squad", "--out": str(tmp_path / "w")} | {option: value}
        flat = [word for pair in options.items() for word in pair]
        result = CliRunner().invoke(app, ["export", str(place), *flat])
        assert f"{option} is one of" in str(result.exception)
