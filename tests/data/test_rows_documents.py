"""Rows to documents: which columns, tables as a whole, chats, templates, Parquet."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from linnet.data.config import DataConfig
from linnet.data.document import Extracted, UnreadableError
from linnet.data.extract import Context, extract, rows

CONFIG = DataConfig()


def read(path: Path, **settings: Any) -> list[Extracted]:
    context = Context.of_file(DataConfig(**settings), path.name, path.parent)
    kind = {".csv": "csv", ".jsonl": "jsonl", ".json": "json", ".parquet": "parquet"}[path.suffix]
    found = list(extract(path, kind=kind, context=context))
    assert all(isinstance(one, Extracted) for one in found)
    return found  # type: ignore[return-value]


def as_csv(path: Path, table: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)
    return path


def test_a_table_is_a_document_and_a_long_one_several_under_the_same_header(tmp_path: Path) -> None:
    short = as_csv(
        tmp_path / "a.csv", [["Team", "", "Cups"], ["Blues", "", "1"], ["Leafs", "", "13"]]
    )
    (document,) = read(short)
    assert document.text == "Team | Cups\nBlues | 1\nLeafs | 13"
    assert (document.family, document.part, document.group) == ("table", "", "a.csv")

    lines = [["n", "square"], *([str(n), str(n * n)] for n in range(1000))]
    documents = read(as_csv(tmp_path / "b.csv", lines))
    assert all(one.text.startswith("n | square\n") for one in documents)
    body = [line.split(" | ") for one in documents for line in one.text.split("\n")[1:]]
    assert body == lines[1:]
    assert [one.part for one in documents] == ["#1", "#2", "#3", "#4", "#5"]


def test_rows_of_written_text_are_documents(tmp_path: Path) -> None:
    text = "The pump must be checked every week. "
    by_name = [["id", "body"], *([str(n), f"{text} Number {n}."] for n in range(3))]
    documents = read(as_csv(tmp_path / "a.csv", by_name))
    assert [one.text for one in documents] == [row[1] for row in by_name[1:]]
    assert [(one.family, one.group) for one in documents] == [("prose", str(n)) for n in range(3)]
    by_length = [["ticket", "what happened"], ["7", text * 4]]
    (document,) = read(as_csv(tmp_path / "b.csv", by_length))
    assert document.text == f"ticket: 7\nwhat happened: {(text * 4).strip()}"


def test_a_file_of_one_column_is_not_cut_at_its_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('name\nBaker\nSmith, Ann\n"Jones\n\nJohn"\nCook\nMiller\n')
    assert read(path)[0].text == "name\nBaker\nSmith, Ann\nJones John\nCook\nMiller"


def test_templates_hold_columns_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"title": "Ferns", "body": "They grow.", "a.b": 3}\n{"title": "Moss"}\n')
    template = "{title}: {body} {{x}} {a.b}"
    assert [one.text for one in read(path, template=template)] == [
        "Ferns: They grow. {x} 3",
        "Moss:  {x} ",
    ]
    with pytest.raises(UnreadableError) as caught:
        read(path, template="{titel}")
    assert caught.value.detail == "'titel' is none of title, body, a.b"
    for template in ("{title!r}", "{title:>999999999}", "{title", "{title.__class__}"):
        with pytest.raises(UnreadableError, match="template"):
            read(path, template=template)


def test_conversations_and_lessons_are_read_in_order() -> None:
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    assert (
        rows.row_text({"messages": turns, "label": True}, CONFIG) == "user: Why?\n\nassistant: So."
    )
    assert rows.row_text(turns, CONFIG) == "user: Why?\n\nassistant: So."
    pair = {
        "conversations": [{"from": "human", "value": "Why?"}],
        "chosen": {"from": "gpt", "value": "So."},
        "rejected": {"from": "gpt", "value": "No."},
    }
    assert rows.row_text(pair, CONFIG) == "human: Why?\n\ngpt: So."
    parts = [{"type": "image"}, {"type": "text", "text": "What is this?"}]
    assert rows.row_text({"messages": [{"role": "user", "content": parts}]}, CONFIG).endswith(
        "What is this?"
    )
    lesson = {"output": "Hola", "instruction": "Translate.", "input": "Hello", "n": 1}
    assert rows.row_text(lesson, CONFIG) == "Translate.\n\nHello\n\nHola"
    assert rows.row_text({"answer": "4", "question": "2+2?"}, CONFIG) == "2+2?\n\n4"


def test_one_object_of_turns_is_one_document(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    path.write_text(json.dumps({"title": "A chat", "messages": turns}))
    assert [one.text for one in read(path)] == ["user: Why?\n\nassistant: So."]


def test_values_within_values_are_indented_however_deep() -> None:
    value: Any = "end"
    for level in range(200):
        value = {f"l{level}": value} if level % 2 else [value, {"x": level}]
    text = rows.row_text(
        {"deep": value, "list": [{"a": 1, "b": [1, 2]}, {"a": {"c": None}}]}, CONFIG
    )
    assert "end" in text
    assert len(text) < 10_000
    assert text.endswith("list:\n  - a: 1\n    b: 1, 2")


def test_parquet_rows_are_those_that_were_written(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table(
        {
            "url": ["http://a/1", "http://a/2"],
            "day": [datetime.date(2024, 5, 1), None],
            "of": [{"name": "Ann", "tags": ["x", "y"]}, {"name": "Bo", "tags": []}],
            "image": [b"\x89PNG", b"\x00"],
        }
    )
    parquet.write_table(table, path)
    documents = read(path)
    assert [one.text for one in documents] == [
        "day: 2024-05-01\nof:\n  name: Ann\n  tags: x, y",
        "of:\n  name: Bo",
    ]
    assert [one.group for one in documents] == ["http://a/1", "http://a/2"]
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UnreadableError, match="damaged parquet"):
        read(path)


def test_parquet_that_never_ends_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table({"text": ["x" * 1000] * 20_000}), path)
    with pytest.raises(UnreadableError, match="max_expanded_bytes"):
        read(path, max_expanded_bytes=1_000_000)


def test_real_instruction_data(test_data: Path, tmp_path: Path) -> None:
    for name in ("alpaca_en_demo", "dpo_en_demo", "kto_en_demo"):
        path = test_data / "instructions" / f"{name}.json"
        source = json.loads(path.read_text("utf-8"))
        documents = read(path)
        assert len(documents) == len(source)
        said = source[-1].get("output") or source[-1].get("chosen", {}).get("value")
        said = said or source[-1]["messages"][-1]["content"]
        assert documents[-1].text.endswith(said.strip())
