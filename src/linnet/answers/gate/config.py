"""How a gate is fitted, as settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from linnet.config import Config, option


@dataclass(frozen=True)
class GateConfig(Config):
    """How to fit a gate."""

    rate: float = option(
        0.05, "the promise: at most this share of the answered questions is wrong", above=0, below=1
    )
    confidence: float = option(0.95, "how sure the promise is", above=0, below=1)
    promise: Literal["generated", "people"] = option(
        "generated",
        "whose questions the promise is for: those made of the documents, or those of --people",
    )
    learn: float = option(
        0.5, "share of the documents whose questions it learns from; the others set the threshold",
        above=0, below=1,
    )  # fmt: skip
    withheld: float = option(
        0.5, "share of the questions to learn from that are asked again with the answer withheld",
        least=0, most=1,
    )  # fmt: skip
    questions: int = option(
        1000, "most questions of each origin, drawn by the seed", least=20, most=1_000_000
    )
    seed: int = option(0, "seed of the drawing and of random questions", least=0)
