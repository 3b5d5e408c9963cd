"""What each step computes: continuous batching.

A step takes every text that is being written one token further, and beside them reads a chunk of
the prompts that have come in since: a long prompt stalls nobody. A text joins as soon as there is
a slot and memory for it, and leaves in the step that ends it.

It knows no torch: memory is :class:`~linnet.generate.kv_cache.KVMemory`'s, computing
:class:`~linnet.generate.torch_runner.Runner`'s.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from linnet.errors import LinnetError, ModelError

if TYPE_CHECKING:
    from linnet.generate.generation import Generation
    from linnet.generate.kv_cache import Bucket, KVMemory

PREFILL_TOKENS = 512
"""Prompt tokens read in a step when nothing is being written; attention's memory grows with it."""

PREFILL_BESIDE = 64
"""Prompt tokens read in a step in which others are written, who wait for as long."""


class Batch(NamedTuple):
    """What one step computes: a token of each text in the buckets, and chunks of prompts."""

    buckets: list[Bucket]
    decoded: list[Generation]
    """Whose texts are in the buckets, in order."""
    chunks: list[tuple[Generation, list[int]]]
    searched: list[Generation]
    """Whose beams go on, each in a bucket of its own."""


class Scheduler:
    """Texts that wait, are read and are written."""

    def __init__(self, *, rows: int, memory_bytes: int) -> None:
        """``rows``: texts computed together at most; ``memory_bytes``: memory that the texts being
        written may come to need together.
        """
        self.rows = rows
        self.memory_bytes = memory_bytes
        self.waiting: deque[Generation] = deque()
        self.prefilling: list[Generation] = []
        self.decoding: list[Generation] = []

    @property
    def running(self) -> list[Generation]:
        """Texts that are being read or written."""
        return [*self.prefilling, *self.decoding]

    def schedule(self, memory: KVMemory) -> Batch:
        """What is computed now: all texts that are being written, and prompts beside them."""
        for one in self.running:
            if one.cancelled:
                self.finish(one, memory)
        if any(one.cancelled for one in self.waiting):
            self.waiting = deque(one for one in self.waiting if not one.cancelled)
        self._admit(memory)
        for one in memory.take_long():  # all its positions turn otherwise from now on
            self.decoding.remove(one)
            self.prefilling.append(one)
            self._begin(one, memory)
        memory.move_up()
        filled = memory.filled
        return Batch(
            filled,
            [slot.owner for bucket in filled for slot in bucket.slots],
            self._schedule_prefill(memory),
            [one for one in self.decoding if one.beams is not None],
        )

    def postprocess(self, memory: KVMemory) -> None:
        """Keep what was read; texts that were read to their ends get a slot to be written from."""
        for one in [*self.prefilling]:
            if one.cache is None or not one.begun:
                continue
            memory.keep_prefix(one.reading, one.adapter, one.cache)
            if one.is_read:
                if one.beams is None:
                    memory.place(one, one.adapter, one.cache)
                else:
                    width, limit = one.beams.width, one.limit
                    memory.place_beams(one, one.adapter, one.cache, beams=width, limit=limit)
                self.prefilling.remove(one)
                self.decoding.append(one)
                one.cache, one.reading = None, []

    def finish(self, one: Generation, memory: KVMemory, error: LinnetError | None = None) -> None:
        """A text is over; what was computed for it may serve the next that begins like it."""
        if error is None and one.cache is not None:
            memory.keep_prefix(one.reading, one.adapter, one.cache)
        memory.free(one, keep=one.context if error is None else None)
        for texts in (self.prefilling, self.decoding):
            if one in texts:
                texts.remove(one)
        if error is not None:
            one.give(error)

    def abort(self, *, waiting: bool) -> list[Generation]:
        """Take away what is running, and what waits, too."""
        gone = self.running
        self.prefilling, self.decoding = [], []
        if waiting:
            gone += self.waiting
            self.waiting.clear()
        return gone

    def _admit(self, memory: KVMemory) -> None:
        """Admit waiting texts, first come, first served, while there is memory."""
        held = sum(one.reserved for one in self.running)
        while self.waiting and len(self.prefilling) + len(self.decoding) < self.rows:
            one = self.waiting[0]
            held += one.reserved
            needed = held * memory.layout.bytes_per_token
            if self.running and needed > self.memory_bytes:
                return
            self.prefilling.append(self.waiting.popleft())
            self._begin(one, memory)

    def _begin(self, one: Generation, memory: KVMemory) -> None:
        """Read a text from its beginning, or from where another one like it ends.

        One for which there is no memory leaves with an error, and the others go on.
        """
        reading = one.context
        try:
            cache = memory.allocate(reading, one.adapter)
        except Exception as error:
            self.finish(one, memory, as_linnet_error(error))
            return
        one.begin(cache, reading)

    def _schedule_prefill(self, memory: KVMemory) -> list[tuple[Generation, list[int]]]:
        """What is read in this step, of the texts that came first.

        Of texts with the same beginning one reads it, and the others wait till it is cached.
        """
        left = PREFILL_BESIDE if self.decoding else PREFILL_TOKENS
        chunks: list[tuple[Generation, list[int]]] = []
        begun: set[tuple[object, ...]] = set()
        for one in [*self.prefilling]:
            if left <= 0:
                break
            assert one.cache is not None
            start = one.cache.length
            if not one.begun:
                start = memory.cached_tokens(one.reading, one.adapter)
            page = memory.page(one.reading, one.adapter, start)
            if page in begun and memory.shares:
                continue
            begun.add(page)
            if start > one.cache.length:
                self._begin(one, memory)
                if one not in self.prefilling:
                    continue
            one.begun = True
            tokens = one.reading[one.cache.length :][:left]
            left -= len(tokens)
            chunks.append((one, tokens))
        return chunks


def as_linnet_error(error: Exception) -> LinnetError:
    """What is told of an error, in one line."""
    if isinstance(error, LinnetError):
        return error
    reason = " ".join(str(error).split())[:200]
    return ModelError(f"computing failed ({type(error).__name__}: {reason})")
