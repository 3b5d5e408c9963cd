"""What training minimises. An objective maps a model and a batch to a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.shards.batches import Batch

Metrics: TypeAlias = dict[str, float]
Objective: TypeAlias = "Callable[[Transformer, Batch], tuple[Tensor, Metrics]]"
"""The loss is the mean over the batch's trained tokens, of which there is at least one."""

CHUNK_LOGITS = 1 << 20  # logits held at once: 4 MB in fp32, which stays in the cache


def next_token(model: Transformer, batch: Batch) -> tuple[Tensor, Metrics]:
    """Mean negative log-likelihood of each trained next token, in nats."""
    return guessed(model, batch), {}


def masked_token(model: Transformer, batch: Batch) -> tuple[Tensor, Metrics]:
    """Mean negative log-likelihood of the tokens that were masked (arXiv:1810.04805), in nats.

    The batch comes from :class:`linnet.train.masking.Masked`: its targets are the
    tokens themselves. An output layer guesses them from both sides.
    """
    return guessed(model, batch), {}


def guessed(model: Transformer, batch: Batch) -> Tensor:
    """The mean cross-entropy where the loss mask is True.

    States that are not trained never meet the output layer, which with a small
    model and a large vocabulary is most of the work.
    """
    hidden = model.hidden(batch.tokens, segment_ids=batch.segment_ids).flatten(0, 1)  # (B*T, D)
    targets = batch.targets.flatten()
    if batch.loss_mask is not None:
        chosen = batch.loss_mask.flatten().nonzero().squeeze(1)
        hidden, targets = hidden[chosen], targets[chosen]
    states = model.readout(hidden)
    total = linear_cross_entropy(
        states,
        model.output_table,
        targets,
        bias=model.output_bias,
        softcap=model.config.logit_softcap,
    )
    return total / len(targets)


def linear_cross_entropy(
    hidden: Tensor,
    table: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> Tensor:
    """The summed cross-entropy of states ``(N, D)`` against ids ``(N,)``, logits never whole.

    The logits ``hidden @ table.T + bias`` are the biggest thing in memory, and with a
    small model the slowest to walk over. So they are made in chunks, and each
    chunk is turned into its gradients at once and forgotten. ``table`` ``(V, D)`` and
    ``bias`` ``(V,)`` may be of any format, and frozen: then they cost no gradient.
    ``softcap`` bends logits to ``softcap * tanh(logit / softcap)``.
    """
    return _LinearCrossEntropy.apply(hidden, table, targets, bias, softcap)  # type: ignore[no-any-return]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        table: Tensor,
        targets: Tensor,
        bias: Tensor | None,
        softcap: float | None,
    ) -> Tensor:
        rows = max(16, CHUNK_LOGITS // len(table))
        weight = table.to(hidden.dtype)
        offset = None if bias is None else bias.to(hidden.dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wanted, table_wanted, _, bias_wanted, _ = ctx.needs_input_grad
        hidden_grad = torch.empty_like(hidden) if wanted else None
        table_grad = torch.zeros_like(table, dtype=torch.float32) if table_wanted else None
        bias_grad = None
        if bias is not None and bias_wanted:
            bias_grad = torch.zeros_like(bias, dtype=torch.float32)
        for start in range(0, len(targets), rows):
            states, ids = hidden[start : start + rows], targets[start : start + rows, None]
            logits = torch.nn.functional.linear(states, weight, offset).float()  # (rows, V)
            bent = None if softcap is None else torch.tanh(logits / softcap)
            log_chances = (
                logits if bent is None or softcap is None else bent * softcap
            ).log_softmax(1)
            total -= log_chances.gather(1, ids).sum()
            if not (wanted or table_wanted or bias_wanted):
                continue
            # d loss / d logits = probabilities, less one at the target
            slope = log_chances.exp_()
            slope.scatter_add_(1, ids, slope.new_full((len(ids), 1), -1.0))
            if bent is not None:
                slope *= 1 - bent.square()
            narrow = slope.to(hidden.dtype)
            if hidden_grad is not None:
                hidden_grad[start : start + rows] = narrow @ weight
            if table_grad is not None:
                table_grad += narrow.T @ states
            if bias_grad is not None:
                bias_grad += slope.sum(0)
        ctx.save_for_backward(hidden_grad, table_grad, bias_grad)
        ctx.formats = (hidden.dtype, table.dtype, None if bias is None else bias.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        # In place: torch refuses a second use of what was saved and changed.
        scaled = [
            None if saved is None else saved.mul_(gradient.to(saved.dtype)).to(dtype)
            for saved, dtype in zip(ctx.saved_tensors, ctx.formats, strict=True)
        ]
        return scaled[0], scaled[1], None, scaled[2], None
