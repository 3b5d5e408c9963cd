"""The training loop: batches through an objective, gradients through an optimizer.

One loop for every kind of training; what differs is handed in (see
``linnet.train.pretraining`` and ``linnet.finetune``). Guarantees:

* A run that was killed goes on from its last save, and on CPU ends with the
  very weights of one that was not: position in the data, optimizer, random
  numbers, number format, threads and compilation are part of the saved state.
* Ctrl-C saves first. Only what is trained is saved, with what the objective owns and
  what the stream keeps.
* The weights kept are the best validated ones, as a :data:`Judge` sees it, with what the
  objective owned then; figures that
  are not numbers are never the best, and weights that are not numbers end the run as failed.
* With a time limit, everything counts: compiling, validation, saving.
* However a batch is cut in pieces, its loss is their sums over all their weights.
* What several processes must decide together is asked of a :class:`World`; one of them writes.
  Each computes a part of every batch, and validations whole.
* Every forward pass goes through the call of one module, which may be distributed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import torch
from torch import nn

from linnet.errors import BudgetError, StoppedError, TrainingError
from linnet.progress import SILENT, Progress, Task
from linnet.train.distributed import SingleProcess, World
from linnet.train.metrics import MetricsLog
from linnet.train.objectives import Totals, TrainingStep, add_up
from linnet.train.schedule import Pace, rate
from linnet.train.state import (
    best_file,
    best_tensors,
    capture,
    damage_named,
    load_best,
    put_tensors,
    read_numbers,
    read_tensors,
    restore,
    state_file,
    take_tensors,
    trained_tensors,
    write_tensors,
)
from linnet.train.stream import Context

if TYPE_CHECKING:
    from pathlib import Path

    from linnet.model import Transformer
    from linnet.shards.batches import Batch
    from linnet.train.config import RunConfig
    from linnet.train.distributed import Interrupt
    from linnet.train.machine import Machine
    from linnet.train.objectives import Loss, Objective
    from linnet.train.stream import Stream

FINISH_SECONDS = 3.0  # reserved for saving and drawing the curves
FINISH_SHARE = 0.2  # of the time limit, at most
VALIDATING_SHARE = 0.3  # of the time that is left, at most, is reserved for validations
SAVING_SHARE = 0.05  # of the time, at most, goes into saving
SHOWN_METRICS = 3  # of an objective's, beside its loss; all are logged
SAMPLES = 4  # in a run, where no interval is set
UNFINISHED = 0.85  # of the schedule: a run that ends before it is worth a warning
_REMEDY_AT_FIRST = (
    "nothing was changed yet, so the model that it begins with, or learns from, is damaged or has "
    "numbers too large for what it is computed in; get another copy, or try --dtype fp32"
)

Figures: TypeAlias = Mapping[str, float]
"""What a validation found, by name; ``loss`` in nats per token is always there."""
Validator: TypeAlias = Callable[["Transformer"], Figures]
Sampler: TypeAlias = Callable[["Transformer"], str]


@dataclass(frozen=True)
class Verdict:
    """Of a validation: the best so far, not so, or such that training ends here, and why."""

    decision: Literal["keep", "pass", "stop"]
    reason: str = ""
    counts: bool = True
    """Towards ``patience``: not, where it is no worse than the best by more than chance."""


Judge: TypeAlias = Callable[[Figures, "Figures | None"], Verdict]
"""Compares a validation's figures with those of the best one, if there is one already."""


def lower_loss(figures: Figures, best: Figures | None) -> Verdict:
    """The usual judge."""
    return Verdict("keep" if best is None or figures["loss"] < best["loss"] else "pass")


