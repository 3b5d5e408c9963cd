"""Distillation: a smaller model learns what a larger one expects next.

The divergence is the generalised Jensen-Shannon divergence between both distributions
(arXiv:2306.13649): with ``mixing`` 0 the forward Kullback-Leibler divergence, from the teacher to
the student; with 1 the reverse one, which makes the student surer of fewer things; between them one
to their mixture. What a teacher expects comes from ``linnet.distil.teachers``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from linnet.errors import ModelError
from linnet.train.objectives import Loss, Mean, Metric, next_token

if TYPE_CHECKING:
    from linnet.distil.teachers import Expected, Teacher
    from linnet.model import Transformer
    from linnet.shards.batches import Batch

CHUNK_LOGITS = 1 << 20
"""Logits of each model that are held at once: 4 MB in fp32."""
CHUNK_ROWS = 64  # but no fewer states: thin products take longer


def divergence(ours: Tensor, theirs: Tensor, *, mixing: float = 0.0) -> Tensor:
    """How far log-probabilities ``(N, C)`` of a student are from a teacher's, ``(N,)`` in nats."""
    if mixing == 0:
        return (theirs.exp() * (theirs - ours)).sum(-1)
    if mixing == 1:
        return (ours.exp() * (ours - theirs)).sum(-1)
    both = torch.logaddexp(ours + math.log1p(-mixing), theirs + math.log(mixing))
    of_teacher = (theirs.exp() * (theirs - both)).sum(-1)
    of_student = (ours.exp() * (ours - both)).sum(-1)
    return mixing * of_teacher + (1 - mixing) * of_student


def matching(logits: Tensor, expected: Expected, *, temperature: float = 1.0) -> Tensor:
    """The log-probabilities of a student's logits ``(N, V)`` for what a teacher tells apart.

    Where those are a few tokens and all others together, the probabilities of these add up.
    """
    if expected.ids is None:  # all tokens; rows of the table behind them are of none
        return (logits[:, : expected.log_probs.shape[1]] / temperature).log_softmax(-1)
    found = (logits / temperature).log_softmax(-1)
    chosen = found.gather(1, expected.ids)
    rest = found.scatter(1, expected.ids, -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat((chosen, rest), 1)


@dataclass(frozen=True)
class DistillationLoss:
    """The loss of the next token, and the divergence from a teacher with the same vocabulary.

    ``weight``: the share of the divergence, of both; with 0 it is plain training. Where a batch's
    ``sampled`` ``(B, T)`` is true, the student wrote the next token itself: it learns from what
    the teacher expects there (arXiv:2306.13649), and not to write it again.
    """

    teacher: Teacher | None = field(repr=False)
    weight: float = 1.0
    mixing: float = 0.0
    temperature: float = 1.0

    def __call__(self, model: Transformer, batch: Batch) -> Loss:
        """The loss of a batch, over the tokens that are trained. Raises ModelError for a model of
        another vocabulary."""
        if not self.weight or self.teacher is None:
            return next_token(model, batch)
        if self.teacher.tokens > model.config.vocab_size:
            raise ModelError(
                f"the teacher has {self.teacher.tokens:,} tokens, the student "
                f"{model.config.vocab_size:,}: they must share one vocabulary"
            )
        mask = batch.loss_mask
        everywhere = torch.ones_like(batch.tokens, dtype=torch.bool)
        chosen = (everywhere if mask is None else mask).flatten()
        if not chosen.any():
            return Loss(torch.zeros((), device=batch.tokens.device), 0.0)
        hidden = model.hidden(batch.tokens, segment_ids=batch.segment_ids).flatten(0, 1)[chosen]
        with torch.no_grad():
            reading = self.teacher.read(batch, chosen)
        targets = batch.targets.flatten()[chosen]
        given = torch.ones_like(targets, dtype=torch.bool)
        if "sampled" in batch.tensors:
            given = ~batch["sampled"].flatten()[chosen]

        def loss_of(logits: Tensor, part: slice) -> tuple[Tensor, tuple[Tensor, ...]]:
            with torch.no_grad():
                expected = reading.expected(part, self.temperature)
            ours = matching(logits, expected, temperature=self.temperature)
            apart = divergence(ours, expected.log_probs, mixing=self.mixing).sum()
            plain = F.cross_entropy(logits, targets[part], reduction="none")[given[part]].sum()
            # Gradients of the divergence shrink with the square of the temperature.
            total = self.weight * self.temperature**2 * apart + (1 - self.weight) * plain
            return total, (apart, plain)

        total, (apart, plain) = chunked_loss(model, hidden, loss_of, figures=2)
        count, of_text = len(targets), int(given.sum())
        metrics: dict[str, Metric] = {"divergence": Mean(apart, count)}
        if of_text:
            metrics["next_token"] = Mean(plain, of_text)
        return Loss(total, count, metrics)


LossOf: TypeAlias = "Callable[[Tensor, slice], tuple[Tensor, tuple[Tensor, ...]]]"


class Sums(NamedTuple):
    """A loss, and figures without a gradient, added up over all states."""

    total: Tensor
    figures: tuple[Tensor, ...]


def chunked_loss(model: Transformer, hidden: Tensor, loss_of: LossOf, *, figures: int) -> Sums:
    """The sum of a loss over a model's states ``(N, D)``, logits never whole.

    ``loss_of``: the loss of the logits of some of the states, ``(n, V)`` in fp32, and ``figures``
    for the log. Each chunk of logits is turned into its gradients at once and forgotten.
    """
    found = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
        model.readout(hidden), model.output_table, model.output_bias,
        model.config.logit_softcap, loss_of, figures,
    )  # fmt: skip
    return Sums(found[0], tuple(found[1].unbind()))


