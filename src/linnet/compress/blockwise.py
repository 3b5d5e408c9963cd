"""A model's matrices made small block by block, each in the way that is measured to be best.

How a matrix is stored is a :class:`Format`: GGUF's blocks (:class:`BlockFormat`), or whole numbers
in groups (:class:`GroupFormat`). All else is the same for both.

Each block reads what the blocks before it give once they are small, as it will in use. For each
matrix it is measured, by its inputs' Hessian, how far off what it computes over text of the owner's
is: rounded, and by GPTQ (``linnet.compress.gptq``), columns in their order or the weightiest first.
Where inputs come from a norm or a matrix their scale is free: columns that matter more can be made
larger, and what feeds them smaller by as much (arXiv:2306.00978). They are where that is better.

What is tried is fitted on four texts of five and judged by the fifth. Rounding is kept where it is
better on either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from linnet.compress.gptq import BlockGrid, Groups, energy, gptq, round_to
from linnet.errors import ConfigError
from linnet.gguf.architectures import architecture, as_computed, joined, named, tensors
from linnet.gguf.blocks import BLOCKS
from linnet.gguf.quantisation import decoded, encoded
from linnet.gguf.weights import as_trained, is_outside
from linnet.model.layers import LayerNorm, RMSNorm
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    import numpy.typing as npt

    from linnet.model import Transformer

HELD_OUT = 5
"""Of so many texts one is judged by."""
STRENGTHS = (0.25, 0.5, 0.75)
"""How much larger columns are made that matter more: this power of their inputs' size."""
_READ_WITH = {
    "attention.q": "attention.q", "attention.k": "attention.q", "attention.v": "attention.q",
    "attention.o": "attention.o",
    "mlp.gate": "mlp.up", "mlp.up": "mlp.up",
    "mlp.down": "mlp.down",
}  # fmt: skip
"""The matrices of a block, and the one that reads the same input."""
_ORDER = ("attention.o", "mlp.down", "attention.q", "mlp.up")
"""Those that scale rows of other matrices come before these."""


@dataclass(frozen=True)
class Inputs:
    """The Hessian of a matrix's inputs, of the texts that it is fitted on and of the others."""

    fitted: Tensor
    held_out: Tensor

    def scaled(self, by: Tensor) -> Inputs:
        """Those of inputs that are smaller by a factor each."""
        both = by[:, None] * by
        return Inputs(self.fitted / both, self.held_out / both)


@dataclass(frozen=True)
class Choice:
    """How a tensor was made small."""

    way: str
    """``rounding``, ``gptq``, or ``gptq ordered``."""
    strength: float
    """Of scaling its columns; 0: none."""
    error: float
    """Share of what it computes that it is off by, squared, on texts that were held out."""
    rounding: float
    """The same of rounding."""


@dataclass(frozen=True)
class Smaller:
    """The tensors of all blocks."""

    stored: Mapping[str, Any]
    """As their formats have them: bytes by GGUF's names, or codes by ours."""
    choices: Mapping[str, Choice]
    """Of matrices."""


class Format(Protocol):
    """How a matrix is stored."""

    @property
    def can_be_fitted(self) -> bool:
        """Whether codes can be chosen that are not the nearest."""

    def rounded(self, name: str, values: Tensor, importance: Tensor) -> tuple[Any, Tensor]:
        """What is stored, and the numbers that it stands for."""

    def fitted(self, values: Tensor, hessian: Tensor, *, ordered: bool) -> tuple[Any, Tensor]:
        """The same by GPTQ."""


@dataclass(frozen=True)
class BlockFormat:
    """A format of GGUF."""

    name: str

    @property
    def can_be_fitted(self) -> bool:
        return self.name in BLOCKS

    def rounded(self, name: str, values: Tensor, importance: Tensor) -> tuple[Any, Tensor]:
        coded = np.concatenate(list(encoded(name, values, self.name, importance.numpy())))
        return coded, self._values(coded, values)

    def fitted(self, values: Tensor, hessian: Tensor, *, ordered: bool) -> tuple[Any, Tensor]:
        grid = BlockGrid(self.name)
        coded = grid.encoded(gptq(values, hessian, grid, ordered=ordered))
        return coded, self._values(coded, values)

    def _values(self, coded: npt.NDArray[Any], values: Tensor) -> Tensor:
        return torch.from_numpy(decoded(coded, self.name, values.shape[1]))


