"""Alignment: a model and preferences in, a model or an adapter that prefers them out.

The loop is that of all training (:mod:`linnet.train.loop`), the base that of fine-tuning; an
objective, a stream of units and what is validated are put together here. The reference is the
base itself: what it says of every completion is computed before the first step.
"""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from linnet import artifact, hub, runtime
from linnet.align.config import AlignConfig
from linnet.align.encoding import Unit, UnitsReport, encode_units, require_units
from linnet.align.objectives import DesirabilityLoss, PreferenceLoss
from linnet.align.preferences import Judged, Pair, read_judged, read_pairs
from linnet.align.reference import reference_log_probs
from linnet.align.streams import (
    DivergingBatches,
    judged_batch,
    mismatched,
    pair_batch,
    scored_batch,
    shuffled,
)
from linnet.align.validation import AlignmentGuard, HeldOutUnits
from linnet.card import CARD, write_card
from linnet.errors import ConfigError, DataError
from linnet.finetune.base import base_input, data_inputs, fit_base
from linnet.finetune.budget import CPU_TOKENS, GPU_TOKENS, VALIDATIONS
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.examples import divide
from linnet.finetune.forgetting import ForgettingGuard, GeneralLoss
from linnet.finetune.memory import Demand, Fit, fit
from linnet.finetune.packing import held_out_loss
from linnet.finetune.replay import settle_general_text
from linnet.finetune.rows import open_source
from linnet.model.adapter import is_adapter
from linnet.model.checkpoint import Checkpoint, save_checkpoint
from linnet.model.heads import replace_head
from linnet.model.merging import ADAPTER, merge
from linnet.progress import SILENT, Progress
from linnet.runtime import available_memory
from linnet.train.distributed import interruptible
from linnet.train.execution import recompute_blocks
from linnet.train.loop import Loop
from linnet.train.machine import Machine, choose_machine
from linnet.train.metrics import METRICS, load_plotting, plot_curves
from linnet.train.optimizers import finetuning_optimizer
from linnet.train.state import STATE, trained_tensors
from linnet.train.supervised import PairLoss

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from linnet.artifact import Artifact, Draft
    from linnet.finetune.base import Base
    from linnet.model import Transformer
    from linnet.shards.batches import Batch
    from linnet.train.loop import Validator
    from linnet.train.objectives import Objective
    from linnet.train.stream import Stream

FORMAT = 1
FIT = "fit.json"
VOLATILE = (CARD, METRICS, "*.svg", "*.png")
ENOUGH_STEPS = 60  # a run on few rows reads them again, up to
MOST_PASSES = 5.0


@dataclass(frozen=True)
class _Rows:
    """The units of a run."""

    train: list[Unit]
    held_out: list[Unit]
    report: UnitsReport

    @property
    def longest(self) -> int:
        """Places that a completion needs."""
        return max(unit.places for unit in (*self.train, *self.held_out)) + 1


@dataclass(frozen=True)
class _Plan:
    """What is settled before the first step."""

    config: AlignConfig
    rows: _Rows
    steps: int
    machine: Machine
    fitted: Fit

    @property
    def tokens_at_once(self) -> int:
        """Tokens of completions that are computed together."""
        return self.fitted.micro_rows * self.config.rows_of_a_unit * self.rows.longest


