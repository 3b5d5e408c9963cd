"""How the model at an address wants to be asked: the body of a request, and what is learned of it.

Addresses that call themselves compatible differ in the parameters that they take. One that says
which it does not take is asked again without it, as long as the answer means the same or what is
left out can be said; the rest is refused here, by name.

Reference: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from linnet.config import parse_json
from linnet.generate.sampling import Sampling
from linnet.respond.conversation import Conversation, ConversationError
from linnet.respond.pieces import Decision
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Abilities

LIMITS = ("max_tokens", "max_completion_tokens")
"""What the most tokens of an answer are called: usually, and by OpenAI's newer models."""
_OPENAIS = ("temperature", "top_p", "frequency_penalty", "presence_penalty")
_OWN = (
    "top_n_sigma", "top_k", "min_p", "typical_p", "repetition_penalty", "ignore_eos", "min_tokens",
    "beams",
)  # fmt: skip
_OPTIONAL = (*_OPENAIS, "seed", "stream_options", "parallel_tool_calls", "stream")
"""What an answer can do without."""
_UNSUPPORTED = re.compile(
    r"un(supported|recogni[sz]ed|known|expected)|n[o']t (be )?(support|permit|allow|avail|exist)"
    r"|extra (input|field|param)|cannot both|deprecated",
    re.IGNORECASE,
)
"""How addresses say that they do not take a parameter, or not with others; of a value that is out
of bounds they say something else."""


@dataclass(frozen=True)
class Form:
    """The body of a request, and the parameters that it has."""

    body: bytes
    names: frozenset[str]


class Dialect:
    """Of one model; calls that are under way at once share what is learned."""

    def __init__(self, model: str, where: str, abilities: Abilities, *, limit: str) -> None:
        """``where``: the address in messages. ``limit``: one of LIMITS."""
        self._model, self._where, self._abilities = model, where, abilities
        self._limit = limit
        self._swapped = False
        self._refused: set[str] = set()

    def form(self, conversation: Conversation, limit: int | None) -> Form:
        """What is sent; ``limit``: the most tokens of each answer. Raises ConversationError."""
        self._refuse(conversation)
        sampling = conversation.sampling
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [_message(message.as_json()) for message in conversation.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            **{name: getattr(sampling, name) for name in _OPENAIS},
        }
        if limit is not None:
            body[self._limit] = limit
        if sampling.stop:
            body["stop"] = list(sampling.stop)
        if sampling.seed is not None:
            body["seed"] = sampling.seed
        if conversation.choices > 1:
            body["n"] = conversation.choices
        if conversation.logprobs:
            body |= {"logprobs": True, "top_logprobs": conversation.top_logprobs}
        if conversation.tools:
            body["tools"] = [tool.as_json() for tool in conversation.tools]
            body["tool_choice"] = _tool_choice(conversation)
            if not conversation.parallel_tool_calls:
                body["parallel_tool_calls"] = False
        if conversation.constraint is not None:
            body["response_format"] = self._format(conversation)
        for name in self._refused:
            body.pop(name, None)
        if "stream" in self._refused:
            body.pop("stream_options", None)
        text = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        return Form(text, frozenset(body))

    def left_out(self, conversation: Conversation) -> list[Decision]:
        """The settings that are not sent, as they mean nothing there."""
        sampling, usual = conversation.sampling, Sampling()
        found = []
        own = [name for name in _OWN if getattr(sampling, name) != getattr(usual, name)]
        if own:
            reason = "the address knows OpenAI's settings alone"
            found.append(Decision("sampling", f"left out {', '.join(own)}", reason))
        refused = [name for name in _OPTIONAL if name in self._refused and _asked(name, sampling)]
        if refused:
            reason = "the model refuses to be sent them"
            found.append(Decision("sampling", f"left out {', '.join(refused)}", reason))
        return found

    def learn(self, error: RemoteError, sent: Form, sampling: Sampling) -> bool:
        """Whether a request that was refused can be sent in another form now."""
        if error.status not in (400, 422) or not _UNSUPPORTED.search(str(error)):
            return False
        named = {error.parameter} if error.parameter else set(re.findall(r"\w+", str(error)))
        named &= sent.names
        if named & self._refused or named & set(LIMITS) - {self._limit}:
            return True  # another call was told so before
        if self._limit in named and not self._swapped:
            (self._limit,) = set(LIMITS) - {self._limit}
            self._swapped = True
            return True
        left = [name for name in _OPTIONAL if name in named]
        left.sort(key=lambda name: _asked(name, sampling))  # rather one that changes nothing
        self._refused.update(left[:1])
        return bool(left)

    def _refuse(self, conversation: Conversation) -> None:
        """What cannot be asked of it at all."""
        can, where = self._abilities, self._where
        if conversation.sampling.logit_bias:
            raise ConversationError(
                "'logit_bias' names tokens of a model on this machine; the one at "
                f"{where} has others",
                part="logit_bias",
            )
        if conversation.continue_final_message or conversation.template_variables:
            raise ConversationError(
                f"the model at {where} uses its own chat template: "
                "'continue_final_message' and 'chat_template_kwargs' are for models here",
                part="continue_final_message",
            )
        needs = (
            ("tools", bool(conversation.tools), can.tools),
            ("response_format", conversation.constraint is not None, can.constraints),
            ("logprobs", conversation.logprobs, can.logprobs),
        )
        for part, needed, able in needs:
            if needed and not able:
                raise ConversationError(
                    f"the model '{can.name}' at {where} knows no {part}, as its settings say",
                    part=part,
                )

    def _format(self, conversation: Conversation) -> dict[str, Any]:
        constraint = conversation.constraint
        assert constraint is not None
        if constraint.kind != "json_schema":
            raise ConversationError(
                f"a {constraint.kind} is for models here; the one at {self._where} takes a "
                "JSON Schema only",
                part="response_format",
            )
        schema = {"name": "answer", "schema": parse_json(constraint.value)}
        return {"type": "json_schema", "json_schema": schema}


def _asked(name: str, sampling: Sampling) -> bool:
    """Whether leaving a setting out changes anything."""
    if name in _OPENAIS:
        return bool(getattr(sampling, name) != (1.0 if name in ("temperature", "top_p") else 0.0))
    return name == "seed" and sampling.seed is not None


def _message(given: Mapping[str, Any]) -> dict[str, Any]:
    """A message as OpenAI's own interface takes it: no text beside calls is null."""
    if given.get("tool_calls") and not given["content"]:
        return {**given, "content": None}
    return dict(given)


def _tool_choice(conversation: Conversation) -> Any:
    """Which tools may or must be called, as OpenAI's interface has it."""
    custom = {tool.name for tool in conversation.tools if tool.custom}

    def named(name: str) -> dict[str, Any]:
        kind = "custom" if name in custom else "function"
        return {"type": kind, kind: {"name": name}}

    name, choice = conversation.demanded_name, conversation.tool_choice
    if name is not None:
        if name not in {tool.name for tool in conversation.tools}:
            raise ConversationError(
                f"tool_choice names '{name}', which is none of the tools.", part="tool_choice"
            )
        return named(name)
    if conversation.allowed is None or choice == "none":
        return choice
    tools = [named(tool.name) for tool in conversation.callable]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice, "tools": tools}}
