"""From the body of a request to what the engine is asked."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from linnet.errors import LinnetError
from linnet.generate.constraint import Constraint
from linnet.generate.engine import Request
from linnet.generate.sampling import Sampling
from linnet.serve.errors import ApiError, context_full, refused
from linnet.serve.lengths import require_fitting, texts_of_chat
from linnet.serve.schemas import NUMBERS
from linnet.serve.tools import ToolReader, call_schema, template_messages, told_in_words
from linnet.tokenizer.chat import joined_text

if TYPE_CHECKING:
    from linnet.generate.engine import Engine
    from linnet.serve.catalog import Served

Body = Mapping[str, Any]

LARGEST_SEED = 1 << 63
USUAL_COMPLETION = 16
"""Tokens of a completion that asks for no number of them, as OpenAI has it."""
SMALL_CONTEXT = 2048
"""In up to so many tokens, an answer of no stated length leaves space for the next message."""
T = TypeVar("T")
_RESERVED = frozenset(
    (
        "messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "self",
    )
)  # fmt: skip
_SAME_NAME = tuple(name for name in NUMBERS if name not in ("max_tokens", "top_p"))


@dataclass(frozen=True)
class Asked:
    """The texts to write, ``choices`` for each prompt in order."""

    requests: tuple[Request, ...]
    choices: int
    echoes: tuple[str, ...] = ()
    """For each prompt, what to put before its texts."""
    tools: tuple[str, ...] = ()
    """Names of the tools that may be called."""
    demanded: bool = False
    """Whether a call must come."""
    several: bool = True
    """Whether more than one may."""

    def reader(self, model: Served) -> ToolReader | None:
        """What tells calls from words, where there may be calls."""
        if not self.tools:
            return None
        return ToolReader(model.tools, self.tools, demanded=self.demanded, several=self.several)


def ask_chat(body: Body, model: Served, *, longest: int) -> Asked:
    """What a chat asks for. ``longest``: the server's limit in tokens, 0 for none."""
    _check_streaming(body)
    if body.get("top_logprobs") and not body.get("logprobs"):
        raise ApiError(400, "'top_logprobs' needs 'logprobs' to be true.", param="top_logprobs")
    choice = body.get("tool_choice") or "auto"
    tools = [_without_nulls(tool) for tool in body.get("tools") or ()]
    if not tools and choice not in ("auto", "none"):
        raise ApiError(400, "'tool_choice' is only allowed with 'tools'.", param="tool_choice")
    used = tools if choice != "none" else []
    demanded = bool(used) and choice != "auto"
    constraint = _constraint(body)
    if used and constraint is not None:
        raise ApiError(
            400, "'response_format' and 'tools' cannot be had together here; "
            "set 'tool_choice' to 'none' for an answer of that form.", param="response_format",
        )  # fmt: skip
    prompt = chat_prompt(body, model, used)
    several = body.get("parallel_tool_calls") is not False
    if demanded:
        named = choice["function"]["name"] if isinstance(choice, dict) else None
        schema = call_schema(model.tools, used, name=named, several=several)
        constraint = _made(Constraint, "tools", "json_schema", schema)
        if model.tools.prefix:
            prompt += tuple(model.writer.tokenize(model.tools.prefix, special=True))
    context = model.writer.context
    if len(prompt) >= context:
        raise context_full(len(prompt), context, param="messages")
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    if most is None:
        most = _usual_answer(len(prompt), context)
    request = Request(
        prompt,
        _sampling(body, most=int(most), longest=longest, context=context),
        logprobs=bool(body.get("logprobs")),
        adapter=model.adapter,
        top_logprobs=int(body.get("top_logprobs") or 0),
        constraint=constraint,
    )
    count = int(body.get("n") or 1)
    names = tuple(tool["function"]["name"] for tool in used)
    return Asked(
        _repeated([request], count), count, tools=names, demanded=demanded, several=several
    )


def ask_completion(body: Body, model: Served, *, longest: int) -> Asked:
    """What a completion asks for."""
    _check_streaming(body)
    count = int(body.get("n") or 1)
    if body.get("best_of") not in (None, count):
        raise ApiError(400, "'best_of' must be 'n': every text is given.", param="best_of")
    logprobs = body.get("logprobs")
    if body.get("echo") and logprobs is not None:
        raise ApiError(
            400, "'echo' gives no probabilities of the prompt; leave out 'logprobs'.", param="echo"
        )
    engine = model.writer
    most = int(body.get("max_tokens") or USUAL_COMPLETION)
    sampling = _sampling(body, most=most, longest=longest, context=engine.context)
    constraint = _constraint(body)
    prompts = _prompts(body["prompt"])
    for prompt in prompts:
        if isinstance(prompt, str):
            require_fitting([prompt], engine.context, _counter(engine), param="prompt")
        elif len(prompt) >= engine.context:
            raise context_full(len(prompt), engine.context, param="prompt")
    requests = [
        Request(
            prompt,
            sampling,
            logprobs=logprobs is not None,
            adapter=model.adapter,
            top_logprobs=int(logprobs or 0),
            constraint=constraint,
        )
        for prompt in prompts
    ]
    echoes = tuple(
        prompt if isinstance(prompt, str) else engine.detokenize(prompt)
        for prompt in prompts
        if body.get("echo")
    )
    return Asked(_repeated(requests, count), count, echoes=echoes)


