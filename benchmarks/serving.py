"""How fast texts come over HTTP: ``linnet serve`` beside what people would use instead.

    python benchmarks/serving.py --shapes 4m 15m 135m --streams 1 8

For each shape (random weights in q8_0, as one GGUF file that all of llama.cpp's peers read)
streams of the same greedy text, by turns, so that all meet the same load:

* ``xllamacpp``: the library's streaming calls from Python threads, without HTTP;
* ``xllamacpp http``: the same by the HTTP server it comes with, read by the same client as all
  servers here;
* ``linnet``: the server in a process of its own, its clients in this one, on the same cores;
* ``xllamacpp native``: as the first, built for this processor (``--native``);
* ``llama-cpp-python``: that package's server, where it is installed;
* ``transformers``: its streaming ``generate``, for one stream.

Shown are tokens a second over all streams and the median time to the first token; the best of the
turns and their median. ``--soak SECONDS`` instead sends what a rough day brings to one server: many
clients, who leave, read slowly or ask nonsense, and shows errors, memory and queue times.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import importlib.util
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from peers import CONTEXT, SHAPES, Other, answer, make_checkpoint

FIRST_WORD = 512  # tokens from here on are made-up words


@dataclass
class Run:
    """One turn of one peer: tokens, seconds, and when each stream had its first token."""

    tokens: int = 0
    seconds: float = 0.0
    firsts: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


def prompts(shape: str, streams: int, length: int, turn: int) -> list[list[int]]:
    """Prompts that share no beginning, so that no cache helps."""
    numbers = random.Random(turn * 1000 + streams)
    last = SHAPES[shape][-1] - 1
    return [[numbers.randint(FIRST_WORD, last) for _ in range(length)] for _ in range(streams)]


def together(work: Callable[[list[int], Run], None], rows: list[list[int]]) -> Run:
    """Every prompt in a thread of its own."""
    runs = [Run() for _ in rows]
    threads = [
        threading.Thread(target=work, args=(row, run)) for row, run in zip(rows, runs, strict=True)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    return Run(sum(run.tokens for run in runs), seconds, [f for run in runs for f in run.firsts])


# --- peers -----------------------------------------------------------------------------------


class Linnet:
    """The server in a process of its own."""

    name = "linnet"

    def __init__(self, model: Path, threads: int, tokens: int) -> None:
        self.tokens = tokens
        self.process = subprocess.Popen(
            [sys.executable, "-m", "linnet", "serve", str(model), "--port", "0", "--log", "errors",
             "--threads", str(threads), "--engine", "llama.cpp", "--name", "m"],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        self.url, said = "", []
        for line in self.process.stderr:
            said.append(line)
            if found := re.search(r"http://\S+", line):
                self.url = found[0]
                break
        if not self.url:
            raise SystemExit("".join(said))
        self.place = urlsplit(self.url)
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def run(self, rows: list[list[int]]) -> Run:
        return together(self._stream, rows)

    def _stream(self, row: list[int], run: Run) -> None:
        body = {
            "model": "m", "prompt": row, "max_tokens": self.tokens, "temperature": 0, "min_p": 0,
            "stream": True, "stream_options": {"include_usage": True}, "logit_bias": {"0": -100},
        }  # fmt: skip
        read_stream(self.place.hostname or "", self.place.port or 0, body, run)

    def memory(self) -> tuple[int, int]:
        """Of the server and of what it started (whose prompt cache fills up), in bytes."""
        started = children(self.process.pid)
        return resident(self.process.pid), sum(resident(pid) for pid in started)

    def close(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


class LlamaCppPython:
    """The server of llama-cpp-python, which writes one text after another."""

    name = "llama-cpp-python"

    def __init__(self, file: Path, threads: int, tokens: int, port: int = 18431) -> None:
        self.tokens, self.port = tokens, port
        self.process = subprocess.Popen(
            [sys.executable, "-m", "llama_cpp.server", "--model", str(file), "--n_ctx",
             str(CONTEXT), "--n_threads", str(threads), "--n_threads_batch", str(threads),
             "--interrupt_requests", "False", "--port", str(port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                connection.request("GET", "/v1/models")
                connection.getresponse().read()
                return
            time.sleep(0.2)
        raise SystemExit("llama-cpp-python's server does not answer")

    def run(self, rows: list[list[int]]) -> Run:
        return together(self._stream, rows)

    def _stream(self, row: list[int], run: Run) -> None:
        # It takes no tokens; of this text each letter is one, so that prompts are as long.
        text = "".join(f" w{token}" for token in row)[: len(row)]
        body = {
            "prompt": text, "max_tokens": self.tokens, "temperature": 0, "stream": True,
            "logit_bias": {"0": -100},
        }  # fmt: skip
        read_stream("127.0.0.1", self.port, body, run)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(60)


class Bare:
    """xllamacpp's streaming calls."""

    def __init__(
        self, name: str, file: Path, threads: int, tokens: int, slots: int, python: str
    ) -> None:
        """``python``: whose xllamacpp it is."""
        self.name = name
        settings = {"file": str(file), "threads": threads, "tokens": tokens, "slots": slots}
        self.other = Other(__file__, settings, python=python)
        self.tokens = tokens

    def run(self, rows: list[list[int]]) -> Run:
        return Run(**self.other.ask(rows))

    def close(self) -> None:
        self.other.close()

    @property
    def over_http(self) -> Http:
        """The same llama.cpp by its own HTTP server."""
        return Http("xllamacpp http", urlsplit(self.other.greeting), self.tokens)


