"""One answer on its way from a responder to the client: as a stream of events, or whole."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from linnet.errors import LinnetError
from linnet.respond.context import CancelledCallError, Context
from linnet.respond.pieces import Batch, Finish, Text
from linnet.respond.responder import Answer
from linnet.serve.asgi import Call, ClientLeftError
from linnet.serve.errors import ApiError, failed, failure, refused, stopping
from linnet.serve.logs import LOGGER
from linnet.serve.shapes import Shape

if TYPE_CHECKING:
    from linnet.monitor.entry import State
    from linnet.respond.responder import Batches
    from linnet.serve.metrics import ModelMetrics
    from linnet.serve.pool import Lease, Pool
    from linnet.serve.shapes import Framing

_STREAM_HEADERS = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))

SILENCE_SECONDS = 1.0
"""How long a stream that has no token yet keeps its status open, so that it can be an error's."""
KEEP_ALIVE_SECONDS = 10.0
STALL_SECONDS = 60.0
"""A client that takes in nothing for so long is given up."""


async def wait_for_model(
    pool: Pool,
    call: Call,
    name: str,
    framing: Framing | None,
    aborted: asyncio.Event,
    *,
    watch: bool,
) -> Lease:
    """A lease of a model that has to be opened first, or the end of a call that waits for it.

    ``framing``: how a stream shows meanwhile that it lives; it may have begun then. ``watch``:
    whether to notice that the client leaves. Raises ApiError, and ClientLeftError when nobody waits
    any more.
    """
    opened = asyncio.ensure_future(pool.wait(name))
    gone: asyncio.Future[None] = asyncio.ensure_future(call.gone()) if watch else asyncio.Future()
    stopped: asyncio.Future[bool] = asyncio.ensure_future(aborted.wait())
    waited: tuple[asyncio.Future[Any], ...] = (opened, gone, stopped)
    patience = SILENCE_SECONDS if framing is not None else None
    try:
        while True:
            await asyncio.wait(waited, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                raise ClientLeftError
            if stopped.done():
                raise stopping()
            if opened.done():
                return opened.result()
            assert framing is not None
            if not call.status:
                call.framing = framing
                await call.begin(200, framing.content_type, _STREAM_HEADERS)
            try:
                async with asyncio.timeout(STALL_SECONDS):
                    await call.send(framing.keep_alive.encode())
            except TimeoutError:  # it reads nothing
                raise ClientLeftError from None
            patience = KEEP_ALIVE_SECONDS
    except BaseException:
        if not opened.cancel() and not opened.cancelled() and opened.exception() is None:
            opened.result().release()
        raise
    finally:
        gone.cancel()
        stopped.cancel()


class Generation:
    """Has an answer written and sends it; leaves nothing running behind it."""

    def __init__(
        self,
        call: Call,
        write: Callable[[Context], Batches],
        shape: Shape,
        metrics: ModelMetrics,
        *,
        choices: int,
        collections: tuple[str, ...] | None = None,
        masks_private: bool = False,
        masks_names: bool = False,
        server_tools: bool = False,
        remote: bool = False,
        route: str | None = None,
        keep_texts: bool = False,
    ) -> None:
        """``write`` gives what is to be sent, so many texts; ``keep_texts``: for a log that is to
        have them. ``collections``, ``masks_private``, ``masks_names``, ``server_tools``,
        ``remote``, ``route``: see :class:`Context`.
        """
        self._choices = choices
        self._call = call
        self._record = call.record
        self._write = write
        self._shape = shape
        self._metrics = metrics
        self._texts: dict[int, list[str]] | None = {} if keep_texts else None
        self._context = Context(
            key=call.account.key.name if call.account is not None else None, record=call.record,
            collections=collections, masks_private=masks_private, masks_names=masks_names,
            server_tools=server_tools, remote=remote, route=route,
        )  # fmt: skip
        self._sending = asyncio.Lock()
        self._sending_since: float | None = None
        self._sent_at = time.monotonic()
        self._complete = self._left = False
        self._failed = True
        """Unless it ends as it should."""
        self._stopped: ApiError | None = None
        self._ended_by: ApiError | None = None

    @property
    def texts(self) -> int:
        """How many are being written."""
        return self._record.choices

    @property
    def waiting(self) -> bool:
        """Whether no token is there yet."""
        return self._record.first_at is None

    def stop(self, error: ApiError) -> None:
        """End it with an error, unless all of it is there."""
        self._stopped = error
        if not self._complete:
            self._context.cancel()

    async def run(self, *, stream: bool, interval: float) -> None:
        """Answer the call. Raises ApiError while nothing was sent, ClientLeftError when nobody
        is there to read it any more.

        ``interval``: seconds between the events of a stream.
        """
        self._context.interval = interval if stream else math.inf
        watch = asyncio.create_task(self._watch(stream=stream))
        try:
            with self._context.running():
                await (self._stream() if stream else self._whole())
            self._failed = False
        except CancelledCallError as error:
            if self._left:
                raise ClientLeftError from None
            await self._fail(self._stopped or failed(error))
        except LinnetError as error:
            await self._fail(self._refused(error))
        except RecursionError:
            await self._fail(ApiError(400, "The request nests too deeply."))
        except ApiError as error:
            self._ended_by = error
            raise
        except ClientLeftError:
            raise
        except Exception:
            if not self._call.status:
                raise
            LOGGER.exception("a request failed", extra={"facts": {"id": self._call.id}})
            await self._fail(failure())
        finally:
            watch.cancel()
            self._context.cancel()

    @property
    def state(self) -> State | None:
        """How it ended, for a log; None: as it should, with whatever the record says of it."""
        if self._left:
            return "left"
        if not self._failed:
            return None
        error = self._ended_by  # of policy and rights, or of budgets
        return "held" if error is not None and error.status in (403, 429) else "failed"

    @property
    def code(self) -> str:
        """Why it was held, or failed; empty where it was not."""
        if not self._failed or self._left:
            return ""
        error = self._ended_by
        return "failed" if error is None else error.code or error.kind

    @property
    def written(self) -> Sequence[str]:
        """The texts, where these are kept."""
        return ["".join(texts) for _, texts in sorted((self._texts or {}).items())]

    def note(self, *, say_texts: bool) -> None:
        """Count the request, and say of it what is to be logged; ``say_texts``: what was written,
        too."""
        record, metrics, call = self._record, self._metrics, self._call
        if not record.choices:  # it was refused before anything began
            return
        tokens = record.tokens
        metrics.prompt_tokens.inc(tokens.prompt)
        metrics.cached_tokens.inc(tokens.cached)
        metrics.written_tokens.inc(tokens.written)
        metrics.whole.observe(time.monotonic() - call.arrived)
        call.facts.update(
            prompt_tokens=tokens.prompt,
            cached_tokens=tokens.cached,
            written_tokens=tokens.written,
            queue_seconds=round(record.queue_seconds, 4),
        )
        if record.first_at is not None and tokens.written:
            first = record.first_at - call.arrived
            metrics.first_token.observe(first)
            metrics.queued.observe(record.queue_seconds)
            call.facts["first_token_seconds"] = round(first, 4)
        if record.noted:
            kinds = [piece.kind for piece in record.noted]
            call.facts["pieces"] = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
        if say_texts:
            call.facts["answers"] = self.written
        if self._left:
            metrics.cancelled.inc()

    async def _stream(self) -> None:
        last = 0.0
        finished = 0
        async with contextlib.aclosing(self._write(self._context)) as batches:
            async for batch in batches:
                before = self._record.tokens.written
                self._keep(batch)
                events = "".join(self._shape.events(batch))
                finished += sum([isinstance(piece, Finish) for piece in batch])
                if finished >= self._choices and not self._complete:
                    # All is there; what the responder still does is not waited for.
                    await self._end(events)
                elif events and not self._complete:
                    await self._send(events)
                last = self._measure(self._record.tokens.written - before, last)
        if not self._complete:
            await self._end("")

    async def _end(self, events: str) -> None:
        """Send the last events."""
        self._complete = True
        await self._send(events + self._shape.end(self._record.tokens), more=False)

    async def _whole(self) -> None:
        answers: dict[int, Answer] = {}
        async with contextlib.aclosing(self._write(self._context)) as batches:
            async for batch in batches:
                self._keep(batch)
                for piece in batch:
                    answers.setdefault(piece.choice, Answer()).add(piece)
        self._complete = True
        record = self._record
        written = record.tokens.written
        if record.first_at is not None and written > 1:
            each = (time.monotonic() - record.first_at) / (written - 1)
            for _ in range(written - 1):
                self._metrics.between.observe(each)
        whole = self._shape.whole([answers[place] for place in sorted(answers)], record.tokens)
        await self._call.answer(200, json.dumps(whole).encode())

    def _keep(self, batch: Batch) -> None:
        """What the record, and a log of answers, are to have of it."""
        for piece in batch:
            self._record.note(piece)
            if self._texts is not None and isinstance(piece, Text):
                self._texts.setdefault(piece.choice, []).append(piece.text)

    async def _send(self, events: str, *, more: bool = True) -> None:
        async with self._sending:  # events are sent from here and, while nothing comes, beside it
            self._sending_since = time.monotonic()
            if not self._call.status:
                await self._call.begin(200, self._shape.content_type, _STREAM_HEADERS)
            await self._call.send(events.encode(), more=more)
            self._sending_since = None
            self._sent_at = time.monotonic()

    async def _fail(self, error: ApiError) -> None:
        """Tell of an error: by the status, or as the last event of what has begun."""
        self._ended_by = error
        if self._complete:  # a responder's work after the answer
            LOGGER.error("a request failed", extra={"facts": {"id": self._call.id}})
            return
        if not self._call.status:
            raise error
        await self._send(self._shape.error(error), more=False)

    def _refused(self, error: LinnetError) -> ApiError:
        """What went wrong; before anything is written it may be the request's fault."""
        found = failed(error) if self._record.choices else refused(error)
        if found.status >= 500:
            self._metrics.failed.inc()
        return found

    async def _watch(self, *, stream: bool) -> None:
        """Notice a client that leaves or reads nothing any more; show the others that it lives."""
        gone = asyncio.ensure_future(self._call.gone())
        patience = SILENCE_SECONDS
        try:
            while not gone.done() and not self._stalled():
                now = time.monotonic()
                if not self._record.choices:  # it may still be refused
                    self._sent_at = now
                wait = patience - (now - self._sent_at) if stream else STALL_SECONDS / 4
                if wait > 0 or self._sending.locked():
                    wait = wait if wait > 0 else patience
                    await asyncio.wait([gone], timeout=min(wait, STALL_SECONDS / 4))
                    continue
                patience = KEEP_ALIVE_SECONDS
                async with asyncio.timeout(STALL_SECONDS):
                    await self._send(self._shape.keep_alive)
        except TimeoutError:
            pass  # it reads nothing
        finally:
            gone.cancel()
        if gone.done() and self._complete:
            return  # it has all
        self._left = True
        self._context.cancel()

    def _stalled(self) -> bool:
        since = self._sending_since
        return since is not None and time.monotonic() - since > STALL_SECONDS

    def _measure(self, tokens: int, last: float) -> float:
        """Count the time between tokens, for each that was sent; ``last``: when some were."""
        now = time.monotonic()
        if tokens <= 0:
            return last
        if last:
            each = (now - last) / tokens
            for _ in range(tokens):
                self._metrics.between.observe(each)
        return now
