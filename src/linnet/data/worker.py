"""A process that works on items; ``linnet.data.executor`` starts it.

It takes one line of JSON on standard input that says what to do, then one for
each item, and answers on standard output: a line per batch of messages, the
item's last with ``done``. Texts go to a file of its own, the spool; only where
they lie goes through the pipe.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from linnet.data import converter, sandbox
from linnet.data.document import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator

_MESSAGES, _BYTES, _SECONDS = 500, 1_000_000, 2.0  # a batch is sent at the first of these
_DETAIL = 200  # characters; it must not carry a document into a report
_RETIREMENT = 1 << 30  # bytes in memory or in the spool
# The disk or the way to it had a bad moment; the file itself may be sound.
_PASSING = {errno.ENOSPC, errno.EIO, errno.ETIMEDOUT, errno.ESTALE, errno.ENFILE, errno.ENOMEM}
_LIMITED = "needs a larger file than may be written here (ulimit -f, or the disk)"


class SpoolError(Exception):
    """The spool cannot be written. ``number`` is the operating system's error."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Job:
    """What a task is given besides its item: settings, a directory for temporary files, and
    a place for texts, which are too large to be sent."""

    def __init__(self, settings: dict[str, Any], scratch: Path, spool: Path) -> None:
        self.settings = settings
        self.scratch = scratch
        self._name = spool.name
        self._spool: IO[bytes] = spool.open("ab")

    def store(self, text: str) -> tuple[str, int, int]:
        """Keep a text. Gives the file's name below the spools, the offset and the bytes there."""
        data = text.encode("utf-8")
        offset = self._spool.tell()
        with _spooling():
            self._spool.write(data)
        return self._name, offset, len(data)

    def flush(self) -> int:
        """Let others read what was stored. Gives how many bytes the spool holds."""
        with _spooling():
            self._spool.flush()
        return self._spool.tell()


@contextlib.contextmanager
def _spooling() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(error.errno or 0) from None


def main() -> None:
    """Serve until standard input ends, then leave at once, even in the midst of an item."""
    requests, answers = sandbox.streams()
    setup = json.loads(requests.readline())
    scratch, spool = Path(setup["scratch"]), Path(setup["spool"])
    converter.confine(scratch if setup["converting"] else None, memory_mb=setup["memory_mb"])
    sandbox.enter(scratch, spool, memory_mb=setup["memory_mb"])
    job = Job(setup["settings"], scratch, spool)
    for item in sandbox.lines(requests):
        for line in answer(setup["task"], item, job):
            answers.write(line + b"\n")
            answers.flush()
        _clear(scratch)


def answer(task: str, item: dict[str, Any], job: Job) -> Iterator[bytes]:
    """Lines that say what the task yields for an item, and at last how it ended."""
    batch = _Batch()
    ended: dict[str, Any] = {"done": True}
    try:
        module, _, function = task.partition(":")
        for message in getattr(importlib.import_module(module), function)(item, job):
            batch.add(message)
            if batch.is_due():
                job.flush()
                yield batch.line()
                batch = _Batch()
        ended["retires"] = max(job.flush(), sandbox.resident_bytes()) > _RETIREMENT
    except SpoolError as error:
        if error.number == errno.EFBIG:  # in a new spool there may be room for it
            ended |= {"reason": _LIMITED, "transient": True, "retires": True}
        else:  # no other item would fare better
            ended = {"failed": error.number}
    except MemoryError:
        ended |= {"reason": "needs more than file_memory", "transient": True, "retires": True}
    except converter.NotStartedError:
        ended["converts"] = True
    except UnreadableError as error:
        ended |= {"reason": error.reason, "detail": error.detail[:_DETAIL]}
    except OSError as error:
        limited = error.errno == errno.EFBIG  # of a temporary file: nothing grows by being read
        reason = _LIMITED if limited else (error.strerror or "cannot be read").lower()
        ended |= {"reason": reason, "transient": limited or error.errno in _PASSING}
    except (Exception, SystemExit) as error:  # a parser's bug must cost this item only
        detail = f"{type(error).__name__}: {error}"[:_DETAIL]
        ended |= {"reason": "the parser failed", "detail": detail}
    yield (batch if ended.keys() <= {"done", "retires"} else _Batch()).line(ended)


class _Batch:
    """Messages to be sent together, as JSON."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.size = 0
        self.begun = time.monotonic()

    def add(self, message: dict[str, Any]) -> None:
        self.messages.append(_json(message))
        self.size += len(self.messages[-1])

    def is_due(self) -> bool:
        waited = time.monotonic() - self.begun
        return len(self.messages) >= _MESSAGES or self.size >= _BYTES or waited >= _SECONDS

    def line(self, more: dict[str, Any] | None = None) -> bytes:
        """The batch in the form of an Answer, ``more`` being its other fields."""
        return b'{"messages": [%s]%s' % (
            b", ".join(self.messages),
            b", " + _json(more)[1:] if more else b"}",
        )


def _json(value: Any) -> bytes:
    """As JSON; half characters (surrogates), of which file names may consist, become ``?``."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def _clear(scratch: Path) -> None:
    """What a task that failed left behind must not fill the disk."""
    with os.scandir(scratch) as entries:
        left = [entry.path for entry in entries]
    for path in left:
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)