def serve_bare(settings: dict[str, Any]) -> None:
    """The other side of :class:`Bare`."""
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["file"]
    parameters.n_ctx = CONTEXT * settings["slots"]
    parameters.n_parallel = settings["slots"]
    parameters.cpuparams.n_threads = settings["threads"]
    parameters.cpuparams_batch.n_threads = settings["threads"]
    parameters.n_gpu_layers = 0
    parameters.warmup = False
    server = xllamacpp.Server(parameters)

    def stream(row: list[int], run: Run) -> None:
        started = time.perf_counter()

        def take(piece: Any) -> None:
            if not run.firsts:
                run.firsts.append(time.perf_counter() - started)
            if "usage" in piece:
                run.tokens = piece["usage"]["completion_tokens"]

        body = {
            "prompt": row, "max_tokens": settings["tokens"], "temperature": 0, "stream": True,
            "logit_bias": [[0, False]],
        }  # fmt: skip
        server.handle_completions(body, take)

    answer(lambda rows: vars(together(stream, rows)), greeting=server.listening_address)


class Http:
    """A server at an address that takes what xllamacpp's takes."""

    def __init__(self, name: str, place: SplitResult, tokens: int) -> None:
        self.name, self.place, self.tokens = name, place, tokens

    def run(self, rows: list[list[int]]) -> Run:
        return together(self._stream, rows)

    def _stream(self, row: list[int], run: Run) -> None:
        body = {
            "prompt": row[::-1],  # the prompts themselves it has just seen, and kept
            "max_tokens": self.tokens, "temperature": 0, "stream": True,
            "stream_options": {"include_usage": True}, "logit_bias": [[0, False]],
        }  # fmt: skip
        read_stream(self.place.hostname or "", self.place.port or 0, body, run)

    def close(self) -> None:
        """Nothing of its own to end."""


class Transformers:
    """transformers' generate with a streamer, one text at a time."""

    name = "transformers"

    def __init__(self, model: Path, threads: int, tokens: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(threads)
        self.tokens = tokens
        self.model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()

    def run(self, rows: list[list[int]]) -> Run:
        import torch

        run = Run()
        started = time.perf_counter()

        class Streamer:
            def put(self, value: Any) -> None:
                run.tokens += 1
                if run.tokens == 2:  # the first piece is the prompt
                    run.firsts.append(time.perf_counter() - started)

            def end(self) -> None:
                run.tokens -= 1

        ids = torch.tensor([rows[0]])
        with torch.inference_mode():
            self.model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, streamer=Streamer(),
                max_new_tokens=self.tokens, eos_token_id=None, pad_token_id=0,
            )  # fmt: skip
        run.seconds = time.perf_counter() - started
        return run

    def close(self) -> None:
        del self.model


