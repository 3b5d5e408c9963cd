"""How the next token is chosen, as settings.

What each does is in ``linnet.generate.logits``; they act in the order in which
they stand here after the temperature, which is the order of transformers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from linnet.config import option
from linnet.errors import ConfigError


@dataclass(frozen=True)
class Sampling:
    """How to continue a text, and where to stop."""

    max_tokens: int = option(256, "stop after this many tokens")
    temperature: float = option(
        0.8, "below 1 safer, above 1 more varied; 0 always takes the likeliest token"
    )
    top_k: int = option(0, "choose among this many likeliest tokens; 0 for all")
    top_p: float = option(1.0, "choose among the likeliest tokens that make up this probability")
    min_p: float = option(0.05, "leave out tokens less likely than this share of the likeliest")
    repetition_penalty: float = option(1.0, "above 1 makes tokens that occurred before less likely")
    stop: tuple[str, ...] = option((), "stop before this text; may be given several times")
    seed: int | None = option(None, "the same seed gives the same text; without one texts differ")

    def __post_init__(self) -> None:
        for name, works, expected in (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < math.inf, "0 or more"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "between 0 and 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0"),
            ("stop", all(self.stop), "texts of at least one character"),
            ("seed", self.seed is None or 0 <= self.seed < 1 << 63, "between 0 and 2**63 - 1"),
        ):
            if not works:
                raise ConfigError(f"{name} must be {expected}. Got {getattr(self, name)!r}")
