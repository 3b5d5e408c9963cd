"""From an engine's threads to the one coroutine that answers.

Waking the event loop costs more than computing a token of a small model. So it is woken
once for all tokens that came meanwhile, and for as long as the reader pauses only
when a text has ended.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from linnet.errors import LinnetError
from linnet.generate.engine import Chunk

Item: TypeAlias = tuple[int, Chunk | LinnetError]
"""A piece of a text, or what ended it, with the text's place in the request."""

Cancel: TypeAlias = Callable[[], None]


class Inbox:
    """Any thread puts in; one coroutine takes out."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.first_at: float | None = None
        """When the first piece came (``time.monotonic``)."""
        self.open = 0
        """Texts that have not ended; set before the first piece comes."""
        self._loop = loop
        self._items: deque[Item] = deque()
        self._lock = threading.Lock()
        self._asleep = False
        self._waiter: asyncio.Future[None] | None = None

    def put(self, text: int, item: Chunk | LinnetError) -> None:
        """Add a piece; called from the engine's threads."""
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
                self._loop.call_soon_threadsafe(self.wake)
            except RuntimeError:  # the loop has ended, and the server with it
                return

    def wake(self) -> None:
        """Let the reader look; called in the loop."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self, seconds: float) -> list[Item]:
        """What has come; waits for it up to so many seconds, then gives nothing."""
        if not self._items:
            self._asleep = True
            if not self._items:  # looked at again: it may have come before it could wake us
                await self._wait(seconds)
            self._asleep = False
        return self._drained()

    async def pause(self, seconds: float) -> None:
        """Wait so many seconds, or until a text ends."""
        await self._wait(seconds)

    async def whole(self, seconds: float) -> list[Item]:
        """What has come once all texts have ended, one did, or the time is over."""
        if self.open:
            await self._wait(seconds)
        return self._drained()

    def _drained(self) -> list[Item]:
        return [self._items.popleft() for _ in range(len(self._items))]

    async def _wait(self, seconds: float) -> None:
        self._waiter = self._loop.create_future()
        timer = self._loop.call_later(seconds, self.wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
