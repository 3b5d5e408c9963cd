"""What a run must remember to go on exactly where it stopped.

Weights, optimizer moments and the random generator go into one safetensors
file, plain numbers into JSON inside its header; nothing is pickled. The file is
written beside the old one and renamed, so a kill while saving costs only the
work since the last save.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from linnet.errors import DamagedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from linnet.model import Transformer


def write_tensors(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able numbers whole or not at all."""
    neighbour = path.with_name(f".{path.name}.partial")
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(plain, str(neighbour), metadata={"numbers": json.dumps(numbers)})
    with neighbour.open("rb") as file:
        os.fsync(file.fileno())
    neighbour.replace(path)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote. Raises DamagedError when it cannot be read."""
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return tensors, json.loads(file.metadata()["numbers"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(
            f"{path} is damaged ({error}); delete {path.parent.parent} to start this run anew"
        ) from None


def capture(model: Transformer, optimizers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Every tensor that the next step depends on."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for which, optimizer in enumerate(optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            for name, value in entries.items():
                tensors[f"optimizer.{which}.{index}.{name}"] = torch.as_tensor(value)
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore(
    tensors: Mapping[str, Tensor], model: Transformer, optimizers: Sequence[torch.optim.Optimizer]
) -> None:
    """Put captured tensors back in place."""
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    model.load_state_dict(weights)
    for which, optimizer in enumerate(optimizers):
        prefix = f"optimizer.{which}."
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix):
                index, name = key.removeprefix(prefix).split(".")
                state.setdefault(int(index), {})[name] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    torch.set_rng_state(tensors["random.cpu"])
    if torch.cuda.is_available() and "random.cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random.cuda"])
