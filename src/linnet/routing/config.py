"""How a router is learned, as settings."""

from __future__ import annotations

from dataclasses import dataclass

from linnet.config import Config, option
from linnet.routing.learners import LEARNERS

LOCAL = "local"
"""The name, in rules, outcomes and decisions, of what answers on this machine."""
AUTO = "auto"


@dataclass(frozen=True)
class RouterTrainConfig(Config):
    """How a router is learned."""

    local: str = option("", "the model of this machine, as the data name it; 'local' if there is "
                            "one of that name")  # fmt: skip
    models: tuple[str, ...] = option(
        (), "the larger models, as the data name them; all others if left out"
    )
    encoder: str = option(
        AUTO,
        "what embeds questions: an encoder as 'linnet index --encoder' takes it, 'lexical' for "
        "groups of characters (the quickest), or 'auto', which is the best at hand",
    )
    learner: str = option(
        AUTO, "what learns; auto: the one with the least error on held-out questions",
        choices=(AUTO, *LEARNERS),
    )  # fmt: skip
    answers: bool = option(
        True, "whether a stage is learned that judges local answers, where the data have them"
    )
    questions: int = option(
        5000, "most questions to learn from, drawn by the seed", least=20, most=20_000
    )
    folds: int = option(5, "parts of the questions, each held out in turn", least=2, most=50)
    seed: int = option(0, "seed of the drawing and of the parts", least=0)
