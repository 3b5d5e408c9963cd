"""What is wrong with a request; by default in the shape that OpenAI's clients read.

    {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}

Other interfaces have a format of their own (``Endpoint.errors``).

Reference: https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from linnet.errors import ConfigError, DataError, EngineError, LinnetError
from linnet.respond.context import CancelledCallError
from linnet.respond.conversation import ContextFullError, ConversationError, NoConversationError
from linnet.respond.remote_errors import RemoteError
from linnet.serve.logs import LOGGER

_ABSOLUTE = re.compile(r"(?<![\w.:/])(?:[A-Za-z]:)?[\\/](?:[^\s\\/:;,'\"()]+[\\/])+")


_STATUSES = {"budget_exceeded": 429, "not_ready": 503, "policy": 403, "not_allowed": 403}
"""Of what a conversation is refused for by its code, where it is not the request's fault."""
RETRY_SECONDS = 2.0


class ApiError(Exception):
    """An answer that is an error.

    ``param``: the part of the request that is at fault. ``code``: a word for programs.
    ``retry_after``: seconds after which the same request may succeed. ``logged``: what is said of
    it in logs, where that is less.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        allow: str | None = None,
        logged: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.logged = message if logged is None else logged
        self.param = param
        self.code = code
        self.retry_after = retry_after
        self.allow = allow

    @property
    def kind(self) -> str:
        """The class of error, by OpenAI's names."""
        if self.status >= 500:
            return "server_error"
        return "rate_limit_error" if self.status == 429 else "invalid_request_error"

    def body(self) -> bytes:
        """The answer's body."""
        error = {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }
        return json.dumps({"error": error}).encode()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """What belongs to the answer beside its body."""
        found = []
        if self.retry_after is not None:
            found.append((b"retry-after", str(max(1, math.ceil(self.retry_after))).encode()))
        if self.allow is not None:
            found.append((b"allow", self.allow.encode()))
        if self.status == 401:
            found.append((b"www-authenticate", b"Bearer"))
        if self.status in (408, 413) or self.code == "busy":  # the rest of the body is not read
            found.append((b"connection", b"close"))
        return found


ErrorFormat: TypeAlias = Callable[[ApiError], bytes]
"""The body of an answer that is an error."""


def openai_error(error: ApiError) -> bytes:
    """As OpenAI's clients read it."""
    return error.body()


def refused(error: LinnetError, *, param: str | None = None) -> ApiError:
    """What the library refuses of a request, told without naming files of this machine."""
    if isinstance(error, EngineError | RemoteError | CancelledCallError):
        return failed(error)
    if isinstance(error, ContextFullError):
        return context_full(error, param=param)
    if isinstance(error, NoConversationError):
        return no_conversation(error)
    code = error.code if isinstance(error, ConversationError) else None
    status = _STATUSES.get(code or "", 400)
    return ApiError(
        status, without_paths(str(error)), param=param or error.part, code=code,
        retry_after=RETRY_SECONDS if status == 503 else None,
    )  # fmt: skip


def failed(error: LinnetError) -> ApiError:
    """What went wrong while an answer was written, or that is refused only then."""
    if isinstance(error, ConfigError | DataError):
        return refused(error)
    message = without_paths(str(error))
    if isinstance(error, RemoteError):
        return ApiError(502, message, code="remote_error", logged=without_paths(error.unquoted))
    if isinstance(error, CancelledCallError):
        return ApiError(504, message, code="timeout")
    if isinstance(error, EngineError):  # it quotes the engine's log
        LOGGER.error("the engine failed", extra={"facts": {"error": message}})
        message = "The engine failed; it is started again for the next request."
    return ApiError(503, message, code="engine_error", retry_after=1)


def failure() -> ApiError:
    """What is told of what nobody foresaw."""
    return ApiError(500, "The server failed on this request.")


def context_full(error: ContextFullError, *, param: str | None = None) -> ApiError:
    """More tokens than the model can take in, told with counts as OpenAI does."""
    param = param or error.part
    counted = f"at least {error.count}" if error.at_least else f"{error.count}"
    return ApiError(
        400,
        f"This model's maximum context length is {error.context} tokens, of which one must be left "
        f"for the answer. However, your {param} resulted in {counted} tokens. Please reduce the "
        f"length of the {param}.",
        param=param,
        code=error.code,
    )


def no_conversation(error: NoConversationError) -> ApiError:
    """The model cannot be asked: it has no chat template, or a reason is told."""
    why = "has no chat template"
    if not error.is_without_template:
        why = f"cannot answer conversations ({without_paths(str(error))})"
    return ApiError(
        400,
        f"The model '{error.model}' {why}; use /v1/completions.",
        param=error.part,
        code="no_chat_template",
    )


def stopping() -> ApiError:
    """What is told of a request that the server's end cuts short."""
    return ApiError(503, "The server is being stopped.", code="stopping")


def without_paths(message: str, directories: Iterable[str] = ()) -> str:
    """A message in which files are called by their last name only."""
    for directory in directories:
        message = message.replace(directory.rstrip("/\\") + "/", "")
    return _ABSOLUTE.sub("", message)
