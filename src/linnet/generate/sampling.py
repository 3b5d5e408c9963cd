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
    typical_p: float = option(
        1.0,
        "choose among the tokens nearest to the expected surprise that make up this probability",
    )
    repetition_penalty: float = option(1.0, "above 1 makes tokens that occurred before less likely")
    frequency_penalty: float = option(
        0.0, "lowers a token's score by this much for each time it was written"
    )
    presence_penalty: float = option(0.0, "lowers the score of every token that was written once")
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Added to the scores of tokens, before everything else; not an option of commands."""
    stop: tuple[str, ...] = option((), "stop before this text; may be given several times")
    seed: int | None = option(None, "the same seed gives the same text; without one texts differ")

    def __post_init__(self) -> None:
        for name, works, expected in (
            ("max_tokens", self.max_tokens >= 1, "at least 1"),
            ("temperature", 0 <= self.temperature < math.inf, "0 or more"),
            ("top_k", self.top_k >= 0, "0 (off) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "between 0 and 1"),
            ("typical_p", 0 < self.typical_p <= 1, "above 0 and at most 1"),
            ("frequency_penalty", abs(self.frequency_penalty) <= 2, "between -2 and 2"),
            ("presence_penalty", abs(self.presence_penalty) <= 2, "between -2 and 2"),
            ("logit_bias", all(abs(b) <= 100 for _, b in self.logit_bias), "from -100 to 100"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0"),
            ("stop", all(self.stop), "texts of at least one character"),
            ("seed", self.seed is None or 0 <= self.seed < 1 << 63, "between 0 and 2**63 - 1"),
        ):
            if not works:
                raise ConfigError(f"{name} must be {expected}. Got {getattr(self, name)!r}")
