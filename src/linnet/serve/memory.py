"""How much memory models take: estimated from their files, and measured while they are open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from linnet.config import read_json
from linnet.errors import ConfigError, ModelError
from linnet.generate.llama_cpp.resources import resources_for
from linnet.runtime import available_memory

if TYPE_CHECKING:
    from linnet.generate.engines import EngineConfig
    from linnet.gguf.metadata import Metadata
    from linnet.model import ModelConfig
    from linnet.serve.catalog import Served

USED_SHARE = 0.8
"""Of the memory that is free when the server starts, where it is not told how much it may take."""
_USUAL = 8 << 30  # where the system does not tell
_WORKING = 64 << 20  # of a process beside weights, keys and values
_WEIGHT_BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32, "int8": 1.0}


def memory_limit(given: str) -> int:
    """Bytes that models may take: as ``--model-memory`` has them, or as the machine has them free.

    Raises ConfigError.
    """
    return parse_bytes(given) if given else int(USED_SHARE * (available_memory() or _USUAL))


def parse_bytes(text: str) -> int:
    """``8GB`` or ``512MB`` in bytes, a GB being 10⁹. Raises ConfigError."""
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "": 0}
    units |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
    number = text.strip().rstrip("KMGTIBkmgtib ")
    unit = text.strip()[len(number) :].strip().upper()
    try:
        size = int(float(number) * units[unit])
    except (KeyError, ValueError, OverflowError):
        size = 0
    if not 0 < size < 1 << 60:
        raise ConfigError(f"a size must look like 8GB or 512MB. Got {text!r}")
    return size


def memory_of(models: Sequence[Served]) -> int:
    """Memory that open models take, which share an engine; 0 where it is not known."""
    found: dict[int, int] = {}
    for served in models:
        for each in (served.engine, served.encoder):
            if each is not None:
                found[id(each)] = getattr(each, "memory_bytes", 0)
    return sum(found.values())


def checkpoint_memory(path: Path, shape: ModelConfig, config: EngineConfig) -> int:
    """What the model in a directory will take, estimated by the headers of its files.

    Raises ModelError for weights that are missing or damaged.
    """
    numbers, packed = count_numbers(path)
    precision = config.precision
    on_torch = config.engine == "torch" or config.device != "cpu" or not shape.causal
    on_torch |= bool(packed) and config.engine == "auto"
    if precision == "auto":
        precision = "f32" if on_torch else "q8_0"
    if packed and on_torch and precision != "int8":
        return int(numbers * _WEIGHT_BYTES[precision]) * 2 + packed
    numbers += 2 * packed  # at most: they are unpacked
    weights = int(numbers * _WEIGHT_BYTES[precision])
    if precision == "int8":
        return numbers * 4 + weights
    if on_torch:  # the model's, and the copy that writing makes of them
        return weights * 2 if shape.causal else weights
    each = shape.depth * 2 * shape.kv_heads * shape.head_width * (4 if precision == "f32" else 2)
    return weights + _keys_and_values(config, shape.context, each, weights) + _WORKING


def file_memory(metadata: Metadata, config: EngineConfig) -> int:
    """What the model in a GGUF file will take."""
    size = metadata.file.stat().st_size
    return size + _keys_and_values(config, metadata.context, metadata.token_bytes, size) + _WORKING


def index_memory(path: Path) -> int:
    """What an index of documents will take: its files are mapped."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _keys_and_values(config: EngineConfig, context: int, token_bytes: int, weights: int) -> int:
    resources = resources_for(
        config, context=context, token_bytes=token_bytes, weight_bytes=weights
    )
    return resources.total * token_bytes


def count_numbers(path: Path) -> tuple[int, int]:
    """How many numbers the weights in a directory have, by the headers of the files; and in how
    many bytes others are packed."""
    from safetensors import SafetensorError, safe_open

    file = path / "model.safetensors"
    index = path / "model.safetensors.index.json"
    found = packed = 0
    try:
        names = ["model.safetensors"]
        if not file.is_file() and index.is_file():
            names = sorted({Path(name).name for name in read_json(index)["weight_map"].values()})
        for name in names:
            file = path / name
            if not file.is_file():
                raise ModelError(f"{file}: expected the weights of a model, but it does not exist")
            with safe_open(str(file), framework="numpy") as opened:
                for tensor in opened.keys():  # noqa: SIM118 - it is no dict
                    count = 1
                    described = opened.get_slice(tensor)
                    for size in described.get_shape():
                        count *= size
                    if described.get_dtype() == "I32":
                        packed += 4 * count
                    else:
                        found += count
    except (SafetensorError, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{file} is damaged or missing ({str(error)[:200]}); make or download it again"
        ) from None
    return found, packed


def version_of(*places: Path) -> object:
    """Another value once the files of these directories, or these files, were replaced; None while
    one of them is not there."""
    found = []
    for place in places:
        try:
            files = sorted(place.iterdir()) if place.is_dir() else [place]
            for file in files:
                if not file.name.startswith(".") and file.is_file():
                    status = file.stat()
                    found.append((file.name, status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            return None
    return tuple(found) or None
