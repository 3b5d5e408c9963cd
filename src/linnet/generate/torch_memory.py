"""Keys and values of texts: strips, in which prompts are read, and shelves, from which many
texts are written at once.

A shelf holds texts of about the same length, up to its capacity; one that outgrows it moves to
the next, which is twice as long. So texts of all lengths are written together, with one call of
attention for each shelf and at most half of what it looks at for nothing.

Letters: ``L`` layers, ``S`` positions, ``G`` key/value heads, ``K`` head width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from linnet.model.config import ModelConfig

SMALLEST_SHELF = 128
LONG_SHELF = 1024
"""From this capacity on, a shelf without texts gives its memory back."""


@dataclass(frozen=True)
class Layout:
    """What keys and values of a model look like."""

    layers: int
    heads: int
    width: int
    context: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, config: ModelConfig, *, dtype: torch.dtype, device: torch.device) -> Layout:
        """That of a model of this shape."""
        return cls(config.depth, config.kv_heads, config.head_width, config.context, dtype, device)

    @property
    def bytes_per_token(self) -> int:
        """Memory that one token takes."""
        return self.layers * 2 * self.heads * self.width * self.dtype.itemsize

    def empty(self, *rows: int) -> Tensor:
        """Memory for ``rows`` tokens: ``(L, *rows, 2, G, K)``."""
        shape = (self.layers, *rows, 2, self.heads, self.width)
        return torch.empty(shape, dtype=self.dtype, device=self.device)


class Strip:
    """One text's keys and values while it is read."""

    def __init__(self, layout: Layout, capacity: int) -> None:
        self.memory = layout.empty(capacity)  # (L, S, 2, G, K)
        self.layers = self.memory.unbind(0)
        self.flat = self.memory.flatten(2).unbind(0)  # (S, 2 G K) for each layer
        self.length = 0

    @property
    def read(self) -> Tensor:
        """The keys and values of what was read so far ``(L, S, 2, G, K)``."""
        return self.memory[:, : self.length]

    def put(self, pages: list[Tensor]) -> None:
        """Begin with these keys and values ``(L, some positions, 2, G, K)``, in this order."""
        if pages:
            self.length = sum(page.shape[1] for page in pages)
            torch.cat(pages, 1, out=self.read)


@dataclass
class Row:
    """A text on a shelf."""

    owner: Any
    """Whose it is."""
    adapter: str | None
    long: bool
    """Whether LongRoPE turns it as a long text."""
    length: int


@dataclass
class Shelf:
    """Keys and values of texts of about the same length, in rows without gaps."""

    layout: Layout
    capacity: int
    rows: list[Row] = field(default_factory=list)
    memory: Tensor | None = None  # (L, rows, capacity, 2, G, K)
    flat: tuple[Tensor, ...] = ()  # (rows * capacity, 2 G K) for each layer

    def place(self, row: Row, kept: Tensor) -> None:
        """Put a text here with its keys and values ``(L, S, 2, G, K)``."""
        place = len(self.rows)
        if self.memory is None or place == self.memory.shape[1]:
            self._make_room(place)
        assert self.memory is not None
        self.memory[:, place, : row.length] = kept
        # What is masked is multiplied by zero, and no leftovers may be infinite.
        self.memory[:, place, row.length :] = 0
        self.rows.append(row)

    def kept(self, place: int) -> Tensor:
        """A text's keys and values ``(L, S, 2, G, K)``, as a view."""
        assert self.memory is not None
        return self.memory[:, place, : self.rows[place].length]

    def remove(self, place: int) -> None:
        """Take a text away; the last one takes its place."""
        last = self.rows.pop()
        if place < len(self.rows):
            assert self.memory is not None
            length = max(last.length, self.rows[place].length)
            self.memory[:, place, :length] = self.memory[:, len(self.rows), :length]
            self.rows[place] = last
        if not self.rows and self.capacity >= LONG_SHELF:
            self.memory, self.flat = None, ()

    def seen(self, rows: int, reach: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Keys and values of the first positions, ``(rows, G, reach, K)`` for each layer."""
        assert self.memory is not None
        kept = self.memory[:, :rows, :reach].permute(3, 0, 1, 4, 2, 5)
        keys, values = kept.unbind(0)
        return keys.unbind(0), values.unbind(0)

    def _make_room(self, rows: int) -> None:
        memory = self.layout.empty(max(1, 2 * rows), self.capacity)
        if self.memory is not None:
            memory[:, :rows] = self.memory
        self.memory = memory
        self.flat = memory.flatten(3).flatten(1, 2).unbind(0)


class Shelves:
    """All texts that are being written, by their lengths."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.by_capacity: dict[int, Shelf] = {}

    @property
    def filled(self) -> list[Shelf]:
        """Those with texts, in the order of a step."""
        return [shelf for _, shelf in sorted(self.by_capacity.items()) if shelf.rows]

    def place(self, row: Row, kept: Tensor) -> None:
        """Put a text where it and a token more fit."""
        capacity = SMALLEST_SHELF
        while capacity <= row.length:
            capacity *= 2
        capacity = min(capacity, self.layout.context)
        if capacity not in self.by_capacity:
            self.by_capacity[capacity] = Shelf(self.layout, capacity)
        self.by_capacity[capacity].place(row, kept)

    def find(self, owner: Any) -> tuple[Shelf, int] | None:
        """Where the text of this owner is, if it is on a shelf."""
        for shelf in self.by_capacity.values():
            for place, row in enumerate(shelf.rows):
                if row.owner is owner:
                    return shelf, place
        return None

    def move_up(self) -> None:
        """Give every text that fills its shelf a place on a longer one."""
        for shelf in list(self.by_capacity.values()):
            for place in reversed(range(len(shelf.rows))):
                if shelf.rows[place].length == shelf.capacity:
                    self.place(shelf.rows[place], shelf.kept(place))
                    shelf.remove(place)

    def clear(self) -> None:
        """Hold nothing."""
        self.by_capacity.clear()
