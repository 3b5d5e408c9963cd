"""Documents that arrive: so many at once, none for ever, and none that keeps the others out.

An upload has to go on at a least rate. While all places are taken, one from which nothing has
come for some seconds loses its place to whoever wants it; and one key never has all of them, where
there are several.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from linnet.serve.asgi import Call
from linnet.serve.errors import ApiError

MOST_UPLOADS = 4
"""Documents that arrive at once."""
GRACE_SECONDS = 30.0
LEAST_RATE = 20_000
"""Bytes a second that an upload has to come to, beyond the first seconds."""
STALLED_SECONDS = 5.0
"""After which one from which nothing comes may lose its place."""


@dataclass(eq=False)
class Upload:
    """One document that arrives."""

    key: str | None
    timer: asyncio.Timeout
    began: float
    moved: float
    size: int = 0
    displaced: bool = False
    """Whether another has its place by now."""

    def arrived(self, count: int) -> None:
        """So many more bytes are here."""
        self.moved = asyncio.get_running_loop().time()
        self.size += count
        if not self.displaced and not self.timer.expired():
            self.timer.reschedule(self.began + GRACE_SECONDS + self.size / LEAST_RATE)

    def complete(self) -> None:
        """All of it is here: what is done with it now takes the time that it takes."""
        if not self.displaced and not self.timer.expired():
            self.timer.reschedule(None)


class Uploads:
    """Those that arrive now; used by the event loop alone."""

    def __init__(self, most: int = MOST_UPLOADS) -> None:
        self._most = most
        self._now: list[Upload] = []

    @contextlib.asynccontextmanager
    async def place(self, call: Call) -> AsyncIterator[Upload]:
        """A place for what a call sends, within the block. Raises ApiError: 429 where there is
        none, 408 for what is too slow."""
        key = call.account.key.name if call.account is not None else None
        now = asyncio.get_running_loop().time()
        self._make_place(key, now)
        upload: Upload | None = None
        try:
            async with asyncio.timeout_at(now + GRACE_SECONDS) as timer:
                upload = Upload(key, timer, now, now)
                self._now.append(upload)
                yield upload
        except TimeoutError:
            raise ApiError(408, "The file arrives too slowly; send it again.") from None
        finally:
            if upload in self._now:
                self._now.remove(upload)

    def _make_place(self, key: str | None, now: float) -> None:
        own = sum(upload.key == key for upload in self._now)
        if key is not None and own >= max(self._most - 1, 1):
            raise _busy("Other files of yours")
        if len(self._now) < self._most:
            return
        slowest = min(self._now, key=lambda upload: upload.moved, default=None)
        if slowest is None or slowest.timer.when() is None or now - slowest.moved < STALLED_SECONDS:
            raise _busy("Other files")
        self._now.remove(slowest)
        slowest.displaced = True
        slowest.timer.reschedule(now)


def _busy(what: str) -> ApiError:
    return ApiError(429, f"{what} are arriving; try again.", code="busy", retry_after=1)
