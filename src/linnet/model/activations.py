"""The nonlinearities of an MLP: one object each, in one table.

Training, decoding, ``config.json`` and GGUF files all go by it, so a new one is one entry here.
llama.cpp fixes the activation with the architecture: which ones it computes is part of
:class:`linnet.model.families.record.GGUF`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Activation:
    """One nonlinearity."""

    name: str
    """Its value in ``ModelConfig.activation``."""
    published: tuple[str, ...]
    """What ``config.json`` calls it; the first is written."""
    function: Function | None = None
    gated: bool = False
    """Whether it applies to a gate, the product of a third matrix, which multiplies the other's."""
    in_place: Function | None = None
    """The same, for decoding; it may write over its input."""
    module: type[nn.Module] | None = None
    """What holds its own numbers, where it has any; then there is no ``function``."""
    numbers: tuple[str, ...] = ()
    """The names of those; llama.cpp has a list of each, a number per block, under ``NAME.``."""

    def make(self) -> Function:
        """What an MLP computes with: the function, or a new module with numbers of its own."""
        if self.module is not None:
            return self.module()
        assert self.function is not None
        return self.function

    def decoding(self, own: Function) -> Function:
        """What decoding computes with, given what the block's MLP has."""
        if isinstance(own, XIELU):
            return own.decoding()
        return self.in_place or own


class XIELU(nn.Module):
    """The activation of Apertus (arXiv:2411.13010): a square above zero, bounded slope below.

    ``alpha_p relu(x)² + slope (elu(x) - x) + beta x``, with ``alpha_p`` and ``slope - beta``
    positive: the published formula, but for numbers between its ``eps`` and zero, where it
    differs by less than ``eps``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alpha_p = nn.Parameter(torch.tensor([0.2035]))  # softplus gives 0.8
        self.alpha_n = nn.Parameter(torch.tensor([-1.0502]))  # softplus gives 0.3
        self.register_buffer("beta", torch.tensor(0.5))
        self.register_buffer("eps", torch.tensor(-1e-6))

    beta: Tensor
    eps: Tensor

    def forward(self, x: Tensor) -> Tensor:
        alpha = F.softplus(self.alpha_p)
        slope = self.beta + F.softplus(self.alpha_n)
        numbers = (number.to(x.dtype) for number in (alpha, slope, self.beta))
        return _XIELU.apply(x, *numbers)  # type: ignore[no-any-return, no-untyped-call]

    def decoding(self) -> Function:
        """The same with the numbers as they are now, writing over its input."""
        alpha, beta = F.softplus(self.alpha_p).item(), self.beta.item()
        slope = beta + F.softplus(self.alpha_n).item()

        def decode(x: Tensor) -> Tensor:
            y = F.elu(x).mul_(slope).add_(x, alpha=beta - slope)
            above = x.relu_()
            return y.addcmul_(above, above, value=alpha)

        return decode


class _XIELU(torch.autograd.Function):
    """xIELU in a quarter of the time and memory that autograd takes: only ``x`` is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: Tensor, slope: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(x, alpha, slope, beta)
        above = F.relu(x)
        y = F.elu(x).mul_(slope).add_(x * (beta - slope))
        return y.addcmul_(above, above * alpha)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, alpha, slope, beta = ctx.saved_tensors
        above, elu = F.relu(x), F.elu(x)

        exact = torch.promote_types(x.dtype, torch.float32)

        def total(y: Tensor) -> Tensor:
            return (y.flatten().to(exact) @ gradient.flatten().to(exact)).to(x.dtype).view(1)

        alpha_gradient = total(above.square()) if ctx.needs_input_grad[1] else None
        slope_gradient = total(elu - x) if ctx.needs_input_grad[2] else None
        bent = elu.clamp_max_(0).mul_(slope).add_(beta).add_(above.mul_(2 * alpha))
        return bent.mul_(gradient), alpha_gradient, slope_gradient, None


def relu2(x: Tensor) -> Tensor:
    """ReLU² (arXiv:2109.08668)."""
    return F.relu(x).square()


gelu = F.gelu  # arXiv:1606.08415
gelu_tanh = partial(F.gelu, approximate="tanh")
_TANH = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")  # one formula, constants in another order

ACTIVATIONS: dict[str, Activation] = {
    activation.name: activation
    for activation in (
        # Gated ones: arXiv:2002.05202.
        Activation(
            "swiglu", ("silu", "swish"), F.silu, gated=True, in_place=partial(F.silu, inplace=True)
        ),
        Activation("geglu", _TANH, gelu_tanh, gated=True),
        Activation("geglu_exact", ("gelu",), gelu, gated=True),
        Activation("relu2", ("relu2",), relu2),
        Activation("gelu", ("gelu",), gelu),
        Activation("gelu_tanh", _TANH, gelu_tanh),
        Activation(
            "xielu", ("xielu",), module=XIELU, numbers=("alpha_p", "alpha_n", "beta", "eps")
        ),
    )
}
