"""From the bodies of Ollama's ``/api/chat`` and ``/api/generate`` to a conversation.

Settings are under ``options``. Those that say how a model is loaded are ignored (``LOADING``), and
so is ``num_ctx`` beyond the model's own context: a prompt that does not fit is refused, not cut.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from linnet.respond.conversation import Conversation, Message, Tool
from linnet.respond.pieces import Origin, Reasoning, Text, ToolCall, ToolResult
from linnet.respond.tools import compact
from linnet.serve.errors import ApiError
from linnet.serve.sampling import constraint_of, sampling_of
from linnet.serve.schemas import (
    COLLECTIONS,
    FLAG,
    FUNCTION_NAME,
    MOST_MESSAGES,
    MOST_TOKENS,
    MOST_TOOLS,
    OWN,
    SAMPLING,
    TEXT,
    TOKEN,
    nullable,
    number,
    record,
    whole,
)  # fmt: skip

if TYPE_CHECKING:
    from linnet.respond.conversation import Part
    from linnet.serve.validation import Schema

Body = Mapping[str, Any]

_CLIENT = Origin("user")
_SAME_NAME = tuple(
    name for name in SAMPLING if name not in ("max_tokens", "n_predict", "n", "stop")
)
LOADING = (
    "num_batch", "num_gpu", "num_keep", "num_thread", "main_gpu", "numa", "low_vram", "f16_kv",
    "logits_all", "vocab_only", "use_mmap", "use_mlock", "embedding_only", "penalize_newline",
    "mirostat_tau", "mirostat_eta",
)  # fmt: skip
"""Options that change no text here, or none without others that are refused."""
_BESIDE = {"temperature": "temperature", "top_p": "top_p", "num_predict": "max_output_tokens"}
"""Options that some clients send beside the others (the AI SDK's provider)."""
_DURATION = re.compile(r"(-?)((?:\d+(?:\.\d*)?(?:ns|us|µs|ms|s|m|h))+)")
_ALWAYS = 10 * 365 * 86_400.0
"""So many seconds are as good as for ever."""
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def chat(body: Body, *, longest: int, context: int) -> Conversation:
    """What a body of ``/api/chat`` asks for. ``longest``: the server's limit in tokens, 0 for none;
    ``context``: the model's, 0 where it is not known. Raises ApiError.
    """
    tools = tuple(Tool.from_json(_function(tool)) for tool in body.get("tools") or ())
    choice = body.get("tool_choice") or "auto"
    if not tools and choice not in ("auto", "none"):
        raise ApiError(400, "'tool_choice' is only allowed with 'tools'.", param="tool_choice")
    if not isinstance(choice, str):
        choice = f"tool:{choice['function']['name']}"
    return _conversation(
        body, tuple(_messages(body["messages"])), longest=longest, context=context
    ).replace(tools=tools, tool_choice=choice)


def generate(body: Body, *, longest: int, context: int) -> Conversation:
    """What a body of ``/api/generate`` asks for where its prompt is a question to the model."""
    messages = [Message("user", (Text(body["prompt"]),), origin=_CLIENT)]
    if system := body.get("system"):
        messages.insert(0, Message.of("system", system))
    return _conversation(body, tuple(messages), longest=longest, context=context)


def settings(body: Body, *, longest: int, context: int) -> dict[str, Any]:
    """What both say of how the answer is written, by the names of a conversation."""
    options = dict(body.get("options") or {})
    for name, beside in _BESIDE.items():
        if options.get(name) is None:
            options[name] = body.get(beside)
    if options.get("mirostat"):
        raise ApiError(
            400, "'mirostat' is not here; leave it out, or at 0.", param="options.mirostat"
        )
    if options.get("tfs_z") not in (None, 1):
        raise ApiError(400, "'tfs_z' is not here; leave it out, or at 1.", param="options.tfs_z")
    _check_penalties(options)
    most = options.get("num_predict")
    most = most if most is not None and most > 0 else None
    if options.get("seed") == -1:  # another one each time
        options["seed"] = None
    if options.get("repeat_last_n") == 0:  # the penalty sees nothing
        options["repeat_penalty"] = None
    sampled = {name: options.get(name) for name in (*_SAME_NAME, "stop")}
    limits = [limit for limit in (context, options.get("num_ctx") or 0) if limit]
    return {
        "sampling": sampling_of(
            sampled, most=most, longest=longest, context=int(min(limits, default=0))
        ),
        "fill_context": most is None,
        "constraint": constraint_of({"response_format": _format(body.get("format"))}),
        "logprobs": bool(body.get("logprobs")),
        "top_logprobs": int(body.get("top_logprobs") or 0),
    }


def keep_seconds(given: float | str | None) -> float | None:
    """``keep_alive`` in seconds, negative for as long as can be; None: it says nothing.

    A number is seconds, a text as Go writes durations, such as ``5m`` or ``1h30m``.
    """
    if given is None or given == "":
        return None
    try:
        seconds = float(given)
    except (ValueError, OverflowError):
        seconds = _seconds(given)
    if not math.isfinite(seconds):
        raise ApiError(
            400, f"'keep_alive' must be seconds, or such as 5m. Got '{str(given)[:40]}'",
            param="keep_alive",
        )  # fmt: skip
    return seconds if seconds < _ALWAYS else -1.0


def _seconds(duration: Any) -> float:
    """What Go's notation of a duration says; not a number where it is none."""
    found = _DURATION.fullmatch(str(duration))
    if found is None:
        return math.nan
    parts = re.findall(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|s|m|h)", found[2])
    seconds = sum(float(count) * _UNITS[unit] for count, unit in parts)
    return -seconds if found[1] else seconds


def check_images(images: Any, where: str) -> None:
    """Raise ApiError where there are any."""
    if images:
        raise ApiError(
            400, f"'{where}': images are not read here: a model of text cannot.", param=where
        )


def _conversation(
    body: Body, messages: tuple[Message, ...], *, longest: int, context: int
) -> Conversation:
    think = body.get("think")
    return Conversation(
        messages,
        separate_reasoning=True,
        continue_final_message=messages[-1].role == "assistant",
        template_variables={} if think is None else {"enable_thinking": bool(think)},
        **settings(body, longest=longest, context=context),
    )


def _check_penalties(options: Mapping[str, Any]) -> None:
    """Penalties see the whole text here, and not its last tokens alone."""
    penalised = any(
        options.get(name) not in (None, neutral)
        for name, neutral in (
            ("repeat_penalty", 1), ("presence_penalty", 0), ("frequency_penalty", 0),
        )
    )  # fmt: skip
    if penalised and options.get("repeat_last_n") not in (None, 0, -1):
        raise ApiError(
            400, "'repeat_last_n' must be -1, the whole text, or 0, which is without a penalty.",
            param="options.repeat_last_n",
        )  # fmt: skip


def _format(given: Any) -> dict[str, Any] | None:
    if not given:
        return None
    if given == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"schema": given}}


