"""Keys and values of texts: while a prompt is read, while texts are written, and afterwards.

A prompt is prefilled into a :class:`PromptCache` of its own. Then it is given a slot of a
:class:`Bucket`, which holds texts of about the same length, up to its capacity; one that outgrows
it moves to the next, which is twice as long. So texts of all lengths are written together, with
one call of attention for each bucket and at most half of what it looks at for nothing.

What was computed stays in a :class:`PrefixCache`, in pages of a few tokens, each under the page
before it and its own tokens, so that texts with the same beginning share its pages, and a page is
found only for exactly the tokens that it was computed from. What was used longest ago goes first
when memory is full; a page is always used with all that come before it, so that no page outlives
those it follows.

Letters: ``L`` layers, ``S`` positions, ``G`` key/value heads, ``K`` head width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from linnet.model.config import ModelConfig

SMALLEST_BUCKET = 128
LONG_BUCKET = 1024
"""From this capacity on, a bucket without texts gives its memory back."""


@dataclass(frozen=True)
class CacheLayout:
    """What keys and values of a model look like."""

    layers: int
    heads: int
    width: int
    context: int
    dtype: torch.dtype
    device: torch.device
    turning_point: int | None = None
    """The length of a text after which LongRoPE turns all its positions otherwise."""

    @classmethod
    def of(cls, config: ModelConfig, *, dtype: torch.dtype, device: torch.device) -> CacheLayout:
        """That of a model of this shape."""
        scaling = config.rope_scaling
        return cls(
            config.depth,
            config.kv_heads,
            config.head_width,
            config.context,
            dtype,
            device,
            scaling.original_context if scaling and scaling.kind == "longrope" else None,
        )

    @property
    def bytes_per_token(self) -> int:
        """Memory that one token takes."""
        return self.layers * 2 * self.heads * self.width * self.dtype.itemsize

    def empty(self, *rows: int) -> Tensor:
        """Memory for ``rows`` tokens: ``(L, *rows, 2, G, K)``."""
        shape = (self.layers, *rows, 2, self.heads, self.width)
        return torch.empty(shape, dtype=self.dtype, device=self.device)


class PromptCache:
    """One text's keys and values while it is read."""

    def __init__(self, layout: CacheLayout, capacity: int) -> None:
        self.layout = layout
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
class Slot:
    """A text in a bucket."""

    owner: Any
    """Whose it is."""
    adapter: str | None
    long: bool
    """Whether LongRoPE turns it as a long text."""
    length: int


