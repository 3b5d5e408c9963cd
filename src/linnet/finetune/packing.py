"""Batches of whole examples, packed so that little is padding.

An example never crosses a row, and its ``segment_ids`` keep attention within
it, so that packing changes nothing but the speed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from linnet.finetune.examples import Example
    from linnet.shards.batches import Batch


class PackedBatches:
    """An endless stream of batches of ``rows`` x ``length`` tokens."""

    def __init__(
        self,
        examples: Sequence[Example],
        *,
        rows: int,
        length: int,
        seed: int,
        packed: bool = True,
    ) -> None:
        raise NotImplementedError

    def next(self) -> Batch:
        """The next batch."""
        raise NotImplementedError

    def batches_in(self, epochs: float) -> int:
        """Batches until every example has been read so many times."""
        raise NotImplementedError

    def state(self) -> dict[str, int]:
        """Plain numbers from which :meth:`restore` goes on."""
        raise NotImplementedError

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from where ``state()`` was taken."""
        raise NotImplementedError


def held_out_batches(examples: Sequence[Example], *, rows: int, length: int) -> Iterator[Batch]:
    """Each example once, in a fixed order."""
    raise NotImplementedError
