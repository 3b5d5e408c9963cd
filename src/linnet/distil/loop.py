"""The loop of distillation, whoever learns: a fresh model, one that exists, or a pruned one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from linnet import runtime
from linnet.distil.divergence import DistillationLoss
from linnet.distil.teachers import LiveTeacher
from linnet.model import load_model
from linnet.model.config_file import read_config_file
from linnet.model.families import family
from linnet.progress import Progress
from linnet.train.loop import Loop
from linnet.train.machine import Machine, choose_machine
from linnet.train.stream import Stream

if TYPE_CHECKING:
    from linnet.distil.config import DistillationConfig
    from linnet.distil.teachers import Teacher
    from linnet.model import ModelConfig, Transformer
    from linnet.train.loop import Sampler
    from linnet.train.validation import HeldOutLoss

VALIDATIONS = 10
MICRO_TOKENS = 1024


@dataclass(frozen=True)
class Rows:
    """How a run reads: rows of ``length`` tokens, some at a time."""

    length: int
    count: int
    """In an update."""
    micro: int
    """Computed at once."""

    @classmethod
    def of(cls, config: DistillationConfig, *, context: int) -> Rows:
        """Within a model's context."""
        length = min(config.context, context)
        count = max(1, config.batch_tokens // length)
        wanted = config.micro_rows or max(1, MICRO_TOKENS // length)
        divisors = (each for each in range(1, min(wanted, count) + 1) if count % each == 0)
        return cls(length, count, max(divisors))


class Passes(Stream, Protocol):
    """A stream that knows how long a pass is."""

    def batches_in(self, epochs: float) -> int:
        """Batches until everything has been read so many times."""


def distillation_loop(
    directory: Path,
    config: DistillationConfig,
    *,
    teacher: Teacher | None,
    student: Transformer,
    stream: Passes,
    optimizers: Sequence[torch.optim.Optimizer],
    validator: HeldOutLoss | None,
    rows: Rows,
    machine: Machine,
    progress: Progress,
    started: float,
    sampler: Sampler | None = None,
) -> Loop:
    """The loop of a run in which a student learns from a teacher; None: from the text alone."""
    steps = config.steps or (0 if config.seconds else stream.batches_in(1.0))
    return Loop(
        directory, dataclasses.replace(config, steps=steps), machine=machine, model=student,
        stream=stream,
        objective=DistillationLoss(
            teacher, config.teacher_weight, config.mixing, config.temperature
        ),
        optimizers=optimizers, micro_units=rows.micro,
        validators=[validator] if validator is not None else [],
        validations=VALIDATIONS, validate_first=True, sampler=sampler,
        remedy="start again with a lower --lr", progress=progress, started=started,
    )  # fmt: skip


def machine_of(config: DistillationConfig, directory: Path) -> Machine:
    """What the settings ask for, or what a run in ``directory`` began with."""
    return choose_machine(
        directory, device=config.device, dtype=config.dtype, threads=config.threads,
        compiled=lambda _: False,  # texts side by side have other lengths in every batch
    )  # fmt: skip


def read_shape(path: Path) -> ModelConfig:
    """The shape of a model that writes, before any weight is read. Raises ModelError."""
    values = read_config_file(path)
    shape = family(values.get("model_type")).read(values)
    shape.require_writes()
    return shape


def load_teacher(path: Path, machine: Machine) -> Transformer:
    """A model at rest, in the format that is computed in."""
    dtype = runtime.torch_dtype(machine.runtime.dtype)
    model = load_model(path, device=machine.runtime.device, dtype=dtype)
    return model.requires_grad_(False)


def live_teacher(model: Transformer, tokens: int) -> LiveTeacher:
    """A teacher of so many tokens; behind them its tables may have rows of none."""
    kept = torch.arange(tokens) if tokens < model.config.vocab_size else None
    return LiveTeacher(model, kept)


def teacher_figures(model: Transformer, validator: HeldOutLoss | None) -> dict[str, Any]:
    """What held-out text costs a teacher."""
    found: dict[str, Any] = {"teacher_parameters": model.config.parameters}
    if validator is not None:
        with torch.no_grad():
            figures = validator(model)
        found |= {f"teacher_{name}": round(value, 5) for name, value in figures.items()}
    return found
