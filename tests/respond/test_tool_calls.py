"""Calls of tools in an answer, however it is cut and whatever a model writes."""

import json
from typing import Any

import pytest

from linnet.respond import ToolCall, ToolCallDelta
from linnet.respond.tool_calls import ToolReader
from linnet.respond.tools import ToolFormat

CALL = '{"name": "weather", "arguments": {"city": "Ulm"}}'


def streamed(
    text: str, kind: Any, size: int, *, demanded: bool = False, several: bool = True
) -> tuple[str, list[ToolCall | ToolCallDelta]]:
    """What a reader tells of a text that comes in pieces of so many characters."""
    reader = ToolReader(
        ToolFormat(kind, native=True), ["weather", "python"], custom=["python"],
        demanded=demanded, several=several, streams=True,
    )  # fmt: skip
    words, found = "", []
    for start in range(0, len(text), size):
        more, pieces = reader.push(text[start : start + size])
        words, found = words + more, found + pieces
    more, pieces = reader.finish()
    return words + more, found + pieces


TEXT_CALL = '{"name": "python", "arguments": {"input": %s}}'
STREAMED = [
    ("tags", f"See:<tool_call>{CALL}</tool_call> <tool_call>\n{CALL}</tool_call>",
     "See:", ['{"city": "Ulm"}'] * 2),
    ("tags", f"<tool_call>{CALL}", "", ['{"city": "Ulm"}']),
    ("tags", '<tool_call>{"name":"weather","arguments":{"a":{"b":["}]\\"",{}]},"c":"</tool"}}'
     "</tool_call>", "", ['{"a":{"b":["}]\\"",{}]},"c":"</tool"}']),
    ("object", CALL.replace("arguments", "parameters"), "", ['{"city": "Ulm"}']),
    ("list", f"[{CALL}, {CALL}]", "", ['{"city": "Ulm"}'] * 2),
    ("tags", f"<tool_call>{TEXT_CALL % json.dumps('print(1)')}</tool_call>", "", ["print(1)"]),
    ("tags", "<tool_call>" + TEXT_CALL % json.dumps('a\n😀\\"é'), "", ['a\n😀\\"é']),
    # Begun, and then no JSON or cut: a call with just what the model wrote.
    ("tags", '<tool_call>{"name": "weather", "arguments": {"a": NaN}}</tool_call>', "",
     ['{"a": NaN}']),
    ("object", '{"name": "weather", "parameters": {"a": "b', "", ['{"a": "b']),
    ("tags", '<tool_call>{"name": "python", "arguments": {"input": "a\\u00', "", ["a"]),
    ("tags", '<tool_call>{"name": "python", "arguments": {"input": "a\\q"}}</tool_call>', "",
     ["a\\q"]),
    ("tags", '<tool_call>{"name": "python", "arguments": {"input": "a\\u00zz"}}</tool_call>', "",
     ['a\\u00zz"}']),
    ("list", f"[{CALL}, nonsense]", "nonsense]", ['{"city": "Ulm"}']),
    # Nothing is told of what is no call, or tells its arguments before its name.
    ("tags", "<tool_call>nonsense</tool_call>", "<tool_call>nonsense</tool_call>", []),
    ("tags", '<tool_call>{"name": "unknown", "arguments": {"a": 1}}</tool_call>',
     '<tool_call>{"name": "unknown", "arguments": {"a": 1}}</tool_call>', []),
    ("tags", '<tool_call>{"arguments": {"city": "Ulm"}, "name": "weather"}</tool_call>', "",
     ['{"city": "Ulm"}']),
    ("tags", '<tool_call>{"name": "weather", "arguments": "{}"}</tool_call>', "", ["{}"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "words", "arguments"), STREAMED)
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_arguments_are_streamed_however_they_are_cut(
    kind: Any, text: str, words: str, arguments: list[str], size: int
) -> None:
    told, found = streamed(text, kind, size)
    calls = [piece for piece in found if isinstance(piece, ToolCall)]
    assert [call.arguments for call in calls] == arguments
    assert told.strip(" ,") == words
    joined: dict[str, str] = {}
    for piece in found:  # the pieces of a call, then all of it, then the next one
        if isinstance(piece, ToolCallDelta):
            joined[piece.id] = joined.get(piece.id, "") + piece.arguments
            assert piece.id not in [call.id for call in found[: found.index(piece)]
                                    if isinstance(call, ToolCall)]  # fmt: skip
    assert all(joined.get(call.id, call.arguments) == call.arguments for call in calls)
    assert len({call.id for call in calls}) == len(calls)
    if size == 1 and '"name": "weather", "arguments": {"c' in text:
        assert len([piece for piece in found if isinstance(piece, ToolCallDelta)]) > len(calls) * 5


@pytest.mark.parametrize("size", [1, 1000])
def test_streamed_calls_that_are_demanded_or_one_at_most(size: int) -> None:
    text = f"{CALL}\n</tool_call>\n<tool_call>\n{CALL}\n</tool_call>"
    for several, count in ((True, 2), (False, 1)):
        told, found = streamed(text, "tags", size, demanded=True, several=several)
        assert told == ""
        assert sum(isinstance(piece, ToolCall) for piece in found) == count
    told, found = streamed(f"[{CALL}, {CALL}]", "list", size, several=False)
    assert (told, sum(isinstance(piece, ToolCall) for piece in found)) == ("", 1)


UNKNOWN = '<tool_call>{"name": "unknown"}</tool_call>'
ANSWERS = [
    ("tags", "Let me see.\n<tool_call>\n" + CALL + "\n</tool_call>", "Let me see.\n", 1),
    ("tags", f"<tool_call>{CALL}</tool_call>\n<tool_call>\n{CALL}\n</tool_call>", "", 2),
    ("tags", f"<tool_call>{CALL}", "", 1),  # the end of turn came before the closing tag
    ("tags", "1 < 2 and <tool", "1 < 2 and <tool", 0),
    ("tags", "<tool_call>nonsense</tool_call>", "<tool_call>nonsense</tool_call>", 0),
    ("tags", UNKNOWN, UNKNOWN, 0),
    ("object", '{"name": "weather", "parameters": {"city": "Ulm"}}', "", 1),
    ("object", '{"name": "weather", "parameters"', '{"name": "weather", "parameters"', 0),
    ("object", "No, {it} is not.", "No, {it} is not.", 0),
    ("list", f"[{CALL}, {CALL}]", "", 2),
    ("list", "Dry.", "Dry.", 0),
    ("list", "[]", "[]", 0),
    ("tags", f"<tool_call>{CALL}</tool_call>\n It is so.", "\n It is so.", 1),
    ("tags", f"<tool_call>{CALL}</tool_call> \n <tool_call>{CALL}</tool_call> \n", "", 2),
    ("tags", "\n\nIt is", "\n\nIt is", 0),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "text", "words", "count"), ANSWERS)
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_calls_are_read_however_they_are_cut(
    kind: Any, text: str, words: str, count: int, size: int
) -> None:
    reader = ToolReader(ToolFormat(kind, native=True), ["weather"], demanded=False)
    told, calls = "", []
    for start in range(0, len(text), size):
        more, found = reader.push(text[start : start + size])
        told, calls = told + more, calls + found
    more, found = reader.finish()
    told, calls = told + more, calls + found
    assert told == words
    assert [(call.name, json.loads(call.arguments)) for call in calls] == [
        ("weather", {"city": "Ulm"})
    ] * count
    assert len({call.id for call in calls}) == count


