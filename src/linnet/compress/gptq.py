"""GPTQ: the whole numbers of a matrix chosen together, so that what it computes is least off.

Rounding takes the nearest level for each number. GPTQ (arXiv:2210.17323) goes through a matrix
column by column and moves what is yet to be rounded so that it makes up for what was lost: which
way, the inputs say that the matrix has over text of the owner's (their Hessian ``X Xᵀ``). What it
chooses from is a :class:`Grid`: the codes of GGUF's blocks, whose scales llama.cpp's own search
gives (:class:`BlockGrid`), or whole numbers with one scale for some columns of a row, as the paper
has them and ``linnet.model.quantised`` stores them (:class:`Groups`). The file is an ordinary one,
of the same size, that all who read the format read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from linnet.errors import ConfigError, ModelError
from linnet.gguf.blocks import BLOCKS, Bytes, rounded, scales_of, with_codes
from linnet.model.quantised import Codes

DAMPING = 0.01
"""Of the mean of a Hessian's diagonal, added to it."""
TOGETHER = 128
"""Columns whose errors move the columns behind them at once."""
SHARES = {True: tuple(1 - 0.04 * n for n in range(1, 11)), False: (1.004,)}
"""Of the scale at which no number is cut off: what is tried besides for up to 4 bits, and for more,
where bf16 may have cut it."""


