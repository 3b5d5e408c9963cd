"""The settings of an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from linnet.config import Config, option, to_mapping
from linnet.errors import ConfigError


@dataclass(frozen=True)
class IndexConfig(Config):
    """How documents are cut and told apart."""

    characters: int = option(900, "length of a passage, about", least=100, most=10_000)
    collections: tuple[str, ...] = option(
        (),
        "which collection a document is in, as NAME=PATTERN: 'hr=*/staff/*' (the folder at the top "
        "that it is in, when none matches)",
    )

    encoder: str = option(
        "",
        "what makes vectors: lexical (nothing does), own (the index's own), a directory, or a name "
        "on the hub (by default the best at hand)",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.patterns

    def recipe(self) -> dict[str, Any]:
        """The settings that decide which passages there are."""
        return {name: value for name, value in to_mapping(self).items() if name != "encoder"}

    @property
    def patterns(self) -> list[tuple[str, str]]:
        """Collections by pattern. Raises ConfigError for one that is neither."""
        found = [entry.partition("=")[::2] for entry in self.collections]
        for name, pattern in found:
            if not name.strip() or not pattern:
                raise ConfigError(f"collections are NAME=PATTERN. Got '{name}'")
        return found
