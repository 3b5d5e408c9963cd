"""Rows of training data: the forms they have, and errors that name file and line."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from linnet.data import records
from linnet.data.json_stream import JsonError, JsonStream
from linnet.errors import DataError
from linnet.finetune import rows
from linnet.finetune.row_schema import ChatRow, PromptRow, Row, TextRow
from linnet.finetune.rows import open_source, read_rows

HI = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}


def lines(place: Path, *values: Any, name: str = "rows.jsonl") -> Path:
    file = place / name
    file.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return file


def read(file: Path, **columns: str) -> list[Row]:
    return list(read_rows(file, columns=columns))


def one(place: Path, value: Any, **columns: str) -> Row:
    return read(lines(place, value), **columns)[0]


def error_of(place: Path, value: Any, **columns: str) -> str:
    with pytest.raises(DataError) as caught:
        one(place, value, **columns)
    message = str(caught.value)
    assert "\n" not in message
    start = f"{place / 'rows.jsonl'}:1: "
    assert message.startswith(start)
    return message.removeprefix(start)


def test_forms_are_told_row_by_row(tmp_path: Path) -> None:
    given = lines(
        tmp_path,
        {"messages": HI, "id": 7},
        {"prompt": "Q", "completion": "A"},
        {"text": "a document", "meta": {"any": "thing"}},
        {"instruction": "Sort", "input": "b a", "output": "a b"},
        {"question": "Why?", "answer": "Because."},
    )
    source = [f"{given}:{number}" for number in range(1, 6)]
    assert read(given) == [
        ChatRow(source[0], tuple(HI), (True,)),
        PromptRow(source[1], "Q", "A"),
        TextRow(source[2], "a document"),
        PromptRow(source[3], "Sort\n\nb a", "a b", "\n\n"),
        PromptRow(source[4], "Why?", "Because.", "\n\n"),
    ]


def test_alpaca_with_a_system_prompt_and_history(tmp_path: Path) -> None:
    row = one(tmp_path, {
        "instruction": "And now?", "input": "", "output": "Now too.", "system": "Be brief.",
        "history": [["Before?", "Yes."]],
    })  # fmt: skip
    assert isinstance(row, PromptRow)
    assert row.as_text() == "Be brief.\n\nBefore?\n\nYes.\n\nAnd now?\n\n"
    assert row.as_chat() == ChatRow(row.source, (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Before?"}, {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Now too."},
    ), (True, True))  # fmt: skip
    assert row.key == "Before?"


def test_sharegpt_with_tools(tmp_path: Path) -> None:
    row = one(tmp_path, {
        "system": "You add.",
        "tools": json.dumps([{"name": "add"}]),
        "conversations": [
            {"from": "human", "value": "1+1?"},
            {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
            {"from": "observation", "value": "2"},
            {"from": "gpt", "value": "Two."},
            {"from": "human", "value": "Thanks"},
        ],
    })  # fmt: skip
    assert isinstance(row, ChatRow)
    assert [m["role"] for m in row.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert row.messages[2]["tool_calls"] == [CALL]
    assert row.tools == ({"name": "add"},)
    assert row.trained_turns == (True, True)


def test_calls_are_read_from_text_as_openai_writes_them(tmp_path: Path) -> None:
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    row = one(tmp_path, {"messages": [
        HI[0], {"role": "assistant", "content": None, "tool_calls": [call]},
    ]})  # fmt: skip
    assert isinstance(row, ChatRow)
    assert row.messages[1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": "1", **CALL}],
    }


def test_only_the_completion_of_message_lists_is_trained_and_weights_are_heeded(
    tmp_path: Path,
) -> None:
    listed = one(tmp_path, {"prompt": [*HI, HI[0]], "completion": [HI[1]]})
    assert isinstance(listed, ChatRow)
    assert listed.trained_turns == (False, True)
    weighed = [HI[0], {**HI[1], "weight": 0}, HI[0], {**HI[1], "weight": 1}]
    row = one(tmp_path, {"messages": [*weighed, HI[0], {**HI[1], "weight": 0}]})
    assert isinstance(row, ChatRow)
    assert row.trained_turns == (False, True)
    assert row.messages == (*HI, *HI)  # nothing is predicted from what comes after


@pytest.mark.parametrize("name", ["weight", "loss", "train", "training"])
@pytest.mark.parametrize(("no", "yes"), [(0, 1), (False, True), (0.0, None)])
def test_turns_flagged_by_any_name_are_not_trained(
    tmp_path: Path, name: str, no: Any, yes: Any
) -> None:
    sharegpt = [
        {"from": "human", name: None, "value": "Go"},
        {"from": "gpt", name: no, "value": "No"},
        {"from": "human", name: True, "value": "Start"},
        {"from": "gpt", name: yes, "value": "Yes"},
    ]
    row = one(tmp_path, {"conversations": sharegpt})
    assert isinstance(row, ChatRow)
    assert row.trained_turns == (False, True)
    assert row.unheeded_flags == 1
    assert row.messages[1] == {"role": "assistant", "content": "No"}
    turns = [HI[0], {**HI[1], name: no}, HI[0], {**HI[1], name: yes}]
    row = one(tmp_path, {"messages": turns})
    assert isinstance(row, ChatRow)
    assert (row.trained_turns, row.unheeded_flags) == ((False, True), 0)


def test_text_in_parts_is_left_to_the_chat_template(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "He"}, {"type": "text", "text": "llo"}]
    row = one(tmp_path, {"messages": [{**HI[0], "content": parts}, HI[1]]})
    assert isinstance(row, ChatRow)
    assert row.messages[0]["content"] == parts
    assert row.key == "He\nllo"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"messages": [{"role": "usr", "content": "x"}]},
         "message 1 has the unknown role 'usr'; did you mean 'user'?"),
        ({"conversations": [{"from": "robot", "value": "x"}]},
         "message 1 has the unknown role 'robot'; known: human, user, gpt"),
        ({"messages": [HI[0]]}, "no turn of the assistant"),
        ({"messages": []}, "'messages' is empty"),
        ({"messages": [HI[0], {**HI[1], "weight": 0}]}, "weight 0"),
        ({"messages": [HI[0], {**HI[1], "weight": 0.5}]},
         "weight must be 0, 1, true or false. Got 0.5"),
        ({"messages": [HI[0], {"role": "assistant", "content": " "}]}, "turn is empty"),
        ({"messages": [HI[0], {"role": "assistant", "contents": "a"}]},
         "message 2 (assistant) has no 'content'; is it 'contents'?"),
        ({"messages": ["Hi"]}, "message 1 must be an object with role and content. Got text"),
        ({"messages": [HI[0], {"role": "assistant", "content": 5}]}, "must be text. Got int"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}, HI[1]]},
         "message 1: expected parts of text. Got one of type 'image', which a model of text"),
        ({"messages": [{"role": "user", "content": "<image> What?"}, HI[1]], "images": ["a.png"]},
         "it has 'images', and text that stands for them"),
        ({"messages": [HI[0], {**HI[1], "loss": "no"}]}, "loss must be 0, 1, true or false. "),
        ({"messages": [HI[0], {**HI[1], "weight": 1, "train": False}]},
         "a message has weight 1 and train False, which contradict each other"),
        ({"messages": "Hi"}, "'messages' must be JSON. Got 'Hi'"),
        ({"messages": [HI[0], {"role": "assistant", "tool_calls": [{"nme": "a"}]}]},
         "a tool call must have a function with a name"),
        ({"messages": HI, "tools": {"a": 1}}, "'tools' must be a list. Got an object"),
        ({"prompt": "Q", "completion": " \n"}, "the completion ('completion') is empty"),
        ({"instruction": "Q", "input": "", "output": ""}, "the completion ('output') is empty"),
        ({"prompt": "Q", "completions": "A"},
         "it has 'prompt' but no 'completion'; is it 'completions'?"),
        ({"output": "A", "promt": "Q"}, "it has 'output' but no 'prompt'; is it 'promt'?"),
        ({"prompt": None, "completion": "A"}, "it has 'completion' but no 'prompt'"),
        ({"prompt": "Q", "completion": ["A"]}, "'prompt' must be JSON"),
        ({"prompt": "Q", "completion": 1}, "'completion' must be text. Got int"),
        ({"instruction": "Q", "output": "A", "history": [["a"]]}, "pairs of prompt and completion"),
        ({"instruction": "Q", "output": "A", "history": [["a", ""]]}, "'history' is empty"),
        ({"txt": "a"}, "expected messages, prompt with completion, or text. Got 'txt'"),
        ({"mesages": HI}, "Got 'mesages'; did you mean 'messages'?"),
        ({}, "Got nothing"),
        (["a"], "expected an object with messages, prompt with completion, or text. Got a list"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_used_is_named(tmp_path: Path, row: Any, message: str) -> None:
    assert message in error_of(tmp_path, row)


def test_columns_by_other_names(tmp_path: Path) -> None:
    row = {"frage": "Q", "antwort": "A", "text": "left alone"}
    found = one(tmp_path, row, frage="prompt", antwort="completion")
    assert isinstance(found, PromptRow)
    assert (found.prompt, found.completion, found.between) == ("Q", "A", "")
    message = error_of(tmp_path, row, frge="prompt", antwort="completion")
    assert message == "it has no column 'frge'; is it 'frage'?"


def test_the_first_error_is_named_and_the_others_are_counted(tmp_path: Path) -> None:
    good, bad = {"text": "a"}, {"txt": "a"}
    file = lines(tmp_path, good, bad, good, bad, bad)
    with pytest.raises(DataError, match=r"rows\.jsonl:2: .*\(nor can 2 of the next rows be used\)"):
        read(file)


def test_json_lines_name_the_line_that_is_damaged(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\n{"text": "b"\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:3: not valid JSON"):
        read(file)
    file.write_bytes(b'{"text": "a"}\n{"text": "\xff"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2: not UTF-8 \(byte 0xff at place 11\)"):
        read(file)
    file.write_text("[" * 100_000)
    with pytest.raises(DataError, match=r"rows\.jsonl:1: not valid JSON: nested too deeply"):
        read(file)


@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_rows_of_an_array_are_known_by_the_line_they_start_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(rows, "_CHUNK", chunk)
    given = [{"text": f'é\n{n} \\ " ]}}', "n": -1.5e3, "more": [{"a": []}]} for n in range(5)]
    file = tmp_path / "rows.json"
    for indent, first, step in ((None, 1, 0), (2, 2, 9)):
        file.write_text(json.dumps(given, indent=indent, ensure_ascii=False), encoding="utf-8")
        found = read(file)
        assert [row.text for row in found] == [row["text"] for row in given]  # type: ignore[union-attr]
        text = file.read_text(encoding="utf-8").splitlines()
        for number, row in enumerate(found):
            line = int(row.source.rpartition(":")[2])
            assert line == first + number * step
            assert text[line - 1].strip().startswith(("{", "["))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n {"text": }]', r":2: not valid JSON: Expecting value, line 2"),
        ('[{"text": "a"}\n {"text": "b"}]', r":2: not valid JSON: expected ',' or '\]'. Got '{'"),
        ('[{"text": "a"},\n {"text": "b"', r":2: not valid JSON"),
        ('[{"text": "a"}', r":1: not valid JSON: expected ',' or '\]'. Got 'the end'"),
        ('[{"text": "a"}] x', "more follows the array"),
        ('{"text": "a"}\n{"text": "b"}', r"name the file \.jsonl"),
    ],
)
def test_a_damaged_array_names_the_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "rows.json"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        read(file)


def test_an_array_that_is_damaged_early_is_not_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_text('[{"text": oops},\n' + '{"text": "a"},\n' * 200_000)
    values = JsonStream(rows._chunks(file), limit=rows.LONGEST_ROW)
    values.peek()
    values.skip()
    with pytest.raises(JsonError) as caught:
        values.take()
    assert caught.value.line == 1
    assert len(values._text) <= rows._CHUNK


def test_a_byte_that_is_no_utf8_in_an_array(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_bytes(b'[{"text": "a"},\n{"text": "\xe9"}]')
    with pytest.raises(DataError, match=r"rows\.json:2: not UTF-8 \(byte 0xe9\)"):
        read(file)


@pytest.mark.parametrize(("name", "dialect"), [("a.csv", "excel"), ("a.tsv", "excel-tab")])
def test_tables_are_read_with_line_ends_inside_of_cells(
    tmp_path: Path, name: str, dialect: str
) -> None:
    file = tmp_path / name
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, dialect)
        writer.writerows([
            ["instruction", "input", "output", "history"],
            ['say "hi",\ttwice', "", "hi\nhi", ""],
            ["two", "b", "2", '[["a", "b"]]'],
        ])  # fmt: skip
    first, second = read(file)
    assert isinstance(first, PromptRow)
    assert isinstance(second, PromptRow)
    assert (first.prompt, first.completion) == ('say "hi",\ttwice', "hi\nhi")
    assert (first.source, second.source) == (f"{file}:2", f"{file}:4")
    assert second.history == (("a", "b"),)


@pytest.mark.parametrize(
    ("name", "before", "delimiter"),
    [
        ("a.csv", "", ";"),
        ("a.csv", "\ufeffsep=;\r\n", ";"),
        ("a.csv", "sep=|\n", "|"),
        ("a.csv", "", "\t"),
        ("a.tsv", "sep=,\n", ","),
    ],
)
def test_tables_are_divided_as_data_prepare_divides_them(
    tmp_path: Path, name: str, before: str, delimiter: str
) -> None:
    file = tmp_path / name
    cells = [("question", "answer"), ("What, is 1?", "It; is\n1"), ("Two?", "Two")]
    table = "".join(f'"{one}"{delimiter}"{two}"\r\n' for one, two in cells)
    file.write_bytes((before + table).encode("utf-8"))
    assert [(row.prompt, row.completion) for row in read(file)] == cells[1:]  # type: ignore[union-attr]
    first = 2 + bool(before)
    assert [row.source for row in read(file)] == [f"{file}:{first}", f"{file}:{first + 2}"]
    assert list(records.read_csv(file, limit=10_000)) == [
        {"question": one, "answer": two} for one, two in cells[1:]
    ]


def test_a_damaged_table_names_the_line(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("prompt,completion\na,b\na,b,c\n")
    with pytest.raises(DataError, match=r"a\.csv:3: 3 cells, but the first row has 2"):
        read(file)
    file.write_text('prompt,completion\na,b\n"a,b\n')
    with pytest.raises(DataError, match=r"a\.csv:3: not valid CSV"):
        read(file)


def test_parquet_rows_and_what_is_null_in_them(tmp_path: Path) -> None:
    file = tmp_path / "a.parquet"
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    other = {"type": "function", "function": {"name": "say", "arguments": {"b": "x"}}}
    values = [
        {"messages": [*HI], "text": None},
        {"messages": [HI[0], {"role": "assistant", "content": None, "tool_calls": [call, other]}]},
        {"messages": None, "text": "plain"},
        {"messages": None, "text": None},
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values[:3]), file)
    chat, calls, text = read(file)
    assert chat == ChatRow(f"{file}:row 1", tuple(HI), (True,))
    assert isinstance(calls, ChatRow)
    assert calls.messages[1]["tool_calls"] == [call, other]
    assert text == TextRow(f"{file}:row 3", "plain")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(values), file)
    with pytest.raises(DataError, match=r"a\.parquet:row 4: expected messages"):
        read(file)
    file.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DataError, match=r"a\.parquet: damaged parquet"):
        read(file)


def test_plain_text_is_a_document_or_several(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("One\n\nmore\n<|endoftext|>\nTwo\n<|endoftext|>\n")
    assert read(file) == [TextRow(f"{file}:1", "One\n\nmore"), TextRow(f"{file}:5", "Two")]


def test_a_row_that_is_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LONGEST_ROW", 1000)
    monkeypatch.setattr(rows, "_CHUNK", 100)
    long = {"text": "x" * 5000}
    for name, content in (
        ("a.jsonl", '{"text": "a"}\n' + json.dumps(long)),
        ("a.json", json.dumps([{"text": "a"}, long], indent=1)),
        ("a.txt", "a\n" * 5000),
    ):
        file = tmp_path / name
        file.write_text(content)
        with pytest.raises(DataError, match=rf"{name}:\d+: .* longer than 1,000"):
            read(file)


def test_directories_and_their_splits(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl", "sub/c.jsonl", ".hidden/d.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        lines((tmp_path / name).parent, {"text": name}, name=Path(name).name)
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "notes.pdf").write_bytes(b"%PDF")
    source = open_source(tmp_path)
    assert [row.key for row in source.rows("train", {})] == ["a.jsonl", "b.jsonl", "sub/c.jsonl"]
    assert list(source.rows("validation", {})) == []
    for name in ("train-00000", "validation-00000", "test-00000", "training_tips"):
        lines(tmp_path, {"text": name}, name=f"{name}.jsonl")
    source = open_source(tmp_path)
    train = [row.key for row in source.rows("train", {})]
    assert train == ["a.jsonl", "b.jsonl", "sub/c.jsonl", "train-00000", "training_tips"]
    assert [row.key for row in source.rows("validation", {})] == ["validation-00000"]
    assert [file.name for file in source.unused] == ["test-00000.jsonl"]


def test_what_is_no_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        open_source(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="Found none"):
        open_source(tmp_path)
    file = tmp_path / "a.docx"
    file.touch()
    with pytest.raises(DataError, match=r"Got '\.docx'; for documents of other kinds"):
        open_source(file)


def test_a_data_set_as_the_hub_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    folder = tmp_path / "set"
    folder.mkdir()
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{"messages": HI}, {"messages": HI}]), folder / "train.parquet"
    )
    found = list(open_source(f"hf:{folder}").rows("train", {}))
    assert found[1] == ChatRow(f"hf:{folder}:row 2", tuple(HI), (True,))
