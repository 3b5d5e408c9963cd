"""What stands before the weights of a GGUF file, read without believing it.

Files come from strangers. Every length, count and offset is held against the size of the file
before anything of that size is read or allocated, so that reading takes about as much memory
as the header has bytes. Who has read a header here may give the file to other readers.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import mmap
import stat
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from types import ModuleType

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_ALIGNMENT = "general.alignment"
_USUAL_ALIGNMENT = 32
_MOST_ALIGNMENT = 1 << 20
_LONGEST_NAME = 65_535  # bytes of a key, by the format
_LONGEST_TENSOR_NAME = 1_024
_MOST_SETTINGS = 65_536
_MOST_TENSORS = 1 << 20
_MOST_ENTRIES = 1 << 24  # of an array; the largest vocabularies have 2^18 tokens
_MOST_DIMENSIONS = 4
_LEAST_SETTING = 8 + 1 + 4 + 1  # bytes: length and text of the key, type, value
_LEAST_TENSOR = 8 + 1 + 4 + 8 + 4 + 8
_STRING, _ARRAY = 8, 9
_NUMBERS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?",
    10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip


def gguf_package() -> ModuleType:
    """The ``gguf`` package. Raises MissingExtraError where it is not installed."""
    try:
        import gguf
    except ImportError:
        raise MissingExtraError("gguf", "writing a GGUF file") from None
    return gguf  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Header:
    """The settings of a file by key, and its tensors."""

    values: dict[str, Any]
    tensors: dict[str, tuple[int, ...]]
    """Their shapes, innermost dimension first, by name."""
    places: dict[str, Place]
    """Where each one lies."""


@dataclass(frozen=True)
class Place:
    """The bytes of one tensor in its file, and in which of GGML's formats they are."""

    start: int
    length: int
    kind: int


