"""What alignment minimises, of batches: pairs, completions that were judged, groups of samples.

In every batch ``loss_mask`` is true where a completion's next token stands; behind a shorter row
``segment_ids`` are 1, elsewhere 0. ``reference`` are log-probabilities under the reference, which
were computed before (``linnet.align.reference``). Figures have trl's names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from linnet.align.losses import (
    clipped_losses,
    desirability_losses,
    divergences,
    is_clipped,
    likelihood_losses,
    preference_losses,
)
from linnet.train.objectives import Loss, Mean, linear_log_probs

if TYPE_CHECKING:
    from linnet.align.config import PreferenceKind
    from linnet.model import Transformer
    from linnet.shards.batches import Batch
    from linnet.train.objectives import Metric


def token_log_probs(model: Transformer, batch: Batch) -> Tensor:
    """The log-probability of each next token, ``(B, T)`` in nats; 0 where the mask is not true."""
    mask = batch.loss_mask
    assert mask is not None
    hidden = model.hidden(batch.tokens, segment_ids=batch.segment_ids)
    found = linear_log_probs(
        model.readout(hidden[mask]),
        model.output_table,
        batch.targets[mask],
        bias=model.output_bias,
        softcap=model.config.logit_softcap,
    )
    whole = found.new_zeros(mask.shape)
    return whole.masked_scatter(mask, found)


def completion_log_probs(model: Transformer, batch: Batch) -> tuple[Tensor, Tensor]:
    """The log-probability of each row's completion and its tokens, each ``(B,)``."""
    mask = batch.loss_mask
    assert mask is not None
    return token_log_probs(model, batch).sum(1), mask.sum(1)


@dataclass(frozen=True)
class PreferenceLoss:
    """Makes the better of two completions likelier than the other, beside the reference.

    Two rows are a unit of the batch, the better first; ``reference`` ``(B,)``. ``sft_weight``: of
    the better one's usual loss.
    """

    kind: PreferenceKind = "sigmoid"
    beta: float = 0.1
    smoothing: float = 0.0
    sft_weight: float = 0.0

    def __call__(self, model: Transformer, batch: Batch) -> Loss:
        """The loss of the pairs."""
        found, lengths = completion_log_probs(model, batch)
        ratios = found - batch["reference"]
        chosen, rejected = ratios[0::2], ratios[1::2]
        each = preference_losses(
            chosen, rejected, kind=self.kind, beta=self.beta, smoothing=self.smoothing,
            lengths=(lengths[0::2], lengths[1::2]),
        )  # fmt: skip
        if self.sft_weight:
            each = each + self.sft_weight * likelihood_losses(found[0::2], lengths[0::2])
        rewards = self.beta * ratios.detach()
        better, worse = rewards[0::2], rewards[1::2]
        known = found.detach()
        metrics = {
            "rewards/chosen": better.mean(),
            "rewards/rejected": worse.mean(),
            "rewards/margins": (better - worse).mean(),
            "rewards/accuracies": (better > worse).float().mean(),
            "logps/chosen": known[0::2].mean(),
            "logps/rejected": known[1::2].mean(),
        }
        return Loss(each.sum(), len(each), metrics)


@dataclass(frozen=True)
class DesirabilityLoss:
    """Makes completions likelier that were called good, and others less so (KTO).

    A row is a unit: ``desirable`` ``(B,)``, ``reference`` ``(B,)``. ``divergence`` ``(B,)``: what
    log-ratios are measured from, the same for all rows of a batch, however it is cut.
    """

    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    def __call__(self, model: Transformer, batch: Batch) -> Loss:
        """The loss of the completions."""
        found, _ = completion_log_probs(model, batch)
        ratios, good = found - batch["reference"], batch["desirable"].bool()
        divergence = batch["divergence"]
        each = desirability_losses(
            ratios, good, beta=self.beta, divergence=divergence,
            weights=(self.desirable_weight, self.undesirable_weight),
        )  # fmt: skip
        rewards, known = self.beta * ratios.detach(), found.detach()
        metrics = {"kl": divergence.mean()} | {
            f"{figure}/{name}": Mean(values[which].sum(), which.sum())
            for figure, values in (("rewards", rewards), ("logps", known))
            for name, which in (("chosen", good), ("rejected", ~good))
        }
        return Loss(each.sum(), len(each), metrics)


@dataclass(frozen=True)
class PolicyLoss:
    """Makes sampled completions likelier that did better than their group (GRPO).

    Rows of a group follow each other; a row is a unit. ``advantages`` ``(B,)``; ``sampled``
    ``(B, T)``: log-probabilities when they were sampled; ``reference`` ``(B, T)``, where
    ``beta`` is not 0; ``total``, ``ended``, ``lengths`` and ``reward_...`` ``(B,)`` are for the
    log. The sum over a row's tokens is divided by ``longest``, the same for all, so that a long
    wrong answer is not better than a short one (arXiv:2503.20783).
    """

    longest: int
    low: float = 0.2
    high: float = 0.2
    beta: float = 0.0

    def __call__(self, model: Transformer, batch: Batch) -> Loss:
        """The loss of the completions."""
        mask = batch.loss_mask
        assert mask is not None
        found = token_log_probs(model, batch)
        sampled, advantage = batch["sampled"], batch["advantages"][:, None]
        each = clipped_losses(found, sampled, advantage, low=self.low, high=self.high)
        clipped = is_clipped(found.detach(), sampled, advantage, low=self.low, high=self.high)
        count = mask.sum()
        metrics: dict[str, Metric] = {"clip_ratio/region_mean": Mean((clipped & mask).sum(), count)}
        if self.beta:
            away = divergences(found, batch["reference"], sampled)
            each = each + self.beta * away
            metrics["kl"] = Mean((away.detach() * mask).sum(), count)
        for name, values in batch.tensors.items():
            if name.startswith("reward_"):
                metrics[f"rewards/{name.removeprefix('reward_')}/mean"] = values.mean()
        if "total" in batch.tensors:
            metrics["reward"] = batch["total"].mean()
            metrics["completions/clipped_ratio"] = 1 - batch["ended"].mean()
            metrics["completions/mean_length"] = batch["lengths"].mean()
        total = (each * mask).sum() / self.longest
        return Loss(total, len(mask), metrics)
