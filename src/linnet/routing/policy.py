"""What may leave this machine, decided before anything is written out for sending."""

from __future__ import annotations

from dataclasses import dataclass

from linnet.config import Config, option
from linnet.respond.pieces import Place


@dataclass(frozen=True)
class PolicyConfig(Config):
    """What the owner allows; without a word of theirs nothing leaves."""

    farthest: Place = option(
        "here", "Where conversations may go at most: here, network or elsewhere."
    )
    local_only: tuple[str, ...] = option(
        (), "Documents of which nothing may leave, as patterns of their sources, such as hr/**."
    )
