"""The optimizers, the rates, and which parameter goes where: against an SVD and formulas."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from linnet.model import Transformer
from linnet.train import TrainConfig
from linnet.train.config import FAMILIES
from linnet.train.optimizers import POLAR_EXPRESS, Muon, build_optimizers, orthogonalise
from linnet.train.schedule import rate

LEAST, MOST = 0.41, 1.58  # of the singular values that four iterations give


def matrix(rows: int, columns: int, values: Tensor, *, seed: int = 0) -> Tensor:
    """A matrix with these singular values and random singular vectors, in fp64."""
    generator = torch.Generator().manual_seed(seed)

    def orthonormal(size: int) -> Tensor:
        drawn = torch.randn(size, len(values), generator=generator, dtype=torch.float64)
        return torch.linalg.qr(drawn).Q

    return orthonormal(rows) @ torch.diag(values.double()) @ orthonormal(columns).mT


@pytest.mark.parametrize("shape", [(32, 32), (64, 24), (24, 64)])
def test_orthogonalising_keeps_singular_vectors_and_bounds_their_values(
    shape: tuple[int, int],
) -> None:
    """The polynomials, applied to the singular values that an SVD finds."""
    values = torch.logspace(0, -2.5, min(shape))  # the least is 1/600 of their norm
    several = torch.stack([matrix(*shape, values), matrix(*shape, 1e-3 * values.flip(0), seed=1)])
    found = orthogonalise(several, torch.float64)
    for before, after in zip(several, found, strict=True):
        left, singular, right = torch.linalg.svd(before, full_matrices=False)
        moved = singular / (1.02 * before.norm() + 1e-6)
        for a, b, c in POLAR_EXPRESS:
            moved = a * moved + b * moved**3 + c * moved**5
        torch.testing.assert_close(after, left @ torch.diag(moved) @ right, rtol=1e-6, atol=1e-8)
        assert torch.linalg.svdvals(after).min() > LEAST
        assert torch.linalg.svdvals(after).max() < MOST
        # Closer to the nearest orthogonal matrix than to none.
        assert (after - left @ right).norm() < 0.6 * (left @ right).norm()


def test_what_orthogonalising_promises_of_singular_values() -> None:
    """Over all values that can be, where the docstring draws the line."""
    values = torch.logspace(-4, 0, 20_001, dtype=torch.float64)
    moved = values / 1.02
    for a, b, c in POLAR_EXPRESS:
        moved = a * moved + b * moved**3 + c * moved**5
    usual = moved[values >= 1e-3]
    assert LEAST - 0.01 < usual.min() < LEAST
    assert MOST - 0.01 < usual.max() < MOST
    assert (moved / values).max() < math.prod(a for a, _, _ in POLAR_EXPRESS) < 422
    assert (moved > 0).all()  # no direction is turned round


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_orthogonalising_in_few_bits(dtype: torch.dtype) -> None:
    gradient = torch.randn(3, 96, 48, generator=torch.Generator().manual_seed(0))
    found = orthogonalise(gradient, dtype)
    assert found.dtype == gradient.dtype
    values = torch.linalg.svdvals(found)
    assert values.min() > LEAST - 0.02
    assert values.max() < MOST + 0.02
    exact = orthogonalise(gradient.double(), torch.float64).float()
    error = (found - exact).norm() / exact.norm()
    assert error < (0.1 if dtype == torch.bfloat16 else 1e-4)
    assert not orthogonalise(torch.zeros(1, 4, 4), dtype).any()


def test_muon_is_momentum_orthogonalised() -> None:
    """Three steps on several shapes, each parameter computed alone by the formula."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(6, 4), (4, 6), (6, 4), (5, 5), (3, 3)]
    parameters = [nn.Parameter(torch.randn(s, generator=generator)) for s in shapes]
    expected = [p.detach().clone() for p in parameters]
    momenta = [torch.zeros_like(p) for p in expected]
    optimizer = Muon(parameters, lr=0.1, momentum=0.9, weight_decay=0.2, dtype=torch.float32)
    for _ in range(3):
        for index, parameter in enumerate(parameters[:-1]):  # the last one has no gradient
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = gradient
            momenta[index] = 0.9 * momenta[index] + 0.1 * gradient
            update = 0.1 * gradient + 0.9 * momenta[index]
            direction = orthogonalise(update[None], torch.float32)[0]
            rows, columns = parameter.shape
            size = 0.1 * max(1.0, rows / columns) ** 0.5
            expected[index] = expected[index] * (1 - 0.1 * 0.2) - size * direction
        optimizer.step()
    for parameter, value in zip(parameters, expected, strict=True):
        torch.testing.assert_close(parameter.detach(), value, rtol=1e-4, atol=1e-5)


VECTORS = ("norm.weight", "norm.bias", ".bias", "alpha_p", "alpha_n")
TABLES = {"embedding.weight", "position_embedding.weight", "type_embedding.weight"}


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_parameter_has_one_optimizer_and_its_rate(
    family: Any, tied: bool, optimizer: Any
) -> None:
    """Muon gets the matrices inside the blocks (and the masked head's), AdamW all else."""
    config = TrainConfig(
        family=family, tied=tied, optimizer=optimizer, width=32, depth=2, head_width=16,
        context=8, batch_tokens=8, steps=1, matrix_lr=0.1, embedding_lr=0.2, vector_lr=0.3,
        output_lr=0.4, weight_decay=0.5,
    )  # fmt: skip
    with torch.device("meta"):
        model = Transformer(config.model(64, end_of_text=0, pad=1))
    found: dict[int, tuple[str, float, float]] = {}
    for each in build_optimizers(model, config, dtype=torch.float32):
        for group in each.param_groups:
            for parameter in group["params"]:
                assert id(parameter) not in found
                kind = type(each).__name__
                found[id(parameter)] = (kind, group["peak_lr"], group["weight_decay"])
    matrices = ("Muon" if optimizer == "muon" else "FusedAdamW", 0.1, 0.5)
    for name, parameter in model.named_parameters():
        if name in TABLES:
            expected = ("FusedAdamW", 0.2, 0.0)
        elif name == "output.weight":
            expected = ("FusedAdamW", 0.4, 0.0)
        elif name.endswith(VECTORS):
            expected = ("FusedAdamW", 0.3, 0.0)
        else:
            assert parameter.dim() == 2, name
            expected = matrices
        assert found.pop(id(parameter)) == expected, name
    assert not found


@pytest.mark.parametrize("warmup", [0, 10])
@pytest.mark.parametrize("schedule", ["wsd", "cosine"])
def test_rates_are_those_of_transformers(schedule: Any, warmup: int) -> None:
    transformers = pytest.importorskip("transformers")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    reference: LambdaLR
    if schedule == "wsd":
        reference = transformers.get_wsd_schedule(
            optimizer, warmup, 40, num_training_steps=100, decay_type="linear"
        )
    else:
        reference = transformers.get_cosine_schedule_with_warmup(optimizer, warmup, 100)
    for step in range(100):
        found = rate(step / 100, schedule=schedule, warmup=warmup / 100, decay=0.4)
        assert found == pytest.approx(reference.get_last_lr()[0], abs=1e-9), step
        optimizer.step()
        reference.step()
    assert rate(1.0, schedule=schedule, warmup=warmup / 100, decay=0.4) == pytest.approx(0)


def test_without_decay_the_rate_stays() -> None:
    assert [rate(p, schedule="wsd", warmup=0.0, decay=0.0) for p in (0.0, 0.5, 1.0)] == [1, 1, 1]
