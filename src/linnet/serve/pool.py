"""Models in memory: opened when they are used, closed when time or memory asks for it.

A call holds a lease of its model, and none is closed that has one. What is not open is opened by
one task, a model at a time, in the order in which they were asked for; whoever waits for it is
given a lease the moment it is there. Where memory does not hold both, those that nobody uses go
first, the one used longest ago before the others; then, after some seconds, one in use takes on
nothing new until it can go.

A model whose files were replaced is opened beside the old one, which answers until then and ends
what it has begun; where memory does not hold both, the new one waits until the old is idle.

All but the opening and closing itself happens in the event loop. A call must hold one lease at a
time: two that hold one and wait for another would wait for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from linnet.errors import LinnetError, ModelError
from linnet.serve.errors import ApiError, stopping, without_paths
from linnet.serve.logs import LOGGER

if TYPE_CHECKING:
    from linnet.serve.catalog import Served

Reason: TypeAlias = Literal["idle", "memory", "replaced", "asked"]
_TRIES = 3
"""How often a model is opened whose files change meanwhile."""


@dataclass(frozen=True)
class ModelSource:
    """A model that can be opened: how, and what is known of it before."""

    name: str
    described: Sequence[Served]
    """It and its adapters, as long as they are not open."""
    open: Callable[[], Sequence[Served]]
    """Opens the same names, in a thread. Raises LinnetError."""
    bytes: int = 0
    """Memory that it will take, estimated."""
    version: Callable[[], Hashable] = lambda: None
    """Another value once its files were replaced; None while there is none to be had. Quick."""
    pinned: bool = False
    """Whether it stays open."""


@dataclass(frozen=True)
class PoolSettings:
    """How much is open, and for how long."""

    memory: float = math.inf
    """Bytes that all models together may take."""
    keep_alive: float = math.inf
    """Seconds that a model stays open after it was last used."""
    patience: float = 5.0
    """Seconds that a model in use goes on taking requests while another waits for its memory."""
    look: float = 1.0
    """Seconds between two looks at a model's files. What replaced them must stay for as long."""
    retry: float = 10.0
    """Seconds after which a model that could not be opened is tried again."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that is open now."""

    name: str
    bytes: int
    """Of memory; 0 for what shares its model's (adapters), and where it is not known."""
    expires_at: float | None
    """When it is unloaded unless it is used before, in seconds since 1970; None: it stays."""


@dataclass(eq=False)
class _Opened:
    """One version of a model, open."""

    place: _Place
    models: Mapping[str, Served]
    version: Hashable
    bytes: int
    used: float
    leases: int = 0


@dataclass(eq=False)
class _Place:
    """What belongs to one source."""

    source: ModelSource
    bytes: int
    """That it will take when it is opened: estimated, or as the last time."""
    opened: _Opened | None = None
    draining: bool = False
    """Whether the open one takes on nothing new, as it has to go."""
    keep: float | None = None
    """Seconds that it stays open, where that was asked for."""
    waiters: list[asyncio.Future[_Opened]] = field(default_factory=list)
    failed: ApiError | None = None
    failed_at: float = 0.0
    failed_version: Hashable = None
    looked: float = -math.inf
    seen: Hashable = None
    """A version that is not the open one's, as it was seen at the last look."""
    outdated: bool = False


class Lease:
    """A model that stays open until it is released."""

    def __init__(self, pool: Pool, opened: _Opened, name: str) -> None:
        self.model = opened.models[name]
        self._pool = pool
        self._opened: _Opened | None = opened

    def release(self) -> None:
        """Nobody needs it any more; a second call does nothing."""
        opened, self._opened = self._opened, None
        if opened is not None:
            self._pool._release(opened)


