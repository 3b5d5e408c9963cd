"""From the body of ``/v1/messages`` to a conversation.

Content is blocks, of which a turn of the user may hold results of tools: these become messages of
their own. Two turns of one role in a row are one, as Anthropic has it, and a last turn of the
assistant is gone on with. Fields that cannot change a text here are ignored (``IGNORED``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from linnet.generate.sampling import Sampling
from linnet.respond.conversation import Conversation, Message, Tool
from linnet.respond.pieces import Origin, Reasoning, Text, ToolCall, ToolResult
from linnet.serve.errors import ApiError
from linnet.serve.sampling import constraint_of, sampling_of
from linnet.serve.schemas import (
    COLLECTIONS,
    FLAG,
    MOST_MESSAGES,
    MOST_PARTS,
    MOST_STOPS,
    MOST_TOOLS,
    OWN,
    SAMPLING,
    STOP_TEXT,
    STREAMING,
    TEXT,
    listed,
    nullable,
    record,
)  # fmt: skip

if TYPE_CHECKING:
    from linnet.respond.conversation import Part
    from linnet.serve.validation import Schema

Body = Mapping[str, Any]
Block = Mapping[str, Any]

_CLIENT = Origin("user")
_SAMPLED = tuple(name for name in SAMPLING if name not in ("max_tokens", "n_predict", "stop", "n"))
_OTHERS = {
    "image": "images are not read here: a model of text cannot",
    "redacted_thinking": "thoughts that only another service can read are of no use here",
}
"""Blocks that clients may send and that are refused, with the reason."""


def conversation(
    body: Body, *, longest: int, context: int, sampling: Sampling | None = None
) -> Conversation:
    """What a body asks for. ``longest``: the server's limit in tokens, 0 for none; ``context``: the
    model's, 0 where it is not known; ``sampling``: where the body has none of it. Raises ApiError.
    """
    tools = tuple(map(_tool, body.get("tools") or ()))
    choice = body.get("tool_choice") or {"type": "auto"}
    if not tools and choice["type"] in ("any", "tool"):
        raise ApiError(400, "'tool_choice' is only allowed with 'tools'.", param="tool_choice")
    messages = tuple(_messages(body))
    asked = {**body, "stop": body.get("stop_sequences"), "response_format": _format(body)}
    return Conversation(
        messages,
        tools=tools,
        tool_choice=_choice(choice),
        parallel_tool_calls=choice.get("disable_parallel_tool_use") is not True,
        sampling=sampling
        or sampling_of(asked, most=body["max_tokens"], longest=longest, context=context),
        constraint=constraint_of(asked),
        separate_reasoning=True,
        continue_final_message=messages[-1].role == "assistant",
        template_variables=_variables(body.get("thinking")),
    )


def _tool(given: Mapping[str, Any]) -> Tool:
    if "input_schema" not in given:
        raise ApiError(400, f"The tool '{given['name']}' needs an 'input_schema'.", param="tools")
    return Tool(given["name"], given.get("description"), given["input_schema"], given.get("strict"))


def _choice(given: Mapping[str, Any]) -> str:
    kind: str = given["type"]
    return f"tool:{given['name']}" if kind == "tool" else {"any": "required"}.get(kind, kind)


def _format(body: Body) -> dict[str, Any] | None:
    """The form of the answer, as OpenAI's clients ask for it."""
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if wanted is None:
        return None
    return {"type": "json_schema", "json_schema": {"schema": wanted["schema"]}}


def _variables(thinking: Mapping[str, Any] | None) -> dict[str, Any]:
    """What templates of models that think know of it."""
    return {} if thinking is None else {"enable_thinking": thinking["type"] != "disabled"}


def _messages(body: Body) -> Iterator[Message]:
    """The turns, those of one role in a row together."""
    last: Message | None = None
    for message in _turns(body):
        joined = last is not None and last.role == message.role != "tool"
        if last is not None and joined:
            last = Message(last.role, (*last.parts, *message.parts), origin=last.origin)
        else:
            if last is not None:
                yield last
            last = message
    if last is not None:
        yield last


