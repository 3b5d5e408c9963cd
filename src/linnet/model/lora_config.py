"""What a low-rank adapter is: its rank, its scale and which projections it changes.

Projections go by the names that ``transformers`` gives them, and names select
them as in PEFT: one is meant by its whole name or by any end of it that starts
at a dot (``q_proj``, ``self_attn.q_proj``). Loads no torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from linnet.config import Config, option
from linnet.errors import ConfigError

ALL_LINEAR = "all-linear"
"""PEFT's word for every projection but the output layer."""

BASE = "base"
"""The name under which callers ask for no adapter at all; no adapter can have it."""

_NAME = re.compile(r"[\w-]+")

PATTERN_LIMIT = 200  # characters; PEFT's own patterns are module names
_QUANTIFIERS = re.compile(r"[*+{]")
_NESTED = re.compile(r"[)*+}][*+{]")  # what makes a regular expression take forever
_PLAIN = re.compile(r"[\w.]+", re.ASCII)


def require_adapter_name(name: str) -> None:
    """Raise ConfigError for a name that no adapter can have."""
    if name == BASE or not _NAME.fullmatch(name):
        raise ConfigError(
            f"an adapter's name must be letters, digits, - and _, and not '{BASE}'. Got '{name}'"
        )


@dataclass(frozen=True)
class LoRAConfig(Config):
    """A low-rank adapter (arXiv:2106.09685): ``W x + scaling B A x``."""

    rank: int = option(16, "rank of an adapter: how much it can learn, and how large it is")
    alpha: float = option(32.0, "weight of the adapter: alpha / rank, or alpha / sqrt(rank)")
    rslora: bool = option(False, "scale by the root of the rank (rsLoRA): for ranks above 32")
    dropout: float = option(0.0, "share of its input that an adapter does not see in training")
    targets: tuple[str, ...] = option(
        (ALL_LINEAR,), "projections to adapt, by the names transformers gives them"
    )
    rank_pattern: Mapping[str, int] = field(default_factory=dict)
    """Ranks of projections that have one of their own, as in PEFT."""
    alpha_pattern: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for rank in (self.rank, *self.rank_pattern.values()):
            if rank < 1:
                raise ConfigError(f"an adapter's rank must be at least 1. Got {rank}")
        for alpha in (self.alpha, *self.alpha_pattern.values()):
            if not math.isfinite(alpha):
                raise ConfigError(f"an adapter's alpha must be a finite number. Got {alpha}")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"an adapter's dropout must be in [0, 1). Got {self.dropout}")
        if not self.targets:
            raise ConfigError(f"an adapter needs targets: names of projections, or {ALL_LINEAR}")
        for pattern in (*self.rank_pattern, *self.alpha_pattern):
            _require_simple(pattern)

    def rank_of(self, projection: str) -> int:
        """The rank at one projection, by its published name."""
        return self.rank_pattern.get(_pattern_for(self.rank_pattern, projection), self.rank)

    def scaling_of(self, projection: str, rank: int) -> float:
        """What ``B A x`` is multiplied by at one projection (rsLoRA: arXiv:2312.03732)."""
        alpha = self.alpha_pattern.get(_pattern_for(self.alpha_pattern, projection), self.alpha)
        return alpha / (math.sqrt(rank) if self.rslora else rank)


@dataclass(frozen=True)
class MergeConfig(Config):
    """How an adapter goes into the weights of its base."""

    strength: float = option(1.0, "Share of what the adapter learned: 0 is the base, 1 all of it.")
    dtype: Literal["fp32", "bf16", "fp16"] = option(
        "fp32", "Format to store in; the shorter ones round away some of what was learned."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isfinite(self.strength):
            raise ConfigError(f"strength must be a finite number. Got {self.strength}")


def is_meant(projection: str, targets: Iterable[str]) -> bool:
    """Whether one of ``targets`` names this projection."""
    return any(projection == target or projection.endswith(f".{target}") for target in targets)


def _pattern_for(patterns: Iterable[str], projection: str) -> str:
    """The first pattern that matches an end of the name, as PEFT chooses it; else the name."""
    for pattern in patterns:
        if re.match(rf"(.*\.)?({pattern})$", projection):
            return pattern
    return projection


def _require_simple(pattern: str) -> None:
    """Patterns come in strangers' files: refuse one that could take forever."""
    if _PLAIN.fullmatch(pattern):
        return
    quantifiers = len(_QUANTIFIERS.findall(pattern))
    if len(pattern) > PATTERN_LIMIT or quantifiers > 3 or _NESTED.search(pattern):
        raise ConfigError(f"an adapter's pattern is too complicated: {pattern[:60]!r}")
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"an adapter's pattern {pattern[:60]!r} is not valid: {error}") from None
