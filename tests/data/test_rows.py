"""JSON, JSON lines and CSV, against the standard library."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from linnet.data import decoding, records
from linnet.data.config import DataConfig
from linnet.data.document import Dropped, UnreadableError
from linnet.data.extract import rows

CONFIG = DataConfig()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@example(rows=[0.5, -1e-05, 12], chunk=1, indent=None)
@given(rows=st.lists(VALUES, max_size=8), chunk=st.integers(1, 40), indent=st.none() | st.just(1))
@settings(max_examples=80, deadline=None)
def test_arrays_are_streamed_as_the_standard_library_reads_them(
    tmp_path_factory: pytest.TempPathFactory, rows: list, chunk: int, indent: int | None
) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(rows, indent=indent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "CHUNK", chunk)
        assert list(records.read_json(path, limit=10**6)) == rows


def test_values_one_after_another_and_wrapped_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}\n{"a": 2} 3')
    assert list(records.read_json(path, limit=1000)) == [{"a": 1}, {"a": 2}, 3]
    path.write_text('{"version": 1, "data": [{"a": 1}, {"a": 2}]}')
    assert list(records.read_json(path, limit=1000)) == [{"a": 1}, {"a": 2}]
    changes = Counter[str]()
    list(records.read_json(path, limit=1000, changes=changes))
    assert changes == {"values beside the rows": 1}


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"a"', "[1 2]", "{'a': 1}", "[" * 100_000, f"[{'9' * 5000}]"]
)
def test_broken_json_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(UnreadableError, match="not valid JSON"):
        list(records.read_json(path, limit=10**6))


def test_numbers_are_those_of_the_standard_library(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(f"[NaN, 1e400, 0.1, {10**30}]")
    first, *others = records.read_json(path, limit=1000)
    assert first != first
    assert others == [float("inf"), 0.1, 10**30]


def test_one_value_that_is_too_long_is_refused_early(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('["' + "x" * 20_000_000 + '"]')
    with pytest.raises(UnreadableError, match="max_document_bytes"):
        list(records.read_json(path, limit=10_000))


def test_a_bad_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "one"}\nnot json\n\n{"text": "' + "x" * 5000 + '"}\n{"text": "two"}')
    rows = list(records.read_json_lines(path, limit=1000))
    assert [row for row in rows if not isinstance(row, Dropped)] == [
        {"text": "one"},
        {"text": "two"},
    ]
    assert sum(isinstance(row, Dropped) for row in rows) == 2


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_csv_is_read_as_the_standard_library_wrote_it(tmp_path: Path, delimiter: str) -> None:
    rows = [
        {"name": 'with "quotes"', "note": "a, b; c | d"},
        {"name": "lines", "note": "one\ntwo"},
        {"name": "ünïcode", "note": "x"},
    ]
    path = tmp_path / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["name", "note"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    if delimiter == "\t":
        path = path.rename(tmp_path / "a.tsv")
    assert list(records.read_csv(path, limit=10_000)) == rows


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "sep=;;;"])
def test_a_first_line_for_excel_names_the_delimiter(tmp_path: Path, first: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"\ufeff{first}\r\nArticle;Price\r\nM4, long;1,20\r\n", "utf-8", newline="")
    found = list(records.read_csv(path, limit=10**6))
    assert found == [{"Article": "M4, long", "Price": "1,20"}]


def test_the_text_of_a_row() -> None:
    assert rows.row_text({"id": 1, "Text": "body", "n": 2}, CONFIG) == "body"
    chosen = DataConfig(text_columns=("q", "a"))
    assert rows.row_text({"q": "Why?", "a": "So.", "x": 1}, chosen) == "Why?\n\nSo."
    row = {"id": 7, "url": "http://a", "name": "Ann", "tags": ["x", "y"], "of": {"k": None, "l": 2}}
    assert rows.row_text(row, CONFIG) == "name: Ann\ntags: x, y\nof:\n  l: 2"
    assert rows.row_text("just text", CONFIG) == "just text"


def test_the_group_of_a_row() -> None:
    assert rows.row_group({"id": 7}, CONFIG) == "7"
    assert rows.row_group({"id": "\ud800"}, CONFIG) == "\ufffd"
    assert rows.row_group({"id": None}, CONFIG) is None
    assert rows.row_group("text", CONFIG) is None


def test_a_chat_with_a_picture_and_a_call_is_a_conversation() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    call = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "a ladder"},
        {"role": "assistant", "content": "A ladder."},
    ]
    assert rows.row_text({"messages": messages}, CONFIG) == (
        "user: What is it?\n[image]\n\nassistant: look({})\n\ntool: a ladder\n\n"
        "assistant: A ladder."
    )


def test_no_part_of_a_conversation_is_lost() -> None:
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {"where": "shed"}}
    messages = [
        {"role": "user", "content": ["What is", {"type": "text", "text": "in it?"}]},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "I must look."}, use]},
    ]
    assert rows.row_text({"system": "Be brief.", "messages": messages}, CONFIG) == (
        "system: Be brief.\n\nuser: What is\nin it?\n\n"
        "assistant: thinking: I must look.\nname: look\ninput:\n  where: shed"
    )
