"""Distillation: a smaller model learns what a larger one expects next.

The divergence is the generalised Jensen-Shannon divergence between both distributions
(arXiv:2306.13649): with ``mixing`` 0 the forward Kullback-Leibler divergence, from the teacher to
the student; with 1 the reverse one, which makes the student surer of fewer things; between them one
to their mixture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from linnet.errors import ModelError
from linnet.train.objectives import Loss, Mean, next_token

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.shards.batches import Batch

POSITIONS = 128
"""Whose expectations are compared at once: both models' logits of them are in memory."""


def divergence(
    student: Tensor, teacher: Tensor, *, mixing: float = 0.0, temperature: float = 1.0
) -> Tensor:
    """How far logits ``(N, V)`` of a student are from a teacher's, ``(N,)`` in nats."""
    ours = (student / temperature).log_softmax(-1)
    theirs = (teacher / temperature).log_softmax(-1)
    if mixing == 0:
        return (theirs.exp() * (theirs - ours)).sum(-1)
    if mixing == 1:
        return (ours.exp() * (ours - theirs)).sum(-1)
    both = torch.logaddexp(ours + math.log1p(-mixing), theirs + math.log(mixing))
    of_teacher = (theirs.exp() * (theirs - both)).sum(-1)
    of_student = (ours.exp() * (ours - both)).sum(-1)
    return mixing * of_teacher + (1 - mixing) * of_student


@dataclass(frozen=True)
class DistillationLoss:
    """The loss of the next token, and the divergence from a teacher with the same vocabulary.

    ``weight``: the share of the divergence, of both; with 0 it is plain training.
    """

    teacher: Transformer = field(repr=False)
    weight: float = 1.0
    mixing: float = 0.0
    temperature: float = 1.0

    def __call__(self, model: Transformer, batch: Batch) -> Loss:
        """The loss of a batch, over the tokens that are trained. Raises ModelError for a model of
        another vocabulary."""
        if not self.weight:
            return next_token(model, batch)
        if model.config.vocab_size != self.teacher.config.vocab_size:
            raise ModelError(
                f"the teacher has {self.teacher.config.vocab_size:,} tokens, the student "
                f"{model.config.vocab_size:,}: they must share one vocabulary"
            )
        mask = batch.loss_mask
        chosen = (
            torch.ones(batch.tokens.numel(), dtype=torch.bool, device=batch.tokens.device)
            if mask is None
            else mask.flatten()
        )
        if not chosen.any():
            return Loss(torch.zeros((), device=batch.tokens.device), 0.0)
        hidden = model.hidden(batch.tokens, segment_ids=batch.segment_ids).flatten(0, 1)[chosen]
        with torch.no_grad():
            known = self.teacher.hidden(batch.tokens, segment_ids=batch.segment_ids)
            known = known.flatten(0, 1)[chosen]
        targets = batch.targets.flatten()[chosen]

        def part(states: Tensor, theirs: Tensor, ids: Tensor) -> Tensor:
            logits = model.logits(states)
            with torch.no_grad():
                wanted = self.teacher.logits(theirs)
            apart = divergence(
                logits, wanted, mixing=self.mixing, temperature=self.temperature
            ).sum()
            plain = -logits.log_softmax(-1).gather(1, ids[:, None]).sum()
            return torch.stack((apart, plain))

        sums = torch.zeros(2, device=hidden.device)
        for start in range(0, len(hidden), POSITIONS):
            piece = slice(start, start + POSITIONS)
            made = checkpoint(part, hidden[piece], known[piece], targets[piece],
                              use_reentrant=False)  # fmt: skip
            sums = sums + made
        apart, plain = sums
        # Gradients of the divergence shrink with the square of the temperature.
        total = self.weight * self.temperature**2 * apart + (1 - self.weight) * plain
        count = len(targets)
        metrics = {
            "divergence": Mean(apart.detach(), count), "next_token": Mean(plain.detach(), count)
        }  # fmt: skip
        return Loss(total, count, metrics)
