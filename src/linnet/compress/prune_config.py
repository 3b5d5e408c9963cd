"""The settings of pruning, and of the distillation that follows it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from linnet.config import option
from linnet.distil.config import DistillationConfig
from linnet.errors import ConfigError

if TYPE_CHECKING:
    from linnet.compress.pruning import PrunedShape
    from linnet.model import ModelConfig

AUTO = "auto"
"""A vocabulary of the tokens that a text uses."""


@dataclass(frozen=True)
class PruneConfig(DistillationConfig):
    """How small, and how it is distilled."""

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
