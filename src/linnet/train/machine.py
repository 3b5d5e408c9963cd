"""The machine that a run computes on: chosen at its start, and measured.

Device, number format, threads and compiling are kept when a run is resumed, or its sums
would be rounded otherwise.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch

from linnet import runtime
from linnet.model import Transformer
from linnet.runtime import DtypeName, torch_dtype
from linnet.shards.batches import Batch
from linnet.train.config import TrainConfig
from linnet.train.objectives import next_token
from linnet.train.optimizers import build_optimizers
from linnet.train.state import damage_named, read_numbers, state_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from linnet.model import ModelConfig
    from linnet.runtime import DeviceName, Runtime

COMPILED_SPEEDUP = 1.4  # of a training step on CPU, over eager
COMPILE_PROBES = 45  # times the program below: compiling the blocks, from an empty cache
COMPILE_PAYS = 80.0  # seconds of a run by steps, of which nothing is measured, that make it pay
COMPILED_PROBE = """
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>
int main() {
  std::vector<float> values(9);
  std::sort(values.begin(), values.end());
  return std::to_string(std::sqrt(values[0])).size();
}
"""
NEVER = 1e9  # seconds
CPU_FLOPS = 1e11  # a cautious guess at what a laptop does, only to tell short from long
PROBE = TrainConfig(steps=1, width=256, depth=2, context=256, batch_tokens=2048)
PROBE_VOCABULARY = 2048


@dataclass(frozen=True)
class Machine:
    """Device, number format and threads, and whether blocks are compiled."""

    runtime: Runtime
    compiled: bool

    def pinned(self) -> dict[str, Any]:
        """What must stay the same for a resumed run to end with the same bits."""
        return {
            "dtype": self.runtime.dtype,
            "threads": self.runtime.threads,
            "compile": self.compiled,
        }


def choose_machine(
    directory: Path,
    *,
    device: DeviceName,
    dtype: DtypeName,
    threads: int,
    compiled: Callable[[Runtime], bool],
) -> Machine:
    """What the settings ask for, or what the run saved in ``directory`` began with.

    Raises ConfigError when the device is not on this machine.
    """
    file = state_file(directory)
    pinned: dict[str, Any] = {}
    with damage_named(file):
        if file.is_file():
            pinned = dict(read_numbers(file)["pinned"])
        dtype, threads = pinned.get("dtype", dtype), pinned.get("threads", threads)
        known: bool | None = pinned.get("compile")
        if dtype not in get_args(DtypeName) or not 0 < int(threads or 1) <= runtime.MOST_THREADS:
            raise ValueError("it names no number format and threads")
    found = runtime.detect(device, dtype, threads)
    return Machine(found, compiled(found) if known is None else known)


def should_compile(config: TrainConfig, machine: Runtime, *, cost: float | None = None) -> bool:
    """Whether to use torch.compile: asked for, or possible and likely to pay.

    ``cost``: seconds that compiling takes, where they were measured already.
    """
    parameters = config.model(1024, end_of_text=0, pad=None).parameters
    tokens = config.batch_tokens * config.steps
    work = 6.0 * parameters * tokens
    if cost is None and config.compile == "auto" and not work:
        cost = compile_seconds()
    if cost is not None:
        cost *= compiled_shapes(config)
    return compiling_pays(config.compile, machine, seconds=config.seconds, work=work, cost=cost)


def compiled_shapes(config: TrainConfig) -> int:
    """Lengths of rows that a run reads, each of which is compiled."""
    return 2 if config.short_rows else 1


def compiling_pays(
    asked: Literal["auto", "yes", "no"],
    machine: Runtime,
    *,
    seconds: float,
    work: float,
    cost: float | None = None,
) -> bool:
    """Whether to compile a run of so many seconds, or of so much ``work`` (operations; 0: by time).

    By time, it pays when the steps that it saves are worth more than it costs on this
    machine as it is now. A run by steps is to be repeatable, so nothing measured decides there.
    """
    if asked != "auto":
        return asked == "yes"
    if machine.device == "mps" or not runtime.has_compiler():
        return False
    if work:
        expected = min(work / CPU_FLOPS, seconds or work)
        return machine.device == "cuda" or expected >= COMPILE_PAYS
    saved = (1 - 1 / COMPILED_SPEEDUP) * seconds
    return (compile_seconds() if cost is None else cost) < saved


@cache
def compile_seconds() -> float:
    """Seconds that compiling the blocks takes at most, on this machine as it is now.

    Most of them go into a C++ compiler, so a small program is compiled and timed.
    """
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        return NEVER
    command = [compiler, "-O3", "-x", "c++", "-", "-o", os.devnull]
    begun = time.monotonic()
    try:
        subprocess.run(
            command, input=COMPILED_PROBE.encode(), check=True, capture_output=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return NEVER
    return COMPILE_PROBES * (time.monotonic() - begun)


def flops_per_token(config: ModelConfig, *, length: float | None = None) -> float:
    """Arithmetic to learn from one token: 6 per matrix entry, and the attention scores.

    ``length``: tokens in a row, by default the context. Two for the product, four for
    its two gradients (arXiv:2001.08361); looking up an embedding is free, so an untied
    table counts once.
    """
    lookup = 0 if config.tied else config.vocab_size * config.width
    scores = config.depth * (length or config.context) * config.heads * config.head_width
    return 6.0 * (config.parameters - lookup) + 12.0 * scores


def probe_flops(runtime: Runtime, *, seconds: float) -> float:
    """Useful floating-point operations per second in eager training steps."""
    config = PROBE.model(PROBE_VOCABULARY, end_of_text=0, pad=1)
    random = torch.random.get_rng_state()
    model = Transformer(config).to(runtime.device).train()
    model.initialise(torch.Generator().manual_seed(0))
    model.compute_dtype = torch_dtype(runtime.dtype)
    optimizers = build_optimizers(model, PROBE, dtype=model.compute_dtype)
    ids = torch.arange(PROBE.rows * PROBE.context, device=runtime.device) % PROBE_VOCABULARY
    shape = PROBE.rows, PROBE.context
    batch = Batch(ids.view(shape), ids.roll(-1).view(shape))
    times: list[float] = []
    begun = time.monotonic()
    while len(times) < 3 or time.monotonic() - begun < seconds:
        started = time.monotonic()
        next_token(model, batch).mean.backward()
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = 0.0
            optimizer.step()
        model.zero_grad(set_to_none=True)
        if runtime.device == "cuda":
            torch.cuda.synchronize()
        times.append(time.monotonic() - started)
    torch.random.set_rng_state(random)
    fastest = sorted(times)[: max(1, len(times) // 2)]
    return flops_per_token(config) * PROBE.batch_tokens / fastest[-1]
