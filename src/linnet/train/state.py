"""What a run must remember to go on exactly where it stopped.

Trained weights, optimizer moments and the random generator go into one safetensors
file, plain numbers into JSON inside its header; nothing is pickled. The file is
written beside the old one and renamed, so a kill or a full disk while saving
costs only the work since the last save; checksums show what changed on the disk.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from linnet.config import parse_json
from linnet.errors import ConfigError, DamagedError
from linnet.model.weights import (
    CHECKSUM,
    Written,
    require_readable,
    update_checksum,
    write_safetensors,
)
from linnet.output import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
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
    SafetensorError,
)


def state_file(directory: Path) -> Path:
    """Where a run in ``directory`` saves what it needs to go on."""
    return directory / STATE / "state.safetensors"


def best_file(directory: Path) -> Path:
    """Where a run in ``directory`` keeps its best validated weights."""
    return directory / STATE / "best.safetensors"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able numbers whole or not at all, with checksums of both."""
    plain = json.dumps(numbers)
    written = [
        Written(name, (tensor,), tensor.dtype, finite=False)  # as the run has it, to go on from
        for name, tensor in tensors.items()
    ]
    path.parent.mkdir(exist_ok=True)
    metadata = {"numbers": plain, "numbers_crc32": _checksum(plain)}
    with replacing(path) as neighbour:
        write_safetensors(neighbour, written, metadata, checksum=True)


def read_numbers(path: Path) -> dict[str, Any]:
    """The plain numbers alone. Raises DamagedError when they are not what was written."""
    metadata = _metadata(path)
    if _checksum(metadata["numbers"]) != metadata["numbers_crc32"]:
        raise _damaged(path, "its numbers changed since they were written")
    with damage_named(path):
        found = parse_json(metadata["numbers"])
        if not isinstance(found, dict):
            raise ValueError("its numbers are no JSON object")
    return found


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


def load_trained(model: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`trained_tensors` gave."""
    _copy_into(trained_tensors(model), tensors)


_OBJECTIVE = "objective."


def best_tensors(model: nn.Module, objective: nn.Module | None = None) -> dict[str, Tensor]:
    """What is kept of the best step: trained weights, and what the objective owns."""
    return trained_tensors(model) | _prefixed_state(objective)


def load_best(
    tensors: Mapping[str, Tensor], model: nn.Module, objective: nn.Module | None = None
) -> None:
    """Put back what :func:`best_tensors` gave."""
    own = {k.removeprefix(_OBJECTIVE): v for k, v in tensors.items() if k.startswith(_OBJECTIVE)}
    load_trained(model, {k: v for k, v in tensors.items() if not k.startswith(_OBJECTIVE)})
    if objective is not None:
        _copy_into(_own_state(objective), own)


def _prefixed_state(objective: nn.Module | None) -> dict[str, Tensor]:
    state = {} if objective is None else _own_state(objective)
    return {f"{_OBJECTIVE}{name}": value for name, value in state.items()}


def _own_state(objective: nn.Module) -> dict[str, Tensor]:
    """What an objective trains, and its buffers; not what it has frozen, such as a reference."""
    frozen = {name for name, value in objective.named_parameters() if not value.requires_grad}
    return {k: v for k, v in objective.state_dict(keep_vars=True).items() if k not in frozen}


@torch.no_grad()
def _copy_into(own: dict[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if name not in own or own[name].shape != tensor.shape:
            raise ValueError(f"it is of another model: it holds {name[:80]} {[*tensor.shape]}")
        own.pop(name).copy_(tensor)
    if own:
        raise ValueError(f"it is of another model: it lacks {min(own)}")


def capture(
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    objective: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Every tensor that the next step depends on, of model, optimizers and objective."""
    tensors = {f"model.{name}": value for name, value in trained_tensors(model).items()}
    for which, optimizer in enumerate(optimizers):
        for index, entries in optimizer.state_dict()["state"].items():
            for name, value in entries.items():
                tensors[f"optimizer.{which}.{index}.{name}"] = torch.as_tensor(value)
    tensors |= _prefixed_state(objective)
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    return tensors


def restore(
    path: Path,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    objective: nn.Module | None = None,
) -> dict[str, Tensor]:
    """Put back what :func:`capture` gave and ``path`` holds; return the other tensors in it."""
    states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
    found: dict[str, dict[str, Tensor]] = {"model": {}, "objective": {}, "random": {}}
    others = {}
    with damage_named(path):
        for key, value in dict(read_tensors(path)).items():  # all, so that they are checked first
            kind, _, name = key.partition(".")
            if kind == "optimizer":
                which, index, entry = name.split(".")
                states[int(which)].setdefault(int(index), {})[entry] = value
            elif kind in found:
                found[kind][name] = value
            else:
                others[key] = value
        load_trained(model, found["model"])
        if objective is not None:
            _copy_into(_own_state(objective), found["objective"])
        for optimizer, state in zip(optimizers, states, strict=True):
            _load_moments(optimizer, state)
        torch.set_rng_state(found["random"]["cpu"])
        if torch.cuda.is_available() and "cuda" in found["random"]:
            torch.cuda.set_rng_state(found["random"]["cuda"])
    return others


_TENSOR = "$tensor"


def take_tensors(value: Any, tensors: dict[str, Tensor], prefix: str) -> Any:
    """Move the tensors in plain values to ``tensors``; the rest can be written as JSON."""
    if isinstance(value, Tensor):
        name = f"{prefix}.{len(tensors)}"
        tensors[name] = value
        return {_TENSOR: name}
    if isinstance(value, Mapping):
        return {key: take_tensors(each, tensors, prefix) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [take_tensors(each, tensors, prefix) for each in value]
    return value


def put_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo :func:`take_tensors`."""
    if isinstance(value, dict):
        if value.keys() == {_TENSOR}:
            return tensors[value[_TENSOR]]
        return {key: put_tensors(each, tensors) for key, each in value.items()}
    if isinstance(value, list):
        return [put_tensors(each, tensors) for each in value]
    return value


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


def _damaged(path: Path, error: Exception | str) -> DamagedError:
    reason = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
    # What a run keeps lies in a folder of what it is making, what it made in that itself.
    made = next((each.parent for each in path.parents if each.name == STATE), path.parent)
    return DamagedError(f"{path} is damaged ({reason[:200]}); delete {made} to start this run anew")
