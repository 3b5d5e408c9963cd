"""GGUF files, weights and configurations that say what cannot be, each with what is said of it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def header(*settings: bytes, tensors: int = 0, count: int | None = None) -> bytes:
    known = len(settings) if count is None else count
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, known) + b"".join(settings)


def array(kind: int, count: int) -> bytes:
    return text(b"a") + struct.pack("<IIQ", 9, kind, count)


def tensor(*shape: int, kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(b"t") + sizes + struct.pack("<IQ", kind, offset)


HEADERS = {
    "array of 2^60": (header(array(4, 1 << 60)), "entries of 'a'"),
    "array of 10^8 texts": (header(array(8, 10**8)), "entries of 'a'"),
    "array of 10^8 bytes": (header(array(0, 10**8)), "entries of 'a'"),
    "arrays in an array": (header(array(9, 3) + bytes(64)), "Got arrays"),
    "a type that is none": (header(array(77, 3) + bytes(64)), "Got type 77"),
    "a text of 2^63": (header(text(b"a") + struct.pack("<IQ", 8, 1 << 63)), "left"),
    "a name of 2^40": (header(struct.pack("<Q", 1 << 40)), "settings"),
    "2^40 settings": (header(count=1 << 40), "settings"),
    "2^40 tensors": (header(tensors=1 << 40), "tensors"),
    "five dimensions": (header(tensors=1) + tensor(1, 1, 1, 1, 1) + bytes(64), "1 to 4 dimensions"),
    "none": (header(tensors=1) + tensor() + bytes(64), "1 to 4 dimensions"),
    "a dimension of 0": (header(tensors=1) + tensor(0, 4) + bytes(64), "whole blocks"),
    "2^62 numbers": (header(tensors=1) + tensor(1 << 31, 1 << 31) + bytes(64), "within its"),
    "beyond the end": (header(tensors=1) + tensor(4, offset=1 << 40) + bytes(64), "within its"),
    "not aligned": (header(tensors=1) + tensor(4, offset=3) + bytes(64), "a multiple of 32"),
    "a format that is none": (header(tensors=1) + tensor(4, kind=999) + bytes(64), "known"),
    "half a block": (header(tensors=1) + tensor(31, kind=8) + bytes(64), "whole blocks of 32"),
    "twice the same": (header(tensors=2) + 2 * tensor(1) + bytes(99), "twice"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
    "cut": (b"GGUF\3\0\0\0", "8 bytes"),
    "empty": (b"", "0 bytes"),
}


def header_only(file: Path, header: bytes, *, length: int | None = None) -> None:
    """A safetensors file that says much and holds nothing."""
    size = len(header) if length is None else length
    file.write_bytes(size.to_bytes(8, "little") + header)


def many_tensors(count: int) -> bytes:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return json.dumps({f"model.layers.{n // 9}.t{n % 9}": empty for n in range(count)}).encode()


DEEP = "[" * 100_000
HOSTILE_WEIGHTS: dict[str, tuple[bytes, str]] = {
    "header of 4 EB": (((1 << 62) - 1).to_bytes(8, "little"), "a header of 46116860184273879"),
    "300,000 tensors": (many_tensors(300_000), "a header of "),
    "60,000 tensors": (many_tensors(60_000), "60000 tensors; expected at most 50000"),
    "deep": (DEEP.encode(), "damaged or missing"),
    "a list": (b"[]", "damaged or missing"),
    "a number": (b"7", "damaged or missing"),
    "no offsets": (b'{"a": {"dtype": "F32", "shape": [1]}}', "damaged or missing"),
    "past its end": (
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}', "damaged or missing",
    ),
    "nothing": (b"{}", "2 layers of 9 tensors, but the weights hold only 0"),
    "empty tensors": (many_tensors(18), "'model.embed_tokens.weight' is missing"),
}  # fmt: skip


LARGEST = (1 << 31) - 1
HOSTILE_SIZES: tuple[dict[str, Any], ...] = (
    {"num_hidden_layers": 512}, {"num_hidden_layers": 10**9}, {"hidden_size": LARGEST},
    {"vocab_size": LARGEST, "hidden_size": LARGEST}, {"max_position_embeddings": 1 << 60},
    {"num_attention_heads": LARGEST, "num_key_value_heads": LARGEST, "head_dim": LARGEST},
    {"intermediate_size": LARGEST}, {"head_dim": LARGEST - 1}, {"rms_norm_eps": 10**400},
    {"rope_parameters": {"rope_theta": 10**400}}, {"eos_token_id": 10**400},
    {"layer_types": [["full_attention"], {}]}, {"architectures": 5, "vocab_size": "7"},
    {"pruned_heads": {"0": [1]}},
)  # fmt: skip