def _turns(body: Body) -> Iterator[Message]:
    if system := body.get("system"):
        yield Message("system", tuple(_parts(_blocks(system), "system")))
    for place, message in enumerate(body["messages"]):
        role, where = message["role"], f"messages[{place}].content"
        parts: list[Part] = []
        for part in _parts(_blocks(message["content"]), where):
            if isinstance(part, ToolCall | Reasoning) and role != "assistant":
                raise ApiError(400, f"'{where}': only the assistant's have that.", param=where)
            if not isinstance(part, ToolResult):
                parts.append(part)
                continue
            if role != "user":
                raise ApiError(400, f"'{where}': results are the user's to give.", param=where)
            if parts:
                yield _turn(role, parts)
                parts = []
            yield Message("tool", (part,))
        if parts or not _blocks(message["content"]):
            yield _turn(role, parts)


def _turn(role: str, parts: Sequence[Part]) -> Message:
    return Message(role, tuple(parts), origin=_CLIENT if role == "user" else None)


def _blocks(content: str | Sequence[Block]) -> Sequence[Block]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content


def _parts(blocks: Iterable[Block], where: str) -> Iterator[Part]:
    for place, block in enumerate(blocks):
        path = f"{where}[{place}]"
        match block["type"]:
            case "thinking":
                if block["thinking"]:
                    yield Reasoning(block["thinking"])
            case "tool_use":
                written = json.dumps(block["input"], ensure_ascii=False)
                yield ToolCall(block["id"], block["name"], written)
            case "tool_result":
                inner = _blocks(block.get("content") or "")
                text = "\n".join(_text(each, f"{path}.content") for each in inner)
                failed = block.get("is_error") and not text.lower().startswith("error")
                yield ToolResult(block["tool_use_id"], f"Error: {text}" if failed else text)
            case _:
                if text := _text(block, path):
                    yield Text(text)


def _text(block: Block, where: str) -> str:
    """The text of a block that has nothing else. Raises ApiError for other kinds."""
    match block["type"]:
        case "text":
            return str(block["text"])
        case "search_result":
            texts = [str(part["text"]) for part in block["content"]]
            return "\n".join([block["title"], block["source"], *texts])
        case "document":
            return "\n".join(filter(None, (block.get("title"), block.get("context"),
                                           _document(block["source"], where))))  # fmt: skip
        case kind:
            why = _OTHERS.get(kind, "it has no place there")
            raise ApiError(400, f"'{where}' is of type '{kind}': {why}.", param=where)


def _document(source: Mapping[str, Any], where: str) -> str:
    kind = source["type"]
    if kind == "text":
        return str(source["data"])
    if kind == "content":
        inner = _blocks(source["content"])
        return "\n".join(_text(each, f"{where}.source.content") for each in inner)
    raise ApiError(
        400,
        f"'{where}.source' is of type '{kind}': documents are read as text only, and nothing is "
        "fetched. Send its text as {\"type\": \"text\", \"media_type\": \"text/plain\", \"data\": "
        "...}.",
        param=where,
    )  # fmt: skip


def _block(kind: str, properties: Mapping[str, Schema], *required: str) -> dict[str, Any]:
    """A block; clients send back what they were given, with more than is read here."""
    return record({"type": {"const": kind}, **properties}, required=("type", *required), more=True)


_TEXT = _block("text", {"text": TEXT}, "text")
_IMAGE = _block("image", {})
_SOURCE: Schema = {
    "anyOf": [
        _block("text", {"data": TEXT}, "data"),
        _block(
            "content",
            {"content": {"anyOf": [TEXT, {**listed({"anyOf": [_TEXT, _IMAGE]}),
                                          "maxItems": MOST_PARTS}]}},
            "content",
        ),
        *(_block(kind, {}) for kind in ("base64", "url", "file")),
    ]
}  # fmt: skip
_DOCUMENT = _block(
    "document",
    {"source": _SOURCE, "title": nullable(TEXT), "context": nullable(TEXT)}, "source",
)  # fmt: skip
_SEARCH_RESULT = _block(
    "search_result",
    {"source": TEXT, "title": TEXT, "content": {**listed(_TEXT), "maxItems": MOST_PARTS}},
    "source", "title", "content",
)  # fmt: skip
_OF_RESULTS = [_TEXT, _IMAGE, _DOCUMENT, _SEARCH_RESULT]


