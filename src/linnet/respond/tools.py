"""How a model is shown tools, and how it writes calls of them (``tool_calls`` reads these).

How it writes a call is found by rendering one with its own chat template. Three
ways are known:

* ``tags``: ``<tool_call>{"name": ..., "arguments": {...}}</tool_call>`` (Hermes, Qwen);
* ``object``: the whole answer is ``{"name": ..., "parameters": {...}}`` (Llama 3);
* ``list``: the whole answer is ``[{"name": ..., "arguments": {...}}, ...]`` (Mistral).

A model whose template knows no tools is shown them in a message, and calls them the first way.
Where a call is demanded (``tool_choice``), the answer is constrained to be one.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from linnet.errors import LinnetError
from linnet.generate.constraint import SPACES, WHITESPACE, Constraint
from linnet.respond.conversation import INPUT, Conversation, ConversationError

if TYPE_CHECKING:
    from linnet.generate.engine import Engine

OPENING, CLOSING = "<tool_call>", "</tool_call>"
MOST_CALLS = 16

Message = Mapping[str, Any]
Tool = Mapping[str, Any]


@dataclass(frozen=True)
class ToolFormat:
    """How a model writes calls.

    ``native``: its template shows it the tools. ``system``: its template shows what a
    system message says; looked at only where tools are shown in a message.
    """

    kind: Literal["tags", "object", "list"]
    native: bool
    system: bool = True

    @property
    def arguments(self) -> str:
        """The name of the arguments in a call."""
        return "parameters" if self.kind == "object" else "arguments"

    @property
    def prefix(self) -> str:
        """What stands before the JSON of a call that is demanded."""
        return {"tags": f"{OPENING}\n", "object": "", "list": "[TOOL_CALLS]"}[self.kind]


_PROBE = "linnet_probe"
_PROBE_TOOL = {
    "type": "function",
    "function": {
        "name": _PROBE,
        "description": "Linnet",
        "parameters": {
            "type": "object",
            "properties": {"bird": {"type": "string"}},
            "required": ["bird"],
        },
    },
}
_ASKED = {"role": "user", "content": "a"}
_CALLED = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "call00001",
            "type": "function",
            "function": {"name": _PROBE, "arguments": {"bird": "finch"}},
        }
    ],
}
_WRITTEN = (
    ("tags", rf'{OPENING}\s*\{{\s*"name":\s*"{_PROBE}",\s*"arguments":\s*\{{"bird":\s*"finch"'),
    ("list", rf'\[\s*\{{\s*"name":\s*"{_PROBE}",\s*"arguments":\s*\{{"bird":\s*"finch"'),
    ("object", rf'\{{\s*"name":\s*"{_PROBE}",\s*"parameters":\s*\{{"bird":\s*"finch"'),
)


def find_format(engine: Engine) -> ToolFormat:
    """How this model writes calls, by what its template makes of one."""
    tools = [_PROBE_TOOL]
    if _PROBE not in _rendered(engine, [_ASKED], tools):
        told = _rendered(engine, [{"role": "system", "content": _PROBE}, _ASKED])
        return ToolFormat("tags", native=False, system=_PROBE in told)
    called = _rendered(engine, [_ASKED, _CALLED], tools)
    for kind, pattern in _WRITTEN:
        if re.search(pattern, called):
            return ToolFormat(kind, native=True)  # type: ignore[arg-type]
    return ToolFormat("tags", native=True)


def _rendered(engine: Engine, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    try:
        return engine.detokenize(engine.chat_prompt(messages, tools=tools))
    except LinnetError:
        return ""


def template_messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages with the arguments of calls as objects, as templates expect them."""
    found = []
    for message in messages:
        calls = [
            {
                **call,
                "function": {
                    **call["function"],
                    "arguments": parsed(call["function"]["arguments"]),
                },
            }
            for call in message.get("tool_calls") or ()
        ]
        found.append({**message, "tool_calls": calls} if calls else dict(message))
    return found


def as_functions(message: dict[str, Any]) -> dict[str, Any]:
    """A message in which calls of custom tools are calls of functions, as templates know them."""
    calls = message.get("tool_calls")
    if not calls or all(call.get("type") != "custom" for call in calls):
        return message
    found = []
    for call in calls:
        if call.get("type") == "custom":
            custom = call["custom"]
            function = {"name": custom["name"], "arguments": compact({INPUT: custom["input"]})}
            call = {"id": call["id"], "type": "function", "function": function}
        found.append(call)
    return {**message, "tool_calls": found}