def read_header(file: Path) -> Header:
    """The header of a GGUF file. Raises ModelError naming what is wrong with it."""
    try:
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{file}: expected a GGUF file. Got no regular file")
        if status.st_size < 24:
            raise ModelError(f"{file}: expected a GGUF file. Got {status.st_size} bytes")
        with (
            file.open("rb") as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return _Reader(file, data).header()
    except OSError as error:
        raise ModelError(f"{file}: a GGUF file that cannot be read: {error.strerror}") from None


class _Reader:
    """Goes through a header once."""

    def __init__(self, file: Path, data: mmap.mmap) -> None:
        self.file = file
        self.data = data
        self.size = len(data)
        self.place = 0

    def header(self) -> Header:
        """All of it; afterwards every tensor is known to lie within the file."""
        if self._take(4, "the signature") != _MAGIC:
            raise self._refusal("the signature GGUF at its beginning", "another file")
        version = self._number("<I", "the version")
        if version not in _VERSIONS:
            swapped = int.from_bytes(version.to_bytes(4, "little"), "big") in _VERSIONS
            got = "one for big-endian machines" if swapped else version
            raise self._refusal("version 2 or 3", got)
        tensors = self._count("tensors", _MOST_TENSORS, _LEAST_TENSOR)
        settings = self._count("settings", _MOST_SETTINGS, _LEAST_SETTING)
        values: dict[str, Any] = {}
        for _ in range(settings):
            key = self._text("the name of a setting", most=_LONGEST_NAME)
            if key in values:
                raise self._refusal("each setting once", f"'{_shown(key)}' twice")
            values[key] = self._value(self._number("<I", "a type"), key)
        return Header(values, *self._tensors(tensors, self._alignment(values)))

    def _alignment(self, values: dict[str, Any]) -> int:
        found = values.get(_ALIGNMENT, _USUAL_ALIGNMENT)
        good = type(found) is int and 0 < found <= _MOST_ALIGNMENT and found & (found - 1) == 0
        if not good:
            raise self._refusal(f"{_ALIGNMENT} to be a power of two", repr(found)[:80])
        return int(found)

    def _tensors(
        self, count: int, alignment: int
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, Place]]:
        found: dict[str, tuple[int, ...]] = {}
        places: dict[str, Place] = {}
        for _ in range(count):
            name = self._text("the name of a tensor", most=_LONGEST_TENSOR_NAME)
            if name in found:
                raise self._refusal("each tensor once", f"'{_shown(name)}' twice")
            dimensions = self._number("<I", "a number of dimensions")
            if not 1 <= dimensions <= _MOST_DIMENSIONS:
                raise self._refusal(f"'{_shown(name)}' to have 1 to 4 dimensions", dimensions)
            shape = tuple(self._number("<Q", "a dimension") for _ in range(dimensions))
            kind, offset = self._number("<I", "a format"), self._number("<Q", "an offset")
            if offset % alignment:
                raise self._refusal(f"'{_shown(name)}' at a multiple of {alignment} bytes", offset)
            found[name] = shape
            places[name] = Place(offset, self._bytes_of(name, shape, kind), kind)
        start = -(-self.place // alignment) * alignment
        for name, place in places.items():
            end = start + place.start + place.length
            if end > self.size:
                raise self._refusal(
                    f"'{_shown(name)}' within its {self.size:,} bytes", f"an end at {end:,}"
                )
            places[name] = replace(place, start=start + place.start)
        return found, places

    def _bytes_of(self, name: str, shape: tuple[int, ...], kind: int) -> int:
        sizes = {int(known): size for known, size in gguf_package().GGML_QUANT_SIZES.items()}
        if kind not in sizes:
            raise self._refusal(f"'{_shown(name)}' in a number format that is known", kind)
        block, block_bytes = sizes[kind]
        if shape[0] % block or 0 in shape:
            raise self._refusal(f"'{_shown(name)}' in whole blocks of {block} numbers", list(shape))
        return int(math.prod(shape) // block * block_bytes)

    def _value(self, kind: int, key: str) -> Any:
        if kind == _STRING:
            return self._text(f"'{_shown(key)}'")
        if kind == _ARRAY:
            return self._array(key)
        if kind not in _NUMBERS:
            raise self._refusal(f"'{_shown(key)}' to be of a type that is known", kind)
        return self._numbers(kind, 1, key)[0]

    def _array(self, key: str) -> list[Any]:
        kind = self._number("<I", f"the type of '{_shown(key)}'")
        if kind != _STRING and kind not in _NUMBERS:
            got = "arrays" if kind == _ARRAY else f"type {kind}"
            raise self._refusal(f"'{_shown(key)}' to hold numbers or texts", got)
        least = 8 if kind == _STRING else np.dtype(_NUMBERS[kind]).itemsize
        count = self._count(f"entries of '{_shown(key)}'", _MOST_ENTRIES, least)
        if kind == _STRING:
            return [self._text(f"'{_shown(key)}'") for _ in range(count)]
        return self._numbers(kind, count, key)

    def _numbers(self, kind: int, count: int, key: str) -> list[Any]:
        dtype = np.dtype(_NUMBERS[kind])
        found = np.frombuffer(self._take(count * dtype.itemsize, f"'{_shown(key)}'"), dtype)
        return list(found.tolist())

    def _count(self, what: str, most: int, least_bytes: int) -> int:
        """A number of things, of which each takes so many bytes at least."""
        count = self._number("<Q", f"the number of {what}")
        fitting = (self.size - self.place) // least_bytes
        if count > min(most, fitting):
            raise self._refusal(f"at most {min(most, fitting):,} {what}", f"{count:,}")
        return count

    def _text(self, what: str, *, most: int | None = None) -> str:
        length = self._number("<Q", f"the length of {what}")
        if most is not None and length > most:
            raise self._refusal(f"{what} to have at most {most:,} bytes", f"{length:,}")
        try:
            return self._take(length, what).decode("utf-8")
        except UnicodeDecodeError:
            raise self._refusal(f"{what} in UTF-8", "other bytes") from None

    def _number(self, form: str, what: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form), what))[0])

    def _take(self, length: int, what: str) -> bytes:
        if length > self.size - self.place:
            raise self._refusal(f"{what} of {length:,} bytes", f"{self.size - self.place:,} left")
        self.place += length
        return self.data[self.place - length : self.place]

    def _refusal(self, expected: str, got: object) -> ModelError:
        return ModelError(f"{self.file}: a GGUF file must have {expected}. Got {got}")


def _shown(name: str) -> str:
    """A name of the file's as a message may have it, in one line."""
    return "".join(c if c.isprintable() else "?" for c in name[:80])
