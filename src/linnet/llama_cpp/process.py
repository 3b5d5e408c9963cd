"""llama.cpp in a process of its own, as native code may crash; and the way to talk to it.

It answers HTTP on a socket in a private directory, which no other user and no browser
reaches. Where a system has no such sockets it listens on the loopback address with a
random key. It ends when this process does, however that ends, and whatever it is doing.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from linnet.errors import EngineError, MissingExtraError, ModelError

HAS_UNIX_SOCKETS = hasattr(socket, "AF_UNIX")

_ANSWER_SECONDS = 600
_END_SECONDS = 10
_LOAD_STALLS = 4  # of the seconds of a stall, for whatever loading takes beside reading
_SLOWEST_DISK = 20 << 20  # bytes a second
_LOG_BYTES = 1 << 20
_WRONG = re.compile(r"^[\d.]+ E |error|GGML_ASSERT|terminate called", re.IGNORECASE)
_CONSEQUENCE = re.compile(r"failed to load model|exiting due to")
_PREFIX = re.compile(r"^[\d.]+ E +(?:\w+ +)*\w+: +(?:error loading model: )?")
_PATH_BYTES = 100


@dataclass(frozen=True)
class LlamaCppSettings:
    """What llama.cpp is started with."""

    model: str
    """The GGUF file."""
    context: int = 512
    """Tokens that it has room for, in all slots together."""
    slots: int = 1
    """Texts that are computed together."""
    threads: int = 1
    batch: int = 512
    """Tokens that are computed at once."""
    unified: bool = False
    """Whether the slots share the room, or have equal parts of it."""
    exact: bool = True
    """Keys and values in float32, and nothing rounded on the way; else in float16."""
    prompt_cache: int = 0
    """MiB of memory for the keys and values of prompts that no slot holds any more."""
    adapters: tuple[str, ...] = ()
    """Files of adapters, none of which is used unless a request asks for it."""
    embedding: bool = False
    """For encoders, which write nothing."""
    own_template: bool = False
    """Whether it reads the file's chat template, which it then runs once, without limits."""
    lookup: bool = False
    """Whether what followed the same tokens before is drafted."""
    draft: str = ""
    """The file of a smaller model that drafts."""
    stall_seconds: float = 30.0
    """Computing without any progress for longer counts as hung; more is allowed for large files."""

    @property
    def load_seconds(self) -> float:
        """How long loading may take, on a slow disk as well."""
        with contextlib.suppress(OSError):
            return _LOAD_STALLS * self.stall_seconds + os.stat(self.model).st_size / _SLOWEST_DISK
        return _LOAD_STALLS * self.stall_seconds


