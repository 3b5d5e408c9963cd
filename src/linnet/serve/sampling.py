"""The parts of a body that all endpoints that write share: sampling, constraint, streaming."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from linnet.errors import LinnetError
from linnet.generate.constraint import Constraint
from linnet.generate.sampling import Sampling
from linnet.respond.engine_requests import LARGEST_SEED
from linnet.serve.errors import ApiError, refused
from linnet.serve.schemas import NAMES, NUMBERS

Body = Mapping[str, Any]
T = TypeVar("T")

_SAME_NAME = (
    *(name for name in NUMBERS if name not in ("max_tokens", "top_p", "top_k")), "min_tokens"
)  # fmt: skip
_LENGTHS = ("max_completion_tokens", "max_tokens", "n_predict")
_LONGEST = 1 << 20
"""Tokens of an answer where neither model nor client nor server says how many."""


def check_streaming(body: Body) -> None:
    """Raise ApiError for options of a stream where there is none."""
    if body.get("stream_options") is not None and not body.get("stream"):
        raise ApiError(
            400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )  # fmt: skip


def wants_usage(body: Body) -> bool:
    """Whether a stream is to end with the counts."""
    return bool(body.get("stream")) and bool(
        (body.get("stream_options") or {}).get("include_usage")
    )


def most_tokens(body: Body) -> int | None:
    """How many tokens a body allows: -1 for as many as the context holds; None: it does not say."""
    return next((int(body[name]) for name in _LENGTHS if body.get(name) is not None), None)


def sampling_of(body: Body, *, most: int | None, longest: int, context: int) -> Sampling:
    """The settings of a body, in at most so many tokens as it asks for (``most``; -1 or None: any
    number), the server allows (``longest``, 0 for any) and the model has (``context``, 0 where it
    is not known).
    """
    if most == 0:
        raise ApiError(
            400, "'max_tokens' must be at least 1, or -1 for as many as the context holds. Got 0",
            param="max_tokens",
        )  # fmt: skip
    values = {name: body[name] for name in _SAME_NAME if body.get(name) is not None}
    if body.get("top_p") is not None:
        values["top_p"] = max(float(body["top_p"]), 1e-9)  # 0: the likeliest alone
    if body.get("top_k") is not None:
        values["top_k"] = max(int(body["top_k"]), 0)  # -1 is llama.cpp's and vLLM's word for all
    penalty = body.get("repeat_penalty")
    if penalty is not None and values.setdefault("repetition_penalty", penalty) != penalty:
        raise ApiError(
            400, "'repeat_penalty' and 'repetition_penalty' are one setting: give one of them.",
            param="repeat_penalty",
        )  # fmt: skip
    for name, value in values.items():
        values[name] = int(value) if isinstance(getattr(Sampling, name), int) else float(value)
    values |= {name: body[name] for name in NAMES if body.get(name) is not None}
    stop = body.get("stop") or ()
    seed = body.get("seed")
    limits = [limit for limit in (most and int(most), longest, context) if limit and limit > 0]
    return _made(
        Sampling,
        None,
        max_tokens=min(limits, default=_LONGEST),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=None if seed is None else int(seed) % LARGEST_SEED,
        ignore_eos=bool(body.get("ignore_eos")),
        logit_bias=_biases(body.get("logit_bias") or {}),
        **values,
    )


def constraint_of(body: Body) -> Constraint | None:
    """What ``response_format`` asks of the text."""
    wanted = body.get("response_format") or {"type": "text"}
    match wanted["type"]:
        case "json_object" | "json_schema" as kind:
            schema = _schema(wanted, kind) or {"type": "object"}
            return _made(Constraint, "response_format", "json_schema", json.dumps(schema))
        case "choice":
            return _made(Constraint, "response_format", "choice", json.dumps(wanted["choice"]))
        case "regex" | "grammar" as kind:
            return _made(Constraint, "response_format", kind, wanted[kind])
    return None


def _schema(wanted: Body, kind: str) -> Any:
    """The JSON Schema of a format; llama.cpp's clients put it right beside the type."""
    inner, beside = wanted.get("json_schema"), wanted.get("schema")
    if kind == "json_schema" and inner is None and beside is None:
        raise ApiError(
            400, "Missing required parameter: 'response_format.json_schema'.",
            param="response_format.json_schema",
        )  # fmt: skip
    if inner is not None and beside is not None:
        raise ApiError(
            400, "'response_format' must have one schema. Got 'json_schema' and 'schema'",
            param="response_format.schema",
        )  # fmt: skip
    return inner.get("schema") if inner is not None else beside


def _biases(given: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    for token in given:
        if not (token.isascii() and token.isdecimal() and len(token) < 10):
            raise ApiError(
                400, f"'logit_bias' must have ids of tokens as keys. Got '{token[:40]}'",
                param="logit_bias",
            )  # fmt: skip
    return tuple((int(token), float(bias)) for token, bias in given.items())


def _made(kind: Callable[..., T], param: str | None, *values: Any, **settings: Any) -> T:
    """A dataclass of the library; what it refuses is the request's fault."""
    try:
        return kind(*values, **settings)
    except LinnetError as error:
        raise refused(error, param=param or str(error).partition(" ")[0]) from None