def align(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    out: Path | str,
    config: AlignConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Align a model with preferences; write an adapter, a model, or a model that scores.

    ``model``: a model directory, or a hub name. ``data``: files of rows (see
    :mod:`linnet.align.preferences`). What this recipe has made already is returned as it is; an
    interrupted run goes on from its last save. Raises DataError naming file and line for rows that
    cannot be used, ModelError for a model that cannot be read or trained, BudgetError where
    memory or time do not suffice, StoppedError after Ctrl-C.
    """
    started = time.monotonic()
    config, out = config or AlignConfig(), Path(out)
    data = [data] if isinstance(data, str | Path) else data
    found = hub.find(model, progress=progress)
    if is_adapter(found.path):
        raise ConfigError(
            f"{found.path} is an adapter; merge it first (linnet merge), and align what comes out"
        )
    inputs: dict[str, Artifact | str] = {
        "base": base_input(found.path, pin=found.pin, progress=progress),
        **data_inputs(data, "", config.general, progress=progress),
    }

    def write(draft: Draft) -> None:
        forms = _forms(data, config)
        base = fit_base(
            found, forms, config.template, lora=config.weights == "lora", progress=progress
        )
        own = dataclasses.replace(config, context=min(config.context, base.shape.context))
        rows = _read(data, base, own, progress)
        plan = _settle(draft.path, base, rows, own)
        load_plotting()  # at the end, nobody would have reserved the time for it
        with interruptible() as interrupt, runtime.threads(plan.machine.runtime.threads):
            loop = _assemble(draft.path, base, plan, progress, started)
            loop.resume()
            loop.run(interrupt)
            loop.keep_best()
            _save(base, loop.model, draft.path, own)
            plot_curves(draft.path / METRICS, draft.path)
        draft.stats.update(_statistics(plan, loop))
        write_card(draft, base=found.path)

    return artifact.make(
        out,
        write,
        kind="adapter" if config.method != "reward" and config.weights == "lora" else "model",
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        resume=True,
        volatile=VOLATILE,
        working=STATE,
        sources=[found.path],
    )


def _rows_of(data: Sequence[str | Path], config: AlignConfig) -> Iterator[Pair | Judged]:
    read = read_judged if config.method == "kto" else read_pairs
    for source in data:
        opened = open_source(source)
        if opened.corpus is not None or opened.examples is not None:
            raise DataError(f"{source}: expected a file of preferences. Got something else")
        for file in opened.files.get("train", []):
            yield from read(file)


def _forms(data: Sequence[str | Path], config: AlignConfig) -> set[type]:
    """Which kinds of rows the data has, by its first one."""
    first = next(_rows_of(data, config), None)
    if first is None:
        return set()
    return {type(first.chosen if isinstance(first, Pair) else first.row)}


def _read(data: Sequence[str | Path], base: Base, config: AlignConfig, progress: Progress) -> _Rows:
    """Units to train on and to hold out, by their prompts. Raises DataError."""
    report = UnitsReport()
    examples = ExamplesConfig(context=config.context, template=config.template)
    with progress.task("reading preferences", unit="rows"):
        units = encode_units(
            _rows_of(data, config),
            base.tokenizer,
            examples,
            too_long=config.too_long,
            report=report,
        )
    for line in report.losses(config.context):
        progress.warn(line)
    train, held_out = divide(units, config.held_out) if config.held_out else (units, [])
    require_units(train, report, "judged completions" if config.method == "kto" else "pairs")
    if config.method == "kto" and len({unit.desirable for unit in train}) == 1:
        raise DataError(
            "expected completions that are good and others that are not. All "
            f"{len(train):,} are {'good' if train[0].desirable else 'not'}"
        )
    return _Rows(train, held_out, report)


def _settle(directory: Path, base: Base, rows: _Rows, config: AlignConfig) -> _Plan:
    """Machine, steps and what is computed at once; as they began, where a run is resumed."""
    machine = choose_machine(
        directory, device=config.device, dtype=config.dtype, threads=config.threads,
        compiled=lambda _: False,  # every batch has another length
    )  # fmt: skip
    batch = min(config.batch, len(rows.train))
    per_epoch = math.ceil(len(rows.train) / batch)
    passes = config.epochs or min(MOST_PASSES, max(1.0, ENOUGH_STEPS / per_epoch))
    by_time = config.seconds and not config.epochs
    steps = config.steps or (0 if by_time else math.ceil(passes * per_epoch))
    kept = directory / STATE / FIT
    if kept.is_file():
        return _Plan(config, rows, steps, machine, Fit.read(kept))
    device = machine.runtime.device
    unit = rows.longest * config.rows_of_a_unit
    usual = config.micro_tokens or (CPU_TOKENS if device == "cpu" else GPU_TOKENS)
    demand = Demand(
        base.shape,
        config.lora() if config.weights == "lora" else None,
        rows=1,
        length=unit,
        dtype=runtime.torch_dtype(machine.runtime.dtype),
    )
    fitted = fit(
        demand, rows=batch, limit=max(1, usual // unit), available=available_memory(device),
        recompute=config.checkpoint_activations,
    )  # fmt: skip
    fitted.save(kept)
    return _Plan(config, rows, steps, machine, fitted)


def _assemble(directory: Path, base: Base, plan: _Plan, progress: Progress, started: float) -> Loop:
    config, machine = plan.config, plan.machine
    model = _load(base, plan)
    if plan.fitted.recompute:
        recompute_blocks(model, compiled=False)
    stream, objective, held_out = _learning(directory, model, plan, progress)
    watch: dict[str, Any] = {}
    device = machine.runtime.device
    validators: list[Validator] = []
    if held_out:
        validators.append(HeldOutUnits(objective, held_out, device))
    if config.general_tokens and config.method != "reward":
        text = settle_general_text(
            directory,
            Checkpoint(model, base.tokenizer, model.config, base.stop_ids, base.path,
                       base.located.pin),
            ExamplesConfig(context=config.context, template=config.template, seed=config.seed),
            general=config.general, replay_tokens=0, held_out_tokens=config.general_tokens,
            length=config.context, seconds=config.seconds, progress=progress,
        )  # fmt: skip
        rows = max(1, plan.tokens_at_once // config.context)
        general = held_out_loss(
            text.held_out, rows=rows, length=config.context, device=device,
            tokens=config.general_tokens,
        )  # fmt: skip
        if general is not None and held_out:
            validators.append(GeneralLoss(general, watch))
    chosen = [unit.completions[0] for unit in plan.rows.held_out]
    guard = AlignmentGuard(
        ForgettingGuard(config.max_forgetting, config.forgetting_patience, progress, watch),
        beta=0.0 if config.method == "reward" else config.beta,
        tokens=sum(int(each.trained.sum()) for each in chosen) / max(1, len(chosen)),
        progress=progress,
        notes=watch,
    )
    model.train()
    return Loop(
        directory,
        dataclasses.replace(config, steps=plan.steps),
        machine=machine,
        model=model,
        stream=stream,
        objective=objective,
        optimizers=[
            finetuning_optimizer(
                model, lr=config.peak_lr(base.shape.parameters), weight_decay=config.weight_decay
            )
        ],
        micro_units=plan.fitted.micro_rows,
        validators=validators,
        validations=VALIDATIONS,
        validate_first=True,
        judge=guard.judge,
        notes=watch,
        remedy="start again with a lower --lr",
        progress=progress,
        started=started,
    )


def _load(base: Base, plan: _Plan) -> Transformer:
    """The base as it is trained; to score, with a fresh head and in fp32."""
    config, machine = plan.config, plan.machine
    dtype = runtime.torch_dtype(machine.runtime.dtype)
    scores = config.method == "reward"
    model = base.load_to_train(
        config.lora() if config.weights == "lora" else None,
        dtype=torch.float32 if scores else dtype, device=machine.runtime.device, seed=config.seed,
    )  # fmt: skip
    if scores:
        model.compute_dtype = dtype
        generator = torch.Generator().manual_seed(config.seed)
        replace_head(model, "sequence", labels=("reward",), generator=generator)
    return model


def _learning(
    directory: Path, model: Transformer, plan: _Plan, progress: Progress
) -> tuple[Stream, Objective, list[Batch]]:
    """What is read, what is minimised, and what is held out of it."""
    config, rows = plan.config, plan.rows
    train, held_out, own = rows.train, rows.held_out, config.rows_of_a_unit
    size = plan.fitted.micro_rows
    parts = [
        list(range(start, min(start + size, len(held_out))))
        for start in range(0, len(held_out), size)
    ]
    if config.method == "reward":
        stream = shuffled(
            train, lambda places: scored_batch([train[place] for place in places]),
            batch=config.batch, seed=config.seed,
        )  # fmt: skip
        batches = [scored_batch([held_out[place] for place in part]) for part in parts]
        return stream, PairLoss(config.center), batches
    unrelated = mismatched(train, seed=config.seed) if config.method == "kto" else []
    asked = [each for unit in (*train, *held_out) for each in unit.completions] + unrelated
    known = reference_log_probs(
        model.eval(), asked, directory, tokens=plan.tokens_at_once, progress=progress
    )
    sizes = [own * len(train), own * len(held_out), len(unrelated)]
    first, second, third = torch.split(known, sizes)
    first, second = first.view(-1, own), second.view(-1, own)
    if config.method == "kto":
        judging = DivergingBatches(
            train, first, unrelated, third,
            tokens=plan.tokens_at_once, batch=config.batch, seed=config.seed,
        )  # fmt: skip
        judged = [judged_batch([held_out[p] for p in part], second[part], 0.0) for part in parts]
        weights = config.desirable_weight, config.undesirable_weight
        return judging, DesirabilityLoss(config.beta, *weights), judged
    stream = shuffled(
        train, lambda places: pair_batch([train[place] for place in places], first[list(places)]),
        batch=config.batch, seed=config.seed,
    )  # fmt: skip
    pairs = [pair_batch([held_out[p] for p in part], second[part]) for part in parts]
    return stream, PreferenceLoss(config.loss, config.beta, config.smoothing), pairs


def _save(base: Base, model: Transformer, directory: Path, config: AlignConfig) -> None:
    """Write the adapter or the model; one that scores with its adapter merged into it."""
    if config.method != "reward":
        base.save(model, directory, lora=config.weights == "lora")
        return
    if config.weights == "lora":
        merge(model, ADAPTER, reversible=False)
    base.save_tokenizer(directory)
    save_checkpoint(model, directory, base=base.path)


def _statistics(plan: _Plan, loop: Loop) -> dict[str, Any]:
    """What the manifest says about the run."""
    first = loop.first or {}
    return {
        "method": plan.config.method,
        "weights": plan.config.weights,
        "trained_parameters": sum(v.numel() for v in trained_tensors(loop.model).values()),
        "lr": plan.config.peak_lr(loop.model.config.parameters),
        "micro_units": plan.fitted.micro_rows,
        "memory_expected": plan.fitted.memory.total,
        **loop.statistics(),
        **{f"base_{name}": round(value, 5) for name, value in first.items()},
        "rows": {
            "train": len(plan.rows.train),
            "held_out": len(plan.rows.held_out),
            **dataclasses.asdict(plan.rows.report),
        },
    }
