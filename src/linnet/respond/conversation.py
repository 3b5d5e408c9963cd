"""What is to be answered: messages, tools, and how the answer is to be written.

Everything here is immutable, so that one responder may hand a changed conversation to another.
In JSON, messages and tools have the form that OpenAI's clients and chat templates share.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from linnet.errors import ConfigError, DataError, ModelError
from linnet.generate.sampling import Sampling
from linnet.respond.pieces import (
    Citation,
    Origin,
    Passage,
    Reasoning,
    Refusal,
    Text,
    ToolCall,
    ToolResult,
)

if TYPE_CHECKING:
    from linnet.generate.constraint import Constraint

Part: TypeAlias = Text | Reasoning | ToolCall | ToolResult | Passage | Citation | Refusal
Json: TypeAlias = Mapping[str, Any]

INPUT = "input"
"""The argument of a custom tool, where it is shown as a function."""
_REASONING = ("reasoning_content", "thinking", "reasoning")
_KEYS = frozenset(("role", "content", "name", "tool_calls", "tool_call_id", *_REASONING))


class ConversationError(ConfigError):
    """What is asked cannot be answered as it stands. ``code``: a word for programs."""

    def __init__(self, message: str, *, part: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.part = part
        self.code = code


class NoConversationError(ModelError):
    """The model continues text, and cannot be asked anything: it has no chat template, or one
    that does not work."""

    part = "model"

    def __init__(self, reason: str, *, model: str) -> None:
        super().__init__(reason)
        self.model = model

    @property
    def is_without_template(self) -> bool:
        """Whether it was simply never meant to converse."""
        return "no chat template" in str(self)


class ContextFullError(ConversationError):
    """More tokens than the model can take in, with one to write."""

    def __init__(self, count: int, context: int, *, part: str, at_least: bool = False) -> None:
        """``at_least``: there may be more, as they were not counted to the end."""
        subject = "the conversation" if part == "messages" else f"the {part}"
        super().__init__(
            f"{subject} has {'at least ' * at_least}{count} tokens, but the context holds "
            f"{context}, of which at least one must be left to write in",
            part=part,
            code="context_length_exceeded",
        )
        self.count = count
        self.context = context
        self.at_least = at_least


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    """``system``, ``user``, ``assistant``, ``tool``; some templates know others."""
    parts: tuple[Part, ...] = ()
    name: str | None = None
    """Of whoever speaks."""
    origin: Origin | None = None
    tags: frozenset[str] = frozenset()
    extra: Json = field(default_factory=dict)
    """What else its JSON had; templates may know it."""

    @property
    def text(self) -> str:
        """Its text, without reasoning, calls and their results."""
        return "\n".join(part.text for part in self.parts if isinstance(part, Text | Refusal))

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The calls in it."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @classmethod
    def of(cls, role: str, text: str, **more: Any) -> Message:
        """A message of text."""
        return cls(role, (Text(text),) if text else (), **more)

    @classmethod
    def from_json(cls, given: Json, *, origin: Origin | None = None) -> Message:
        """A message as OpenAI's clients send it. Raises DataError for one that is none."""
        role = given.get("role") if isinstance(given, Mapping) else None
        if not isinstance(role, str) or not role:
            raise DataError(f"expected a message with role and content. Got {str(given)[:60]!r}")
        role = "system" if role == "developer" else role
        texts = list(_texts(given.get("content")))
        parts: list[Part] = []
        reasoning = next((given[name] for name in _REASONING if given.get(name)), None)
        if reasoning is not None:
            parts.append(Reasoning(str(reasoning)))
        if role == "tool":
            text = "\n".join(part.text for part in texts)
            parts.append(ToolResult(given.get("tool_call_id") or "", text))
        else:
            parts += texts
        parts += map(_call, given.get("tool_calls") or ())
        extra = {key: value for key, value in given.items() if key not in _KEYS}
        return cls(role, tuple(parts), given.get("name") or None, origin, extra=extra)

    def as_json(self) -> dict[str, Any]:
        """As OpenAI's clients send it; content is one text, or parts where there are several."""
        texts = [part.text for part in self.parts if isinstance(part, Text | Refusal)]
        content: Any = texts[0] if len(texts) == 1 else [
            {"type": "text", "text": text} for text in texts
        ]  # fmt: skip
        found: dict[str, Any] = {"role": self.role, "content": content or "", **self.extra}
        for part in self.parts:
            if isinstance(part, ToolResult):
                found["content"] = part.text
                if part.call_id:
                    found["tool_call_id"] = part.call_id
        if self.name:
            found["name"] = self.name
        reasoning = "".join(part.text for part in self.parts if isinstance(part, Reasoning))
        if reasoning:
            found["reasoning_content"] = reasoning
        if self.calls:
            found["tool_calls"] = [call_json(call) for call in self.calls]
        return found


