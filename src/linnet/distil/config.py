"""The settings of distillation."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from linnet.config import changed, option
from linnet.errors import ConfigError, ContradictionError
from linnet.finetune.config import ExamplesConfig
from linnet.train.config import LARGEST_LR, RunConfig


@dataclass(frozen=True)
class DistillationConfig(RunConfig):
    """A run that has a teacher, whatever its student is."""

    EXECUTION = (*RunConfig.EXECUTION, "micro_rows")

    steps: int = changed(
        RunConfig,
        "steps",
        0,
        help="Updates to make; 0: one pass, or as many as fit into --seconds.",
    )
    tokens: int = option(2_000_000, "Tokens of the text to read, at most.", least=1000)
    batch_tokens: int = option(4096, "Tokens per update.", group="Optimizer", least=1)
    context: int = option(256, "Tokens in a row.", least=8)
    validation_tokens: int = option(
        16_384,
        "Tokens of held-out text per validation, at most.",
        group="Validation and saving",
        least=1000,
    )
    lr: float = option(0.0, "Peak learning rate; 0: by size.", least=0, most=LARGEST_LR)
    teacher_weight: float = option(
        0.9,
        "Share of the loss that is the divergence from the teacher; the rest is of the text.",
        group="Loss",
        least=0,
        most=1,
    )
    mixing: float = option(
        0.0, "0: forward divergence, 1: reverse, between: to the mixture.", group="Loss",
        least=0, most=1,
    )  # fmt: skip
    temperature: float = option(1.0, "Of both distributions.", group="Loss", least=0.01, most=20)
    weight_decay: float = changed(RunConfig, "weight_decay", 0.0)
    schedule: Literal["wsd", "cosine"] = changed(RunConfig, "schedule", "cosine")
    warmup: float = changed(RunConfig, "warmup", 0.05)
    decay: float = changed(RunConfig, "decay", 0.2)
    validation_interval: int = changed(
        RunConfig, "validation_interval", 0,
        help="Steps between validations; 0: ten times in the run.",
    )  # fmt: skip
    micro_rows: int = option(
        0, "Rows computed at once; 0: chosen for the machine.", group="Machine", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.compile == "yes":
            raise ConfigError(
                "distillation is not compiled: every batch has texts of other lengths; "
                "leave --compile out"
            )

    @property
    def held_out_tokens(self) -> int:
        """Tokens of text that is kept back: no more than a twentieth of what is read."""
        return min(self.validation_tokens, max(1000, self.tokens // 20))

    def peak_lr(self, parameters: int) -> float:
        """The learning rate for so many parameters, where none was set: twenty times that of a full
        fine-tuning, as a damaged model has far to go."""
        return self.lr or min(2e-3, max(2e-4, 1e-3 * math.sqrt(1e8 / parameters)))


_OF_LOGITS = (
    "teacher_weight", "mixing", "own_samples", "save_logits", "width", "depth", "micro_rows",
)  # fmt: skip
_OF_TEXT = ("samples",)


@dataclass(frozen=True)
class DistilConfig(DistillationConfig, ExamplesConfig):
    """What a student learns of its teacher, and how."""

    width: int = option(
        0, "Width of a fresh student; 0: half the teacher's.", group="Student", least=0
    )
    depth: int = option(
        0, "Blocks of a fresh student; 0: as many as the teacher has.", group="Student", least=0
    )
    by: Literal["logits", "text"] = option(
        "logits",
        "Learn what the teacher expects at each place (logits), or texts that it writes (text): "
        "for a student of another vocabulary.",
    )
    own_samples: float = option(
        0.0,
        "Share of each update's rows that the student writes itself and the teacher grades.",
        group="Loss",
        least=0,
        most=1,
    )
    save_logits: int = option(
        0,
        "Make no student, but save what the teacher expects: so many tokens at each place, and all "
        "others together; 0: do not.",
        least=0,
    )
    max_tokens: int = option(
        128, "Tokens at most that are written to a prompt.", group="Sampling", least=1
    )
    samples: int = option(
        1, "text: texts that the teacher writes to each prompt.", group="Sampling", least=1, most=64
    )
    context: int = changed(DistillationConfig, "context", 256)
    temperature: float = changed(
        DistillationConfig,
        "temperature",
        1.0,
        help="Of both distributions; text: that the teacher writes at.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        others = {"logits": _OF_TEXT, "text": _OF_LOGITS}[self.by]
        for name in others:
            self.refuse(name, f"is not for --by {self.by}")
        if self.by == "logits" and self.template == "chatml":
            raise ConfigError(
                "template must be auto or none: a student has its teacher's tokens. Got chatml, "
                "which may add some"
            )
        if self.by == "logits" and not self.own_samples:
            self.refuse("max_tokens", "is for --own-samples and --by text")
        if self.own_samples and not self.teacher_weight:
            raise ContradictionError(
                "own samples are graded by the teacher alone, and --teacher-weight 0 leaves it out",
                "own_samples", "teacher_weight",
            )  # fmt: skip
        if self.save_logits:
            for name in ("teacher_weight", "mixing", "own_samples", "width", "depth", "steps",
                         "seconds", "lr"):  # fmt: skip
                self.refuse(name, "is for the runs that read saved logits, not for saving them")

    def refuse(self, name: str, why: str) -> None:
        """Raise ContradictionError where a setting is given that is of no use, and why."""
        default = next(field.default for field in dataclasses.fields(self) if field.name == name)
        value = getattr(self, name)
        if value != default:
            option = f"--{name.replace('_', '-')}"
            raise ContradictionError(f"{option} {why}. Got {value}", name)

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        unused = {"text": _OF_LOGITS, "logits": _OF_TEXT}[self.by]
        return {name: value for name, value in super().recipe().items() if name not in unused}
