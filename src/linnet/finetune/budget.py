"""How long a run is and what it takes: settled before its first step, told, and kept.

Where the settings leave it open, a run reads its examples ``PASSES`` times; of few examples
it makes smaller updates and more passes, as it takes some hundred updates to teach a manner
at all. Validation ends a run that has learnt what it can.

A run that is resumed keeps to the micro-batch it began with, or its sums would be
rounded otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.errors import BudgetError
from linnet.finetune.fitting import Demand, Fit, estimate, fastest, fit, fits
from linnet.finetune.free_memory import available_memory
from linnet.finetune.packing import PackedBatches
from linnet.finetune.remembering import replay_need
from linnet.finetune.strength import STRENGTHS
from linnet.finetune.validation import FORWARD, SHARE, validation_extent
from linnet.output import human_bytes
from linnet.page import duration
from linnet.progress import SILENT, Progress
from linnet.runtime import torch_dtype
from linnet.train.state import STATE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from linnet.finetune.config import FinetuneConfig
    from linnet.finetune.examples import Example
    from linnet.finetune.validation import Extent
    from linnet.model import ModelConfig, Transformer
    from linnet.model.lora_config import LoRAConfig
    from linnet.train.machine import Machine

FILE = "fit.json"
CPU_TOKENS, GPU_TOKENS = 1024, 8192  # computed at once, where it is not set
PASSES = 3.0  # over the examples, where there are many
MOST_PASSES = 100.0
USUAL_STEPS = 300  # of a run on few examples: fewer only where they are passed over so often
SHORT_STEPS = 60  # and below its usual length, a run is worth a warning
USUAL_BATCH, SMALLEST_BATCH = 4096, 256  # tokens per update
UPDATES_PER_PASS = 12  # at least, down to the smallest batch
OPTIMIZER_SHARE = 0.05  # of a step, about, beside forward and backward pass


@dataclass(frozen=True)
class Length:
    """How long a run is."""

    steps: int
    """Updates to make; 0: as many as there is time for."""
    per_pass: float
    """Updates that read every example once, and the replay that goes with them."""
    usual: int
    """Updates that the settings' defaults would make of these examples."""
    examples: int

    def sentence(self, steps: int) -> str:
        """So many steps, in passes over the examples."""
        noun = "example" if self.examples == 1 else "examples"
        return f"{steps / max(self.per_pass, 1e-9):.3g} passes over {self.examples:,} {noun}"


def usual_batch(examples: Sequence[Example]) -> int:
    """Tokens per update where none are set: fewer for few examples, so that there are updates."""
    tokens = sum(example.places for example in examples)
    return int(min(USUAL_BATCH, max(SMALLEST_BATCH, tokens / UPDATES_PER_PASS)))


def run_length(
    examples: Sequence[Example], config: FinetuneConfig, *, rows: int, length: int
) -> Length:
    """How long a run of these settings is, in updates of ``rows`` x ``length``."""
    stream = PackedBatches(examples, rows=rows, length=length, seed=config.seed)

    def updates(passes: float) -> int:
        replayed = replay_need(examples, dataclasses.replace(config, epochs=passes), length=length)
        return stream.batches_in(passes) + math.ceil(replayed.rows / rows)

    usual = updates(PASSES)
    if usual >= USUAL_STEPS:  # of many examples, a pass takes long to lay out
        per_pass = usual / PASSES
    else:
        per_pass = updates(10.0) / 10  # of few, one update may read several passes
        usual = max(usual, min(USUAL_STEPS, updates(MOST_PASSES)))
    steps = config.steps
    if not steps and config.epochs:
        steps = updates(config.epochs)
    elif not steps and not config.seconds:
        steps = usual
    return Length(steps, per_pass, usual, len(examples))


def warn_if_short(
    planned: Length, steps: int, *, command: str, step_seconds: float, progress: Progress
) -> None:
    """Say that a run is too short to teach anything, and what would do."""
    if planned.examples == 1:
        progress.warn(
            "there is one example: the model will learn to repeat it, and nothing shows what "
            "else changes; a manner of answering takes some dozens"
        )
    if steps < min(SHORT_STEPS, planned.usual):
        progress.warn(
            f"{steps:,} steps ({planned.sentence(steps)}) are too few to teach much; what would "
            f"do takes about {duration(planned.usual * step_seconds)}: {command}"
        )


def demand_of(
    config: FinetuneConfig,
    shape: ModelConfig,
    adapter: LoRAConfig,
    examples: Sequence[Example],
    *,
    length: int,
    machine: Machine,
) -> Demand:
    """What a run asks for, a row at a time."""
    trained = sum(int(example.trained.sum()) for example in examples)
    return Demand(
        shape,
        adapter if config.method == "lora" else None,
        rows=1,
        length=length,
        dtype=torch_dtype(machine.runtime.dtype),
        trained_share=trained / max(1, sum(example.places for example in examples)),
    )


