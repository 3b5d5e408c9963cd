"""One fine-tuning run: everything that is decided before its first step, and its parts.

With ``full`` all weights are trained, kept in fp32 whatever the base is stored in.
With ``lora`` the base stays frozen, in the format that the machine computes fastest
in, and only the added matrices are trained and saved.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from linnet import runtime
from linnet.errors import DataError
from linnet.finetune.base import Base, read_base
from linnet.finetune.budget import (
    demand_of,
    extent_of,
    run_length,
    settle_fit,
    time_run,
    usual_batch,
)
from linnet.finetune.examples import load_examples
from linnet.finetune.optimizers import build_optimizer
from linnet.finetune.remembering import Remembering, begin_remembering, mixed_stream
from linnet.finetune.validation import VALIDATIONS, Answer, held_out_loss
from linnet.model import Transformer
from linnet.model.adapter import save_adapter
from linnet.model.checkpoint import Checkpoint, save_checkpoint
from linnet.model.lora import add_adapter
from linnet.model.lora_config import ALL_LINEAR, LoRAConfig
from linnet.progress import Progress
from linnet.train.loop import Loop
from linnet.train.machine import Machine, choose_machine
from linnet.train.objective import named_objective
from linnet.train.speed import (
    compile_ahead,
    compile_blocks,
    compiling_pays,
    recompute_blocks,
)
from linnet.train.state import trained_tensors

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from linnet.artifact import Draft
    from linnet.finetune.budget import Length
    from linnet.finetune.config import FinetuneConfig
    from linnet.finetune.examples import Example, Examples
    from linnet.finetune.fitting import Demand, Fit
    from linnet.finetune.validation import Extent, HeldOutLoss
    from linnet.hub import Located
    from linnet.train.stream import Stream

ADAPTER = "default"  # its name while it is trained
ROOM = 4  # average examples that a row should hold, so that packing fills it
STEP = 64  # rows are a multiple of so many tokens


@dataclass(frozen=True)
class Run:
    """Everything that is decided before the first step."""

    config: FinetuneConfig
    base: Base
    examples: Examples
    length: int
    """Tokens in a row."""
    planned: Length
    command: str
    """That makes a run of the usual length of this."""
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
        return self.config.peak_lr(self.base.shape.parameters)

    def model(self) -> Transformer:
        """The base as it is trained: with an adapter on it, or all its weights in fp32."""
        lora, machine = self.config.method == "lora", self.machine
        dtype = runtime.torch_dtype(machine.runtime.dtype)
        torch.manual_seed(self.config.seed)
        # fp16 has too few digits to keep weights in; bf16 loses nothing that it computes with.
        kept = dtype if lora and dtype != torch.float16 else torch.float32
        model = self.base.load(dtype=kept, device=machine.runtime.device)
        model.compute_dtype = dtype
        if lora:
            generator = torch.Generator().manual_seed(self.config.seed)
            add_adapter(model, ADAPTER, adapter_config(self.config), generator=generator)
        else:
            model.requires_grad_(True)
        if self.fitted.recompute:
            recompute_blocks(model, compiled=machine.compiled)
        elif machine.compiled:
            compile_blocks(model)
        return model.train()

    def compiled(self, model: Transformer, progress: Progress) -> Run:
        """The same once the model is compiled, or could not be."""
        if not self.machine.compiled:
            return self
        rows, length = self.micro_rows, self.length
        compiled = compile_ahead(model, rows=rows, length=length, segmented=True, progress=progress)
        return dataclasses.replace(
            self, machine=dataclasses.replace(self.machine, compiled=compiled)
        )

    def timed(self, model: Transformer, directory: Path, progress: Progress) -> Run:
        """The same with the fastest micro-batch; says what memory and time it takes."""
        fitted = time_run(
            model,
            self.fitted,
            directory,
            self.config,
            demand=self.demand,
            rows=self.rows,
            planned=self.planned,
            command=self.command,
            held_out_tokens=sum(example.places for example in self.examples.held_out),
            compiled=self.machine.compiled,
            progress=progress,
        )
        return dataclasses.replace(self, fitted=fitted)

    def remembering(self, model: Transformer, directory: Path, progress: Progress) -> Remembering:
        """The general text of the run, settled before its first step, and the watch over it."""
        base = self.base
        return begin_remembering(
            directory,
            Checkpoint(
                model, base.tokenizer, model.config, base.stop_ids, base.path, base.located.pin
            ),
            self.examples,
            dataclasses.replace(self.config, general_tokens=self.extent.general),
            rows=self.micro_rows,
            length=self.length,
            machine=self.machine,
            progress=progress,
        )

    def look_back(self, loop: Loop, known: Remembering, directory: Path) -> dict[str, Any]:
        """What was forgotten, and at which strength it would be less."""
        start = self.base.load(dtype=self.base.stored)
        return known.finish(
            loop,
            directory,
            self.config,
            domain=self._held_out_loss(),
            base=dict(start.named_parameters()),
        )

    @property
    def extent(self) -> Extent:
        """What its validations read."""
        return extent_of(self.fitted, self.config, rows=self.rows, length=self.length)

    def _held_out_loss(self) -> HeldOutLoss | None:
        return held_out_loss(
            self.examples.held_out,
            rows=self.micro_rows,
            length=self.length,
            tokens=self.extent.domain,
            device=self.machine.runtime.device,
        )

    def loop(
        self,
        directory: Path,
        model: Transformer,
        known: Remembering,
        progress: Progress,
        started: float,
    ) -> Loop:
        """The loop with its parts."""
        config, base = self.config, self.base
        optimizer = build_optimizer(
            model,
            lr=self.lr,
            weight_decay=config.weight_decay,
            pull=config.pull,
            base=base.load(dtype=base.stored) if config.pull else None,
        )
        held_out = self._held_out_loss()
        return Loop(
            directory,
            dataclasses.replace(config, steps=self.planned.steps),
            machine=self.machine,
            model=model,
            stream=self._stream(known.text.replay),
            objective=named_objective(config.objective, causal=True),
            optimizers=[optimizer],
            micro_units=self.micro_rows,
            validators=[found for found in (held_out, known.loss) if found is not None],
            validations=VALIDATIONS,
            validate_first=True,
            judge=known.guard.judge,
            sampler=self._sampler(),
            notes=known.notes,
            remedy="start again with a lower --lr",
            progress=progress,
            started=started,
        )

    def _stream(self, replay: Sequence[Example]) -> Stream:
        share, seed = self.config.replay, self.config.seed
        return mixed_stream(
            self.examples.train, replay, share=share, rows=self.rows, length=self.length, seed=seed
        )

    def _sampler(self) -> Answer:
        example = (self.examples.held_out or self.examples.train)[0]
        return Answer(example, self.base.tokenizer, self.base.stop_ids, self.config.seed)

    def save(self, model: Transformer, directory: Path) -> None:
        """Write the model, or the adapter, with the tokenizer's files."""
        base = self.base
        base.save_tokenizer(directory)
        if self.config.method == "full":
            save_checkpoint(model, directory, base=base.path, dtype=base.stored)
        else:
            save_adapter(model, ADAPTER, directory, base=base.located.pin or base.path)

    def describe(self, draft: Draft, loop: Loop) -> None:
        """What the manifest says about the run."""
        trained = sum(value.numel() for value in trained_tensors(loop.model).values())
        first = loop.first or {}
        draft.stats.update(
            {
                "method": self.config.method,
                "parameters": self.base.shape.parameters,
                "trained_parameters": trained,
                "lr": self.lr,
                "row_tokens": self.length,
                "micro_rows": self.micro_rows,
                "memory_expected": self.fitted.memory.total,
                **loop.statistics(),
                "passes": round(loop.pace.step / self.planned.per_pass, 2),
                "trained_tokens": loop.trained,
                **{f"base_{name}": round(value, 5) for name, value in first.items()},
                "examples": self.examples.report.to_mapping(),
            }
        )


