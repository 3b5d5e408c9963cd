"""Which inputs of a matrix matter: the mean square of each, over text of the owner's.

A column whose input is always near zero may be rounded coarsely; llama.cpp calls this an importance
matrix (``llama-imatrix``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from linnet.gguf.architectures import architecture, joined, named
from linnet.gguf.quantisation import Floats
from linnet.progress import SILENT, Progress

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.model import Transformer

_TABLE = "output"


@torch.no_grad()
def measure_importance(
    model: Transformer, rows: Iterable[Tensor], *, total: int = 0, progress: Progress = SILENT
) -> dict[str, Floats]:
    """The mean square of each column's input by GGUF's names of the tensors, over texts as tokens
    ``(1, T)``. The table of tokens has that of the last states."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def note(name: str, states: Tensor) -> None:
        flat = states.detach().reshape(-1, states.shape[-1]).float()
        found = flat.square().sum(0)
        sums[name] = sums[name] + found if name in sums else found
        counts[name] = counts.get(name, 0) + len(flat)

    def watch(name: str) -> Any:
        return lambda module, given: note(name, given[0])

    hooks = [
        module.register_forward_pre_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    model.eval()
    try:
        with progress.task("what matters", total=total, unit="tokens") as task:
            for row in rows:
                note(_TABLE, model.readout(model.hidden(row)))
                task.advance(row.numel())
    finally:
        for hook in hooks:
            hook.remove()
    means = {name: (sums[name] / counts[name]).cpu().numpy() for name in sums}
    return _by_tensor(model, means)


def _by_tensor(model: Transformer, means: dict[str, Floats]) -> dict[str, Floats]:
    config = model.config
    own = {named(f"{name}.weight", config): mean for name, mean in means.items() if name != _TABLE}
    found = {}
    for stored, members in joined(architecture(config), list(own)):
        found[stored] = own[members[0]]
    if _TABLE in means:
        found["output.weight"] = found["token_embd.weight"] = means[_TABLE]
    return found
