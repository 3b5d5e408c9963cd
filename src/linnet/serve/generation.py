"""The texts of one HTTP request, from the engine to the client."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING

from linnet.errors import LinnetError
from linnet.generate.engine import Chunk
from linnet.serve.asgi import Call, ClientLeftError
from linnet.serve.aside import aside
from linnet.serve.asking import too_long
from linnet.serve.delivery import Cancel, Inbox, Item
from linnet.serve.errors import ApiError, failed, failure
from linnet.serve.logs import LOGGER
from linnet.serve.rendering import DONE, KEEP_ALIVE, Shape, Tally, Written, error_event

if TYPE_CHECKING:
    from linnet.serve.asking import Asked
    from linnet.serve.catalog import Served
    from linnet.serve.metrics import ModelMetrics

EVENT_STREAM = b"text/event-stream; charset=utf-8"
_STREAM_HEADERS = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))

SILENCE_SECONDS = 1.0
"""How long a stream that has no token yet keeps its status open, so that it can be an error's."""
KEEP_ALIVE_SECONDS = 10.0
STALL_SECONDS = 60.0
"""A client that takes in nothing for so long is given up."""


class Generation:
    """Writes what was asked and sends it; leaves nothing running behind it."""

    def __init__(
        self,
        ask: Callable[[], Asked],
        model: Served,
        shaped: Callable[[Asked], Shape],
        metrics: ModelMetrics,
        *,
        arrived: float,
    ) -> None:
        """``ask`` and ``shaped`` are called once, in a thread: reading a prompt may take long.

        ``arrived``: when the request came (``time.monotonic``).
        """
        self.texts: list[Written] = []
        self._ask = ask
        self._model = model
        self._shaped = shaped
        self._metrics = metrics
        self._arrived = arrived
        self._choices = 1
        self._inbox: Inbox | None = None
        self._cancels: list[Cancel] = []
        self._lock = threading.Lock()
        self._closed = False
        self._begun = False
        self._stopped: ApiError | None = None
        self._left = False
        self._task: asyncio.Task[None] | None = None
        self._sending_since: float | None = None

    @property
    def tally(self) -> Tally:
        """The tokens so far; a prompt counts once, however many texts follow it."""
        tally = Tally()
        for place, text in enumerate(self.texts):
            tally.written += text.tokens
            if place % self._choices == 0:
                tally.prompt += text.prompt
                tally.cached += text.cached
        return tally

    @property
    def answers(self) -> list[str]:
        """What was written; for logs that are to have it."""
        return ["".join(text.text) for text in self.texts]

    @property
    def waiting(self) -> bool:
        """Whether no token is there yet."""
        return self._inbox is None or self._inbox.first_at is None

    def stop(self, error: ApiError) -> None:
        """End it with an error; called in the loop."""
        self._stopped = error
        if self._begun and self._inbox is not None:
            self._inbox.wake()
        elif self._task is not None:
            self._task.cancel()

    async def run(self, call: Call, executor: Executor, *, stream: bool, interval: float) -> None:
        """Answer the call. Raises ApiError while nothing was sent, ClientLeftError when nobody
        is there to read it any more.

        ``executor``: its threads read what is asked; ``interval``: seconds between the events
        of a stream.
        """
        loop = asyncio.get_running_loop()
        inbox = self._inbox = Inbox(loop)
        self._task = asyncio.current_task()
        watch = None
        try:
            shape = await self._begin_aside(inbox, executor)
            watch = loop.create_task(self._watch(call, inbox))
            if stream:
                await self._stream(call, inbox, shape, interval)
            else:
                await self._whole(call, inbox, shape)
        except ApiError as error:
            if not call.status:
                raise
            await self._send(call, error_event(error) + DONE, more=False)
        except asyncio.CancelledError:
            if self._left:
                raise ClientLeftError from None
            if self._stopped is not None and not self._begun:
                raise self._stopped from None
            raise
        except ClientLeftError:
            raise
        except Exception:
            if not call.status:
                raise
            LOGGER.exception("a request failed", extra={"facts": {"id": call.id}})
            await self._send(call, error_event(failure()) + DONE, more=False)
        finally:
            if watch is not None:
                watch.cancel()
            self._close()

    def note(self, call: Call) -> None:
        """Count the request, and say of it what is to be logged."""
        if not self.texts:  # it was refused before anything began
            return
        tally, metrics = self.tally, self._metrics
        metrics.prompt_tokens.inc(tally.prompt)
        metrics.cached_tokens.inc(tally.cached)
        metrics.written_tokens.inc(tally.written)
        metrics.whole.observe(time.monotonic() - self._arrived)
        queued = max((text.queued for text in self.texts), default=0.0)
        call.facts.update(
            prompt_tokens=tally.prompt,
            cached_tokens=tally.cached,
            written_tokens=tally.written,
            queue_seconds=round(queued, 4),
        )
        first = self._inbox.first_at if self._inbox is not None else None
        if first is not None and tally.written:
            metrics.first_token.observe(first - self._arrived)
            metrics.queued.observe(queued)
            call.facts["first_token_seconds"] = round(first - self._arrived, 4)
        if self._left:
            metrics.cancelled.inc()

    async def _begin_aside(self, inbox: Inbox, executor: Executor) -> Shape:
        try:
            shape = await aside(partial(self._begin, inbox), executor)
        except ApiError as error:
            if error.status >= 500:
                self._metrics.failed.inc()
            raise
        self._begun = True
        return shape

    def _begin(self, inbox: Inbox) -> Shape:
        """Read what is asked and hand it to the engine; in a thread.

        Both together, as on the way to a thread a request may wait for all others.
        """
        asked = self._ask()
        shape = self._shaped(asked)
        self._choices = asked.choices
        self.texts = [Written() for _ in asked.requests]
        inbox.open = len(self.texts)
        self._submit(asked, inbox)
        return shape

    def _submit(self, asked: Asked, inbox: Inbox) -> None:
        for place, request in enumerate(asked.requests):
            try:
                cancel = self._model.writer.submit(request, _Deliver(inbox, place))
            except LinnetError as error:
                raise too_long(error, request, self._model) from None
            except RecursionError:
                raise ApiError(400, "What the answer must be nests too deeply.") from None
            with self._lock:
                self._cancels.append(cancel)
                closed = self._closed
            if closed:
                cancel()
                return

    def _close(self) -> None:
        with self._lock:
            self._closed = True
            cancels = list(self._cancels)
        for cancel, text in zip(cancels, self.texts, strict=False):
            if text.finish is None:
                cancel()

    async def _watch(self, call: Call, inbox: Inbox) -> None:
        """Notice a client that leaves, or that reads nothing any more."""
        gone = asyncio.ensure_future(call.gone())
        try:
            while not gone.done() and not self._stalled():
                await asyncio.wait([gone], timeout=STALL_SECONDS / 4)
        finally:
            gone.cancel()
        self._left = True
        inbox.wake()
        if self._sending_since is not None and self._task is not None:
            self._task.cancel()

    def _stalled(self) -> bool:
        since = self._sending_since
        return since is not None and time.monotonic() - since > STALL_SECONDS

    async def _stream(self, call: Call, inbox: Inbox, shape: Shape, interval: float) -> None:
        patience = SILENCE_SECONDS
        last = 0.0
        done = False
        while not done:
            items = await inbox.take(patience)
            self._look(inbox)
            if items:
                events, error = self._absorb(items, shape)
                if error is not None:
                    if not call.status:
                        raise error
                    events += error_event(error) + DONE
                    done = True
                elif all(text.finish for text in self.texts):
                    events += shape.usage(self.tally) + DONE
                    done = True
            else:
                events, patience = KEEP_ALIVE, KEEP_ALIVE_SECONDS
            if not call.status:
                await call.begin(200, EVENT_STREAM, _STREAM_HEADERS)
            if events:
                await self._send(call, events, more=not done)
            last = self._measure(items, last)
            if not done:
                await inbox.pause(interval)

    async def _send(self, call: Call, events: str, *, more: bool = True) -> None:
        self._sending_since = time.monotonic()
        await call.send(events.encode(), more=more)
        self._sending_since = None

    async def _whole(self, call: Call, inbox: Inbox, shape: Shape) -> None:
        pieces: list[list[Chunk]] = [[] for _ in self.texts]
        while not all(text.finish for text in self.texts):
            items = await inbox.whole(SILENCE_SECONDS)
            self._look(inbox)
            for place, item in items:
                if not isinstance(item, Chunk):
                    raise self._failed(item)
                pieces[place].append(item)
                self.texts[place].count([item])
        written = sum(text.tokens for text in self.texts)
        if inbox.first_at is not None and written > 1:
            each = (time.monotonic() - inbox.first_at) / (written - 1)
            for _ in range(written - 1):
                self._metrics.between.observe(each)
        answer = shape.whole(self.texts, pieces, self.tally)
        await call.answer(200, json.dumps(answer).encode())

    def _look(self, inbox: Inbox) -> None:
        """Whether to go on at all."""
        if self._left:
            raise ClientLeftError
        if self._stopped is not None and inbox.open:
            raise self._stopped

    def _absorb(self, items: Sequence[Item], shape: Shape) -> tuple[str, ApiError | None]:
        """Count what came; the events for it, and what went wrong if something did."""
        chunks: dict[int, list[Chunk]] = {}
        error = None
        for place, item in items:
            if isinstance(item, Chunk):
                chunks.setdefault(place, []).append(item)
            else:
                error = self._failed(item)
        events = []
        for place, own in chunks.items():
            self.texts[place].count(own)
            events.append(shape.piece(place, own))
        return "".join(events), error

    def _failed(self, told: LinnetError) -> ApiError:
        error = failed(told)
        if error.status >= 500:
            self._metrics.failed.inc()
        return error

    def _measure(self, items: Sequence[Item], last: float) -> float:
        """Count the time between tokens, for each that was sent; ``last``: when some were."""
        now = time.monotonic()
        tokens = sum([len(item.tokens) for _, item in items if isinstance(item, Chunk)])
        if not tokens:
            return last
        if last:
            each = (now - last) / tokens
            for _ in range(tokens):
                self._metrics.between.observe(each)
        return now


class _Deliver:
    """Where the engine puts one text's chunks."""

    __slots__ = ("_inbox", "_place")

    def __init__(self, inbox: Inbox, place: int) -> None:
        self._inbox, self._place = inbox, place

    def __call__(self, item: Chunk | LinnetError) -> None:
        self._inbox.put(self._place, item)
