"""A model behind an OpenAI-compatible address as a responder (chat completions).

Each request is a charge of its own: what it may cost is reserved before anything is sent, and
settled by what was really used, however it ends. ``dialect`` is what is sent, ``deltas`` what is
made of the events that come back, ``counts`` whose counts are believed, ``transport`` the
connection. Whatever fails ends the answer with a :class:`RemoteError` in one line.

Reference: https://platform.openai.com/docs/api-reference/chat
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from linnet.errors import ConfigError
from linnet.respond.address import Address
from linnet.respond.context import BudgetExceededError, Charge, Context, Ledger, Settle
from linnet.respond.conversation import ContextFullError, Conversation
from linnet.respond.counts import Counts, most_prompt_tokens
from linnet.respond.deltas import Deltas, whole
from linnet.respond.dialect import LIMITS, Dialect
from linnet.respond.pieces import Decision, Failure, Origin, Piece
from linnet.respond.prices import FREE, Price
from linnet.respond.remote_errors import RemoteError
from linnet.respond.responder import Abilities, Batches
from linnet.respond.transport import (
    EVENT_BYTES,
    EventParser,
    Exchange,
    Timeouts,
    json_object,
    trusted,
)

COUNTS_SECONDS = 5.0
"""After the last piece, until the counts that follow it or the end."""
MOST_FORMS = 8
"""In which one request is sent, where an address refuses parameters."""
SHORTEST = 32
"""Tokens for which an answer is begun, though the budget has no more."""
_LONGEST_PAUSE = 0.05  # what the other side sends is taken from the network at least so often


class RemoteResponder:
    """Answers with a model at an address."""

    def __init__(
        self,
        address: str,
        model: str,
        *,
        key: str | None = None,
        abilities: Abilities | None = None,
        timeouts: Timeouts | None = None,
        price: Price = FREE,
        ledger: Ledger | None = None,
        longest: int = 0,
        shortest: int = SHORTEST,
        limit_name: str = LIMITS[0],
        bills_unread: bool = False,
    ) -> None:
        """``key``: see :func:`read_key`. ``abilities``: what it is called here, and can do;
        otherwise as its address says. ``ledger``: what calls are charged to, beside the budget of
        their context. ``longest``: the most tokens that it writes; 0: not known. ``shortest``:
        what a budget must leave for an answer, or it is not begun. ``bills_unread``: whether an
        answer is billed to its end though nobody waits for it.

        Raises ConfigError for an address that is none, or to which a key would go unencrypted.
        """
        self.address = Address.parse(address)
        self.model = model
        self.abilities = abilities or Abilities(model, 0, self.address.place)
        place = self.address.place  # as it looks; what is said of it is checked when it is asked
        self.address = dataclasses.replace(self.address, place=self.abilities.place)
        self._key = key
        self._timeouts = timeouts or Timeouts()
        self._price, self._ledger = price, ledger
        self._longest, self._shortest = longest, shortest
        self._bills_unread = bills_unread
        self._origin = Origin("model", self.abilities.name, self.abilities.place)
        self._dialect = Dialect(model, self.address.name, self.abilities, limit=limit_name)
        self._known_as: tuple[str, ...] = (model,)
        if self.address.scheme == "https":
            trusted()
        if key and self.address.scheme == "http" and place == "elsewhere":
            raise ConfigError(f"{address}: a key would be sent unencrypted; use https")

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        """See :class:`Responder`."""
        record = context.record
        record.model = self.abilities.name
        record.choices += conversation.choices
        for attempt in range(MOST_FORMS):
            request = await self._begin(conversation, context)
            try:
                async with contextlib.aclosing(self._attempt(request, context)) as batches:
                    async for batch in batches:
                        yield batch
                return
            except RemoteError as error:
                if self._key and self._key in str(error):
                    raise error.without(self._key) from None
                learned = self._dialect.learn(error, request.form, conversation.sampling)
                if not learned or attempt + 1 == MOST_FORMS:
                    raise

    async def _begin(self, conversation: Conversation, context: Context) -> _Request:
        """Reserve in a thread, as a ledger waits for its disk; a call that is cancelled meanwhile
        gives it back."""
        if self._ledger is None:
            return _Request(self, conversation, context)
        made = asyncio.get_running_loop().run_in_executor(
            None, _Request, self, conversation, context
        )
        try:
            return await asyncio.shield(made)
        except asyncio.CancelledError:
            made.add_done_callback(_give_back)
            raise

    async def _attempt(self, request: _Request, context: Context) -> Batches:
        """One request, and what is billed for it."""
        exchange = Exchange(self.address, self._timeouts)
        deltas, counts, notes = request.deltas, request.counts, request.notes
        try:
            async with contextlib.aclosing(
                self._events(exchange, request.form.body, deltas, context)
            ) as received:
                async for events in received:
                    batch, failed = _read(deltas, events)
                    if batch:
                        context.record.first_at = context.record.first_at or time.monotonic()
                        yield [*notes, *batch]
                        notes = []
                    if failed is not None:
                        raise failed
                    if counts.beyond and not deltas.complete:
                        deltas.cut()
                        yield [self._cut(counts)]
                        break
                    if context.interval and not deltas.complete:
                        await asyncio.sleep(min(context.interval, _LONGEST_PAUSE))
            end = deltas.finish()
            yield [*notes, *counts.doubts(self.address.name), *self._renamed(deltas), *end]
        finally:
            request.settle(exchange)

    async def _events(
        self, exchange: Exchange, body: bytes, deltas: Deltas, context: Context
    ) -> AsyncGenerator[list[Mapping[str, Any]], None]:
        """What the address sends, event by event; those that came together at once."""
        name = self.address.name
        undo = context.on_cancel(exchange.abort_soon)
        try:
            await exchange.send(body, self._key)
            data = await exchange.read()
            if exchange.status != 200:
                raise await exchange.refusal(data)
            while data and not data.strip(_BLANK):
                data = await exchange.read()
            if _is_json(exchange, data):  # it does not stream
                while more := await exchange.read():
                    data += more
                    if len(data) > EVENT_BYTES:
                        raise RemoteError(f"{name}: the answer is too long")
                yield [_complete(json_object(data.strip(_BLANK), name))]
                return
            parser = EventParser(name)
            data = data.removeprefix(_BOM)
            while data:
                events = parser.push(data)
                if events:
                    yield events
                if parser.failed is not None:
                    raise parser.failed
                if parser.done:
                    return
                try:
                    data = await exchange.read(COUNTS_SECONDS if deltas.complete else None)
                except RemoteError:
                    if deltas.complete:  # only the counts were still to come
                        return
                    raise
        finally:
            undo()
            exchange.abort()

    def _cut(self, counts: Counts) -> Piece:
        written = max(counts.told_written, counts.least_written)
        return Failure(
            f"{self.address.name} writes on beyond the {counts.limit:,} tokens that it may "
            f"({written:,} so far); the answer is cut off",
            code="beyond_limit",
        )

    def _renamed(self, deltas: Deltas) -> list[Piece]:
        """Whether another model answers than before."""
        known = tuple(deltas.models) or self._known_as
        before, self._known_as = self._known_as, known
        if known == before:
            return []
        return [
            Decision(
                "model", f"{self.address.name} answers with {' and '.join(known)}",
                f"before it was {' and '.join(before)}" if before != (self.model,) else
                f"it was asked for {self.model}",
            )
        ]  # fmt: skip


class _Request:
    """One of the requests for an answer: what is reserved for it, sent, and settled."""

    def __init__(
        self, responder: RemoteResponder, conversation: Conversation, context: Context
    ) -> None:
        """Raises ConversationError for what the model cannot do, or the budget has not."""
        self._responder, self._context = responder, context
        dialect = responder._dialect
        choices, context_tokens = conversation.choices, responder.abilities.context
        self.counts = Counts.of(conversation)
        if 0 < context_tokens <= self.counts.least_prompt:
            raise ContextFullError(
                self.counts.least_prompt, context_tokens, part="messages", at_least=True
            )
        longest = conversation.sampling.max_tokens
        if responder._longest:
            longest = min(longest, responder._longest)
        is_limited = not conversation.fill_context or context.budget is not None
        is_limited = is_limited or responder._ledger is not None or responder._longest > 0
        self.notes: list[Piece] = [*dialect.left_out(conversation)]
        form = dialect.form(conversation, longest if is_limited else None)
        charge = Charge(
            most_prompt_tokens(form.body), longest * choices, responder._price,
            responder.abilities.name,
        )  # fmt: skip
        try:
            self._settle = self._reserve(charge)
        except BudgetExceededError as error:
            longest = error.writable // choices
            if longest < min(responder._shortest, charge.written // choices):
                raise
            form = dialect.form(conversation, longest)
            charge = dataclasses.replace(charge, written=longest * choices)
            self._settle = self._reserve(charge)
            self.notes.append(
                Decision("budget", f"at most {longest:,} tokens of an answer", str(error))
            )
        self.form = form
        self.counts.most_prompt = charge.prompt
        self.counts.limit = charge.written if is_limited else None
        self.deltas = Deltas(
            choices, responder._origin, responder.address.name, self.counts,
            streams=context.interval != math.inf,
        )  # fmt: skip

    def _reserve(self, charge: Charge) -> Settle:
        return self._context.reserve(charge, self._responder._ledger)

    def give_back(self) -> None:
        """It is not sent."""
        self._settle(0, 0)

    def settle(self, exchange: Exchange) -> None:
        """Count what was used, however it ended."""
        record, counts, deltas = self._context.record, self.counts, self.deltas
        if deltas.models and deltas.models != [self._responder.model]:
            record.facts["remote_models"] = sorted({*deltas.models, self._responder.model})
        if not self._is_billed(exchange):
            self._settle(0, 0)
            return
        if self._responder._bills_unread and not deltas.complete:
            counts.unread = True
        cost = self._responder._price.cost(counts.prompt, counts.cached, counts.written)
        record.tokens.prompt += counts.prompt
        record.tokens.cached += counts.cached
        record.tokens.written += counts.written
        record.cost += cost
        if differs := counts.as_json():
            record.facts.setdefault("counts", []).append(differs)
        self._settle(counts.prompt + counts.written, cost)

    def _is_billed(self, exchange: Exchange) -> bool:
        """Nobody bills what was refused. What was sent and not answered may be billed."""
        return exchange.sent and exchange.status in (None, 200) and not self.deltas.refused


def _give_back(made: asyncio.Future[_Request]) -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().give_back()


_BLANK = b" \t\r\n\xef\xbb\xbf"
_BOM = b"\xef\xbb\xbf"
_BEGIN_EVENTS = (b"d", b"e", b":", b"i", b"r")  # data, event, comment, id, retry


def _is_json(exchange: Exchange, data: bytes) -> bool:
    """Whether an answer is one object and no stream, whatever it calls itself.

    Raises RemoteError for what is neither.
    """
    name = exchange.address.name
    if exchange.compressed:
        raise RemoteError(f"{name}: the answer is compressed ({exchange.compressed}), unasked")
    start = data.lstrip(_BLANK)
    if start.startswith(b"<"):
        raise RemoteError(
            f"{name}: expected JSON or events. Got {exchange.content_type or 'something else'}: "
            "is this the address of the model's interface?"
        )
    if start.startswith((b"{", b"[")):
        return True
    return exchange.content_type == "application/json" and start[:1] not in _BEGIN_EVENTS


def _complete(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return answer if answer.get("error") else whole(answer)


def _read(
    deltas: Deltas, events: list[Mapping[str, Any]]
) -> tuple[list[Piece], RemoteError | None]:
    """The pieces of events, up to one that cannot be read, or is more than may be."""
    batch: list[Piece] = []
    for event in events:
        if deltas.counts.beyond and not deltas.complete:
            break
        try:
            batch += deltas.read(event)
        except RemoteError as error:
            return batch, error
    return batch, None
