"""The settings of a fine-tuning run."""

from __future__ import annotations

import dataclasses
import difflib
import math
from dataclasses import dataclass
from typing import Any, Literal

from linnet.config import Config, changed, option
from linnet.errors import ConfigError
from linnet.finetune import row_schema
from linnet.model.lora_config import ALL_LINEAR, LoRAConfig
from linnet.train.config import LARGEST_LR, RunConfig, TrainingConfig

LEAST_HELD_OUT = 8  # rows
MOST_HELD_OUT = 500  # rows of a source


@dataclass(frozen=True)
class ExamplesConfig(Config):
    """Which examples to make of which rows."""

    context: int = option(
        1024, "Longest example, in tokens; no more than the model's context.", least=2
    )
    train_on: Literal["completion", "all"] = option(
        "completion",
        "What the loss is taken over: what is answered, or prompts as well.",
        group="Examples",
    )
    template: Literal["auto", "chatml", "none"] = option(
        "auto",
        "Prompts by the model's chat template where it has one (auto), by ChatML where it has none "
        "(chatml), or as plain text (none).",
        group="Examples",
    )
    too_long: Literal["cut", "drop"] = option(
        "cut",
        "An example longer than the context: cut it into several, all answers kept to their end, "
        "or leave it out.",
        group="Examples",
    )
    book: Literal["closed", "open"] = option(
        "closed",
        "Of linnet examples: the question alone (closed), or with the passage before it (open).",
        group="Examples",
    )
    columns: tuple[str, ...] = option(
        (), "A column by another name, such as question=prompt.", group="Examples"
    )
    validation: str = option("", "File of held-out rows; empty: a share of the others.")
    held_out: float = option(
        0.05,
        "Share of the prompts to hold out for validation, up to "
        f"{MOST_HELD_OUT} rows; of few, more.",
        group="Examples",
        least=0,
        below=1,
    )
    seed: int = option(1, "Seed of the order.", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for ours in self.column_names().values():
            if ours not in row_schema.COLUMNS:
                near = difflib.get_close_matches(ours, row_schema.COLUMNS, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ConfigError(
                    f"columns: expected one of {', '.join(row_schema.COLUMNS)}. Got '{ours}'{hint}"
                )

    def column_names(self) -> dict[str, str]:
        """``columns`` as a mapping from the name in the file to ours."""
        pairs = [pair.partition("=") for pair in self.columns]
        for wrong in (pair for pair in pairs if not (pair[0].strip() and pair[2].strip())):
            raise ConfigError(
                f"a column is given as NAME_IN_FILE=NAME, such as question=prompt. "
                f"Got '{''.join(wrong)}'"
            )
        return {theirs.strip(): ours.strip() for theirs, _, ours in pairs}


@dataclass(frozen=True)
class WatchConfig(Config):
    """How a run watches over what the model knew before."""

    general: str = option(
        "",
        "General text to watch, and to replay: text, corpus, shards or rows; "
        "empty: what the base was trained on, or writes.",
        group="Forgetting",
    )
    general_tokens: int = option(
        8192,
        "Tokens of general text per validation, at most; fewer in a short run; "
        "0: forgetting is not measured.",
        group="Forgetting",
        least=0,
    )
    max_forgetting: float = option(
        0.0,
        "Largest rise on general text to keep, in bits per byte; 0: no limit.",
        group="Forgetting",
        least=0,
    )
    forgetting_patience: int = option(
        2,
        "Stop after so many validations in a row beyond --max-forgetting.",
        group="Forgetting",
        least=1,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_forgetting and not self.general_tokens:
            raise ConfigError(
                "max_forgetting needs forgetting to be measured: set general_tokens above 0"
            )


@dataclass(frozen=True)
class ForgettingConfig(WatchConfig):
    """And how it keeps the model from forgetting."""

    replay: float = option(
        0.0,
        "Share of the trained tokens that replay general text.",
        group="Forgetting",
        least=0,
        below=1,
    )
    replay_tokens: int = option(
        50_000,
        "Different tokens to replay, at most; without general text the base writes them.",
        group="Forgetting",
        least=0,
    )
    sweep: bool = option(
        True,
        "Afterwards, try weaker and stronger changes and draw what each gains and forgets.",
        group="Forgetting",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replay and not self.replay_tokens:
            raise ConfigError("replay needs tokens to replay: set replay_tokens above 0")


@dataclass(frozen=True)
class AdapterConfig(Config):
    """The matrices that LoRA adds."""

    rank: int = option(16, "LoRA: rank of the added matrices.", group="LoRA", least=1)
    alpha: float = option(
        0.0, "LoRA: scale, as alpha / rank; 0: twice the rank.", group="LoRA", least=0
    )
    rslora: bool = option(
        False, "LoRA: scale by alpha / sqrt(rank) (arXiv:2312.03732).", group="LoRA"
    )
    lora_dropout: float = option(
        0.0, "LoRA: share of its inputs dropped in training.", group="LoRA", least=0, below=1
    )
    targets: tuple[str, ...] = option(
        (),
        "LoRA: layers to adapt, by published name (q_proj, c_attn, ...); none: all linear ones.",
        group="LoRA",
    )

    @property
    def scale(self) -> float:
        """LoRA's alpha, where none was set."""
        return self.alpha or 2.0 * self.rank

    def lora(self) -> LoRAConfig:
        """The adapter that the settings ask for."""
        return LoRAConfig(
            rank=self.rank,
            alpha=self.scale,
            rslora=self.rslora,
            dropout=self.lora_dropout,
            targets=self.targets or (ALL_LINEAR,),
        )

    @staticmethod
    def unused_by_full(option: str) -> dict[str, str]:
        """For :meth:`unused`, where all weights are trained: the settings of an adapter, which are
        for ``option``, such as ``--method lora``."""
        return {f.name: f"is for {option}" for f in dataclasses.fields(AdapterConfig)}


@dataclass(frozen=True)
class AdaptingConfig(RunConfig):
    """What all training of a model that was trained before has in common."""

    EXECUTION = (*RunConfig.EXECUTION, "micro_tokens", "checkpoint_activations")

    steps: int = changed(
        RunConfig,
        "steps",
        0,
        help="Updates to make; 0: by --epochs, or as many as fit into --seconds.",
    )
    lr: float = option(0.0, "Peak learning rate; 0: by size and method.", least=0, most=LARGEST_LR)
    weight_decay: float = changed(
        RunConfig, "weight_decay", 0.0, help="Pull of the trained matrices towards zero."
    )
    schedule: Literal["wsd", "cosine"] = changed(RunConfig, "schedule", "cosine", group="Optimizer")
    decay: float = changed(RunConfig, "decay", 0.2, group="Optimizer")
    validation_interval: int = changed(
        RunConfig,
        "validation_interval",
        0,
        help="Steps between validations; 0: ten times in the run.",
    )
    patience: int = changed(RunConfig, "patience", 3)
    micro_tokens: int = option(
        0, "Tokens computed at once; 0: chosen for the machine.", group="Machine", least=0
    )
    checkpoint_activations: Literal["auto", "yes", "no"] = option(
        "auto",
        "Compute blocks again instead of keeping what they computed: less memory, slower.",
        group="Machine",
    )


@dataclass(frozen=True)
class MethodConfig(AdaptingConfig, AdapterConfig):
    """What of a model is trained, and how far."""

    method: Literal["lora", "full"] = option(
        "lora", "Train small matrices beside the weights (lora), or all weights (full)."
    )
    epochs: float = option(
        0.0, "Times to read the examples; 0: by their number, at least three times.", least=0
    )
    pull: float = option(
        0.0,
        "Full: pull of the weights towards the base model's (L2-SP, arXiv:1802.01483).",
        group="Forgetting",
        least=0,
    )

    def unused(self) -> dict[str, str]:
        """The settings of the other method."""
        if self.method == "full":
            return self.unused_by_full("--method lora")
        return {
            "pull": "is for --method full; with lora, --weight-decay does the same: it draws the "
            "added matrices to zero"
        }

    def peak_lr(self, parameters: int) -> float:
        """The learning rate for a model of so many parameters, where none was set.

        Larger models want smaller steps: 5e-5 at a billion parameters, growing with
        the root of how much smaller the model is. LoRA wants ten times as much
        ("LoRA Without Regret", Schulman et al., 2025).
        """
        if self.lr:
            return self.lr
        full = min(1e-3, max(1e-5, 5e-5 * math.sqrt(1e9 / parameters)))
        return min(1e-2, 10 * full) if self.method == "lora" else full


@dataclass(frozen=True)
class FinetuneConfig(MethodConfig, TrainingConfig, ForgettingConfig, ExamplesConfig):
    """A fine-tuning run: what is trained, on what, how long, and how."""

    batch_tokens: int = changed(
        TrainingConfig,
        "batch_tokens",
        0,
        help="Tokens per update, about, padding included; 0: by the number of examples.",
        group="Optimizer",
    )
    warmup: float = changed(TrainingConfig, "warmup", 0.05, group="Optimizer")
    validation_tokens: int = changed(
        TrainingConfig,
        "validation_tokens",
        100_000,
        help="Tokens of held-out examples per validation, at most; fewer in a short run.",
    )
    save_seconds: float = changed(TrainingConfig, "save_seconds", 120.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validation_tokens < 1:
            raise ConfigError(f"validation_tokens must be at least 1. Got {self.validation_tokens}")

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        unused = () if self.book == "open" else ("book",)  # as earlier versions, which had none
        return {name: value for name, value in super().recipe().items() if name not in unused}
