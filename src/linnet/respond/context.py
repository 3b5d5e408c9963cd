"""What belongs to one call, whatever it passes through: a context.

A context is made by whoever asks (the server for a request, the command line for a line) and
handed through every responder. It says who asks, until when, and what it may cost; it is
cancelled from any thread, at once and everywhere; and it holds the one record of the call that
log, monitoring and feedback share.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from linnet.errors import LinnetError
from linnet.respond.conversation import ConversationError
from linnet.respond.pieces import Citation, Decision, Failure, Outcome, Passage, Piece, Refusal
from linnet.respond.prices import FREE, Price

_LATE = "the answer took longer than it may"
MOST_NOTED = 1000
"""Pieces that a record keeps; the rest is counted."""


class CancelledCallError(LinnetError):
    """The call was cancelled before its answer was complete."""


class DeadlineError(CancelledCallError):
    """The call took longer than it may."""


@dataclass
class Tokens:
    """The tokens of a call so far, all choices together."""

    prompt: int = 0
    cached: int = 0
    written: int = 0


@dataclass
class Record:
    """What is known of a call; it is written as the call goes on, and outlives it.

    Neither what was asked nor what was answered is in it, but for ``facts`` of an owner who
    wants them logged.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(12))
    began: float = field(default_factory=time.monotonic)
    model: str | None = None
    """Who answered in the end, after all routing."""
    tokens: Tokens = field(default_factory=Tokens)
    cost: int = 0
    """What models that bill asked for it, in trillionths of the unit of money (``prices``)."""
    choices: int = 0
    """Answers that were begun."""
    queue_seconds: float = 0.0
    retrieval_seconds: float = 0.0
    """Looking for passages, re-ranking included."""
    first_at: float | None = None
    """When the first piece of an answer was there (``time.monotonic``)."""
    noted: list[Piece] = field(default_factory=list)
    """Passages, citations, decisions, refusals and failures, in order."""
    unnoted: int = 0
    """Those beyond the most that are kept."""
    groundedness: float | None = None
    """Which share of what was written its passages support; None where that was not checked."""
    features: dict[str, float] = field(default_factory=dict)
    """Numbers of what was asked and found, by which drift is noticed."""
    facts: dict[str, Any] = field(default_factory=dict)
    """More, by name, as JSON."""

    def note(self, piece: Piece) -> None:
        """Keep a piece that says how the answer came about."""
        if not isinstance(piece, _NOTED):
            return
        if len(self.noted) < MOST_NOTED:
            self.noted.append(piece)
        else:
            self.unnoted += 1

    def add(self, other: Record) -> None:
        """Take over what was used for a part of the call, and how it came about."""
        for name in ("prompt", "cached", "written"):
            used = getattr(self.tokens, name) + getattr(other.tokens, name)
            setattr(self.tokens, name, used)
        self.cost += other.cost
        self.queue_seconds += other.queue_seconds
        self.retrieval_seconds += other.retrieval_seconds
        if other.groundedness is not None:
            self.groundedness = other.groundedness
        self.features |= other.features
        self.facts |= other.facts


_NOTED = (Passage, Citation, Outcome, Decision, Refusal, Failure)


@dataclass(frozen=True)
class Charge:
    """What a call is going to use at most, told before it is used."""

    prompt: int
    """Tokens."""
    written: int
    """Tokens that answers may have, all choices together."""
    price: Price = FREE
    model: str = ""
    """Who bills it."""

    @property
    def tokens(self) -> int:
        """Read and written."""
        return self.prompt + self.written

    @property
    def cost(self) -> int:
        """In trillionths of the unit of money."""
        return self.price.cost(self.prompt, 0, self.written)


Settle: TypeAlias = Callable[[int, int], None]
"""Says what was really used: tokens, and money in trillionths of its unit. Only the first call
counts."""


class Budget(Protocol):
    """What may be used. Called from several threads, by whatever computes or bills."""

    def reserve(self, charge: Charge) -> Settle:
        """Set aside what a charge may come to, before any of it is used.

        Gives what settles it. Raises BudgetExceededError where it is not there.
        """


class Ledger(Protocol):
    """Where it is kept what was used of models that bill, and of whom."""

    def budget(self, key: str | None) -> Budget:
        """What one call may use, with all its attempts at all models; ``key``: who asks."""


class BudgetExceededError(ConversationError):
    """A call may use more than is left.

    ``writable``: the tokens that an answer to this prompt could have instead.
    """

    def __init__(self, message: str, *, writable: int = 0) -> None:
        super().__init__(message, code="budget_exceeded")
        self.writable = writable


class TokenBudget:
    """So many tokens, for one call or for many that share it."""

    def __init__(self, tokens: int) -> None:
        self.left = tokens
        self._lock = threading.Lock()

    def reserve(self, charge: Charge) -> Settle:
        """See :class:`Budget`."""
        tokens = charge.tokens
        with self._lock:
            if tokens > self.left:
                raise BudgetExceededError(
                    f"the budget has {self.left:,} tokens left, but this call may need "
                    f"{tokens:,}; ask for fewer (max_tokens), or raise the budget",
                    writable=max(0, self.left - charge.prompt),
                )
            self.left -= tokens
        settled = False

        def settle(used: int, cost: int) -> None:
            nonlocal settled
            with self._lock:
                if not settled:
                    settled = True
                    self.left += tokens - used

        return settle


