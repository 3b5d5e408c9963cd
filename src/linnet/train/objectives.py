"""What training minimises: an objective maps a model and a batch to a :class:`Loss`.

An objective is a function, or a module where it owns parameters (trained and saved with the
model's) or buffers (saved). It may be given any piece of a batch that is cut between units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from linnet.errors import ConfigError
from linnet.train.config import OBJECTIVES

if TYPE_CHECKING:
    from linnet.model import Transformer
    from linnet.shards.batches import Batch
    from linnet.train.distributed import World


class Mean(NamedTuple):
    """A figure that is a mean over something else than the loss is."""

    sum: Tensor | float
    weight: Tensor | float


Metric: TypeAlias = "Tensor | float | Mean"


@dataclass(frozen=True)
class Loss:
    """The loss of a batch or of a piece of it, such that those of the pieces add up."""

    sum: Tensor
    """Over whatever is counted: tokens, examples, pairs."""
    weight: float
    """How many of them; the loss of a batch is all its pieces' sums over all their weights."""
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    """Figures for the log: means over what the loss counts, or a :class:`Mean` of their own."""

    @property
    def mean(self) -> Tensor:
        return self.sum / self.weight

    def detached(self) -> Loss:
        """The same figures without what is kept for the gradient."""
        metrics = {name: _detached(value) for name, value in self.metrics.items()}
        return Loss(self.sum.detach(), self.weight, metrics)


def _detached(value: Metric) -> Metric:
    if isinstance(value, Mean):
        return Mean(*(each.detach() if isinstance(each, Tensor) else each for each in value))
    return value.detach() if isinstance(value, Tensor) else value


Objective: TypeAlias = "Callable[[Transformer, Batch], Loss]"


def named_objective(name: str, *, causal: bool) -> Objective:
    """The objective of this name in ``OBJECTIVES``; ``auto``: the usual one.

    Raises ConfigError for one of encoders where the model is causal, and the reverse.
    """
    usual = "next_token" if causal else "masked_token"
    name = usual if name == "auto" else name
    if OBJECTIVES[name].causal != causal:
        raise ConfigError(
            f"objective {name} is not for {'causal models' if causal else 'encoders'}; use {usual}"
        )
    found: Objective = OBJECTIVES[name].load()
    return found


CHUNK_LOGITS = 1 << 20  # logits held at once: 4 MB in fp32, which stays in the cache
CHUNK_ROWS = 256  # but no fewer states: thin products take twice as long


class Totals(NamedTuple):
    """The losses of all pieces of a batch, as one."""

    weight: float
    mean: float
    metrics: dict[str, float]


def add_up(losses: Sequence[Loss], world: World) -> Totals:
    """The mean loss and metrics of a batch from those of its pieces, on all ranks.

    A metric that nothing in the batch counts for has no mean, and is left out.
    """
    sums: dict[str, list[float]] = {}
    for loss in losses:
        found: dict[str, Metric] = {"": Mean(loss.sum, loss.weight), **loss.metrics}
        for name, value in found.items():
            if not isinstance(value, Mean):
                value = Mean(float(value) * loss.weight, loss.weight)
            entry = sums.setdefault(name, [0.0, 0.0])
            entry[0] += float(value.sum)
            entry[1] += float(value.weight)
    totals = world.sum({name: total for name, (total, _) in sums.items()})
    weights = world.sum({name: weight for name, (_, weight) in sums.items()})
    means = {name: total / weights[name] for name, total in totals.items() if weights[name]}
    return Totals(weights[""], means.pop("", 0.0), means)


class TrainingStep(nn.Module):
    """A model and its objective as one module, through whose call every forward pass goes.

    What distributes training wraps this one, so that it sees every use of the model, and
    the parameters that the objective owns.
    """

    def __init__(self, model: Transformer, objective: Objective) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(
        self, batch: Batch | None = None, *, evaluate: Callable[[Transformer], Any] | None = None
    ) -> Any:
        """The loss of a batch, or what ``evaluate`` computes with the model."""
        if evaluate is not None:
            return evaluate(self.model)
        assert batch is not None
        return self.objective(self.model, batch)


def next_token(model: Transformer, batch: Batch) -> Loss:
    """The negative log-likelihood of each trained next token, in nats."""
    return target_loss(model, batch)


