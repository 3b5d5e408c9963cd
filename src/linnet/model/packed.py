"""Matrices of 4 or 8 bits that stay packed in memory, and are multiplied as they lie.

For few rows of inputs torch has products that read packed weights (``_weight_int4pack_mm_for_cpu``,
``_weight_int8pack_mm``, with inputs in bf16): what takes time there is reading the matrix, which is
smaller by as much. For many rows it pays to unpack a matrix, multiply, and throw the copy away;
which is also what is done where torch has no such product, and for inputs in fp32, so that scores
are exact. Scales of 4 bits are held in bf16, as the product takes them.

Measured at how many rows the two take equally long: docs/experiments.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from linnet.model.quantised import Codes, join_codes

BLOCK = 64
"""Rows of a matrix of 4 bits that lie together: the first half in the low bits of their bytes."""
GROUPS = (256, 128, 64, 32)
"""Columns that share a scale in torch's product, of which any number may repeat one."""
FEW_ROWS = {4: 32, 8: 16}
"""Up to so many rows of inputs packed weights are multiplied as they lie, by bits."""


class PackedMatrix(Protocol):
    """A matrix (out, in) of whole numbers."""

    @property
    def bits(self) -> int:
        """Of a number."""

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""

    def multiply(self, x: Tensor) -> Tensor:
        """The product (N, out) of ``x`` (N, in), in its format."""

    def rows(self, start: int, stop: int) -> PackedMatrix | None:
        """Some of the rows in the same memory; None where they do not lie by themselves."""


def pack(codes: Codes) -> PackedMatrix:
    """A matrix as it is held in memory."""
    return Int4Matrix.of(codes) if codes.bits == 4 else Int8Matrix(codes)


