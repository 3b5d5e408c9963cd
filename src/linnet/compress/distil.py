"""A model made smaller by pruning, and distilled from what it was: an ordinary checkpoint.

The loop is that of all training; the teacher is the model itself, before it was pruned.
"""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from linnet import artifact, hub, runtime
from linnet.card import CARD, write_card
from linnet.compress.distillation import DistillationLoss
from linnet.compress.prune_config import PruneConfig
from linnet.compress.pruning import (
    PrunedShape,
    measure_scores,
    prune,
    pruned_config,
    require_publishable,
)
from linnet.errors import ConfigError, DataError
from linnet.finetune.base import base_input, data_inputs
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.packing import PackedBatches, held_out_loss
from linnet.finetune.replay import general_text
from linnet.model import load_model, save_checkpoint
from linnet.model.adapter import is_adapter
from linnet.model.quantised import require_plain
from linnet.progress import SILENT, Progress
from linnet.tokenizer import load as load_tokenizer
from linnet.train.distributed import interruptible
from linnet.train.loop import Loop
from linnet.train.machine import Machine, choose_machine
from linnet.train.metrics import METRICS, load_plotting, plot_curves
from linnet.train.optimizers import finetuning_optimizer
from linnet.train.state import STATE

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft
    from linnet.finetune.encoding import Example
    from linnet.model import ModelConfig, Transformer
    from linnet.train.validation import HeldOutLoss

FORMAT = 1
VALIDATIONS = 10
SCORING_TOKENS = 20_000
"""Of text from which it is seen what matters."""


def prune_model(
    model: Path | str,
    text: Path | str,
    out: Path | str,
    config: PruneConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> Artifact:
    """Prune a model and distil it from what it was; write a model directory of its family.

    ``text``: of the owner's: a file, a folder, a corpus, shards of the same tokenizer, or rows. An
    interrupted run goes on from its last save. Raises DataError for too little text, ModelError for
    a family that there is no rule for, ConfigError for sizes that it has not.
    """
    started = time.monotonic()
    config, out = config or PruneConfig(), Path(out)
    found = hub.find(model, progress=progress)
    if is_adapter(found.path):
        raise ConfigError(
            f"{found.path} is an adapter; merge it first (linnet merge), and prune what comes out"
        )
    require_plain(found.path, "prune the model that it was made from")
    inputs: dict[str, Artifact | str] = {
        "base": base_input(found.path, pin=found.pin, progress=progress),
        **data_inputs([], "", str(text), progress=progress),
    }

    def write(draft: Draft) -> None:
        machine = choose_machine(
            draft.path, device=config.device, dtype=config.dtype, threads=config.threads,
            compiled=lambda _: False,
        )  # fmt: skip
        teacher = load_model(found.path, device=machine.runtime.device, dtype=torch.float32).eval()
        teacher.compute_dtype = runtime.torch_dtype(machine.runtime.dtype)
        read, kept_back = _text(found.path, text, teacher.config, config, progress)
        load_plotting()
        with interruptible() as interrupt, runtime.threads(machine.runtime.threads):
            student = _student(teacher, read, config, progress)
            loop, validator = _assemble(
                draft.path, teacher, student, read, kept_back, config, machine, progress, started
            )
            whole = validator(teacher) if validator is not None else {}
            loop.resume()
            loop.run(interrupt)
            loop.keep_best()
            loop.model.compute_dtype = None
            save_checkpoint(loop.model, draft.path, tokenizer=found.path, base=found.path)
            plot_curves(draft.path / METRICS, draft.path)
        draft.stats.update(
            {
                "parameters": student.config.parameters,
                "of_parameters": teacher.config.parameters,
                "sizes": dataclasses.asdict(PrunedShape.of(student.config)),
                **loop.statistics(),
                **{f"whole_{name}": round(value, 5) for name, value in whole.items()},
                **{f"pruned_{name}": round(v, 5) for name, v in (loop.first or {}).items()},
            }
        )
        write_card(draft, base=found.path)

    return artifact.make(
        out, write, kind="model", format=FORMAT, config=config.recipe(), inputs=inputs,
        resume=True, volatile=(CARD, METRICS, "*.svg", "*.png"), working=STATE,
        sources=[found.path],
    )  # fmt: skip


def _assemble(
    directory: Path,
    teacher: Transformer,
    student: Transformer,
    read: list[Example],
    kept_back: list[Example],
    config: PruneConfig,
    machine: Machine,
    progress: Progress,
    started: float,
) -> tuple[Loop, HeldOutLoss | None]:
    """The loop of the run, and what it validates by."""
    length = min(config.context, teacher.config.context)
    rows = max(1, config.batch_tokens // length)
    stream = PackedBatches(read, rows=rows, length=length, seed=config.seed)
    steps = config.steps or (0 if config.seconds else stream.batches_in(1.0))
    micro = config.micro_rows or max(1, 1024 // length)
    micro = max(each for each in range(1, min(micro, rows) + 1) if rows % each == 0)
    validator = held_out_loss(
        kept_back, rows=micro, length=length, device=machine.runtime.device,
        tokens=config.tokens // 20,
    )  # fmt: skip
    optimizer = finetuning_optimizer(
        student, lr=config.peak_lr(student.config.parameters), weight_decay=config.weight_decay
    )
    loop = Loop(
        directory, dataclasses.replace(config, steps=steps), machine=machine, model=student,
        stream=stream,
        objective=DistillationLoss(
            teacher, config.teacher_weight, config.mixing, config.temperature
        ),
        optimizers=[optimizer], micro_units=micro,
        validators=[validator] if validator is not None else [],
        validations=VALIDATIONS, validate_first=True,
        remedy="start again with a lower --lr", progress=progress, started=started,
    )  # fmt: skip
    return loop, validator


def _text(
    path: Path, text: Path | str, shape: ModelConfig, config: PruneConfig, progress: Progress
) -> tuple[list[Example], list[Example]]:
    """Text to read, and some that is kept back."""
    examples = ExamplesConfig(context=min(config.context, shape.context), template="none")
    found = general_text(
        Path(text), load_tokenizer(path), examples, replay_tokens=config.tokens,
        held_out_tokens=max(1000, config.tokens // 20), progress=progress,
    )  # fmt: skip
    if not found.replay:
        raise DataError(f"{text}: expected text to distil on. Got none")
    return found.replay, found.held_out


def _student(
    teacher: Transformer, read: list[Example], config: PruneConfig, progress: Progress
) -> Transformer:
    """The model less what mattered least."""
    shape = config.shape(teacher.config)
    require_publishable(pruned_config(teacher.config, shape))
    rows, total = [], 0
    device = teacher.embedding.weight.device
    for example in read:
        if total >= SCORING_TOKENS:
            break
        rows.append(torch.from_numpy(example.tokens.astype(np.int64))[None].to(device))
        total += len(example.tokens)
    scores = measure_scores(teacher, rows, total=total, progress=progress)
    student: Any = prune(teacher, shape, scores)
    smaller = student.config.parameters
    progress.message(
        f"{smaller:,} of {teacher.config.parameters:,} parameters stay "
        f"({smaller / teacher.config.parameters:.0%}): {shape.depth} blocks, width {shape.width}, "
        f"MLPs of {shape.mlp_width}, {shape.kv_heads} key/value heads"
    )
    student.compute_dtype = teacher.compute_dtype
    student.requires_grad_(True)
    student.train()
    return student  # type: ignore[no-any-return]