class Loop:
    """One run in progress: what it computes with, where it stands, what it has seen.

    ``micro_units``: units of a batch (rows, pairs) computed at once. ``validations``: in a
    run where no interval is set; with ``validate_first`` the untrained model is validated
    too, and may be the best. ``remedy``: what to do when the loss is no longer a number.
    ``notes``: what validators and judge want to find again after resuming. The first
    parameter group's ``peak_lr`` is the one that the log shows.
    """

    def __init__(
        self,
        directory: Path,
        config: RunConfig,
        *,
        machine: Machine,
        model: Transformer,
        stream: Stream,
        objective: Objective,
        optimizers: Sequence[torch.optim.Optimizer],
        micro_units: int,
        validators: Sequence[Validator] = (),
        validations: int = 5,
        validate_first: bool = False,
        judge: Judge = lower_loss,
        sampler: Sampler | None = None,
        notes: dict[str, Any] | None = None,
        remedy: str = "",
        world: World | None = None,
        progress: Progress = SILENT,
        started: float,
    ) -> None:
        self.directory, self.config, self.machine = directory, config, machine
        self.model, self.stream, self.optimizers = model, stream, optimizers
        self.world = world or SingleProcess()
        self.writes = self.world.rank == 0
        self.owned = objective if isinstance(objective, nn.Module) else None
        self.step_module: nn.Module = TrainingStep(model, objective)
        self.micro_units, self.validations = micro_units, validations
        self.validators, self.validate_first, self.judge = validators, validate_first, judge
        self.sampler, self.remedy = sampler, remedy
        self.progress, self.started = progress if self.writes else SILENT, started
        self.parameters = list(trained_tensors(model).values())
        if self.owned is not None:
            self.parameters += trained_tensors(self.owned).values()
        self.scaler = torch.amp.GradScaler("cuda", enabled=machine.runtime.dtype == "fp16")
        self.log = MetricsLog(directory)
        self.state_file, self.best_file = state_file(directory), best_file(directory)
        self.pace = Pace(config.steps)
        self.first: Figures | None = None
        self.best: Figures | None = None
        self.best_step = 0
        self.waited = 0  # validations since the best that count
        self.stopped = False
        self.before = 0.0  # seconds spent by earlier, interrupted runs
        self.tokens = 0
        self.trained = 0
        self.notes: dict[str, Any] = {} if notes is None else notes
        self.reached = 0.0  # of the schedule, in the middle of the last step
        self.shortened = False
        self.validation_seconds = 0.0
        self.save_seconds = 0.0
        self.last_save = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far, those of interrupted runs included."""
        return self.before + time.monotonic() - self.started

    def resume(self) -> bool:
        """Go on from the saved state; False when there is none."""
        # Rank 0 says, once it has written what an earlier run on these processes saved.
        if not self.world.broadcast(self.state_file.is_file()):
            if self.writes:
                self.log.clear()
            return False
        numbers = read_numbers(self.state_file)
        with damage_named(self.state_file):
            tensors = restore(self.state_file, self.model, self.optimizers, self.owned)
            self.scaler.load_state_dict(numbers["scaler"])
            self.stream.restore(put_tensors(numbers["stream"], tensors))
            self.pace = Pace(**numbers["pace"])
            self.shortened = self.pace.shortened(self._left())
            self.first, self.best = numbers["first"], numbers["best"]
            self.best_step, self.waited = numbers["best_step"], numbers["waited"]
            self.stopped = numbers["stopped"]
            self.notes.update(numbers["notes"])
            self.before = numbers["seconds"]
            self.tokens, self.trained = numbers["tokens"], numbers["trained"]
        if self.writes:
            self.log.cut(self.pace.step)
        self.progress.message(f"carrying on from step {self.pace.step}")
        return True

    # -- the loop ----------------------------------------------------------------------

    def run(self, interrupt: Interrupt) -> None:
        """Step until done, validating, sampling and saving on the way.

        Raises BudgetError when the time limit leaves no room for a step,
        StoppedError after Ctrl-C, TrainingError when the loss or the weights are no
        longer numbers, or no validation gave a number.
        """
        # Only here: a warm start and resuming have changed weights past the module's call.
        self.step_module = self.world.wrap(self.step_module)
        if self.validate_first and self.pace.step == 0 and self.first is None:
            self._validate()
        # How many steps there is time for is known at the end alone; how far the run is, always.
        total, unit = (self._total, "steps") if self.config.steps else (100, "%")
        with self.progress.task("training", total=total, unit=unit) as task:
            while not (self.pace.done or self.stopped) and self.pace.fits(self._left()):
                self._step(task)
                if not self.pace.fits(self._left()):
                    self.pace.end()
                if self._validation_is_due():
                    self._validate()
                if self._due(self.config.sample_interval, SAMPLES):
                    self._sample()
                if self.world.any(interrupt.requested):
                    self._save()
                    raise StoppedError(
                        f"stopped and saved at step {self.pace.step}"
                        f"{f' of {self._total}' if self._total else ''}; "
                        "run the same command again to carry on"
                    )
                pause = max(self.config.save_seconds, self.save_seconds / SAVING_SHARE)
                if self.world.broadcast(time.monotonic() - self.last_save > pause):
                    self._save()
        if self.pace.step == 0:
            raise BudgetError(
                f"{self.config.seconds:.0f} s is too short for a single training step; "
                f"allow more time{', or use --compile no' if self.machine.compiled else ''}"
            )
        if self.best is None:  # the time ran out between the last step and its validation
            self._validate()
        self._require_finite_weights()
        if self.best is None and self.validators:
            raise TrainingError(
                f"after step {self.pace.step} the validation loss is no number; {self.remedy}"
            )
        if self.config.seconds and not self.stopped and self.reached < UNFINISHED:
            self._warn_unfinished()

    def _left(self) -> float | None:
        """Seconds left for training: without those that validations and the end need."""
        limit = self.config.seconds
        if not limit:
            return None
        spent = self.world.broadcast(self.seconds)
        left = limit - spent - min(FINISH_SECONDS, FINISH_SHARE * limit)
        return left - self.validation_seconds * self._validations_ahead(left)

    def _validations_ahead(self, left: float) -> int:
        """Validations that are still to come: as planned, or as many as there is time for."""
        if not self.validation_seconds:
            return 0
        if self.config.validation_interval:
            usual = self.pace.usual or left
            planned = math.ceil(left / max(usual, 1e-9) / self.config.validation_interval)
        else:
            planned = round(self.validations * (1 - self.pace.progress))
        return max(1, min(planned, self._affordable_validations(left)))

    def _affordable_validations(self, left: float) -> int:
        return int(VALIDATING_SHARE * max(0.0, left) / self.validation_seconds)

    def _validation_is_due(self) -> bool:
        """At the end, and before it when its time has come and leaves enough for the rest."""
        if self.pace.done:
            return True
        if not self._due(self.config.validation_interval, self.validations):
            return False
        limit = self.config.seconds
        if not limit or not self.validation_seconds:
            return True
        if self._affordable_validations(limit - self.world.broadcast(self.seconds)) > 1:
            return True
        self._event(f"not validated: it takes {self.validation_seconds:.1f} s")
        return False

    def _warn_unfinished(self) -> None:
        text = (
            f"the time was up after {self.reached:.0%} of the learning-rate schedule; "
            "more --seconds make a better model"
        )
        self._event(text)
        self.progress.warn(text)

    @property
    def _total(self) -> int | None:
        return self.pace.expected_steps(self._left())

    def _step(self, task: Task) -> None:
        """One update from one batch, in as many pieces as it takes."""
        begun = time.monotonic()
        config = self.config
        batch = self.stream.next(self._context()).part(self.world.rank, of=self.world.size)
        self.reached = self.pace.middle(self._left())
        found = self._gradients(batch)
        scale = rate(
            self.reached, schedule=config.schedule, warmup=config.warmup, decay=config.decay
        )
        norm = self._update(scale)
        elapsed = self.world.broadcast(time.monotonic() - begun)
        left = self._left()
        self.pace.advance(elapsed, left, compiled=self.machine.compiled)
        self._tell_shortened(left)
        read = self.world.sum({"tokens": batch.tokens.numel(), "trained": batch.trained})
        tokens = read["tokens"]
        self.tokens += int(tokens)
        self.trained += int(read["trained"])
        peak = self.optimizers[0].param_groups[0]["peak_lr"]
        entry = {
            "step": self.pace.step,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 2),
            "loss": round(found.mean, 5),
            "lr": float(f"{scale * peak:.4g}"),
            "grad_norm": round(norm, 4),
            "tokens_per_second": round(tokens / elapsed),
        }
        if taken := entry.keys() & found.metrics.keys():
            raise ValueError(f"a metric of the objective has a name of the log's: {min(taken)}")
        metrics = {name: round(value, 5) for name, value in found.metrics.items()}
        self.record({**entry, **metrics})
        shown = "".join(f" · {k} {v:.3g}" for k, v in [*metrics.items()][:SHOWN_METRICS])
        speed = f"{tokens / elapsed:,.0f} tokens/s"
        note = f"loss {found.mean:.3f}{shown}{self._held_out_note()} · {speed}"
        if self.config.steps:
            task.update(done=self.pace.step, total=self._total, note=note)
        else:
            done = 100 * self.pace.progress
            task.update(done=done, note=f"step {self.pace.step:,} · {note}")

    def _context(self) -> Context:
        return Context(
            self.model,
            self.pace.step,
            self.pace.progress,
            compiled=self.machine.compiled,
            step_module=self.step_module,
        )

    def _tell_shortened(self, left: float | None) -> None:
        """Log when the time turns out too short for the steps, and when it suffices again."""
        shortened = self.pace.shortened(left)
        if shortened != self.shortened:
            self.shortened = shortened
            steps = self.config.steps
            self._event(f"steps {steps} -> {self._total}" if shortened else f"steps {steps} again")

    def _held_out_note(self) -> str:
        if self.best is None:
            return ""
        if "bits_per_byte" in self.best:
            return f" · held-out {self.best['bits_per_byte']:.3f} bits/byte"
        if "reward" in self.best:  # of which the loss is the negative
            return f" · held-out reward {self.best['reward']:.3f}"
        return f" · held-out loss {self.best['loss']:.3f}"

    def _gradients(self, batch: Batch) -> Totals:
        """Add the batch's gradients up, piece by piece; return its loss and metrics."""
        # Gradients are divided by what the batch says of its weight, which keeps them within
        # the range of fp16, and in the end by what the objective said where that differs.
        expected = self.world.sum({"": batch.trained or batch.units})[""]
        losses = []
        pieces = batch.split(self.micro_units)
        for number, piece in enumerate(pieces, 1):
            last = number == len(pieces)
            with self.world.accumulate(self.step_module, last=last):
                loss: Loss = self.step_module(piece.to(self.machine.runtime.device))
                total = loss.sum
                if last and self.world.size > 1 and not total.requires_grad:
                    # Nothing counts here, but the other ranks wait for this one's gradients.
                    total = total + sum(0.0 * parameter.sum() for parameter in self.parameters)
                if total.requires_grad:
                    self.scaler.scale(total / (expected / self.world.size)).backward()
            losses.append(loss.detached())
        found = add_up(losses, self.world)
        self._require_finite(found.mean, "the loss")
        if found.weight and found.weight != expected:
            for parameter in self.parameters:
                if parameter.grad is not None:
                    parameter.grad *= expected / found.weight
        return found

    def _require_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            # Before the first update no learning rate can be why.
            remedy = self.remedy if self.pace.step else _REMEDY_AT_FIRST
            raise TrainingError(f"{what} is {value} at step {self.pace.step + 1}; {remedy}")

    def _require_finite_weights(self) -> None:
        """Raise TrainingError when a weight is not a number: nothing good comes of it any more."""
        for name, value in trained_tensors(self.model).items():
            if not bool(torch.isfinite(value).all()):
                raise TrainingError(
                    f"after step {self.pace.step} weights are no longer numbers ({name}); "
                    f"{self.remedy}"
                )

    def _update(self, scale: float) -> float:
        """Clip, step every optimizer at ``scale`` of its peak rate; return the gradient norm."""
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        limit = self.config.clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit).item()
        if not self.scaler.is_enabled():  # which leaves such steps out, and scales less
            self._require_finite(norm, "the gradient")
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * scale
            self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        return norm

    def _due(self, interval: int, times: int) -> bool:
        """Whether a periodic thing is due: by steps, or ``times`` in the run by progress."""
        return self.pace.step % interval == 0 if interval else self.pace.passed(times)

    def _validate(self) -> None:
        if not self.validators:
            return
        begun = time.monotonic()
        figures: dict[str, float] = {}
        for validator in self.validators:
            figures |= self._context().evaluate(validator)
        self.validation_seconds = self.world.broadcast(time.monotonic() - begun)
        figures = {name: self.world.broadcast(value) for name, value in figures.items()}
        self.first = self.first or figures
        shown = {f"validation_{name}": round(value, 5) for name, value in figures.items()}
        self.record({"step": self.pace.step, "seconds": round(self.seconds, 2), **shown})
        if all(math.isfinite(value) for value in figures.values()):
            verdict = self.judge(figures, self.best)
        else:
            self._require_finite_weights()
            verdict = Verdict("pass")
        if verdict.decision == "keep":
            self.best, self.best_step, self.waited = figures, self.pace.step, 0
            numbers = {"figures": figures, "step": self.best_step}
            if self.writes:
                write_tensors(self.best_file, best_tensors(self.model, self.owned), numbers)
            return
        self.waited += verdict.counts
        if verdict.decision == "stop":
            self._stop(f"stopped: {verdict.reason}")
        elif self.config.patience and self.waited >= self.config.patience:
            self._stop(f"stopped early: no better for {self.waited} validations")

    def _stop(self, reason: str) -> None:
        self.stopped = True
        self._event(reason)
        self.progress.message(reason)

    def _sample(self) -> None:
        if self.sampler is None:
            return
        text = self._context().evaluate(self.sampler)
        self.record({"step": self.pace.step, "sample": text})
        self.progress.message(f"  step {self.pace.step}: {' '.join(text.split())[:160]}")

    def _event(self, text: str) -> None:
        self.record({"step": self.pace.step, "event": text})

    def record(self, entry: dict[str, Any]) -> None:
        """Write a line of ``metrics.jsonl``."""
        if self.writes:
            self.log.write(entry)

    # -- saving ------------------------------------------------------------------------

    def _save(self) -> None:
        self.last_save = begun = time.monotonic()
        if not self.writes:
            return
        tensors = capture(self.model, self.optimizers, self.owned)
        numbers = {
            "pinned": self.machine.pinned(),
            "pace": self.pace.state(),
            "stream": take_tensors(self.stream.state(), tensors, "stream"),
            "first": self.first,
            "best": self.best,
            "best_step": self.best_step,
            "waited": self.waited,
            "stopped": self.stopped,
            "scaler": self.scaler.state_dict(),
            "seconds": self.seconds,
            "tokens": self.tokens,
            "trained": self.trained,
            "notes": self.notes,
        }
        write_tensors(self.state_file, tensors, numbers)
        self.last_save = time.monotonic()
        self.save_seconds = self.last_save - begun

    def keep_best(self) -> None:
        """Put the best validated weights into the model, and into the objective what it owns."""
        # Asked of all ranks: rank 0 answers when it has written the file.
        if not self.world.any(self.best is not None):
            return
        # After a kill the file may be ahead of the saved state; what it holds is what counts.
        numbers = read_numbers(self.best_file)
        with damage_named(self.best_file):
            self.best, self.best_step = numbers["figures"], numbers["step"]
            load_best(dict(read_tensors(self.best_file)), self.model, self.owned)

    def statistics(self) -> dict[str, Any]:
        """What the manifest says about the run."""
        per_step = self.tokens / max(1, self.pace.step)
        found = {
            "steps": self.pace.step,
            "tokens": self.tokens,
            "seconds": round(self.seconds, 1),
            "tokens_per_second": round(per_step / (self.pace.usual or self.pace.first or 1.0)),
            "device": self.machine.runtime.device,
            "dtype": self.machine.runtime.dtype,
            "threads": self.machine.runtime.threads,
            "compiled": self.machine.compiled,
        }
        if self.best is not None:
            found |= {f"validation_{name}": round(v, 5) for name, v in self.best.items()}
            found["best_step"] = self.best_step
        return found
