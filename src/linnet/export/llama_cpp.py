"""Asks llama.cpp itself what a GGUF file computes (through the ``xllamacpp`` package).

It runs in a process of its own, as native code may crash, and answers on a socket in
a private directory: no network port is opened. Keys and values are kept in
float32 and nothing is shared between questions, so that answers can be compared
with the exact weights.

    with LlamaCpp(file) as llama:
        llama.continuation(llama.tokens("Once upon"), length=8)
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_START_SECONDS = 120
_ANSWER_SECONDS = 600


@dataclass(frozen=True)
class Continuation:
    """What llama.cpp wrote, greedily, and how likely it found the best tokens at each step."""

    tokens: tuple[int, ...]
    logprobs: tuple[dict[int, float], ...]
    """For each place, the one it stopped at included: tokens with their log-probability in
    nats. Empty where llama.cpp tells none: at a token that ends within a character."""
    stopped: bool
    """Whether it ended at a token that ends a text."""


class LlamaCpp:
    """One GGUF file, run by llama.cpp. Use it in a ``with`` statement."""

    def __init__(
        self, file: Path, *, context: int = 512, threads: int = 1, embedding: bool = False
    ) -> None:
        """``embedding``: for encoders, which write nothing.

        Raises MissingExtraError without ``xllamacpp``, and ModelError when llama.cpp
        does not accept the file.
        """
        if not hasattr(socket, "AF_UNIX"):
            raise ModelError("running llama.cpp needs Unix sockets, which this system has not")
        self._place = Path(tempfile.mkdtemp(prefix="linnet-"))  # readable by this user alone
        self._socket = self._place / "socket.sock"
        self._log = (self._place / "log").open("w+b")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "linnet.export.llama_cpp_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        settings = {
            "model": str(file.resolve()),
            "socket": str(self._socket),
            "context": context,
            "threads": threads,
            "embedding": embedding,
        }
        try:
            self._begin(file, settings)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LlamaCpp:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove what it left."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()
        shutil.rmtree(self._place, ignore_errors=True)

    def tokens(self, text: str, *, special: bool = False, around: bool = True) -> list[int]:
        """The tokens of a text. ``special``: names of special tokens in it are those tokens.

        ``around``: with what the tokenizer puts before and after every text.
        """
        asked = {"content": text, "add_special": around, "parse_special": special}
        found: list[int] = self._ask("/tokenize", asked)["tokens"]
        return found

    def continuation(
        self, prompt: Sequence[int], *, length: int, candidates: int = 8
    ) -> Continuation:
        """The best ``length`` tokens after ``prompt``, each the most likely one."""
        tokens: list[int] = []
        logprobs: list[dict[int, float]] = []
        while len(tokens) < length:
            asked = {
                "prompt": [*prompt, *tokens],
                "n_predict": 1,  # of several it leaves out those that end within a character
                "temperature": 0,
                "samplers": ["temperature"],
                "n_probs": candidates,
                "return_tokens": True,
                "cache_prompt": True,
            }
            answer = self._ask("/completion", asked)
            places = answer.get("completion_probabilities") or [{"top_logprobs": []}]
            best = {entry["id"]: entry["logprob"] for entry in places[0]["top_logprobs"]}
            logprobs.append(best)
            if answer.get("stop_type") == "eos":
                return Continuation(tuple(tokens), tuple(logprobs), stopped=True)
            tokens += answer["tokens"]
        return Continuation(tuple(tokens), tuple(logprobs), stopped=False)

    def rendered(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """A conversation as llama.cpp writes it out by the template in the file."""
        answer = self._ask("/apply-template", {"messages": list(messages)})
        return str(answer["prompt"])

    def embedding(self, text: str) -> list[float]:
        """An encoder's vector for a text, pooled as the file says and not scaled."""
        answer = self._ask("/embedding", {"content": text, "embd_normalize": -1})
        found: list[float] = answer[0]["embedding"][0]
        return found

    def _begin(self, file: Path, settings: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(settings) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the reply says more
        reply = self._process.stdout.readline()
        told = json.loads(reply) if reply else {}
        if "missing" in told:
            raise MissingExtraError("xllamacpp", "export", "running llama.cpp")
        if "ready" not in told:
            raise ModelError(f"{file}: llama.cpp does not accept it: {self._last_words()}")

    def _ask(self, path: str, body: dict[str, Any]) -> Any:
        connection = _Connection(self._socket)
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ModelError(f"llama.cpp gave no answer ({error}): {self._last_words()}") from None
        finally:
            connection.close()
        if response.status != 200:
            told = answer.get("error", answer) if isinstance(answer, dict) else answer
            message = told.get("message", told) if isinstance(told, dict) else told
            raise ModelError(f"llama.cpp refused: {message}")
        return answer

    def _last_words(self) -> str:
        """What it said last of an error, in one line."""
        self._log.seek(0)
        lines = [line for line in self._log.read().decode("utf-8", "replace").splitlines() if line]
        wrong = [line for line in lines if " E " in line or "error" in line.lower()]
        return (wrong or lines or ["it said nothing"])[-1].strip()


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket of the file system."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=_ANSWER_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
