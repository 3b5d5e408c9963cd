"""Where batches come from: the streams that training reads, and what they are told of the run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch import nn

from linnet.shards.batches import Batch
from linnet.train.execution import at_rest

if TYPE_CHECKING:
    from linnet.model import Transformer

Found = TypeVar("Found")


@dataclass(frozen=True)
class Context:
    """The run at the moment when a batch is drawn."""

    model: Transformer
    """The model in training itself, not a copy: what is sampled from it is on policy."""
    step: int
    """Updates made so far."""
    progress: float
    """How far the schedule has come, from 0 to 1."""
    compiled: bool = False
    step_module: nn.Module | None = None
    """The :class:`linnet.train.objectives.TrainingStep`, or what wraps it on several ranks."""

    def evaluate(self, function: Callable[[Transformer], Found]) -> Found:
        """What a function computes with the model at rest, without a gradient, on every rank."""
        with self.at_rest(), torch.no_grad():
            if self.step_module is None:
                return function(self.model)
            found: Found = self.step_module(evaluate=function)
            return found

    def at_rest(self) -> AbstractContextManager[None]:
        """The model as it is for inference while the block runs: to sample from it."""
        return at_rest(self.model, compiled=self.compiled)


class Stream(Protocol):
    """An endless source of batches that can be taken up exactly."""

    def next(self, context: Context | None = None, /) -> Batch:
        """The next batch; ``context`` is None outside a run, where few streams work."""

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` goes on from: numbers, texts, tensors, and lists and dicts of them.

        A stream that uses what it sampled for several batches keeps it here: the model
        that it was sampled from is gone.
        """

    def restore(self, state: Mapping[str, Any], /) -> None:
        """Go on from where ``state()`` was taken."""


class ShortRows:
    """A stream whose rows are shorter at first, which is faster: the same tokens in more rows.

    For ``share`` of the run each row becomes several of ``length`` tokens; a unit of the
    batch stays one, so that it takes the same memory.
    """

    def __init__(self, stream: Stream, *, share: float, length: int) -> None:
        self.stream, self.share, self.length = stream, share, length

    def next(self, context: Context | None = None) -> Batch:
        """The next batch."""
        batch = self.stream.next(context)
        begun = 0.0 if context is None else context.progress
        return fold_rows(batch, self.length) if begun < self.share else batch

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` goes on from."""
        return self.stream.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        self.stream.restore(state)


def fold_rows(batch: Batch, length: int) -> Batch:
    """The same tokens in more rows of ``length``, a part of what they were; the same units."""
    odd = [name for name, each in batch.tensors.items() if each.shape != batch.tokens.shape]
    if odd:
        raise ValueError(f"rows can be folded where all tensors are (B, T). Got {odd[0]}")
    folded = {name: tensor.view(-1, length) for name, tensor in batch.tensors.items()}
    return batch.replaced(folded)