def tools_in_messages(
    messages: Sequence[Message], tools: Sequence[Tool], *, system: bool = True
) -> list[dict[str, Any]]:
    """Messages for a template that knows no tools: they and their calls become text.

    ``system``: whether the tools may be told in a system message; otherwise the first
    message of the user begins with them.
    """
    told: list[dict[str, Any]] = []
    before = None
    for message in messages:
        content = message.get("content") or ""
        after, before = before, message.get("role")
        if before == "tool":
            response = f"<tool_response>\n{content}\n</tool_response>"
            if after == "tool":  # one message: many templates want user and assistant in turn
                told[-1]["content"] += f"\n{response}"
            else:
                told.append({"role": "user", "content": response})
        elif message.get("tool_calls"):
            calls = [
                {
                    "name": call["function"]["name"],
                    "arguments": parsed(call["function"]["arguments"]),
                }
                for call in message["tool_calls"]
            ]
            lines = [f"{OPENING}\n{compact(call)}\n{CLOSING}" for call in calls]
            told.append(
                {"role": "assistant", "content": "\n".join(filter(None, [content, *lines]))}
            )
        else:
            told.append(dict(message))
    if not tools:
        return told
    words = (
        "You may call functions to help with the user's request. The functions:\n<tools>\n"
        + "\n".join(compact(tool) for tool in tools)
        + "\n</tools>\nTo call one, write a JSON object with its name and arguments:\n"
        + f'{OPENING}\n{{"name": "NAME", "arguments": {{...}}}}\n{CLOSING}'
    )
    if told and told[0].get("role") == "system":
        told[0] = {**told[0], "content": f"{told[0].get('content') or ''}\n\n{words}"}
        return told
    if system:
        return [{"role": "system", "content": words}, *told]
    for place, message in enumerate(told):
        if message.get("role") == "user":
            told[place] = {**message, "content": f"{words}\n\n{message.get('content') or ''}"}
            return told
    return [{"role": "user", "content": words}, *told]


def call_schema(
    format_: ToolFormat, tools: Sequence[Tool], *, name: str | None, several: bool
) -> str:
    """A JSON Schema for an answer that is a call of one of the tools, or of the one named."""
    definitions: dict[str, Any] = {}
    choices = []
    for place, tool in enumerate(tools):
        function = tool["function"]
        if name is not None and function["name"] != name:
            continue
        parameters = function.get("parameters") or {"type": "object", "properties": {}}
        choices.append(
            {
                "type": "object",
                "properties": {
                    "name": {"const": function["name"]},
                    format_.arguments: _hoisted(parameters, f"t{place}", definitions),
                },
                "required": ["name", format_.arguments],
                "additionalProperties": False,
            }
        )
    if not choices:
        raise ConversationError(
            f"tool_choice names '{name}', which is none of the tools.", part="tool_choice"
        )
    schema: dict[str, Any] = choices[0] if len(choices) == 1 else {"anyOf": choices}
    if format_.kind == "list":
        most = MOST_CALLS if several and name is None else 1
        schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": most}
    if definitions:
        schema = {**schema, "$defs": definitions}
    schema = {**schema, WHITESPACE: SPACES}  # as templates write calls
    return json.dumps(schema)


def call_constraint(
    format_: ToolFormat, conversation: Conversation, tools: Sequence[Tool]
) -> Constraint | None:
    """What an answer must be where these tools may be called; None: anything.

    Calls are demanded, or one form is for what is no call, or not all tools that the model is
    shown may be called, or the text of one has to match; otherwise a model is left alone.
    """
    demanded, form = conversation.demanded, conversation.constraint
    partly = len(tools) < len(conversation.offered)
    if not (demanded or form is not None or partly or any(tool.regex for tool in
            conversation.callable)):  # fmt: skip
        return None
    name = conversation.demanded_name
    several = conversation.parallel_tool_calls and name is None
    asked: dict[str, Any] = {
        "calls": json.loads(call_schema(format_, tools, name=name, several=several)),
        "most": MOST_CALLS if several else 1,
        "entered": demanded,
        "otherwise": None,
    }
    if format_.kind == "tags":
        asked |= {"opening": OPENING, "closing": CLOSING}
    if not demanded:
        asked["otherwise"] = "text" if form is None else dataclasses.asdict(form)
    try:
        return Constraint("tools", json.dumps(asked))
    except LinnetError as error:
        error.part = "tools"
        raise


def _hoisted(schema: Any, prefix: str, definitions: dict[str, Any]) -> Any:
    """A schema to stand within another: its definitions move to the root, under new names."""

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(entry) for entry in value]
        if not isinstance(value, dict):
            return value
        found = {}
        for key, entry in value.items():
            if key == "$ref" and isinstance(entry, str):
                match = re.fullmatch(r"#/(?:\$defs|definitions)/([^/]+)", entry)
                if match is None:
                    raise ConversationError(
                        "A tool's parameters may refer to their own $defs only. "
                        f"Got '{entry[:60]}'",
                        part="tools",
                    )
                entry = f"#/$defs/{prefix}_{match[1]}"
            found[key] = moved(entry)
        return found

    if not isinstance(schema, dict):
        return schema
    own: dict[str, Any] = {}
    for key in ("$defs", "definitions"):
        if isinstance(schema.get(key), dict):
            own.update(schema[key])
    rest = {k: v for k, v in schema.items() if k not in ("$defs", "definitions", "$schema")}
    definitions.update({f"{prefix}_{name}": moved(entry) for name, entry in own.items()})
    return moved(rest)


def parsed(arguments: Any) -> Any:
    """Arguments as JSON values; text that is no JSON stays text."""
    if not isinstance(arguments, str):
        return arguments
    try:
        return load(arguments)
    except (ValueError, RecursionError):
        return arguments


def load(text: str) -> Any:
    """JSON that can be written again: no NaN, no number without end, no half of a character.

    Raises ValueError, or RecursionError for what nests too deeply.
    """
    value = json.loads(text)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    return value


def compact(value: Any) -> str:
    """As JSON in one line."""
    return json.dumps(value, ensure_ascii=False)