class LlamaCppProcess:
    """A running llama.cpp."""

    def __init__(self, settings: LlamaCppSettings) -> None:
        """Raises MissingExtraError without ``xllamacpp``, ModelError when it refuses the file."""
        self.settings = settings
        self._place = Path(tempfile.mkdtemp(prefix="linnet-"))  # readable by this user alone
        self._log = (self._place / "log").open("a+b")
        self.key = secrets.token_urlsafe(32)
        place = str(self._place / "socket.sock")
        # A longer path no system takes for a socket.
        self.socket = place if HAS_UNIX_SOCKETS and len(os.fsencode(place)) < _PATH_BYTES else ""
        self.system_info = ""
        self._port = 0
        self._id = 0
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "linnet.llama_cpp.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            encoding="utf-8",
        )
        try:
            self._begin()
        except BaseException:
            self.close()
            raise

    @property
    def id(self) -> int:
        """The id of the process that computes."""
        return self._id or self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def has_ended(self, *, within: float) -> bool:
        """Whether it ends in the next ``within`` seconds; known at once when it has."""
        try:
            self._process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            return False
        return True

    @property
    def cpu_seconds(self) -> float | None:
        """Processor time that it took so far, where the system tells."""
        try:
            fields = Path(f"/proc/{self.id}/stat").read_text("ascii").rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError, AttributeError):
            return None

    @property
    def memory_bytes(self) -> int:
        """Memory that it has in use, what it reads of its file included; where the system does not
        tell, the size of the file."""
        try:
            pages = int(Path(f"/proc/{self.id}/statm").read_text("ascii").split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError, AttributeError):
            with contextlib.suppress(OSError):
                return os.stat(self.settings.model).st_size
        return 0

    def stop(self) -> None:
        """End native code at once, whatever it is doing; from any thread."""
        if hasattr(os, "fork"):
            self._hang_up()
        else:
            self._process.kill()

    def _hang_up(self) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def close(self) -> None:
        """End the process and remove what it left."""
        self._hang_up()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def connect(self, *, timeout: float = _ANSWER_SECONDS) -> socket.socket:
        """A new connection. Raises OSError when nobody listens."""
        if not self.socket:
            return socket.create_connection(("127.0.0.1", self._port), timeout=timeout)
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(timeout)
        try:
            made.connect(self.socket)
        except OSError:
            made.close()
            raise
        return made

    def request_bytes(self, path: str, body: bytes) -> bytes:
        """A whole HTTP request after whose answer the connection is closed."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Authorization: Bearer {self.key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode("ascii") + body

    def ask(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to one question. Raises EngineError without one, ModelError for a refusal."""
        connection = http.client.HTTPConnection("localhost")
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self.key}"}
        try:
            connection.sock = self.connect()
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, TimeoutError):
                self.stop()
            raise EngineError(f"llama.cpp gave no answer ({error}): {self.last_words()}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise ModelError(f"llama.cpp refused: {refusal(answer)}")
        return answer

    def last_words(self) -> str:
        """What it said last of an error, in one line."""
        return self._wrong()[-1]

    def _wrong(self) -> list[str]:
        """What it said of errors, at least one line, without those that only follow from others."""
        if self._log.closed:
            return ["it has ended"]
        self._log.seek(0)
        lines = [line for line in self._log.read().decode("utf-8", "replace").splitlines() if line]
        wrong = [line for line in lines if _WRONG.search(line)]
        causes = [line for line in wrong if not _CONSEQUENCE.search(line)]
        found = causes or wrong or lines[-1:] or ["it said nothing"]
        return [_PREFIX.sub("", line).strip() for line in found]

    def trim_log(self) -> None:
        """Keep what it says from filling the disk, however long it runs."""
        if not self._log.closed and os.fstat(self._log.fileno()).st_size > _LOG_BYTES:
            self._log.truncate(0)  # it appends, so that it goes on at the beginning

    def _begin(self) -> None:
        outside = {"socket": self.socket, "key": self.key, "place": str(self._place)}
        limit = self.settings.load_seconds
        timer = threading.Timer(limit, self.stop)
        timer.daemon = True
        timer.start()
        told = self._tell({**asdict(self.settings), **outside})
        timed_out = timer.finished.is_set()
        timer.cancel()
        if timed_out and "ready" not in told:
            raise ModelError(
                f"{self.settings.model}: llama.cpp did not load it within {limit:.0f} seconds; it "
                "was ended"
            )
        if "missing" in told:
            raise MissingExtraError("xllamacpp", "running llama.cpp")
        if "ready" not in told:
            self.has_ended(within=_END_SECONDS)  # its log is complete only then
            raise ModelError(
                f"{self.settings.model}: llama.cpp does not accept it: {self._wrong()[0]}"
            )
        self.system_info = str(told.get("system", ""))
        self._id = int(told.get("id", 0))
        if not self.socket:
            self._port = int(str(told["ready"]).rpartition(":")[2])

    def _tell(self, line: dict[str, Any]) -> dict[str, Any]:
        """Say one thing to the program around llama.cpp; what it answers, nothing if it ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the reply says more
        reply = self._process.stdout.readline()
        told: dict[str, Any] = json.loads(reply) if reply else {}
        return told


def refusal(answer: Any) -> str:
    """What llama.cpp's answer to a request says is wrong with it, in one line."""
    told = answer.get("error", answer) if isinstance(answer, dict) else answer
    message = told.get("message", told) if isinstance(told, dict) else told
    return " ".join(str(message).split())[:300]