class _ChunkedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        table: Tensor,
        bias: Tensor | None,
        softcap: float | None,
        loss_of: LossOf,
        figures: int,
    ) -> tuple[Tensor, Tensor]:
        rows = max(CHUNK_ROWS, CHUNK_LOGITS // len(table))
        weight = table.to(states.dtype)
        wanted, table_wanted, bias_wanted = ctx.needs_input_grad[:3]
        states_grad = torch.empty_like(states) if wanted else None
        table_grad = torch.zeros_like(table, dtype=torch.float32) if table_wanted else None
        bias_grad = torch.zeros_like(bias, dtype=torch.float32) if bias_wanted else None  # type: ignore[arg-type]
        total = torch.zeros((), device=states.device)
        sums = torch.zeros(figures, device=states.device)
        for start in range(0, len(states), rows):
            part = slice(start, min(start + rows, len(states)))
            scores = (states[part] @ weight.T).float()
            with torch.set_grad_enabled(wanted or table_wanted or bias_wanted):
                scores.requires_grad_(torch.is_grad_enabled())
                logits = scores if bias is None else scores + bias.detach().float()
                if softcap is not None:
                    logits = softcap * torch.tanh(logits / softcap)
                loss, found = loss_of(logits, part)
            total += loss.detach()
            sums += torch.stack(found).detach()
            if not scores.requires_grad:
                continue
            (slope,) = torch.autograd.grad(loss, scores)
            narrow = slope.to(states.dtype)
            if states_grad is not None:
                torch.mm(narrow, weight, out=states_grad[part])
            if table_grad is not None:
                table_grad += narrow.T @ states[part]
            if bias_grad is not None:
                bias_grad += slope.sum(0)
        ctx.save_for_backward(states_grad, table_grad, bias_grad)
        ctx.formats = (table.dtype, None if bias is None else bias.dtype)
        ctx.mark_non_differentiable(sums)
        return total, sums

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, table, bias = ctx.saved_tensors
        table_dtype, bias_dtype = ctx.formats
        scale = gradients[0]
        return (
            None if states is None else states * scale.to(states.dtype),
            None if table is None else (table * scale).to(table_dtype),
            None if bias is None else (bias * scale).to(bias_dtype),
            None,
            None,
            None,
        )
