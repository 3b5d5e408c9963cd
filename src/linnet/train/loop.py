"""The training loop: batches through an objective, gradients through an optimizer.

One loop for every kind of training; what differs is handed in (see
``linnet.train.pretraining`` and ``linnet.finetune``). Guarantees:

* A run that was killed goes on from its last save, and on CPU ends with the
  very weights of one that was not: position in the data, optimizer, random
  numbers, number format, threads and compilation are part of the saved state.
* Ctrl-C saves first. Only what is trained is saved.
* The weights kept are the best validated ones, as a :data:`Judge` sees it; figures that
  are not numbers are never the best, and weights that are not numbers end the run as failed.
* With a time limit, everything counts: compiling, validation, saving.
* However a batch is cut in pieces, its loss is the mean over all its trained tokens.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

import torch

from linnet.errors import BudgetError, StoppedError, TrainingError
from linnet.progress import SILENT, Progress, Task
from linnet.train.metrics import MetricsLog
from linnet.train.schedule import Pace, rate
from linnet.train.speed import at_rest
from linnet.train.state import (
    best_file,
    capture,
    damage_named,
    load_trained,
    read_numbers,
    read_tensors,
    restore,
    state_file,
    trained_tensors,
    write_tensors,
)

if TYPE_CHECKING:
    from pathlib import Path

    from linnet.model import Transformer
    from linnet.shards.batches import Batch
    from linnet.train.course import Course
    from linnet.train.interrupt import Interrupt
    from linnet.train.machine import Machine
    from linnet.train.objective import Objective

FINISH_SECONDS = 3.0  # reserved for saving and drawing the curves
FINISH_SHARE = 0.2  # of the time limit, at most
VALIDATING_SHARE = 0.3  # of the time that is left, at most, is reserved for validations
SAVING_SHARE = 0.05  # of the time, at most, goes into saving
UNFINISHED = 0.85  # of the schedule: a run that ends before it is worth a warning

Figures: TypeAlias = Mapping[str, float]
"""What a validation found, by name; ``loss`` in nats per token is always there."""
Validator: TypeAlias = Callable[["Transformer"], Figures]
Sampler: TypeAlias = Callable[["Transformer"], str]
Verdict: TypeAlias = Literal["keep", "pass", "stop"]
"""Of a validation: the best so far, not so, or so bad that training ends here."""
Judge: TypeAlias = Callable[[Figures, "Figures | None"], Verdict]
"""Compares a validation's figures with those of the best one, if there is one already."""


class Stream(Protocol):
    """An endless source of batches that can be taken up exactly."""

    def next(self) -> Batch: ...
    def state(self) -> dict[str, Any]: ...
    def restore(self, state: Mapping[str, Any]) -> None: ...


def lower_loss(figures: Figures, best: Figures | None) -> Verdict:
    """The usual judge."""
    return "keep" if best is None or figures["loss"] < best["loss"] else "pass"


