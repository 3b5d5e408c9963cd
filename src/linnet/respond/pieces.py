"""What an answer is made of: typed pieces, which messages consist of as well.

Every piece says which of several answers it belongs to (``choice``), where it comes from
(``origin``) and what is to be known when it is passed on (``tags``, such as ``local-only``).
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeAlias

Place = Literal["here", "network", "elsewhere"]
"""Where something runs or was made: on this machine, in this network, anywhere else."""

LOCAL_ONLY = "local-only"
"""The tag of what never leaves this machine."""
MEMORY = "memory"
"""The tag of what is remembered of a person; so is the kind of its origin."""
DOCUMENT = "document:"
"""Begins the tags that name the documents which a text has passages of."""

UNANSWERED = "unanswered"
"""Why an answer is withheld where the documents do not seem to have it."""

FinishReason = Literal["stop", "length", "tool_calls", "refusal"]
"""Why an answer ended; see ``generate.engine.FinishReason`` for the first two."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message or a piece comes from."""

    kind: Literal["user", "owner", "model", "document", "tool", "memory"]
    name: str = ""
    place: Place = "here"


@dataclass(frozen=True, slots=True)
class TokenScore:
    """One token of a text with its log-probability, and the likeliest ones at its place."""

    spelling: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What all pieces have."""

    kind: ClassVar[str]
    """Its name in JSON."""
    choice: int = 0
    origin: Origin | None = None
    tags: frozenset[str] = frozenset()

    def as_json(self) -> dict[str, Any]:
        """Its kind, and every field that is not at its default."""
        found: dict[str, Any] = {"type": self.kind}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value != field.default and field.name not in ("choice", "tokens", "scores"):
                found[field.name] = _plain(value)
        return found


@dataclass(frozen=True, slots=True)
class Text(Piece):
    """Text of the answer."""

    kind: ClassVar[str] = "text"
    text: str
    tokens: tuple[int, ...] = ()
    """By their ids, where a model on this machine wrote it."""
    scores: tuple[TokenScore, ...] = ()
    """Of each of the tokens, where they were asked for."""


@dataclass(frozen=True, slots=True)
class Reasoning(Piece):
    """What the model thought before it answered."""

    kind: ClassVar[str] = "reasoning"
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta(Piece):
    """The next characters of a call's arguments, where they are streamed.

    All of a call follow each other, the first with few or none; ``arguments`` joined are those of
    the :class:`ToolCall` of the same ``id``, which always comes behind the last one and before the
    next call. A call may also come without any, and what does not stream can pass over them.
    """

    kind: ClassVar[str] = "tool_call_delta"
    id: str
    name: str
    arguments: str
    custom: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall(Piece):
    """The model asks for a tool.

    ``arguments`` is JSON, unless a model wrote something else while it was streamed or was cut
    (``length``); with ``custom``, of a tool that takes text, it is that text.
    """

    kind: ClassVar[str] = "tool_call"
    id: str
    name: str
    arguments: str
    custom: bool = False


@dataclass(frozen=True, slots=True)
class ToolResult(Piece):
    """What a tool answered to a call; only in messages."""

    kind: ClassVar[str] = "tool_result"
    call_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Passage(Piece):
    """A stretch of a document that was found, and that the answer may rest on.

    ``start`` and ``end`` count characters of the document's stored text.
    """

    kind: ClassVar[str] = "passage"
    source: str
    start: int
    end: int
    text: str
    title: str = ""
    page: int | None = None
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Citation(Piece):
    """A stretch of a document that supports characters ``answer_start`` to ``answer_end`` of the
    answer."""

    kind: ClassVar[str] = "citation"
    source: str
    start: int
    end: int
    text: str
    title: str = ""
    page: int | None = None
    answer_start: int = 0
    answer_end: int = 0


@dataclass(frozen=True, slots=True)
class Claim(Piece):
    """Characters ``answer_start`` to ``answer_end`` of the answer say one thing; ``support`` is
    what a check of it against what it cites found, and ``citations`` are these by their places."""

    kind: ClassVar[str] = "claim"
    text: str
    answer_start: int
    answer_end: int
    citations: tuple[int, ...] = ()
    support: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Piece):
    """How sure an answer from documents is.

    ``probability``: that it is right, also where it was refused; ``in_scope``: that the documents
    are about the question at all. None: nothing was fitted that could tell.
    """

    kind: ClassVar[str] = "outcome"
    id: str
    refused: bool
    probability: float | None = None
    in_scope: float | None = None
    written_by: str = ""
    """``passages``, or ``model``."""


@dataclass(frozen=True, slots=True)
class Refusal(Piece):
    """The answer is withheld; ``text`` is for people, ``reason`` for programs."""

    kind: ClassVar[str] = "refusal"
    text: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Decision(Piece):
    """Something was decided on the way: which model answers, what was masked, what was left out."""

    kind: ClassVar[str] = "decision"
    subject: str
    outcome: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Attribution(Piece):
    """Who wrote the answer where that was chosen for it, why, and what it cost; the last piece
    before the first choice's :class:`Finish`."""

    kind: ClassVar[str] = "attribution"
    model: str
    place: Place
    route: Mapping[str, Any]
    """What decided (``decided_by``), why (``reason``), a router's ``score`` and ``threshold``."""
    cost: float | None = None
    """All that was billed for this call, other attempts included."""
    currency: str = ""
    id: str = ""
    """Of the call, by which it can be judged."""


@dataclass(frozen=True, slots=True)
class Status(Piece):
    """How far the work is: ``writing`` when the first token is there; others as responders say."""

    kind: ClassVar[str] = "status"
    state: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Failure(Piece):
    """Something failed on the way, and the answer goes on without it.

    What ends an answer is raised instead, as a LinnetError.
    """

    kind: ClassVar[str] = "error"
    text: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Usage(Piece):
    """The tokens of a choice; a prompt that several choices share counts in the first alone."""

    kind: ClassVar[str] = "usage"
    prompt: int
    cached: int
    written: int


@dataclass(frozen=True, slots=True)
class Finish(Piece):
    """The choice has ended; nothing more of it comes."""

    kind: ClassVar[str] = "finish"
    reason: FinishReason
    stop: str | None = None
    """The stop string that ended it, where one did and that is known."""
    token: int | None = None
    """The token that ended it, where one did."""
    score: TokenScore | None = None
    """Of that token, where scores were asked for."""


Batch: TypeAlias = Sequence[Piece]
"""Pieces that came together."""


def new_id(prefix: str) -> str:
    """A name that nothing else has; it is no secret."""
    return f"{prefix}{random.getrandbits(96):024x}"


def _plain(value: Any) -> Any:
    if isinstance(value, Origin):
        return {"kind": value.kind, "name": value.name, "place": value.place}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    return value
