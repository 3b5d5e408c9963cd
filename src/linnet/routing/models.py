"""Models beyond this machine: where they are, what they can do, and what they ask."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linnet.config import Config, option
from linnet.errors import ConfigError
from linnet.respond.pieces import Place
from linnet.respond.prices import Price


@dataclass(frozen=True)
class ModelConfig(Config):
    """One model at an OpenAI-compatible address."""

    address: str = option("", "Where it is, such as https://api.example.com/v1.")
    model: str = option("", "Its name there.")
    key_variable: str | None = option(None, "The environment variable that holds its key.")
    key_file: Path | None = option(None, "A file of its owner alone that holds its key.")
    place: Place | None = option(
        None, "Where it runs: here, network or elsewhere; otherwise as its address says."
    )
    context: int = option(0, "The most tokens that it takes; 0: not known.", least=0)
    tools: bool = option(True, "Whether it can call tools.")
    input: float | None = option(None, "The price of a million tokens read.", least=0)
    output: float | None = option(None, "The price of a million tokens written.", least=0)
    cached: float | None = option(
        None, "The price of a million tokens read again; otherwise as others.", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("address", "model"):
            if not getattr(self, name):
                raise ConfigError(f"a model beyond this machine needs its {name}")
        if self.key_variable is not None and self.key_file is not None:
            raise ConfigError("a key has one place: either key_variable or key_file")
        if (self.input is None) != (self.output is None):
            raise ConfigError("a price needs both input and output; 0 where it costs nothing")

    @property
    def price(self) -> Price:
        """What it asks; nothing where no price is known."""
        return Price.per_million(self.input or 0, self.output or 0, cached=self.cached)