class Loop:
    """One run in progress: what it computes with, where it stands, what it has seen."""

    def __init__(
        self,
        directory: Path,
        course: Course,
        *,
        machine: Machine,
        model: Transformer,
        stream: Stream,
        objective: Objective,
        optimizers: Sequence[torch.optim.Optimizer],
        validators: Sequence[Validator] = (),
        judge: Judge = lower_loss,
        sampler: Sampler | None = None,
        progress: Progress = SILENT,
        started: float,
    ) -> None:
        self.directory, self.course, self.machine = directory, course, machine
        self.model, self.stream, self.objective = model, stream, objective
        self.optimizers, self.validators, self.judge = optimizers, validators, judge
        self.sampler, self.progress, self.started = sampler, progress, started
        self.parameters = list(trained_tensors(model).values())
        self.scaler = torch.amp.GradScaler("cuda", enabled=machine.runtime.dtype == "fp16")
        self.log = MetricsLog(directory)
        self.state_file, self.best_file = state_file(directory), best_file(directory)
        self.pace = Pace(course.steps)
        self.first: Figures | None = None
        self.best: Figures | None = None
        self.best_step = 0
        self.waited = 0  # validations since the best
        self.stopped = False
        self.before = 0.0  # seconds spent by earlier, interrupted runs
        self.tokens = 0
        self.trained = 0
        self.notes: dict[str, Any] = {}  # what the caller wants to find again after resuming
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
        if not self.state_file.is_file():
            self.log.clear()
            return False
        numbers = read_numbers(self.state_file)
        with damage_named(self.state_file):
            restore(self.state_file, self.model, self.optimizers)
            self.scaler.load_state_dict(numbers["scaler"])
            self.stream.restore(numbers["stream"])
            self.pace = Pace(**numbers["pace"])
            self.shortened = self.pace.shortened(self._left())
            self.first, self.best = numbers["first"], numbers["best"]
            self.best_step, self.waited = numbers["best_step"], numbers["waited"]
            self.stopped, self.notes = numbers["stopped"], numbers["notes"]
            self.before = numbers["seconds"]
            self.tokens, self.trained = numbers["tokens"], numbers["trained"]
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
        if self.course.validate_first and self.pace.step == 0 and self.first is None:
            self._validate()
        # How many steps there is time for is known at the end alone; how far the run is, always.
        total, unit = (self._total, "steps") if self.course.steps else (100, "%")
        with self.progress.task("training", total=total, unit=unit) as task:
            while not (self.pace.done or self.stopped) and self.pace.fits(self._left()):
                self._step(task)
                if not self.pace.fits(self._left()):
                    self.pace.end()
                if self._validation_is_due():
                    self._validate()
                if self._due(self.course.sample_interval, self.course.samples):
                    self._sample()
                if interrupt.requested:
                    self._save()
                    raise StoppedError(
                        f"stopped and saved at step {self.pace.step}"
                        f"{f' of {self._total}' if self._total else ''}; "
                        "run the same command again to carry on"
                    )
                pause = max(self.course.save_seconds, self.save_seconds / SAVING_SHARE)
                if time.monotonic() - self.last_save > pause:
                    self._save()
        if self.pace.step == 0:
            raise BudgetError(
                f"{self.course.seconds:.0f} s is too short for a single training step; "
                f"allow more time{', or use --compile no' if self.machine.compiled else ''}"
            )
        if self.best is None:  # the time ran out between the last step and its validation
            self._validate()
        self._require_finite_weights()
        if self.best is None and self.validators:
            raise TrainingError(
                f"after step {self.pace.step} the validation loss is no number; "
                f"{self.course.remedy}"
            )
        if self.course.seconds and not self.stopped and self.reached < UNFINISHED:
            self._warn_unfinished()

    def _left(self) -> float | None:
        """Seconds left for training: without those that validations and the end need."""
        limit = self.course.seconds
        if not limit:
            return None
        left = limit - self.seconds - min(FINISH_SECONDS, FINISH_SHARE * limit)
        return left - self.validation_seconds * self._validations_ahead(left)

    def _validations_ahead(self, left: float) -> int:
        """Validations that are still to come: as planned, or as many as there is time for."""
        if not self.validation_seconds:
            return 0
        if self.course.validation_interval:
            usual = self.pace.usual or left
            planned = math.ceil(left / max(usual, 1e-9) / self.course.validation_interval)
        else:
            planned = round(self.course.validations * (1 - self.pace.progress))
        return max(1, min(planned, self._affordable_validations(left)))

    def _affordable_validations(self, left: float) -> int:
        return int(VALIDATING_SHARE * max(0.0, left) / self.validation_seconds)

    def _validation_is_due(self) -> bool:
        """At the end, and before it when its time has come and leaves enough for the rest."""
        if self.pace.done:
            return True
        if not self._due(self.course.validation_interval, self.course.validations):
            return False
        limit = self.course.seconds
        if not limit or not self.validation_seconds:
            return True
        if self._affordable_validations(limit - self.seconds) > 1:
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
        course = self.course
        batch = self.stream.next()
        self.reached = self.pace.middle(self._left())
        loss = self._gradients(batch)
        scale = rate(
            self.reached, schedule=course.schedule, warmup=course.warmup, decay=course.decay
        )
        norm = self._update(scale)
        elapsed = time.monotonic() - begun
        left = self._left()
        self.pace.advance(elapsed, left, compiled=self.machine.compiled)
        self._tell_shortened(left)
        count = batch.tokens.numel()
        self.tokens += count
        self.trained += batch.trained
        self.log.write(
            {
                "step": self.pace.step,
                "tokens": self.tokens,
                "seconds": round(self.seconds, 2),
                "loss": round(loss, 5),
                "lr": float(f"{scale * course.peak_lr:.4g}"),
                "grad_norm": round(norm, 4),
                "tokens_per_second": round(count / elapsed),
            }
        )
        note = f"loss {loss:.3f}{self._held_out_note()} · {count / elapsed:,.0f} tokens/s"
        if self.course.steps:
            task.update(done=self.pace.step, total=self._total, note=note)
        else:
            done = 100 * self.pace.progress
            task.update(done=done, note=f"step {self.pace.step:,} · {note}")

    def _tell_shortened(self, left: float | None) -> None:
        """Log when the time turns out too short for the steps, and when it suffices again."""
        shortened = self.pace.shortened(left)
        if shortened != self.shortened:
            self.shortened = shortened
            steps = self.course.steps
            self._event(f"steps {steps} -> {self._total}" if shortened else f"steps {steps} again")

    def _held_out_note(self) -> str:
        if self.best is None:
            return ""
        if "bits_per_byte" in self.best:
            return f" · held-out {self.best['bits_per_byte']:.3f} bits/byte"
        return f" · held-out loss {self.best['loss']:.3f}"

    def _gradients(self, batch: Batch) -> float:
        """Add the batch's gradients up, piece by piece; return its loss."""
        whole = batch.trained
        total = 0.0
        for piece in batch.split(self.course.micro_rows):
            share = piece.trained / max(1, whole)
            if not share:
                continue
            piece = piece.to(self.machine.runtime.device)
            if self.pace.progress < self.course.short_rows:
                piece = piece.folded(self.course.short_length)
            loss, _ = self.objective(self.model, piece)
            self.scaler.scale(loss * share).backward()
            total += loss.item() * share
        self._require_finite(total, "the loss")
        return total

    def _require_finite(self, value: float, what: str) -> None:
        if not math.isfinite(value):
            raise TrainingError(
                f"{what} is {value} at step {self.pace.step + 1}; {self.course.remedy}"
            )

    def _require_finite_weights(self) -> None:
        """Raise TrainingError when a weight is not a number: nothing good comes of it any more."""
        for name, value in trained_tensors(self.model).items():
            if not bool(torch.isfinite(value).all()):
                raise TrainingError(
                    f"after step {self.pace.step} weights are no longer numbers ({name}); "
                    f"{self.course.remedy}"
                )

    def _update(self, scale: float) -> float:
        """Clip, step every optimizer at ``scale`` of its peak rate; return the gradient norm."""
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        limit = self.course.clip or math.inf
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
        with at_rest(self.model, compiled=self.machine.compiled), torch.no_grad():
            for validator in self.validators:
                figures |= validator(self.model)
        self.validation_seconds = time.monotonic() - begun
        self.first = self.first or figures
        shown = {f"validation_{name}": round(value, 5) for name, value in figures.items()}
        self.log.write({"step": self.pace.step, "seconds": round(self.seconds, 2), **shown})
        if all(math.isfinite(value) for value in figures.values()):
            verdict = self.judge(figures, self.best)
        else:
            self._require_finite_weights()
            verdict = "pass"
        if verdict == "keep":
            self.best, self.best_step, self.waited = figures, self.pace.step, 0
            numbers = {"figures": figures, "step": self.best_step}
            write_tensors(self.best_file, trained_tensors(self.model), numbers)
            return
        self.waited += 1
        if verdict == "stop":
            self._stop("stopped: the limit on forgetting was passed")
        elif self.course.patience and self.waited >= self.course.patience:
            self._stop(f"stopped early: no better for {self.waited} validations")

    def _stop(self, reason: str) -> None:
        self.stopped = True
        self._event(reason)
        self.progress.message(reason)

    def _sample(self) -> None:
        if self.sampler is None:
            return
        with at_rest(self.model, compiled=self.machine.compiled), torch.inference_mode():
            text = self.sampler(self.model)
        self.log.write({"step": self.pace.step, "sample": text})
        self.progress.message(f"  step {self.pace.step}: {' '.join(text.split())[:160]}")

    def _event(self, text: str) -> None:
        self.log.write({"step": self.pace.step, "event": text})

    # -- saving ------------------------------------------------------------------------

    def _save(self) -> None:
        begun = time.monotonic()
        numbers = {
            "pinned": self.machine.pinned(),
            "pace": self.pace.state(),
            "stream": self.stream.state(),
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
        write_tensors(self.state_file, capture(self.model, self.optimizers), numbers)
        self.last_save = time.monotonic()
        self.save_seconds = self.last_save - begun

    def keep_best(self) -> None:
        """Put the best validated weights into the model."""
        if self.best is None:
            return
        # After a kill the file may be ahead of the saved state; what it holds is what counts.
        numbers = read_numbers(self.best_file)
        with damage_named(self.best_file):
            self.best, self.best_step = numbers["figures"], numbers["step"]
            load_trained(self.model, dict(read_tensors(self.best_file)))

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
