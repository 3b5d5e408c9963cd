"""Runs a command or a task of :mod:`hostile_tasks` within limits of time and memory.

One server process imports Linnet once; each run is a fork of it, so that hundreds take minutes, not
hours, and nothing that one of them does touches another. Linux and macOS.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MB = 1 << 20


@dataclass(frozen=True)
class Outcome:
    """What a run did. ``code`` is None when it had to be ended."""

    code: int | None
    out: str
    err: str
    seconds: float
    memory: int  # bytes at most

    @property
    def lines(self) -> list[str]:
        """What it said on standard error, without the line that Rust prints for a panic."""
        noise = ("thread '", "note: run with `RUST_BACKTRACE")
        lines = [line for line in self.err.splitlines() if line.strip()]
        return [line for line in lines if not line.startswith(noise)]


class Runner:
    """The server, from outside."""

    def __init__(self, *preloaded: str) -> None:
        """``preloaded``: modules that most runs need."""
        here = Path(__file__).parent
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"import running; running.serve({preloaded!r})"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": f"{here}{os.pathsep}{here.parent}",
                "OMP_NUM_THREADS": "1",
                "TOKENIZERS_PARALLELISM": "false",
                "RUST_BACKTRACE": "0",
            },
        )

    def run(
        self, task: str, *arguments: str, seconds: float, memory: int, environment: dict[str, str]
    ) -> Outcome:
        """Run ``cli`` with arguments, or another task by name."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = [task, arguments, seconds, memory, environment]
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return Outcome(**json.loads(self._process.stdout.readline()))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def serve(preloaded: tuple[str, ...]) -> None:
    """The server."""
    import hostile_tasks

    for name in preloaded:
        importlib.import_module(name)

    for line in sys.stdin:
        task, arguments, seconds, memory, environment = json.loads(line)
        outcome = _fork(lambda: hostile_tasks.run(task, arguments), seconds, memory, environment)  # noqa: B023
        print(json.dumps(outcome), flush=True)


def _fork(work: Any, seconds: float, memory: int, environment: dict[str, str]) -> dict[str, Any]:
    import resource

    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            code = 70
            try:
                os.setsid()
                os.environ.update(environment)
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                code = work()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        status, usage = _wait(child, started + seconds)
        unit = 1 if sys.platform == "darwin" else 1024
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read(1 << 20).decode("utf-8", "replace"))
    return {
        "code": status,
        "out": texts[0],
        "err": texts[1],
        "seconds": time.monotonic() - started,
        "memory": usage.ru_maxrss * unit,
    }


def _wait(child: int, end: float) -> tuple[int | None, Any]:
    while True:
        found, status, usage = os.wait4(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), usage
        if time.monotonic() > end:
            os.killpg(child, signal.SIGKILL)
            _, _, usage = os.wait4(child, 0)
            return None, usage
        time.sleep(0.005)
