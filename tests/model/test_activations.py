"""xIELU and its gradients against transformers; every activation as decoding computes it."""

import pytest
import torch

from linnet.model.activations import ACTIVATIONS, XIELU

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def numbers() -> torch.Tensor:
    """None within its ``eps`` of zero, where what is published bends at another place."""
    drawn = torch.randn(40, 50, generator=torch.Generator().manual_seed(0)) * 2
    return torch.where(drawn.abs() < 1e-4, 1.0, drawn)


def pair(dtype: torch.dtype) -> tuple[torch.nn.Module, XIELU]:
    theirs = transformers.activations.XIELUActivation(
        alpha_p_init=0.7, alpha_n_init=0.9, dtype=dtype
    )
    ours = XIELU().to(dtype)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 0.05)]
)
def test_xielu_and_its_gradients_are_those_of_transformers(
    numbers: torch.Tensor, dtype: torch.dtype, tolerance: float
) -> None:
    found = []
    for module in pair(dtype):
        x = numbers.to(dtype, copy=True).requires_grad_()
        y = module(x)
        (y * numbers.to(dtype).cos()).sum().backward()
        assert x.grad is not None
        found.append((y.detach(), x.grad, module.alpha_p.grad, module.alpha_n.grad))
    for theirs, ours in zip(*found, strict=True):
        assert ours.shape == theirs.shape
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_a_frozen_xielu_has_the_same_gradient_for_what_comes_before(numbers: torch.Tensor) -> None:
    theirs, ours = (module.requires_grad_(False) for module in pair(torch.float64))
    gradients = [
        torch.autograd.functional.jacobian(module, numbers[0].double()) for module in (theirs, ours)
    ]
    torch.testing.assert_close(*gradients)


def test_xielu_keeps_its_input_alone(numbers: torch.Tensor) -> None:
    kept: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor) or tensor,  # type: ignore[func-returns-value]
        lambda tensor: tensor,
    ):
        XIELU()(numbers.clone().requires_grad_())
    assert sum(tensor.numel() for tensor in kept) < 1.01 * numbers.numel()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_decoding_computes_the_same(name: str, numbers: torch.Tensor) -> None:
    activation = ACTIVATIONS[name]
    own = activation.make()
    with torch.inference_mode():
        expected = own(numbers.clone())
        found = activation.decoding(own)(numbers.clone())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
