"""What a server writes of its work: one JSON object a line, without what people asked."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from collections.abc import Container
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from linnet.serve.errors import ApiError

LOGGER = logging.getLogger("linnet.serve")


class JsonLines(logging.Formatter):
    """Time, level, event and the facts given as ``extra={"facts": {...}}``."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


_QUOTING = frozenset((400, 404, 422))
"""Errors that are about what was asked, and may quote it."""


def error_facts(error: ApiError, names: Container[str]) -> dict[str, Any]:
    """What is logged of an error: where it may quote what was asked, its kind and place only.

    ``names``: those that requests may have; a name beside them is what someone wrote.
    """
    quotes = error.status in _QUOTING
    facts = {
        "error": error.kind if quotes else error.logged,
        "code": error.code,
        "param": _known_part(error.param or "", names),
    }
    return {name: fact for name, fact in facts.items() if fact}


def _known_part(param: str, names: Container[str]) -> str:
    """The place of an error up to the first name that no request has: that is the client's own."""
    known = []
    for part in param.split("."):
        name, _, place = part.partition("[")
        if name not in names or place.strip("0123456789[]"):
            break
        known.append(part)
    return ".".join(known)


def log_to_stderr(level: Literal["requests", "errors", "off"]) -> None:
    """Write the server's log to standard error; uvicorn's own words join it when they matter."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    levels = {"requests": logging.INFO, "errors": logging.ERROR, "off": logging.CRITICAL + 1}
    for name, lowest in (("linnet.serve", levels[level]), ("uvicorn", logging.CRITICAL)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(lowest)
        logger.propagate = False