def read_stream(host: str, port: int, body: Any, run: Run) -> None:
    """A completion by server-sent events, every one of which is parsed.

    Over a bare socket, as the client computes on the same cores: Python's own HTTP client takes
    longer for one request than the server does.
    """
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    started = time.perf_counter()
    with socket.create_connection((host, port), timeout=600) as connection:
        connection.sendall(head.encode() + data)
        answer = connection.makefile("rb")
        if (status := answer.readline().split()[1]) != b"200":
            raise SystemExit(f"{status.decode()}: {answer.read()[-300:]!r}")
        for line in answer:
            if not line.startswith(b"data: {"):  # header, sizes of chunks, blank lines
                continue
            event = json.loads(line[6:])
            for choice in event["choices"]:
                if choice["text"] and not run.firsts:
                    run.firsts.append(time.perf_counter() - started)
                if choice["finish_reason"] == "length":
                    run.tokens = body["max_tokens"]
            if event.get("usage"):
                run.tokens = event["usage"]["completion_tokens"]


# --- comparison ------------------------------------------------------------------------------


def compare(shape: str, arguments: argparse.Namespace, place: Path) -> None:
    """All peers by turns on one shape."""
    from linnet.generate.engines import EngineConfig, open_engine

    model = make_checkpoint(shape, place)
    engine = open_engine(model, EngineConfig(engine="llama.cpp"))
    file = engine.served.file  # type: ignore[attr-defined]
    engine.close()
    slots = max(arguments.streams)
    threads, tokens = arguments.threads, arguments.tokens
    bare = Bare("xllamacpp", file, threads, tokens, slots, sys.executable)
    peers: list[Any] = [bare, bare.over_http, Linnet(model, threads, tokens)]
    if arguments.native:
        peers.append(Bare("xllamacpp native", file, threads, tokens, slots, arguments.native))
    if importlib.util.find_spec("llama_cpp") is not None:
        peers.append(LlamaCppPython(file, threads, tokens))
    if "transformers" in arguments.peers:
        peers.append(Transformers(model, threads, tokens))
    try:
        for streams in arguments.streams:
            own = [p for p in peers if streams == 1 or p.name != "transformers"]
            found: dict[str, list[Run]] = {peer.name: [] for peer in own}
            for turn in range(arguments.turns + 1):
                for peer in own:
                    run = peer.run(prompts(shape, streams, arguments.prompt, turn))
                    if turn:  # the first warms up
                        found[peer.name].append(run)
            show(shape, streams, found)
    finally:
        for peer in peers:
            peer.close()


def show(shape: str, streams: int, found: dict[str, list[Run]]) -> None:
    """One line for each peer."""
    bare = max(run.rate for run in found["xllamacpp"])
    for name, runs in found.items():
        rates = [run.rate for run in runs]
        firsts = statistics.median([first for run in runs for first in run.firsts])
        print(
            f"{shape:>5} {streams} streams  {name:17} best {max(rates):8.1f}  median "
            f"{statistics.median(rates):8.1f} tokens/s  {max(rates) / bare:5.2f}x  "
            f"first token {firsts * 1000:7.1f} ms",
            flush=True,
        )


# --- soak ------------------------------------------------------------------------------------


