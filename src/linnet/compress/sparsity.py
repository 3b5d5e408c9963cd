"""Unstructured sparsity: which numbers of a matrix may be zero. References to compare with.

A matrix with zeros here and there is no smaller and no faster on the machines that Linnet is for;
these say how much a model bears, beside what ``linnet.compress.pruning`` takes out whole.

* Wanda (arXiv:2306.11695): the numbers that are smallest times the norm of their input, row by row.
* SparseGPT (arXiv:2301.00774): those that cost least to be without where the others of the row make
  up for them, and the others changed so that they do.

Sparsity is a share, or so many of every so many numbers of a row (2 of 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from linnet.compress.gptq import TOGETHER, inverse_factor
from linnet.errors import ConfigError


@dataclass(frozen=True)
class Sparsity:
    """How many numbers become zero."""

    share: float = 0.5
    group: int = 0
    """Of every so many numbers of a row that share becomes zero; 0: of any."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ConfigError(
                f"the share of zeros must be at least 0 and below 1. Got {self.share}"
            )
        if self.group and self.group * self.share != round(self.group * self.share):
            raise ConfigError(
                f"{self.share:g} of {self.group} numbers must be a whole number of them"
            )

    def require(self, width: int) -> None:
        """Raise ConfigError where rows do not divide into groups."""
        if self.group and width % self.group:
            raise ConfigError(f"rows of {width} numbers do not divide into groups of {self.group}")


@torch.no_grad()
def wanda(values: Tensor, hessian: Tensor, sparsity: Sparsity) -> Tensor:
    """The numbers of ``values`` ``(R, C)`` to keep: True. ``hessian``: of their inputs ``(C, C)``,
    of which only the diagonal counts."""
    sparsity.require(values.shape[1])
    scores = values.float().abs() * hessian.diagonal().clamp_min(0).float().sqrt()
    groups = scores.reshape(len(scores), -1, sparsity.group or values.shape[1])
    drop = int(groups.shape[2] * sparsity.share)
    least = groups.argsort(dim=2, stable=True)[..., :drop]
    kept = torch.ones_like(groups, dtype=torch.bool).scatter_(2, least, False)
    return kept.flatten(1)


@torch.no_grad()
def sparse_gpt(values: Tensor, hessian: Tensor, sparsity: Sparsity) -> Tensor:
    """``values`` ``(R, C)`` with zeros, the others making up for them. ``hessian``: of their inputs
    ``(C, C)``.

    Zeros are chosen for some columns at a time, among all their rows, or within groups.
    """
    width = values.shape[1]
    sparsity.require(width)
    factor = inverse_factor(hessian)
    work = values.float().T.clone()  # (C, R)
    step = max(TOGETHER // (sparsity.group or 1), 1) * (sparsity.group or 1)
    for start in range(0, width, step):
        own, behind = slice(start, start + step), slice(start + step, width)
        part, local = work[own], factor[own, own]
        scores = (part / local.diagonal()[:, None]).square()
        zero = _least(scores, 0 if sparsity.group else sparsity.share)
        errors = torch.empty_like(part)
        for column in range(len(part)):
            if sparsity.group and column % sparsity.group == 0:
                group = slice(column, column + sparsity.group)
                scores = (part[group] / local.diagonal()[group, None]).square()
                drop = round(sparsity.group * sparsity.share)
                least = scores.argsort(dim=0, stable=True)[:drop]
                zero[group] = torch.zeros_like(zero[group]).scatter_(0, least, True)
            value = torch.where(zero[column], 0.0, part[column])
            errors[column] = (part[column] - value) / local[column, column]
            part[column + 1 :] -= local[column, column + 1 :, None] * errors[column]
            part[column] = value
        work[behind] -= factor[own, behind].T @ errors
    return work.T.contiguous()


def _least(scores: Tensor, share: float) -> Tensor:
    flat = scores.flatten()
    least = flat.argsort(stable=True)[: int(len(flat) * share)]
    return torch.zeros_like(flat, dtype=torch.bool).index_fill_(0, least, True).view_as(scores)
