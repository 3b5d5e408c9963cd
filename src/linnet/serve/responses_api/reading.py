"""From a body of ``/v1/responses`` to a conversation, and what the answer repeats of the body.

Reference: https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linnet.errors import LinnetError
from linnet.respond.conversation import ContextFullError, Conversation, Message, Tool
from linnet.respond.engine import EngineResponder
from linnet.respond.pieces import ToolResult, new_id
from linnet.serve.errors import ApiError, openai_error, refused
from linnet.serve.responses_api.items import INPUT_ITEMS, Item, messages_of
from linnet.serve.sampling import check_streaming, constraint_of, sampling_of
from linnet.serve.schemas import (
    COLLECTIONS,
    FLAG,
    FUNCTION_NAME,
    IGNORED,
    MODEL,
    MOST_TOOLS,
    OWN,
    SAMPLING,
    TEXT,
    nullable,
    record,
    whole,
)  # fmt: skip
from linnet.serve.validation import Schema

FILE_SEARCH = "file_search"
_RESULTS = "file_search_call.results"
_LOGPROBS = "message.output_text.logprobs"
_NAMES = {
    "messages": "input", "response_format": "text.format", "max_tokens": "max_output_tokens",
    "logprobs": "include", "items": "input",
}  # fmt: skip
"""What this interface calls the parts of a request that others name otherwise."""


def renamed(error: ApiError) -> ApiError:
    """The same error, by the names that this interface has."""
    if error.code == "unknown_parameter":  # it is the client's name
        return error
    for name, own in _NAMES.items():
        error.message = error.message.replace(f"'{name}'", f"'{own}'")
        if name == "messages":
            error.message = error.message.replace("your messages", "your input").replace(
                "the messages", "the input"
            )
        if error.param == name or (error.param or "").startswith((f"{name}.", f"{name}[")):
            error.param = own + (error.param or "")[len(name) :]
            break
    return error


def responses_error(error: ApiError) -> bytes:
    """As clients of this interface read it."""
    return openai_error(renamed(error))


@dataclass(frozen=True)
class Asked:
    """What a body asks for."""

    conversation: Conversation
    given: Sequence[Item]
    """The items of the input."""
    body: Mapping[str, Any]
    """The response as it begins."""
    is_kept: bool
    truncates: bool
    summarizes: bool
    """Whether reasoning is wanted as a summary."""
    shows_results: bool = False
    """Whether the passages that a search found are wanted."""

    @property
    def question(self) -> str:
        """What the user said last."""
        said = [m.text for m in self.conversation.messages if m.role == "user"]
        return said[-1] if said else ""


def read(
    body: Mapping[str, Any],
    given: Sequence[Item],
    history: Sequence[Item],
    *,
    model: str,
    longest: int,
    context: int,
) -> Asked:
    """What a body asks for, with the items of its input and those before it. ``longest``: the
    server's limit in tokens, 0 for none; ``context``: the model's. Raises ApiError.
    """
    check_streaming(body)
    _refuse_repeated(given, history)
    tools = tuple(_tool(each) for each in body.get("tools") or () if each["type"] != FILE_SEARCH)
    choice, allowed = _choice(body.get("tool_choice") or "auto")
    if stores_of(body) is not None:
        if tools:
            raise ApiError(
                400, "file_search cannot be had together with other tools here.", param="tools"
            )
        choice = "auto"
    if not tools and choice not in ("auto", "none"):
        raise ApiError(400, "'tool_choice' is only allowed with 'tools'.", param="tool_choice")
    most, included = body.get("max_output_tokens"), body.get("include") or ()
    form = (body.get("text") or {}).get("format") or {"type": "text"}
    sampling = sampling_of(body, most=most, longest=longest, context=context)
    asked = Conversation(
        messages_of([*history, *given], body.get("instructions")),
        tools=tools,
        tool_choice=choice,
        allowed=allowed,
        parallel_tool_calls=body.get("parallel_tool_calls") is not False,
        sampling=sampling,
        fill_context=most is None,
        constraint=constraint_of({"response_format": _format(form)}),
        logprobs=_LOGPROBS in included or bool(body.get("top_logprobs")),
        top_logprobs=int(body.get("top_logprobs") or 0),
    )
    thinking = body.get("reasoning") or {}
    return Asked(
        asked,
        given,
        _response(body, model, temperature=sampling.temperature, top_p=sampling.top_p, form=form),
        is_kept=body.get("store") is not False,
        truncates=body.get("truncation") == "auto",
        summarizes=bool(thinking.get("summary") or thinking.get("generate_summary")),
        shows_results=_RESULTS in included,
    )


def conversation_of(body: Mapping[str, Any]) -> str | None:
    """The conversation that a body names. Raises ApiError beside a previous response."""
    given = body.get("conversation")
    name: str | None = given["id"] if isinstance(given, Mapping) else given
    if name is not None and body.get("previous_response_id") is not None:
        raise ApiError(
            400, "'previous_response_id' and 'conversation' cannot be had together.",
            param="conversation", code="mutually_exclusive_parameters",
        )  # fmt: skip
    return name


def stores_of(body: Mapping[str, Any]) -> Sequence[str] | None:
    """The vector stores that an answer is to be searched in; None: it is not."""
    if body.get("tool_choice") == "none":
        return None
    for tool in body.get("tools") or ():
        if tool["type"] == FILE_SEARCH:
            stores: Sequence[str] = tool["vector_store_ids"]
            return stores
    return None


def _refuse_repeated(given: Sequence[Item], history: Sequence[Item]) -> None:
    seen = {item["id"] for item in history}
    for item in given:
        if item["id"] in seen:
            raise ApiError(
                400, f"Duplicate item found with id {item['id'][:100]}. Remove duplicate items "
                "from your input and try again.", param="input", code="duplicate_item",
            )  # fmt: skip
        seen.add(item["id"])


def _tool(given: Mapping[str, Any]) -> Tool:
    if given["type"] == "custom":
        try:
            return Tool.taking_text(given["name"], given.get("description"), given.get("format"))
        except LinnetError as error:
            raise refused(error, param="tools") from None
    return Tool(
        given["name"], given.get("description"), given.get("parameters"), given.get("strict")
    )


def _choice(given: Any) -> tuple[str, tuple[str, ...] | None]:
    """``tool_choice`` as conversations have it, and the tools that it allows."""
    if isinstance(given, str):
        return given, None
    if given["type"] == "allowed_tools":
        return given["mode"], tuple(tool["name"] for tool in given["tools"])
    if given["type"] == FILE_SEARCH:
        return "required", None
    return f"tool:{given['name']}", None


def _format(form: Mapping[str, Any]) -> Mapping[str, Any]:
    """``text.format`` as chat has it, which nests a schema."""
    if form["type"] != "json_schema":
        return form
    return {"type": "json_schema", "json_schema": {k: v for k, v in form.items() if k != "type"}}


def _response(
    body: Mapping[str, Any],
    model: str,
    *,
    temperature: float,
    top_p: float,
    form: Mapping[str, Any],
) -> dict[str, Any]:
    """The response as it begins: what was asked for, with what was taken where nothing was."""
    thinking, name = body.get("reasoning") or {}, conversation_of(body)
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "conversation": None if name is None else {"id": name},
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "metadata": body.get("metadata") or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": thinking.get("effort"), "summary": thinking.get("summary")},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": "default",
        "store": body.get("store") is not False,
        "temperature": temperature,
        "text": {"format": form},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": [
            {"parameters": None, "strict": None, **tool} if tool["type"] == "function" else tool
            for tool in body.get("tools") or ()
        ],
        "top_logprobs": body.get("top_logprobs") or 0,
        "top_p": top_p,
        "truncation": body.get("truncation") or "disabled",
        "usage": None,
        "user": body.get("user"),
    }


def truncated(conversation: Conversation, responder: EngineResponder) -> tuple[Conversation, int]:
    """The conversation without so many of its oldest messages that it fits, with space to answer;
    and how many these are.

    System messages at the beginning stay, and so does everything from the last message of the user
    on. The result of a call goes with the call.
    """
    messages = conversation.messages
    first = next((n for n, m in enumerate(messages) if m.role != "system"), len(messages))
    last = max((n for n, m in enumerate(messages) if m.role == "user"), default=first)
    begins = [n for n in range(first, last + 1) if _may_begin(messages[n])]
    context = responder.engine.context
    space = context // 4
    if not conversation.fill_context:
        space = min(conversation.sampling.max_tokens, space)

    def without(begin: int) -> Conversation:
        return conversation.replace(messages=(*messages[:first], *messages[begin:]))

    def fits(begin: int) -> bool:
        try:
            return len(responder.prompt(without(begin))) + space <= context
        except ContextFullError:
            return False

    if not begins or fits(first):
        return conversation, 0
    low, high = 0, len(begins) - 1  # the more is left out, the less there is
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(begins[middle]) else (middle + 1, high)
    return without(begins[low]), begins[low] - first


def _may_begin(message: Message) -> bool:
    return not any(isinstance(part, ToolResult) for part in message.parts)


_NULL: Schema = {"type": "null", "description": "Not supported."}
_NAME: Schema = {"name": FUNCTION_NAME}
_COMMON: dict[str, Schema] = {
    "name": FUNCTION_NAME,
    "description": nullable(TEXT),
    "defer_loading": {"enum": [False, None]},
    "allowed_callers": {"type": ["array", "null"], "items": {"const": "direct"}},
    "async": {"enum": [False, None]},
}
TOOLS: Schema = {
    "type": ["array", "null"],
    "maxItems": MOST_TOOLS,
    "items": {
        "anyOf": [
            record(
                {
                    "type": {"const": "function"},
                    "parameters": nullable({"type": "object"}),
                    "strict": FLAG,
                    **_COMMON,
                },
                required=("type", "name"),
            ),
            record(
                {
                    "type": {"const": "custom"},
                    "format": {
                        "anyOf": [
                            {"type": "null"},
                            record({"type": {"const": "text"}}, required=("type",)),
                            record(
                                {
                                    "type": {"const": "grammar"},
                                    "syntax": {"enum": ["lark", "regex"]},
                                    "definition": TEXT,
                                },
                                required=("type", "syntax", "definition"),
                            ),
                        ]
                    },
                    **_COMMON,
                },
                required=("type", "name"),
            ),
            record(
                {
                    "type": {"const": FILE_SEARCH},
                    "vector_store_ids": {
                        "type": "array", "items": TEXT, "minItems": 1, "maxItems": 16,
                        "description": "Ids of stores, or names of models with documents.",
                    },
                    "max_num_results": whole(1, 50, "How many passages are told of."),
                    "filters": _NULL,
                    "ranking_options": _NULL,
                },
                required=("type", "vector_store_ids"),
            ),
        ]
    },
}  # fmt: skip
_NAMED = record({"type": {"enum": ["function", "custom"]}, **_NAME}, required=("type", "name"))
TOOL_CHOICE: Schema = {
    "anyOf": [
        {"type": ["string", "null"], "enum": ["none", "auto", "required", None]},
        _NAMED,
        record({"type": {"const": FILE_SEARCH}}, required=("type",)),
        record(
            {
                "type": {"const": "allowed_tools"},
                "mode": {"enum": ["auto", "required"]},
                "tools": {"type": "array", "items": _NAMED, "minItems": 1, "maxItems": MOST_TOOLS},
            },
            required=("type", "mode", "tools"),
        ),
    ]
}
FORMAT: Schema = {
    "anyOf": [
        {"type": "null"},
        record({"type": {"const": "text"}}, required=("type",)),
        record({"type": {"const": "json_object"}}, required=("type",)),
        record(
            {
                "type": {"const": "json_schema"},
                "name": {"type": "string", "maxLength": 64},
                "description": nullable(TEXT),
                "schema": {"type": "object"},
                "strict": FLAG,
            },
            required=("type", "name", "schema"),
        ),
        record(
            {"type": {"const": "regex"}, "regex": {"type": "string", "minLength": 1}},
            required=("type", "regex"),
        ),
        record(
            {"type": {"const": "grammar"}, "grammar": {"type": "string", "minLength": 1}},
            required=("type", "grammar"),
        ),
    ],
    "description": "What the text must be; regex and grammar (GBNF) are not OpenAI's.",
}
_INCLUDED = [
    _LOGPROBS, _RESULTS, "reasoning.encrypted_content",
    "message.input_image.image_url", "computer_call_output.output.image_url",
    "code_interpreter_call.outputs", "web_search_call.results", "web_search_call.action.sources",
]  # fmt: skip
_OWN = {name: SAMPLING[name] for name in SAMPLING if name not in ("n", "max_tokens")}
INPUT: dict[str, Schema] = {
    "model": MODEL,
    "input": {"anyOf": [TEXT, INPUT_ITEMS]},
    "instructions": nullable(TEXT),
    "previous_response_id": {"type": ["string", "null"], "minLength": 1, "maxLength": 128},
    "conversation": {
        "anyOf": [
            {"type": ["string", "null"], "minLength": 1, "maxLength": 128},
            record({"id": {"type": "string", "minLength": 1, "maxLength": 128}}, required=("id",)),
        ]
    },
    "tools": TOOLS,
    "tool_choice": TOOL_CHOICE,
    "parallel_tool_calls": FLAG,
    "text": nullable(
        record({"format": FORMAT, "verbosity": IGNORED["verbosity"]}),
    ),
    "reasoning": nullable(
        record(
            {
                name: {"type": ["string", "null"]}
                for name in ("effort", "summary", "generate_summary", "context", "mode")
            }
        )
    ),
    "truncation": {
        "type": ["string", "null"],
        "enum": ["auto", "disabled", None],
        "description": "auto: leave out the oldest messages of what does not fit.",
    },
}
BODY: Schema = record(
    {
        **INPUT,
        **_OWN,
        "max_output_tokens": whole(1, 2**31 - 1, "The longest answer."),
        "max_tool_calls": {**whole(1, 2**31 - 1, ""), "description": "Of tools of this server."},
        "metadata": {
            "type": ["object", "null"], "maxProperties": 16,
            "additionalProperties": {"type": "string", "maxLength": 512},
        },
        "include": {
            "type": ["array", "null"], "items": {"enum": _INCLUDED}, "maxItems": len(_INCLUDED),
        },
        "top_logprobs": whole(0, 20, "How many of the likeliest tokens to tell."),
        "store": {**FLAG, "description": "Whether to keep the response (usual), for a while."},
        "stream": FLAG,
        "stream_options": nullable(record({"include_obfuscation": FLAG})),
        "background": {"enum": [False, None], "description": "Not supported."},
        "user": nullable(TEXT),
        "safety_identifier": nullable(TEXT),
        "prompt_cache_key": nullable(TEXT),
        "prompt_cache_retention": IGNORED["prompt_cache_retention"],
        "prompt_cache_options": IGNORED["prompt_cache_options"],
        "service_tier": IGNORED["service_tier"],
        "collections": COLLECTIONS,
        **OWN,
        "prompt": _NULL,
        "context_management": _NULL,
        "moderation": _NULL,
    },
    required=("input",),
)  # fmt: skip
