"""One endpoint as one declaration, from which routing, checks and OpenAPI follow.

    WEATHER = Endpoint("POST", "/v1/weather", answer_weather, "The weather.", body=..., answer=...)

The handler is given the service and the call, whose body was read and checked by then. Adding an
endpoint is a file with one of these, and its name in the table (``linnet.serve.endpoints``).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from linnet.serve.asgi import Call
from linnet.serve.errors import ErrorFormat, openai_error
from linnet.serve.validation import Schema

if TYPE_CHECKING:
    from linnet.serve.service import Service
    from linnet.serve.shapes import Framing

Handler: TypeAlias = Callable[["Service", Call], Awaitable[None]]


@dataclass(frozen=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    """``{name}`` stands for a part of it, which the handler finds in ``call.parameters``; the last
    one may hold slashes."""
    handler: Handler
    summary: str
    body: Schema | None = None
    """What the JSON of a request must be."""
    answer: Schema | None = None
    """What the JSON of the answer is; None: plain text."""
    other_answers: Mapping[str, tuple[str, Schema]] = field(default_factory=dict)
    """Answers with other statuses that are no errors of OpenAI's kind, by status."""
    streams: bool = False
    """Whether it may answer with a stream."""
    framing: Framing | None = None
    """How its stream shows that it lives while a model is opened; None: it waits in silence."""
    is_open: bool = False
    """Whether it answers without a key, and while the server stops."""
    errors: ErrorFormat = openai_error
    """How its clients read what is wrong."""
    any_content_type: bool = False
    """Whether a body need not be called JSON; browsers' pages are told by their origin anyway."""
    largest_body: int | None = None
    """Bytes that a body may have, where that is less than any may."""
    is_described: bool = True
    """Whether OpenAPI shows it."""
    is_logged: bool = True
    """Whether an answer without an error is."""

    @property
    def asks_model(self) -> bool:
        """Whether the body may name a model, which is then found for the handler."""
        return self.body is not None and "model" in self.body.get("properties", {})

    @property
    def label(self) -> str:
        """What metrics and messages call it."""
        return self.path.partition("{")[0]


class Router:
    """Finds the endpoints of a path."""

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._exact: dict[str, dict[str, Endpoint]] = {}
        patterns: dict[str, dict[str, Endpoint]] = {}
        for endpoint in endpoints:
            kind = patterns if "{" in endpoint.path else self._exact
            methods = kind.setdefault(endpoint.path, {})
            if endpoint.method in methods:
                raise ValueError(f"two endpoints are {endpoint.method} {endpoint.path}")
            methods[endpoint.method] = endpoint
        self._patterns = [
            (_pattern(path), patterns[path])
            for path in sorted(patterns, key=lambda path: -path.count("/"))
        ]

    def find(self, path: str) -> tuple[Mapping[str, Endpoint], Mapping[str, str]]:
        """The endpoints by method, and what the path's variable parts are."""
        if path in self._exact:
            return self._exact[path], {}
        for pattern, methods in self._patterns:
            if match := pattern.fullmatch(path):
                return methods, match.groupdict()
        return {}, {}


def _pattern(path: str) -> re.Pattern[str]:
    *names, last = re.findall(r"\{(\w+)\}", path)
    pattern = re.escape(path).replace(r"\{", "{").replace(r"\}", "}")
    for name in names:
        pattern = pattern.replace(f"{{{name}}}", f"(?P<{name}>[^/]+)")
    return re.compile(pattern.replace(f"{{{last}}}", f"(?P<{last}>.+)"), re.DOTALL)
