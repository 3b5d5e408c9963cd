"""What a run must remember to go on exactly where it stopped.

Trained weights, optimizer moments and the random generator go into one safetensors
file, plain numbers into JSON inside its header; nothing is pickled. The file is
written beside the old one and renamed, so a kill or a full disk while saving
costs only the work since the last save.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from linnet.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

STATE = "state"  # folder, in the artifact under way, of what is saved for resuming
_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def state_file(directory: Path) -> Path:
    """Where a run in ``directory`` saves what it needs to go on."""
    return directory / STATE / "state.safetensors"


def best_file(directory: Path) -> Path:
    """Where a run in ``directory`` keeps its best validated weights."""
    return directory / STATE / "best.safetensors"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able numbers whole or not at all.

    One tensor after the other, in the format of
    https://github.com/huggingface/safetensors: the library's own writer first copies
    all of them, which would double the memory that training needs.
    """
    # Wide numbers first keeps every tensor aligned.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": {"numbers": json.dumps(numbers)}}
    end = 0
    for name in order:
        tensor = tensors[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.parent.mkdir(exist_ok=True)
    neighbour = path.with_name(f".{path.name}.partial")
    try:
        with neighbour.open("wb") as file:
            file.write(len(encoded).to_bytes(8, "little") + encoded)
            for name in order:
                plain = tensors[name].detach().cpu().contiguous().flatten()
                file.write(plain.view(torch.uint8).numpy().data)
            file.flush()
            os.fsync(file.fileno())
        neighbour.replace(path)
    except BaseException:
        neighbour.unlink(missing_ok=True)
        raise


def read_numbers(path: Path) -> dict[str, Any]:
    """The plain numbers alone. Raises DamagedError when the file cannot be read."""
    try:
        with safe_open(str(path), framework="pt") as file:
            found = json.loads(file.metadata()["numbers"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from None
    return found  # type: ignore[no-any-return]


def read_tensors(path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors, one after the other. Raises DamagedError when the file cannot be read."""
    try:
        with safe_open(str(path), framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                yield name, file.get_tensor(name)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from None


def trained_tensors(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that training changes, each once. Frozen ones are read from their own file."""
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


@torch.no_grad()
def load_trained(model: nn.Module, tensors: Iterator[tuple[str, Tensor]]) -> None:
    """Put back what :func:`trained_tensors` gave."""
    own = trained_tensors(model)
    for name, tensor in tensors:
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
    for key, value in read_tensors(path):
        kind, _, name = key.partition(".")
        if kind == "model":
            weights[name] = value
        elif kind == "random":
            random[name] = value
        else:
            which, index, entry = name.split(".")
            states[int(which)].setdefault(int(index), {})[entry] = value
    load_trained(model, iter(weights.items()))
    for optimizer, state in zip(optimizers, states, strict=True):
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(random["cpu"])
    if torch.cuda.is_available() and "cuda" in random:
        torch.cuda.set_rng_state(random["cuda"])


def _damaged(path: Path, error: Exception) -> DamagedError:
    return DamagedError(
        f"{path} is damaged ({error}); delete {path.parent.parent} to start this run anew"
    )
