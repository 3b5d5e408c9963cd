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
CHUNK_ROWS = 256  # but no fewer states: thin products take twice as long


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
        rows = max(CHUNK_ROWS, CHUNK_LOGITS // len(table))
        weight = table.to(hidden.dtype)
        offset = None if bias is None else bias.float()
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wanted, table_wanted, _, bias_wanted, _ = ctx.needs_input_grad
        hidden_grad = torch.empty_like(hidden) if wanted else None
        table_grad = torch.zeros_like(table, dtype=torch.float32) if table_wanted else None
        bias_grad = None
        if bias is not None and bias_wanted:
            bias_grad = torch.zeros_like(bias, dtype=torch.float32)
        # One buffer for all chunks: fresh memory of this size costs more than the arithmetic.
        buffer = hidden.new_empty(min(rows, len(targets)), len(table), dtype=torch.float32)
        product = (
            buffer
            if hidden.dtype == torch.float32
            else torch.empty_like(buffer, dtype=hidden.dtype)
        )
        for start in range(0, len(targets), rows):
            states, ids = hidden[start : start + rows], targets[start : start + rows, None]
            logits = buffer[: len(ids)]  # (rows, V)
            torch.mm(states, weight.T, out=product[: len(ids)])
            if product is not buffer:
                logits.copy_(product[: len(ids)])
            if offset is not None:
                logits += offset
            bent = None
            if softcap is not None:
                bent = torch.tanh(logits.div_(softcap))
                torch.mul(bent, softcap, out=logits)
            at_target, largest = logits.gather(1, ids), logits.amax(1, keepdim=True)
            weights = logits.sub_(largest).exp_()
            whole = weights.sum(1, keepdim=True)
            total += (whole.log() + largest - at_target).sum()
            if not (wanted or table_wanted or bias_wanted):
                continue
            # d loss / d logits = probabilities, less one at the target
            slope = weights.div_(whole)
            slope.scatter_add_(1, ids, slope.new_full((len(ids), 1), -1.0))
            if bent is not None:
                slope *= 1 - bent.square_()
            narrow = slope if product is buffer else product[: len(ids)].copy_(slope)
            if hidden_grad is not None:
                torch.mm(narrow, weight, out=hidden_grad[start : start + rows])
            if table_grad is not None:
                _add_product(table_grad, narrow.T, states)
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


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add ``left @ right`` to ``total``, which is in fp32."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right
