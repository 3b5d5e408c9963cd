"""Products of few rows, however their matrices are held, against torch's own linear layer."""

import pytest
import torch
import torch.nn.functional as F

from linnet.errors import ConfigError
from linnet.generate import torch_layers
from linnet.generate.torch_layers import DenseProduct, Form, Int8Product, product_of


def random(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("form", ["copied", "shared", "int8"])
@pytest.mark.parametrize("outs", [(96, 32), (2048,), (1100, 1460), (2053,), (3840,)])
@pytest.mark.parametrize("biased", [False, True])
def test_products_are_those_of_linear_layers(
    form: Form, outs: tuple[int, ...], biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Widths that can be cut into blocks and not, of one layer and of two."""
    monkeypatch.setattr(torch_layers, "WORTH_ROUNDING", 0)
    weights = [random(count, 40, seed=count) for count in outs]
    biases = [random(count, seed=count + 1) if biased else None for count in outs]
    product = product_of(weights, biases, torch.float32, form)
    near = 0.3 if form == "int8" else 1e-4
    for rows in (1, 3, 16):
        x = random(rows, 40, seed=rows)
        expected = torch.cat(
            [F.linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True)], 1
        )
        out = torch.full((rows, sum(outs)), 7.0)
        product.into(x, out)
        torch.testing.assert_close(out, expected, atol=near, rtol=0)
        product.add_to(x, out)
        torch.testing.assert_close(out, 2 * expected, atol=2 * near, rtol=0)


def test_which_way_a_matrix_is_held() -> None:
    wide = product_of([random(3840, 8)], [None], torch.float32, "copied")
    assert isinstance(wide, DenseProduct)
    assert wide.blocks is not None
    assert wide.blocks.shape == (10, 8, 384)
    weight = random(3840, 8)
    shared = product_of([weight], [None], torch.float32, "shared")
    assert isinstance(shared, DenseProduct)
    assert shared.weights[0].data_ptr() == weight.data_ptr()
    assert isinstance(product_of([random(640, 640)], [None], torch.float32, "int8"), Int8Product)
    assert isinstance(product_of([random(64, 64)], [None], torch.float32, "int8"), DenseProduct)


def test_a_machine_without_products_of_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_layers, "_has_rounded_products", lambda: False)
    with pytest.raises(ConfigError, match="int8 needs"):
        Int8Product(random(640, 640), None)
