"""What the reference says of completions: computed once, before the first step, and kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from linnet.align.encoding import Completion, pad
from linnet.align.objectives import completion_log_probs
from linnet.progress import SILENT, Progress
from linnet.train.state import STATE, damage_named, read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.model import Transformer

_FILE = "reference.safetensors"


def reference_log_probs(
    model: Transformer,
    completions: Sequence[Completion],
    directory: Path,
    *,
    tokens: int,
    progress: Progress = SILENT,
) -> Tensor:
    """The log-probability of each completion, ``(N,)`` in nats, under a model at rest.

    Kept with the state of the run in ``directory``, so that one that is resumed is measured by
    the same. ``tokens``: computed at once. Raises DamagedError where what was kept cannot be read.
    """
    kept = directory / STATE / _FILE
    if kept.is_file():
        with damage_named(kept):
            found = dict(read_tensors(kept))["log_probs"]
            if found.shape != (len(completions),):
                raise ValueError(f"it is of {len(found)} completions")
            return found
    found = log_probs(model, completions, tokens=tokens, progress=progress)
    kept.parent.mkdir(exist_ok=True)
    write_tensors(kept, {"log_probs": found}, {})
    return found


def log_probs(
    model: Transformer,
    completions: Sequence[Completion],
    *,
    tokens: int,
    progress: Progress = SILENT,
) -> Tensor:
    """The same, without keeping it; those of about one length are computed together."""
    device = str(model.embedding.weight.device)
    found = torch.zeros(len(completions))
    order = sorted(range(len(completions)), key=lambda place: completions[place].places)
    with (
        torch.no_grad(),
        progress.task("the reference", total=len(order), unit="completions") as task,
    ):
        start = 0
        while start < len(order):
            end = start + 1
            while end < len(order) and completions[order[end]].places * (end + 1 - start) <= tokens:
                end += 1
            places = order[start:end]
            batch = pad([completions[place] for place in places]).to(device)
            found[places] = completion_log_probs(model, batch)[0].cpu()
            task.advance(len(places))
            start = end
    return found
