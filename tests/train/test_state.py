"""A saved state: taken up exactly, and refused when it is another model's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from linnet.errors import DamagedError
from linnet.train.state import capture, read_numbers, restore, write_tensors


def trained(width: int) -> tuple[nn.Module, list[torch.optim.Optimizer]]:
    model = nn.Linear(width, 2)
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(model.parameters())]
    model(torch.ones(1, width)).sum().backward()
    optimizers[0].step()
    return model, optimizers


def saved(place: Path, width: int) -> Path:
    file = place / "state" / "state.safetensors"
    write_tensors(file, capture(*trained(width)), {"step": 1})
    return file


def test_a_state_is_taken_up(tmp_path: Path) -> None:
    file = saved(tmp_path, 3)
    model, optimizers = trained(3)
    restore(file, model, optimizers)
    assert read_numbers(file) == {"step": 1}


def test_a_state_may_hold_what_no_model_may(tmp_path: Path) -> None:
    """A moment that is too large for its format is no reason to lose the run."""
    model, optimizers = trained(3)
    next(iter(optimizers[0].state.values()))["exp_avg_sq"].fill_(torch.inf)
    write_tensors(tmp_path / "state" / "s", found := capture(model, optimizers), {})
    restore(tmp_path / "state" / "s", *trained(3))
    assert any(tensor.isinf().any() for tensor in found.values())


def test_the_state_of_another_model_is_refused_in_a_line(tmp_path: Path) -> None:
    file = saved(tmp_path, 3)
    for model, optimizers in (trained(4), (nn.Linear(3, 2, bias=False), trained(3)[1])):
        with pytest.raises(DamagedError, match="is of another model") as caught:
            restore(file, model, optimizers)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("lost", ["model.weight", "random.cpu"])
def test_a_state_that_lacks_something_is_refused(tmp_path: Path, lost: str) -> None:
    tensors = capture(*trained(3))
    tensors.pop(lost)
    file = tmp_path / "state" / "state.safetensors"
    write_tensors(file, tensors, {})
    with pytest.raises(DamagedError):
        restore(file, *trained(3))