@dataclass(frozen=True)
class GroupFormat:
    """Whole numbers in groups (``linnet.model.quantised``)."""

    bits: int
    group: int = 0
    """Columns that share a scale; 0: all of a row."""
    zero: bool = False

    @property
    def can_be_fitted(self) -> bool:
        return True

    def rounded(self, name: str, values: Tensor, importance: Tensor) -> tuple[Any, Tensor]:
        codes = self._grid.codes(round_to(values, self._grid, importance))
        return codes, codes.values()

    def fitted(self, values: Tensor, hessian: Tensor, *, ordered: bool) -> tuple[Any, Tensor]:
        codes = self._grid.codes(gptq(values, hessian, self._grid, ordered=ordered))
        return codes, codes.values()

    @property
    def _grid(self) -> Groups:
        return Groups(self.bits, self.group, zero=self.zero)


@dataclass(frozen=True)
class _Matrix:
    """A tensor of the file with the parameters that it is made of."""

    name: str
    members: Sequence[tuple[str, str]]
    """The file's name and ours."""
    values: Tensor
    format: Format


@dataclass(frozen=True)
class _Made:
    """A matrix in its format."""

    way: str
    coded: Any
    values: Tensor
    fitted: float
    held_out: float
    """How far off what it computes is, squared."""


@torch.no_grad()
def make_smaller(
    model: Transformer,
    rows: Sequence[Tensor],
    formats: Mapping[str, str] | Mapping[str, GroupFormat],
    *,
    scale: bool = True,
    progress: Progress = SILENT,
) -> Smaller:
    """The tensors of a model's blocks in these formats, by GGUF's names; or in groups, by ours.

    ``rows``: texts as tokens ``(1, T)``. The parameters of ``model`` become what is stored. A
    matrix that has no group format stays as it is. ``scale``: whether columns may be scaled. In
    memory are the stream of all texts, and the Hessians of one block.
    """
    if not rows:
        raise ConfigError("expected text to see what matters. Got none")
    states, beside = _calls(model.eval(), rows)
    stored: dict[str, Any] = {}
    choices: dict[str, Choice] = {}
    groups = {n: each for n, each in formats.items() if isinstance(each, GroupFormat)}
    blocks = {n: each for n, each in formats.items() if isinstance(each, str)}
    with progress.task("blocks", total=model.config.depth, unit="blocks") as task:
        for layer, block in enumerate(model.blocks):
            calls = [(x, *beside[x.shape[1]][layer]) for x in states]
            inputs = _inputs(block, calls)
            for leader in _ORDER:
                found = _in_groups(model, layer, groups) if groups else _matrices(
                    model, layer, blocks
                )  # fmt: skip
                group = [matrix for matrix in found if _leader(matrix) == leader]
                _choose(model, layer, leader, group, inputs[leader], scale, stored, choices)
            states = [block(*call) for call in calls]
            task.advance()
    for name, values in tensors(model) if blocks else ():
        if name.startswith("blk.") and name not in stored:
            stored[name] = np.concatenate(list(encoded(name, values, blocks[name])))
    return Smaller(stored, choices)


def _calls(
    model: Transformer, rows: Sequence[Tensor]
) -> tuple[list[Tensor], dict[int, list[tuple[Any, ...]]]]:
    """The stream before the first block, and what else each block reads, by a text's length."""
    states: list[Tensor] = []
    beside: dict[int, list[tuple[Any, ...]]] = {}
    seen: list[tuple[Any, ...]] = []
    hooks = [
        block.register_forward_pre_hook(lambda module, given: seen.append(given))
        for block in model.blocks
    ]
    try:
        for row in rows:
            seen.clear()
            model.hidden(row)
            states.append(seen[0][0])
            beside.setdefault(row.shape[1], [given[1:] for given in seen])
    finally:
        for hook in hooks:
            hook.remove()
    return states, beside


