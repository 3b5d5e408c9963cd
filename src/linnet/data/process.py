"""One process of a pool, seen from outside: started, asked in a line of JSON, heard, ended."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from linnet.data import sandbox
from linnet.data.storage import new_spool

_LONGEST_LINE = 256 << 20  # of an answer; a process that says more at once is out of its mind


@dataclass
class Starter:
    """What every process is started with. ``converting``: with a process beside it that
    converts documents, which is started for those alone that need it."""

    setup: dict[str, Any]
    spools: Path
    scratch: Path
    timeout: float
    converting: bool = False

    def start(self) -> Worker:
        spool = self.spools / new_spool(self.spools)
        scratch = self.scratch / spool.name
        scratch.mkdir(parents=True, exist_ok=True)
        setup = {**self.setup, "converting": self.converting}
        return Worker(setup, spool, scratch, self.timeout)


class Worker:
    """A process that works on one item after the other. ``late``: it was ended for its silence."""

    def __init__(self, setup: dict[str, Any], spool: Path, scratch: Path, timeout: float) -> None:
        self.spool, self.scratch, self.timeout = spool, scratch, timeout
        self.served = 0
        self.deadline = math.inf
        self.late = False
        self.process = sandbox.start("linnet.data.worker:main")
        sandbox.say(
            self.process,
            {**setup, "spool": str(spool.absolute()), "scratch": str(scratch.absolute())},
        )

    def ask(self, item: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Messages of an answer; they end early when the process is gone or makes no sense."""
        self.deadline = time.monotonic() + self.timeout
        sandbox.say(self.process, item)
        assert self.process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while line := self._hear(self.process.stdout):
                yield json.loads(line)

    def end_if_late(self) -> None:
        """Called by another thread than the one that waits for the answer."""
        if time.monotonic() > self.deadline:
            self.late = True
            self.process.kill()

    def end(self) -> str:
        """End it if it runs and clear up. Gives how it ended, in words."""
        self._close(self.process.stdin)
        self.process.kill()
        code = self.process.wait()
        self._close(self.process.stdout)
        shutil.rmtree(self.scratch, ignore_errors=True)
        with contextlib.suppress(OSError):
            if not self.spool.stat().st_size:
                self.spool.unlink()
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"exit status {code}"

    def _hear(self, stream: IO[bytes]) -> bytes:
        self.deadline = time.monotonic() + self.timeout
        try:
            return stream.readline(_LONGEST_LINE)
        finally:
            self.deadline = math.inf

    @staticmethod
    def _close(pipe: IO[bytes] | None) -> None:
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