@dataclass(frozen=True)
class Tool:
    """A function that the model may ask to have called; or, with ``custom``, something that takes
    a text."""

    name: str
    description: str | None = None
    parameters: Json | None = None
    """A JSON Schema of its arguments."""
    strict: bool | None = None
    custom: bool = False
    """Whether it takes a text instead of arguments; templates are shown a function of one."""
    regex: str | None = None
    """What the text of a custom tool must match, whole; None: it is free."""

    @classmethod
    def from_json(cls, given: Any) -> Tool:
        """A tool as OpenAI's clients send it in chat. Raises DataError for one that is none."""
        kind = given.get("type", "function") if isinstance(given, Mapping) else None
        inner = given.get(kind) if kind in ("function", "custom") else None
        name = inner.get("name") if isinstance(inner, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(name, str) or not name:
            raise DataError(
                'expected a tool as {"type": "function", "function": {"name": ..., '
                f'"description": ..., "parameters": ...}}}}. Got {str(given)[:60]!r}'
            )
        if kind == "custom":
            form = inner.get("format") or {}
            grammar = form.get("grammar") if isinstance(form, Mapping) else None
            flat = {**form, **grammar} if isinstance(grammar, Mapping) else form
            _refuse_unknown(name, inner, "name", "description", "format")
            return cls.taking_text(name, inner.get("description"), flat)
        _refuse_unknown(name, inner, "name", "description", "parameters", "strict")
        parameters = inner.get("parameters")
        if not (parameters is None or isinstance(parameters, Mapping)):
            raise DataError(f"tool '{name}': parameters must be a JSON Schema, an object")
        return cls(name, inner.get("description"), parameters, inner.get("strict"))

    @classmethod
    def taking_text(
        cls, name: str, description: str | None = None, form: Json | None = None
    ) -> Tool:
        """A custom tool; ``form`` as OpenAI's Responses have it: ``{"type": "text"}`` or
        ``{"type": "grammar", "syntax": "regex", "definition": ...}``.

        Raises DataError for another form; Lark is not read here.
        """
        form = form or {"type": "text"}
        kind = form.get("type") if isinstance(form, Mapping) else None
        if kind == "text":
            return cls(name, description, custom=True)
        syntax, definition = form.get("syntax"), form.get("definition")
        if kind == "grammar" and syntax == "lark":
            raise DataError(
                f"tool '{name}': a grammar in Lark is not read here; write it as a regex"
            )
        if kind != "grammar" or syntax != "regex" or not isinstance(definition, str):
            raise DataError(
                f"tool '{name}': expected a format of text, or a grammar with the syntax 'regex' "
                f"and its definition. Got {str(form)[:60]!r}"
            )
        return cls(name, description, custom=True, regex=definition)

    def as_json(self) -> dict[str, Any]:
        """As OpenAI's interface for chat has it."""
        if self.custom:
            custom: dict[str, Any] = {"name": self.name}
            if self.description is not None:
                custom["description"] = self.description
            if self.regex is not None:
                grammar = {"syntax": "regex", "definition": self.regex}
                custom["format"] = {"type": "grammar", "grammar": grammar}
            return {"type": "custom", "custom": custom}
        every = {
            "name": self.name, "description": self.description, "parameters": self.parameters,
            "strict": self.strict,
        }  # fmt: skip
        function = {key: value for key, value in every.items() if value is not None}
        return {"type": "function", "function": function}

    def as_function(self) -> dict[str, Any]:
        """As chat templates expect it: one that takes text is a function of one argument."""
        if not self.custom:
            return self.as_json()
        text: dict[str, Any] = {"type": "string"}
        if self.regex is not None:
            text["pattern"] = f"^(?:{self.regex})$"
        function: dict[str, Any] = {"name": self.name}
        if self.description is not None:
            function["description"] = self.description
        function["parameters"] = {
            "type": "object", "properties": {INPUT: text}, "required": [INPUT],
            "additionalProperties": False,
        }  # fmt: skip
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Conversation:
    """What a responder is asked."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    """``auto``, ``none``, ``required``; or ``tool:NAME`` for a call of that one."""
    allowed: tuple[str, ...] | None = None
    """The tools that may be called now, by name; the model is shown the others, too. None: all."""
    parallel_tool_calls: bool = True
    """Whether an answer may have several calls."""
    sampling: Sampling = Sampling()
    fill_context: bool = False
    """Whether an answer may be as long as the context allows, up to ``sampling.max_tokens``.

    In a small context half of what is left is kept for the next message.
    """
    constraint: Constraint | None = None
    """What the text of the answer must be."""
    choices: int = 1
    """How many answers, each with a seed of its own."""
    logprobs: bool = False
    top_logprobs: int = 0
    separate_reasoning: bool = False
    """Whether a thought that a model of this machine writes before its answer is a piece of its
    own, and no text."""
    continue_final_message: bool = False
    """Go on with the last message instead of answering it."""
    add_generation_prompt: bool = True
    template_variables: Json = field(default_factory=dict)
    """More that the chat template is given, such as ``enable_thinking``."""

    @property
    def offered(self) -> tuple[Tool, ...]:
        """The tools that the model is shown."""
        return () if self.tool_choice == "none" else self.tools

    @property
    def callable(self) -> tuple[Tool, ...]:
        """The tools that may be called now. Raises ConversationError for names of others."""
        if self.allowed is None:
            return self.offered
        if missing := set(self.allowed) - {tool.name for tool in self.tools}:
            raise ConversationError(
                f"tool_choice allows '{min(missing)}', which is none of the tools.",
                part="tool_choice",
            )
        return tuple(tool for tool in self.offered if tool.name in self.allowed)

    @property
    def demanded(self) -> bool:
        """Whether the answer must be a call."""
        return bool(self.callable) and self.tool_choice != "auto"

    @property
    def demanded_name(self) -> str | None:
        """The tool that must be called, where one is named."""
        kind, named, name = self.tool_choice.partition(":")
        return name if named and kind == "tool" else None

    def replace(self, **changes: Any) -> Conversation:
        """The same with other values."""
        return dataclasses.replace(self, **changes)


def conversation(
    messages: Iterable[Message | Json],
    tools: Iterable[Tool | Json] = (),
    **settings: Any,
) -> Conversation:
    """A conversation of messages and tools, typed or in JSON's form; others by name."""
    return Conversation(
        tuple(m if isinstance(m, Message) else Message.from_json(m) for m in messages),
        tuple(t if isinstance(t, Tool) else Tool.from_json(t) for t in tools),
        **settings,
    )


def tools_of(found: Any, where: str) -> tuple[Tool, ...]:
    """The tools in a JSON list. Raises DataError for anything else, and for two of one name."""
    if not isinstance(found, list) or not found:
        raise DataError(f"{where}: expected a JSON list of tools. Got {str(found)[:60]!r}")
    tools = tuple(map(Tool.from_json, found))
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{where}: two tools are named '{twice}'")
    return tools


def call_json(call: ToolCall) -> dict[str, Any]:
    """A call as it stands in a message."""
    if call.custom:
        custom = {"name": call.name, "input": call.arguments}
        return {"id": call.id, "type": "custom", "custom": custom}
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """The arguments of a call as an object, which they are unless a model wrote something else."""
    try:
        found = json.loads(call.arguments)
    except ValueError:
        found = call.arguments
    return found if isinstance(found, dict) else {"arguments": found}


def _texts(content: Any) -> Iterable[Text]:
    if content is None or content == "":
        return
    if isinstance(content, str):
        yield Text(content)
        return
    if not isinstance(content, Sequence):
        raise DataError(f"expected content as text or parts. Got {type(content).__name__}")
    from linnet.tokenizer.chat import text_parts

    for part in text_parts(content, "a message"):
        yield Text(part["text"])


def _call(given: Any) -> ToolCall:
    if isinstance(given, Mapping) and given.get("type") == "custom":
        custom = given.get("custom")
        name = custom.get("name") if isinstance(custom, Mapping) else None
        text = custom.get("input") if isinstance(custom, Mapping) else None
        if not isinstance(name, str) or not isinstance(text, str):
            raise DataError(
                f"expected a custom call with its name and input. Got {str(given)[:60]!r}"
            )
        return ToolCall(str(given.get("id") or ""), name, text, custom=True)
    function = given.get("function") if isinstance(given, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str):
        raise DataError(f"expected a call with a function and its name. Got {str(given)[:60]!r}")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    return ToolCall(str(given.get("id") or ""), name, arguments)


def _refuse_unknown(name: str, given: Json, *known: str) -> None:
    if unknown := set(given) - set(known):
        raise DataError(f"tool '{name}': unknown key '{min(unknown)}'")