@pytest.mark.parametrize(
    "text",
    [
        '{"name": {"first": "Ada"}, "age": 3}',
        '{"name": ["weather"], "arguments": {}}',
        '{"name": null}',
        '{"name": 3}',
        '["weather"]',
        "[[]]",
        "null",
        "3",
        '{"name": "weather", "arguments": {"degrees": NaN}}',
        '{"name": "weather", "arguments": {"degrees": 1e999}}',
        '{"name": "weather", "arguments": {"city": "\\ud800"}}',
        '{"name": "weather", "arguments": ' + "[" * 5000 + "]" * 5000 + "}",
        '{"name": "weather", "arguments": ' + "1" * 5000 + "}",
    ],
)
@pytest.mark.parametrize("kind", ["tags", "object", "list"])
@pytest.mark.parametrize("demanded", [False, True])
def test_json_that_is_no_call_is_text(text: str, kind: Any, demanded: bool) -> None:
    whole = f"<tool_call>{text}</tool_call>" if kind == "tags" and not demanded else text
    reader = ToolReader(ToolFormat(kind, native=True), ["weather"], demanded=demanded)
    told, calls = reader.push(whole)
    more, others = reader.finish()
    assert (told + more, calls + others, reader.called) == (whole, [], False)


@pytest.mark.parametrize("depth", range(880, 1000))
def test_a_call_that_nests_almost_too_deeply(depth: int) -> None:
    """Reading and writing may each be the one that goes too deep."""
    text = '{"name": "weather", "arguments": ' + "[" * depth + "]" * depth + "}"
    for written in (text, json.dumps({"name": "weather", "arguments": "[" * depth + "]" * depth})):
        reader = ToolReader(ToolFormat("object", native=True), ["weather"], demanded=False)
        reader.push(written)
        words, calls = reader.finish()
        assert bool(words) != bool(calls)


@pytest.mark.parametrize(
    ("written", "arguments"),
    [
        ("null", "{}"),
        ('"{\\"city\\": \\"Ulm\\"}"', '{"city": "Ulm"}'),
        ("[1, 2]", "[1, 2]"),
        ('"nonsense"', '"nonsense"'),
        ("7", "7"),
    ],
)
def test_arguments_are_json_whatever_a_model_writes(written: str, arguments: str) -> None:
    reader = ToolReader(ToolFormat("tags", native=True), ["weather"], demanded=False)
    _, calls = reader.push(f'<tool_call>{{"name": "weather", "arguments": {written}}}</tool_call>')
    assert [call.arguments for call in calls] == [arguments]


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        ("tags", f"So:<tool_call>{CALL}</tool_call> <tool_call>{CALL}</tool_call> and", "So: and"),
        ("tags", f"<tool_call>{CALL}</tool_call><tool_call>{CALL}", ""),
        ("list", f"[{CALL}, {CALL}]", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_calls_after_the_first_can_be_left_out(kind: Any, text: str, words: str, size: int) -> None:
    reader = ToolReader(ToolFormat(kind, native=True), ["weather"], demanded=False, several=False)
    told = ""
    calls: list[ToolCall] = []
    for start in range(0, len(text), size):
        more, found = reader.push(text[start : start + size])
        told, calls = told + more, calls + found
    more, found = reader.finish()
    assert len(calls + found) == 1
    assert told + more == words
