"""Where an alignment run's batches come from: units of about one length, each once an epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from linnet.align.encoding import Completion, Unit, pad, shortened
from linnet.align.reference import log_probs
from linnet.shards.batches import Batch
from linnet.train.text_pairs import ShuffledBatches

if TYPE_CHECKING:
    from torch import Tensor

    from linnet.model import Transformer
    from linnet.train.stream import Context


def pair_batch(units: Sequence[Unit], reference: Tensor) -> Batch:
    """Pairs, two rows each; ``reference`` ``(P, 2)``."""
    rows = [each for unit in units for each in unit.completions]
    return pad(rows, units=len(units), reference=reference.flatten())


def judged_batch(units: Sequence[Unit], reference: Tensor, divergence: float) -> Batch:
    """Completions that were judged, a row each; ``reference`` ``(B, 1)``."""
    desirable = torch.tensor([unit.desirable for unit in units])
    return pad(
        [unit.completions[0] for unit in units],
        reference=reference.flatten(),
        desirable=desirable,
        divergence=torch.full((len(units),), divergence),
    )


def scored_batch(units: Sequence[Unit]) -> Batch:
    """Whole texts in pairs, as a model that scores reads them, the better first."""
    rows = [each.tokens for unit in units for each in unit.completions]
    longest = max(len(row) for row in rows)
    tokens = torch.zeros(len(rows), longest, dtype=torch.long)
    padding = torch.ones_like(tokens)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.from_numpy(row.astype(np.int64))
        padding[place, : len(row)] = 0
    margins = torch.tensor([unit.margin for unit in units])
    return Batch(tokens, segment_ids=padding, units=len(units), margins=margins)


def shuffled(
    units: Sequence[Unit], make: Callable[[Sequence[int]], Batch], *, batch: int, seed: int
) -> ShuffledBatches:
    """A stream of batches that ``make`` gives, of units by their numbers."""
    lengths = [unit.places for unit in units]
    return ShuffledBatches(
        lengths, lambda epoch, places: make(places), batch=min(batch, len(units)), seed=seed
    )


def mismatched(units: Sequence[Unit], *, seed: int, context: int) -> list[Completion]:
    """Each prompt with the completion of another, as KTO measures divergence by.

    Where both are long, the prompt loses its middle, as it would with a completion of its own.
    """
    order = np.random.default_rng(seed).permutation(len(units))
    following = {int(one): int(other) for one, other in zip(order, np.roll(order, -1), strict=True)}
    found = []
    for place, unit in enumerate(units):
        own, other = unit.completions[0], units[following[place]].completions[0]
        tokens = np.concatenate([own.tokens[: own.start], other.tokens[other.start :]])
        trained = np.concatenate([own.trained[: own.start], other.trained[other.start :]])
        made = Completion(tokens, trained)
        over = max(0, made.places - context)
        found.append(shortened(made, over, prompt=own.start) if over else made)
    return found


@dataclass
class DivergingBatches:
    """Judged completions, each batch with how far the model is from the reference at that moment.

    That is the mean log-ratio of ``unrelated`` completions of the batch, at least 0
    (arXiv:2402.01306): it does not depend on how the batch is computed in pieces.
    """

    units: Sequence[Unit]
    reference: Tensor
    unrelated: Sequence[Completion]
    unrelated_reference: Tensor
    tokens: int
    """Computed at once."""
    batch: int
    seed: int

    def __post_init__(self) -> None:
        self._numbers = shuffled(self.units, self._chosen, batch=self.batch, seed=self.seed)

    @property
    def per_epoch(self) -> int:
        """Batches until each unit was read once."""
        return self._numbers.per_epoch

    def next(self, context: Context | None = None) -> Batch:
        """The next batch; without a run, as if the model were the reference."""
        places = self._numbers.next(context)["places"].tolist()
        divergence = 0.0
        if context is not None:
            some = [self.unrelated[place] for place in places]

            def measured(model: Transformer) -> float:
                ratios = log_probs(model, some, tokens=self.tokens)
                return float((ratios - self.unrelated_reference[places]).mean().clamp(min=0))

            divergence = context.evaluate(measured)
        units = [self.units[place] for place in places]
        return judged_batch(units, self.reference[places], divergence)

    def state(self) -> dict[str, Any]:
        """What :meth:`restore` goes on from."""
        return self._numbers.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        self._numbers.restore(state)

    def _chosen(self, places: Sequence[int]) -> Batch:
        numbers = torch.tensor(list(places))
        return Batch(numbers, places=numbers)
