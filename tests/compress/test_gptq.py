"""GPTQ, scaled columns and sparsity: the papers' formulas written out, and what gguf reads."""

import copy
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from linnet.compress.blockwise import (
    _READ_WITH,
    BlockFormat,
    GroupFormat,
    Inputs,
    _best,
    _column_scales,
    _Matrix,
    _may_scale,
    _shrink,
    _ways,
    make_smaller,
)
from linnet.compress.gptq import DAMPING, BlockGrid, Chosen, Groups, energy, gptq, off_by, round_to
from linnet.compress.pruning import PrunedShape, measure_scores, prune
from linnet.compress.sparsity import Sparsity, sparse_gpt, wanda
from linnet.errors import ConfigError, ModelError
from linnet.gguf.architectures import tensors
from linnet.gguf.blocks import BLOCKS, rounded, scales_of, with_codes
from linnet.gguf.quantisation import decoded, encoded, format_of
from linnet.model import ModelConfig, Transformer

gguf = pytest.importorskip("gguf")
pytest.importorskip("libgguf", reason="the extra compress is not installed")


def correlated(width: int, *, count: int = 300, seed: int = 1) -> Tensor:
    """The Hessian of inputs that depend on each other, and matter more or less."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(width, width, generator=generator) / width**0.5 + torch.eye(width)
    inputs = torch.randn(count, width, generator=generator) @ mixed
    inputs *= torch.rand(width, generator=generator) ** 2 * 3
    return inputs.T @ inputs / count


def matrix(rows: int, width: int, seed: int = 2) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)) * 0.1


# --- the formulas ---------------------------------------------------------------------------------


def eliminated(inverse: Tensor, column: int) -> Tensor:
    """The inverse of a Hessian without a column: (3) of arXiv:2210.17323."""
    return inverse - torch.outer(inverse[:, column], inverse[column]) / inverse[column, column]


def written_out(values: Tensor, hessian: Tensor, bits: int, size: int, order: Tensor | None) -> Any:
    """GPTQ with the inverse updated column by column, without Cholesky or blocks."""
    width, most = values.shape[1], 2 ** (bits - 1) - 1
    work, found = values.double().clone(), torch.zeros_like(values, dtype=torch.float64)
    damped = hessian.double() + DAMPING * hessian.double().diagonal().mean() * torch.eye(width)
    inverse = torch.linalg.inv(damped)
    scale = torch.zeros_like(work)

    def fit(group: slice) -> None:
        scale[:, group] = (work[:, group].abs().amax(1) / most)[:, None]

    if order is not None:
        for start in range(0, width, size):
            fit(slice(start, start + size))
    for place, column in enumerate(order.tolist() if order is not None else range(width)):
        if order is None and place % size == 0:
            fit(slice(place, place + size))
        found[:, column] = (work[:, column] / scale[:, column]).round().clamp(-most - 1, most)
        found[:, column] *= scale[:, column]
        error = (work[:, column] - found[:, column]) / inverse[column, column]
        work -= torch.outer(error, inverse[column])
        inverse = eliminated(inverse, column)
        inverse[column, column] = 1  # done with it; its row and column are zero
    return found


@pytest.mark.parametrize(("bits", "size", "width"), [(4, 64, 128), (8, 64, 128), (4, 128, 96)])
@pytest.mark.parametrize("ordered", [False, True])
def test_gptq_is_its_formula(bits: int, size: int, width: int, ordered: bool) -> None:
    values, hessian = matrix(12, width), correlated(width)
    grid = Groups(bits, size, searched=False)
    found = gptq(values, hessian, grid, ordered=ordered)
    order = hessian.diagonal().argsort(descending=True, stable=True) if ordered else None
    expected = written_out(values, hessian, bits, size if width % size == 0 else width, order)
    torch.testing.assert_close(found.values.double(), expected, rtol=0, atol=2e-5)
    assert off_by(values, found.values, hessian) < 0.7 * off_by(
        values, round_to(values, grid, hessian.diagonal()).values, hessian
    )


def test_gptq_lies_between_rounding_and_the_best_of_all() -> None:
    """Every combination of levels is tried."""
    values, hessian = matrix(6, 6), correlated(6)
    grid = Groups(2)
    plain, found = (
        round_to(values, grid, hessian.diagonal()),
        gptq(values, hessian, grid, ordered=True),
    )
    assert torch.equal(plain.scale, found.scale)
    every = torch.tensor(list(itertools.product([-2.0, -1.0, 0.0, 1.0], repeat=6)))
    best = [
        min(energy(row - each * scale, hessian) for each in every[:, None])
        for row, scale in zip(values[:, None], plain.scale[:, None], strict=True)
    ]
    own = [energy(row, hessian) for row in (values - found.values)[:, None]]
    assert all(mine >= least * 0.999 for mine, least in zip(own, best, strict=True))
    assert sum(best) <= sum(own) < energy(values - plain.values, hessian)


def test_independent_inputs_are_rounded() -> None:
    """Nothing can make up for an error there."""
    values, hessian = matrix(5, 64), torch.diag(torch.rand(64) + 0.1)
    hessian[3, 3] = 0  # never used
    for ordered in (False, True):
        found = gptq(values, hessian, Groups(4, 32), ordered=ordered)
        expected = round_to(values, Groups(4, 32), hessian.diagonal())
        assert torch.equal(found.places, expected.places)


def test_inputs_that_are_no_numbers() -> None:
    with pytest.raises(ModelError, match="no numbers"):
        gptq(matrix(2, 32), torch.full((32, 32), torch.nan), Groups(4))
    with pytest.raises(ConfigError, match=r"between 2 and 8\. Got 9"):
        Groups(9)


# --- blocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", BLOCKS)
def test_gguf_reads_the_codes_that_were_chosen(format: str) -> None:
    """Scales stay, codes are those chosen, to the bit; rounding's own codes are found again."""
    kind = BLOCKS[format]
    values = matrix(4, 256).numpy()
    coded = rounded(values, format, None)
    assert coded.shape[1] == 256 // kind.width * kind.bytes
    scale, offset = scales_of(coded, format)
    places = np.random.default_rng(1).integers(len(kind.levels), size=values.shape)
    other = with_codes(coded, kind.codes_of(places), format)
    found = decoded(other, format, 256)
    levels = np.array(kind.levels, np.float32)
    np.testing.assert_allclose(found, offset + scale * levels[places], rtol=1e-5, atol=1e-7)
    again, _ = scales_of(other, format)
    assert np.array_equal(again, scale)
    plain = decoded(coded, format, 256)
    safe = np.where(scale == 0, 1, scale)
    own = np.abs((plain - offset)[..., None] / safe[..., None] - levels).argmin(-1)
    assert np.array_equal(
        decoded(with_codes(coded, kind.codes_of(own), format), format, 256), plain
    )


