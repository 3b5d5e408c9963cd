"""What trains the other heads: labels of texts and tokens, pairs of answers, texts that belong
together.

A batch has one text in each row of ``tokens``, from its beginning; behind shorter ones
``segment_ids`` are 1 (padding), elsewhere 0. Where a text has two parts, ``token_types`` may say
which a token belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.errors import ModelError
from linnet.model.heads import POOLINGS
from linnet.train.objectives import Loss, Mean

if TYPE_CHECKING:
    from linnet.model import ModelConfig, Transformer
    from linnet.model.config import ProblemType
    from linnet.shards.batches import Batch

IGNORED = -100
"""The label of a token that does not count, as in transformers."""

_POOLINGS = {**POOLINGS, "last": lambda states: states[-1]}


def label_loss(model: Transformer, batch: Batch) -> Loss:
    """How far the head's scores are from the batch's ``labels``, as transformers measures it.

    Of texts: the number of each one's label ``(B,)``, or a number for every label ``(B, labels)``
    (``ModelConfig.problem_type``; where it is None, whole numbers are labels). Of tokens: the
    number of each one's label ``(B, T)``, or ``IGNORED``.
    """
    labels, config = batch["labels"], model.config
    types = batch.tensors.get("token_types")
    if config.head == "token":
        counted = labels != IGNORED
        if not counted.any():
            return Loss(torch.zeros((), device=labels.device), 0.0)
        states = model.hidden(batch.tokens, segment_ids=batch.segment_ids, token_types=types)[
            counted
        ]
        return _chosen_label(model.logits(states), labels[counted])
    if config.head != "sequence":
        raise ModelError(f"labels need a classifier. Got a model with head '{config.head}'")
    scores = model(batch.tokens, segment_ids=batch.segment_ids, token_types=types)  # (B, labels)
    kind = problem_of(config, labels)
    if kind == "single_label_classification":
        return _chosen_label(scores, labels)
    targets = labels.float().view_as(scores)
    if kind == "regression":
        errors = F.mse_loss(scores, targets, reduction="sum")
        off = (scores.detach() - targets).abs().mean()
        return Loss(errors, targets.numel(), {"error": off})
    total = F.binary_cross_entropy_with_logits(scores, targets, reduction="sum")
    right = ((scores.detach() > 0) == (targets > 0.5)).float().mean()
    return Loss(total, targets.numel(), {"accuracy": right})


def problem_of(config: ModelConfig, labels: Tensor) -> ProblemType:
    """What kind of labels these are, where the configuration does not say, as in transformers."""
    if config.problem_type is not None:
        return config.problem_type
    if len(config.labels) == 1:
        return "regression"
    if labels.dtype in (torch.long, torch.int):
        return "single_label_classification"
    return "multi_label_classification"


def _chosen_label(scores: Tensor, labels: Tensor) -> Loss:
    total = F.cross_entropy(scores, labels, reduction="sum")
    right = (scores.detach().argmax(-1) == labels).float().mean()
    return Loss(total, len(labels), {"accuracy": right})


@dataclass(frozen=True)
class PairLoss:
    """Scores the better of two answers higher: a reward model (Bradley-Terry, arXiv:2203.02155).

    Two rows are a unit of the batch, the better first. ``margins`` ``(units,)``, where the batch
    has them, are by how much at least (arXiv:2307.09288).
    """

    center: float = 0.0
    """How strongly the scores of a pair are pulled to a sum of zero (arXiv:2312.09244)."""

    def __call__(self, model: Transformer, batch: Batch) -> Loss:
        """The loss of the pairs."""
        if len(model.config.labels) != 1:
            raise ModelError(
                f"pairs need a head with one score. Got {len(model.config.labels)} labels"
            )
        scores = model(batch.tokens, segment_ids=batch.segment_ids)[:, 0]
        chosen, rejected = scores[0::2], scores[1::2]
        ahead = chosen - rejected
        wanted = ahead - batch["margins"] if "margins" in batch.tensors else ahead
        total = -F.logsigmoid(wanted).sum()
        if self.center:
            total = total + self.center * (chosen + rejected).square().sum()
        seen = ahead.detach()
        metrics = {"accuracy": (seen > 0).float().mean(), "margin": seen.mean()}
        return Loss(total, len(ahead), metrics)


@dataclass(frozen=True)
class ContrastLoss:
    """Moves texts that belong together closer than all others in the batch (arXiv:1807.03748).

    ``groups`` ``(B,)`` of the batch says which texts belong together: of each group the first is
    the question, the second its answer, any others are near misses. Every text but the questions
    is a candidate for each question, so a batch that is cut has fewer: one unit keeps it whole.
    A text is a row of ``tokens``; or there is one row, in which ``segment_ids`` number the texts
    end to end and nothing is padded.
    """

    pooling: str = "mean"
    """A name in ``linnet.model.heads.POOLINGS``; ``last`` for models that see the past alone."""
    scale: float = 20.0
    """What cosines are multiplied by: one over the temperature."""

    def __call__(self, model: Transformer, batch: Batch) -> Loss:
        """The loss of the questions."""
        vectors = self.embed(model, batch)
        groups = batch["groups"]
        starts = torch.ones_like(groups, dtype=torch.bool)
        starts[1:] = groups[1:] != groups[:-1]
        places = starts.nonzero().squeeze(1)
        others = (~starts).cumsum(0) - 1  # where each row stands among the candidates
        scores = vectors[starts] @ vectors[~starts].mT * self.scale
        answers = others[places + 1]
        total = F.cross_entropy(scores, answers, reduction="sum")
        right = (scores.detach().argmax(1) == answers).float()
        return Loss(total, len(answers), {"accuracy": Mean(right.sum(), len(answers))})

    def embed(self, model: Transformer, batch: Batch) -> Tensor:
        """The texts' vectors ``(B, D)``, of length one."""
        hidden = model.hidden(batch.tokens, segment_ids=batch.segment_ids)
        segments = batch.segment_ids
        if segments is None:
            texts = list(hidden)
        elif len(segments) == 1 < len(batch["groups"]):
            texts = list(
                hidden[0].split(segments[0].unique_consecutive(return_counts=True)[1].tolist())
            )
        else:
            lengths = (segments == 0).sum(1)
            texts = [row[:n] for row, n in zip(hidden, lengths.tolist(), strict=True)]
        pool = _POOLINGS[self.pooling]
        pooled = [pool(text) for text in texts]
        return F.normalize(torch.stack(pooled).float(), dim=1)
