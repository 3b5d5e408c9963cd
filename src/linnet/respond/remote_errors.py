"""What goes wrong with a model at an address: what it says itself, and how that is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from linnet.errors import ModelError

Code: TypeAlias = Literal[
    "unreachable", "timeout", "broken_off", "protocol", "malformed", "refused", "failed",
    "circuit_open",
]  # fmt: skip
"""What kind of failure it is: no connection; no answer in time; an answer that broke off, that is
no HTTP, or no answer of a model; an error status; an error that the answer itself tells of; not
asked, as it failed before."""

REPEATABLE = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529))
"""Statuses after which the same request may succeed."""
SPENT = frozenset(("insufficient_quota", "billing_hard_limit_reached", "account_deactivated"))
"""Codes that come with status 429, though waiting does not help."""

_SAID = 300
_TOO_LONG = re.compile(
    r"(context|prompt|input)[^.]{0,40}(too long|exceed|larger than)|exceed[^.]{0,40}context"
    r"|maximum context|too many tokens",
    re.IGNORECASE,
)


class RemoteError(ModelError):
    """The model at an address gave no answer, or none that can be read.

    ``status``: of its HTTP answer, where there was one. ``repeatable``: whether the same request
    may succeed when it is sent again, after ``retry_after`` seconds where these were told.
    ``parameter``: the part of the request that it does not take, where it says so.
    """

    def __init__(
        self,
        message: str,
        *,
        code: Code = "malformed",
        status: int | None = None,
        repeatable: bool = False,
        retry_after: float | None = None,
        parameter: str | None = None,
        quoted: str = "",
    ) -> None:
        """``quoted``: what of the message are the other side's own words, at its end."""
        super().__init__(message)
        self.code = code
        self.quoted = quoted
        self.status = status
        self.repeatable = repeatable
        self.retry_after = retry_after
        self.parameter = parameter

    def without(self, secret: str) -> RemoteError:
        """The same, with something left out of its message."""
        return RemoteError(
            str(self).replace(secret, "[key]"), code=self.code, status=self.status,
            repeatable=self.repeatable, retry_after=self.retry_after, parameter=self.parameter,
            quoted=self.quoted.replace(secret, "[key]"),
        )  # fmt: skip

    @property
    def unquoted(self) -> str:
        """The message without the other side's own words, which may be those of whoever asked, or
        have keys in them: for what is logged."""
        return str(self).replace(self.quoted, "").rstrip(": ") if self.quoted else str(self)


@dataclass(frozen=True)
class Complaint:
    """What an answer says is wrong."""

    message: str = ""
    code: str = ""
    status: int | None = None
    parameter: str | None = None
    """The part of the request that it does not take."""

    @classmethod
    def of(cls, found: Any) -> Complaint:
        """Of JSON in any of the forms that are in use: OpenAI's ``{"error": {...}}``, the same in
        a list, or as a text; ``message`` by itself; ``detail`` of FastAPI."""
        if isinstance(found, list) and found:
            found = found[0]
        if not isinstance(found, Mapping):
            return cls()
        error = found.get("error") or found
        if isinstance(error, Mapping) and isinstance(error.get("message"), Mapping):
            error = {**error, **error["message"]}  # Mistral's
        if not isinstance(error, Mapping):
            return cls(printable(str(error))[:_SAID])
        detail, place = error.get("detail"), None
        if isinstance(detail, list) and detail and isinstance(detail[0], Mapping):
            location = detail[0].get("loc")
            names = location if isinstance(location, list) else []
            place = next((name for name in names if isinstance(name, str) and name != "body"), None)
            detail = f"{place}: {detail[0].get('msg')}"
        said = error.get("message")
        said = said if isinstance(said, str) else detail
        message = printable(str(said or error.get("type") or ""))
        code = error.get("code")
        status = next(filter(None, map(_status, (code, error.get("status")))), None)
        parameter = error.get("param") or place
        if not isinstance(parameter, str):
            parameter = None
        return cls(message[:_SAID], str(code or error.get("type") or ""), status, parameter)

    @property
    def is_of_length(self) -> bool:
        """Whether what was sent is too long for the model."""
        return self.code == "context_length_exceeded" or bool(_TOO_LONG.search(self.message))

    def raised(self, name: str) -> RemoteError:
        """As an error of an answer that had begun."""
        status = self.status
        return RemoteError(
            f"{name}: {self.message or 'it tells of an error'}", code="failed", status=status,
            repeatable=(status is None or status in REPEATABLE) and self.code not in SPENT,
            quoted=self.message,
        )  # fmt: skip


def printable(text: str) -> str:
    """In one line, without what moves cursors."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _status(given: Any) -> int | None:
    """Of HTTP, where it is one of an error, as a number or in digits."""
    if isinstance(given, str) and given.isascii() and given.isdecimal():
        given = int(given[:4])
    return given if isinstance(given, int) and 400 <= given < 600 else None