class Pool:
    """The models of one server. It belongs to one event loop."""

    def __init__(
        self,
        sources: Sequence[ModelSource] = (),
        settings: PoolSettings | None = None,
        *,
        opened: Mapping[str, Sequence[Served]] | None = None,
        measure: Callable[[Sequence[Served]], int] = lambda models: 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``opened``: those that are open already, by the names of their sources. ``measure``: the
        memory that models take; 0 where that is not known.
        """
        self.settings = settings or PoolSettings()
        self.on_open: Callable[[Sequence[Served], float | None], None] = lambda models, seconds: (
            None
        )
        """Called with what was opened, and in how many seconds."""
        self.on_close: Callable[[str, Reason], None] = lambda name, reason: None
        """Called with the name of what was closed, and why."""
        self._measure, self._clock = measure, clock
        self._places = [_Place(source, source.bytes) for source in sources]
        self._by_name = {
            served.name: place for place in self._places for served in place.source.described
        }
        self._queue: deque[_Place] = deque()
        self._leaving: set[_Opened] = set()
        """Those that no new request gets, but that are not closed yet."""
        self._reserved = 0
        """Memory for the one that is being opened."""
        self._opener: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._arriving: Sequence[Served] = ()
        """Opened by the thread, and not yet taken over from it."""
        for place in self._places:
            if opened and place.source.name in opened:
                self._place(place, opened[place.source.name], place.source.version())

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    @property
    def models(self) -> dict[str, Served]:
        """All by name: open, or described by their files."""
        found: dict[str, Served] = {}
        for place in self._places:
            models = place.opened.models if place.opened is not None else {}
            for served in place.source.described:
                found[served.name] = models.get(served.name, served)
        return found

    def is_loaded(self, name: str) -> bool:
        """Whether a model can answer at once."""
        place = self._by_name[name]
        return place.opened is not None and not place.draining

    def loaded(self) -> list[LoadedModel]:
        """Those that are open."""
        found = []
        for place in self._places:
            if place.opened is not None:
                expires = self._expiry(place)
                size = self._bytes(place.opened)
                for each in place.opened.models.values():
                    found.append(LoadedModel(each.name, 0 if each.parent else size, expires))
        return found

    def keep(self, name: str, seconds: float | None) -> None:
        """How long a model stays open from its last use on: 0 closes it as soon as nobody uses it,
        a negative number keeps it until memory is needed; None: as the server has it.
        """
        place = self._by_name[name]
        place.keep = math.inf if seconds is not None and seconds < 0 else seconds
        self._expire()

    def lease(self, name: str) -> Lease | None:
        """A lease of a model, if it is open."""
        place = self._by_name[name]
        self._look(place)
        opened = place.opened
        if opened is None or place.draining:
            return None
        opened.leases += 1
        return Lease(self, opened, name)

    async def wait(self, name: str) -> Lease:
        """A lease of a model, which is opened first where it must be.

        Raises ApiError (503) where it cannot be opened.
        """
        lease = self.lease(name)
        if lease is not None:
            return lease
        place = self._by_name[name]
        self._require_openable(place)
        waiter: asyncio.Future[_Opened] = asyncio.get_running_loop().create_future()
        place.waiters.append(waiter)
        self._enqueue(place)
        try:
            return Lease(self, await waiter, name)
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._release(waiter.result())  # it came just as nobody wanted it any more
            raise
        finally:
            if waiter in place.waiters:
                place.waiters.remove(waiter)
                self._changed.set()

    def close(self) -> None:
        """Close all of them, in use or not; what is being opened is closed when it is there."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            arriving, self._arriving = self._arriving, ()
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._opener, *self._tasks):
            if task is not None and not task.get_loop().is_closed():
                task.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
        opened = [place.opened for place in self._places if place.opened is not None]
        for place in self._places:
            place.opened = None
            for waiter in place.waiters:
                if not waiter.done() and not waiter.get_loop().is_closed():
                    waiter.set_exception(stopping())
        for each in (*opened, *self._leaving):
            _close(tuple(each.models.values()))
        _close(arriving)

    # Opening

    def _require_openable(self, place: _Place) -> None:
        """Raise ApiError where it could not be opened a short time ago."""
        if self._closed:
            raise stopping()
        if place.failed is None:
            return
        left = place.failed_at + self.settings.retry - self._clock()
        if left > 0 and place.source.version() == place.failed_version:
            raise _again(place.failed, left)
        place.failed = None

    def _enqueue(self, place: _Place) -> None:
        if place not in self._queue:
            self._queue.append(place)
        if self._opener is None or self._opener.done():
            self._opener = asyncio.get_running_loop().create_task(self._open_queued())

    async def _open_queued(self) -> None:
        while self._queue:
            place = self._queue[0]
            try:
                if self._is_wanted(place):
                    await self._make_space(place)
                    if self._is_wanted(place):
                        await self._open(place)
            finally:
                self._queue.popleft()
                for each in self._places:
                    self._stop_draining(each)

    def _is_wanted(self, place: _Place) -> bool:
        return place.outdated or any(not waiter.done() for waiter in place.waiters)

    async def _open(self, place: _Place) -> None:
        """Open it, and give it to all who wait. What goes wrong is told to these."""
        source, started = place.source, self._clock()
        self._reserved = place.bytes
        version = None
        try:
            for _ in range(_TRIES):
                version = source.version()
                models = await self._in_thread(lambda: self._arrive(source.open()))
                if source.version() == version:
                    break
                await self._in_thread(lambda: _close(self._take()))
            else:
                raise ModelError("its files change while they are read")
        except Exception as error:
            self._reserved = 0
            self._fail(place, error, version)
            return
        self._take()
        self._reserved = 0
        if place.opened is not None:
            self._retire(place.opened, "replaced")
        opened = self._place(place, models, version)
        self.on_open(models, self._clock() - started)
        for waiter in place.waiters:
            if not waiter.done():
                opened.leases += 1
                waiter.set_result(opened)
        place.waiters.clear()
        self._expire()

    def _place(self, place: _Place, models: Sequence[Served], version: Hashable) -> _Opened:
        by_name = {served.name: served for served in models}
        opened = _Opened(place, by_name, version, 0, self._clock())
        opened.bytes = self._measure(models) or place.source.bytes
        place.bytes = opened.bytes
        place.opened, place.draining, place.outdated = opened, False, False
        place.failed = place.seen = None
        return opened

    def _fail(self, place: _Place, error: Exception, version: Hashable) -> None:
        name = place.source.name
        if isinstance(error, LinnetError):
            why = without_paths(str(error))
            LOGGER.error("a model cannot be opened", extra={"facts": {"model": name, "error": why}})
        else:
            why = "the server failed on it"
            LOGGER.error(
                "a model cannot be opened", exc_info=error, extra={"facts": {"model": name}}
            )
        place.failed = ApiError(
            503, f"The model '{name}' cannot be opened now: {why}.", code="model_unavailable"
        )
        place.failed_at, place.failed_version = self._clock(), version
        place.outdated = False
        if place.opened is None:  # otherwise it goes on as it was
            for waiter in place.waiters:
                if not waiter.done():
                    waiter.set_exception(_again(place.failed, self.settings.retry))
            place.waiters.clear()

    def _arrive(self, models: Sequence[Served]) -> Sequence[Served]:
        """From the thread that opened them."""
        with self._lock:
            if not self._closed:
                self._arriving = models
                return models
        _close(models)
        raise ModelError("the server is being stopped")

    def _take(self) -> Sequence[Served]:
        with self._lock:
            arrived, self._arriving = self._arriving, ()
        return arrived

    # Memory

    async def _make_space(self, place: _Place) -> None:
        """Wait until there is memory for it, or nobody wants it any more."""
        since = self._clock()
        while self._is_wanted(place):
            missing = place.bytes - (self.settings.memory - self._used())
            if missing <= 0:
                return
            if any(each.leases == 0 for each in self._leaving):  # more memory comes
                await self._change()
                continue
            idle = [each for each in self._evictable() if each.leases == 0]
            if idle:
                others = [each for each in idle if each.place is not place]
                self._retire(min(others or idle, key=lambda each: each.used), "memory")
                continue
            busy = sorted(self._evictable(), key=lambda each: (each.place is not place, each.used))
            if not busy and not self._leaving:
                return  # nothing more can be done for it
            left = since + self.settings.patience - self._clock()
            if left <= 0:
                for each in busy:
                    if missing > 0:
                        each.place.draining = True
                        missing -= self._bytes(each)
            await self._change(left if left > 0 else None)

    def _evictable(self) -> list[_Opened]:
        found = [place.opened for place in self._places if not place.source.pinned]
        own = self._queue[0].opened if self._queue else None
        if own is not None and own.place.source.pinned:
            found.append(own)  # a new version of a pinned one may replace it
        return [each for each in found if each is not None]

    def _used(self) -> int:
        opened = [place.opened for place in self._places if place.opened is not None]
        return self._reserved + sum(map(self._bytes, (*opened, *self._leaving)))

    def _bytes(self, opened: _Opened) -> int:
        """What it takes; it may grow as it is used."""
        if opened not in self._leaving:
            opened.bytes = max(opened.bytes, self._measure(tuple(opened.models.values())))
            opened.place.bytes = opened.bytes
        return opened.bytes

    def _stop_draining(self, place: _Place) -> None:
        """Have it answer again, if it has not gone."""
        place.draining = False
        if place.opened is not None and place.waiters:
            for waiter in place.waiters:
                if not waiter.done():
                    place.opened.leases += 1
                    waiter.set_result(place.opened)
            place.waiters.clear()

    async def _change(self, seconds: float | None = None) -> None:
        """Wait until a model was released or closed, or somebody who waited left."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    # Closing

    def _release(self, opened: _Opened) -> None:
        opened.leases -= 1
        opened.used = self._clock()
        if opened.leases == 0 and not self._closed:
            self._changed.set()
            if opened in self._leaving:
                self._start(self._finish(opened, "replaced"))
            else:
                self._expire()

    def _retire(self, opened: _Opened, reason: Reason) -> None:
        """Give it to nobody any more, and close it as soon as it has no lease."""
        self._leaving.add(opened)
        if opened.place.opened is opened:
            opened.place.opened, opened.place.draining = None, False
        if opened.leases == 0:
            self._start(self._finish(opened, reason))

    async def _finish(self, opened: _Opened, reason: Reason) -> None:
        models = tuple(opened.models.values())
        try:
            await self._in_thread(lambda: _close(models))
        finally:
            self._leaving.discard(opened)
            self._changed.set()
        self.on_close(opened.place.source.name, reason)

    def _expiry(self, place: _Place) -> float | None:
        """When it is closed, in seconds since 1970."""
        keep = self._keep(place)
        if keep == math.inf or place.opened is None:
            return None
        idle = self._clock() - place.opened.used if place.opened.leases == 0 else 0.0
        return time.time() + max(0.0, keep - idle)

    def _keep(self, place: _Place) -> float:
        if place.source.pinned:
            return math.inf
        return self.settings.keep_alive if place.keep is None else place.keep

    def _expire(self) -> None:
        """Close what nobody used for long enough, and come again for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now, soonest = self._clock(), math.inf
        for place in self._places:
            if place.opened is None or place.opened.leases:
                continue
            left = place.opened.used + self._keep(place) - now
            if left <= 0:
                self._retire(place.opened, "asked" if place.keep == 0 else "idle")
                place.keep = None
            else:
                soonest = min(soonest, left)
        if soonest < math.inf:
            self._timer = asyncio.get_running_loop().call_later(soonest, self._expire)

    # New versions

    def _look(self, place: _Place) -> None:
        """See, now and then, whether the files of an open model were replaced."""
        opened, now = place.opened, self._clock()
        if opened is None or place.outdated or now - place.looked < self.settings.look:
            return
        place.looked = now
        version = place.source.version()
        if version is None or version == opened.version:
            place.seen = None
            return
        failed = place.failed is not None and version == place.failed_version
        if failed and now < place.failed_at + self.settings.retry:
            return
        if version != place.seen:  # they may still be arriving
            place.seen = version
            asyncio.get_running_loop().call_later(self.settings.look, self._look, place)
            return
        place.outdated = True
        self._enqueue(place)

    # Tasks

    @cached_property
    def _executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(1, "linnet-models")

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _again(error: ApiError, seconds: float) -> ApiError:
    """The same for one more request; it may be repeated after so long."""
    return ApiError(error.status, error.message, code=error.code, retry_after=seconds)


def _close(models: Sequence[Served]) -> None:
    for served in models:
        served.close()


@contextlib.contextmanager
def released(lease: Lease) -> Iterator[Served]:
    """The model of a lease, which ends with this."""
    try:
        yield lease.model
    finally:
        lease.release()
