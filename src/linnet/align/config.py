"""The settings of an alignment run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, get_args

from linnet.config import changed, option
from linnet.errors import ConfigError
from linnet.finetune.config import AdapterConfig, AdaptingConfig, WatchConfig

T = TypeVar("T")

PreferenceKind: TypeAlias = Literal["sigmoid", "sigmoid_norm", "ipo", "robust"]
"""``sigmoid``: DPO (arXiv:2305.18290); ``sigmoid_norm``: of log-ratios for each token, so that
length does not count; ``ipo``: arXiv:2310.12036, for each token as its authors compute it;
``robust``: DPO where a share of the pairs is the wrong way round (arXiv:2403.00409)."""

Method = Literal["dpo", "kto", "reward", "grpo"]
METHODS: tuple[Method, ...] = get_args(Method)

_SMOOTHED: tuple[PreferenceKind, ...] = ("sigmoid", "sigmoid_norm", "robust")
_WATCHING = ("general", "max_forgetting", "forgetting_patience")
_NEVER = {
    "compile": "is not for alignment: every batch has another length",
    "sample_interval": "is not for alignment: no samples are printed",
}
_LATER = ("sft_weight",)
"""Settings that earlier versions had not: at their defaults they are in no recipe."""


def _of(
    methods: tuple[Method, ...],
    default: T,
    help: str,
    *,
    group: str = "",
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> T:
    """An option of some methods: its help names them, and beside another it is refused."""
    return option(
        default, f"{', '.join(methods)}: {help}", group=group, least=least, above=above, most=most,
        below=below, more={"methods": methods},
    )  # fmt: skip


@dataclass(frozen=True)
class AlignConfig(AdaptingConfig, WatchConfig, AdapterConfig):
    """A run of alignment: what is learned, of which weights, how long, and how."""

    method: Method = option(
        "dpo",
        "From pairs (dpo), from judged completions (kto), from rewards of what the model writes "
        "(grpo), or a model that scores (reward).",
    )
    loss: PreferenceKind = _of(
        ("dpo",), "sigmoid",
        "as published, for each token (sigmoid_norm), with a margin to reach (ipo), or where "
        "a share of the pairs is the wrong way round (robust).",
        group="Loss",
    )  # fmt: skip
    beta: float = _of(
        ("dpo", "kto"), 0.1, "how firmly the model is held to the reference.", group="Loss", above=0
    )
    smoothing: float = _of(
        ("dpo",), 0.0, "share of the pairs that may be the wrong way round.", group="Loss",
        least=0, below=0.5,
    )  # fmt: skip
    sft_weight: float = _of(
        ("dpo",), 0.0,
        "weight of the usual loss of what was chosen, per token, so that it does not become "
        "less likely.",
        group="Loss", least=0,
    )  # fmt: skip
    desirable_weight: float = _of(
        ("kto",), 1.0, "weight of completions that are good.", group="Loss", above=0
    )
    undesirable_weight: float = _of(
        ("kto",), 1.0, "weight of completions that are not.", group="Loss", above=0
    )
    center: float = _of(
        ("reward",), 0.01, "pull of a pair's scores to a sum of zero.", group="Loss", least=0
    )
    rewards: tuple[str, ...] = _of(
        ("grpo",), (),
        "a reward, as NAME or NAME=WEIGHT; several times. well_formed, quotes, cites, refuses, "
        "exact, overlap, grounded, ends, concise.",
    )  # fmt: skip
    reward_file: Path | None = _of(
        ("grpo",), None,
        "a Python file with functions of your own that reward a sample. Its code is run.",
    )  # fmt: skip
    reward_model: Path | None = _of(
        ("grpo",), None,
        "a model that scores answers (what --method reward makes), as the reward judged.",
    )  # fmt: skip
    group: int = _of(("grpo",), 8, "completions of each prompt.", group="Sampling", least=2)
    max_tokens: int = _of(
        ("grpo",), 64, "tokens of a completion at most.", group="Sampling", least=1
    )
    updates: int = _of(
        ("grpo",), 1, "updates that one sampling serves.", group="Sampling", least=1, most=64
    )
    mask_cut: bool = _of(
        ("grpo",), True, "learn nothing from completions that were cut at --max-tokens.",
        group="Sampling",
    )  # fmt: skip
    kl: float = _of(
        ("grpo",), 0.0, "how firmly the model is held to the reference.", group="Loss", least=0
    )
    clip_low: float = _of(
        ("grpo",), 0.2, "how much less likely an update may make a token.", group="Loss",
        above=0, below=1,
    )  # fmt: skip
    clip_high: float = _of(
        ("grpo",), 0.2, "how much likelier an update may make a token.", group="Loss", above=0
    )
    scale_rewards: bool = _of(
        ("grpo",), False, "divide rewards by their deviation in a group.", group="Loss"
    )
    weights: Literal["lora", "full"] = option(
        "lora", "Train small matrices beside the weights (lora), or all weights (full)."
    )
    batch: int = option(16, "Pairs, or completions, per update.", least=1)
    epochs: float = option(
        0.0, "Times to read the rows; 0: once, and few ones more often.", least=0
    )
    warmup: float = changed(AdaptingConfig, "warmup", 0.1, group="Optimizer")
    patience: int = changed(
        AdaptingConfig, "patience", 3,
        help="Stop after so many validations without improvement; 0: never. grpo: those count "
        "whose reward is below the best by more than chance.",
    )  # fmt: skip
    context: int = option(
        1024, "Longest prompt and completion, in tokens; no more than the model's.", least=8
    )
    too_long: Literal["cut", "drop"] = _of(
        ("dpo", "kto", "reward"), "cut",
        "a row longer than the context: cut its prompt in the middle, or leave it out.",
        group="Rows",
    )  # fmt: skip
    template: Literal["auto", "chatml", "none"] = option(
        "auto",
        "Prompts by the model's chat template where it has one (auto), or as plain text (none).",
        group="Rows",
    )
    held_out: float = option(
        0.1, "Share of the prompts to hold out for validation.", group="Rows", least=0, below=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "dpo" and self.loss == "robust" and not self.smoothing:
            raise ConfigError(
                "--loss robust needs --smoothing, the share of the pairs that may be the wrong way "
                "round; without, it is --loss sigmoid"
            )
        if self.method == "grpo" and self.batch % self.group:
            raise ConfigError(f"batch must be a multiple of group, {self.group}. Got {self.batch}")
        if self.max_forgetting and not self.held_out:
            raise ConfigError("max_forgetting needs validations: set held_out above 0")

    def unused(self) -> Mapping[str, str]:
        """The settings of other methods and losses, and of an adapter where there is none."""
        found = dict(_NEVER)
        if self.weights == "full":
            found |= self.unused_by_full("--weights lora")
        for name, methods in METHODS_OF.items():
            if self.method not in methods:
                found[name] = f"is for --method {_either(methods)}. Got it with {self.method}"
        if self.method == "reward":
            found |= dict.fromkeys(_WATCHING, "is for a model that writes. Got it with reward")
        if self.method == "dpo" and self.loss not in _SMOOTHED:
            found["smoothing"] = f"is for --loss {_either(_SMOOTHED)}. Got it with {self.loss}"
        return found

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
        fields = {field.name: field for field in dataclasses.fields(self)}
        return {
            name: value
            for name, value in super().recipe().items()
            if self.method in METHODS_OF.get(name, METHODS)
            and not (name in _LATER and value == fields[name].default)
        }


METHODS_OF: Mapping[str, tuple[Method, ...]] = {
    field.name: field.metadata["methods"]
    for field in dataclasses.fields(AlignConfig)
    if "methods" in field.metadata
}
"""Which settings are of some methods only."""


def _either(names: tuple[str, ...]) -> str:
    """``dpo, kto or reward``."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
