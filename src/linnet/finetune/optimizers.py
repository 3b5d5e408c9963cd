"""AdamW over what is trained, with a pull towards the weights that training began from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from linnet.train.state import trained_tensors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from linnet.model import Transformer

BETAS = 0.9, 0.99  # fine-tuning is short: a memory of a thousand steps would never fill


class AdamW(torch.optim.AdamW):
    """AdamW (arXiv:1711.05101), fused, that can also draw weights back to where they began.

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
        super().__init__(groups, lr=0.0, betas=BETAS, weight_decay=0.0, fused=True)
        self.pull, self.starts = pull, starts or {}

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        if self.pull:
            for group in self.param_groups:
                for parameter in group["params"]:
                    start = self.starts[parameter].to(parameter)
                    parameter.lerp_(start, min(1.0, group["lr"] * self.pull))
        return super().step(closure)


def build_optimizer(
    model: Transformer,
    *,
    lr: float,
    weight_decay: float = 0.0,
    pull: float = 0.0,
    base: Transformer | None = None,
) -> AdamW:
    """The optimizer of all parameters that want a gradient; decay is for matrices alone.

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
    return AdamW(groups, pull=pull, starts=starts)