def prepare_run(
    located: Located,
    data: Sequence[str | Path],
    directory: Path,
    config: FinetuneConfig,
    progress: Progress,
    *,
    command: str = "",
) -> Run:
    """Read the examples, and settle rows, steps, machine and micro-batch."""
    base = read_base(located, data, config, progress)
    config = dataclasses.replace(config, context=min(config.context, base.shape.context))
    examples = load_examples(data, base.tokenizer, config, progress=progress)
    if not examples.train:
        raise DataError("expected examples to train on. Got none; add rows, or lower --held-out")
    length = row_length([example.places for example in examples.train + examples.held_out], config)
    batch_tokens = config.batch_tokens or usual_batch(examples.train)
    rows = update_rows(batch_tokens, length)
    planned = run_length(examples.train, config, rows=rows, length=length)
    epochs = planned.steps / planned.per_pass if planned.steps else config.epochs
    config = dataclasses.replace(config, batch_tokens=batch_tokens, epochs=epochs)
    work = 6.0 * base.shape.parameters * rows * length * planned.steps
    machine = choose_machine(
        directory,
        device=config.device,
        dtype=config.dtype,
        threads=config.threads,
        compiled=lambda found: compiling_pays(
            config.compile, found, seconds=config.seconds, work=work
        ),
    )
    adapter = adapter_config(config)
    demand = demand_of(config, base.shape, adapter, examples.train, length=length, machine=machine)
    device = machine.runtime.device
    fitted = settle_fit(directory, demand, config, rows=rows, device=device)
    return Run(config, base, examples, length, planned, command, machine, demand, fitted)


def adapter_config(config: FinetuneConfig) -> LoRAConfig:
    """The adapter that the settings ask for."""
    return LoRAConfig(
        rank=config.rank,
        alpha=config.scale,
        rslora=config.rslora,
        dropout=config.lora_dropout,
        targets=config.targets or (ALL_LINEAR,),
    )


def update_rows(batch_tokens: int, length: int) -> int:
    """Rows per update: an even number where there are several, so that micro-batches divide it."""
    wanted = batch_tokens / length
    return 2 * round(wanted / 2) if wanted > 2 else max(1, round(wanted))


def row_length(places: Sequence[int], config: FinetuneConfig) -> int:
    """Tokens in a row: enough for the longest example and for several usual ones, not more.

    Attention costs by the square of the row, so that rows of the whole context would
    be a waste for short examples.
    """
    wanted = max(max(places), math.ceil(ROOM * sum(places) / len(places)))
    longest = max(max(places), config.context)
    return min(longest, math.ceil(wanted / STEP) * STEP)
