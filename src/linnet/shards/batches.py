"""Training batches from encoded documents, in an order that can be taken up exactly.

Each epoch visits every document once, in an order drawn from the seed and the
epoch's number. The documents are laid end to end (each closes with the
end-of-text token, which is what the next one starts from) and cut into rows, so
every token is predicted once per epoch and nothing is padded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from linnet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from linnet.shards.reader import TokenSplit


@dataclass(frozen=True)
class Batch:
    """What a training objective reads. All of shape ``(B, T)``."""

    tokens: Tensor
    targets: Tensor
    """The token that follows each of ``tokens``."""
    loss_mask: Tensor | None = None
    """Where the loss counts; everywhere if None."""
    segment_ids: Tensor | None = None
    """Which document a token belongs to, where attention must not cross; no matter if None."""

    @property
    def trained(self) -> int:
        """How many tokens the loss counts."""
        return self.targets.numel() if self.loss_mask is None else int(self.loss_mask.sum())

    def split(self, rows: int) -> list[Batch]:
        """The batch as pieces of so many rows each."""

        def cut(tensor: Tensor | None, start: int) -> Tensor | None:
            return None if tensor is None else tensor[start : start + rows]

        return [
            Batch(
                self.tokens[start : start + rows],
                self.targets[start : start + rows],
                cut(self.loss_mask, start),
                cut(self.segment_ids, start),
            )
            for start in range(0, len(self.tokens), rows)
        ]

    def folded(self, length: int) -> Batch:
        """The same tokens as more rows of ``length``, a part of what they were."""

        def fold(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.view(-1, length)

        return Batch(
            self.tokens.view(-1, length),
            self.targets.view(-1, length),
            fold(self.loss_mask),
            fold(self.segment_ids),
        )

    def to(self, device: str) -> Batch:
        """The batch on another device."""

        def move(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        return Batch(
            self.tokens.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            move(self.loss_mask),
            move(self.segment_ids),
        )


@dataclass
class Position:
    """Where reading stands: enough to go on as if it had never stopped."""

    epoch: int = 0
    document: int = 0  # index into the epoch's order
    token: int = 0  # within that document


class Batches:
    """An endless stream of batches of ``rows`` x ``length`` tokens."""

    def __init__(self, split: TokenSplit, *, rows: int, length: int, seed: int) -> None:
        if split.tokens < 2:
            raise DataError(
                f"the {split.name} split holds {split.tokens} tokens; at least 2 are needed"
            )
        self.split, self.rows, self.length, self.seed = split, rows, length, seed
        self.position = Position()
        self._order = self._draw_order(0)
        self._last = int(split.document(int(self._order[-1]))[-1])  # what the stream starts from

    def next(self) -> Batch:
        """The next batch; documents follow one another across rows and batches."""
        wanted = self.rows * self.length
        stream = np.empty(wanted + 1, np.int64)
        stream[0] = self._last
        stream[1:] = self._take(wanted)
        self._last = int(stream[-1])
        both = torch.from_numpy(stream)
        shape = self.rows, self.length
        return Batch(both[:-1].view(shape), both[1:].view(shape))

    def state(self) -> dict[str, int]:
        """Plain numbers from which :meth:`restore` goes on."""
        return {**asdict(self.position), "last": self._last}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        self.position = Position(state["epoch"], state["document"], state["token"])
        self._order = self._draw_order(self.position.epoch)
        self._last = state["last"]

    def _draw_order(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.split.documents)

    def _take(self, count: int) -> npt.NDArray[np.int64]:
        pieces = []
        here = self.position
        while count:
            document = self.split.document(int(self._order[here.document]))
            piece = document[here.token : here.token + count]
            pieces.append(piece.astype(np.int64))
            count -= len(piece)
            here.token += len(piece)
            if here.token == len(document):
                here.document, here.token = here.document + 1, 0
            if here.document == len(self._order):
                here.epoch, here.document = here.epoch + 1, 0
                self._order = self._draw_order(here.epoch)
        return np.concatenate(pieces)
