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

CHUNK_LOGITS = 1 << 20  # logits held at once: 4 MB in fp32, which stays in the cache


def next_token(model: Transformer, batch: Batch) -> tuple[Tensor, Metrics]:
    """Mean negative log-likelihood of each next token, in nats."""
    hidden = model.hidden(batch.tokens).flatten(0, 1)  # (B*T, D)
    targets = batch.targets.flatten()
    return linear_cross_entropy(hidden, model.output_table, targets) / len(targets), {}


def linear_cross_entropy(hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """The summed cross-entropy of states ``(N, D)`` against ids ``(N,)``, logits never whole.

    The logits ``hidden @ table.T`` are the biggest thing in memory, and with a
    small model the slowest to walk over. So they are made in chunks, and each
    chunk is turned into its gradients at once and forgotten.
    """
    return _LinearCrossEntropy.apply(hidden, table, targets)  # type: ignore[no-any-return]


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        rows = max(16, CHUNK_LOGITS // len(table))
        weight = table.to(hidden.dtype)
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        wanted = any(ctx.needs_input_grad[:2])
        hidden_grad = torch.empty_like(hidden) if wanted else None
        table_grad = torch.zeros_like(table, dtype=torch.float32) if wanted else None
        for start in range(0, len(targets), rows):
            states, ids = hidden[start : start + rows], targets[start : start + rows, None]
            log_chances = (states @ weight.T).float().log_softmax(1)  # (rows, V)
            total -= log_chances.gather(1, ids).sum()
            if hidden_grad is None or table_grad is None:
                continue
            # d loss / d logits = probabilities, less one at the target
            slope = log_chances.exp_()
            slope.scatter_add_(1, ids, slope.new_full((len(ids), 1), -1.0))
            narrow = slope.to(hidden.dtype)
            hidden_grad[start : start + rows] = narrow @ weight
            table_grad += narrow.T @ states
        ctx.save_for_backward(hidden_grad, table_grad)
        ctx.table_dtype = table.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_grad, table_grad = ctx.saved_tensors
        (gradient,) = gradients
        scaled = (table_grad * gradient).to(ctx.table_dtype)
        return hidden_grad * gradient.to(hidden_grad.dtype), scaled, None