class Int4Matrix:
    """Blocks of 64 rows, column by column, as torch's product wants them with AVX-512."""

    bits = 4

    def __init__(self, blocks: Tensor, scales: Tensor, shape: tuple[int, int]) -> None:
        """``blocks``: (blocks, in, 32) bytes; ``scales``: (groups, rows of blocks, 2) in bf16,
        what a code less 8 is multiplied by and what is added."""
        self.blocks, self.scales, self.shape = blocks, scales, shape

    @classmethod
    def of(cls, codes: Codes) -> Int4Matrix:
        rows, width = codes.codes.shape
        more = -rows % BLOCK
        whole = F.pad((codes.codes + 8).view(torch.uint8), (0, 0, 0, more))
        halves = whole.view(-1, 2, BLOCK // 2, width)  # (blocks, 2, 32, in)
        blocks = (halves[:, 0] | halves[:, 1] << 4).transpose(1, 2).contiguous()
        scale = codes.scale.to(torch.bfloat16)
        added = torch.zeros_like(scale)
        if codes.zero is not None:
            added = (-codes.zero.float() * codes.scale.float()).to(torch.bfloat16)
        scales = F.pad(torch.stack((scale, added), -1), (0, 0, 0, 0, 0, more)).transpose(0, 1)
        group = codes.group
        if group not in GROUPS:
            finer = next((each for each in GROUPS if group % each == 0), group)
            scales = scales.repeat_interleave(group // finer, 0)
        return cls(blocks, scales.contiguous(), (rows, width))

    @property
    def nbytes(self) -> int:
        return self.blocks.nbytes + self.scales.nbytes

    @property
    def group(self) -> int:
        """Columns that share a scale."""
        return self.shape[1] // len(self.scales)

    def rows(self, start: int, stop: int) -> Int4Matrix | None:
        if start % BLOCK or (stop % BLOCK and stop != self.shape[0]):
            return None
        own = slice(start // BLOCK, -(-stop // BLOCK))
        scales = self.scales[:, start : own.stop * BLOCK].contiguous()
        return Int4Matrix(self.blocks[own], scales, (stop - start, self.shape[1]))

    def multiply(self, x: Tensor) -> Tensor:
        if len(x) <= FEW_ROWS[4] and self._is_multiplied_packed(x):
            blocks = self.blocks.view(-1, self.shape[1] // 2)
            product = torch.ops.aten._weight_int4pack_mm_for_cpu(
                x.contiguous(), blocks, self.group, self.scales
            )
            return product[:, : self.shape[0]]
        return x @ self.matrix(x.dtype)

    def matrix(self, dtype: torch.dtype) -> Tensor:
        """The numbers (in, out)."""
        words = self.blocks.view(torch.int32)
        low = (words & 0x0F0F0F0F).view(torch.uint8)
        high = (words >> 4 & 0x0F0F0F0F).view(torch.uint8)  # (blocks, in, 32)
        width, half = self.shape[1], BLOCK // 2
        found = torch.empty(width, len(low), BLOCK, dtype=dtype, device=low.device)
        by_block = found.transpose(0, 1)
        by_block[..., :half].copy_(low)
        by_block[..., half:].copy_(high)
        scale, added = self.scales[:, None].float().unbind(-1)  # (groups, 1, rows)
        # What bf16 has rounded off what is added is known: it is a whole number of scales.
        steps = (added / scale.masked_fill(scale == 0, 1.0)).round_() - 8
        values = found.view(len(scale), -1, len(low) * BLOCK)
        torch.addcmul((steps * scale).to(dtype), values, scale.to(dtype), out=values)
        return found.view(width, -1)[:, : self.shape[0]]

    def _is_multiplied_packed(self, x: Tensor) -> bool:
        return (
            x.dtype == torch.bfloat16 and x.device.type == "cpu" and self.group in GROUPS
            and _packs_in_blocks()
        )  # fmt: skip


class Int8Matrix:
    """Codes row by row."""

    bits = 8

    def __init__(self, codes: Codes) -> None:
        self.codes = codes
        self.shape = (codes.codes.shape[0], codes.codes.shape[1])
        self.scale = codes.scale.float()
        self.by_row = codes.zero is None and codes.scale.shape[1] == 1
        self.ones = torch.ones(len(self.scale), dtype=torch.bfloat16)

    @property
    def nbytes(self) -> int:
        zero = self.codes.zero
        return self.codes.codes.nbytes + self.scale.nbytes + (0 if zero is None else zero.nbytes)

    def rows(self, start: int, stop: int) -> Int8Matrix:
        return Int8Matrix(self.codes.mapped(lambda each: each[start:stop]))

    def multiply(self, x: Tensor) -> Tensor:
        if not self.by_row:
            return F.linear(x, self.codes.values().to(x.dtype))
        # Scales are as the file has them: of 8 bits, rounding them to bf16 would be seen.
        few = len(x) <= FEW_ROWS[8] and x.dtype == torch.bfloat16 and x.device.type == "cpu"
        if few and hasattr(torch.ops.aten, "_weight_int8pack_mm"):
            product = torch.ops.aten._weight_int8pack_mm(
                x.contiguous(), self.codes.codes, self.ones
            )
        else:
            product = F.linear(x, self.codes.codes.to(x.dtype))
        return (product * self.scale[:, 0]).to(x.dtype)


class PackedLinear(nn.Module):
    """A linear layer whose matrix is packed; for inference."""

    def __init__(self, matrix: PackedMatrix, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = matrix.shape
        self.matrix, self.bias = matrix, bias
        self.shared: PackedMatrix | None = None
        """The matrix that this one's rows and those of others lie in, one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        found = self.matrix.multiply(x.flatten(0, -2)).view(*x.shape[:-1], self.out_features)
        return found if self.bias is None else found + self.bias.to(x.dtype)


def packed_layers(codes: Sequence[Codes], biases: Sequence[Tensor | None]) -> list[PackedLinear]:
    """Layers that read the same input; in one piece of memory where they can be."""
    first = codes[0]
    alike = all(
        (each.bits, each.group, each.zero is None) == (first.bits, first.group, first.zero is None)
        for each in codes
    )
    if codes[1:] and alike:
        whole = pack(join_codes(codes))
        parts, start = [], 0
        for each in codes:
            parts.append(whole.rows(start, start + len(each.codes)))
            start += len(each.codes)
        if None not in parts:
            layers = [
                PackedLinear(part, bias)
                for part, bias in zip(parts, biases, strict=True) if part is not None
            ]  # fmt: skip
            for layer in layers:
                layer.shared = whole
            return layers
    return [PackedLinear(pack(each), bias) for each, bias in zip(codes, biases, strict=True)]


@cache
def _packs_in_blocks() -> bool:
    """Whether torch's product reads matrices that lie as :class:`Int4Matrix` has them, which
    depends on the processor."""
    try:
        codes = (torch.arange(BLOCK * 32, dtype=torch.int32) * 7 % 16).view(BLOCK, 32)
        own = Int4Matrix.of(Codes((codes - 8).to(torch.int8), torch.ones(BLOCK, 1), None, 4))
        theirs = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes, 1)
    except (RuntimeError, AttributeError):
        return False
    return torch.equal(own.blocks.flatten(), theirs.view(torch.uint8).flatten())
