"""The items that inputs, outputs and kept conversations consist of, and the messages they are.

Reference: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from linnet.respond.conversation import Message
from linnet.respond.pieces import Origin, Reasoning, Refusal, Text, ToolCall, ToolResult, new_id
from linnet.serve.errors import ApiError
from linnet.serve.schemas import FUNCTION_NAME, MOST_MESSAGES, MOST_PARTS, TEXT, nullable, record
from linnet.serve.validation import Schema, check

Item = Mapping[str, Any]

_ID: Schema = {"type": ["string", "null"], "minLength": 1, "maxLength": 128}
_CALL_ID: Schema = {"type": "string", "minLength": 1, "maxLength": 128}
_STATUS: Schema = {
    "type": ["string", "null"], "enum": ["in_progress", "completed", "incomplete", None],
}  # fmt: skip
_ASSISTANT = Origin("model")
_CLIENT = Origin("user")


def _part(kind: str, field: str = "text") -> dict[str, Any]:
    return record({"type": {"const": kind}, field: TEXT}, required=("type", field), more=True)


def _parts(*parts: Schema) -> dict[str, Any]:
    return {"type": "array", "items": {"anyOf": list(parts)}, "maxItems": MOST_PARTS}


_TEXTS = (_part("input_text"), _part("output_text"), _part("text"))
_MESSAGE = record(
    {
        "type": {"const": "message"},
        "id": _ID,
        "role": {"enum": ["user", "system", "developer", "assistant"]},
        "status": _STATUS,
        "content": {"anyOf": [TEXT, _parts(*_TEXTS, _part("refusal", "refusal"))]},
        "linnet": {"type": ["array", "object", "null"]},
    },
    required=("role", "content"),
    more=True,
)


def _own(kind: str, properties: Mapping[str, Schema], *required: str) -> dict[str, Any]:
    every = {"type": {"const": kind}, "id": _ID, "status": _STATUS, **properties}
    return record(every, required=("type", *required), more=True)


_OUTPUT: Schema = {"anyOf": [TEXT, _parts(*_TEXTS)]}
ITEMS: dict[str, Schema] = {
    "message": _MESSAGE,
    "function_call": _own(
        "function_call", {"call_id": _CALL_ID, "name": FUNCTION_NAME, "arguments": TEXT},
        "call_id", "name", "arguments",
    ),
    "function_call_output": _own(
        "function_call_output", {"call_id": _CALL_ID, "output": _OUTPUT}, "call_id", "output"
    ),
    "custom_tool_call": _own(
        "custom_tool_call", {"call_id": _CALL_ID, "name": FUNCTION_NAME, "input": TEXT},
        "call_id", "name", "input",
    ),
    "custom_tool_call_output": _own(
        "custom_tool_call_output", {"call_id": _CALL_ID, "output": _OUTPUT}, "call_id", "output"
    ),
    "reasoning": _own(
        "reasoning",
        {
            "summary": {**_parts(_part("summary_text")), "type": ["array", "null"]},
            "content": {**_parts(_part("reasoning_text")), "type": ["array", "null"]},
            "encrypted_content": nullable(TEXT),
        },
    ),
    "file_search_call": _own(
        "file_search_call",
        {
            "queries": {"type": "array", "items": TEXT, "maxItems": MOST_PARTS},
            "results": {"type": ["array", "null"], "items": {"type": "object"}, "maxItems": 1024},
        },
        "queries",
    ),
    "item_reference": record(
        {"type": {"const": "item_reference"}, "id": _CALL_ID}, required=("id",), more=True
    ),
}  # fmt: skip
"""By their types. ``type`` may be missing in a message and in a reference."""

INPUT_ITEMS: Schema = {
    "type": "array",
    "items": {"type": "object"},
    "maxItems": MOST_MESSAGES,
    "description": f"Items of these types: {', '.join(ITEMS)}.",
}

_PREFIXES = {
    "message": "msg_", "function_call": "fc_", "function_call_output": "fco_",
    "custom_tool_call": "ctc_", "custom_tool_call_output": "ctco_", "reasoning": "rs_",
    "file_search_call": "fs_",
}  # fmt: skip


def item_id(kind: str) -> str:
    """A new id for an item of this type."""
    return new_id(_PREFIXES[kind])


def kind_of(item: Item) -> str:
    """The type of an item; where it names none, it is a message or a reference."""
    return str(item.get("type") or ("message" if "role" in item else "item_reference"))


def read_items(
    given: Sequence[Any], path: str, stored: Callable[[str], Item] | None = None
) -> list[dict[str, Any]]:
    """Items in the form that they are kept in: of known types, with an id and a status.

    ``stored`` finds those that are only referred to; without it there may be none.

    Raises ApiError for what is no item, or of a type that is not known here.
    """
    found = []
    for place, item in enumerate(given):
        where = f"{path}[{place}]"
        kind = kind_of(item)
        if kind not in ITEMS or (kind == "item_reference" and stored is None):
            there = ", ".join(each for each in ITEMS if stored or each != "item_reference")
            raise ApiError(
                400, f"'{where}.type' must be one of {there}. Got {kind[:60]!r}",
                param=f"{where}.type",
            )  # fmt: skip
        item = {**item, "type": kind}
        check(ITEMS[kind], item, where)
        if kind == "item_reference":
            assert stored is not None
            found.append(dict(stored(item["id"])))
        else:
            found.append(_kept(kind, item, where))
    return found


def _kept(kind: str, item: Item, where: str) -> dict[str, Any]:
    kept: dict[str, Any] = {
        "id": item.get("id") or item_id(kind), "type": kind,
        "status": item.get("status") or "completed",
    }  # fmt: skip
    match kind:
        case "message":
            kept |= {"role": item["role"], "content": _content(item)}
            if item.get("linnet") is not None:
                kept["linnet"] = item["linnet"]
        case "function_call":
            kept |= {name: item[name] for name in ("call_id", "name", "arguments")}
        case "custom_tool_call":
            kept |= {name: item[name] for name in ("call_id", "name", "input")}
        case "function_call_output" | "custom_tool_call_output":
            output = item["output"]
            if not isinstance(output, str):
                output = [{"type": "input_text", "text": part["text"]} for part in output]
            kept |= {"call_id": item["call_id"], "output": output}
        case "reasoning":
            content, summary = item.get("content") or [], item.get("summary") or []
            if item.get("encrypted_content") and not (content or summary):
                raise ApiError(
                    400, "Reasoning that is encrypted cannot be read here; leave the item out.",
                    param=f"{where}.encrypted_content",
                )  # fmt: skip
            kept |= {
                "summary": [{"type": "summary_text", "text": part["text"]} for part in summary],
                "content": [{"type": "reasoning_text", "text": part["text"]} for part in content],
            }
        case "file_search_call":
            kept |= {"queries": item["queries"], "results": item.get("results")}
    return kept


def _content(item: Item) -> list[dict[str, Any]]:
    """The parts of a message: an assistant's are outputs, all others inputs."""
    given = item["content"]
    parts = [{"type": "text", "text": given}] if isinstance(given, str) else given
    if item["role"] != "assistant":
        return [{"type": "input_text", "text": _words(part)} for part in parts]
    return [
        {"type": "refusal", "refusal": part["refusal"]}
        if part["type"] == "refusal"
        else output_text(part["text"], part.get("annotations") or ())
        for part in parts
    ]