class Grid(Protocol):
    """A number format: for each number of some columns the levels it may have."""

    levels: Tensor
    """In order, float32."""

    def step(self, width: int) -> int:
        """How many columns of a matrix that has so many get their scales together."""

    def fitted(self, rows: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and offset for each number of rows ``(R, C)``; the importance is the columns'."""


@dataclass(frozen=True)
class Chosen:
    """Which level each number of a matrix has, ``(R, C)`` all."""

    places: Tensor
    scale: Tensor
    offset: Tensor
    levels: Tensor

    @property
    def values(self) -> Tensor:
        """What the numbers have become."""
        return self.offset + self.scale * self.levels[self.places]


class Groups:
    """Whole numbers of some bits, each group of columns of a row with a scale."""

    def __init__(
        self, bits: int, size: int = 128, *, zero: bool = False, searched: bool = True
    ) -> None:
        """``size``: of groups; 0, or a row that does not divide into them: one group.

        ``zero``: each group has a code of its own for 0, else 0 has it. ``searched``: scales are
        those of the least error, columns by their importance, and such as bf16 holds; else the
        largest number has the last level.
        """
        if not 2 <= bits <= 8:
            raise ConfigError(f"bits must be between 2 and 8. Got {bits}")
        self.bits, self.size, self.zero, self.searched = bits, size, zero, searched
        self.most = 2 ** (bits - 1) - 1
        self.levels = torch.arange(-self.most - 1, self.most + 1).float()

    def step(self, width: int) -> int:
        return self.size if self.size and width % self.size == 0 else width

    def fitted(self, rows: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
        groups = rows.reshape(len(rows), -1, self.step(rows.shape[1]))
        scale, zero = self._whole_range(groups)
        if self.searched:
            weight = importance.reshape(1, groups.shape[1], -1)
            scale, zero = self._least_error(groups, weight, scale, zero)
        offset = -zero * scale
        return (scale.expand_as(groups).reshape(rows.shape),
                offset.expand_as(groups).reshape(rows.shape))  # fmt: skip

    def codes(self, chosen: Chosen) -> Codes:
        """Rows as they are stored, after one pass over them."""
        width = chosen.places.shape[1]
        first = slice(None, None, self.step(width))
        scale, offset = chosen.scale[:, first], chosen.offset[:, first]
        zero = None
        if self.zero:
            zero = (-offset / scale.masked_fill(scale == 0, 1.0)).round().to(torch.int8)
        codes = (chosen.places - self.most - 1).to(torch.int8)
        return Codes(codes, scale.to(torch.bfloat16), zero, self.bits)

    def _whole_range(self, groups: Tensor) -> tuple[Tensor, Tensor]:
        """Scales and codes of zero with which every number lies between the levels."""
        if not self.zero:
            scale = groups.abs().amax(2, keepdim=True) / self.most
            return scale, torch.zeros_like(scale)
        least, most = groups.amin(2, keepdim=True), groups.amax(2, keepdim=True)
        least, most = least.clamp_max(0), most.clamp_min(0)
        scale = (most - least) / (2 * self.most + 1)
        zero = -least / scale.masked_fill(scale == 0, 1.0) - self.most - 1
        return scale, zero.round().clamp_(-self.most - 1, self.most)

    def _least_error(
        self, groups: Tensor, weight: Tensor, scale: Tensor, zero: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The best of some smaller scales, and what is best for the codes that it gives."""
        found, found_zero = _in_bf16(scale), zero
        codes, least = self._error(groups, weight, found, zero)
        for share in SHARES[self.bits <= 4]:
            tried = _in_bf16(scale * share)
            if self.zero:  # cut at both ends alike
                middle = (groups.amin(2, keepdim=True) + groups.amax(2, keepdim=True)) / 2
                own = -middle / tried.masked_fill(tried == 0, 1.0) - 0.5
                own = own.round().clamp_(-self.most - 1, self.most)
            else:
                own = zero
            other, error = self._error(groups, weight, tried, own)
            better = error < least
            least = torch.where(better, error, least)
            codes = torch.where(better, other, codes)
            found = torch.where(better, tried, found)
            found_zero = torch.where(better, own, found_zero)
        shifted = codes - found_zero
        below = (weight * shifted.square()).sum(2, keepdim=True)
        above = (weight * shifted * groups).sum(2, keepdim=True)
        tried = _in_bf16((above / below.masked_fill(below == 0, 1.0)).clamp_min_(0))
        _, error = self._error(groups, weight, tried, found_zero)
        return torch.where(error < least, tried, found), found_zero

    def _error(
        self, groups: Tensor, weight: Tensor, scale: Tensor, zero: Tensor
    ) -> tuple[Tensor, Tensor]:
        codes = (groups / scale.masked_fill(scale == 0, 1.0) + zero).round_()
        codes.clamp_(-self.most - 1, self.most)
        off = ((codes - zero) * scale).sub_(groups).square_().mul_(weight)
        return codes, off.sum(2, keepdim=True)


def _in_bf16(values: Tensor) -> Tensor:
    return values.to(torch.bfloat16).float()


class BlockGrid:
    """Blocks of a GGUF format (``linnet.gguf.blocks``), whose bytes are kept."""

    def __init__(self, format: str) -> None:
        self.format, self.kind = format, BLOCKS[format]
        self.levels = torch.tensor(self.kind.levels, dtype=torch.float32)
        self.coded: list[Bytes] = []

    def step(self, width: int) -> int:
        return self.kind.width

    def fitted(self, rows: Tensor, importance: Tensor) -> tuple[Tensor, Tensor]:
        made = rounded(rows.numpy(), self.format, importance.numpy())
        self.coded.append(made)
        scale, offset = scales_of(made, self.format)
        return torch.from_numpy(scale), torch.from_numpy(offset)

    def encoded(self, chosen: Chosen) -> Bytes:
        """The bytes of rows, after one pass over them."""
        scales = np.concatenate(self.coded, axis=1)
        return with_codes(scales, self.kind.codes_of(chosen.places.numpy()), self.format)


def round_to(values: Tensor, grid: Grid, importance: Tensor) -> Chosen:
    """Each number to the nearest level, all scales from the numbers as they are."""
    scale, offset = grid.fitted(values, importance)
    return Chosen(_nearest(values, scale, offset, grid.levels), scale, offset, grid.levels)


@torch.no_grad()
def gptq(values: Tensor, hessian: Tensor, grid: Grid, *, ordered: bool = False) -> Chosen:
    """The levels of ``values`` ``(R, C)`` for inputs with this Hessian ``(C, C)``.

    ``ordered``: columns by how much their inputs matter, most first, with scales of the values as
    they are; else in their order, with scales of what they have become when it is their turn.
    """
    rows, width = values.shape
    importance = hessian.diagonal().clamp_min(1e-12).float()
    order = importance.argsort(descending=True, stable=True) if ordered else torch.arange(width)
    factor = inverse_factor(hessian[order][:, order])
    work = values.float()[:, order].T.contiguous()  # (C, R): a column lies in one piece
    places = torch.empty(width, rows, dtype=torch.long)
    scale, offset = torch.empty_like(work), torch.empty_like(work)
    if ordered:
        found = grid.fitted(values.float(), importance)
        scale[:], offset[:] = (each[:, order].T for each in found)
    sharing = grid.step(width)
    step = TOGETHER if ordered or sharing > 2 * TOGETHER else sharing
    for start in range(0, width, step):
        own, behind = slice(start, start + step), slice(start + step, width)
        if not ordered and start % sharing == 0:
            fitted = slice(start, start + sharing)
            found = grid.fitted(work[fitted].T.contiguous(), importance[fitted])
            scale[fitted], offset[fitted] = found[0].T, found[1].T
        places[own], errors = _fed_back(
            work[own], factor[own, own], scale[own], offset[own], grid.levels
        )
        work[behind] -= factor[own, behind].T @ errors
    back = order.argsort()
    return Chosen(places[back].T, scale[back].T, offset[back].T, grid.levels)


def inverse_factor(hessian: Tensor) -> Tensor:
    """The upper Cholesky factor of the inverse of a damped Hessian.

    Inputs that were never other than zero are treated as if they had nothing to do with others.
    """
    damped = hessian.double().clone()
    diagonal = damped.diagonal()
    mean = float(diagonal.mean())
    diagonal[diagonal == 0] = mean or 1.0
    damping = DAMPING * (mean or 1.0)
    for _ in range(6):
        diagonal += damping
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            upper: Tensor
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if not failed:
                return upper.float()
        damping *= 10
    raise ModelError("the inputs of a matrix are no numbers, or too large to weigh its errors by")


def off_by(values: Tensor, rounded: Tensor, hessian: Tensor) -> float:
    """How far off what a matrix computes is, as a share of what it computes, squared."""
    whole = energy(values, hessian)
    return energy(values - rounded, hessian) / whole if whole else 0.0


def energy(rows: Tensor, hessian: Tensor) -> float:
    """The mean square of what rows compute, all of them together."""
    return float(((rows.float() @ hessian.float()) * rows).sum(dtype=torch.float64))


def _fed_back(
    work: Tensor, factor: Tensor, scale: Tensor, offset: Tensor, levels: Tensor
) -> tuple[Tensor, Tensor]:
    """Places of levels for columns ``(C, R)``, each error moving those behind it; and errors."""
    places = torch.empty(work.shape, dtype=torch.long)
    errors = torch.empty_like(work)
    shared = factor / factor.diagonal()[:, None]
    for column in range(len(work)):
        own = work[column]
        places[column] = _nearest(own, scale[column], offset[column], levels)
        value = torch.addcmul(offset[column], scale[column], levels[places[column]])
        torch.sub(own, value, out=errors[column])
        work[column + 1 :].addr_(shared[column, column + 1 :], errors[column], alpha=-1)
    return places, errors.div_(factor.diagonal()[:, None])


def _nearest(values: Tensor, scale: Tensor, offset: Tensor, levels: Tensor) -> Tensor:
    shares = (values - offset).div_(scale.masked_fill(scale == 0, 1.0))
    first, last = float(levels[0]), float(levels[-1])
    if last - first == len(levels) - 1:
        return shares.sub_(first).round_().clamp_(0, len(levels) - 1).long()
    return torch.bucketize(shares, (levels[1:] + levels[:-1]) / 2)