@pytest.mark.parametrize("format", BLOCKS)
@pytest.mark.parametrize("ordered", [False, True])
def test_blocks_are_less_off(format: str, ordered: bool) -> None:
    values, hessian = matrix(8, 256), correlated(256)
    grid = BlockGrid(format)
    found: Chosen = gptq(values, hessian, grid, ordered=ordered)
    read = torch.from_numpy(decoded(grid.encoded(found), format, 256))
    torch.testing.assert_close(read, found.values, rtol=1e-5, atol=1e-7)
    plain = rounded(values.numpy(), format, hessian.diagonal().numpy())
    plain_values = torch.from_numpy(decoded(plain, format, 256))
    assert off_by(values, read, hessian) < 0.8 * off_by(values, plain_values, hessian)


# --- whole models ---------------------------------------------------------------------------------


def model_of(**changes: Any) -> Transformer:
    """A model of random weights, some inputs of which are far larger than others."""
    sizes: dict[str, Any] = {
        "family": "llama", "vocab_size": 64, "context": 64, "width": 64, "depth": 1, "heads": 4,
        "kv_heads": 2, "head_width": 16, "mlp_width": 64,
    }  # fmt: skip
    model = Transformer(ModelConfig(**(sizes | changes)))
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        if name.endswith("norm.weight"):
            parameter.data += drawn.exp() * (parameter.numel() == 64)
        else:
            parameter.data = drawn * 0.15
    return model.eval()


ROWS = [torch.randint(64, (1, 20 + n % 3), generator=torch.Generator().manual_seed(n))
        for n in range(10)]  # fmt: skip
BLOCK_MATRICES = ("q.weight", "k.weight", "v.weight", "o.weight", "gate.weight", "up.weight",
                  "down.weight")  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"depth": 2},
    "gemma3_text": {
        "norm": "rmsnorm_offset", "norm_place": "both", "qk_norm": True, "activation": "geglu",
        "window": 8, "window_layers": (True,), "rope_local_theta": 1000.0,
    },
    "phi3": {},
    "gpt2": {
        "positions": "learned", "norm": "layernorm", "activation": "gelu_tanh", "kv_heads": 4,
        "attention_bias": True, "output_bias": True, "mlp_bias": True,
    },
}  # fmt: skip


def formats_of(model: Transformer, type: str) -> dict[str, str]:
    return {name: format_of(name, tuple(values.shape), type) for name, values in tensors(model)}


