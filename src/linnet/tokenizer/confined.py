"""Calls into a process of our own that can be ended, for code that may never return.

A stranger's chat template or tokenizer can keep C code busy without end, take all memory or crash
the library that reads it. :func:`call` therefore runs a function of Linnet in a child process with
a deadline, a limit on memory (where the system has one) and nothing of the environment but what
Python needs to start. The child is started with the first call and serves many; one that overran
its deadline or died is replaced. It is a fresh interpreter, not a fork: threads of torch and of
``tokenizers`` do not survive one.

What the child is sent is marshalled. What it answers is JSON, of bounded length: it has run what
strangers wrote.
"""

from __future__ import annotations

import atexit
import importlib
import json
import marshal
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

from linnet.errors import LinnetError, ModelError
from linnet.runtime import worker_environment

START_SECONDS = 60.0
GRACE_SECONDS = 1.0  # for the child to notice its deadline itself, which gives a better message
MEMORY = 512 << 20  # bytes, besides a multiple of what is sent
MEMORY_PER_BYTE = 32
LONGEST_ANSWER = 1 << 30
IDLE = 2  # processes kept for each service

# ``-P`` and this keep the working directory, where a stranger's files may lie, off the path of
# modules, and put the place of this package at its end, where it hides nothing.
_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from linnet.tokenizer.confined import serve; serve(sys.argv[1])"
)
_HEADER = 8


class EndedError(LinnetError):
    """The process was ended for its deadline (``late``), or died."""

    def __init__(self, reason: str, *, late: bool) -> None:
        super().__init__(reason)
        self.late = late


def call(service: str, request: Any, *, seconds: float, memory: int = MEMORY) -> Any:
    """What the module ``service`` answers to ``request``, by its function ``answer``.

    ``request`` is plain data. ``memory``: bytes the child may take, plus 32 for each byte sent.
    Raises EndedError when there is no answer within ``seconds``, or none at all.
    """
    payload = marshal.dumps((seconds, memory, request))
    process = _POOL.take(service)
    try:
        answer = process.ask(payload, seconds + GRACE_SECONDS)
    except BaseException:
        process.end()
        raise
    _POOL.give_back(service, process)
    return answer


class _Process:
    """The child, seen from outside."""

    def __init__(self, service: str) -> None:
        root = str(Path(__file__).parents[2])
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, root, service],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=worker_environment(),
                start_new_session=True,  # Ctrl-C is for the process in the terminal
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
            )
        except OSError as error:
            raise ModelError(
                f"{sys.executable}: cannot start a process to read this model's files in "
                f"({error.strerror or error})"
            ) from None
        self.owner = os.getpid()
        try:
            self._within(START_SECONDS, b"")
        except BaseException:
            self.end()
            raise

    def ask(self, payload: bytes, seconds: float) -> Any:
        return json.loads(self._within(seconds, len(payload).to_bytes(_HEADER, "little") + payload))

    @property
    def usable(self) -> bool:
        """Whether it runs, and is this process's own (not that of one we were forked from)."""
        return self.owner == os.getpid() and self._process.poll() is None

    def end(self) -> None:
        """End it, whatever it does."""
        if self.owner == os.getpid():
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:  # what is left to be written has no reader
                pass

    def _within(self, seconds: float, message: bytes) -> bytes:
        """Send a message and hear the answer; whatever happens, it ends in time."""
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(message)
            self._process.stdin.flush()
            answer = _read(self._process.stdout, LONGEST_ANSWER)
        except OSError:  # a broken pipe: it is gone
            answer = None
        finally:
            timer.cancel()
        if answer is not None:
            return answer
        if late.is_set():
            raise EndedError(
                f"it takes longer than {seconds - GRACE_SECONDS:.3g} seconds", late=True
            )
        raise EndedError(f"its process ended ({self._how()})", late=False)

    def _how(self) -> str:
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return "its answer makes no sense"
        if code < 0:
            try:
                return signal.Signals(-code).name
            except ValueError:
                pass
        return f"exit status {code}"


class _Pool:
    """Processes that wait for work, by service."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, list[_Process]] = {}
        self._closes_at_exit = False

    def take(self, service: str) -> _Process:
        while True:
            with self._lock:
                waiting = self._idle.get(service)
                process = waiting.pop() if waiting else None
            if process is None:
                return _Process(service)
            if process.usable:
                return process
            process.end()

    def give_back(self, service: str, process: _Process) -> None:
        with self._lock:
            if not self._closes_at_exit:
                atexit.register(self.close)
                self._closes_at_exit = True
            waiting = self._idle.setdefault(service, [])
            if len(waiting) < IDLE:
                waiting.append(process)
                return
        process.end()

    def close(self) -> None:
        """End all that wait."""
        with self._lock:
            processes = [process for waiting in self._idle.values() for process in waiting]
            self._idle.clear()
        for process in processes:
            process.end()


_POOL = _Pool()


def serve(service: str) -> None:
    """The child: answer requests until there are no more."""
    answer = importlib.import_module(service).answer
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    _write(answers, b"")
    while (message := _read(requests, sys.maxsize)) is not None:
        seconds, memory, request = marshal.loads(message)
        _limit(seconds, memory + MEMORY_PER_BYTE * len(message))
        del message
        try:
            reply = answer(request, seconds)
        except MemoryError:
            reply = ["stopped", "it takes more memory than this can need"]
        except RecursionError:
            reply = ["stopped", "it nests without end"]
        _write(answers, json.dumps(reply).encode("ascii"))


def _limit(seconds: float, memory: int) -> None:
    """Limits of POSIX systems: memory, and time for when nobody is left who would end this."""
    try:
        import resource
    except ImportError:  # Windows
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    wanted = {
        resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime + seconds + 10),
        # What is private and can be written to; the address space would count what is reserved.
        resource.RLIMIT_DATA: memory,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        _, hard = resource.getrlimit(kind)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(kind, (value, hard))
        except (ValueError, OSError):
            continue


def _read(pipe: IO[bytes], most: int) -> bytes | None:
    """One message; None where there is no whole one any more, or one longer than any can be."""
    header = pipe.read(_HEADER)
    length = int.from_bytes(header, "little")
    if len(header) < _HEADER or length > most:
        return None
    message = pipe.read(length)
    return message if len(message) == length else None


def _write(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(len(message).to_bytes(_HEADER, "little") + message)
    pipe.flush()
