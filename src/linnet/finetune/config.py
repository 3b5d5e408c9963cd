"""The settings of a fine-tuning run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from linnet.config import Config, changed, option
from linnet.errors import ConfigError
from linnet.finetune.examples import ExamplesConfig
from linnet.train.config import TrainingConfig, refuse_negative


@dataclass(frozen=True)
class ForgettingConfig(Config):
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
    )
    replay: float = option(
        0.0, "Share of the trained tokens that replay general text.", group="Forgetting"
    )
    replay_tokens: int = option(
        50_000,
        "Different tokens to replay, at most; without general text the base writes them.",
        group="Forgetting",
    )
    max_forgetting: float = option(
        0.0,
        "Largest rise on general text to keep, in bits per byte; 0: no limit.",
        group="Forgetting",
    )
    forgetting_patience: int = option(
        2, "Stop after so many validations in a row beyond --max-forgetting.", group="Forgetting"
    )
    sweep: bool = option(
        True,
        "Afterwards, try weaker and stronger changes and draw what each gains and forgets.",
        group="Forgetting",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.replay < 1:
            raise ConfigError(f"replay is a share from 0 to below 1. Got {self.replay}")
        if min(self.general_tokens, self.replay_tokens, self.max_forgetting) < 0:
            raise ConfigError(
                "general_tokens, replay_tokens and max_forgetting must not be negative"
            )
        if self.forgetting_patience < 1:
            raise ConfigError(
                f"forgetting_patience must be at least 1. Got {self.forgetting_patience}"
            )
        if self.replay and not self.replay_tokens:
            raise ConfigError("replay needs tokens to replay: set replay_tokens above 0")
        if self.max_forgetting and not self.general_tokens:
            raise ConfigError(
                "max_forgetting needs forgetting to be measured: set general_tokens above 0"
            )


@dataclass(frozen=True)
class MethodConfig(Config):
    """What of a model is trained, and how far."""

    method: Literal["lora", "full"] = option(
        "lora", "Train small matrices beside the weights (lora), or all weights (full)."
    )
    rank: int = option(16, "LoRA: rank of the added matrices.", group="LoRA")
    alpha: float = option(0.0, "LoRA: scale, as alpha / rank; 0: twice the rank.", group="LoRA")
    rslora: bool = option(
        False, "LoRA: scale by alpha / sqrt(rank) (arXiv:2312.03732).", group="LoRA"
    )
    lora_dropout: float = option(
        0.0, "LoRA: share of its inputs dropped in training.", group="LoRA"
    )
    targets: tuple[str, ...] = option(
        (),
        "LoRA: layers to adapt, by published name (q_proj, c_attn, ...); none: all linear ones.",
        group="LoRA",
    )
    epochs: float = option(
        0.0, "Times to read the examples; 0: by their number, at least three times."
    )
    lr: float = option(0.0, "Peak learning rate; 0: by size and method.")
    pull: float = option(
        0.0,
        "Full: pull of the weights towards the base model's (L2-SP, arXiv:1802.01483).",
        group="Forgetting",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_negative(self, "epochs", "lr", "alpha", "pull")
        if self.rank < 1:
            raise ConfigError(f"rank must be at least 1. Got {self.rank}")
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"lora_dropout must be in [0, 1). Got {self.lora_dropout}")
        if self.pull and self.method != "full":
            raise ConfigError(
                "pull is for --method full; with lora, --weight-decay does the same: "
                "it draws the added matrices to zero"
            )

    @property
    def scale(self) -> float:
        """LoRA's alpha, where none was set."""
        return self.alpha or 2.0 * self.rank

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
class FinetuneConfig(TrainingConfig, MethodConfig, ForgettingConfig, ExamplesConfig):
    """A fine-tuning run: what is trained, on what, how long, and how."""

    EXECUTION = (*TrainingConfig.EXECUTION, "micro_tokens", "checkpoint_activations")

    steps: int = changed(
        TrainingConfig,
        "steps",
        0,
        help="Updates to make; 0: by --epochs, or as many as fit into --seconds.",
    )
    batch_tokens: int = changed(
        TrainingConfig,
        "batch_tokens",
        0,
        help="Tokens per update, about, padding included; 0: by the number of examples.",
        group="Optimizer",
    )
    weight_decay: float = changed(
        TrainingConfig, "weight_decay", 0.0, help="Pull of the trained matrices towards zero."
    )
    schedule: Literal["wsd", "cosine"] = changed(
        TrainingConfig, "schedule", "cosine", group="Optimizer"
    )
    warmup: float = changed(TrainingConfig, "warmup", 0.05, group="Optimizer")
    decay: float = changed(TrainingConfig, "decay", 0.2, group="Optimizer")
    validation_interval: int = changed(
        TrainingConfig,
        "validation_interval",
        0,
        help="Steps between validations; 0: ten times in the run.",
    )
    validation_tokens: int = changed(
        TrainingConfig,
        "validation_tokens",
        100_000,
        help="Tokens of held-out examples per validation, at most; fewer in a short run.",
    )
    patience: int = changed(TrainingConfig, "patience", 3)
    save_seconds: float = changed(TrainingConfig, "save_seconds", 120.0)
    micro_tokens: int = option(
        0, "Tokens computed at once; 0: chosen for the machine.", group="Machine"
    )
    checkpoint_activations: Literal["auto", "yes", "no"] = option(
        "auto",
        "Compute blocks again instead of keeping what they computed: less memory, slower.",
        group="Machine",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_negative(self, "micro_tokens")
        if self.validation_tokens < 1:
            raise ConfigError(f"validation_tokens must be at least 1. Got {self.validation_tokens}")
