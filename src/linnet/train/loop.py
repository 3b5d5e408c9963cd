"""The training loop: batches through an objective, gradients through an optimizer.

Guarantees:

* A run that was killed goes on from its last save, and on CPU ends with the
  very weights of one that was not: position in the data, optimizer, random
  numbers, number format, threads and compilation are part of the saved state.
* Ctrl-C saves first.
* The weights kept are those with the lowest validation loss.
* With a time limit, everything counts: compiling, validation, saving.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from linnet import artifact, runtime
from linnet.errors import BudgetError, DataError, StoppedError, TrainingError
from linnet.model import Transformer, save_checkpoint
from linnet.progress import SILENT, Progress, Task
from linnet.shards import Shards
from linnet.shards.batches import Batches
from linnet.tokenizer import Tokenizer
from linnet.tokenizer import load as load_tokenizer
from linnet.train.interrupt import Interrupt, interruptible
from linnet.train.objective import next_token
from linnet.train.optimizers import build_optimizers
from linnet.train.plots import plot_curves
from linnet.train.sample import eager_twin, sample_text
from linnet.train.schedule import Pace, rate
from linnet.train.speed import compile_blocks, should_compile, write_out_attention
from linnet.train.state import capture, read_tensors, restore, write_tensors
from linnet.train.validation import HeldOut, held_out, validate
from linnet.train.warm_start import LARGEST_VOCABULARY, bigram_counts, fit_bigrams

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from linnet.artifact import Artifact
    from linnet.runtime import Runtime
    from linnet.train.config import TrainConfig
    from linnet.train.objective import Objective

KIND, FORMAT = "model", 1
METRICS = "metrics.jsonl"
STATE = "state"  # folder of what is saved for resuming
VOLATILE = (METRICS, "*.svg", "*.png")
VALIDATIONS, SAMPLES = 5, 4  # in a run, where no interval is set
RETIME_EVERY = 10  # steps
UNKNOWN = 1 << 30  # steps, until some were timed
FINISH_SECONDS = 3.0  # reserved for saving and drawing the curves
SLACK = 1.03  # a run with steps and a time limit may be so much late before it is shortened


def train(
    shards: Path,
    out: Path,
    config: TrainConfig,
    *,
    objective: Objective = next_token,
    progress: Progress = SILENT,
) -> Artifact:
    """Train a model on encoded documents; write a checkpoint directory.

    What this recipe has made already is returned as it is; an interrupted run
    goes on from its last save.
    Raises DataError when there is too little text, BudgetError when the time
    limit leaves no room for a step, StoppedError after Ctrl-C, TrainingError
    when the loss is no longer a number.
    """
    started = time.monotonic()
    data = Shards.open(shards)
    inputs = {"shards": data.artifact}
    recipe = artifact.recipe_hash(KIND, FORMAT, config.recipe(), inputs)
    if existing := artifact.current(out, recipe, kind=KIND):
        return existing
    with artifact.create(
        out,
        kind=KIND,
        format=FORMAT,
        config=config.recipe(),
        inputs=inputs,
        resume=True,
        volatile=VOLATILE,
        working=STATE,
    ) as draft:
        run = _Run(data, draft.path, config, objective, progress, started)
        with interruptible() as interrupt, runtime.threads(run.runtime.threads):
            run.begin()
            run.loop(interrupt)
            run.finish()
        draft.stats.update(run.statistics())
    return artifact.read(out, kind=KIND)


@dataclass
class _Best:
    loss: float = math.inf
    bits_per_byte: float = math.inf
    step: int = 0
    waited: int = 0
    """Validations since."""
    weights: dict[str, Tensor] = field(default_factory=dict)

    def numbers(self) -> dict[str, Any]:
        keys = ("loss", "bits_per_byte", "step", "waited")
        return {key: getattr(self, key) for key in keys if math.isfinite(getattr(self, key))}


class _Run:
    """One run in progress: what it computes with, where it stands, what it has seen."""

    def __init__(
        self,
        data: Shards,
        directory: Path,
        config: TrainConfig,
        objective: Objective,
        progress: Progress,
        started: float,
    ) -> None:
        self.data, self.directory, self.config = data, directory, config
        self.objective, self.progress, self.started = objective, progress, started
        self.state_file = directory / STATE / "state.safetensors"
        self.best_file = directory / STATE / "best.safetensors"
        saved = read_tensors(self.state_file) if self.state_file.is_file() else None
        pinned = saved[1]["pinned"] if saved else {}
        self.saved = saved
        self.runtime: Runtime = runtime.detect(
            config.device,
            pinned.get("dtype", config.dtype),
            pinned.get("threads", config.threads) or None,
        )
        self.compiled: bool = pinned.get("compile", should_compile(config, self.runtime))
        self.tokenizer: Tokenizer = load_tokenizer(data.tokenizer_path)
        split = data.split("train")
        if split.tokens < config.context + 1:
            raise DataError(
                f"training needs at least {config.context + 1} tokens, one full context. "
                f"Got {split.tokens}; add documents or use a smaller --context"
            )
        self.batches = Batches(split, rows=self.micro_rows, length=config.context, seed=config.seed)
        self.validation: HeldOut | None = held_out(
            data.split("validation"),
            rows=self.micro_rows,
            length=config.context,
            tokens=config.validation_tokens,
        )
        self.model = self._make_model()
        self.twin = eager_twin(self.model)
        self.optimizers = build_optimizers(self.model, config, dtype=self.compute_dtype)
        self.scaler = torch.amp.GradScaler("cuda", enabled=self.runtime.dtype == "fp16")
        self.pace = Pace(config.steps or 1)
        self.best = _Best()
        self.before = 0.0  # seconds spent by earlier, interrupted runs
        self.tokens = 0
        self.step_times: list[float] = []
        self.validation_seconds = 0.0
        self.last_save = time.monotonic()
        self.warm_start_loss: float | None = None

    @property
    def micro_rows(self) -> int:
        """Rows computed at once: the largest divisor of the batch that is not too large."""
        rows = self.config.rows
        limit = self.config.micro_rows or max(1, 65_536 // self.config.context)
        return max(n for n in range(1, min(rows, limit) + 1) if rows % n == 0)

    @property
    def compute_dtype(self) -> torch.dtype:
        return runtime.torch_dtype(self.runtime.dtype)

    @property
    def seconds(self) -> float:
        """Seconds so far, those of interrupted runs included."""
        return self.before + time.monotonic() - self.started

    # -- beginning ---------------------------------------------------------------------

    def begin(self) -> None:
        """Go on from the saved state, or start: weights, then the bigrams."""
        if self.saved is not None:
            self._restore(*self.saved)
            self.saved = None
            self.progress.message(f"carrying on from step {self.pace.step}")
            return
        generator = torch.Generator().manual_seed(self.config.seed)
        torch.manual_seed(self.config.seed)
        with torch.no_grad():
            self.model.initialise(generator)
        (self.directory / METRICS).unlink(missing_ok=True)
        if not self.config.tied and self.model.config.vocab_size <= LARGEST_VOCABULARY:
            counts = bigram_counts(self.data.split("train"), self.model.config.vocab_size)
            self.warm_start_loss = fit_bigrams(self.twin, counts, dtype=self.compute_dtype)
            self._log({"step": 0, "event": f"bigrams fitted: loss {self.warm_start_loss:.3f}"})

    def _make_model(self) -> Transformer:
        config = self.config.model(
            self.data.vocab_size,
            end_of_text=self.data.end_of_text,
            pad=self.tokenizer.pad,
        )
        model = Transformer(config).to(self.runtime.device)
        model.compute_dtype = self.compute_dtype
        write_out_attention(model, self.runtime, compiled=self.compiled)
        if self.compiled:
            compile_blocks(model)
        return model.train()

    def _restore(self, tensors: dict[str, Tensor], numbers: dict[str, Any]) -> None:
        restore(tensors, self.model, self.optimizers)
        self.scaler.load_state_dict(numbers["scaler"])
        self.batches.restore(numbers["batches"])
        self.pace = Pace(**numbers["pace"])
        self.best = _Best(**numbers["best"])
        if self.best_file.is_file():
            self.best.weights = read_tensors(self.best_file)[0]
        self.before, self.tokens = numbers["seconds"], numbers["tokens"]
        self.warm_start_loss = numbers["warm_start_loss"]
        _cut_metrics(self.directory / METRICS, self.pace.step)

    # -- the loop ----------------------------------------------------------------------

    def loop(self, interrupt: Interrupt) -> None:
        """Step until done, validating, sampling and saving on the way."""
        self._retime()
        with self.progress.task("training", total=self._known_steps, unit="steps") as task:
            while not self.pace.done:
                self._step(task)
                if self.pace.step % RETIME_EVERY == 0 or len(self.step_times) < RETIME_EVERY:
                    self._retime()
                if self._due(self.config.validation_interval, VALIDATIONS) or self.pace.done:
                    self._validate()
                if self._due(self.config.sample_interval, SAMPLES):
                    self._sample()
                if interrupt.requested:
                    self._save()
                    raise StoppedError(
                        f"stopped and saved at step {self.pace.step} of {self.pace.steps}; "
                        "run the same command again to carry on"
                    )
                if time.monotonic() - self.last_save > self.config.save_seconds:
                    self._save()
                patience = self.config.patience
                if patience and self.best.waited >= patience:
                    self._log({"step": self.pace.step, "event": "stopped early"})
                    self.progress.message(f"stopped early: no better for {patience} validations")
                    return
        if self.pace.step == 0:
            raise BudgetError(
                f"{self.config.seconds:.0f} s is too short for a single training step; "
                "allow more time"
            )

    @property
    def _known_steps(self) -> int | None:
        return self.pace.steps if self.pace.steps < UNKNOWN else None

    def _step(self, task: Task) -> None:
        """One update from one batch, in as many pieces as it takes."""
        begun = time.monotonic()
        config = self.config
        pieces = config.rows // self.micro_rows
        total = 0.0
        for _ in range(pieces):
            batch = self.batches.next().to(self.runtime.device)
            if self.pace.progress < config.short_rows:
                batch = batch.halved()
            loss, _ = self.objective(self.model, batch)
            self.scaler.scale(loss / pieces).backward()
            total += loss.item() / pieces
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is {total} at step {self.pace.step + 1}; "
                "start again with a lower --matrix-lr or --embedding-lr"
            )
        scale = rate(
            self.pace.progress, schedule=config.schedule, warmup=config.warmup, decay=config.decay
        )
        norm = self._update(scale)
        self.pace.advance()
        self.tokens += config.rows * config.context
        elapsed = time.monotonic() - begun
        self.step_times.append(elapsed)
        speed = config.rows * config.context / elapsed
        self._log(
            {
                "step": self.pace.step,
                "tokens": self.tokens,
                "seconds": round(self.seconds, 2),
                "loss": round(total, 5),
                "lr": round(scale * config.resolved_matrix_lr, 7),
                "grad_norm": round(norm, 4),
                "tokens_per_second": round(speed),
            }
        )
        held = f" · held-out {self.best.bits_per_byte:.3f} bits/byte" if self.best.weights else ""
        note = f"loss {total:.3f}{held} · {speed:,.0f} tokens/s"
        task.update(done=self.pace.step, total=self._known_steps, note=note)

    def _update(self, scale: float) -> float:
        """Clip, step every optimizer at ``scale`` of its peak rate; return the gradient norm."""
        norm = 0.0
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        limit = self.config.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit).item()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * scale
            self.scaler.step(optimizer)
        self.scaler.update()
        self.model.zero_grad(set_to_none=True)
        return norm

    def _retime(self) -> None:
        """Keep the number of steps to the time limit."""
        limit = self.config.seconds
        if not limit:
            return
        if not self.step_times:
            if not self.config.steps and self.pace.step == 0:
                self.pace.steps = UNKNOWN if limit > self.seconds else 0
            return
        # The first step of a process compiles; it is no measure.
        pace = statistics.median(self.step_times[1:][-50:] or self.step_times)
        left = limit - self.seconds - FINISH_SECONDS
        left -= self.validation_seconds * max(1, round(VALIDATIONS * (1 - self.pace.progress)))
        before = self.pace.steps
        if not self.config.steps:
            self.pace.retime(left, pace)
        elif (self.pace.steps - self.pace.step) * pace > left * SLACK:
            self.pace.retime(left, pace)
            self._log({"step": self.pace.step, "event": f"steps {before} -> {self.pace.steps}"})

    def _due(self, interval: int, times: int) -> bool:
        """Whether a periodic thing is due: by steps, or ``times`` in the run by progress."""
        return self.pace.step % interval == 0 if interval else self.pace.passed(times)

    def _validate(self) -> None:
        if self.validation is None:
            return
        begun = time.monotonic()
        loss, bits = validate(
            self.twin, self.objective, self.validation, device=self.runtime.device
        )
        self.validation_seconds = time.monotonic() - begun
        self._log(
            {
                "step": self.pace.step,
                "seconds": round(self.seconds, 2),
                "validation_loss": round(loss, 5),
                "validation_bits_per_byte": round(bits, 5),
            }
        )
        if loss < self.best.loss:
            weights = {k: v.detach().cpu().clone() for k, v in self.twin.state_dict().items()}
            self.best = _Best(loss, bits, self.pace.step, 0, weights)
        else:
            self.best.waited += 1

    def _sample(self) -> None:
        text = sample_text(self.twin, self.tokenizer, seed=self.config.seed)
        self._log({"step": self.pace.step, "sample": text})
        self.progress.message(f"  step {self.pace.step}: {' '.join(text.split())[:160]}")

    # -- saving ------------------------------------------------------------------------

    def _save(self) -> None:
        self.state_file.parent.mkdir(exist_ok=True)
        numbers = {
            "pinned": {
                "dtype": self.runtime.dtype,
                "threads": self.runtime.threads,
                "compile": self.compiled,
            },
            "pace": vars(self.pace),
            "batches": self.batches.state(),
            "best": self.best.numbers(),
            "scaler": self.scaler.state_dict(),
            "seconds": self.seconds,
            "tokens": self.tokens,
            "warm_start_loss": self.warm_start_loss,
        }
        if self.best.weights:
            write_tensors(self.best_file, self.best.weights, {})
        write_tensors(self.state_file, capture(self.twin, self.optimizers), numbers)
        self.last_save = time.monotonic()

    def finish(self) -> None:
        """Write the checkpoint from the best weights, and the curves."""
        if self.best.weights:
            self.twin.load_state_dict(self.best.weights)
        save_checkpoint(self.twin, self.directory, tokenizer=self.data.tokenizer_path)
        plot_curves(self.directory / METRICS, self.directory)

    def statistics(self) -> dict[str, Any]:
        """What the manifest says about the run."""
        speed = self.config.rows * self.config.context / statistics.median(self.step_times or [1])
        found = {
            "parameters": self.model.config.parameters,
            "steps": self.pace.step,
            "tokens": self.tokens,
            "epochs": round(self.tokens / self.data.split("train").tokens, 2),
            "seconds": round(self.seconds, 1),
            "tokens_per_second": round(speed),
            "device": self.runtime.device,
            "dtype": self.runtime.dtype,
            "threads": self.runtime.threads,
            "compiled": self.compiled,
        }
        if self.best.weights:
            found |= {
                "validation_loss": round(self.best.loss, 5),
                "validation_bits_per_byte": round(self.best.bits_per_byte, 5),
                "best_step": self.best.step,
            }
        return found

    def _log(self, entry: dict[str, Any]) -> None:
        with (self.directory / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _cut_metrics(path: Path, step: int) -> None:
    """Drop what was logged after the state was saved, and a half-written line."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue
    path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
