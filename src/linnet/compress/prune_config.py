"""The settings of pruning and distillation."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from linnet.config import changed, option
from linnet.train.config import LARGEST_LR, RunConfig

if TYPE_CHECKING:
    from linnet.compress.pruning import PrunedShape
    from linnet.model import ModelConfig


@dataclass(frozen=True)
class PruneConfig(RunConfig):
    """How small, and how it is distilled."""

    EXECUTION = (*RunConfig.EXECUTION, "micro_rows")

    keep: float = option(
        0.5, "Share of the parameters to keep, where no width or heads are given.", above=0, below=1
    )
    depth: int = option(0, "Blocks to keep; 0: all.", group="Sizes", least=0)
    width: int = option(
        0, "Width to keep; 0: by --keep, or all where another is given.", group="Sizes", least=0
    )
    mlp_width: int = option(
        0,
        "Width of MLPs to keep; 0: by --keep, or all where another is given.",
        group="Sizes",
        least=0,
    )
    kv_heads: int = option(
        0,
        "Key/value heads to keep; 0: by --keep, or all where another is given.",
        group="Sizes",
        least=0,
    )
    steps: int = changed(
        RunConfig,
        "steps",
        0,
        help="Updates to make; 0: one pass, or as many as fit into --seconds.",
    )
    tokens: int = option(2_000_000, "Tokens of the text to read, at most.", least=1000)
    batch_tokens: int = option(4096, "Tokens per update.", group="Optimizer", least=1)
    context: int = option(256, "Tokens in a row.", least=8)
    lr: float = option(0.0, "Peak learning rate; 0: by size.", least=0, most=LARGEST_LR)
    teacher_weight: float = option(
        0.9,
        "Share of the loss that is the divergence from the model before; the rest is of the text.",
        group="Loss",
        least=0,
        most=1,
    )
    mixing: float = option(
        0.0, "0: forward divergence, 1: reverse, between: to the mixture.", group="Loss",
        least=0, most=1,
    )  # fmt: skip
    temperature: float = option(1.0, "Of both distributions.", group="Loss", above=0, most=20)
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

    def shape(self, config: ModelConfig) -> PrunedShape:
        """The sizes that are asked for. Raises ConfigError for what cannot be."""
        from linnet.compress.pruning import PrunedShape, pruned_config, shape_for

        given = {"depth": self.depth, "width": self.width, "mlp_width": self.mlp_width,
                 "kv_heads": self.kv_heads}  # fmt: skip
        own = {name: size for name, size in given.items() if size}
        if own and set(own) != {"depth"}:
            return dataclasses.replace(PrunedShape.of(config), **own)
        if self.depth:
            pruned_config(config, dataclasses.replace(PrunedShape.of(config), depth=self.depth))
        return shape_for(config, self.keep, depth=self.depth)

    def peak_lr(self, parameters: int) -> float:
        """The learning rate for so many parameters, where none was set: twenty times that of a full
        fine-tuning, as a damaged model has far to go."""
        return self.lr or min(2e-3, max(2e-4, 1e-3 * math.sqrt(1e8 / parameters)))
