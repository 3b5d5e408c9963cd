"""What requests and answers consist of: schemas that check them and document them.

Fields and bounds are OpenAI's, with a few more that other servers of open models
have too (``top_k``, ``min_p``, ...). A field that OpenAI knows and that cannot change what
is written here (``user``, ``store``, ...) is accepted and ignored; one that asks for what is
not there (sound, several best of) is refused, as is every field that nobody knows.

Reference: https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from linnet.generate.sampling import LARGEST_BIAS, Sampling
from linnet.serve.validation import Schema

if TYPE_CHECKING:
    from linnet.config import Bounds

MOST_CHOICES = 128
MOST_STOPS = 16
MOST_MESSAGES = 4096
MOST_TOOLS = 128
MOST_TEXTS = 2048
MOST_PARTS = 1024
MOST_TOKENS = 200_000


def nullable(schema: Schema) -> dict[str, Any]:
    """The same, or null."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    kind = schema["type"]
    return {**schema, "type": [*([kind] if isinstance(kind, str) else kind), "null"]}


def record(
    properties: Mapping[str, Schema], *, required: tuple[str, ...] = (), more: bool = False
) -> dict[str, Any]:
    """An object; ``more``: others than these properties are ignored."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": more,
    }


def number(low: float, high: float, about: str) -> dict[str, Any]:
    """A number between two others, or null for the default."""
    return {"type": ["number", "null"], "minimum": low, "maximum": high, "description": about}


def whole(low: int, high: int, about: str) -> dict[str, Any]:
    """As :func:`number`, without fractions."""
    return {"type": ["integer", "null"], "minimum": low, "maximum": high, "description": about}


TEXT: Schema = {"type": "string"}
ANYTHING: Schema = {}
FLAG: Schema = {"type": ["boolean", "null"]}
TOKEN: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
TOKENS: Schema = {"type": "array", "items": TOKEN, "minItems": 1, "maxItems": MOST_TOKENS}
MODEL: Schema = {
    "type": ["string", "null"], "maxLength": 256,
    "description": "The model's name; without one the first that is served.",
}  # fmt: skip
COLLECTIONS: Schema = {
    "type": ["array", "null"], "items": {"type": "string", "maxLength": 256}, "maxItems": 256,
    "description": "Of documents: the collections that are searched. Not OpenAI's.",
}  # fmt: skip
OWN: dict[str, Schema] = {
    "linnet": {
        **nullable(record({"route": {"type": ["string", "null"], "maxLength": 256}})),
        "description": "route: the model that answers this time, or 'local', where the model is "
        "'auto'. Not OpenAI's.",
    }
}
STOP_TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 256}

LARGEST_WHOLE = 2**31 - 1


def setting(field: dataclasses.Field[Any], **changed: Any) -> dict[str, Any]:
    """A number of :class:`Sampling` within its own bounds, or null for its default.

    ``changed``: where the protocol has other bounds.
    """
    bounds: Bounds = field.metadata["bounds"]
    whole = isinstance(field.default, int)
    limits = {
        "minimum": bounds.least,
        "exclusiveMinimum": bounds.above,
        "maximum": LARGEST_WHOLE if whole and bounds.most is None else bounds.most,
    }
    return {
        "type": ["integer" if whole else "number", "null"],
        **{rule: limit for rule, limit in limits.items() if limit is not None},
        "description": field.metadata["help"][:1].upper() + field.metadata["help"][1:] + ".",
        **changed,
    }


def chosen(field: dataclasses.Field[Any]) -> Schema:
    """One of a few values, as declared."""
    described = field.metadata["help"][:1].upper() + field.metadata["help"][1:] + "."
    return {"enum": [*field.metadata["bounds"].choices, None], "description": described}


NUMBERS = {
    field.name: field
    for field in dataclasses.fields(Sampling)
    if isinstance(field.default, int | float) and "bounds" in field.metadata
}
"""The settings that a request has by the same names."""

NAMES = {
    field.name: field for field in dataclasses.fields(Sampling) if isinstance(field.default, str)
}
"""Likewise those of which there are a few."""

SAMPLING: dict[str, Schema] = {
    **{name: setting(field) for name, field in NUMBERS.items()},
    "max_tokens": whole(-1, LARGEST_WHOLE, "The most tokens; -1: as many as the context holds."),
    "n_predict": whole(-1, LARGEST_WHOLE, "As max_tokens, which goes before it; llama.cpp's."),
    **{name: chosen(field) for name, field in NAMES.items()},
    "temperature": setting(NUMBERS["temperature"], maximum=2),
    "top_k": whole(-1, LARGEST_WHOLE, "Choose among this many likeliest tokens; 0 or -1: all."),
    "repeat_penalty": setting(
        NUMBERS["repetition_penalty"], description="As repetition_penalty; llama.cpp's."
    ),
    "min_tokens": whole(
        0, LARGEST_WHOLE, "So many tokens come before the text may end, or stop strings count."
    ),
    "ignore_eos": {**FLAG, "description": "Whether the model never ends the text itself."},
    "top_p": number(0, 1, "Choose among the tokens that make up this probability."),
    "logit_bias": {
        "type": ["object", "null"], "maxProperties": 1024,
        "additionalProperties": {
            "type": "number", "minimum": -LARGEST_BIAS, "maximum": LARGEST_BIAS,
        },
        "description": "Added to the scores of tokens, by their ids.",
    },
    "seed": whole(-(2**63), 2**63 - 1, "The same seed gives the same text."),
    "stop": {
        "anyOf": [
            STOP_TEXT,
            {"type": "array", "items": STOP_TEXT, "maxItems": MOST_STOPS},
            {"type": "null"},
        ],
        "description": "Stop before this text, or one of several.",
    },
    "n": whole(1, MOST_CHOICES, "How many answers."),
}  # fmt: skip

STREAMING: dict[str, Schema] = {
    "stream": FLAG,
    "stream_options": {
        **nullable(record({"include_usage": FLAG, "include_obfuscation": FLAG}, more=True)),
        "description": "Only with stream.",
    },
}

RESPONSE_FORMAT: Schema = {
    "anyOf": [
        {"type": "null"},
        record({"type": {"const": "text"}}, required=("type",)),
        record(
            {"type": {"const": "json_object"}, "schema": nullable({"type": "object"})},
            required=("type",),
        ),
        record(
            {
                "type": {"const": "json_schema"},
                "json_schema": record(
                    {
                        "name": {"type": "string", "maxLength": 64},
                        "description": nullable(TEXT),
                        "schema": nullable({"type": "object"}),
                        "strict": FLAG,
                    },
                    required=("name",),
                ),
                "schema": nullable({"type": "object"}),
            },
            required=("type",),
        ),
        record(
            {"type": {"const": "regex"}, "regex": {"type": "string", "minLength": 1}},
            required=("type", "regex"),
        ),
        record(
            {"type": {"const": "grammar"}, "grammar": {"type": "string", "minLength": 1}},
            required=("type", "grammar"),
        ),
        record(
            {
                "type": {"const": "choice"},
                "choice": {
                    "type": "array", "items": {"type": "string", "minLength": 1},
                    "minItems": 1, "maxItems": 1024,
                },
            },
            required=("type", "choice"),
        ),
    ],
    "description": "What the answer must be; regex, grammar (GBNF) and choice are not OpenAI's, "
    "and neither is a schema right beside the type, which is llama.cpp's.",
}  # fmt: skip

PARTS: Schema = {
    "type": "array",
    "items": {
        "anyOf": [
            record({"type": {"const": "text"}, "text": TEXT}, required=("type", "text"), more=True),
            record(
                {"type": {"const": "refusal"}, "refusal": TEXT},
                required=("type", "refusal"), more=True,
            ),
        ]
    },
    "minItems": 1,
    "maxItems": MOST_PARTS,
}  # fmt: skip
CONTENT: Schema = {"anyOf": [TEXT, PARTS]}
FUNCTION_NAME: Schema = {"type": "string", "minLength": 1, "maxLength": 64}
_CALLED = record({"name": TEXT, "arguments": TEXT}, required=("name", "arguments"))
CALL: Schema = {
    "anyOf": [
        record(
            {"id": TEXT, "type": {"const": "function"}, "function": _CALLED},
            required=("id", "type", "function"),
            more=True,
        ),
        record(
            {
                "id": TEXT,
                "type": {"const": "custom"},
                "custom": record({"name": TEXT, "input": TEXT}, required=("name", "input")),
            },
            required=("id", "type", "custom"),
            more=True,
        ),
    ]
}


def _message(roles: list[str], properties: Mapping[str, Schema], *required: str) -> dict[str, Any]:
    return record(
        {"role": {"enum": roles}, "name": nullable(TEXT), **properties},
        required=("role", *required),
        more=True,
    )


MESSAGES: Schema = {
    "type": "array",
    "minItems": 1,
    "maxItems": MOST_MESSAGES,
    "items": {
        "anyOf": [
            _message(["system", "developer", "user"], {"content": CONTENT}, "content"),
            _message(
                ["assistant"],
                {
                    "content": nullable(CONTENT),
                    "reasoning_content": nullable(TEXT),
                    "tool_calls": nullable({"type": "array", "items": CALL, "maxItems": 128}),
                    "function_call": nullable(_CALLED),
                },
            ),
            _message(
                ["tool"], {"content": CONTENT, "tool_call_id": TEXT}, "content", "tool_call_id"
            ),
            _message(["function"], {"content": nullable(CONTENT), "name": TEXT}, "content", "name"),
        ]
    },
}
IGNORED: dict[str, Schema] = {
    name: {"description": "Accepted, and without effect here."}
    for name in (
        "user", "store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key",
        "prompt_cache_retention", "prompt_cache_options", "prediction", "verbosity",
        "reasoning_effort",
    )
}  # fmt: skip

OPEN_END: dict[str, Schema] = {
    "add_generation_prompt": {
        **FLAG, "description": "Whether an answer is to begin (usual), or nothing follows.",
    },
    "continue_final_message": {
        **FLAG, "description": "Go on with the last message instead of answering it.",
    },
}  # fmt: skip

COUNT: Schema = {"type": "integer", "minimum": 0}
USAGE = record(
    {
        "prompt_tokens": COUNT,
        "completion_tokens": COUNT,
        "total_tokens": COUNT,
        "prompt_tokens_details": record({"cached_tokens": COUNT}),
    },
    required=("prompt_tokens", "total_tokens"),
)


def listed(entry: Schema) -> dict[str, Any]:
    """A list of such entries."""
    return {"type": "array", "items": entry}


def answer_schema(kind: str, choice: Schema) -> dict[str, Any]:
    """An answer of texts."""
    return record(
        {
            "id": TEXT,
            "object": {"const": kind},
            "created": COUNT,
            "model": TEXT,
            "system_fingerprint": TEXT,
            "choices": listed(choice),
            "usage": USAGE,
        },
        required=("id", "object", "created", "model", "choices", "usage"),
    )


def names_in(schema: Schema) -> set[str]:
    """Every name of a property in a schema, and in those within it."""
    properties: Mapping[str, Schema] = schema.get("properties", {})
    inner = [*properties.values(), *schema.get("anyOf", ())]
    if isinstance(schema.get("items"), Mapping):
        inner.append(schema["items"])
    return set(properties).union(*map(names_in, inner))