@dataclass
class Bucket:
    """Keys and values of texts of about the same length, in rows without gaps."""

    layout: CacheLayout
    capacity: int
    slots: list[Slot] = field(default_factory=list)
    memory: Tensor | None = None  # (L, rows, capacity, 2, G, K)
    flat: tuple[Tensor, ...] = ()  # (rows * capacity, 2 G K) for each layer

    def place(self, slot: Slot, kept: Tensor) -> None:
        """Put a text here with its keys and values ``(L, S, 2, G, K)``."""
        place = len(self.slots)
        if self.memory is None or place == self.memory.shape[1]:
            self._grow(place)
        assert self.memory is not None
        self.memory[:, place, : slot.length] = kept
        # What is masked is multiplied by zero, and no leftovers may be infinite.
        self.memory[:, place, slot.length :] = 0
        self.slots.append(slot)

    def kept(self, place: int) -> Tensor:
        """A text's keys and values ``(L, S, 2, G, K)``, as a view."""
        assert self.memory is not None
        return self.memory[:, place, : self.slots[place].length]

    def remove(self, place: int) -> None:
        """Take a text away; the last one takes its place."""
        last = self.slots.pop()
        if place < len(self.slots):
            assert self.memory is not None
            length = max(last.length, self.slots[place].length)
            self.memory[:, place, :length] = self.memory[:, len(self.slots), :length]
            self.slots[place] = last
        if not self.slots and self.capacity >= LONG_BUCKET:
            self.memory, self.flat = None, ()

    def seen(self, rows: int, reach: int) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Keys and values of the first positions, ``(rows, G, reach, K)`` for each layer."""
        assert self.memory is not None
        kept = self.memory[:, :rows, :reach].permute(3, 0, 1, 4, 2, 5)
        keys, values = kept.unbind(0)
        return keys.unbind(0), values.unbind(0)

    def _grow(self, rows: int, *, exactly: bool = False) -> None:
        memory = self.layout.empty(rows if exactly else max(1, 2 * rows), self.capacity)
        if self.memory is not None:
            memory[:, :rows] = self.memory
        self.memory = memory
        self.flat = memory.flatten(3).flatten(1, 2).unbind(0)


class SlotCache:
    """A drafted text's tokens behind the last of its own, in the rest of its slot.

    They are computed there beside the text's own next token; those that are accepted stay.
    """

    def __init__(self, bucket: Bucket, place: int, tokens: Sequence[int]) -> None:
        assert bucket.memory is not None
        self.slot = bucket.slots[place]
        self.tokens = tokens
        self.length = self.slot.length + 1
        self.accepted = 0
        memory = bucket.memory[:, place]  # (L, S, 2, G, K)
        self.layers = memory.unbind(0)
        self.flat = memory.flatten(2).unbind(0)

    def accept(self, token: int, place: int) -> bool:
        """Whether this token, which was chosen, is the one drafted for this place; it stays then.

        Another one ends the draft.
        """
        if place >= len(self.tokens) or self.tokens[place] != token:
            return False
        self.accepted += 1
        self.slot.length += 1
        return True


class BeamBucket(Bucket):
    """The beams of one text."""

    @classmethod
    def of(cls, slot: Slot, cache: PromptCache, *, beams: int, capacity: int) -> BeamBucket:
        """With the prompt in each."""
        bucket = cls(cache.layout, capacity)
        bucket._grow(beams, exactly=True)
        for _ in range(beams):
            bucket.place(replace(slot), cache.read)
        bucket.prompt = slot.length
        return bucket

    prompt: int = 0
    """Tokens that all have in common."""

    def reorder(self, parents: Sequence[int]) -> None:
        """Let each beam go on from another one."""
        if [*parents] == [*range(len(self.slots))]:
            return
        assert self.memory is not None
        end = self.slots[0].length
        chosen = torch.tensor(parents, device=self.memory.device)
        written = self.memory[:, :, self.prompt : end]
        written.copy_(written.index_select(1, chosen))


class Buckets:
    """All texts that are being written, by their lengths."""

    def __init__(self, layout: CacheLayout) -> None:
        self.layout = layout
        self.by_capacity: dict[int, Bucket] = {}

    @property
    def filled(self) -> list[Bucket]:
        """Those with texts, in the order of a step."""
        return [bucket for _, bucket in sorted(self.by_capacity.items()) if bucket.slots]

    def place(self, slot: Slot, kept: Tensor) -> None:
        """Put a text where it and a token more fit."""
        capacity = SMALLEST_BUCKET
        while capacity <= slot.length:
            capacity *= 2
        capacity = min(capacity, self.layout.context)
        if capacity not in self.by_capacity:
            self.by_capacity[capacity] = Bucket(self.layout, capacity)
        self.by_capacity[capacity].place(slot, kept)

    def find(self, owner: Any) -> tuple[Bucket, int] | None:
        """Where the text of this owner is, if it is in a bucket."""
        for bucket in self.by_capacity.values():
            for place, slot in enumerate(bucket.slots):
                if slot.owner is owner:
                    return bucket, place
        return None

    def move_up(self) -> None:
        """Give every text that fills its bucket a place on a longer one."""
        for bucket in list(self.by_capacity.values()):
            for place in reversed(range(len(bucket.slots))):
                if bucket.slots[place].length == bucket.capacity:
                    self.place(bucket.slots[place], bucket.kept(place))
                    bucket.remove(place)

    def clear(self) -> None:
        """Hold nothing."""
        self.by_capacity.clear()


PAGE = 32
"""Tokens of a page: what is shared beyond the last whole one is computed again."""

Key = tuple[Hashable, tuple[int, ...]]


@dataclass(frozen=True)
class _Page:
    number: int
    kept: Tensor  # (L, PAGE, 2, G, K)


class PrefixCache:
    """Pages of keys and values under a limit of memory. For one thread.

    ``kind``, in its methods, is what else the values depend on: the adapter, say.
    """

    def __init__(self, limit: int) -> None:
        """``limit``: bytes; 0 keeps nothing."""
        self.limit = limit
        self.bytes = 0
        self._pages: OrderedDict[Key, _Page] = OrderedDict()
        self._numbers = count()

    def find(self, tokens: Sequence[int], kind: Hashable) -> list[Tensor]:
        """The pages that ``tokens`` begin with, in order; never all of a text."""
        found: list[tuple[Key, _Page]] = []
        before = kind
        for start in range(0, len(tokens) - PAGE, PAGE):
            key = (before, tuple(tokens[start : start + PAGE]))
            page = self._pages.get(key)
            if page is None:
                break
            found.append((key, page))
            before = page.number
        self._use([key for key, _ in found])
        return [page.kept for _, page in found]

    def keep(self, tokens: Sequence[int], kind: Hashable, kept: Tensor) -> None:
        """Keep copies of the keys and values ``(L, S, 2, G, K)`` of the first S tokens."""
        keys: list[Key] = []
        before = kind
        for start in range(0, kept.shape[1] - PAGE + 1, PAGE):
            key = (before, tuple(tokens[start : start + PAGE]))
            page = self._pages.get(key)
            if page is None:
                if (len(keys) + 1) * self._size(kept) > self.limit:
                    break
                page = _Page(next(self._numbers), kept[:, start : start + PAGE].clone())
                self._pages[key] = page
                self.bytes += page.kept.nbytes
            keys.append(key)
            before = page.number
        self._use(keys)
        while self.bytes > self.limit:
            _, oldest = self._pages.popitem(last=False)
            self.bytes -= oldest.kept.nbytes

    def clear(self) -> None:
        """Keep nothing."""
        self._pages.clear()
        self.bytes = 0

    def _size(self, kept: Tensor) -> int:
        return kept.nbytes // max(1, kept.shape[1]) * PAGE

    def _use(self, keys: list[Key]) -> None:
        """Mark pages as used now, the later ones of a text as a little longer ago."""
        for key in reversed(keys):
            self._pages.move_to_end(key)


Kind = tuple[str | None, bool]
"""What keys and values depend on beside the tokens: the adapter, and whether LongRoPE turns the
text as a long one."""


class KVMemory:
    """All keys and values of one model: of texts being read, being written, and kept. For one
    thread.
    """

    def __init__(self, layout: CacheLayout, *, prefix_bytes: int) -> None:
        """``prefix_bytes``: memory for the beginnings of texts; 0 keeps none."""
        self.layout = layout
        self.prefixes = PrefixCache(prefix_bytes)
        self._buckets = Buckets(layout)
        self.beams: dict[Any, BeamBucket] = {}
        """Of texts that are searched for, by their owners."""

    @property
    def filled(self) -> list[Bucket]:
        """The buckets with texts, in the order of a step."""
        return self._buckets.filled

    @property
    def shares(self) -> bool:
        """Whether texts use what others begin with."""
        return self.prefixes.limit > 0

    def is_long(self, length: int) -> bool:
        """Whether LongRoPE turns a text of this length as a long one."""
        return self.layout.turning_point is not None and length > self.layout.turning_point

    def vacant(self, bucket: Bucket, place: int) -> int:
        """How many more tokens a text can have where it is."""
        slot = bucket.slots[place]
        end = bucket.capacity
        if self.layout.turning_point is not None and not slot.long:
            end = min(end, self.layout.turning_point)
        return end - slot.length

    def allocate(self, tokens: Sequence[int], adapter: str | None) -> PromptCache:
        """Memory to read a text into, beginning with what is at hand of it."""
        cache = PromptCache(self.layout, len(tokens))
        cache.put(self.prefixes.find(tokens, self._kind(adapter, len(tokens))))
        return cache

    def cached_tokens(self, tokens: Sequence[int], adapter: str | None) -> int:
        """How many of a text's first tokens are at hand."""
        return PAGE * len(self.prefixes.find(tokens, self._kind(adapter, len(tokens))))

    def page(self, tokens: Sequence[int], adapter: str | None, start: int) -> tuple[object, ...]:
        """What stands for a text up to the end of the page that begins at ``start``."""
        return (self._kind(adapter, len(tokens)), *tokens[: start + PAGE])

    def keep_prefix(self, tokens: Sequence[int], adapter: str | None, cache: PromptCache) -> None:
        """Keep what was read of a text, for others that begin like it."""
        self.prefixes.keep(tokens, self._kind(adapter, len(tokens)), cache.read)

    def place(self, owner: Any, adapter: str | None, cache: PromptCache) -> None:
        """Give a text that was read a slot, from which it is written."""
        kind = self._kind(adapter, cache.length)
        self._buckets.place(Slot(owner, *kind, cache.length), cache.read)

    def place_beams(
        self, owner: Any, adapter: str | None, cache: PromptCache, *, beams: int, limit: int
    ) -> None:
        """Give a text that was read a slot for each of its beams, of up to ``limit`` tokens."""
        slot = Slot(owner, *self._kind(adapter, cache.length), cache.length)
        self.beams[owner] = BeamBucket.of(slot, cache, beams=beams, capacity=cache.length + limit)

    def free(self, owner: Any, *, keep: Sequence[int] | None) -> None:
        """Take a text's slot away; ``keep``: its tokens, where they may serve others."""
        self.beams.pop(owner, None)
        found = self._buckets.find(owner)
        if found is None:
            return
        bucket, place = found
        slot = bucket.slots[place]
        if keep is not None:
            self.prefixes.keep(keep, (slot.adapter, slot.long), bucket.kept(place))
        bucket.remove(place)

    def take_long(self) -> list[Any]:
        """Whose texts have just become long for LongRoPE; they lose their slots."""
        found: list[Any] = []
        if self.layout.turning_point is None:
            return found
        for bucket in self.filled:
            for place in reversed(range(len(bucket.slots))):
                slot = bucket.slots[place]
                if not slot.long and self.is_long(slot.length + 1):
                    bucket.remove(place)
                    found.append(slot.owner)
        return found

    def move_up(self) -> None:
        """Give every text that fills its bucket a place in a longer one."""
        self._buckets.move_up()

    def _kind(self, adapter: str | None, length: int) -> Kind:
        return (adapter, self.is_long(length))
