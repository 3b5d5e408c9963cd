"""One measurement, in a process of its own, so that its memory is its own.

Reads what to measure as JSON from standard input and writes what it found as JSON to
standard output, its last line.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from linnet.errors import LinnetError

if TYPE_CHECKING:
    from linnet.generate import Engine


FORMAT = 3
"""Of measurements: with another they are made anew where they are kept."""
_PROCESSES = Path("/proc")
SETTINGS = ("engine", "precision", "threads", "slots", "lookup", "draft")
"""What is asked of the engine."""


@dataclass(frozen=True)
class DraftingRates:
    """Tokens per second of one text, with one way of drafting. The best of the repeats."""

    quoting: float
    """Of a text that quotes its prompt."""
    other: float
    """Of one that does not."""


@dataclass(frozen=True)
class Measurement:
    """What one engine and format took. Of the repeats the best counts: what else a machine does
    makes a run slower and never faster, so that the best differs least from one time to another."""

    load_seconds: float
    first_token_seconds: float
    one: float
    """Tokens per second of one text."""
    many: float
    """Tokens per second of several texts at once, together."""
    peak_bytes: int | None
    """See :func:`peak_bytes`."""
    bits_per_byte: float


def measure(asked: dict[str, Any]) -> Measurement:
    """Open the engine and time it. Raises LinnetError where it cannot compute the model."""
    have_ready(asked)
    begun = time.monotonic()
    engine = _opened(asked)
    try:
        loaded = time.monotonic() - begun
        prompts = _prompts(engine, asked["texts"], asked["prompt_tokens"], asked["new_tokens"])
        one, first = _timed(engine, prompts, 1, asked)
        many, _ = _timed(engine, prompts, asked["slots"], asked)
        peak = peak_bytes()
        bits = bits_per_byte(engine, asked["texts"])
    finally:
        engine.close()
    return Measurement(loaded, first, one, many, peak, bits)


def measure_drafting(asked: dict[str, Any]) -> DraftingRates:
    """Time one way of drafting. Raises LinnetError where the engine has none such."""
    engine = _opened(asked)
    try:
        prompts = _prompts(engine, asked["texts"], asked["prompt_tokens"], asked["new_tokens"])
        other, _ = _timed(engine, prompts, 1, asked)
        return DraftingRates(quoting_rate(engine, asked), other)
    finally:
        engine.close()


def have_ready(asked: dict[str, Any]) -> None:
    """Have another process make the file that an engine keeps of a checkpoint.

    That is done once, and takes more memory than the model does: it would be in the figures of the
    first measurement and of no other. What cannot be made is said when it is opened here.
    """
    from linnet.generate.engines import ENGINES

    if Path(asked["model"]).is_dir() and ENGINES[asked["engine"]].can.files:
        subprocess.run(
            [sys.executable, "-P", "-m", "linnet.bench.worker"],
            input=json.dumps({**asked, "opening": True}), capture_output=True, encoding="utf-8",
            check=False,
        )  # fmt: skip


def _opened(asked: dict[str, Any]) -> Engine:
    from linnet.generate.engines import EngineConfig, open_engine

    return open_engine(asked["model"], EngineConfig(**{name: asked[name] for name in SETTINGS}))


def quoting_rate(engine: Engine, asked: dict[str, Any]) -> float:
    """Tokens per second of one text that quotes its prompt word for word.

    A constraint has it do so, whatever the model would rather write.
    """
    from linnet.generate import Request, Sampling
    from linnet.generate.constraint import Constraint

    words = " ".join(asked["texts"]).split()
    length = max(8, min(asked["prompt_tokens"], len(words) // 2))
    rates = []
    for turn in range(asked["repeats"] + 1):  # the first one warms up
        at = turn * length % max(1, len(words) - length)
        passage = " ".join(words[at : at + length])
        tokens = [*engine.tokenize(f"{passage}\n\n")][: engine.context - asked["new_tokens"] - 1]
        rule = Constraint("choice", json.dumps([passage]))
        sampling = Sampling(max_tokens=asked["new_tokens"], temperature=1.0, seed=turn)
        stream = engine.stream(Request(tuple(tokens), sampling, constraint=rule))
        begun = None
        written = 0
        for chunk in stream:
            if begun is None:
                begun = time.monotonic()
            else:
                written += len(chunk.tokens)
        if begun is not None and written:
            rates.append(written / (time.monotonic() - begun))
    return max(rates[1:] or rates or [0.0])


def bits_per_byte(engine: Engine, texts: Sequence[str]) -> float:
    """What the texts cost, each cut where the context ends."""
    nats, size = 0.0, 0
    for text in texts:
        tokens = engine.tokenize(text)[: engine.context - 2]
        part = engine.detokenize(tokens)
        if part != text[: len(part)]:
            part = part[: len(part) - 1]
        nats -= sum(engine.score([part])[0].logprobs)
        size += len(part.encode())
    return nats / math.log(2) / max(1, size)


def _prompts(engine: Engine, texts: Sequence[str], length: int, new: int) -> list[tuple[int, ...]]:
    """Prompts of so many tokens, all different, so that none is found in a cache."""
    tokens = [token for text in texts for token in engine.tokenize(text)]
    length = max(1, min(length, engine.context - new, len(tokens)))
    count = max(1, len(tokens) // length)
    return [tuple(tokens[n * length : (n + 1) * length]) for n in range(count)]


def _timed(
    engine: Engine, prompts: list[tuple[int, ...]], together: int, asked: dict[str, Any]
) -> tuple[float, float]:
    """Tokens per second of texts written at once, and seconds to the first token of one."""
    from linnet.generate import Request, Sampling

    rates, firsts = [], []
    for turn in range(asked["repeats"] + 1):  # the first one warms up
        requests = []
        for place in range(together):
            prompt = prompts[(turn * together + place) % len(prompts)]
            # Where prompts run out, one more token makes them new from the first place on.
            again = (turn * together + place) // len(prompts)
            prompt = (prompt[again % len(prompt)], *prompt[1:]) if again else prompt
            sampling = Sampling(max_tokens=asked["new_tokens"], temperature=1.0, seed=turn)
            requests.append(Request(prompt, sampling))
        begun = time.monotonic()
        if together == 1:
            stream = engine.stream(requests[0])
            next(stream)
            firsts.append(time.monotonic() - begun)
            written = 1 + sum(len(chunk.tokens) for chunk in stream)
        else:
            written = sum(len(found.tokens) for found in engine.generate(requests))
        rates.append(written / (time.monotonic() - begun))
    return max(rates[1:]), min(firsts[1:] or [0.0])


def peak_bytes() -> int | None:
    """The most memory that this process has had, and those below it that are alive; None where the
    system does not tell.

    Linux counts ``ru_maxrss`` of a new program from that of the process it was started by, so there
    it is read elsewhere.
    """
    if (_PROCESSES / "self" / "status").is_file():
        return sum(map(_highest, _family(os.getpid())))
    try:
        import resource
    except ImportError:  # Windows
        return None
    found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return found if sys.platform == "darwin" else found * 1024


def _family(root: int) -> set[int]:
    """A process and all below it."""
    above = {}
    for entry in _PROCESSES.iterdir():
        with contextlib.suppress(OSError, ValueError):
            # Behind its name, which may be anything: state and the process above.
            above[int(entry.name)] = int(
                (entry / "stat").read_bytes().rpartition(b")")[2].split()[1]
            )
    found, new = set(), {root}
    while new:
        found |= new
        new = {each for each, parent in above.items() if parent in new} - found
    return found


def _highest(process: int) -> int:
    with contextlib.suppress(OSError):
        for line in (_PROCESSES / str(process) / "status").read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0  # it has just ended


def main() -> None:
    """Measure, or only open, what standard input asks for."""
    asked = json.loads(sys.stdin.read())
    try:
        if asked.get("opening"):
            _opened(asked).close()
            return
        found: dict[str, Any] = asdict(
            measure_drafting(asked) if asked.get("drafting") else measure(asked)
        )
    except LinnetError as error:
        found = {"error": str(error)}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
