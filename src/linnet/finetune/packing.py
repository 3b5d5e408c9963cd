"""Batches of whole examples, packed so that little is padding.

An example never crosses a row, and ``segment_ids`` keep attention within each,
so packed training gives the loss and the gradients of training on one example
per row; only faster. Every epoch reads every example once, in an order and a
packing drawn from the seed and the epoch's number.

Replayed text is mixed in row by row (:class:`Mixture`).

Packing is best fit, longest first (Johnson, 1974), among some hundred examples
at a time, so that which examples meet in a row stays a matter of chance.
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from linnet.errors import ConfigError, DataError
from linnet.shards.batches import Batch
from linnet.train.validation import HeldOutLoss

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from torch import Tensor

    from linnet.finetune.encoding import Example
    from linnet.train.stream import Context, Stream

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
        wanted = [[self.examples[index] for index in row] for row in self.draw()]
        return make_batch(wanted, length=self.length)

    def draw(self) -> list[list[int]]:
        """The examples of the next batch's rows, by their numbers."""
        wanted: list[list[int]] = []
        while len(wanted) < self.rows:
            if self._row == len(self._plan):
                self._epoch, self._row = self._epoch + 1, 0
                self._plan = self._draw_plan(self._epoch)
            wanted.append(self._plan[self._row])
            self._row += 1
        return wanted

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


def held_out_loss(
    examples: Sequence[Example], *, rows: int, length: int, tokens: int, device: str
) -> HeldOutLoss | None:
    """Over the first ``tokens`` of these examples; None when there is no example."""
    chosen: list[Example] = []
    total = 0
    for example in examples:
        total += example.places
        if chosen and total > tokens:
            break
        chosen.append(example)
    if not chosen:
        return None
    batches = list(held_out_batches(chosen, rows=rows, length=length))
    text_bytes = sum(example.trained_bytes for example in chosen)
    return HeldOutLoss(batches, text_bytes, device)


def pack(indices: Sequence[int], places: Any, *, length: int) -> list[list[int]]:
    """Share items out to bins of ``length``: each, longest first, to the fullest it still fits.

    ``places[index]`` is the size of an item; equal ones keep their order.
    """
    bins: list[list[int]] = []
    free: list[tuple[int, int]] = []  # what is free in a bin and which, sorted
    for index in sorted(indices, key=lambda index: -places[index]):
        size = int(places[index])
        at = bisect.bisect_left(free, (size, -1))
        if at < len(free):
            left, number = free.pop(at)
        else:
            left, number = length, len(bins)
            bins.append([])
        bins[number].append(index)
        if left > size:
            bisect.insort(free, (left - size, number))
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


class Mixture:
    """An endless stream of batches of ``rows``, drawn from streams of single rows.

    Each row is drawn from the stream that lags furthest behind its share of the trained
    tokens so far, so shares hold at every moment, not just on average, whatever part of a
    stream's rows is trained. No chance is involved, and a saved state is exact.

    ``parts``: streams whose batches have one row, all of one length, and their shares of
    the trained tokens. Raises ConfigError for shares that are not positive.
    """

    def __init__(self, parts: Sequence[tuple[Stream, float]], *, rows: int) -> None:
        if not parts or min(share for _, share in parts) <= 0:
            raise ConfigError(
                f"shares of a mixture must be above 0. Got {[share for _, share in parts]}"
            )
        self.streams = [stream for stream, _ in parts]
        total = sum(share for _, share in parts)
        self.shares = [share / total for _, share in parts]
        self.rows = rows
        self.trained = [0] * len(parts)
        """Tokens trained of each stream so far."""

    def next(self, context: Context | None = None) -> Batch:
        """The next batch."""
        drawn = [self._draw(context) for _ in range(self.rows)]
        tokens, targets, masks, segments = zip(*drawn, strict=True)
        return Batch(torch.cat(tokens), torch.cat(targets), torch.cat(masks), torch.cat(segments))

    def state(self) -> dict[str, Any]:
        """Plain numbers from which :meth:`restore` goes on."""
        streams = [stream.state() for stream in self.streams]
        return {"trained": list(self.trained), "streams": streams}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        self.trained = list(state["trained"])
        for stream, saved in zip(self.streams, state["streams"], strict=True):
            stream.restore(saved)

    def _draw(self, context: Context | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One row: tokens, targets, loss mask and segments."""
        which = min(range(len(self.streams)), key=lambda n: self.trained[n] / self.shares[n])
        batch = self.streams[which].next(context)
        if len(batch.tokens) != 1:
            raise ConfigError(f"streams to mix must give single rows. Got {len(batch.tokens)}")
        # Where a stream says nothing, all of a row is trained, and it is one piece.
        mask, segments = batch.loss_mask, batch.segment_ids
        if mask is None:
            mask = torch.ones_like(batch.tokens, dtype=torch.bool)
        if segments is None:
            segments = torch.ones_like(batch.tokens)
        self.trained[which] += int(mask.sum())
        return batch.tokens, batch.targets, mask, segments


def mixed_stream(
    examples: Sequence[Example],
    replay: Sequence[Example],
    *,
    share: float,
    rows: int,
    length: int,
    seed: int,
) -> Stream:
    """Batches of the examples, in which replay has its share of the trained tokens."""
    if not replay:
        return PackedBatches(examples, rows=rows, length=length, seed=seed)
    parts = [
        (PackedBatches(part, rows=1, length=length, seed=seed), weight)
        for part, weight in ((examples, 1 - share), (replay, share))
    ]
    return Mixture(parts, rows=rows)
