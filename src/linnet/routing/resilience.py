"""Models that fail: asked again where that helps, and left alone where it does not.

An attempt is repeated only where nothing of an answer was given out yet, for failures that pass by
themselves (``RemoteError.repeatable``), after a pause that grows, or as long as the other side
says. Each attempt is a charge of its own. A :class:`CircuitBreaker` counts failures in a row: a
model that has many is left alone, until one call tries it again. What fails on the way is a
``Failure`` piece with a code; what ends the answer is raised, and a ``RoutingResponder`` goes on to
the next model.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from linnet.errors import LinnetError
from linnet.respond.context import Context, DeadlineError
from linnet.respond.conversation import Conversation, ConversationError
from linnet.respond.pieces import (
    Batch,
    Failure,
    Finish,
    Piece,
    Reasoning,
    Refusal,
    Status,
    Text,
    ToolCall,
    ToolCallDelta,
)
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Abilities, Batches, Responder

FIRST_PAUSE = 0.5
MOST_PAUSE = 8.0
"""Seconds before the first further attempt, and before any; each is twice the one before."""
MOST_WAIT = 20.0
"""Seconds that a model may ask to wait; where it is longer the call fails."""
SLOW_SECONDS = 10.0
"""Without a word of an answer are a failure, where the call had no more time."""
_ITS_OWN_FAULT = (400, 413, 422)
"""Statuses that speak of the request, and not of the model's health."""
_ANSWERS = (Text, Reasoning, Refusal, ToolCall, ToolCallDelta, Finish)

State: TypeAlias = Literal["closed", "open", "half_open"]
"""Asked as usual; left alone; tried by one call."""


@dataclass(frozen=True)
class Health:
    """How a model does, for metrics and pages."""

    state: State
    failures: int
    """In a row."""
    reason: str
    """Of the last failure; nothing where it answers."""
    wait_seconds: float
    """Until it is tried again, where it is left alone."""
    attempts: int
    """All of them since it was opened, and those that failed."""
    failed: int


