"""``/v1/chat/completions``: from OpenAI's body to a conversation, which a responder answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from linnet.errors import LinnetError
from linnet.respond.conversation import Conversation, Message, Tool
from linnet.respond.pieces import Origin
from linnet.serve.asgi import Call
from linnet.serve.endpoint import Endpoint
from linnet.serve.errors import ApiError, refused
from linnet.serve.sampling import (
    check_streaming,
    constraint_of,
    most_tokens,
    sampling_of,
    wants_usage,
)
from linnet.serve.schemas import (
    COLLECTIONS,
    FLAG,
    FUNCTION_NAME,
    IGNORED,
    MESSAGES,
    MODEL,
    MOST_TOOLS,
    OPEN_END,
    OWN,
    RESPONSE_FORMAT,
    SAMPLING,
    STREAMING,
    TEXT,
    answer_schema,
    listed,
    nullable,
    record,
    whole,
)  # fmt: skip
from linnet.serve.shapes import OPENAI_FRAMING, ChatShape

if TYPE_CHECKING:
    from linnet.respond.context import Context
    from linnet.respond.responder import Batches
    from linnet.serve.service import Service
    from linnet.serve.validation import Schema

_RESERVED = frozenset(
    (
        "messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "self",
    )
)  # fmt: skip
_CLIENT = Origin("user")


async def answer(service: Service, call: Call) -> None:
    """POST /v1/chat/completions."""
    body, responder = call.body, call.model.conversing
    if body.get("collections") is not None and call.model.assistant is None:
        raise ApiError(400, f"'{call.model.name}' has no documents.", param="collections")
    asked = await service.prepare(
        call, lambda: chat(body, longest=service.config.max_tokens, context=call.model.context)
    )

    def write(context: Context) -> Batches:
        return responder.respond(asked, context)

    shape = ChatShape(
        call.model, usage=wants_usage(body), logprobs=asked.logprobs, legacy=is_legacy(body)
    )
    await service.generate(call, write, shape, texts=asked.choices, asked=asked)


def chat(body: Mapping[str, Any], *, longest: int, context: int) -> Conversation:
    """What a body asks for. ``longest``: the server's limit in tokens, 0 for none; ``context``: the
    model's, 0 where it is not known. Raises ApiError.
    """
    check_streaming(body)
    if body.get("top_logprobs") and not body.get("logprobs"):
        raise ApiError(400, "'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    tools, choice, allowed = _tools(body)
    most = most_tokens(body)
    return conversation(body).replace(
        tools=tools,
        tool_choice=choice,
        allowed=allowed,
        parallel_tool_calls=not is_legacy(body) and body.get("parallel_tool_calls") is not False,
        sampling=sampling_of(body, most=most, longest=longest, context=context),
        fill_context=most is None,
        constraint=constraint_of(body),
        choices=int(body.get("n") or 1),
        logprobs=bool(body.get("logprobs")),
        top_logprobs=int(body.get("top_logprobs") or 0),
    )


def is_legacy(body: Mapping[str, Any]) -> bool:
    """Whether a body has ``functions``, as before there were tools: an answer is one call."""
    return body.get("functions") is not None or body.get("function_call") is not None


def _tools(body: Mapping[str, Any]) -> tuple[tuple[Tool, ...], str, tuple[str, ...] | None]:
    """The tools of a body, which one is to be called, and the names of those that may be."""
    given, choice = body.get("tools") or (), body.get("tool_choice") or "auto"
    kind, name = "tools", "tool_choice"
    if is_legacy(body):
        if given:
            raise ApiError(400, "'functions' and 'tools' exclude each other.", param="functions")
        given = [
            {"type": "function", "function": function} for function in body.get("functions") or ()
        ]
        choice = body.get("function_call") or "auto"
        kind, name = "functions", "function_call"
        if isinstance(choice, dict):
            choice = {"type": "function", "function": choice}
    try:
        tools = tuple(map(Tool.from_json, given))
    except LinnetError as error:
        raise refused(error, param="tools") from None
    if not tools and choice not in ("auto", "none"):
        raise ApiError(400, f"'{name}' is only allowed with '{kind}'.", param=name)
    if isinstance(choice, str):
        return tools, choice, None
    kind = str(choice["type"])
    if kind == "allowed_tools":
        allowed = choice["allowed_tools"]
        names = tuple(tool[tool["type"]]["name"] for tool in allowed["tools"])
        return tools, allowed["mode"], names
    return tools, f"tool:{choice[kind]['name']}", None


def conversation(body: Mapping[str, Any]) -> Conversation:
    """The messages of a body, and what its chat template is given. Raises ApiError."""
    variables = dict(body.get("chat_template_kwargs") or {})
    for name in variables:
        if not name.isidentifier() or name in _RESERVED:
            raise ApiError(
                400, f"'{name[:60]}' cannot be given to a chat template.",
                param="chat_template_kwargs",
            )  # fmt: skip
    open_end = bool(body.get("continue_final_message"))
    if open_end and body.get("add_generation_prompt"):
        raise ApiError(
            400, "'continue_final_message' and 'add_generation_prompt' cannot both be true.",
            param="continue_final_message",
        )  # fmt: skip
    try:
        messages = tuple(_message(message) for message in body["messages"])
    except LinnetError as error:
        raise refused(error, param="messages") from None
    return Conversation(
        messages,
        continue_final_message=open_end,
        add_generation_prompt=body.get("add_generation_prompt") is not False,
        template_variables=variables,
    )


def _message(given: Mapping[str, Any]) -> Message:
    """A message with what templates know of it; clients send more, which they ignore."""
    known = ("role", "content", "name", "reasoning_content", "tool_calls", "tool_call_id")
    if given["role"] == "function":  # the answer to a function_call
        given = {**given, "role": "tool"}
    elif given.get("function_call") and not given.get("tool_calls"):
        call = {"id": "", "type": "function", "function": given["function_call"]}
        given = {**given, "tool_calls": [call]}
    return Message.from_json(
        {name: given[name] for name in known if given.get(name)},
        origin=_CLIENT if given["role"] == "user" else None,
    )


_FUNCTION: Schema = record(
    {
        "name": FUNCTION_NAME,
        "description": nullable(TEXT),
        "parameters": nullable({"type": "object"}),
        "strict": FLAG,
    },
    required=("name",),
)
_CUSTOM: Schema = record(
    {
        "name": FUNCTION_NAME,
        "description": nullable(TEXT),
        "format": {
            "type": ["object", "null"],
            "description": "Text, or a grammar with the syntax regex. Lark is not read here.",
        },
    },
    required=("name",),
)


def _of_kind(kind: str, inner: Schema) -> Schema:
    return record({"type": {"const": kind}, kind: inner}, required=("type", kind))


_NAMED = record({"name": FUNCTION_NAME}, required=("name",))
_NAMED_TOOLS = [_of_kind("function", _NAMED), _of_kind("custom", _NAMED)]
TOOLS: Schema = {
    "type": ["array", "null"],
    "maxItems": MOST_TOOLS,
    "items": {"anyOf": [_of_kind("function", _FUNCTION), _of_kind("custom", _CUSTOM)]},
}
TOOL_CHOICE: Schema = {
    "anyOf": [
        {"type": ["string", "null"], "enum": ["none", "auto", "required", None]},
        *_NAMED_TOOLS,
        _of_kind(
            "allowed_tools",
            record(
                {
                    "mode": {"enum": ["auto", "required"]},
                    "tools": {
                        "type": "array", "items": {"anyOf": _NAMED_TOOLS}, "minItems": 1,
                        "maxItems": MOST_TOOLS,
                    },
                },
                required=("mode", "tools"),
            ),
        ),
    ]
}  # fmt: skip
BODY: Schema = record(
    {
        "model": MODEL,
        "messages": MESSAGES,
        **SAMPLING,
        "max_completion_tokens": whole(-1, 2**31 - 1, "As max_tokens, and before it."),
        **STREAMING,
        "logprobs": FLAG,
        "top_logprobs": whole(0, 20, "How many of the likeliest tokens to tell. With logprobs."),
        "response_format": RESPONSE_FORMAT,
        "tools": TOOLS,
        "tool_choice": TOOL_CHOICE,
        "functions": {
            "type": ["array", "null"], "maxItems": MOST_TOOLS, "items": _FUNCTION,
            "description": "As tools, in the form before them; the answer has a function_call.",
        },
        "function_call": {
            "anyOf": [
                {"type": ["string", "null"], "enum": ["none", "auto", None]}, _NAMED,
            ],
            "description": "As tool_choice. With functions.",
        },
        "parallel_tool_calls": {
            **FLAG, "description": "When false, an answer has one call at most.",
        },
        **OPEN_END,
        "chat_template_kwargs": {
            "type": ["object", "null"], "maxProperties": 32,
            "description": "More that the chat template is given, such as enable_thinking.",
        },
        "modalities": {
            "type": ["array", "null"], "items": {"const": "text"}, "maxItems": 8,
            "description": "Only text.",
        },
        "collections": COLLECTIONS,
        **OWN,
        **IGNORED,
    },
    required=("messages",),
)  # fmt: skip
_CHOICE = record(
    {
        "index": {"type": "integer", "minimum": 0},
        "message": record(
            {
                "role": {"const": "assistant"},
                "content": nullable(TEXT),
                "refusal": nullable(TEXT),
                "reasoning_content": TEXT,
                "tool_calls": listed({"type": "object"}),
                "function_call": {"type": "object"},
                "annotations": listed({"type": "object"}),
                "linnet": listed({"type": "object"}),
            },
            required=("role", "content", "refusal"),
        ),
        "logprobs": {"type": ["object", "null"]},
        "finish_reason": {"enum": ["stop", "length", "tool_calls", "function_call"]},
    },
    required=("index", "message", "logprobs", "finish_reason"),
)

CHAT = Endpoint(
    "POST", "/v1/chat/completions", answer, "Answer a conversation.",
    body=BODY, answer=answer_schema("chat.completion", _CHOICE), streams=True,
    framing=OPENAI_FRAMING,
)  # fmt: skip
