"""The server described for programs, from the declarations that it answers by.

Reference: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from linnet.serve.errors import openai_error
from linnet.serve.schemas import ANYTHING, TEXT, nullable, record
from linnet.serve.shapes import EVENT_STREAM
from linnet.version import __version__

if TYPE_CHECKING:
    from linnet.serve.endpoint import Endpoint
    from linnet.serve.validation import Schema

_ERROR = record(
    {
        "error": record(
            {"message": TEXT, "type": TEXT, "param": nullable(TEXT), "code": nullable(TEXT)},
            required=("message", "type", "param", "code"),
        )
    },
    required=("error",),
)
_BODY_ERRORS = {
    "400": "The request cannot be carried out.",
    "404": "No such model.",
    "408": "The body came too slowly.",
    "413": "The body is too large.",
    "415": "The body is not sent as JSON.",
    "429": "Too much at once or in this minute; Retry-After tells when to ask again.",
}
_PARAMETER_ERRORS = {"404": "No such model."}
_KEY_ERRORS = {
    "401": "A key is needed, or wrong.",
    "503": "The server is being stopped, or its engine failed.",
}
_EVERY_ERROR = {
    "403": "Asked by another site's page, or by a foreign name.",
    "405": "Not by this method.",
    "500": "The server failed.",
}


def describe(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The whole description."""
    paths: dict[str, Any] = {}
    for endpoint in endpoints:
        if endpoint.is_described:
            operations = paths.setdefault(endpoint.path, {})
            operations[endpoint.method.lower()] = _operation(endpoint)
            if names := re.findall(r"\{(\w+)\}", endpoint.path):
                operations["parameters"] = [_parameter(name) for name in names]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Linnet", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "As asked.", "content": {}}
    if endpoint.answer is None:
        success["content"]["text/plain"] = {"schema": ANYTHING}
    else:
        success = _json("As asked.", endpoint.answer)
    if endpoint.streams:
        framing = endpoint.framing
        kind = EVENT_STREAM if framing is None else framing.content_type
        success["content"][kind.partition(b";")[0].decode()] = {"schema": ANYTHING}
    errors = {
        **(_BODY_ERRORS if endpoint.body is not None else {}),
        **(_PARAMETER_ERRORS if "{" in endpoint.path else {}),
        **({} if endpoint.is_open else _KEY_ERRORS),
        **_EVERY_ERROR,
    }
    others = {status: _json(*about) for status, about in endpoint.other_answers.items()}
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "responses": {"200": success, **_errors(errors, endpoint), **others},
    }
    if endpoint.body is not None:
        content = {"application/json": {"schema": endpoint.body}}
        operation["requestBody"] = {"required": True, "content": content}
    if not endpoint.is_open:
        operation["security"] = [{"key": []}, {}]
    return operation


def _parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _json(about: str, schema: Schema) -> dict[str, Any]:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _errors(known: Mapping[str, str], endpoint: Endpoint) -> dict[str, Any]:
    usual = endpoint.errors is openai_error
    schema = {"$ref": "#/components/schemas/Error"} if usual else {"type": "object"}
    return {status: _json(about, schema) for status, about in known.items()}
