"""Muon for the matrices inside the blocks of a new model, AdamW for everything else.

Adam scales every number by its own history. Muon (Jordan et al., 2024,
https://kellerjordan.github.io/posts/muon) treats a weight matrix as one thing:
it replaces the momentum by the nearest orthogonal matrix, so that every
direction in which the matrix can change moves equally. Embeddings, norms and
the output layer are not such maps, and stay on AdamW (arXiv:1711.05101).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from linnet.train.config import OPTIMIZERS
from linnet.train.state import trained_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from linnet.model import Transformer
    from linnet.train.config import TrainConfig
    from linnet.train.objectives import Objective

FINETUNING_BETAS = 0.9, 0.99  # it is short: a memory of a thousand steps would never fill
# Odd quintics p(s) = a s + b s³ + c s⁵, one per iteration, that together push every
# singular value in (0.001, 1] towards 1 as fast as can be: "Polar Express"
# (arXiv:2505.16932), the published coefficients with its safety factor, but for the
# fifth: it changed no result here and costs a tenth of a step (docs/experiments.md).
POLAR_EXPRESS = (
    (8.156554524902461, -22.48329292557795, 15.878769915207462),
    (4.042929935166739, -2.808917465908714, 0.5000178451051316),
    (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
    (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
)


def orthogonalise(matrices: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Roughly the nearest (semi-)orthogonal matrix to each of ``(N, rows, columns)``.

    Keeps the singular vectors, by matrix products alone. Singular values from a 1,000th of the
    Frobenius norm on end between 0.41 and 1.58; below that they grow at most 422 times.
    """
    x = matrices.to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) * 1.02 + 1e-6)
    for a, b, c in POLAR_EXPRESS:
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, with decoupled weight decay.

    ``lr`` is the size of the step in units of an orthogonal matrix; a matrix with
    more rows than columns gets sqrt(rows / columns) times as much.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float = 0.02,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for alike in by_shape.values():  # one batched product instead of many small ones
                self._step_alike(alike, group)

    def _step_alike(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients: list[Any] = [parameter.grad for parameter in parameters]
        buffers = []
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            buffers.append(state["momentum"])
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, buffers, group["momentum"])  # Nesterov
        rows, columns = parameters[0].shape
        size = group["lr"] * max(1.0, rows / columns) ** 0.5
        directions = orthogonalise(torch.stack(updates), self.dtype)
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        torch._foreach_add_(parameters, list(directions.unbind()), alpha=-size)


def muon(
    matrices: list[Tensor], *, weight_decay: float, dtype: torch.dtype
) -> torch.optim.Optimizer:
    """Muon, computing in ``dtype``."""
    return Muon(matrices, weight_decay=weight_decay, dtype=dtype)


class FusedAdamW(torch.optim.AdamW):
    """AdamW in one pass over all parameters, which notes that they have changed.

    torch's own leaves their versions as they were, so that whoever keeps a copy of the weights to
    write with (``linnet.generate.torch_decoder``) would go on with the old ones.
    """

    def __init__(self, params: Any, **settings: Any) -> None:
        super().__init__(params, **settings, fused=True)

    def step(self, closure: Any = None) -> Any:
        found = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                torch.autograd.graph.increment_version(group["params"])
        return found


def adamw(
    matrices: Iterable[Any], *, weight_decay: float = 0.0, dtype: torch.dtype | None = None
) -> torch.optim.Optimizer:
    """AdamW, which computes in the format of the parameters. Groups do as well as tensors."""
    return FusedAdamW(list(matrices), lr=0.0, betas=(0.9, 0.95), weight_decay=weight_decay)


def build_optimizers(
    model: Transformer, config: TrainConfig, *, dtype: torch.dtype
) -> list[torch.optim.Optimizer]:
    """The chosen optimizer for the matrices inside the blocks, AdamW for tables and vectors.

    Each parameter group holds its peak rate as ``peak_lr``. ``dtype`` is what
    Muon computes in.
    """
    named = list(model.named_parameters())
    vectors = [p for _, p in named if p.dim() < 2]
    tables = [p for n, p in named if "embedding" in n]
    matrices = [
        p for n, p in named if p.dim() == 2 and "embedding" not in n and n != "output.weight"
    ]
    groups: list[dict[str, Any]] = [
        {"params": tables, "peak_lr": config.resolved_embedding_lr},
        {"params": vectors, "peak_lr": config.vector_lr},
    ]
    if not model.config.tied:
        groups.append({"params": [model.output_table], "peak_lr": config.output_lr})
    build = OPTIMIZERS[config.optimizer].load()
    inner = build(matrices, weight_decay=config.weight_decay, dtype=dtype)
    for group in inner.param_groups:
        group["peak_lr"] = config.resolved_matrix_lr
    return [inner, adamw(groups)]


class AdamWToStart(FusedAdamW):
    """AdamW (arXiv:1711.05101) that can also draw weights back to where they began.

    The pull is that of L2-SP (arXiv:1802.01483), decoupled as AdamW's decay is: each
    step first moves a weight by ``lr * pull`` of the way to its start. ``starts`` may be of
    any format, and mapped from the checkpoint: then they take no memory of their own.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        pull: float = 0.0,
        starts: Mapping[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__(groups, lr=0.0, betas=FINETUNING_BETAS, weight_decay=0.0)
        self.pull, self.starts = pull, starts or {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if self.pull:
            for group in self.param_groups:
                for parameter in group["params"]:
                    start = self.starts[parameter].to(parameter)
                    parameter.lerp_(start, min(1.0, group["lr"] * self.pull))
        return super().step(closure)


def finetuning_optimizer(
    model: Transformer,
    *,
    lr: float,
    weight_decay: float = 0.0,
    pull: float = 0.0,
    base: Transformer | None = None,
) -> AdamWToStart:
    """AdamW over all parameters that want a gradient; decay is for matrices alone.

    ``base``: the model that training began from, for the pull towards it.
    """
    trained = trained_tensors(model)
    matrices = [value for value in trained.values() if value.dim() > 1]
    vectors = [value for value in trained.values() if value.dim() < 2]
    groups: list[dict[str, Any]] = [
        {"params": params, "peak_lr": lr, "weight_decay": decay}
        for params, decay in ((matrices, weight_decay), (vectors, 0.0))
        if params
    ]
    starts = None
    if pull and base is not None:
        from_base = dict(base.named_parameters())
        starts = {value: from_base[name].detach() for name, value in trained.items()}
    return AdamWToStart(groups, pull=pull, starts=starts)


def optimizer_of_objective(objective: Objective, *, lr: float) -> list[torch.optim.Optimizer]:
    """AdamW for what an objective trains itself; none for those that own no parameters."""
    owned = objective.parameters() if isinstance(objective, nn.Module) else ()
    trained = [parameter for parameter in owned if parameter.requires_grad]
    return [adamw([{"params": trained, "peak_lr": lr}])] if trained else []