def settle_fit(
    directory: Path, demand: Demand, config: FinetuneConfig, *, rows: int, device: str
) -> Fit:
    """How the run in ``directory`` is made to fit: as it began, or the largest that fits.

    Raises BudgetError saying what would fit where nothing does.
    """
    kept = directory / STATE / FILE
    if kept.is_file():
        return Fit.read(kept)
    usual = CPU_TOKENS if device == "cpu" else GPU_TOKENS
    return fit(
        demand,
        rows=rows,
        limit=max(1, round((config.micro_tokens or usual) / demand.length)),
        available=available_memory(device),
        recompute=config.checkpoint_activations,
    )


def time_run(
    model: Transformer,
    fitted: Fit,
    directory: Path,
    config: FinetuneConfig,
    *,
    demand: Demand,
    rows: int,
    planned: Length,
    command: str,
    held_out_tokens: int,
    compiled: bool,
    progress: Progress = SILENT,
) -> Fit:
    """Time steps, tell what the run takes, and keep the decision; the fit with the fastest size.

    Does nothing for a run that is resumed. Raises BudgetError when the time limit
    leaves no room for a step.
    """
    kept = directory / STATE / FILE
    if kept.is_file():
        return fitted
    steps = planned.steps
    half, double = fitted.micro_rows // 2, fitted.micro_rows * 2
    # A size that was asked for stays; and compiling for every size would take too long.
    others = () if config.micro_tokens or compiled else (double, half)
    per_row = rows * steps or int(1e9)
    size, seconds = fastest(
        model,
        fitted.micro_rows,
        length=demand.length,
        others=[n for n in others if n and rows % n == 0 and _fits(demand, n, rows, fitted)],
        row_count=per_row,
        may_take=config.seconds or float("inf"),
    )
    memory = estimate(_at(demand, size, rows, fitted))
    in_time = int(config.seconds / (seconds * rows * (1 + OPTIMIZER_SHARE + SHARE)))
    expected = min(steps or in_time, in_time) if config.seconds else steps
    fitted = dataclasses.replace(fitted, micro_rows=size, memory=memory, steps=max(1, expected))
    extent = extent_of(fitted, config, rows=rows, length=demand.length)
    read = extent.times * (min(extent.domain, held_out_tokens) + extent.general)
    announce(
        fitted,
        seconds_per_row=seconds,
        rows=rows,
        planned=planned,
        patience=config.patience if held_out_tokens else 0,
        seconds=config.seconds,
        validation_seconds=read / demand.length * seconds * FORWARD[config.method],
        progress=progress,
    )
    warn_if_short(
        planned,
        fitted.steps,
        command=command,
        step_seconds=seconds * rows * (1 + OPTIMIZER_SHARE + SHARE),
        progress=progress,
    )
    fitted.save(kept)
    return fitted


def extent_of(fitted: Fit, config: FinetuneConfig, *, rows: int, length: int) -> Extent:
    """What the validations of a timed run read; the same whenever it is resumed."""
    return validation_extent(
        config, steps=fitted.steps, batch_tokens=rows * length, sweep=len(STRENGTHS)
    )


def _at(demand: Demand, size: int, rows: int, fitted: Fit) -> Demand:
    return dataclasses.replace(demand, rows=size, pieces=rows // size, recompute=fitted.recompute)


def _fits(demand: Demand, size: int, rows: int, fitted: Fit) -> bool:
    return fits(estimate(_at(demand, size, rows, fitted)), fitted.available)


def announce(
    fitted: Fit,
    *,
    seconds_per_row: float,
    rows: int,
    planned: Length,
    patience: int,
    seconds: float,
    validation_seconds: float = 0.0,
    progress: Progress = SILENT,
) -> float:
    """Say what the run will take; the expected seconds.

    ``patience``: 0 where validation does not end it. ``seconds``: its limit.
    ``validation_seconds``: for all validations together. Raises BudgetError when the limit
    is too short for a step.
    """
    steps = planned.steps
    step = seconds_per_row * rows * (1 + OPTIMIZER_SHARE)
    whole = steps * step + validation_seconds
    if seconds and step > seconds:
        raise BudgetError(
            f"a step takes about {duration(step)}, but the run may take {duration(seconds)}; "
            "allow more time, or use a smaller --batch-tokens"
        )
    limited = bool(seconds) and (not steps or whole > seconds)
    count = max(1, int((seconds - validation_seconds) / step)) if limited else 0
    free = "" if fitted.available is None else f", {human_bytes(fitted.available)} are free"
    again = "; blocks are computed again for the gradient, to save memory"
    fewer = ", fewer if held-out ones stop improving" if patience else ""
    progress.message(
        f"about {duration(seconds if limited else whole)}: {count or steps:,} steps of "
        f"{duration(step)}, {planned.sentence(count or steps)}{fewer}; "
        f"{human_bytes(fitted.memory.total)} of memory{free}{again if fitted.recompute else ''}"
    )
    return seconds if limited else whole
