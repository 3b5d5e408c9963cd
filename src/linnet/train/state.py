"""What a run must remember to go on exactly where it stopped.

Trained weights, optimizer moments and the random generator go into one safetensors
file, plain numbers into JSON inside its header; nothing is pickled. The file is
written beside the old one and renamed, so a kill or a full disk while saving
costs only the work since the last save.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from linnet.config import parse_json
from linnet.errors import ConfigError, DamagedError
from linnet.output import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

STATE = "state"  # folder, in the artifact under way, of what is saved for resuming
_UNFIT = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    ConfigError,
)
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
    with replacing(path) as neighbour, neighbour.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for name in order:
            plain = tensors[name].detach().cpu().contiguous().flatten()
            file.write(plain.view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())


def read_numbers(path: Path) -> dict[str, Any]:
    """The plain numbers alone. Raises DamagedError when the file cannot be read."""
    try:
        with safe_open(str(path), framework="pt") as file:
            found = parse_json(file.metadata()["numbers"])
        if not isinstance(found, dict):
            raise ValueError("its numbers are no JSON object")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from None
    return found


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
        if name not in own or own[name].shape != tensor.shape:
            raise ValueError(f"it is of another model: it holds {name[:80]} {[*tensor.shape]}")
        own.pop(name).copy_(tensor)
    if own:
        raise ValueError(f"it is of another model: it lacks {min(own)}")


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
    with damage_named(path):
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
            _load_moments(optimizer, state)
        torch.set_rng_state(random["cpu"])
        if torch.cuda.is_available() and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"])


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Around the use of what ``path`` held: raises DamagedError where that is not what it must be.

    The file may be of another model, or someone else's.
    """
    try:
        yield
    except _UNFIT as error:
        raise _damaged(path, error) from None


def _load_moments(
    optimizer: torch.optim.Optimizer, state: Mapping[int, Mapping[str, Tensor]]
) -> None:
    """What an optimizer remembers of each parameter; a scalar, or of the parameter's shape."""
    groups = optimizer.state_dict()["param_groups"]
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for index, entries in state.items():
        for name, value in entries.items():
            if value.dim() and value.shape != parameters[index].shape:
                raise ValueError(f"it is of another model: {name[:80]} of parameter {index}")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _damaged(path: Path, error: Exception) -> DamagedError:
    reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
    return DamagedError(
        f"{path} is damaged ({reason[:200]}); delete {path.parent.parent} to start this run anew"
    )
