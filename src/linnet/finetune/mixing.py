"""Several streams of batches as one, each with its share of what is trained.

For replay: rows of general text among those of the examples. Each row is drawn
from the stream that lags furthest behind its share of the trained tokens so
far, so shares hold at every moment, not just on average, whatever part of a
stream's rows is trained. No chance is involved, and a saved state is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from linnet.errors import ConfigError
from linnet.shards.batches import Batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from linnet.train.stream import Context, Stream


class Mixture:
    """An endless stream of batches of ``rows``, drawn from streams of single rows.

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
