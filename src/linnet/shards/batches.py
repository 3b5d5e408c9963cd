"""Training batches from encoded documents, in an order that can be taken up exactly.

Each epoch visits every document once, in an order drawn from the seed and the
epoch's number. The documents are laid end to end (each closes with the
end-of-text token, which is what the next one starts from) and cut into rows, so
every token is predicted once per epoch and nothing is padded.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor

from linnet.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from linnet.shards.reader import Tokens


class Batch:
    """Named tensors that a training objective reads, cut only between ``units``.

    A unit is what belongs together: an example, a pair of answers, a group of completions.
    The first dimension of each tensor is a multiple of the number of units, by default
    the rows of ``tokens``: two rows of ``tokens`` and one of ``margins`` for each pair,
    say. Four names are usual, of shape ``(B, T)``; others (``advantages``,
    ``reference_logprobs``, ``teacher_logits``) are as their objective wants them.

    * ``tokens``
    * ``targets``: the token that follows each of ``tokens``
    * ``loss_mask``: where the loss counts; everywhere if there is none
    * ``segment_ids``: which text a token belongs to, where attention must not cross
    """

    def __init__(
        self,
        tokens: Tensor,
        targets: Tensor | None = None,
        loss_mask: Tensor | None = None,
        segment_ids: Tensor | None = None,
        *,
        units: int | None = None,
        **others: Tensor,
    ) -> None:
        usual = {
            "tokens": tokens,
            "targets": targets,
            "loss_mask": loss_mask,
            "segment_ids": segment_ids,
        }
        present = {name: tensor for name, tensor in usual.items() if tensor is not None}
        self.tensors: Mapping[str, Tensor] = {**present, **others}
        self.units = len(tokens) if units is None else units
        for name, tensor in self.tensors.items():
            if self.units < 1 or len(tensor) % self.units:
                raise ValueError(
                    f"{name} must have a multiple of {self.units} rows, one of the batch's units "
                    f"each. Got {len(tensor)}"
                )

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    @property
    def tokens(self) -> Tensor:
        return self.tensors["tokens"]

    @property
    def targets(self) -> Tensor:
        return self.tensors["targets"]

    @property
    def loss_mask(self) -> Tensor | None:
        return self.tensors.get("loss_mask")

    @property
    def segment_ids(self) -> Tensor | None:
        return self.tensors.get("segment_ids")

    @property
    def trained(self) -> int:
        """How many tokens the loss counts."""
        return self.tokens.numel() if self.loss_mask is None else int(self.loss_mask.sum())

    def split(self, units: int) -> list[Batch]:
        """The batch in pieces of so many units; the last may have fewer."""
        starts = range(0, self.units, units)
        return [self._between(start, min(start + units, self.units)) for start in starts]

    def part(self, number: int, *, of: int) -> Batch:
        """One of so many parts, as even as can be."""
        if of > self.units:
            raise ValueError(f"a batch cut in {of} parts needs as many units. Got {self.units}")
        return self._between(self.units * number // of, self.units * (number + 1) // of)

    def _between(self, start: int, end: int) -> Batch:
        if (start, end) == (0, self.units):
            return self
        cut = {
            name: tensor.narrow(0, start * each, (end - start) * each)
            for name, tensor in self.tensors.items()
            for each in (len(tensor) // self.units,)
        }
        return self.replaced(cut, units=end - start)

    def to(self, device: str) -> Batch:
        """The batch on another device."""
        moved = {
            name: tensor.to(device, non_blocking=True) for name, tensor in self.tensors.items()
        }
        return self.replaced(moved)

    def replaced(self, tensors: Mapping[str, Tensor], *, units: int | None = None) -> Batch:
        """A batch of other tensors, by default in as many units."""
        return Batch(**tensors, units=units or self.units)  # type: ignore[arg-type]


@dataclass
class Position:
    """Where reading stands: enough to go on as if it had never stopped."""

    epoch: int = 0
    document: int = 0  # index into the epoch's order
    token: int = 0  # within that document


class Documents(Protocol):
    """What batches are made of: a split of shards, or more than that."""

    name: str

    @property
    def tokens(self) -> int: ...
    @property
    def documents(self) -> int: ...
    def document(self, index: int, /) -> Tokens: ...


class Batches:
    """An endless stream of batches of ``rows`` x ``length`` tokens."""

    def __init__(self, split: Documents, *, rows: int, length: int, seed: int) -> None:
        if split.tokens < 2:
            raise DataError(
                f"the {split.name} split holds {split.tokens} tokens; at least 2 are needed"
            )
        self.split, self.rows, self.length, self.seed = split, rows, length, seed
        self.position = Position()
        self.order = self._draw_order(0)
        """Documents of this epoch by their numbers."""
        self._last = int(split.document(int(self.order[-1]))[-1])  # what the stream starts from

    def next(self, context: object = None) -> Batch:
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
        self.order = self._draw_order(self.position.epoch)
        self._last = state["last"]

    def _draw_order(self, epoch: int) -> npt.NDArray[np.int64]:
        return np.random.default_rng([self.seed, epoch]).permutation(self.split.documents)

    def _take(self, count: int) -> npt.NDArray[np.int64]:
        pieces = []
        here = self.position
        while count:
            document = self.split.document(int(self.order[here.document]))
            piece = document[here.token : here.token + count]
            pieces.append(piece.astype(np.int64))
            count -= len(piece)
            here.token += len(piece)
            if here.token == len(document):
                here.document, here.token = here.document + 1, 0
            if here.document == len(self.order):
                here.epoch, here.document = here.epoch + 1, 0
                self.order = self._draw_order(here.epoch)
        return np.concatenate(pieces)
