"""How long a run is and what it takes: settled before its first step, announced, and kept.

Where the settings leave it open, a run reads its examples ``PASSES`` times; of few examples
it makes smaller updates and more passes, as it takes some hundred updates to teach a manner
at all. Validation ends a run that has learnt what it can.

The micro-batch is the largest that is usual for the device and fits its memory; where a run is
long enough for it to pay, its neighbours are timed too and the fastest is taken. A run that is
resumed keeps to the one it began with, or its sums would be rounded otherwise.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch

from linnet.errors import BudgetError, DataError
from linnet.finetune.memory import (
    Demand,
    Fit,
    Memory,
    estimate,
    fit,
    fits,
)
from linnet.finetune.packing import PackedBatches
from linnet.finetune.replay import replay_need
from linnet.finetune.strength import STRENGTHS
from linnet.output import human_bytes
from linnet.page import duration
from linnet.progress import SILENT, Progress
from linnet.runtime import available_memory, torch_dtype
from linnet.shards.batches import Batch
from linnet.train.execution import trial_step
from linnet.train.machine import Machine, choose_machine, compiling_pays
from linnet.train.objectives import next_token
from linnet.train.state import STATE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from linnet.finetune.config import FinetuneConfig
    from linnet.finetune.encoding import Example
    from linnet.finetune.examples import Examples
    from linnet.model import ModelConfig, Transformer

FILE = "fit.json"
CPU_TOKENS, GPU_TOKENS = 1024, 8192  # computed at once, where it is not set
PASSES = 3.0  # over the examples, where there are many
MOST_PASSES = 100.0
USUAL_STEPS = 300  # of a run on few examples: fewer only where they are passed over so often
SHORT_STEPS = 60  # and below its usual length, a run is worth a warning
USUAL_BATCH, SMALLEST_BATCH = 4096, 256  # tokens per update
UPDATES_PER_PASS = 12  # at least, down to the smallest batch
OPTIMIZER_SHARE = 0.05  # of a step, about, beside forward and backward pass
ROW_EXAMPLES = 4  # average examples that a row should hold, so that packing fills it
ROW_MULTIPLE = 64  # tokens
TRYING_SHARE = 0.02  # of the expected time, at most, goes into finding the fastest micro-batch
FASTER = 0.95  # another size has to take less than this share of the time to be worth it
VALIDATIONS = 10  # in a run, where no interval is set; one more comes before its first step
VALIDATION_SHARE = 0.25  # of the time of training, about, for all validations and the sweep
FORWARD = {"full": 1 / 3, "lora": 1 / 2}  # of a step; frozen weights need no gradient
LEAST_TOKENS = 2048  # of a validation: fewer would say little


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


@dataclass(frozen=True)
class Extent:
    """What validating reads: bounded, so that a short run is not mostly validation."""

    domain: int
    """Tokens of held-out examples, each time."""
    general: int
    """Tokens of general text, each time."""
    times: int
    """Validations, and strengths tried at the end."""

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.times * (self.domain + self.general)


def validation_extent(
    config: FinetuneConfig, *, steps: int, batch_tokens: int, sweep: int
) -> Extent:
    """What validating may read in a run of so many steps; ``sweep``: strengths tried at its end.

    What the settings allow, but together about a quarter of the time that training takes.
    """
    interval = config.validation_interval
    times = 1 + (math.ceil(steps / interval) if interval else min(steps, VALIDATIONS))
    times += sweep if config.sweep and config.general_tokens else 0
    affordable = int(VALIDATION_SHARE / FORWARD[config.method] * steps * batch_tokens / times)
    general = min(config.general_tokens, max(LEAST_TOKENS, affordable // 2))
    domain = min(config.validation_tokens, max(LEAST_TOKENS, affordable - general))
    return Extent(domain, general, times)


@dataclass(frozen=True)
class Plan:
    """What is settled before the first step."""

    config: FinetuneConfig
    """With the context, batch and passes of this model and these examples."""
    examples: Examples
    length: int
    """Tokens in a row."""
    planned: Length
    machine: Machine
    demand: Demand
    fitted: Fit

    @property
    def rows(self) -> int:
        """Rows per update."""
        return update_rows(self.config.batch_tokens, self.length)

    @property
    def micro_rows(self) -> int:
        """Rows computed at once."""
        return self.fitted.micro_rows

    @property
    def lr(self) -> float:
        return self.config.peak_lr(self.demand.shape.parameters)

    @property
    def extent(self) -> Extent:
        """What validations read; known once steps were timed, and the same when it is resumed."""
        return validation_extent(
            self.config,
            steps=self.fitted.steps,
            batch_tokens=self.rows * self.length,
            sweep=len(STRENGTHS),
        )


def plan_run(
    directory: Path, shape: ModelConfig, examples: Examples, config: FinetuneConfig
) -> Plan:
    """Settle rows, steps, machine and micro-batch of the run in ``directory``.

    As it began, where it is resumed. Raises BudgetError saying what would fit where
    nothing does.
    """
    if not examples.train:
        raise DataError("expected examples to train on. Got none; add rows, or lower --held-out")
    length = row_length([example.places for example in examples.train + examples.held_out], config)
    batch_tokens = config.batch_tokens or usual_batch(examples.train)
    rows = update_rows(batch_tokens, length)
    planned = run_length(examples.train, config, rows=rows, length=length)
    epochs = planned.steps / planned.per_pass if planned.steps else config.epochs
    config = dataclasses.replace(config, batch_tokens=batch_tokens, epochs=epochs)
    work = 6.0 * shape.parameters * rows * length * planned.steps
    machine = choose_machine(
        directory,
        device=config.device,
        dtype=config.dtype,
        threads=config.threads,
        compiled=partial(compiling_pays, config.compile, seconds=config.seconds, work=work),
    )
    demand = demand_of(config, shape, examples.train, length=length, machine=machine)
    kept = directory / STATE / FILE
    if kept.is_file():
        fitted = Fit.read(kept)
    else:
        device = machine.runtime.device
        usual = CPU_TOKENS if device == "cpu" else GPU_TOKENS
        fitted = fit(
            demand,
            rows=rows,
            limit=max(1, round((config.micro_tokens or usual) / length)),
            available=available_memory(device),
            recompute=config.checkpoint_activations,
        )
    return Plan(config, examples, length, planned, machine, demand, fitted)


def usual_batch(examples: Sequence[Example]) -> int:
    """Tokens per update where none are set: fewer for few examples, so that there are updates."""
    tokens = sum(example.places for example in examples)
    return int(min(USUAL_BATCH, max(SMALLEST_BATCH, tokens / UPDATES_PER_PASS)))


def update_rows(batch_tokens: int, length: int) -> int:
    """Rows per update: an even number where there are several, so that micro-batches divide it."""
    wanted = batch_tokens / length
    return 2 * round(wanted / 2) if wanted > 2 else max(1, round(wanted))


def row_length(places: Sequence[int], config: FinetuneConfig) -> int:
    """Tokens in a row: enough for the longest example and for several usual ones, not more.

    Attention costs by the square of the row, so that rows of the whole context would
    be a waste for short examples.
    """
    wanted = max(max(places), math.ceil(ROW_EXAMPLES * sum(places) / len(places)))
    longest = max(max(places), config.context)
    return min(longest, math.ceil(wanted / ROW_MULTIPLE) * ROW_MULTIPLE)


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
    examples: Sequence[Example],
    *,
    length: int,
    machine: Machine,
) -> Demand:
    """What a run asks for, a row at a time."""
    trained = sum(int(example.trained.sum()) for example in examples)
    return Demand(
        shape,
        config.lora() if config.method == "lora" else None,
        rows=1,
        length=length,
        dtype=torch_dtype(machine.runtime.dtype),
        trained_share=trained / max(1, sum(example.places for example in examples)),
    )


def time_run(
    plan: Plan, model: Transformer, directory: Path, *, command: str, progress: Progress = SILENT
) -> Plan:
    """Time steps, say what the run takes, and keep the decision: the plan with the fastest size.

    Does nothing for a run that is resumed. ``command``: of a run of the usual length.
    Raises BudgetError when the time limit leaves no room for a step.
    """
    kept = directory / STATE / FILE
    if kept.is_file():
        return plan
    config, rows, fitted, length = plan.config, plan.rows, plan.fitted, plan.length
    steps, half, double = plan.planned.steps, fitted.micro_rows // 2, fitted.micro_rows * 2
    # A size that was asked for stays; and compiling for every size would take too long.
    others = () if config.micro_tokens or plan.machine.compiled else (double, half)

    def memory(size: int) -> Memory:
        pieces = rows // size
        demand = dataclasses.replace(
            plan.demand, rows=size, pieces=pieces, recompute=fitted.recompute
        )
        return estimate(demand)

    def possible(size: int) -> bool:
        return size > 0 and rows % size == 0 and fits(memory(size), fitted.available)

    size, seconds = fastest(
        model,
        fitted.micro_rows,
        length=length,
        others=[other for other in others if possible(other)],
        row_count=rows * steps or int(1e9),
        may_take=config.seconds or float("inf"),
    )
    update = seconds * rows * (1 + OPTIMIZER_SHARE + VALIDATION_SHARE)
    in_time = int(config.seconds / update)
    expected = min(steps or in_time, in_time) if config.seconds else steps
    fitted = dataclasses.replace(
        fitted, micro_rows=size, memory=memory(size), steps=max(1, expected)
    )
    plan = dataclasses.replace(plan, fitted=fitted)
    held_out = sum(example.places for example in plan.examples.held_out)
    extent = plan.extent
    read = extent.times * (min(extent.domain, held_out) + extent.general)
    announce(
        fitted,
        seconds_per_row=seconds,
        rows=rows,
        planned=plan.planned,
        patience=config.patience if held_out else 0,
        seconds=config.seconds,
        validation_seconds=read / length * seconds * FORWARD[config.method],
        progress=progress,
    )
    warn_if_short(
        plan.planned, fitted.steps, command=command, step_seconds=update, progress=progress
    )
    fitted.save(kept)
    return plan


def step_seconds(model: Transformer, *, rows: int, length: int, times: int = 1) -> float:
    """Seconds of forward and backward pass for so many rows, measured; changes nothing.

    The first one is not counted: it warms up, and compiles.
    """
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(model.config.vocab_size, (rows, length), generator=generator)
    trained, segments = torch.ones_like(ids, dtype=torch.bool), torch.ones_like(ids)
    device = str(model.embedding.weight.device)
    batch = Batch(ids, ids.roll(-1, 1), trained, segments).to(device)
    found = []
    with trial_step(model):
        for _ in range(times + 1):
            begun = time.monotonic()
            torch.autograd.backward(next_token(model, batch).mean)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            found.append(time.monotonic() - begun)
    return statistics.median(found[1:])


def fastest(
    model: Transformer,
    first: int,
    *,
    length: int,
    others: Sequence[int],
    row_count: int,
    may_take: float = math.inf,
    measure: Callable[..., float] = step_seconds,
) -> tuple[int, float]:
    """The micro-batch with the most rows per second, and its seconds per row.

    ``first`` is measured in any case; ``others`` while a run of ``row_count`` rows is
    long enough for that to pay. Where a size exceeds the memory of a GPU, its half is next.
    """
    size, rate = first, 0.0
    while True:
        try:
            rate = measure(model, rows=size, length=length) / size
            break
        except torch.OutOfMemoryError:
            if size == 1:
                raise BudgetError(
                    f"one row of {length} tokens exceeds the memory of the GPU; use a smaller "
                    "--context, --checkpoint-activations yes, or --method lora"
                ) from None
            size //= 2
            torch.cuda.empty_cache()
    best, best_rate = size, rate
    budget = TRYING_SHARE * min(may_take, rate * row_count)
    for other in others:
        budget -= 2 * rate * other
        if other == size or budget < 0 or (size < first and other > size):
            continue
        try:
            found = measure(model, rows=other, length=length) / other
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            continue
        if found < FASTER * best_rate:
            best, best_rate = other, found
    return best, best_rate


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
