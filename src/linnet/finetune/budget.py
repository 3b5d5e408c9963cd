"""What a run may take and will take: settled before its first step, told, and kept.

A run that is resumed keeps to the micro-batch it began with, or its sums would be
rounded otherwise.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from linnet.errors import BudgetError
from linnet.finetune.fitting import Demand, Fit, estimate, fastest, fit, fits
from linnet.finetune.free_memory import available_memory
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
OPTIMIZER_SHARE = 0.05  # of a step, about, beside forward and backward pass


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
    steps: int,
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
        steps=steps,
        seconds=config.seconds,
        validation_seconds=read / demand.length * seconds * FORWARD[config.method],
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
    steps: int,
    seconds: float,
    validation_seconds: float = 0.0,
    progress: Progress = SILENT,
) -> float:
    """Say what the run will take; the expected seconds.

    ``steps``: 0 where the time limit ``seconds`` decides. ``validation_seconds``: for all
    validations together. Raises BudgetError when the limit is too short for a step.
    """
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
    progress.message(
        f"about {duration(seconds if limited else whole)}: {count or steps:,} steps of "
        f"{duration(step)}; {human_bytes(fitted.memory.total)} of memory{free}"
        f"{again if fitted.recompute else ''}"
    )
    return seconds if limited else whole
