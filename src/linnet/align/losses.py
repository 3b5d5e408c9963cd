"""What alignment minimises, of log-probabilities alone.

All functions take log-probabilities in nats and give a loss for each pair, completion or token;
means, masks and what is trained are others' business. A *log-ratio* is what a completion is more
likely under the model in training than under the reference. Names of losses are trl's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from linnet.align.config import PreferenceKind


def preference_losses(
    chosen: Tensor,
    rejected: Tensor,
    *,
    kind: PreferenceKind = "sigmoid",
    beta: float,
    smoothing: float = 0.0,
    lengths: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The loss ``(P,)`` of each pair, from the log-ratios ``(P,)`` of its completions.

    ``smoothing``: the share of pairs that may be the wrong way round: with ``sigmoid`` and
    ``sigmoid_norm`` the loss is that mixture (cDPO), with ``robust`` it is made free of bias.
    ``lengths``: tokens of the completions, chosen and rejected, for losses that are of one token.
    """
    if kind in ("ipo", "sigmoid_norm"):
        assert lengths is not None, f"{kind} needs lengths"
        chosen, rejected = chosen / lengths[0], rejected / lengths[1]
    margin = chosen - rejected
    if kind == "ipo":
        return (margin - 1 / (2 * beta)).square()
    right, swapped = -F.logsigmoid(beta * margin), -F.logsigmoid(-beta * margin)
    if kind == "robust":
        return ((1 - smoothing) * right - smoothing * swapped) / (1 - 2 * smoothing)
    return (1 - smoothing) * right + smoothing * swapped


def likelihood_losses(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """The usual loss ``(B,)`` of completions for each token, so that length does not count: beside
    a preference loss it keeps what was chosen likely (arXiv:2404.19733)."""
    return -log_probs / lengths


def desirability_losses(
    log_ratios: Tensor,
    desirable: Tensor,
    *,
    beta: float,
    divergence: Tensor | float,
    weights: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """KTO's loss ``(B,)`` of completions that are good or not (arXiv:2402.01306, equation 7).

    ``desirable``: ``(B,)``, true where one is good. ``divergence``: how far the model is from the
    reference in nats, 0 or more; it gets no gradient. ``weights``: of good ones and of others.
    """
    divergence = torch.as_tensor(divergence, device=log_ratios.device).detach().clamp(min=0)
    ahead = torch.where(desirable, log_ratios - divergence, divergence - log_ratios)
    weight = torch.where(desirable, weights[0], weights[1])
    return weight * (1 - torch.sigmoid(beta * ahead))


def advantages(rewards: Tensor, group: int, *, scale: Literal["none", "group"] = "none") -> Tensor:
    """How much better than its group each completion did, ``(B,)``; ``group`` of them in a row.

    ``none`` leaves differences as they are (arXiv:2503.20783: dividing prefers groups that are
    nearly all right or wrong); ``group`` divides by their deviation as GRPO did at first
    (arXiv:2402.03300). Equal rewards give exactly zero.
    """
    grouped = rewards.view(-1, group)
    equal = (grouped == grouped[:, :1]).all(1, keepdim=True)
    found = (grouped - grouped.mean(1, keepdim=True)).masked_fill(equal, 0.0)
    if scale == "group" and group > 1:
        found = found / (grouped.std(1, keepdim=True) + 1e-4)
    return found.flatten()


def clipped_losses(
    log_probs: Tensor,
    sampled: Tensor,
    advantage: Tensor,
    *,
    low: float = 0.2,
    high: float = 0.2,
) -> Tensor:
    """PPO's clipped loss ``(B, T)`` of tokens (arXiv:1707.06347).

    ``sampled``: the log-probabilities of the tokens when they were sampled. ``advantage``:
    ``(B, 1)``. A ratio may leave ``[1 - low, 1 + high]`` only where that makes things worse.
    """
    ratio = torch.exp(log_probs - sampled)
    bounded = ratio.clamp(1 - low, 1 + high)
    return -torch.minimum(ratio * advantage, bounded * advantage)


def is_clipped(
    log_probs: Tensor, sampled: Tensor, advantage: Tensor, *, low: float = 0.2, high: float = 0.2
) -> Tensor:
    """Where :func:`clipped_losses` gives no gradient, ``(B, T)``."""
    ratio = torch.exp(log_probs - sampled)
    return ((ratio < 1 - low) & (advantage < 0)) | ((ratio > 1 + high) & (advantage > 0))


def divergences(log_probs: Tensor, reference: Tensor, sampled: Tensor | None = None) -> Tensor:
    """An estimate ``(B, T)`` of the KL divergence from the reference at each sampled token.

    Never below zero, and free of bias (k3 of http://joschu.net/blog/kl-approx.html). So is its
    gradient only with ``sampled``, the log-probabilities of the tokens when they were sampled;
    without, it is another divergence's, as GRPO has it (arXiv:2402.03300).
    """
    difference = reference - log_probs
    found = torch.exp(difference) - difference - 1
    return found if sampled is None else torch.exp(log_probs - sampled) * found