def output_text(
    text: str, annotations: Sequence[Any] = (), logprobs: Sequence[Any] = ()
) -> dict[str, Any]:
    """Text of an answer, as a part."""
    return {
        "type": "output_text", "text": text, "annotations": list(annotations),
        "logprobs": list(logprobs),
    }  # fmt: skip


def _words(part: Item) -> str:
    words: str = part["refusal"] if part["type"] == "refusal" else part["text"]
    return words


def messages_of(items: Sequence[Item], instructions: str | None = None) -> tuple[Message, ...]:
    """Items as messages: reasoning, text and calls that follow one another are one turn.

    System messages at the beginning, and the instructions before them, are one, as most templates
    know one only.
    """
    found: list[Message] = []
    opening = [instructions] if instructions else []
    for item in items:
        role = item.get("role")
        if role in ("system", "developer") and not found:
            opening.append("\n".join(map(_words, item["content"])))
        elif (message := _message(item)) is not None:
            if found and message.role == found[-1].role == "assistant" and _joins(found[-1], item):
                found[-1] = Message(
                    "assistant", (*found[-1].parts, *message.parts), origin=_ASSISTANT
                )
            else:
                found.append(message)
    system = [Message.of("system", "\n\n".join(opening))] if opening else []
    return (*system, *found)


def _joins(before: Message, item: Item) -> bool:
    """Whether an assistant's item goes on with its turn: a second text is another one."""
    begun = any(isinstance(part, Text | Refusal | ToolCall) for part in before.parts)
    return item["type"] in ("function_call", "custom_tool_call") or not begun


def _message(item: Item) -> Message | None:
    match item["type"]:
        case "message" if item["role"] == "assistant":
            parts = tuple(_spoken(item["content"]))
            return Message("assistant", parts, origin=_ASSISTANT)
        case "message":
            role = "system" if item["role"] == "developer" else item["role"]
            texts = tuple(Text(_words(part)) for part in item["content"])
            return Message(role, texts, origin=_CLIENT if role == "user" else None)
        case "function_call":
            call = ToolCall(item["call_id"], item["name"], item["arguments"])
            return Message("assistant", (call,), origin=_ASSISTANT)
        case "custom_tool_call":
            call = ToolCall(item["call_id"], item["name"], item["input"], custom=True)
            return Message("assistant", (call,), origin=_ASSISTANT)
        case "function_call_output" | "custom_tool_call_output":
            output = item["output"]
            text = output if isinstance(output, str) else "\n".join(map(_words, output))
            return Message("tool", (ToolResult(item["call_id"], text),))
        case "reasoning":
            thought = "\n".join(part["text"] for part in item["content"] or item["summary"])
            return (
                Message("assistant", (Reasoning(thought),), origin=_ASSISTANT) if thought else None
            )
    return None  # a search's results are in the answer that follows it


def _spoken(content: Sequence[Item]) -> list[Text | Refusal]:
    """What an assistant said; a refusal that is the text, too, is said once."""
    texts = {part["text"] for part in content if part["type"] == "output_text"}
    return [
        Refusal(part["refusal"]) if part["type"] == "refusal" else Text(part["text"])
        for part in content
        if part["type"] != "refusal" or part["refusal"] not in texts
    ]