def _function(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A tool as OpenAI's clients send it, of which Ollama's differ in nothing that matters."""
    return {"type": "function", "function": dict(tool["function"])}


def _messages(given: Iterable[Mapping[str, Any]]) -> Iterator[Message]:
    """The turns; calls have no ids of their own here, so results are told by name and order."""
    waiting: list[ToolCall] = []
    count = 0
    for place, message in enumerate(given):
        role, text = message["role"], message.get("content") or ""
        check_images(message.get("images"), f"messages[{place}].images")
        parts: list[Part] = [Text(text)] if text else []
        if role == "tool":
            name = message.get("tool_name") or message.get("name")
            wanted = message.get("tool_call_id")
            if not wanted:
                own = next((call for call in waiting if call.name == name), None)
                own = own or (waiting[0] if waiting and not name else None)
                if own is not None:
                    waiting.remove(own)
                    wanted = own.id
            parts = [ToolResult(wanted or "", text)]
        elif role == "assistant":
            if message.get("thinking"):
                parts.insert(0, Reasoning(message["thinking"]))
            waiting = []
            for call in message.get("tool_calls") or ():
                function, count = call["function"], count + 1
                arguments = function.get("arguments") or {}
                written = arguments if isinstance(arguments, str) else compact(arguments)
                own_id = call.get("id") or f"call{count:05d}"
                waiting.append(ToolCall(own_id, function["name"], written))
            parts += waiting
        yield Message(role, tuple(parts), origin=_CLIENT if role == "user" else None)


_IMAGES = {"type": ["array", "null"], "description": "Refused, unless there are none."}
_CALL = record(
    {
        "id": nullable(TEXT),
        "function": record(
            {"name": TEXT, "arguments": {"type": ["object", "string", "null"]}},
            required=("name",), more=True,
        ),
    },
    required=("function",), more=True,
)  # fmt: skip
_MESSAGE = record(
    {
        "role": {"enum": ["system", "user", "assistant", "tool"]},
        "content": nullable(TEXT),
        "thinking": nullable(TEXT),
        "images": _IMAGES,
        "tool_calls": {"type": ["array", "null"], "items": _CALL, "maxItems": 128},
        "tool_name": nullable(TEXT),
        "tool_call_id": nullable(TEXT),
        "name": nullable(TEXT),
    },
    required=("role",), more=True,
)  # fmt: skip
_TOOL = record(
    {
        "type": {"type": ["string", "null"], "enum": ["function", None]},
        "function": record(
            {
                "name": FUNCTION_NAME,
                "description": nullable(TEXT),
                "parameters": nullable({"type": "object"}),
                "strict": FLAG,
            },
            required=("name",),
        ),
    },
    required=("function",), more=True,
)  # fmt: skip
_TOOL_CHOICE: Schema = {
    "anyOf": [
        {"type": ["string", "null"], "enum": ["auto", "none", "required", None]},
        record({"function": record({"name": FUNCTION_NAME}, required=("name",), more=True)},
               required=("function",), more=True),
    ],
    "description": "As OpenAI has it: some clients send it, though Ollama does not know it.",
}  # fmt: skip
OPTIONS: Schema = nullable(record(
    {
        **{name: SAMPLING[name] for name in _SAME_NAME},
        "stop": SAMPLING["stop"],
        "num_predict": whole(-2, 2**31 - 1, "The most tokens; below 1: as the context allows."),
        "num_ctx": whole(0, 2**31 - 1, "No more than the model's own context is used."),
        "repeat_last_n": whole(-1, 2**31 - 1, "-1, or 0 for no repeat_penalty."),
        "mirostat": whole(0, 2, "0: there is none."),
        "tfs_z": number(0, 1000, "1: there is none."),
        **{name: {"description": "Accepted, and without effect here."} for name in LOADING},
    }
))  # fmt: skip
KEEP_ALIVE: Schema = {
    "type": ["number", "string", "null"], "maxLength": 40,
    "description": "How long the model stays loaded: seconds, or such as 5m; below 0: always.",
}  # fmt: skip
MODEL: Schema = {"type": "string", "minLength": 1, "maxLength": 256}
_WRITING: dict[str, Schema] = {
    "model": MODEL,
    "options": OPTIONS,
    "format": {
        "anyOf": [{"enum": ["", "json", None], "type": ["string", "null"]}, {"type": "object"}],
        "description": "json, or a JSON Schema of the answer.",
    },
    "stream": {**FLAG, "description": "Whether as it is written, a line of JSON each; usual."},
    **{
        beside: {**OPTIONS["properties"][name], "description": f"As options.{name}."}
        for name, beside in _BESIDE.items()
    },
    "think": {
        "anyOf": [FLAG, {"type": "string", "enum": ["low", "medium", "high"]}],
        "description": "Whether the model thinks before it answers.",
    },
    "keep_alive": KEEP_ALIVE,
    "logprobs": FLAG,
    "top_logprobs": whole(0, 20, "How many of the likeliest tokens to tell."),
    "truncate": {**FLAG, "description": "Without effect: a prompt is never cut."},
    "shift": {**FLAG, "description": "Without effect: nothing is shifted out of the context."},
    "collections": COLLECTIONS,
    **OWN,
}
CHAT_BODY: Schema = record(
    {
        **_WRITING,
        "messages": {"type": ["array", "null"], "maxItems": MOST_MESSAGES, "items": _MESSAGE},
        "tools": {"type": ["array", "null"], "maxItems": MOST_TOOLS, "items": _TOOL},
        "tool_choice": _TOOL_CHOICE,
    },
    required=("model",),
)
GENERATE_BODY: Schema = record(
    {
        **_WRITING,
        "prompt": nullable(TEXT),
        "suffix": {**nullable(TEXT), "description": "What comes after the text to be written."},
        "system": nullable(TEXT),
        "template": {
            "type": ["string", "null"],
            "description": "Refused: templates are the models' own; raw sends a prompt as it is.",
        },
        "raw": {**FLAG, "description": "Whether the prompt is continued as it is."},
        "context": {
            "type": ["array", "null"], "items": TOKEN, "maxItems": MOST_TOKENS,
            "description": "Of an earlier answer: the conversation so far as tokens.",
        },
        "images": _IMAGES,
    },
    required=("model",),
)  # fmt: skip