class Context:
    """One call."""

    def __init__(
        self,
        *,
        key: str | None = None,
        deadline: float = math.inf,
        budget: Budget | None = None,
        record: Record | None = None,
        interval: float = 0.0,
        collections: tuple[str, ...] | None = None,
        masks_private: bool = False,
        masks_names: bool = False,
        server_tools: bool = False,
        remote: bool = True,
        route: str | None = None,
    ) -> None:
        """``key``: the name of whoever asks. ``deadline``: as ``time.monotonic`` tells time.
        ``collections``: those of the documents that they may see; None: all. ``masks_private``:
        whether private data of documents is masked on its way to them; ``masks_names``: names of
        people as well.
        ``server_tools``: whether tools may be called for them that are not theirs.
        ``remote``: whether models beyond this machine may answer them, as far as the policy allows.
        ``route``: the model that they chose where one is chosen for each call (``routing``).
        ``interval``: seconds between two batches of pieces; infinite: pieces come once an
        answer has ended, all together.
        """
        self.key = key
        self.deadline = deadline
        self.budget = budget
        self.record = record or Record()
        self.interval = interval
        self.collections = collections
        self.masks_private = masks_private
        self.masks_names = masks_names
        self.server_tools = server_tools
        self.remote = remote
        self.route = route
        self._lock = threading.Lock()
        self._callbacks: dict[object, Callable[[], None]] = {}
        self._reason: LinnetError | None = None
        self._ledgers: dict[Ledger, Budget] = {}
        self.found: dict[Hashable, object] = {}
        """What was looked for, by what it was looked for with: shared by all parts of the call."""

    @property
    def cancelled(self) -> LinnetError | None:
        """Why it was cancelled, if it was."""
        return self._reason

    def cancel(self, reason: LinnetError | None = None) -> None:
        """Stop everything that works for this call; from any thread, and at once.

        Only the first reason counts.
        """
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason or CancelledCallError("the call was cancelled")
            callbacks = list(self._callbacks.values())
            self._callbacks.clear()
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Have something called when the call is cancelled: now, if it was. Gives what undoes it.

        It may be called from any thread, and must return at once.
        """
        mark = object()
        with self._lock:
            late = self._reason is not None
            if not late:
                self._callbacks[mark] = callback
        if late:
            callback()

        def undo() -> None:
            with self._lock:
                self._callbacks.pop(mark, None)

        return undo

    @contextlib.contextmanager
    def part(
        self, *, deadline: float = math.inf, interval: float | None = None
    ) -> Iterator[Context]:
        """A call within this one, with a record of its own under the same id; it ends with it.

        :meth:`Record.add` takes over what was used for it.
        """
        own = Context(
            key=self.key, deadline=min(deadline, self.deadline), budget=self.budget,
            record=Record(self.record.id), collections=self.collections,
            interval=self.interval if interval is None else interval,
            masks_private=self.masks_private, masks_names=self.masks_names,
            server_tools=self.server_tools, remote=self.remote, route=self.route,
        )  # fmt: skip
        own._ledgers = self._ledgers  # limits for a call are for all of its parts together
        own.found = self.found
        undo = self.on_cancel(lambda: own.cancel(self._reason))
        try:
            yield own
        finally:
            undo()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Around the work of a task: cancelling ends it wherever it waits, and so does the
        deadline; the reason is raised. Whoever asks a responder does it within this.
        """
        if self._reason is not None:
            raise self._reason
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        within = True

        def end() -> None:
            if within:
                task.cancel()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the task with it
                loop.call_soon_threadsafe(end)

        undo = self.on_cancel(wake)
        timer = None
        if self.deadline < math.inf:
            left = max(0.0, self.deadline - time.monotonic())
            timer = loop.call_later(left, self.cancel, DeadlineError(_LATE))
        try:
            yield
        except asyncio.CancelledError:
            if self._reason is None:
                raise
            task.uncancel()
            raise self._reason from None
        finally:
            within = False
            undo()
            if timer is not None:
                timer.cancel()

    def reserve(self, charge: Charge, ledger: Ledger | None = None) -> Settle:
        """As :meth:`Budget.reserve`; without a budget there is no limit.

        ``ledger``: what is reserved must be there as well, for the key of this call.
        """
        reserved: list[Settle] = []

        def settle(tokens: int, cost: int) -> None:
            for each in reserved:
                each(tokens, cost)

        try:
            if self.budget is not None:
                reserved.append(self.budget.reserve(charge))
            if ledger is not None:
                reserved.append(self._budget_of(ledger).reserve(charge))
        except BaseException:
            settle(0, 0)
            raise
        return settle

    def _budget_of(self, ledger: Ledger) -> Budget:
        """One for all of this call and its parts, as there are limits for a call."""
        budget = self._ledgers.get(ledger)
        return budget or self._ledgers.setdefault(ledger, ledger.budget(self.key))
