"""What a server writes of its work: one JSON object a line, without what people asked."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from typing import Any, Literal

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
