"""The settings of pruning and distillation."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from linnet.config import changed, option
from linnet.errors import ConfigError
from linnet.train.config import LARGEST_LR, RunConfig

if TYPE_CHECKING:
    from linnet.compress.pruning import PrunedShape
    from linnet.model import ModelConfig

AUTO = "auto"
"""A vocabulary of the tokens that a text uses."""


@dataclass(frozen=True)
class PruneConfig(RunConfig):
    """How small, and how it is distilled."""

    EXECUTION = (*RunConfig.EXECUTION, "micro_rows")

    keep: float = option(
        0.5, "Share of the parameters to keep, where no width or heads are given.", above=0, most=1
    )
    vocabulary: str = option(
        "",
        "Tokens to keep: auto, those that your text uses and those that they are made of; or how "
        "many; empty: all.",
        group="Sizes",
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

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = self.vocabulary
        if wanted not in ("", AUTO) and not (wanted.isascii() and wanted.isdigit() and int(wanted)):
            raise ConfigError(f"vocabulary must be {AUTO} or a number of tokens. Got {wanted!r}")
        sizes = self._given_sizes()
        if self.keep == 1 and not (wanted or sizes):
            raise ConfigError("keep must be below 1 where nothing else is to go. Got 1")
        if sizes.keys() - {"depth"} and self.keep != type(self).keep:
            raise ConfigError(f"choose one: --keep, or sizes ({', '.join(sizes)})")

    def _given_sizes(self) -> dict[str, int]:
        given = {name: getattr(self, name) for name in ("depth", "width", "mlp_width", "kv_heads")}
        return {name: size for name, size in given.items() if size}

    def shape(self, config: ModelConfig, *, parameters: int = 0) -> PrunedShape:
        """The sizes that are asked for. Raises ConfigError for what cannot be.

        ``parameters``: those that ``keep`` is a share of, where they are not the model's.
        """
        from linnet.compress.pruning import PrunedShape, pruned_config, shape_for

        whole, sizes = PrunedShape.of(config), self._given_sizes()
        if sizes.keys() - {"depth"}:
            return dataclasses.replace(whole, **sizes)
        if self.depth:
            pruned_config(config, dataclasses.replace(whole, depth=self.depth))
        keep = self.keep * (parameters or config.parameters) / config.parameters
        if keep >= 1 and not self.depth:
            return whole
        return shape_for(config, min(keep, 1.0), depth=self.depth)

    def peak_lr(self, parameters: int) -> float:
        """The learning rate for so many parameters, where none was set: twenty times that of a full
        fine-tuning, as a damaged model has far to go."""
        return self.lr or min(2e-3, max(2e-4, 1e-3 * math.sqrt(1e8 / parameters)))
