"""One answer on its way through models: what was given out, held back, tried and decided."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field
from typing import Any

from linnet.errors import LinnetError
from linnet.respond.context import BudgetExceededError, Context, Record
from linnet.respond.conversation import Conversation, ConversationError
from linnet.respond.pieces import (
    Batch,
    Citation,
    Claim,
    Decision,
    Failure,
    Finish,
    Outcome,
    Piece,
    Reasoning,
    Refusal,
    Status,
    Text,
    ToolCall,
    ToolCallDelta,
)
from linnet.respond.remote_errors import RemoteError
from linnet.routing.resilience import code_of
from linnet.routing.router import LOCAL, Route

SUBJECT = "route"
"""What decisions are about that say which model answers."""
POLICY_CODES = ("policy", "not_allowed")
"""Of errors that say that something may not leave this machine."""
_TOO_LONG = "context_length_exceeded"
_CONTENT = (Text, Reasoning, Refusal, ToolCall, ToolCallDelta, Claim, Citation)
"""What cannot be taken back once it was given out."""


class UnansweredError(LinnetError):
    """A model finds no answer in the documents."""


class Call:
    """One answer on its way."""

    def __init__(self, conversation: Conversation, context: Context) -> None:
        self.conversation, self.context = conversation, context
        self.route = Route(LOCAL, "")
        self.attempt: HeldAnswer | None = None
        self.tried: set[str] = set()
        self.without: set[str] = set()
        """Models that are asked without the documents."""
        self.errors: list[LinnetError] = []
        """Why models gave no answer, in order."""
        self.told: list[Piece] = []
        """What is to be told with the next pieces: decisions and failures."""
        self.given = False
        """Whether something of the answer was given out."""
        self.ended = False
        self.outcome: Outcome | None = None
        self.finishes: list[Piece] = []
        """The ends of the choices, which come when all is known of the call."""
        self._held: list[Piece] = []
        self._open: dict[int, ToolCallDelta] = {}
        """The calls that were begun, as far as they came, by choice."""

    def decide(self, route: Route) -> None:
        """Go on with this model, as if nobody had been asked before."""
        self.route = route
        self.context.record.choices, self.context.record.first_at = 0, None
        self.context.record.facts["route"] = {"model": route.model, **route_json(route)}
        self.told.append(Decision(SUBJECT, route.model, route.reason))

    def take(self, batch: Batch) -> Batch:
        """What is to be given out now."""
        found: list[Piece] = []
        for piece in batch:
            match piece:
                case Finish():
                    self.finishes.append(piece)
                    continue
                case Outcome():
                    self.outcome = piece
                case ToolCallDelta():
                    begun = self._open.get(piece.choice)
                    if begun is not None and begun.id == piece.id:
                        arguments = begun.arguments + piece.arguments
                        self._open[piece.choice] = dataclasses.replace(piece, arguments=arguments)
                    else:
                        self._open[piece.choice] = piece
                case ToolCall():
                    self._open.pop(piece.choice, None)
            found.append(piece)
        if self.given:
            return found
        if any(isinstance(piece, _CONTENT) for piece in found):
            return self._begin(found)
        own = [piece for piece in found if isinstance(piece, Status) and piece.state != "writing"]
        self._held += [piece for piece in found if piece not in own]
        return own

    def rest(self) -> Batch:
        """What was held back of an answer that has no word."""
        return [] if self.given else self._begin([])

    def replayed(self) -> Batch:
        """The local answer that was written before."""
        attempt = self.attempt
        assert attempt is not None
        record = self.context.record
        record.add(attempt.record)
        record.choices += attempt.record.choices
        pieces = attempt.pieces
        if not self.conversation.logprobs:
            pieces = [_without_scores(piece) for piece in pieces]
        return [*self.take(pieces), *self.rest()]

    def drop(self, error: LinnetError | None) -> None:
        """Nothing was given out; what was decided on the way is told, and ``error``, if any."""
        self.told += [piece for piece in self._held if isinstance(piece, Decision | Failure)]
        if error is not None and cause(error) == "failure":
            self.told.append(Failure(str(error), code=code_of(error)))
        self._held, self.finishes, self.outcome = [], [], None
        self._open.clear()
        self.context.record.choices = 0

    def broken_off(self) -> Batch:
        """The end of an answer that cannot go on: as if it had been cut there."""
        error = self.errors[-1]
        pieces: list[Piece] = [Failure(str(error), code=code_of(error))]
        for begun in self._open.values():
            pieces.append(
                ToolCall(
                    begun.id, begun.name, begun.arguments, custom=begun.custom,
                    choice=begun.choice, origin=begun.origin,
                )
            )  # fmt: skip
        ended = {piece.choice for piece in self.finishes}
        self.finishes += [
            Finish("length", choice=choice)
            for choice in range(self.conversation.choices)
            if choice not in ended
        ]
        return pieces

    def _begin(self, found: list[Piece]) -> Batch:
        self.given = True
        self.context.record.first_at = self.context.record.first_at or time.monotonic()
        told, held = self.told, self._held
        self.told, self._held = [], []
        return [*told, *held, *found]


@dataclass
class HeldAnswer:
    """A local answer that is not given out yet."""

    record: Record = field(default_factory=Record)
    pieces: list[Piece] = field(default_factory=list)
    error: LinnetError | None = None
    seconds: float = 0.0

    @property
    def answers(self) -> bool:
        """Whether it is an answer, and no refusal."""
        return self.error is None and not any(isinstance(each, Refusal) for each in self.pieces)

    def take(self, batch: Batch) -> Batch:
        """Keep them; what is being done is told at once."""
        told = [piece for piece in batch if isinstance(piece, Status) and piece.state != "writing"]
        self.pieces += [piece for piece in batch if piece not in told]
        return told


def route_json(route: Route) -> dict[str, Any]:
    """What decided, and why."""
    about = {"decided_by": route.decided_by, "reason": route.reason}
    figures = {"score": route.score, "threshold": route.threshold}
    return about | {name: value for name, value in figures.items() if value is not None}


def _without_scores(piece: Piece) -> Piece:
    if isinstance(piece, Text) and piece.scores:
        return dataclasses.replace(piece, scores=())
    if isinstance(piece, Finish) and piece.score is not None:
        return dataclasses.replace(piece, score=None)
    return piece


def cause(error: LinnetError) -> str:
    """What it was that kept a model from answering, as ``Route.decided_by`` has it."""
    if isinstance(error, UnansweredError):
        return "attempt"
    if isinstance(error, BudgetExceededError):
        return "budget"
    code = getattr(error, "code", None)
    return "policy" if code in POLICY_CODES else "failure"


def said(error: LinnetError, is_local: bool) -> str:
    """Why somebody else answers, as it is logged: nothing that names files of this machine, and no
    words of another one's, which may be those of whoever asked."""
    if is_local and not isinstance(error, ConversationError):
        return "the local model failed"
    if isinstance(error, RemoteError):
        return error.unquoted
    if not is_local and error.__class__ is ConversationError and code_of(error) == _TOO_LONG:
        return "the conversation is too long for the model there"
    return str(error)