class CircuitBreaker:
    """Leaves a model alone that fails; from any thread."""

    def __init__(
        self, *, failures: int, pause: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``failures``: so many in a row open it, for ``pause`` seconds."""
        self._most, self._pause, self._clock = failures, pause, clock
        self._lock = threading.Lock()
        self._failures = self._attempts = self._failed = 0
        self._reason = ""
        self._opened: float | None = None
        self._probing = False

    @property
    def health(self) -> Health:
        """Now."""
        with self._lock:
            state: State = "closed"
            wait = 0.0
            if self._opened is not None:
                wait = max(0.0, self._opened + self._pause - self._clock())
                state = "open" if wait > 0 and not self._probing else "half_open"
            return Health(state, self._failures, self._reason, wait, self._attempts, self._failed)

    def admit(self, name: str) -> None:
        """Begin an attempt, which one of the three below ends. Raises RemoteError."""
        with self._lock:
            if self._opened is not None:
                wait = max(0.0, self._opened + self._pause - self._clock())
                if wait > 0 or self._probing:
                    raise RemoteError(
                        f"{name} is not asked for now, as it failed {self._failures} times in a "
                        f"row: {self._reason}",
                        code="circuit_open", retry_after=wait,
                    )  # fmt: skip
                self._probing = True
            self._attempts += 1

    def succeeded(self) -> None:
        """The model answered, or would have."""
        with self._lock:
            self._failures, self._reason = 0, ""
            self._opened, self._probing = None, False

    def failed(self, reason: str) -> None:
        """It did not."""
        with self._lock:
            self._failures += 1
            self._failed += 1
            self._reason = reason
            if self._failures >= self._most:
                self._opened = self._clock()
            self._probing = False

    def withdrawn(self) -> None:
        """Nobody waited for the end."""
        with self._lock:
            self._probing = False


class CallLimit:
    """So many calls at once; others wait in their order, whatever event loops they are in."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._lock = threading.Lock()
        self._waiting: deque[asyncio.Future[None]] = deque()

    @contextlib.asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Within it the call is one of those."""
        await self._take()
        try:
            yield
        finally:
            self._give()

    @property
    def full(self) -> bool:
        """Whether one more would wait."""
        return self._free == 0

    async def _take(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            with self._lock:
                waits = turn in self._waiting
                if waits:
                    self._waiting.remove(turn)
            if not waits:  # it was its turn already
                self._give()
            raise

    def _give(self) -> None:
        with self._lock:
            while self._waiting:
                turn = self._waiting.popleft()
                with contextlib.suppress(RuntimeError):  # its loop has ended
                    turn.get_loop().call_soon_threadsafe(_wake, turn)
                    return
            self._free += 1


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


class ResilientResponder:
    """A model with further attempts and a circuit breaker."""

    def __init__(
        self,
        inner: Responder,
        *,
        retries: int,
        breaker: CircuitBreaker,
        limit: CallLimit,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """``jitter``: a number from 0 to 1, so that calls that failed together do not come back
        together."""
        self._inner = inner
        self._retries, self._breaker, self._limit = retries, breaker, limit
        self._sleep, self._clock, self._jitter = sleep, clock, jitter

    @property
    def abilities(self) -> Abilities:
        """Those of the model."""
        return self._inner.abilities

    @property
    def health(self) -> Health:
        """How it does."""
        return self._breaker.health

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        """See :class:`Responder`."""
        name = self.abilities.name
        noted: list[Piece] = []
        attempt = 0
        while True:
            if self._limit.full:
                yield [Status("queued", f"{name} has as many calls as it may")]
            began = time.monotonic()
            async with self._limit.taken():
                context.record.queue_seconds += time.monotonic() - began
                outcome = _Outcome()
                async with contextlib.aclosing(
                    self._attempt(conversation, context, outcome)
                ) as batches:
                    async for batch in batches:
                        if noted:  # an attempt before this one said the same
                            batch = [piece for piece in batch if piece not in noted]
                        noted = [] if outcome.given else [*noted, *batch]
                        if batch:
                            yield batch
            error = outcome.error
            if error is None:
                return
            pause = self._pause(attempt, error, context)
            if outcome.given or pause is None:
                raise error
            attempt += 1
            said = f"attempt {attempt + 1} of {self._retries + 1} in {pause:.1f} seconds"
            yield [Failure(str(error), code=error.code), Status("waiting", f"{name}: {said}")]
            await self._sleep(pause)

    async def _attempt(
        self, conversation: Conversation, context: Context, outcome: _Outcome
    ) -> Batches:
        """One of them; how it ended is told to the breaker, whatever ends it."""
        self._breaker.admit(self.abilities.name)
        end: Callable[[], None] = self._breaker.withdrawn
        began = self._clock()
        try:
            async with contextlib.aclosing(self._inner.respond(conversation, context)) as batches:
                async for batch in batches:
                    outcome.given = outcome.given or _answers(batch)
                    yield batch
            end = self._breaker.succeeded
        except RemoteError as error:
            outcome.error = error
            if error.status in _ITS_OWN_FAULT:
                end = self._breaker.succeeded
            else:
                end = functools.partial(self._breaker.failed, error.unquoted)
        finally:
            late = isinstance(context.cancelled, DeadlineError) and not outcome.given
            if late and self._clock() - began >= SLOW_SECONDS:
                end = functools.partial(
                    self._breaker.failed, f"{self.abilities.name}: no answer in a call's time"
                )
            end()

    def _pause(self, attempt: int, error: RemoteError, context: Context) -> float | None:
        """Seconds until the next attempt; None: there is none."""
        if attempt >= self._retries or not error.repeatable:
            return None
        if self._breaker.health.state != "closed":
            return None
        pause = min(MOST_PAUSE, FIRST_PAUSE * float(2**attempt)) * (1 + self._jitter()) / 2
        pause = max(pause, error.retry_after or 0.0)
        if pause > MOST_WAIT or time.monotonic() + pause >= context.deadline:
            return None
        return pause


@dataclass
class _Outcome:
    """How an attempt ended."""

    given: bool = False
    """Whether anything of an answer was given out."""
    error: RemoteError | None = None


def code_of(error: LinnetError) -> str:
    """A word for programs."""
    if isinstance(error, RemoteError):
        return error.code
    if isinstance(error, ConversationError):
        return error.code or "refused"
    return "failed"


def _answers(batch: Batch) -> bool:
    """Whether something of an answer is in it, which cannot be taken back."""
    return any(isinstance(piece, _ANSWERS) for piece in batch)
