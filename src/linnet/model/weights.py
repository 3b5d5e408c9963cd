"""The tensors of a checkpoint: safetensors, in one file or in several with an index.

Reading takes one tensor at a time, so that the model is never in memory twice.
A tensor that is wanted on the CPU in the format it is stored in is not read at
all: it is mapped, and its pages come from the file when they are used (changing
it changes the memory, never the file). Any other is converted piece by piece
through one small buffer.

Writing puts files beside the old ones and renames them when all are complete: a
full disk leaves what was there. It is done here and not by the library, whose writer
copies all tensors first, orders metadata by chance and makes files that only their
owner may read.

Formats: https://github.com/huggingface/safetensors#format, and transformers'
``model.safetensors.index.json`` for what is split.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from linnet.errors import ModelError
from linnet.model.config_file import is_regular, read_object
from linnet.model.families.section import shown
from linnet.output import full_disk_named, replacing, require_space, write_json
from linnet.progress import SILENT, Progress

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
INDEX_LIMIT = 16 << 20  # bytes; an index has a line for every tensor
HEADER_LIMIT = 16 << 20  # bytes of a file that say what is in it
MOST_TENSORS = 50_000  # in all files together; the largest models here have about 1,500
PIECE = 4 << 20  # bytes converted at once
SHARD_BYTES = 5_000_000_000  # as transformers splits by default in release 4
FORMATS = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_NAMES = {
    **{dtype: name for name, dtype in FORMATS.items()},
    torch.float64: "F64",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
CHECKSUM = "crc32"  # in the metadata, of all tensors in their order in the file

# How the first BERT checkpoints call the parts of a LayerNorm; transformers renames them too.
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


@dataclass(frozen=True)
class Stored:
    """Where one tensor lies: ``offset`` bytes into its file."""

    file: Path
    opened: Any  # of safetensors, which has no types
    name: str
    format: str
    shape: tuple[int, ...]
    offset: int


class WeightFiles(Mapping[str, Stored]):
    """The tensors of a model directory by their published names; none is read yet."""

    def __init__(
        self, path: Path, stored: Mapping[str, Stored], metadata: Mapping[str, str]
    ) -> None:
        self.path = path
        self.metadata = dict(metadata)
        """What the files say of themselves."""
        self._stored = dict(stored)

    def __getitem__(self, name: str) -> Stored:
        return self._stored[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._stored)

    def __len__(self) -> int:
        return len(self._stored)

    def selected(self, names: Mapping[str, str]) -> WeightFiles:
        """Some of the tensors, each under a name of its own. Raises ModelError for one twice."""
        stored: dict[str, Stored] = {}
        for name, wanted in names.items():
            if wanted in stored:
                raise ModelError(f"{self.path}: the tensor '{wanted}' is there twice")
            stored[wanted] = self[name]
        return WeightFiles(self.path, stored, self.metadata)

    def read(
        self,
        name: str,
        *,
        device: str | torch.device = "cpu",
        dtype: torch.dtype | None = None,
    ) -> torch.Tensor:
        """One tensor on ``device`` in the format ``dtype``, by default that which is stored.

        Raises ModelError for a format that holds no plain numbers (fp8, packed integers).
        """
        stored = self[name]
        if stored.format not in FORMATS:
            raise ModelError(
                f"{self.path}: the tensor '{name}' is stored as {stored.format}; expected "
                f"{', '.join(FORMATS)}: get the checkpoint that is not quantised"
            )
        found = FORMATS[stored.format]
        if torch.device(device).type == "cpu" and dtype in (None, found):
            tensor: torch.Tensor = stored.opened.get_tensor(stored.name)
            return tensor
        return self._converted(stored, found, torch.device(device), dtype or found)

    def _converted(
        self, stored: Stored, found: torch.dtype, device: torch.device, dtype: torch.dtype
    ) -> torch.Tensor:
        tensor = torch.empty(stored.shape, dtype=dtype, device=device)
        flat = tensor.view(-1)
        done, at_once = 0, self._buffer.numel() // found.itemsize
        with stored.file.open("rb") as file:
            file.seek(stored.offset)
            while done < flat.numel():
                count = min(at_once, flat.numel() - done)
                piece = self._buffer[: count * found.itemsize]
                if file.readinto(piece.numpy()) != len(piece):  # type: ignore[arg-type]
                    raise ModelError(
                        f"{stored.file} is damaged: it ends early; make or download it again"
                    )
                flat[done : done + count].copy_(piece.view(found))
                done += count
        return tensor

    @cached_property
    def _buffer(self) -> torch.Tensor:
        """What passes through here is converted; one buffer, as new ones would scatter memory."""
        return torch.empty(PIECE, dtype=torch.uint8)


def open_weights(path: Path) -> WeightFiles:
    """The weights in a model directory. Raises ModelError when there are none to read safely."""
    return open_files(path, _file_names(path))


def open_files(path: Path, names: Iterable[str]) -> WeightFiles:
    """The tensors of these safetensors files in a directory.

    Raises ModelError for anything but sound regular files, and for more tensors than a model has.
    """
    stored: dict[str, Stored] = {}
    metadata: dict[str, str] = {}
    for name in names:
        file = path / name
        require_readable(file)
        try:
            found, described = _contents(file)
        except PermissionError:
            raise ModelError(f"{file} may not be read by this user") from None
        except (
            SafetensorError, OSError, ValueError, LookupError, TypeError, RecursionError
        ) as error:  # fmt: skip
            raise ModelError(
                f"{file} is damaged or missing ({str(error)[:200]}); make or download it again"
            ) from None
        twice = stored.keys() & found.keys()
        if twice:
            raise ModelError(f"{path}: the tensor '{min(twice)}' is there twice")
        stored |= found
        metadata |= described
        if len(stored) > MOST_TENSORS:
            raise ModelError(
                f"{path}: expected at most {MOST_TENSORS} tensors. Got {len(stored)} or more"
            )
    return WeightFiles(path, stored, metadata)


def require_readable(file: Path) -> None:
    """Raise ModelError where a file is there but this user may not read it."""
    if file.is_file() and not os.access(file, os.R_OK):
        raise ModelError(f"{file} may not be read by this user; its owner can change that (chmod)")


def _file_names(path: Path) -> list[str]:
    if is_regular(path / WEIGHTS):  # before the index, as transformers decides
        return [WEIGHTS]
    if is_regular(path / INDEX):
        return indexed_files(path / INDEX)
    pickled = [p for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in sorted(path.glob(kind))]
    if pickled:
        raise ModelError(f"{pickled[0]} {IS_A_PICKLE}")
    lacks = f"has no {WEIGHTS}" if path.exists() else "does not exist"
    raise ModelError(f"{path}: expected a model directory, but it {lacks}")


IS_A_PICKLE = (
    "is a pickle, which can run any code when loaded; convert it to safetensors where you trust "
    "it: AutoModel.from_pretrained(DIRECTORY).save_pretrained(NEW_DIRECTORY) of transformers"
)


def indexed_files(index: Path) -> list[str]:
    """The files that an index names. Raises ModelError when it is damaged or names a path."""
    listed = read_object(index, limit=INDEX_LIMIT).get("weight_map")
    names = list(listed.values()) if isinstance(listed, dict) else []
    if not names:
        raise ModelError(f"{index} is damaged: it has no weight_map")
    for name in names:
        plain = isinstance(name, str) and Path(name).name == name and "\\" not in name
        if not plain or not name.endswith(".safetensors"):
            raise ModelError(
                f"{index} is damaged: {shown(name)} is not the name of a safetensors file"
            )
    return sorted(set(names))


def _contents(file: Path) -> tuple[dict[str, Stored], dict[str, str]]:
    """The tensors of one file, and what stands beside them."""
    if not is_regular(file):
        raise ValueError("there is no such file")
    with file.open("rb") as raw:
        length = int.from_bytes(raw.read(8), "little")
        if length > HEADER_LIMIT:
            raise ValueError(f"a header of {length} bytes; expected at most {HEADER_LIMIT}")
        header = json.loads(raw.read(length))
    if len(header) > MOST_TENSORS:
        raise ValueError(f"{len(header)} tensors; expected at most {MOST_TENSORS}")
    opened = safe_open(str(file), framework="pt")  # type: ignore[no-untyped-call]  # checks it all
    found: dict[str, Stored] = {}
    metadata = header.pop("__metadata__", None) or {}
    for name, entry in header.items():
        known = name
        for old, new in _OLD_NAMES.items():
            known = known.replace(old, new)
        if known in found:
            raise ValueError(f"the tensor '{known}' is there twice")
        begin = 8 + length + entry["data_offsets"][0]
        found[known] = Stored(file, opened, name, entry["dtype"], tuple(entry["shape"]), begin)
    return found, metadata


@dataclass(frozen=True)
class Written:
    """One tensor to write: the parts it is joined from along the first dimension.

    ``finite``: whether values that are infinite or no numbers are refused."""

    name: str
    parts: tuple[torch.Tensor, ...]
    dtype: torch.dtype
    transposed: bool = False
    interleaved: int = 0
    finite: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        first = self.parts[0].shape
        joined = (sum(len(part) for part in self.parts), *first[1:]) if self.parts[1:] else first
        return tuple(reversed(joined)) if self.transposed else tuple(joined)

    @property
    def bytes(self) -> int:
        return sum(part.numel() for part in self.parts) * self.dtype.itemsize

    def make(self) -> torch.Tensor:
        """The tensor on the CPU; it shares memory with its part where nothing changes. Raises
        ModelError for values that are no numbers, or too large for the format, unless they may be
        there."""
        parts = [part.detach().to(device="cpu", dtype=self.dtype) for part in self.parts]
        joined = join_rows(parts, interleaved=self.interleaved)
        if self.finite and not all_finite(joined):
            stored = str(self.dtype).removeprefix("torch.")
            wider = "" if self.dtype == torch.float32 else "use --dtype fp32, or "
            raise ModelError(
                f"the tensor '{self.name}' has values that are no numbers in {stored}; "
                f"{wider}get another copy"
            )
        return (joined.T if self.transposed else joined).contiguous()


def all_finite(values: torch.Tensor) -> bool:
    """Whether all values are numbers, none infinite; read once, without a copy, which a large
    matrix has no room for."""
    if not values.numel():
        return True
    return all(bool(bound.isfinite()) for bound in values.aminmax())  # either shows a NaN


def join_rows(parts: Sequence[torch.Tensor], *, interleaved: int = 0) -> torch.Tensor:
    """Several tensors below one another, or head by head (``Tensor.interleaved``)."""
    if not parts[1:]:
        return parts[0]
    if interleaved:
        return torch.stack([p.unflatten(0, (interleaved, -1)) for p in parts], 1).flatten(0, 2)
    return torch.cat(list(parts))


def split_rows(
    whole: torch.Tensor, rows: Sequence[int], *, interleaved: int = 0
) -> tuple[torch.Tensor, ...]:
    """The tensors that :func:`join_rows` joined, of so many rows each."""
    if not rows[1:]:
        return (whole,)
    if interleaved:
        by_head = whole.unflatten(0, (interleaved, len(rows), -1))
        return tuple(part.flatten(0, 1) for part in by_head.unbind(1))
    return whole.split(list(rows))


def write_safetensors(
    file: Path,
    tensors: Sequence[Written],
    metadata: Mapping[str, str],
    *,
    checksum: bool = False,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Write tensors into a file of the safetensors format, made one after the other.

    Byte for byte what the library writes, where ``metadata`` has one entry. ``checksum``: add
    that of the tensors to the metadata (see :func:`update_checksum`). ``advance``: told how many
    bytes have been written.
    """
    # Wide numbers first keeps every tensor aligned.
    ordered = sorted(tensors, key=lambda tensor: (-tensor.dtype.itemsize, tensor.name))
    noted = dict(metadata) | ({CHECKSUM: "0" * 8} if checksum else {})
    header: dict[str, Any] = {"__metadata__": noted}
    end = 0
    for tensor in ordered:
        begin, end = end, end + tensor.bytes
        header[tensor.name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    sum_so_far = 0
    with file.open("wb") as opened:
        opened.write(len(encoded).to_bytes(8, "little") + encoded)
        for tensor in ordered:
            made = tensor.make()
            opened.write(_raw(made))
            advance(tensor.bytes)
            if checksum:
                sum_so_far = update_checksum(sum_so_far, tensor.name, made)
        if checksum:
            place = encoded.index(f'"{CHECKSUM}":"{"0" * 8}"'.encode()) + len(CHECKSUM) + 4
            opened.seek(8 + place)
            opened.write(f"{sum_so_far:08x}".encode())
        opened.flush()
        os.fsync(opened.fileno())


def update_checksum(so_far: int, name: str, tensor: torch.Tensor) -> int:
    """The CRC-32 of the tensors before, with the next one: what it is and its numbers."""
    head = f"{name} {_NAMES[tensor.dtype]} {list(tensor.shape)}".encode()
    return zlib.crc32(_raw(tensor.contiguous()), zlib.crc32(head, so_far))


def _raw(tensor: torch.Tensor) -> memoryview:
    return tensor.flatten().view(torch.uint8).numpy().data


def write_weights(
    tensors: Iterable[Written],
    path: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress = SILENT,
) -> None:
    """Write tensors into the directory ``path``, in one file or several of ``shard_bytes``.

    Raises OutputError when there is no room; then the files there before are unchanged.
    """
    shards = _split(tensors, shard_bytes)
    size = sum(tensor.bytes for shard in shards for tensor in shard)
    require_space(path, size, purpose="the model")
    count = len(shards)
    names = [f"model-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    names = names if count > 1 else [WEIGHTS]
    with (
        full_disk_named(path),
        ExitStack() as written,
        progress.task("saving", total=size, unit="bytes") as task,
    ):
        for shard, name in zip(shards, names, strict=True):
            neighbour = written.enter_context(replacing(path / name))
            write_safetensors(neighbour, shard, {"format": "pt"}, advance=task.advance)
    if count > 1:
        places = [(t.name, name) for shard, name in zip(shards, names, strict=True) for t in shard]
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(places))}
        write_json(path / INDEX, index)
    for old in [path / WEIGHTS, path / INDEX, *path.glob("model-*-of-*.safetensors")]:
        if old.name not in names and not (old.name == INDEX and count > 1):
            old.unlink(missing_ok=True)


def _split(tensors: Iterable[Written], most: int) -> list[list[Written]]:
    """The tensors in order, in groups of at most ``most`` bytes (a larger one stands alone)."""
    shards: list[list[Written]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.bytes > most:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.bytes
    return shards
