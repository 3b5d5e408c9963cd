"""GGUF's number formats: float32, float16, bfloat16, and blocks of 32 numbers with a scale.

``q8_0`` and ``q4_0`` keep a float16 scale and 8 or 4 bits a number. Blocks lie within
rows: a matrix whose rows do not divide into blocks stays in float16, vectors and
the small tables of positions stay in float32, and where matrices have 4 bits
the tables of tokens, which decide between all tokens at once, have 8.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from linnet.errors import ModelError
from linnet.gguf.header import gguf_package

Floats = npt.NDArray[np.float32]

_BLOCKS = ("q8_0", "q4_0")
_KEPT_WHOLE = ("position_embd.weight", "token_types.weight", "rope_")
_TABLES = ("token_embd.weight", "output.weight")
_CHUNK_BYTES = 32 << 20  # of float32: how much of a tensor is converted at once


def format_of(name: str, shape: tuple[int, ...], wanted: str) -> str:
    """The format in which a tensor is stored when ``wanted`` is asked for the model."""
    if len(shape) < 2 or name.startswith(_KEPT_WHOLE):
        return "f32"
    if wanted == "q4_0" and name in _TABLES:
        wanted = "q8_0"
    return "f16" if wanted in _BLOCKS and shape[-1] % _block_size(wanted) else wanted


def stored_bytes(shape: tuple[int, ...], format: str) -> int:
    """The size of a tensor in a format."""
    gguf = gguf_package()
    block, size = gguf.GGML_QUANT_SIZES[ggml_type(format)]
    return int(np.prod(shape)) // int(block) * int(size)


def ggml_type(format: str) -> Any:
    """GGML's number for a format."""
    return gguf_package().GGMLQuantizationType[format.upper()]


def encoded(name: str, values: torch.Tensor, format: str) -> Iterator[npt.NDArray[Any]]:
    """The bytes of a tensor in ``format``, some rows at a time.

    Raises ModelError for values that are no numbers, or are too large for float16.
    """
    rows = values.reshape(-1, values.shape[-1]) if values.dim() > 1 else values.reshape(1, -1)
    step = max(1, _CHUNK_BYTES // (4 * rows.shape[1]))
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        if not chunk.isfinite().all():
            raise ModelError(f"the tensor '{name}' holds values that are not numbers")
        yield _encoded_rows(name, chunk, format)


def _encoded_rows(name: str, rows: torch.Tensor, format: str) -> npt.NDArray[Any]:
    if format == "bf16":
        return rows.to(torch.bfloat16).contiguous().view(torch.uint8).numpy()
    if format == "f16":
        halves = rows.to(torch.float16)
        if not halves.isfinite().all():
            raise ModelError(f"the tensor '{name}' has values too large for f16; use bf16 or f32")
        return halves.numpy()
    floats: Floats = rows.float().numpy()
    if format == "f32":
        return floats
    quantised: npt.NDArray[Any] = gguf_package().quants.quantize(floats, ggml_type(format))
    return quantised


def _block_size(format: str) -> int:
    return int(gguf_package().GGML_QUANT_SIZES[ggml_type(format)][0])
