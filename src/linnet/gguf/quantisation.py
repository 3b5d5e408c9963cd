"""GGUF's number formats: float32, float16, bfloat16, and blocks of numbers with a scale.

``q8_0`` and ``q4_0`` keep a float16 scale and 8 or 4 bits a number, in blocks of 32. K-quants and
the IQ formats have blocks of 256 numbers and scales in two steps; they are made by ``libgguf``
(extra ``compress``), and better where it is known how much each column of a matrix matters (an
importance matrix). Blocks lie within rows: a matrix whose rows do not divide into blocks of 256
gets the format that llama.cpp falls back to, one whose rows do not divide into 32 stays in float16.
Vectors and the small tables of positions stay in float32, and where matrices have fewer than 8
bits the tables of tokens, which decide between all tokens at once, have more.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from linnet.errors import MissingExtraError, ModelError
from linnet.gguf.header import gguf_package

Floats = npt.NDArray[np.float32]

_OWN_BLOCKS = ("q8_0", "q4_0")
FINE: Mapping[str, str] = {
    "q2_k": "q4_0", "q3_k": "q4_0", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0",
    "iq4_xs": "iq4_nl", "iq3_s": "iq4_nl",
}  # fmt: skip
"""Formats of blocks of 256 numbers, and what a matrix gets whose rows do not divide into them: that
of llama.cpp (``tensor_type_fallback`` of llama-quant.cpp)."""
COARSE = ("iq4_nl", "q4_1", "q5_0", "q5_1")
"""Other formats of blocks of 32 numbers that libgguf makes."""
MADE_BY_LIBGGUF = (*FINE, *COARSE)
_KEPT_WHOLE = ("position_embd.weight", "token_types.weight", "rope_")
TABLES = ("token_embd.weight", "output.weight")
_TABLES_HAVE = {"q4_0": "q8_0", "q8_0": "q8_0"}
_CHUNK_BYTES = 32 << 20  # of float32: how much of a tensor is converted at once

Importance: TypeAlias = Mapping[str, Floats]
"""How much each column of a matrix matters, by the tensor's name: the mean square of its input."""


def format_of(name: str, shape: tuple[int, ...], wanted: str) -> str:
    """The format in which a tensor is stored when ``wanted`` is asked for the model."""
    if name in TABLES and wanted not in ("f32", "f16", "bf16"):
        wanted = _TABLES_HAVE.get(wanted, "q6_k")
    return possible_format(name, shape, wanted)


def possible_format(name: str, shape: tuple[int, ...], wanted: str) -> str:
    """The format of a tensor that is to have this one, or the one it falls back to."""
    if len(shape) < 2 or name.startswith(_KEPT_WHOLE):
        return "f32"
    if wanted in FINE and shape[-1] % _block_size(wanted):
        wanted = FINE[wanted]
    blocks = wanted in (*_OWN_BLOCKS, *MADE_BY_LIBGGUF)
    return "f16" if blocks and shape[-1] % _block_size(wanted) else wanted


def stored_bytes(shape: tuple[int, ...], format: str) -> int:
    """The size of a tensor in a format."""
    gguf = gguf_package()
    block, size = gguf.GGML_QUANT_SIZES[ggml_type(format)]
    return int(np.prod(shape)) // int(block) * int(size)


def ggml_type(format: str) -> Any:
    """GGML's number for a format."""
    return gguf_package().GGMLQuantizationType[format.upper()]


def encoded(
    name: str, values: torch.Tensor, format: str, importance: Floats | None = None
) -> Iterator[npt.NDArray[Any]]:
    """The bytes of a tensor in ``format``, some rows at a time.

    ``importance``: of its columns, for ``q4_0`` and the formats that libgguf makes. Raises
    ModelError for values that are no numbers, or are too large for float16.
    """
    rows = values.reshape(-1, values.shape[-1]) if values.dim() > 1 else values.reshape(1, -1)
    step = max(1, _CHUNK_BYTES // (4 * rows.shape[1]))
    for start in range(0, len(rows), step):
        chunk = rows[start : start + step]
        if not chunk.isfinite().all():
            raise ModelError(f"the tensor '{name}' holds values that are not numbers")
        yield _encoded_rows(name, chunk, format, importance)


def _encoded_rows(
    name: str, rows: torch.Tensor, format: str, importance: Floats | None
) -> npt.NDArray[Any]:
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
    if format in MADE_BY_LIBGGUF or (format == "q4_0" and importance is not None):
        made: npt.NDArray[Any] = libgguf_package().quantize_rows(
            np.ascontiguousarray(floats), int(ggml_type(format)), importance
        )
        return made
    quantised: npt.NDArray[Any] = gguf_package().quants.quantize(floats, ggml_type(format))
    return quantised


def decoded(rows: npt.NDArray[Any], format: str, width: int) -> Floats:
    """Encoded rows as numbers, as llama.cpp reads them."""
    if format == "f32":
        return rows.view(np.float32).reshape(-1, width)
    found: Floats = gguf_package().quants.dequantize(
        rows.view(np.uint8).reshape(len(rows), -1), ggml_type(format)
    )
    return found.reshape(-1, width)


def libgguf_package() -> Any:
    """The package that makes K-quants. Raises MissingExtraError without it."""
    try:
        import libgguf  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtraError("libgguf", "this number format") from None
    return libgguf


def _block_size(format: str) -> int:
    return int(gguf_package().GGML_QUANT_SIZES[ggml_type(format)][0])