def soak(arguments: argparse.Namespace, place: Path) -> None:
    """What a rough day brings, for so many seconds."""
    model = make_checkpoint(arguments.shapes[0], place)
    server = Linnet(model, arguments.threads, arguments.tokens)
    seen: Counter[str] = Counter()
    until = time.monotonic() + arguments.soak
    memory: list[tuple[int, int]] = []
    threads = [
        threading.Thread(target=rough_client, args=(server, number, until, seen))
        for number in range(arguments.clients)
    ]
    for thread in threads:
        thread.start()
    while time.monotonic() < until:
        time.sleep(max(0.0, min(10.0, until - time.monotonic())))
        memory.append(server.memory())
        print(f"{shown(memory[-1])}  {dict(seen)}", flush=True)
    for thread in threads:
        thread.join()
    connection = http.client.HTTPConnection(server.place.hostname or "", server.place.port)
    connection.request("GET", "/metrics")
    for line in connection.getresponse().read().decode().splitlines():
        if re.match(r"linnet_(queue_seconds_(sum|count)|running|waiting|cancelled|failed)", line):
            print(line)
    server.close()
    early = memory[len(memory) // 4]
    print(f"after a quarter {shown(early)}, at the end {shown(memory[-1])}; {dict(seen)}")


def shown(memory: tuple[int, int]) -> str:
    """The memory of the server and of its workers."""
    return f"server {memory[0] / 1e6:.1f} MB, workers {memory[1] / 1e6:.1f} MB"


def rough_client(server: Linnet, number: int, until: float, seen: Counter[str]) -> None:
    """One client, who may do anything."""
    numbers = random.Random(number)
    place = server.place
    while time.monotonic() < until:
        kind = numbers.choice(("stream", "stream", "whole", "leave", "slow", "bad"))
        body: dict[str, Any] = {
            "model": "m", "prompt": [numbers.randint(600, 4000) for _ in range(30)],
            "max_tokens": numbers.randint(1, 200), "stream": kind not in ("whole", "bad"),
            "temperature": 1,
        }  # fmt: skip
        if kind == "bad":
            body.update(numbers.choice(({"n": 0}, {"prompt": 3}, {"x": 1}, {"model": "none"})))
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        try:
            connection.request(
                "POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            if kind == "leave":
                answer.read(numbers.randint(1, 500))
                if connection.sock is not None:
                    connection.sock.close()
                seen["left"] += 1
                continue
            text = b""
            while piece := answer.read(200 if kind == "slow" else 1 << 16):
                text += piece
                if kind == "slow":
                    time.sleep(0.02)
            seen[verdict(kind, answer.status, text)] += 1
        except (OSError, http.client.HTTPException) as error:
            seen[f"{kind}: {type(error).__name__}"] += 1
        finally:
            connection.close()


def verdict(kind: str, status: int, text: bytes) -> str:
    """Whether an answer is well formed, and what it was."""
    try:
        if status != 200:
            assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}
        elif kind == "whole":
            assert json.loads(text)["choices"][0]["finish_reason"]
        else:
            assert text.endswith(b"data: [DONE]\n\n")
            assert b'"error"' not in text
    except (AssertionError, ValueError, KeyError):
        return f"{kind}: malformed {status}"
    return f"{kind}: {status}"


def resident(pid: int) -> int:
    """Memory of a process in bytes, without what it shares."""
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
    return 0


def children(pid: int) -> Iterator[int]:
    """The processes that a process started."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if f"\nPPid:\t{pid}\n" in status.read_text():
                yield int(status.parent.name)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--streams", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--prompt", type=int, default=32, help="tokens of a prompt")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--peers", nargs="*", default=["transformers"])
    parser.add_argument(
        "--native", metavar="PYTHON", help="one whose xllamacpp was built for this processor"
    )
    parser.add_argument("--soak", type=float, default=0, help="seconds")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--as-peer", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.as_peer:
        serve_bare(arguments.as_peer)
        return
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = os.environ["XDG_CONFIG_HOME"] = place
        if arguments.soak:
            soak(arguments, Path(place))
            return
        for shape in arguments.shapes:
            own = Path(place) / f"for-{shape}"
            own.mkdir()
            compare(shape, arguments, own)


if __name__ == "__main__":
    main()
