"""The interface of everything that answers, and how it is called without asynchronous code.

A responder is given a conversation and the context of the call, and gives batches of pieces as
they come. Responders wrap one another: retrieval puts passages into the conversation and citations
behind the answer, a guard withholds one, a router picks who answers. A wrapper is an asynchronous
generator around another:

    class Shouting:
        def __init__(self, inner: Responder) -> None:
            self.inner, self.abilities = inner, inner.abilities

        async def respond(self, conversation: Conversation, context: Context) -> Batches:
            async with contextlib.aclosing(self.inner.respond(conversation, context)) as batches:
                async for batch in batches:
                    yield [shouted(piece) for piece in batch]

What it must keep:

* a batch is passed on as it came, or changed; to wait for more, per piece, costs everyone;
* a LinnetError ends the answer; what fails without ending it becomes a ``Failure``;
* each choice ends with one ``Finish``, after which nothing more of it comes;
* whatever it starts it ends when its generator is closed, and when the context is cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, TypeVar

from linnet.errors import LinnetError
from linnet.respond.context import Context
from linnet.respond.conversation import Conversation, Message
from linnet.respond.pieces import (
    Batch,
    Citation,
    Claim,
    Finish,
    FinishReason,
    Origin,
    Outcome,
    Passage,
    Piece,
    Place,
    Reasoning,
    Refusal,
    Text,
    TokenScore,
    ToolCall,
    ToolCallDelta,
    Usage,
)

INTERVAL = 0.01
"""Seconds between batches where a person looks on: shorter is not seen, and costs speed."""

Batches: TypeAlias = AsyncGenerator[Batch, None]
T = TypeVar("T")


@dataclass(frozen=True)
class Abilities:
    """What a responder can do, and where it does it."""

    name: str
    context: int
    """The most tokens that conversation and answer may have; 0: it is not known."""
    place: Place = "here"
    tools: bool = True
    constraints: bool = True
    logprobs: bool = True


class Responder(Protocol):
    """Answers conversations; it may be called many times at once, from any event loops."""

    @property
    def abilities(self) -> Abilities:
        """What it can do."""

    def respond(self, conversation: Conversation, context: Context) -> Batches:
        """The answers, batch by batch, as an asynchronous generator.

        Raises LinnetError where there is no answer, or no more of it.
        """


@dataclass
class Answer:
    """One answer, put together from its pieces."""

    text: str = ""
    reasoning: str = ""
    tokens: tuple[int, ...] = ()
    """The text's, by their ids, where a model on this machine wrote it; see ``Completion``."""
    scores: tuple[TokenScore, ...] = ()
    finish_reason: FinishReason = "stop"
    tool_calls: tuple[ToolCall, ...] = ()
    passages: tuple[Passage, ...] = ()
    citations: tuple[Citation, ...] = ()
    claims: tuple[Claim, ...] = ()
    outcome: Outcome | None = None
    """How sure an answer from documents is."""
    refusal: str | None = None
    prompt_tokens: int = 0
    pieces: list[Piece] = field(default_factory=list, repr=False)
    """All of them in order, calls only whole."""

    def add(self, piece: Piece) -> None:
        """One more piece."""
        if isinstance(piece, ToolCallDelta):  # the whole call follows
            return
        self.pieces.append(piece)
        match piece:
            case Text():
                self.text += piece.text
                self.tokens += piece.tokens
                self.scores += piece.scores
            case Reasoning():
                self.reasoning += piece.text
            case ToolCall():
                self.tool_calls += (piece,)
            case Passage():
                self.passages += (piece,)
            case Citation():
                self.citations += (piece,)
            case Claim():
                self.claims += (piece,)
            case Outcome():
                self.outcome = piece
            case Refusal():
                self.refusal = (self.refusal or "") + piece.text
            case Usage():
                self.prompt_tokens = piece.prompt
            case Finish():
                self.finish_reason = piece.reason

    def message(self, *, origin: Origin | None = None) -> Message:
        """As the turn of a conversation."""
        text = self.text.strip() if self.tool_calls else self.text
        parts: list[Any] = [Reasoning(self.reasoning)] if self.reasoning else []
        parts += [Text(text)] if text else []
        parts += [Refusal(self.refusal)] if self.refusal is not None else []
        return Message("assistant", (*parts, *self.tool_calls), origin=origin)


def run(
    responder: Responder, conversation: Conversation, context: Context | None = None
) -> list[Answer]:
    """All answers to a conversation, once they are complete. Raises LinnetError."""
    answers = [Answer() for _ in range(conversation.choices)]
    for piece in stream(responder, conversation, context or Context(interval=float("inf"))):
        answers[piece.choice].add(piece)
    return answers


def stream(
    responder: Responder, conversation: Conversation, context: Context | None = None
) -> Generator[Piece, None, None]:
    """The pieces as they come; closing the iterator cancels the call. Raises LinnetError.

    The event loop runs in the caller's thread, and only while a piece is waited for; where
    that thread has a loop of its own (notebooks), in another thread.
    """
    context = context or Context(interval=INTERVAL)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _stream_here(responder, conversation, context)
    return _stream_beside(responder, conversation, context)


def _stream_here(
    responder: Responder, conversation: Conversation, context: Context
) -> Generator[Piece, None, None]:
    loop = asyncio.new_event_loop()
    batches = responder.respond(conversation, context)
    complete = False

    async def following() -> Batch | None:
        with context.running():
            return await anext(batches, None)

    try:
        while (batch := loop.run_until_complete(following())) is not None:
            for piece in batch:
                context.record.note(piece)
                yield piece
        complete = True
    finally:
        if not complete:
            context.cancel()
        with contextlib.suppress(LinnetError):
            _end(loop, batches)


def _end(loop: asyncio.AbstractEventLoop, batches: Batches) -> None:
    """Close the generator, whatever interrupted it, and the loop."""
    try:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        if waiting := asyncio.all_tasks(loop):
            loop.run_until_complete(asyncio.gather(*waiting, return_exceptions=True))
        loop.run_until_complete(batches.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _stream_beside(
    responder: Responder, conversation: Conversation, context: Context
) -> Generator[Piece, None, None]:
    pieces: queue.SimpleQueue[Piece | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            for piece in _stream_here(responder, conversation, context):
                pieces.put(piece)
            pieces.put(None)
        except BaseException as error:
            pieces.put(error)

    threading.Thread(target=work, name="linnet-respond", daemon=True).start()
    try:
        while (found := pieces.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        context.cancel()
