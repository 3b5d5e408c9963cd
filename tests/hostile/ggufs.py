"""GGUF files with counts and settings that no file of their size holds."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path

from case import Case

from odd_files import HEADERS, header, tensor, text

LINE = r"\S+\.gguf"
GENERATE = ("generate", "DIR/a.gguf", "Hello")
COMMANDS = {
    "generate": GENERATE,
    "chat": ("chat", "DIR/a.gguf"),
    "serve": ("serve", "DIR/a.gguf", "--port", "0"),
    "export check": ("export", "check", "DIR/a.gguf"),
}
LIMIT = 1_500 << 20


def whole(value: int) -> bytes:
    return struct.pack("<IQ", 10, value)


def words(*values: bytes) -> bytes:
    return struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(text, values))


SOUND = {
    "general.architecture": struct.pack("<I", 8) + text(b"llama"),
    "llama.context_length": whole(64),
    "llama.embedding_length": whole(32),
    "llama.block_count": whole(1),
    "llama.attention.head_count": whole(4),
    "llama.attention.head_count_kv": whole(2),
    "tokenizer.ggml.model": struct.pack("<I", 8) + text(b"gpt2"),
    "tokenizer.ggml.tokens": words(b"a", b"b"),
}
ODD: dict[str, tuple[bytes | None, ...]] = {
    "context_length": (whole((1 << 32) - 1), whole(1 << 60), whole(0), words(b"a"), None),
    "embedding_length": (whole(1 << 40), whole(0), None),
    "block_count": (whole(10_000), whole(1 << 60), whole(0), None),
    "attention.head_count": (whole(0), whole(1 << 60), words(b"4")),
    "attention.head_count_kv": (whole(0), words()),
    "attention.key_length": (whole(0), whole(1 << 60)),
}


def _written(place: Path, changes: dict[str, bytes | None]) -> None:
    settings = {**SOUND, **changes}
    data = [text(key.encode()) + value for key, value in settings.items() if value is not None]
    (place / "a.gguf").write_bytes(header(*data, tensors=1) + tensor(4) + bytes(128))


def _cases() -> Iterator[Case]:
    for name, (data, reason) in HEADERS.items():

        def write(place: Path, data: bytes = data) -> None:
            (place / "a.gguf").write_bytes(data)

        quick = name == "array of 2^60"
        line = f"{LINE}.*{reason}"
        yield Case(f"gguf: {name}", write, GENERATE, line, quick=quick, memory=LIMIT)
    for command, arguments in COMMANDS.items():
        data, reason = HEADERS["array of 10^8 texts"]

        def write(place: Path, data: bytes = data) -> None:
            (place / "a.gguf").write_bytes(data)

        yield Case(f"gguf: an array in {command}", write, arguments, LINE, memory=LIMIT)
    for key, values in ODD.items():
        for number, value in enumerate(values):

            def change(place: Path, key: str = key, value: bytes | None = value) -> None:
                _written(place, {f"llama.{key}": value})

            line = f"{LINE}.*{re.escape(key)}"
            yield Case(f"gguf: {key} {number}", change, GENERATE, line, memory=LIMIT)
    yield Case(
        "gguf: a pipe", lambda place: os.mkfifo(place / "a.gguf"), GENERATE,
        rf"{LINE}.*must be a regular file", memory=LIMIT,
    )  # fmt: skip


CASES = list(_cases())