def simply_rounded(model: Transformer, type: str) -> Transformer:
    """Rows are rounded one by one, so that their order does not matter."""
    found = copy.deepcopy(model)
    for name, parameter in found.named_parameters():
        if name.startswith("blocks.") and name.endswith(BLOCK_MATRICES):
            coded = np.concatenate(list(encoded(name, parameter.data, type)))
            parameter.data = torch.from_numpy(decoded(coded, type, parameter.shape[1]).copy())
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_less_off_than_by_rounding(family: str) -> None:
    """And what the bytes stand for is what the parameters have become."""
    model = model_of(family=family, **FAMILIES[family])
    own = copy.deepcopy(model)
    formats = formats_of(model, "q4_0")
    made = make_smaller(own, ROWS, formats)
    assert made.choices.keys() == {
        name for name, values in tensors(model) if name.startswith("blk.") and values.dim() > 1
    }
    assert any(choice.way != "rounding" for choice in made.choices.values())
    assert all(choice.error <= choice.rounding for choice in made.choices.values())
    for name, values in tensors(own):
        if name in made.stored:
            read = decoded(made.stored[name], formats[name], values.shape[-1])
            np.testing.assert_allclose(
                read.reshape(values.shape), values.detach().numpy(), rtol=1e-6, atol=1e-7
            )
    with torch.no_grad():
        before, plain = model(ROWS[0]), simply_rounded(model, "q4_0")(ROWS[0])
        assert (own(ROWS[0]) - before).norm() < (plain - before).norm()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("format", [
    GroupFormat(4, 32), GroupFormat(4, 32, zero=True), GroupFormat(4), GroupFormat(8),
])  # fmt: skip
def test_groups_are_less_off_than_by_rounding(family: str, format: GroupFormat) -> None:
    """And what the codes stand for is what the parameters have become."""
    model = model_of(family=family, **FAMILIES[family])
    fitted, plain = copy.deepcopy(model), copy.deepcopy(model)
    names = [
        name for name, each in model.named_parameters()
        if name.startswith("blocks.") and each.dim() == 2
    ]  # fmt: skip
    made = make_smaller(fitted, ROWS, dict.fromkeys(names, format))
    assert made.choices.keys() == made.stored.keys() == set(names)
    assert any(choice.way != "rounding" for choice in made.choices.values())
    assert all(choice.error <= choice.rounding for choice in made.choices.values())
    parameters, rounded_ = dict(fitted.named_parameters()), dict(plain.named_parameters())
    for name, codes in made.stored.items():
        assert torch.equal(codes.values(), parameters[name])
        values = rounded_[name].data
        _, rounded_[name].data = format.rounded(name, values, torch.ones(values.shape[1]))
    if format == GroupFormat(4, 32):
        with torch.no_grad():
            before = model(ROWS[0])
            assert (fitted(ROWS[0]) - before).norm() < (plain(ROWS[0]) - before).norm()


def test_scales_of_groups_are_no_worse_than_the_whole_range() -> None:
    """By the columns' importance, and held in bf16; columns of zeros stay so."""
    values, weight = matrix(16, 128), torch.rand(128)
    values[:, :32] = 0
    for zero in (False, True):
        for bits in (4, 8):
            whole = round_to(values, Groups(bits, 32, zero=zero, searched=False), weight).values
            grid = Groups(bits, 32, zero=zero)
            chosen = round_to(values, grid, weight)
            assert not chosen.values[:, :32].any()
            assert torch.equal(chosen.scale, chosen.scale.bfloat16().float())
            torch.testing.assert_close(grid.codes(chosen).values(), chosen.values)
            off = [((each - values).square() * weight).sum() for each in (chosen.values, whole)]
            assert off[0] <= off[1] * (1 if bits == 4 else 1.02)


@pytest.mark.parametrize("type", ["q8_0", "iq4_nl"])
def test_no_matrix_is_more_off_than_by_rounding(type: str) -> None:
    model = model_of()
    made = make_smaller(model, ROWS, formats_of(model, type), scale=False)
    assert all(choice.error <= choice.rounding for choice in made.choices.values())
    assert not any(choice.strength for choice in made.choices.values())


def test_what_is_not_better_stays_rounded() -> None:
    """On the texts that it is fitted on as on those held out."""
    values = matrix(4, 64)
    inputs = Inputs(torch.diag(torch.rand(64) + 0.1), correlated(64))
    ways = _ways(_Matrix("x", [], values, BlockFormat("q4_0")), inputs)
    best = _best(ways)
    assert best.fitted <= ways[0].fitted
    assert best.held_out <= ways[0].held_out
    other = [replace(ways[0], way="better on one", fitted=ways[0].fitted * 2, held_out=0.0)]
    assert _best([ways[0], *other]).way == "rounding"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("leader", ["attention.q", "attention.o", "mlp.up", "mlp.down"])
