"""The settings of a fine-tuning run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from linnet.config import option, to_mapping
from linnet.errors import ConfigError
from linnet.finetune.examples import ExamplesConfig
from linnet.finetune.forgetting import ForgettingConfig
from linnet.runtime import DeviceName, DtypeName

# Where and how often, not what: these may differ between runs of one recipe.
_EXECUTION = (
    "device",
    "threads",
    "dtype",
    "compile",
    "save_seconds",
    "sample_interval",
    "micro_tokens",
    "checkpoint_activations",
)


@dataclass(frozen=True)
class FinetuneConfig(ForgettingConfig, ExamplesConfig):
    """A fine-tuning run: what is trained, on what, how long, and how."""

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
    steps: int = option(0, "Updates to make; 0: by --epochs, or as many as fit into --seconds.")
    seconds: float = option(0.0, "Wall-clock limit for the whole run; 0: none.")
    batch_tokens: int = option(
        0,
        "Tokens per update, about, padding included; 0: by the number of examples.",
        group="Optimizer",
    )
    micro_tokens: int = option(
        0, "Tokens computed at once; 0: chosen for the machine.", group="Machine"
    )
    lr: float = option(0.0, "Peak learning rate; 0: by size and method.")
    weight_decay: float = option(
        0.0, "Pull of the trained matrices towards zero.", group="Optimizer"
    )
    pull: float = option(
        0.0,
        "Full: pull of the weights towards the base model's (L2-SP, arXiv:1802.01483).",
        group="Forgetting",
    )
    schedule: Literal["cosine", "wsd"] = option(
        "cosine",
        "After warm-up: half a cosine, or stay and then fall in a line (wsd).",
        group="Optimizer",
    )
    warmup: float = option(0.05, "Share of the run that warms up.", group="Optimizer")
    decay: float = option(0.2, "Share of the run over which wsd falls to zero.", group="Optimizer")
    clip: float = option(1.0, "Largest gradient norm; 0: no limit.", group="Optimizer")
    validation_interval: int = option(
        0, "Steps between validations; 0: ten times in the run.", group="Validation and saving"
    )
    validation_tokens: int = option(
        100_000,
        "Tokens of held-out examples per validation, at most; fewer in a short run.",
        group="Validation and saving",
    )
    patience: int = option(
        3,
        "Stop after so many validations without improvement; 0: never.",
        group="Validation and saving",
    )
    save_seconds: float = option(
        120.0, "Seconds between saves of the state for resuming.", group="Validation and saving"
    )
    sample_interval: int = option(
        0, "Steps between printed samples; 0: four times in the run.", group="Validation and saving"
    )
    checkpoint_activations: Literal["auto", "yes", "no"] = option(
        "auto",
        "Compute blocks again instead of keeping what they computed: less memory, slower.",
        group="Machine",
    )
    device: DeviceName = option("auto", "Where to compute.", group="Machine")
    dtype: DtypeName = option("auto", "Format of matrix products.", group="Machine")
    threads: int = option(0, "CPU threads; 0: all usable cores.", group="Machine")
    compile: Literal["auto", "yes", "no"] = option(
        "auto",
        "torch.compile: auto uses it where there is a compiler and time for it to pay.",
        group="Machine",
    )

    def __post_init__(self) -> None:
        above = getattr(super(), "__post_init__", None)
        if above is not None:
            above()
        if min(self.steps, self.seconds, self.epochs, self.lr, self.pull, self.alpha) < 0:
            raise ConfigError("steps, seconds, epochs, lr, alpha and pull must not be negative")
        for name in ("clip", "weight_decay", "save_seconds", "micro_tokens", "batch_tokens",
                     "patience", "validation_interval", "sample_interval", "threads"):  # fmt: skip
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must not be negative. Got {getattr(self, name)}")
        if self.validation_tokens < 1:
            raise ConfigError(f"validation_tokens must be at least 1. Got {self.validation_tokens}")
        if self.rank < 1:
            raise ConfigError(f"rank must be at least 1. Got {self.rank}")
        if not 0 <= self.lora_dropout < 1:
            raise ConfigError(f"lora_dropout must be in [0, 1). Got {self.lora_dropout}")
        if self.pull and self.method != "full":
            raise ConfigError(
                "pull is for --method full; with lora, --weight-decay does the same: "
                "it draws the added matrices to zero"
            )
        if not (0 <= self.warmup < 1 and 0 <= self.decay <= 1 - self.warmup):
            raise ConfigError(
                "warmup and decay are shares of the run that together must not exceed 1. "
                f"Got {self.warmup} and {self.decay}"
            )

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        return {k: v for k, v in to_mapping(self).items() if k not in _EXECUTION}

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
