"""Which model answers, as one responder: a router's choice, within policy and budget.

    request, rules, router -> Route; perhaps a local answer first, which is judged
    a model beyond this machine, if policy and budget allow it; where it fails the next one
    from documents, where it finds no answer in them: the local answer; else what the model knows
    the local answer where none of them gave one

Remote models check policy and budget themselves (``models.open_models``), before anything is
written out for sending. Whatever goes wrong before the first word of an answer costs its reader
nothing: somebody else answers. What was given out cannot be taken back: where a model fails in the
middle the answer ends there, in order, with a ``Failure``.

    status ..., decision (one for each), pieces of the answer ..., attribution, finish
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from linnet.answers.responder import DocumentsResponder
from linnet.errors import LinnetError
from linnet.respond.context import Context
from linnet.respond.conversation import ContextFullError, Conversation, ConversationError
from linnet.respond.pieces import (
    UNANSWERED,
    Attribution,
    Batch,
    Decision,
    Piece,
    Place,
    Refusal,
    Status,
)
from linnet.respond.prices import money
from linnet.respond.responder import Abilities, Batches, Responder
from linnet.routing.answering import Call, HeldAnswer, UnansweredError, cause, route_json, said
from linnet.routing.beyond import DOCUMENTS, BeyondDocuments
from linnet.routing.policy import Policy, PolicyError
from linnet.routing.router import LOCAL, Route

if TYPE_CHECKING:
    from linnet.routing.features import Attempt

ATTEMPT = "attempt"
"""The state while a local answer is written that is not shown yet."""
LONG = 8000
"""Characters of a conversation from which on a thread looks at it."""
USUAL_ANSWER = 4096
"""Tokens that a model beyond this machine may write at most where nobody says how many: budgets set
aside what they would cost."""
NOT_FOR_KEY = (
    "models beyond this machine are not for everyone who may ask: they are for this machine "
    "where no key is needed, and for keys made with --remote"
)


class Chooses(Protocol):
    """What decides; see ``router.Router``."""

    @property
    def needs_scores(self) -> bool:
        """Whether local answers are to have the log-probabilities of their tokens."""

    def choose(self, conversation: Conversation, *, requested: str | None = None) -> Route:
        """Where a conversation goes. Raises ConversationError for a model that there is not."""

    def judge(self, conversation: Conversation, attempt: Attempt) -> Route:
        """Whether a local answer stands, or which model is to answer instead."""


@dataclass(frozen=True)
class Prospect:
    """What a model beyond this machine would be sent."""

    model: str
    place: Place
    outgoing: Conversation | None = None
    """None where it may be sent nothing; ``reasons`` say why."""
    reasons: tuple[str, ...] = ()
    decisions: tuple[Decision, ...] = ()
    """What is left out, and masked."""


@dataclass(frozen=True)
class Fixed:
    """Always the same model, as it was asked for by its name."""

    model: str
    needs_scores: bool = False

    def choose(self, conversation: Conversation, *, requested: str | None = None) -> Route:
        """See :class:`Chooses`."""
        return Route(self.model, f"{self.model} was asked for", "request")

    def judge(self, conversation: Conversation, attempt: Attempt) -> Route:
        """See :class:`Chooses`."""
        return self.choose(conversation)


class RoutingResponder:
    """Answers each conversation with the model that it is routed to."""

    def __init__(
        self,
        local: Responder | None,
        remote: Mapping[str, Responder],
        router: Chooses,
        *,
        name: str,
        policy: Policy | None = None,
        tells: bool = True,
        is_slow: bool = False,
        currency: str = "",
    ) -> None:
        """``local``: what answers on this machine, also where no other one can; None: nothing does,
        and what goes wrong is an error. ``remote``: those beyond it, each checking policy and
        budget, in the order in which they are tried.

        ``policy``: by which no local answer is judged where no other one may be asked. ``tells``:
        whether local answers say how good they are (documents do); otherwise their tokens must.
        ``is_slow``: whether the router computes so much that it does so in a thread. ``currency``:
        of what is billed.
        """
        self.local, self.remote, self.router = local, remote, router
        self.name, self.currency = name, currency
        self._policy, self._tells, self._is_slow = policy, tells, is_slow

    @property
    def abilities(self) -> Abilities:
        """What any of them can do; ``place`` is the farthest of them."""
        every = [each.abilities for each in (self.local, *self.remote.values()) if each is not None]
        known = [each.context for each in every]
        places = [each.place for each in every]
        return Abilities(
            self.name,
            max(known) if all(known) else 0,
            "elsewhere" if "elsewhere" in places else "network" if "network" in places else "here",
            tools=any(each.tools for each in every),
            constraints=any(each.constraints for each in every),
            logprobs=any(each.logprobs for each in every),
        )

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        """See :class:`Responder`."""
        call = Call(conversation, context)
        route = await self._decided(lambda: self._chosen(conversation, context), conversation)
        if route.judges_attempt:
            async with contextlib.aclosing(self._try_here(call)) as batches:
                async for batch in batches:
                    yield batch
            route = await self._decided(lambda: self._judged(call), conversation)
        while not call.ended:
            if route is not call.route:
                call.decide(route)
            async with contextlib.aclosing(self._answer(call)) as batches:
                async for batch in batches:
                    yield batch
            if call.attempt is None and self._asks_here(call):
                async with contextlib.aclosing(self._try_here(call)) as batches:
                    async for batch in batches:
                        yield batch
            if not call.ended:
                route = self._next(call)

    async def _decided(self, decide: Callable[[], Route], conversation: Conversation) -> Route:
        """What is decided: in a thread where it takes long, so that no other call waits for it."""
        size = sum(len(message.text) for message in conversation.messages)
        if self._is_slow or size > LONG:
            return await asyncio.to_thread(decide)
        return decide()

    def prospects(self, conversation: Conversation, context: Context) -> list[Prospect]:
        """What each model beyond this machine would be sent; nothing is. It may search documents,
        so in a thread. Raises ConversationError for what is no question.
        """
        return [
            self._prospect(name, each, conversation, context) for name, each in self.remote.items()
        ]

    def _prospect(
        self, name: str, responder: Responder, conversation: Conversation, context: Context
    ) -> Prospect:
        place = responder.abilities.place
        if not context.remote:
            return Prospect(name, place, reasons=(NOT_FOR_KEY,))
        asked: Conversation | None = _bounded(conversation)
        try:
            if isinstance(responder, DocumentsResponder):
                asked = responder.shown(conversation, context)
            if asked is None:
                return Prospect(name, place, reasons=("nothing is found that it could be shown",))
            if self._policy is None:
                return Prospect(name, place, asked)
            outgoing = self._policy.outgoing(asked, context, place, model=name)
        except PolicyError as error:
            return Prospect(name, place, reasons=error.reasons)
        return Prospect(name, place, outgoing.conversation, decisions=outgoing.decisions)

    def close(self) -> None:
        """Wait for no thread any more; the models stay open, which others use as well."""
        for responder in (self.local, *self.remote.values()):
            if isinstance(responder, DocumentsResponder):
                responder.close()

    def _chosen(self, conversation: Conversation, context: Context) -> Route:
        """Where it goes at first."""
        route = self.router.choose(conversation, requested=context.route)
        if not context.remote:
            if self.local is None:
                raise ConversationError(NOT_FOR_KEY, part="model", code="not_allowed")
            if route.model != LOCAL or route.judges_attempt:
                return Route(LOCAL, NOT_FOR_KEY, "policy")
        if not route.judges_attempt:
            return route
        learned = route.decided_by == "router"  # to judge an answer whatever it says of itself
        if not learned and not self._tells and not self.router.needs_scores:
            return Route(LOCAL, "nothing tells how good an answer of the local model is")
        if (reason := self._kept_here(conversation, context)) is not None:
            return Route(LOCAL, reason, "policy")
        return route

    def _kept_here(self, conversation: Conversation, context: Context) -> str | None:
        """Why no model beyond this machine may be asked; None: one may."""
        if self._policy is None:
            return None
        reason = None
        for name, responder in self.remote.items():
            place = responder.abilities.place
            verdict = self._policy.check(conversation, context, place, model=name)
            if verdict.allowed:
                return None
            reason = reason or verdict.reason
        return reason

    def _next(self, call: Call) -> Route:
        """Who is asked instead of one that gave no answer. Raises its error where nobody is."""
        error, route = call.errors[-1], call.route
        is_local = route.model == LOCAL
        if isinstance(error, UnansweredError) and not is_local:
            return self._after_documents(call)
        left = [name for name in self.remote if name not in call.tried]
        if is_local and not (
            isinstance(error, ContextFullError)
            and call.context.remote
            and route.decided_by != "request"
        ):
            # What kept the model from answering that was chosen says more.
            raise call.errors[0] if isinstance(error, ConversationError) else error
        if left:
            return Route(left[0], said(error, is_local), "ability" if is_local else cause(error))
        first = call.errors[0]  # of the model that was chosen, which says more than the others'
        if self.local is None or LOCAL in call.tried:
            raise first
        return Route(LOCAL, said(first, is_local), cause(first))

    def _asks_here(self, call: Call) -> bool:
        """Whether an answer from documents is looked for here, as a model elsewhere found none."""
        if call.ended or not isinstance(call.errors[-1], UnansweredError):
            return False
        route = call.route  # who asked for a model by its name has it answer as it can
        return route.decided_by != "request" or self._beyond(route.model) is None

    def _after_documents(self, call: Call) -> Route:
        """Who is asked where a model found no answer in the documents: whoever found one here, and
        where nobody did the same model without them, or else nobody."""
        route, attempt = call.route, call.attempt
        if attempt is not None and attempt.answers:
            reason = f"{route.model} finds no answer in the documents; that from here stands"
            return Route(LOCAL, reason, "attempt")
        if self._beyond(route.model) is None:
            return Route(LOCAL, str(call.errors[-1]), "attempt")
        call.without.add(route.model)
        reason = f"they do not seem to answer this; {route.model} answers from what it knows"
        call.told.append(Decision(DOCUMENTS, "without", reason))
        return route

    def _beyond(self, name: str) -> Responder | None:
        """A model without the documents, if it may be asked so."""
        responder = self.remote.get(name)
        return responder.beyond if isinstance(responder, BeyondDocuments) else None

    async def _try_here(self, call: Call) -> Batches:
        """Have the answer written here, and keep it; meanwhile say what is done."""
        assert self.local is not None
        asked, abilities = call.conversation, self.local.abilities
        if self.router.needs_scores and abilities.logprobs:
            asked = asked.replace(logprobs=True)
        attempt = call.attempt = HeldAnswer()
        if call.context.interval != math.inf:
            yield [Status(ATTEMPT, f"{abilities.name} answers{'' if call.tried else ' first'}")]
        with call.context.part(interval=math.inf) as own:
            attempt.record = own.record
            try:
                async with contextlib.aclosing(self.local.respond(asked, own)) as batches:
                    async for batch in batches:
                        if told := attempt.take(batch):
                            yield told
            except LinnetError as error:
                if call.context.cancelled is not None:
                    raise
                attempt.error = error
        attempt.seconds = time.monotonic() - own.record.began

    def _judged(self, call: Call) -> Route:
        """What becomes of the local answer."""
        from linnet.routing import features

        attempt = call.attempt
        assert attempt is not None
        if attempt.error is None:
            return self.router.judge(
                call.conversation, features.Attempt.of(call.conversation, attempt.pieces)
            )
        call.errors.append(attempt.error)
        first = next(iter(self.remote), None)
        if first is None:
            raise attempt.error
        return Route(first, said(attempt.error, True), "failure")

    async def _answer(self, call: Call) -> Batches:
        """The answer of the model that was decided on; without an end where it gives none."""
        name = call.route.model
        call.tried.add(name)
        if name == LOCAL and call.attempt is not None:
            if call.attempt.error is None:
                yield call.replayed()
                yield self._end(call)
            return
        responder = self.local if name == LOCAL else self.remote[name]
        if name in call.without:
            responder = self._beyond(name)
        assert responder is not None
        try:
            async with contextlib.aclosing(self._written(call, responder)) as batches:
                async for batch in batches:
                    yield batch
            yield self._end(call)
        except LinnetError as error:
            if call.context.cancelled is not None or (call.given and name == LOCAL):
                raise
            call.errors.append(error)
            if call.given:
                yield call.broken_off()
                yield self._end(call)
            else:
                call.drop(None if name == LOCAL else error)

    async def _written(self, call: Call, responder: Responder) -> Batches:
        """The pieces of one responder but those that end the answer; before the first word nothing
        but what it is doing."""
        is_local = responder is self.local
        asked = call.conversation if is_local else _bounded(call.conversation)
        drafts = isinstance(responder, DocumentsResponder) and not is_local
        async with contextlib.aclosing(responder.respond(asked, call.context)) as batches:
            async for batch in batches:
                if drafts and not call.given and any(map(_is_unanswered, batch)):
                    call.take([piece for piece in batch if isinstance(piece, Decision)])
                    name = call.route.model
                    raise UnansweredError(f"{name} finds no answer in the documents")
                if told := call.take(batch):
                    yield told
        if rest := call.rest():
            yield rest

    def _end(self, call: Call) -> Batch:
        """Who wrote it, and the end."""
        call.ended = True
        record, route = call.context.record, call.route
        name = route.model
        by_model = call.outcome is None or call.outcome.written_by != "passages"
        if name != LOCAL and not by_model and self.local is not None:
            reason = f"{route.reason}; nothing that {name} wrote is supported by the documents"
            route = dataclasses.replace(route, reason=reason)
            name = LOCAL
        if name == LOCAL:
            assert self.local is not None
            record.model, place = self.local.abilities.name, self.local.abilities.place
        else:
            record.model, place = name, self.remote[name].abilities.place
        about = route_json(route)
        record.facts["route"] = {"model": record.model, "place": place, **about}
        if call.attempt is not None and name != LOCAL:
            tokens = call.attempt.record.tokens
            record.facts["attempt"] = {
                "seconds": round(call.attempt.seconds, 4),
                "tokens": tokens.prompt + tokens.written,
            }
        cost = float(money(record.cost))
        wrote = Attribution(record.model, place, about, cost, self.currency, record.id)
        return [wrote, *call.finishes]


def _is_unanswered(piece: Piece) -> bool:
    return isinstance(piece, Refusal) and piece.reason == UNANSWERED


def _bounded(conversation: Conversation) -> Conversation:
    """With a limit to what is written, which nobody gave."""
    sampling = conversation.sampling
    if not conversation.fill_context or sampling.max_tokens <= USUAL_ANSWER:
        return conversation
    return conversation.replace(sampling=dataclasses.replace(sampling, max_tokens=USUAL_ANSWER))