def test_scaled_columns_change_nothing(family: str, leader: str) -> None:
    model = model_of(family=family, **FAMILIES[family])
    block: Any = model.blocks[-1]
    if not _may_scale(block, leader):
        assert (family, leader) == ("gpt2", "mlp.down")
        return
    with torch.no_grad():
        before = model(ROWS[0])
        width = block.get_submodule(leader).in_features
        inputs = Inputs(correlated(width), correlated(width))
        by = _column_scales(model, leader, inputs, 0.5)
        assert by.max() / by.min() > 1.5
        _shrink(block, leader, by)
        assert not torch.allclose(model(ROWS[0]), before, atol=1e-2)
        for name, reads in _READ_WITH.items():
            if (
                reads == leader
                and hasattr(block, "mlp")
                and (name != "mlp.gate" or block.mlp.gated)
            ):
                block.get_submodule(name).weight.data *= by
        torch.testing.assert_close(model(ROWS[0]), before, rtol=1e-4, atol=1e-4)


# --- sparsity -------------------------------------------------------------------------------------


def test_wanda_by_hand() -> None:
    """The example of the paper's figure: sizes times the norms of inputs, row by row."""
    values = torch.tensor([[4.0, 0.0, 1.0, -1.0], [3.0, -2.0, -1.0, -3.0], [-3.0, 1.0, 0.0, 2.0]])
    norms = torch.tensor([1.0, 2.0, 8.0, 3.0])  # products: 4 0 8 3; 3 4 8 9; 3 2 0 6
    kept = wanda(values, torch.diag(norms**2), Sparsity(0.5))
    assert kept.int().tolist() == [[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 0, 1]]
    pairs = wanda(values, torch.diag(norms**2), Sparsity(0.5, group=2))
    assert pairs.int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]]
    assert wanda(values, torch.diag(norms**2), Sparsity(0.0)).all()


@pytest.mark.parametrize("sparsity", [Sparsity(0.5), Sparsity(0.5, group=4)])
def test_sparse_gpt_is_its_formula(sparsity: Sparsity) -> None:
    """With the inverse updated column by column (algorithm 1 of arXiv:2301.00774)."""
    values, hessian = matrix(6, 64), correlated(64)
    found = sparse_gpt(values, hessian, sparsity)
    damped = hessian.double() + DAMPING * hessian.double().diagonal().mean() * torch.eye(64)
    inverse, work = torch.linalg.inv(damped), values.double().clone()
    diagonals, rest = [], inverse
    for column in range(64):
        diagonals.append(rest[column, column])
        rest = eliminated(rest, column)
    every = torch.stack(diagonals)
    zero = torch.zeros(6, 64, dtype=torch.bool)
    if not sparsity.group:
        scores = (work**2 / every).flatten()
        zero.view(-1)[scores.argsort()[: 6 * 32]] = True
    for column in range(64):
        if sparsity.group and column % 4 == 0:
            part = slice(column, column + 4)
            scores = work[:, part] ** 2 / every[part]
            zero[:, part] = zero[:, part].scatter(1, scores.argsort(1)[:, :2], True)
        error = torch.where(zero[:, column], work[:, column], 0.0) / inverse[column, column]
        work -= torch.outer(error, inverse[column])
        work[:, column] *= ~zero[:, column]
        inverse = eliminated(inverse, column)
        inverse[column, column] = 1
    torch.testing.assert_close(found.double(), work, rtol=1e-3, atol=1e-5)
    assert torch.equal(found == 0, zero)
    masked = values * wanda(values, hessian, sparsity)
    assert off_by(values, found, hessian) < off_by(values, masked, hessian)


def test_wrong_sparsities() -> None:
    with pytest.raises(ConfigError, match=r"below 1\. Got 1"):
        Sparsity(1)
    with pytest.raises(ConfigError, match="must be a whole number"):
        Sparsity(0.3, group=4)
    with pytest.raises(ConfigError, match="do not divide into groups of 4"):
        wanda(matrix(2, 6), correlated(6), Sparsity(0.5, group=4))


def test_taking_out_rows_that_are_zero_changes_nothing() -> None:
    model = model_of(mlp_width=128)
    for block in model.blocks:
        block.mlp.up.weight.data[::2] = 0
    smaller = prune(model, PrunedShape(1, 64, 2, 64), measure_scores(model, ROWS))
    torch.testing.assert_close(smaller(ROWS[0]), model(ROWS[0]), rtol=1e-5, atol=1e-5)
