"""What is looked at while a model is aligned: held-out units, and what became less likely."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.finetune.forgetting import FORGETTING, ForgettingGuard
from linnet.progress import SILENT, Progress
from linnet.train.distributed import SingleProcess
from linnet.train.objectives import add_up

if TYPE_CHECKING:
    from collections.abc import Mapping

    from linnet.model import Transformer
    from linnet.shards.batches import Batch
    from linnet.train.loop import Figures, Verdict
    from linnet.train.objectives import Objective

HELD_OUT_REWARDS = "held_out_rewards"
"""The note that has the reward of each held-out prompt at the last validation."""
_BEST_REWARDS = "best_rewards"
_DEVIATIONS = 2.0  # of a mean, beyond which it is no chance

FALL = 0.1
"""Nats per token by which chosen completions may become less likely before it is said."""


@dataclass(frozen=True)
class HeldOutUnits:
    """As a validator: an objective's figures over units that are not trained on."""

    objective: Objective
    batches: Sequence[Batch]
    device: str

    def __call__(self, model: Transformer) -> dict[str, float]:
        """The figures of a model in evaluation mode; not those that no unit has, such as rewards of
        bad completions where all are good."""
        losses = [self.objective(model, batch.to(self.device)).detached() for batch in self.batches]
        found = add_up(losses, SingleProcess())
        return {"loss": found.mean, **found.metrics}


@dataclass
class AlignmentGuard:
    """Which weights a run keeps (see :class:`ForgettingGuard`), and what is to be known of them."""

    forgetting: ForgettingGuard
    beta: float
    """What rewards are log-ratios times of; 0: the model has no log-ratios."""
    tokens: float
    """Of a held-out completion that was chosen, on average."""
    remedy: str = ""
    """What to try where chosen completions become less likely."""
    progress: Progress = SILENT
    notes: dict[str, Any] = field(default_factory=dict)

    def judge(self, figures: Figures, best: Figures | None) -> Verdict:
        """The decision as a training loop asks for it; says how it stands."""
        if self.notes.setdefault("aligned_first", dict(figures)) != dict(figures):
            self.progress.message(f"  {standing(figures)}")
        fall = self.fall(figures)
        if fall > FALL and not self.notes.get("fall_said"):
            self.notes["fall_said"] = True
            self.progress.warn(
                f"what was chosen is becoming less likely, too ({fall:.2f} nats per token): the "
                f"model moves away from both; {self.remedy}"
            )
        verdict = self.forgetting.decide(figures, best)
        rewards = self.notes.get(HELD_OUT_REWARDS)
        if rewards is None:
            return verdict
        if verdict.decision == "keep":
            self.notes[_BEST_REWARDS] = rewards
        elif verdict.decision == "pass":
            return replace(verdict, counts=is_below(rewards, self.notes.get(_BEST_REWARDS, ())))
        return verdict

    def fall(self, figures: Mapping[str, float]) -> float:
        """By how many nats per token chosen completions are less likely than at first."""
        if not self.beta or "rewards/chosen" not in figures:
            return 0.0
        return -figures["rewards/chosen"] / self.beta / max(1.0, self.tokens)


def is_below(rewards: Sequence[float], best: Sequence[float]) -> bool:
    """Whether rewards of the same prompts are lower by more than chance, compared in pairs."""
    if len(rewards) != len(best):
        return True
    differences = np.subtract(rewards, best)
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
    return float(differences.mean()) < -_DEVIATIONS * spread / math.sqrt(len(differences))


def standing(figures: Mapping[str, float]) -> str:
    """How far it is, in a line."""
    right = figures.get("rewards/accuracies", figures.get("accuracy"))
    margin = figures.get("rewards/margins", figures.get("margin"))
    if "reward" in figures:  # the loss is its negative
        parts = [f"held-out reward {figures['reward']:.4f}"]
    else:
        parts = [f"held-out loss {figures['loss']:.4f}"]
    if right is not None:
        parts.append(f"{right:.1%} of pairs the right way round")
    if margin is not None:
        parts.append(f"margin {margin:.3f}")
    if FORGETTING in figures:
        parts.append(f"general text {figures[FORGETTING]:+.3f} bits per byte")
    return ", ".join(parts)
