"""What a run must remember to go on exactly where it stopped.

Trained weights, optimizer moments and the random generator go into one safetensors
file, plain numbers into JSON inside its header; nothing is pickled. The file is
written beside the old one and renamed, so a kill or a full disk while saving
costs only the work since the last save; checksums show what changed on the disk.
"""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from linnet.errors import DamagedError
from linnet.model.weights import (
    CHECKSUM,
    Written,
    require_readable,
    update_checksum,
    write_safetensors,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

STATE = "state"  # folder, in the artifact under way, of what is saved for resuming


def state_file(directory: Path) -> Path:
    """Where a run in ``directory`` saves what it needs to go on."""
    return directory / STATE / "state.safetensors"


def best_file(directory: Path) -> Path:
    """Where a run in ``directory`` keeps its best validated weights."""
    return directory / STATE / "best.safetensors"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able numbers whole or not at all, with checksums of both."""
    plain = json.dumps(numbers)
    written = [Written(name, (tensor,), tensor.dtype) for name, tensor in tensors.items()]
    path.parent.mkdir(exist_ok=True)
    neighbour = path.with_name(f".{path.name}.partial")
    try:
        metadata = {"numbers": plain, "numbers_crc32": _checksum(plain)}
        write_safetensors(neighbour, written, metadata, checksum=True)
        neighbour.replace(path)
    except BaseException:
        neighbour.unlink(missing_ok=True)
        raise


def read_numbers(path: Path) -> dict[str, Any]:
    """The plain numbers alone. Raises DamagedError when they are not what was written."""
    metadata = _metadata(path)
    if _checksum(metadata["numbers"]) != metadata["numbers_crc32"]:
        raise _damaged(path, "its numbers changed since they were written")
    return json.loads(metadata["numbers"])  # type: ignore[no-any-return]


def read_tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors, one after the other.

    Raises DamagedError when the file cannot be read, or, after the last, when they are
    not what was written.
    """
    expected, found = _metadata(path)[CHECKSUM], 0
    try:
        with safe_open(str(path), framework="pt") as file:
            for name in file.offset_keys():
                tensor = file.get_tensor(name)
                found = update_checksum(found, name, tensor)
                yield name, tensor
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None
    if f"{found:08x}" != expected:
        raise _damaged(path, "its tensors changed since they were written")


def _metadata(path: Path) -> dict[str, str]:
    """What stands beside the tensors. Raises DamagedError when the file cannot be read."""
    require_readable(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            found = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from None
    for name in ("numbers", "numbers_crc32", CHECKSUM):
        if name not in found:
            raise _damaged(path, f"it has no {name}, as files of other versions")
    return found


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that training changes, each once. Frozen ones are read from their own file."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


@torch.no_grad()
def load_trained(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`trained_tensors` gave."""
    own = trained_tensors(model)
    for name, tensor in tensors.items():
        own[name].copy_(tensor)


def capture(model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Every tensor that the next step depends on."""
    tensors = {f"model.{name}": value for name, value in trained_tensors(model).items()}
    for which, optimizer in enumerate(optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            for name, value in entries.items():
                tensors[f"optimizer.{which}.{index}.{name}"] = torch.as_tensor(value)
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore(path: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> None:
    """Put back what :func:`capture` gave and ``path`` holds."""
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    weights, random = {}, {}
    for key, value in dict(read_tensors(path)).items():  # all, so that they are checked first
        kind, _, name = key.partition(".")
        if kind == "model":
            weights[name] = value
        elif kind == "random":
            random[name] = value
        else:
            which, index, entry = name.split(".")
            states[int(which)].setdefault(int(index), {})[entry] = value
    load_trained(model, weights)
    for optimizer, state in zip(optimizers, states, strict=True):
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(random["cpu"])
    if torch.cuda.is_available() and "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"])


def _damaged(path: Path, error: Exception | str) -> DamagedError:
    return DamagedError(
        f"{path} is damaged ({error}); delete {path.parent.parent} to start this run anew"
    )