def _content(*blocks: Schema) -> dict[str, Any]:
    return {"anyOf": [TEXT, {**listed({"anyOf": list(blocks)}), "maxItems": MOST_PARTS}]}


_CONTENT = _content(
    *_OF_RESULTS,
    _block("thinking", {"thinking": TEXT}, "thinking"),
    _block("redacted_thinking", {}),
    _block("tool_use", {"id": TEXT, "name": TEXT, "input": {"type": "object"}},
           "id", "name", "input"),
    _block(
        "tool_result",
        {"tool_use_id": TEXT, "content": nullable(_content(*_OF_RESULTS)), "is_error": FLAG},
        "tool_use_id",
    ),
)  # fmt: skip
_SYSTEM = _content(_TEXT)
_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 128}
_FORMAT = nullable(
    record(
        {"type": {"const": "json_schema"}, "schema": {"type": "object"}},
        required=("type", "schema"),
    )
)


def _unused(*names: str) -> dict[str, Schema]:
    return {name: {"description": "Accepted, and without effect here."} for name in names}


IGNORED = _unused(
    "metadata", "service_tier", "cache_control", "container", "context_management", "diagnostics",
    "inference_geo", "speed",
)  # fmt: skip
"""Fields of a body that change nothing here."""

_TOOL = record(
    {
        "type": {"enum": [None, "custom"], "description": "There are no tools of the server's."},
        "name": _NAME,
        "description": nullable(TEXT),
        "input_schema": {"type": "object"},
        "strict": FLAG,
        **_unused("cache_control", "eager_input_streaming", "defer_loading", "allowed_callers",
                  "input_examples"),
    },
    required=("name",),
)  # fmt: skip
_TOOL_CHOICE = {
    "anyOf": [
        {"type": "null"},
        record(
            {"type": {"enum": ["auto", "any", "none"]}, "disable_parallel_tool_use": FLAG},
            required=("type",),
        ),
        record(
            {"type": {"const": "tool"}, "name": _NAME, "disable_parallel_tool_use": FLAG},
            required=("type", "name"),
        ),
    ]
}
_THINKING = nullable(
    record(
        {
            "type": {"enum": ["enabled", "disabled", "adaptive", "between_tools"]},
            **_unused("budget_tokens", "display"),
        },
        required=("type",),
    )
)
_MODEL: Schema = {"type": "string", "minLength": 1, "maxLength": 256}

COUNT_BODY: Schema = record(
    {
        "model": _MODEL,
        "messages": {
            "type": "array", "minItems": 1, "maxItems": MOST_MESSAGES,
            "items": {
                "anyOf": [
                    record({"role": {"enum": ["user", "assistant"]}, "content": _CONTENT},
                           required=("role", "content"), more=True),
                    record({"role": {"const": "system"}, "content": _SYSTEM},
                           required=("role", "content"), more=True),
                ]
            },
        },
        "system": nullable(_SYSTEM),
        "tools": {"type": ["array", "null"], "maxItems": MOST_TOOLS, "items": _TOOL},
        "tool_choice": _TOOL_CHOICE,
        "thinking": _THINKING,
        "output_config": nullable(record({"format": _FORMAT, **_unused("effort", "task_budget")})),
        "output_format": _FORMAT,
        **IGNORED,
    },
    required=("model", "messages"),
)  # fmt: skip
"""Of ``/v1/messages/count_tokens``."""

BODY: Schema = record(
    {
        **COUNT_BODY["properties"],
        "max_tokens": {"type": "integer", "minimum": 1, "maximum": 2**31 - 1},
        **{name: SAMPLING[name] for name in _SAMPLED},
        "stop_sequences": {
            "type": ["array", "null"], "items": STOP_TEXT, "maxItems": MOST_STOPS,
        },
        "stream": STREAMING["stream"],
        "collections": COLLECTIONS,
        **OWN,
    },
    required=("model", "messages", "max_tokens"),
)  # fmt: skip