def _inputs(block: Any, calls: Sequence[tuple[Any, ...]]) -> dict[str, Inputs]:
    """What the matrices of a block read."""
    sums: dict[tuple[str, bool], Tensor] = {}
    counts = {True: 0, False: 0}
    held = False

    def note(leader: str) -> Any:
        def hook(module: Any, given: tuple[Tensor, ...]) -> None:
            flat = given[0].reshape(-1, given[0].shape[-1]).float()
            found = flat.T @ flat
            key = leader, held
            sums[key] = sums[key].add_(found) if key in sums else found

        return hook

    hooks = [
        block.get_submodule(leader).register_forward_pre_hook(note(leader)) for leader in _ORDER
    ]
    try:
        for place, call in enumerate(calls):
            held = place % HELD_OUT == HELD_OUT - 1
            block(*call)
            counts[held] += call[0].numel() // call[0].shape[-1]
    finally:
        for hook in hooks:
            hook.remove()
    found = {}
    for leader in _ORDER:
        fitted = sums[leader, False] / counts[False]
        held_out = sums[leader, True] / counts[True] if counts[True] else fitted
        found[leader] = Inputs(fitted, held_out)
    return found


def _matrices(model: Transformer, layer: int, formats: Mapping[str, str]) -> Iterator[_Matrix]:
    config, kind, prefix = model.config, architecture(model.config), f"blocks.{layer}."
    state = model.blocks[layer].state_dict(prefix=prefix)
    own = {
        named(name, config): name
        for name in state
        if not is_outside(name) and _part(name) in _READ_WITH and name.endswith(".weight")
    }
    for stored, members in joined(kind, list(own)):
        values = [as_computed(m, state[own[m]].detach(), kind, config) for m in members]
        yield _Matrix(
            stored, [(m, own[m]) for m in members], torch.cat(values).float(),
            BlockFormat(formats[stored]),
        )  # fmt: skip


def _in_groups(
    model: Transformer, layer: int, formats: Mapping[str, GroupFormat]
) -> Iterator[_Matrix]:
    prefix = f"blocks.{layer}."
    state = model.blocks[layer].state_dict(prefix=prefix)
    for name, values in state.items():
        if name in formats:
            yield _Matrix(name, [(name, name)], values.detach().float(), formats[name])


def _part(name: str) -> str:
    return name.split(".", 2)[2].rpartition(".")[0]


def _leader(matrix: _Matrix) -> str:
    return _READ_WITH[_part(matrix.members[0][1])]


def _choose(
    model: Transformer,
    layer: int,
    leader: str,
    group: Sequence[_Matrix],
    inputs: Inputs,
    scale: bool,
    stored: dict[str, Any],
    choices: dict[str, Choice],
) -> None:
    """Make the matrices of one input small, together, since their input has one scale."""
    block, ways = model.blocks[layer], [_ways(each, inputs) for each in group]
    rounding = [each[0] for each in ways]
    best, by, strength = [_best(each) for each in ways], None, 0.0
    can_be_scaled = scale and any(each.format.can_be_fitted for each in group)
    if can_be_scaled and _may_scale(block, leader):
        trials = {power: _column_scales(model, leader, inputs, power) for power in STRENGTHS}
        costs = {
            power: sum(_rounded(_scaled(each, own), inputs.scaled(own)).fitted for each in group)
            for power, own in trials.items()
        }
        power = min(costs, key=costs.__getitem__)
        own = trials[power]
        other = [_best(_ways(_scaled(each, own), inputs.scaled(own))) for each in group]
        if _is_better(other, best) and all(map(_is_no_worse, other, rounding)):
            best, by, strength = other, own, power
    if by is not None:
        _shrink(block, leader, by)
    for matrix, made, plain in zip(group, best, rounding, strict=True):
        stored[matrix.name] = made.coded
        whole = energy(matrix.values, inputs.held_out) or 1.0
        choices[matrix.name] = Choice(
            made.way, strength, made.held_out / whole, plain.held_out / whole
        )
        _set(model, matrix, made.values)


