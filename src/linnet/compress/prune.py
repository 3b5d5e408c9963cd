"""A model made smaller by pruning, and distilled from what it was: an ordinary checkpoint.

The loop is that of all training; the teacher is the model itself, before it was pruned.
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from linnet import artifact, runtime
from linnet.card import CARD, write_card
from linnet.compress.prune_config import PruneConfig
from linnet.compress.pruning import (
    PrunedShape,
    measure_scores,
    prune,
    pruned_config,
    require_publishable,
)
from linnet.compress.vocabulary import prune_vocabulary
from linnet.distil.data import require_enough
from linnet.distil.loop import Rows, distillation_loop, read_shape
from linnet.distil.students import optimizers_for
from linnet.distil.teachers import LiveTeacher
from linnet.errors import ConfigError
from linnet.finetune.base import base_input, data_inputs, find_base
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.packing import PackedBatches, held_out_loss
from linnet.finetune.replay import read_text
from linnet.model import load_model, save_checkpoint
from linnet.model.checkpoint import stored_dtype
from linnet.progress import SILENT, Progress
from linnet.tokenizer import load as load_tokenizer
from linnet.train.distributed import interruptible
from linnet.train.machine import Machine, choose_machine
from linnet.train.metrics import METRICS, load_plotting, plot_curves
from linnet.train.state import STATE
from linnet.train.validation import sample_text

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft
    from linnet.finetune.encoding import Example
    from linnet.model import ModelConfig, Transformer
    from linnet.train.loop import Loop, Sampler
    from linnet.train.validation import HeldOutLoss

FORMAT = 1
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
    found = find_base(model, "prune", plain=True, progress=progress)
    read_shape(found.path)  # refuses one that does not write
    inputs: dict[str, Artifact | str] = {
        "base": base_input(found.path, pin=found.pin, progress=progress),
        **data_inputs([], "", str(text), progress=progress),
    }
    run = _Run(found.path, text, config, progress, started)
    return artifact.make(
        out, run.write, kind="model", format=FORMAT, config=config.recipe(), inputs=inputs,
        resume=True, volatile=(CARD, METRICS, "*.svg", "*.png"), working=STATE,
        sources=[found.path],
    )  # fmt: skip


@dataclass(frozen=True)
class _Run:
    """A model, and what is to become of it."""

    base: Path
    text: Path | str
    config: PruneConfig
    progress: Progress
    started: float

    def write(self, draft: Draft) -> None:
        """The pruned model, in its directory."""
        config, path, of_parameters = self.config, self.base, 0
        if config.vocabulary:  # with fewer tokens it teaches what is smaller besides
            path = draft.path / STATE / "vocabulary"
            went = prune_vocabulary(
                self.base, self.text, path, config.vocabulary, progress=self.progress
            )
            of_parameters = went.of_parameters
            draft.stats["vocabulary"] = dataclasses.asdict(went)
        machine = choose_machine(
            draft.path, device=config.device, dtype=config.dtype, threads=config.threads,
            compiled=lambda _: False,
        )  # fmt: skip
        teacher = load_model(path, device=machine.runtime.device, dtype=torch.float32).eval()
        teacher.compute_dtype = runtime.torch_dtype(machine.runtime.dtype)
        of_parameters = of_parameters or teacher.config.parameters
        shape = config.shape(teacher.config, parameters=of_parameters)
        if shape == PrunedShape.of(teacher.config):
            self._require_fewer_tokens(draft)
            for file in path.iterdir():
                file.replace(draft.path / file.name)
            parameters = teacher.config.parameters
        else:
            draft.stats.update(self._distil(draft.path, path, teacher, shape, machine))
            parameters = pruned_config(teacher.config, shape).parameters
        draft.stats.update(
            parameters=parameters, of_parameters=of_parameters, sizes=dataclasses.asdict(shape)
        )
        write_card(draft, base=self.base)

    def _require_fewer_tokens(self, draft: Draft) -> None:
        """Raise ConfigError where nothing goes at all."""
        went = draft.stats.get("vocabulary", {"tokens": 0, "of_tokens": 0})
        if went["tokens"] == went["of_tokens"]:
            raise ConfigError(
                "expected sizes that take something away. Got the model's own"
                + (f", and all its {went['tokens']:,} tokens" if self.config.vocabulary else "")
            )
        self.progress.message("nothing but tokens goes, so there is nothing to distil")

    def _distil(
        self, out: Path, path: Path, teacher: Transformer, shape: PrunedShape, machine: Machine
    ) -> dict[str, Any]:
        """Prune the model in ``path``, let it learn from what it was, and save it."""
        read, kept_back = read_text_for(self.config, path, self.text, teacher.config, self.progress)
        load_plotting()
        with interruptible() as interrupt, runtime.threads(machine.runtime.threads):
            student = _student(teacher, shape, read, self.progress)
            sampler = partial(sample_text, tokenizer=load_tokenizer(path), seed=self.config.seed)
            loop, validator = self._assemble(
                out, teacher, student, read, kept_back, machine, sampler
            )
            whole = validator(teacher) if validator is not None else {}
            loop.resume()
            loop.run(interrupt)
            loop.keep_best()
            loop.model.compute_dtype = None
            dtype = stored_dtype(self.base)
            save_checkpoint(loop.model, out, tokenizer=path, base=path, dtype=dtype)
            plot_curves(out / METRICS, out)
        return {
            **loop.statistics(),
            **{f"whole_{name}": round(value, 5) for name, value in whole.items()},
            **{f"pruned_{name}": round(v, 5) for name, v in (loop.first or {}).items()},
        }

    def _assemble(
        self,
        out: Path,
        teacher: Transformer,
        student: Transformer,
        read: list[Example],
        kept_back: list[Example],
        machine: Machine,
        sampler: Sampler,
    ) -> tuple[Loop, HeldOutLoss | None]:
        """The loop of the run, and what it validates by."""
        config = self.config
        rows = Rows.of(config, context=teacher.config.context)
        validator = held_out_loss(
            kept_back, rows=rows.micro, length=rows.length, device=machine.runtime.device,
            tokens=config.tokens // 20,
        )  # fmt: skip
        loop = distillation_loop(
            out, config, teacher=LiveTeacher(teacher), student=student,
            stream=PackedBatches(read, rows=rows.count, length=rows.length, seed=config.seed),
            optimizers=optimizers_for(student, config, fresh=False), validator=validator,
            rows=rows, machine=machine, progress=self.progress, started=self.started,
            sampler=sampler,
        )  # fmt: skip
        return loop, validator


def read_text_for(
    config: PruneConfig, path: Path, text: Path | str, shape: ModelConfig, progress: Progress
) -> tuple[list[Example], list[Example]]:
    """Text that a model in ``path`` learns from, and some that is kept back. Raises DataError."""
    examples = ExamplesConfig(context=min(config.context, shape.context), template="none")
    found = read_text(
        Path(text), load_tokenizer(path), examples, tokens=config.tokens,
        held_out_tokens=config.held_out_tokens, progress=progress,
    )  # fmt: skip
    require_enough(text, found.replay)
    return found.replay, found.held_out


def _student(
    teacher: Transformer, shape: PrunedShape, read: list[Example], progress: Progress
) -> Transformer:
    """The model less what mattered least."""
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
