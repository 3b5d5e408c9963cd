"""Batches of whole examples, packed so that little is padding.

An example never crosses a row, and ``segment_ids`` keep attention within each,
so packed training gives the loss and the gradients of training on one example
per row; only faster. Every epoch reads every example once, in an order and a
packing drawn from the seed and the epoch's number.

Packing is best fit, longest first (Johnson, 1974), among some hundred examples
at a time, so that which examples meet in a row stays a matter of chance.
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from linnet.errors import DataError
from linnet.shards.batches import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from linnet.finetune.examples import Example

_WINDOW = 512  # examples packed together
_FULL = 0.95  # rows emptier than this are packed again with the next window
_MOST_REPACKED = _WINDOW // 4
PADDING = 0  # the token and the segment where a row is empty


class PackedBatches:
    """An endless stream of batches of ``rows`` x ``length`` tokens.

    In a batch, ``segment_ids`` number the examples of each row from one, and
    ``loss_mask`` is true where the next token is to be learned. With ``packed=False``
    each example has a row to itself. Raises DataError when there is no example
    or one does not fit.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        rows: int,
        length: int,
        seed: int,
        packed: bool = True,
    ) -> None:
        _require_fit(examples, length)
        self.examples, self.rows, self.length, self.seed = examples, rows, length, seed
        self.packed = packed
        self._places = np.array([example.places for example in examples])
        self._row_counts: dict[int, int] = {}
        self._epoch = self._row = 0
        self._plan = self._draw_plan(0)

    def next(self, context: object = None) -> Batch:
        """The next batch; where an epoch ends in the middle of it, the next one begins."""
        wanted: list[Sequence[Example]] = []
        while len(wanted) < self.rows:
            if self._row == len(self._plan):
                self._epoch, self._row = self._epoch + 1, 0
                self._plan = self._draw_plan(self._epoch)
            wanted.append([self.examples[index] for index in self._plan[self._row]])
            self._row += 1
        return make_batch(wanted, length=self.length)

    @property
    def epoch(self) -> float:
        """How many times the examples have been read."""
        return self._epoch + self._row / len(self._plan)

    @property
    def fill(self) -> float:
        """Share of this epoch's places that hold an example."""
        return float(self._places.sum()) / (len(self._plan) * self.length)

    def batches_in(self, epochs: float) -> int:
        """Batches until every example has been read so many times."""
        whole = int(epochs)
        rows = float(sum(self._rows_in(epoch) for epoch in range(whole)))
        if epochs > whole:
            rows += (epochs - whole) * self._rows_in(whole)
        return math.ceil(rows / self.rows)

    def state(self) -> dict[str, int]:
        """Plain numbers from which :meth:`restore` goes on."""
        return {"epoch": self._epoch, "row": self._row}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        self._epoch, self._row = state["epoch"], state["row"]
        self._plan = self._draw_plan(self._epoch)

    def _rows_in(self, epoch: int) -> int:
        if epoch not in self._row_counts:
            self._draw_plan(epoch)
        return self._row_counts[epoch]

    def _draw_plan(self, epoch: int) -> list[list[int]]:
        """Which examples stand together in each row of an epoch."""
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(self.examples)).tolist()
        if self.packed:
            plan: list[list[int]] = []
            repacked: list[int] = []
            for start in range(0, len(order), _WINDOW):
                window = repacked + order[start : start + _WINDOW]
                bins = pack(window, self._places, length=self.length)
                is_last = start + _WINDOW >= len(order)
                full, repacked = (bins, []) if is_last else self._set_apart(bins)
                generator.shuffle(full)
                plan += full
        else:
            plan = [[index] for index in order]
        self._row_counts[epoch] = len(plan)
        return plan

    def _set_apart(self, bins: list[list[int]]) -> tuple[list[list[int]], list[int]]:
        """The rows that stay as they are, and the examples of some that are too empty."""
        full: list[list[int]] = []
        again: list[int] = []
        for row in bins:
            is_full = self._places[row].sum() >= _FULL * self.length
            if is_full or len(again) + len(row) > _MOST_REPACKED:
                full.append(row)
            else:
                again += row
        return full, again


def held_out_batches(examples: Sequence[Example], *, rows: int, length: int) -> Iterator[Batch]:
    """Each example once, packed, in an order that never changes; the last batch may be smaller.

    Raises DataError when there is no example or one does not fit.
    """
    _require_fit(examples, length)
    places = np.array([example.places for example in examples])
    bins = pack(list(range(len(examples))), places, length=length)
    for start in range(0, len(bins), rows):
        wanted = [[examples[index] for index in row] for row in bins[start : start + rows]]
        yield make_batch(wanted, length=length)


def pack(indices: Sequence[int], places: Any, *, length: int) -> list[list[int]]:
    """Share items out to bins of ``length``: each, longest first, to the fullest it still fits.

    ``places[index]`` is the size of an item; equal ones keep their order.
    """
    bins: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # what is free in a bin and which, sorted
    for index in sorted(indices, key=lambda index: -places[index]):
        size = int(places[index])
        at = bisect.bisect_left(rooms, (size, -1))
        if at < len(rooms):
            room, number = rooms.pop(at)
        else:
            room, number = length, len(bins)
            bins.append([])
        bins[number].append(index)
        if room > size:
            bisect.insort(rooms, (room - size, number))
    return bins


def make_batch(wanted: Sequence[Sequence[Example]], *, length: int) -> Batch:
    """One batch: the examples of each row, one after another, and padding behind them."""
    shape = len(wanted), length
    tokens = np.full(shape, PADDING, np.int64)
    targets = np.full(shape, PADDING, np.int64)
    loss_mask = np.zeros(shape, bool)
    segment_ids = np.full(shape, PADDING, np.int64)
    for row, examples in enumerate(wanted):
        start = 0
        for number, example in enumerate(examples, 1):
            here = slice(start, start + example.places)
            tokens[row, here] = example.tokens[:-1]
            targets[row, here] = example.tokens[1:]
            loss_mask[row, here] = example.trained[1:]
            segment_ids[row, here] = number
            start += example.places
    return Batch(*map(torch.from_numpy, (tokens, targets, loss_mask, segment_ids)))


def _require_fit(examples: Sequence[Example], length: int) -> None:
    if not examples:
        raise DataError("expected examples to make batches of. Got none")
    longest = max(examples, key=lambda example: example.places)
    if longest.places > length:
        raise DataError(
            f"{longest.source}: fills {longest.places} places, but a row has {length}; "
            "use longer rows or a smaller context"
        )
