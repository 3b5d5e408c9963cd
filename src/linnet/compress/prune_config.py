"""The settings of pruning, and of the distillation that follows it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.compress.distil_config import DistillationConfig
from linnet.config import option

if TYPE_CHECKING:
    from linnet.compress.pruning import PrunedShape
    from linnet.model import ModelConfig


@dataclass(frozen=True)
class PruneConfig(DistillationConfig):
    """How small, and how it is distilled."""

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
