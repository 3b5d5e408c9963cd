"""Inside the blocks of GGUF's number formats: whole numbers, and what they stand for.

A number of a block is ``offset + scale · level``: its code says which level, the rest of the block
scale and offset. So a block's codes can be chosen anew while its scales stay. What scale and offset
are is not computed here but read off what ``gguf`` decodes.

Layout: ``gguf/quants.py`` and ``ggml-common.h`` of https://github.com/ggml-org/llama.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from linnet.gguf.quantisation import Floats, decoded, ggml_type, libgguf_package

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Field:
    """Some bits of every code, and the bytes that they lie in."""

    start: int
    """The first of the bytes, within a block."""
    bits: int
    low: int
    """The lowest of the bits, within a code."""
    apart: int
    """How far two codes lie apart that share a byte."""


@dataclass(frozen=True)
class Blocks:
    """A format whose codes can be chosen."""

    width: int
    bytes: int
    fields: tuple[_Field, ...]
    levels: tuple[int, ...]
    """In order; the first one has the lowest code, unless codes are signed."""
    signed: bool = False

    def codes_of(self, places: npt.NDArray[Any]) -> Bytes:
        """Codes of levels, given the levels' places in ``levels``."""
        return (places + (self.levels[0] if self.signed else 0)).astype(np.int16).astype(np.uint8)

    @property
    def is_even(self) -> bool:
        """Whether levels lie equally far apart."""
        return self.levels[-1] - self.levels[0] == len(self.levels) - 1


_UNEVEN = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

BLOCKS: Mapping[str, Blocks] = {
    "q8_0": Blocks(32, 34, (_Field(2, 8, 0, 1),), tuple(range(-127, 128)), signed=True),
    "q4_0": Blocks(32, 18, (_Field(2, 4, 0, 16),), tuple(range(16))),
    "q4_1": Blocks(32, 20, (_Field(4, 4, 0, 16),), tuple(range(16))),
    "q5_0": Blocks(32, 22, (_Field(2, 1, 4, 1), _Field(6, 4, 0, 16)), tuple(range(32))),
    "q5_1": Blocks(32, 24, (_Field(4, 1, 4, 1), _Field(8, 4, 0, 16)), tuple(range(32))),
    "iq4_nl": Blocks(32, 18, (_Field(2, 4, 0, 16),), _UNEVEN),
    "iq4_xs": Blocks(256, 136, (_Field(8, 4, 0, 16),), _UNEVEN),
    "q2_k": Blocks(256, 84, (_Field(16, 2, 0, 32),), tuple(range(4))),
    "q3_k": Blocks(256, 110, (_Field(0, 1, 2, 32), _Field(32, 2, 0, 32)), tuple(range(8))),
    "q4_k": Blocks(256, 144, (_Field(16, 4, 0, 32),), tuple(range(16))),
    "q5_k": Blocks(256, 176, (_Field(16, 1, 4, 32), _Field(48, 4, 0, 32)), tuple(range(32))),
    "q6_k": Blocks(256, 210, (_Field(0, 4, 0, 64), _Field(128, 2, 4, 32)), tuple(range(64))),
}
"""The formats whose codes can be chosen, by name."""


def with_codes(coded: Bytes, codes: Bytes, format: str) -> Bytes:
    """Encoded rows ``(R, bytes)`` with other codes ``(R, C)`` under the same scales."""
    kind = BLOCKS[format]
    found = coded.reshape(-1, kind.bytes).copy()
    own = codes.reshape(-1, kind.width)
    for field in kind.fields:
        per_byte = 8 // field.bits
        bits = (own >> field.low) & (2**field.bits - 1)
        shared = bits.reshape(len(own), -1, per_byte, field.apart)
        shifts = np.arange(0, 8, field.bits, dtype=np.uint8)[:, None]
        packed = np.bitwise_or.reduce(shared << shifts, axis=2).reshape(len(own), -1)
        found[:, field.start : field.start + packed.shape[1]] = packed
    return found.reshape(coded.shape)


def scales_of(coded: Bytes, format: str) -> tuple[Floats, Floats]:
    """Scale and offset of each number of encoded rows, ``(R, C)`` both."""
    kind = BLOCKS[format]
    width = coded.shape[1] // kind.bytes * kind.width
    near = int(np.abs(kind.levels).argmin())
    low, high = (
        decoded(with_codes(coded, _all(coded, width, kind, place), format), format, width)
        for place in (near, near + 1)
    )
    scale = (high - low) / np.float32(kind.levels[near + 1] - kind.levels[near])
    return scale, low - scale * np.float32(kind.levels[near])


def rounded(rows: Floats, format: str, importance: Floats | None = None) -> Bytes:
    """Rows encoded by llama.cpp's own rounding, which looks for scales that fit best."""
    found: Bytes = libgguf_package().quantize_rows(
        np.ascontiguousarray(rows), int(ggml_type(format)), importance
    )
    return found


def _all(coded: Bytes, width: int, kind: Blocks, place: int) -> Bytes:
    code = kind.codes_of(np.array([place]))[0]
    return np.full((len(coded), width), code, np.uint8)
