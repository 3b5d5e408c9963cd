"""The tensors of a GGUF file: mapped, and undone into float32 as they are asked for. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from linnet.errors import ModelError
from linnet.gguf.header import gguf_package, read_header

Floats = npt.NDArray[np.float32]


class TensorFile(Mapping[str, tuple[int, ...]]):
    """The tensors of a GGUF file: their shapes, outermost dimension first; none is read yet."""

    def __init__(self, file: Path) -> None:
        """Raises ModelError for a file that cannot be read."""
        self.file = file
        self.header = read_header(file)

    def __getitem__(self, name: str) -> tuple[int, ...]:
        return self.header.tensors[name][::-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self.header.tensors)

    def __len__(self) -> int:
        return len(self.header.tensors)

    def format(self, name: str) -> str:
        """GGML's name of the number format of a tensor."""
        return str(gguf_package().GGMLQuantizationType(self.header.places[name].kind).name)

    def require_readable(self) -> None:
        """Raise ModelError for the first tensor in a format that the gguf package cannot undo."""
        kinds = {place.kind: name for name, place in self.header.places.items()}
        for name in kinds.values():
            self.read(name, 0, 1)

    def stored(self, name: str) -> npt.NDArray[np.uint8]:
        """The bytes of a tensor as they stand in the file, a row for each row of numbers."""
        place = self.header.places[name]
        data = np.memmap(self.file, np.uint8, "r", place.start, (place.length,))
        return data.reshape(math.prod(self[name][:-1]), -1)

    def read(self, name: str, start: int = 0, end: int | None = None) -> Floats:
        """Rows of a tensor as float32 numbers, by default all; a vector has one row.

        Raises ModelError for a format that the gguf package cannot undo.
        """
        gguf = gguf_package()
        kind = gguf.GGMLQuantizationType(self.header.places[name].kind)
        shape = self[name]
        rows = self.stored(name)[start:end]
        try:
            values = gguf.quants.dequantize(rows, kind)
        except (ValueError, IndexError, KeyError, NotImplementedError) as error:
            raise ModelError(
                f"{self.file}: the tensor '{name}' has the number format {kind.name}, which cannot "
                f"be read: {error}"
            ) from None
        found = np.asarray(values, dtype=np.float32)
        return found.reshape(shape if end is None and not start else (len(rows), shape[-1]))


def read_tensors(file: Path) -> Iterator[tuple[str, Floats]]:
    """Every tensor of a GGUF file as float32 numbers, one by one.

    Raises ModelError for a file that cannot be read, or formats that gguf cannot undo.
    """
    tensors = TensorFile(file)
    for name in tensors:
        yield name, tensors.read(name)
