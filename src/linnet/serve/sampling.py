"""The parts of a body that all endpoints that write share: sampling, constraint, streaming."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from linnet.errors import LinnetError
from linnet.generate.constraint import Constraint
from linnet.generate.sampling import Sampling
from linnet.respond.engine import LARGEST_SEED
from linnet.serve.errors import ApiError, refused
from linnet.serve.schemas import NAMES, NUMBERS

Body = Mapping[str, Any]
T = TypeVar("T")

_SAME_NAME = tuple(name for name in NUMBERS if name not in ("max_tokens", "top_p"))
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


def sampling_of(body: Body, *, most: int | None, longest: int, context: int) -> Sampling:
    """The settings of a body, in at most so many tokens as it asks for (``most``), the server
    allows (``longest``, 0 for any) and the model has (``context``, 0 where it is not known).
    """
    values = {name: body[name] for name in _SAME_NAME if body.get(name) is not None}
    if body.get("top_p") is not None:
        values["top_p"] = max(float(body["top_p"]), 1e-9)  # 0: the likeliest alone
    for name, value in values.items():
        values[name] = int(value) if isinstance(NUMBERS[name].default, int) else float(value)
    values |= {name: body[name] for name in NAMES if body.get(name) is not None}
    stop = body.get("stop") or ()
    seed = body.get("seed")
    limits = [limit for limit in (most and int(most), longest, context) if limit]
    return _made(
        Sampling,
        None,
        max_tokens=min(limits, default=_LONGEST),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=None if seed is None else int(seed) % LARGEST_SEED,
        logit_bias=_biases(body.get("logit_bias") or {}),
        **values,
    )


def constraint_of(body: Body) -> Constraint | None:
    """What ``response_format`` asks of the text."""
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
