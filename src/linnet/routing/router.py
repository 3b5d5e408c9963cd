"""Which model a question goes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from linnet.config import Config, option

LOCAL = "local"
"""The name, in rules and decisions, of what answers on this machine."""


@dataclass(frozen=True)
class RouterConfig(Config):
    """How questions are judged that no rule is about."""

    file: Path | None = option(None, "The router that 'linnet route train' made.")
    quality: float | None = option(
        None, "Answers right at least so often, as a share of the best.", least=0, most=1
    )
    cost: float | None = option(None, "Money that a question costs on average at most.", least=0)
    share: float | None = option(
        None, "Share of questions that leave this machine at most.", least=0, most=1
    )


@dataclass(frozen=True)
class Rule(Config):
    """Questions of a kind go to a model, whatever a router thinks; the first that fits counts."""

    model: str = option(LOCAL, "Where they go; 'local' for this machine.")
    name: str = option("", "What it is called in decisions.")
    matches: str = option("", "A regular expression that the question has in it.")
    longer: int | None = option(None, "Questions of more characters.", least=0)
    shorter: int | None = option(None, "Questions of fewer characters.", least=0)
    tools: bool | None = option(None, "Conversations with tools, or without.")


@dataclass(frozen=True)
class Route:
    """Where a question goes, and why."""

    model: str
    reason: str
    """For people, in a line."""
    decided_by: str = "default"
    """``request``, ``rule``, ``router``, ``attempt``, ``policy``, ``budget``, ``failure`` or
    ``default``."""
    score: float | None = None
    """How much better the larger model is expected to do, where a router said so."""
    threshold: float | None = None
    judges_attempt: bool = False
    """Whether it is decided again when there is a local answer."""
