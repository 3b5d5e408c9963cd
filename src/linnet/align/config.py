"""The settings of an alignment run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from linnet.config import changed, option
from linnet.errors import ConfigError
from linnet.finetune.config import AdapterConfig, WatchConfig
from linnet.train.config import LARGEST_LR, RunConfig

PreferenceKind: TypeAlias = Literal["sigmoid", "sigmoid_norm", "ipo", "robust"]
"""``sigmoid``: DPO (arXiv:2305.18290); ``sigmoid_norm``: of log-ratios for each token, so that
length does not count; ``ipo``: arXiv:2310.12036, for each token as its authors compute it;
``robust``: DPO where a share of the pairs is the wrong way round (arXiv:2403.00409)."""

Method = Literal["dpo", "kto", "reward", "grpo"]
METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True)
class AlignConfig(RunConfig, WatchConfig, AdapterConfig):
    """A run of alignment: what is learned, of which weights, how long, and how."""

    EXECUTION = (*RunConfig.EXECUTION, "micro_tokens", "checkpoint_activations")

    method: Method = option(
        "dpo",
        "From pairs (dpo), from judged completions (kto), from rewards of what the model writes "
        "(grpo), or a model that scores (reward).",
    )
    loss: PreferenceKind = option(
        "sigmoid",
        "dpo: as published, for each token (sigmoid_norm), with a margin to reach (ipo), or where "
        "a share of the pairs is the wrong way round (robust).",
        group="Loss",
    )
    beta: float = option(
        0.1, "How firmly the model is held to the reference.", group="Loss", above=0
    )
    smoothing: float = option(
        0.0,
        "dpo: share of the pairs that may be the wrong way round.",
        group="Loss",
        least=0,
        below=0.5,
    )
    desirable_weight: float = option(
        1.0, "kto: weight of completions that are good.", group="Loss", above=0
    )
    undesirable_weight: float = option(
        1.0, "kto: weight of completions that are not.", group="Loss", above=0
    )
    center: float = option(
        0.01, "reward: pull of a pair's scores to a sum of zero.", group="Loss", least=0
    )
    rewards: tuple[str, ...] = option(
        (),
        "grpo: a reward, as NAME or NAME=WEIGHT; several times. well_formed, quotes, cites, "
        "refuses, exact, overlap, grounded, ends, concise.",
    )
    reward_file: Path | None = option(
        None,
        "grpo: a Python file with functions of your own that reward a sample. Its code is run.",
    )
    group: int = option(8, "grpo: completions of each prompt.", group="Sampling", least=2)
    max_tokens: int = option(64, "grpo: tokens of a completion at most.", group="Sampling", least=1)
    updates: int = option(
        1, "grpo: updates that one sampling serves.", group="Sampling", least=1, most=64
    )
    mask_cut: bool = option(
        True,
        "grpo: learn nothing from completions that were cut at --max-tokens.",
        group="Sampling",
    )
    kl: float = option(
        0.0, "grpo: how firmly the model is held to the reference.", group="Loss", least=0
    )
    clip_low: float = option(
        0.2, "grpo: how much less likely an update may make a token.", group="Loss", above=0,
        below=1,
    )  # fmt: skip
    clip_high: float = option(
        0.2, "grpo: how much likelier an update may make a token.", group="Loss", above=0
    )
    scale_rewards: bool = option(
        False, "grpo: divide rewards by their deviation in a group.", group="Loss"
    )
    weights: Literal["lora", "full"] = option(
        "lora", "Train small matrices beside the weights (lora), or all weights (full)."
    )
    batch: int = option(16, "Pairs, or completions, per update.", least=1)
    epochs: float = option(
        0.0, "Times to read the rows; 0: once, and few ones more often.", least=0
    )
    steps: int = changed(
        RunConfig, "steps", 0,
        help="Updates to make; 0: by --epochs, or as many as fit into --seconds.",
    )  # fmt: skip
    lr: float = option(0.0, "Peak learning rate; 0: by size and method.", least=0, most=LARGEST_LR)
    weight_decay: float = changed(RunConfig, "weight_decay", 0.0)
    schedule: Literal["wsd", "cosine"] = changed(RunConfig, "schedule", "cosine")
    warmup: float = changed(RunConfig, "warmup", 0.1)
    decay: float = changed(RunConfig, "decay", 0.2)
    patience: int = changed(RunConfig, "patience", 3)
    validation_interval: int = changed(
        RunConfig, "validation_interval", 0,
        help="Steps between validations; 0: ten times in the run.",
    )  # fmt: skip
    context: int = option(
        1024, "Longest prompt and completion, in tokens; no more than the model's.", least=8
    )
    too_long: Literal["cut", "drop"] = option(
        "cut",
        "A row longer than the context: cut its prompt in the middle, or leave it out.",
        group="Rows",
    )
    template: Literal["auto", "chatml", "none"] = option(
        "auto",
        "Prompts by the model's chat template where it has one (auto), or as plain text (none).",
        group="Rows",
    )
    held_out: float = option(
        0.1, "Share of the prompts to hold out for validation.", group="Rows", least=0, below=1
    )
    micro_tokens: int = option(
        0, "Tokens computed at once; 0: chosen for the machine.", group="Machine", least=0
    )
    checkpoint_activations: Literal["auto", "yes", "no"] = option(
        "auto",
        "Compute blocks again instead of keeping what they computed: less memory, slower.",
        group="Machine",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.smoothing and self.loss == "ipo":
            raise ConfigError("smoothing is for --loss sigmoid, sigmoid_norm and robust, not ipo")
        if self.method != "grpo" and (self.rewards or self.reward_file is not None):
            raise ConfigError(f"rewards are for --method grpo. Got them with {self.method}")
        if self.method == "grpo" and self.batch % self.group:
            raise ConfigError(f"batch must be a multiple of group, {self.group}. Got {self.batch}")

    @property
    def rows_of_a_unit(self) -> int:
        """Completions that are trained together."""
        return 2 if self.method in ("dpo", "reward") else 1

    @property
    def group_rows(self) -> int:
        """Rows of a batch that a unit of the data becomes."""
        return self.group if self.method == "grpo" else 1

    def peak_lr(self, parameters: int) -> float:
        """The learning rate for a model of so many parameters, where none was set.

        A tenth of fine-tuning's for the same weights, but for a reward model, whose head is new.
        """
        if self.lr:
            return self.lr
        full = min(1e-4, max(1e-6, 5e-6 * math.sqrt(1e9 / parameters)))
        full *= 5 if self.method == "reward" else 1
        return 10 * full if self.weights == "lora" else full

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out: those of other methods do not."""
        pairs = ("loss", "smoothing")
        judged = ("desirable_weight", "undesirable_weight")
        sampled = (
            "rewards", "reward_file", "group", "max_tokens", "updates", "mask_cut", "kl",
            "clip_low", "clip_high", "scale_rewards",
        )  # fmt: skip
        others: dict[str, tuple[str, ...]] = {
            "dpo": (*judged, "center", *sampled),
            "kto": (*pairs, "center", *sampled),
            "reward": (*pairs, "beta", *judged, *sampled),
            "grpo": (*pairs, "beta", *judged, "center", "too_long"),
        }
        left_out = others[self.method]
        return {name: value for name, value in super().recipe().items() if name not in left_out}
