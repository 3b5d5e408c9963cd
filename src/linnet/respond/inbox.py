"""Batching: from an engine's threads to the one coroutine that answers.

Waking the event loop costs more than computing a token of a small model. So it is woken
once for all tokens that came meanwhile, and for as long as the reader pauses only
when a text has ended.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from linnet.errors import LinnetError
from linnet.generate.engine import Chunk

Item: TypeAlias = tuple[int, Chunk | LinnetError]
"""A chunk of a text, or what ended it, with the text's place in the request."""

Cancel: TypeAlias = Callable[[], None]


class Inbox:
    """Any thread puts in; one coroutine takes out."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.first_at: float | None = None
        """When the first chunk came (``time.monotonic``)."""
        self.open = 0
        """Texts that have not ended; set before the first chunk comes."""
        self._loop = loop
        self._items: deque[Item] = deque()
        self._lock = threading.Lock()
        self._asleep = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, text: int, item: Chunk | LinnetError) -> None:
        """Add a chunk; called from the engine's threads."""
        ends = not isinstance(item, Chunk) or item.finish_reason is not None
        if self.first_at is None:
            self.first_at = time.monotonic()
        self._items.append((text, item))
        if ends:
            with self._lock:
                self.open -= 1
        if self._asleep or ends:
            self._asleep = False
            try:
                self._loop.call_soon_threadsafe(self._wake)
            except RuntimeError:  # the loop has ended, and the reader with it
                return

    async def take(self, *, pause: float) -> list[Item]:
        """What has come, after a pause that only the end of a text makes shorter.

        ``pause``: 0 for none; infinite: until texts end.
        """
        if pause and self.open:
            await self._wait(pause)
        while not self._items:
            self._asleep = True
            if not self._items:  # looked at again: it may have come before it could wake us
                await self._wait(math.inf)
            self._asleep = False
        return [self._items.popleft() for _ in range(len(self._items))]

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _wait(self, seconds: float) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self._wake) if seconds < math.inf else None
        try:
            await self._waiter
        finally:
            if timer is not None:
                timer.cancel()
            self._waiter = None
