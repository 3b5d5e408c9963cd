"""The settings of the data stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from linnet.config import option, to_mapping
from linnet.errors import ConfigError

# How the work is done, not what comes out: outside the recipe.
_EXECUTION = ("workers", "file_timeout")


@dataclass(frozen=True)
class DataConfig:
    """How documents are read, cleaned and divided."""

    separator: str = option("<|endoftext|>", "a line that ends a document in a text file")
    text_columns: tuple[str, ...] = option(
        (), "columns of JSON and CSV rows that hold the text, in order (found when not given)"
    )
    group_column: str = option("id", "column of JSON and CSV rows whose equals share a split")
    min_characters: int = option(16, "drop documents shorter than this")
    max_document_bytes: int = option(64_000_000, "skip documents larger than this")
    validation_fraction: float = option(0.05, "share of the documents kept for validation")
    test_fraction: float = option(0.05, "share of the documents kept for the final test")
    split_key: str = option("linnet", "another key gives another division into splits")
    split_by: Literal["auto", "document", "piece"] = option(
        "auto", "what is held out: whole documents, or pieces of them where documents are few"
    )
    workers: int = option(0, "processes that read files; 0 for one per core")
    file_timeout: float = option(
        120.0, "give up on a file that yields nothing for this many seconds"
    )

    def __post_init__(self) -> None:
        fractions = (self.validation_fraction, self.test_fraction)
        if min(fractions) < 0 or sum(fractions) >= 1:
            raise ConfigError(
                "validation_fraction and test_fraction must be at least 0 and together below 1. "
                f"Got {self.validation_fraction} and {self.test_fraction}"
            )
        for name, least in (("min_characters", 1), ("max_document_bytes", 1000), ("workers", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name} must be at least {least}. Got {getattr(self, name)}")
        if self.file_timeout <= 0:
            raise ConfigError(f"file_timeout must be above 0 seconds. Got {self.file_timeout}")
        if not self.separator.strip():
            raise ConfigError("separator must be a line that is not blank")

    def recipe(self) -> dict[str, Any]:
        """The settings that decide what comes out."""
        return {k: v for k, v in to_mapping(self).items() if k not in _EXECUTION}

    def extraction(self) -> dict[str, Any]:
        """The settings that decide which documents a file yields, before they are divided."""
        names = ("separator", "text_columns", "group_column", "min_characters")
        values = to_mapping(self)
        return {name: values[name] for name in (*names, "max_document_bytes")}