def _ways(matrix: _Matrix, inputs: Inputs) -> list[_Made]:
    """A matrix in its format, made in every way; rounded first."""
    found = [_rounded(matrix, inputs)]
    if matrix.format.can_be_fitted:
        for way, ordered in (("gptq", False), ("gptq ordered", True)):
            made = matrix.format.fitted(matrix.values, inputs.fitted, ordered=ordered)
            found.append(_made(way, *made, matrix, inputs))
    return found


def _rounded(matrix: _Matrix, inputs: Inputs) -> _Made:
    made = matrix.format.rounded(matrix.name, matrix.values, inputs.fitted.diagonal())
    return _made("rounding", *made, matrix, inputs)


def _made(way: str, coded: Any, values: Tensor, matrix: _Matrix, inputs: Inputs) -> _Made:
    off = values - matrix.values
    return _Made(way, coded, values, energy(off, inputs.fitted), energy(off, inputs.held_out))


def _best(ways: Sequence[_Made]) -> _Made:
    plain = ways[0]
    better = [each for each in ways if _is_no_worse(each, plain)]
    return min(better, key=lambda each: each.held_out)


def _is_no_worse(that: _Made, this: _Made) -> bool:
    return that.fitted <= this.fitted and that.held_out <= this.held_out


def _is_better(those: Sequence[_Made], these: Sequence[_Made]) -> bool:
    return all(
        sum(getattr(each, part) for each in those) < sum(getattr(each, part) for each in these)
        for part in ("fitted", "held_out")
    )


def _set(model: Transformer, matrix: _Matrix, values: Tensor) -> None:
    """Let parameters be what a tensor of the file stands for."""
    config, parameters = model.config, dict(model.named_parameters())
    if isinstance(matrix.format, GroupFormat):
        parameters[matrix.name].data = values
        return
    kind = architecture(config)
    counts = [len(parameters[own]) for _, own in matrix.members]
    for (member, own), part in zip(matrix.members, torch.split(values, counts), strict=True):
        parameters[own].data = as_trained(member, part, kind, config).contiguous()


# --- scales of columns ----------------------------------------------------------------------------


def _may_scale(block: Any, leader: str) -> bool:
    """Whether what feeds these matrices feeds no others, and can be made smaller."""
    if leader == "mlp.down":
        return bool(block.mlp.gated)
    if leader == "attention.o":
        return True
    if block.norm_place not in ("pre", "both") or block.shared_norm:
        return False
    norm = block.attention_norm if leader == "attention.q" else block.mlp_norm
    return isinstance(norm, RMSNorm | LayerNorm)


def _column_scales(model: Transformer, leader: str, inputs: Inputs, power: float) -> Tensor:
    """By what each column is multiplied; around 1."""
    size = inputs.fitted.diagonal()
    config = model.config
    if leader == "attention.o":  # heads that share values share scales
        heads = size.view(config.kv_heads, -1, config.head_width)
        size = heads.mean(1, keepdim=True).expand_as(heads).reshape(-1)
    size = size.clamp_min(float(size.mean()) * 1e-4 + 1e-12).sqrt()
    scales = size**power
    return scales / (scales.max() * scales.min()).sqrt()


def _scaled(matrix: _Matrix, by: Tensor) -> _Matrix:
    return _Matrix(matrix.name, matrix.members, matrix.values * by, matrix.format)


def _shrink(block: Any, leader: str, by: Tensor) -> None:
    """Make what feeds the matrices smaller by as much as their columns were made larger."""
    if leader in ("attention.q", "mlp.up"):
        norm = block.attention_norm if leader == "attention.q" else block.mlp_norm
        if isinstance(norm, RMSNorm) and norm.offset:
            norm.weight.data = (1 + norm.weight.data.float()) / by - 1
            return
        feeding = norm
    elif leader == "attention.o":
        feeding, config = block.attention.v, block.attention.config
        by = by.view(config.kv_heads, -1, config.head_width)[:, 0].reshape(-1)
    else:
        feeding = block.mlp.up
    for parameter in (feeding.weight, getattr(feeding, "bias", None)):
        if parameter is not None:
            parameter.data = parameter.data.float() / by.reshape(-1, *[1] * (parameter.dim() - 1))