def masked_token(model: Transformer, batch: Batch) -> Loss:
    """The negative log-likelihood of the tokens that were masked (arXiv:1810.04805), in nats.

    The batch comes from :class:`linnet.train.masking.MaskedBatches`: its targets are the
    tokens themselves. An output layer guesses them from both sides.
    """
    return target_loss(model, batch)


def target_loss(model: Transformer, batch: Batch) -> Loss:
    """The cross-entropy of ``targets`` where the loss mask is True.

    States that are not trained never meet the output layer, which with a small
    model and a large vocabulary is most of the work.
    """
    chosen = None
    if batch.loss_mask is not None:
        chosen = batch.loss_mask.flatten().nonzero().squeeze(1)
        if not len(chosen):
            return Loss(torch.zeros((), device=batch.tokens.device), 0.0)
    hidden = model.hidden(batch.tokens, segment_ids=batch.segment_ids).flatten(0, 1)  # (B*T, D)
    targets = batch.targets.flatten()
    if chosen is not None:
        hidden, targets = hidden[chosen], targets[chosen]
    states = model.readout(hidden)
    total = linear_cross_entropy(
        states,
        model.output_table,
        targets,
        bias=model.output_bias,
        softcap=model.config.logit_softcap,
    )
    return Loss(total, len(targets))


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


def linear_log_probs(
    hidden: Tensor,
    table: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> Tensor:
    """The log-probability ``(N,)`` of each id ``(N,)`` after its state ``(N, D)``, in fp32.

    As :func:`linear_cross_entropy`, of which it is the negative one by one: logits are never
    whole. For the gradient, which may be another for each, they are made once more.
    """
    return _LinearLogProbs.apply(hidden, table, targets, bias, softcap)  # type: ignore[no-any-return]


class _LinearLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        table: Tensor,
        targets: Tensor,
        bias: Tensor | None,
        softcap: float | None,
    ) -> Tensor:
        weight = table.to(hidden.dtype)
        found = hidden.new_empty(len(targets), dtype=torch.float32)
        for part in _chunks(len(targets), len(table)):
            logits, _ = _logits(hidden[part], weight, bias, softcap)
            at_target = logits.gather(1, targets[part, None]).squeeze(1)
            found[part] = at_target - logits.logsumexp(1)
        ctx.save_for_backward(hidden, table, targets, bias)
        ctx.softcap = softcap
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        hidden, table, targets, bias = ctx.saved_tensors
        wanted, table_wanted, _, bias_wanted, _ = ctx.needs_input_grad
        weight = table.to(hidden.dtype)
        hidden_grad = torch.empty_like(hidden) if wanted else None
        table_grad = torch.zeros_like(table, dtype=torch.float32) if table_wanted else None
        bias_grad = torch.zeros_like(bias, dtype=torch.float32) if bias_wanted else None
        for part in _chunks(len(targets), len(table)):
            states, ids = hidden[part], targets[part, None]
            logits, bent = _logits(states, weight, bias, ctx.softcap)
            # d log p / d logits = one at the target, less probabilities
            slope = logits.softmax(1).neg_()
            slope.scatter_add_(1, ids, slope.new_ones(ids.shape))
            slope *= gradient[part, None]
            if bent is not None:
                slope *= 1 - bent.square_()
            narrow = slope.to(hidden.dtype)
            if hidden_grad is not None:
                torch.mm(narrow, weight, out=hidden_grad[part])
            if table_grad is not None:
                _add_product(table_grad, narrow.T, states)
            if bias_grad is not None:
                bias_grad += slope.sum(0)
        return (
            hidden_grad,
            None if table_grad is None else table_grad.to(table.dtype),
            None,
            None if bias_grad is None else bias_grad.to(bias.dtype),
            None,
        )


def _chunks(count: int, vocabulary: int) -> Iterator[slice]:
    """So many states in parts whose logits are held at once."""
    rows = max(CHUNK_ROWS, CHUNK_LOGITS // vocabulary)
    return (slice(start, start + rows) for start in range(0, count, rows))


def _logits(
    states: Tensor, weight: Tensor, bias: Tensor | None, softcap: float | None
) -> tuple[Tensor, Tensor | None]:
    """Logits in fp32; and what was bent of them, where they are."""
    logits = (states @ weight.T).float()
    if bias is not None:
        logits += bias.float()
    if softcap is None:
        return logits, None
    bent = torch.tanh(logits.div_(softcap))
    return bent * softcap, bent
