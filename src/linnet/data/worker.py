"""A process that reads files for the data stage; ``linnet.data.pool`` starts it.

It takes one request per line (JSON) on standard input and answers on standard
output, one line per batch of documents and one when the file is done. Texts
go to a file of the worker's own, the spool; only where they lie goes through
the pipe.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from linnet.config import from_mapping
from linnet.data.config import DataConfig
from linnet.data.document import Dropped, UnreadableError, text_id
from linnet.data.extract import extract

if TYPE_CHECKING:
    from linnet.data.document import Extracted

BATCH = 500


class SpoolError(Exception):
    """The spool cannot be written. ``number`` is the operating system's error."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> None:
    """Serve requests until standard input ends. Arguments: the spool, the settings as JSON."""
    spool_path, settings = sys.argv[1:]
    config = from_mapping(DataConfig, json.loads(settings), where="worker")
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what libraries may print
    with open(spool_path, "ab") as spool:
        for line in sys.stdin:
            _serve(json.loads(line), config, spool, answers)


def _serve(request: dict[str, Any], config: DataConfig, spool: IO[bytes], answers: IO[str]) -> None:
    dropped: Counter[str] = Counter()
    reason = detail = ""
    batch: list[list[Any]] = []
    try:
        for found in extract(
            Path(request["path"]), kind=request["kind"], group=request["group"], config=config
        ):
            if isinstance(found, Dropped):
                dropped[found.reason] += 1
                continue
            batch.append(_store(found, spool))
            if len(batch) == BATCH:
                _answer(answers, spool, {"documents": batch})
                batch = []
    except UnreadableError as error:
        reason, detail = error.reason, _printable(error.detail)
    except SpoolError as error:  # the disk is full: no other file would fare better
        _write(answers, {"failed": error.number})
        return
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
    except MemoryError:
        reason = "out of memory"
    except Exception as error:  # a parser's bug must cost this file only; the report names it
        reason, detail = "the parser failed", _printable(f"{type(error).__name__}: {error}")[:200]
    _answer(
        answers,
        spool,
        {"documents": batch, "done": {"dropped": dropped, "reason": reason, "detail": detail}},
    )


def _store(found: Extracted, spool: IO[bytes]) -> list[Any]:
    """Append the text to the spool: its hash, group, kind, offset, bytes."""
    data = found.text.encode("utf-8")
    offset = spool.tell()
    try:
        spool.write(data)
    except OSError as error:
        raise SpoolError(error.errno or 0) from None
    identity = text_id(found.text)
    return [identity, found.group or identity, found.kind, offset, len(data)]


def _answer(answers: IO[str], spool: IO[bytes], message: dict[str, Any]) -> None:
    try:
        spool.flush()  # a text must be in the file before anyone is told where it lies
    except OSError as error:
        message = {"failed": error.errno or 0}
    _write(answers, message)


def _write(answers: IO[str], message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