def chat_prompt(body: Body, model: Served, tools: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """A conversation as tokens, up to the answer."""
    engine = model.writer
    if not model.is_chat:
        raise ApiError(
            400, f"The model '{model.name}' has no chat template; use /v1/completions.",
            param="model", code="no_chat_template",
        )  # fmt: skip
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
    if open_end:
        variables["continue_final_message"] = True
    elif body.get("add_generation_prompt") is False:
        variables["add_generation_prompt"] = False
    messages = [_message(message) for message in body["messages"]]
    called = tools or any(m.get("tool_calls") or m["role"] == "tool" for m in messages)
    if called and not model.tools.native:
        messages = [{**m, "content": joined_text(m["content"])} for m in messages]
        messages, tools = told_in_words(messages, tools, system=model.tools.system), ()
    require_fitting(
        texts_of_chat(messages, tools), engine.context, _counter(engine), param="messages"
    )
    try:
        return engine.chat_prompt(template_messages(messages), tools=tools, **variables)
    except LinnetError as error:
        raise refused(error, param="messages") from None


def _counter(engine: Engine) -> Callable[[str], int]:
    return lambda text: len(engine.tokenize(text))


def too_long(error: LinnetError, request: Request, model: Served) -> ApiError:
    """What an engine refuses of a request; a prompt that is too long is told with counts."""
    engine = model.writer
    if isinstance(request.prompt, str):
        require_fitting([request.prompt], engine.context, _counter(engine), param="prompt")
        count = len(engine.tokenize(request.prompt)) + 1
        if count >= engine.context:
            return context_full(count, engine.context, param="prompt")
    return refused(error, param="logit_bias" if "logit_bias" in str(error) else None)


def _check_streaming(body: Body) -> None:
    if body.get("stream_options") is not None and not body.get("stream"):
        raise ApiError(
            400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )  # fmt: skip


def _sampling(body: Body, *, most: int, longest: int, context: int) -> Sampling:
    values = {name: body[name] for name in _SAME_NAME if body.get(name) is not None}
    if body.get("top_p") is not None:
        values["top_p"] = max(float(body["top_p"]), 1e-9)  # 0: the likeliest alone
    for name, value in values.items():
        values[name] = int(value) if isinstance(NUMBERS[name].default, int) else float(value)
    stop = body.get("stop") or ()
    seed = body.get("seed")
    return _made(
        Sampling,
        None,
        max_tokens=min(most, context, longest or most),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=None if seed is None else int(seed) % LARGEST_SEED,
        logit_bias=_biases(body.get("logit_bias") or {}),
        **values,
    )


def _usual_answer(prompt: int, context: int) -> int:
    """The longest answer where the client names none.

    A model trained from scratch may never end one, and its context holds little: half of what
    the prompt leaves, so that the conversation can go on.
    """
    left = context - prompt
    return left if context > SMALL_CONTEXT else max(1, left // 2)


def _biases(given: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    for token in given:
        if not (token.isascii() and token.isdecimal() and len(token) < 10):
            raise ApiError(
                400, f"'logit_bias' must have ids of tokens as keys. Got '{token[:40]}'",
                param="logit_bias",
            )  # fmt: skip
    return tuple((int(token), float(bias)) for token, bias in given.items())


def _constraint(body: Body) -> Constraint | None:
    wanted = body.get("response_format") or {"type": "text"}
    match wanted["type"]:
        case "json_object":
            return Constraint("json_schema", '{"type": "object"}')
        case "json_schema":
            schema = wanted["json_schema"].get("schema") or {"type": "object"}
            return _made(Constraint, "response_format", "json_schema", json.dumps(schema))
        case "choice":
            return _made(Constraint, "response_format", "choice", json.dumps(wanted["choice"]))
        case "regex" | "grammar" as kind:
            return _made(Constraint, "response_format", kind, wanted[kind])
    return None


def _made(kind: Callable[..., T], param: str | None, *values: Any, **settings: Any) -> T:
    """A dataclass of the library; what it refuses is the request's fault."""
    try:
        return kind(*values, **settings)
    except LinnetError as error:
        raise refused(error, param=param or str(error).partition(" ")[0]) from None


def _repeated(requests: Sequence[Request], count: int) -> tuple[Request, ...]:
    """Each request ``count`` times, with seeds of their own."""
    found = []
    for request in requests:
        seed = request.sampling.seed
        for place in range(count):
            own = None if seed is None else (seed + place) % LARGEST_SEED
            sampling = dataclasses.replace(request.sampling, seed=own)
            found.append(dataclasses.replace(request, sampling=sampling))
    return tuple(found)


def _prompts(given: Any) -> list[str | tuple[int, ...]]:
    if isinstance(given, str):
        return [given]
    if isinstance(given[0], str):
        return list(given)
    rows = given if isinstance(given[0], list) else [given]
    return [tuple(int(token) for token in row) for row in rows]


def _message(given: Mapping[str, Any]) -> dict[str, Any]:
    """A message with what templates know of it."""
    message = {"role": "system" if given["role"] == "developer" else given["role"]}
    message["content"] = given.get("content") or ""
    for name in ("name", "reasoning_content", "tool_calls", "tool_call_id"):
        if given.get(name):
            message[name] = given[name]
    return message


def _without_nulls(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = {key: value for key, value in tool["function"].items() if value is not None}
    return {**tool, "function": function}
