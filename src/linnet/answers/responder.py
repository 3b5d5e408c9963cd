"""Documents as a responder: conversations in, an answer with its citations out as typed pieces.

    status (one for each step), passage ..., then
    text and its claims and citations, statement by statement; or a refusal
    decision (one for each intervention), outcome, usage, finish

Without a model the text comes at once. With one, each statement comes when it has been checked;
where a gate decides whether the answer is good enough, all of them come when it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import cached_property

from linnet.answers.answer import Answer, Citation, Claim, Step
from linnet.answers.assistant import Assistant, Writer
from linnet.answers.evidence import Draft, Evidence, Turn
from linnet.answers.guards import REFUSED
from linnet.answers.writer import ModelWriter
from linnet.errors import LinnetError
from linnet.respond import pieces
from linnet.respond.context import CancelledCallError, Context
from linnet.respond.conversation import Conversation, ConversationError, Message
from linnet.respond.pieces import Origin, Piece
from linnet.respond.responder import Abilities, Batches
from linnet.retrieval import Found, Index

LONGEST_QUESTION = 10_000
"""Characters."""
_REFRESH_SECONDS = 1.0
"""How often it is looked whether the index has changed, where it is asked."""
_THREADS = 8
"""Questions that are answered at once; the others wait."""


class DocumentsResponder:
    """Answers the last question of a conversation from documents."""

    def __init__(
        self,
        assistant: Assistant,
        *,
        name: str = "documents",
        executor: Executor | None = None,
        writer: Writer | None = None,
        watch: Callable[[Answer], None] = lambda answer: None,
    ) -> None:
        """``executor``: threads to search and write in; otherwise its own. ``writer``: who writes
        instead of the assistant's own. ``watch``: is told of each whole answer."""
        self.assistant, self.name, self.writer = assistant, name, writer
        self.watch = watch
        self._given = executor
        self._freshness = _Freshness(assistant)

    @property
    def abilities(self) -> Abilities:
        """See :class:`Responder`; there is no bound on the conversation. It is answered where the
        model runs that writes."""
        writer = self.writer or self.assistant.writer
        place = writer.responder.abilities.place if isinstance(writer, ModelWriter) else "here"
        return Abilities(self.name, 0, place, tools=False, constraints=False, logprobs=False)

    @cached_property
    def _executor(self) -> Executor:
        return self._given or ThreadPoolExecutor(_THREADS, "linnet-answers")

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        """See :class:`Responder`."""
        question, turns = question_of(conversation)
        loop = asyncio.get_running_loop()
        call = _Call(self, self._freshness, loop, context)
        undo = context.on_cancel(call.end)
        ended = loop.run_in_executor(self._executor, call.run, question, turns)
        ended.add_done_callback(_looked_at)
        try:
            context.record.model, context.record.choices = self.name, context.record.choices + 1
            written = _Written(self.name, context)
            if system := [m for m in conversation.messages if m.role == "system"]:
                yield [_ignored(system)]
            while (event := await call.events.get()) is not None:
                if batch := list(written.progress(event)):
                    yield batch
            answer = await ended
            self.watch(answer)
            yield list(written.end(answer))
        finally:
            undo()
            call.end()

    def shown(self, conversation: Conversation, context: Context) -> Conversation | None:
        """What the model that writes would be asked, and shown of the documents; None where no
        model would. It searches, so in a thread. Raises ConversationError for what is no question,
        and where nothing of what was found may be shown.
        """
        writer = self.writer or self.assistant.writer
        question, turns = question_of(conversation)
        if not isinstance(writer, ModelWriter) or writer.weakness:
            return None
        seen = context.collections
        evidence = self.assistant.find(question, turns, collections=seen, context=context)
        evidence = writer.admitted(evidence)
        packed = writer.pack(evidence)
        return writer.asked(evidence, packed) if packed.excerpts else None

    def close(self) -> None:
        """Wait for no thread any more."""
        if isinstance(self._executor, ThreadPoolExecutor) and self._given is None:
            self._executor.shutdown(wait=False, cancel_futures=True)


class _Freshness:
    """Has an index taken up what changed on disk, now and then."""

    def __init__(self, assistant: Assistant) -> None:
        self._assistant = assistant
        self._lock = threading.Lock()
        self._looked = time.monotonic()

    def look(self) -> None:
        """Take up a new generation of the index, unless that was looked for just now."""
        index = self._assistant.index
        with self._lock:
            now = time.monotonic()
            if not isinstance(index, Index) or now - self._looked < _REFRESH_SECONDS:
                return
            self._looked = now
        with contextlib.suppress(LinnetError):  # the one that is open still answers
            index.reload()


class _Call:
    """One question on its way through the assistant, in a thread."""

    def __init__(
        self,
        responder: DocumentsResponder,
        freshness: _Freshness,
        loop: asyncio.AbstractEventLoop,
        context: Context,
    ) -> None:
        self._refresh = freshness.look
        self.events: asyncio.Queue[Step | Evidence | Draft | None] = asyncio.Queue()
        self._assistant, self._writer = responder.assistant, responder.writer
        self._loop, self._context = loop, context
        self._ended = threading.Event()

    def run(self, question: str, turns: Sequence[Turn]) -> Answer:
        """The answer. Raises LinnetError, and CancelledCallError once nobody waits for it."""
        context = self._context
        try:
            self._watch(None)
            self._refresh()
            return self._assistant.ask(
                question, turns, id=context.record.id, collections=context.collections,
                watch=self._watch, context=context, writer=self._writer,
            )  # fmt: skip
        finally:
            self._tell(None)

    def end(self) -> None:
        """Nobody waits for it any more; from any thread."""
        self._ended.set()

    def _watch(self, event: Step | Evidence | Draft | None) -> None:
        if self._ended.is_set():
            raise self._context.cancelled or CancelledCallError("the call was cancelled")
        # Whoever withholds answers must have the whole one.
        if event is not None and not (isinstance(event, Draft) and self._assistant.gate):
            self._tell(event)

    def _tell(self, event: Step | Evidence | Draft | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self.events.put_nowait, event)
        except RuntimeError:  # the loop has ended, and the reader with it
            self._ended.set()


class _Written:
    """What of an answer was given already, as pieces."""

    def __init__(self, name: str, context: Context) -> None:
        self._context = context
        self._before = context.record.tokens.prompt, context.record.tokens.written
        self._cached = context.record.tokens.cached
        self._steps: list[Step] = []
        self._passages = self._began = False
        self._text, self._claims = "", 0
        self._origin = Origin("document", name)

    def progress(self, event: Step | Evidence | Draft) -> Iterator[Piece]:
        """The pieces of what happened."""
        match event:
            case Step():
                self._steps.append(event)
                yield pieces.Status(event.name, event.text)
            case Evidence():
                yield from self._found(event.passages)
            case Draft():
                yield from self._statements(event.text, event.claims, event.citations)

    def end(self, answer: Answer) -> Iterator[Piece]:
        """The rest of it."""
        for step in answer.steps:
            if step not in self._steps:
                yield pieces.Status(step.name, step.text)
        yield from self._found(answer.nearest)
        if answer.refused:
            unsafe = answer.answer == REFUSED
            yield pieces.Refusal(answer.answer, "unsafe" if unsafe else pieces.UNANSWERED)
        else:
            yield from self._statements(answer.answer, answer.claims, answer.citations)
            if not answer.claims:
                yield from (
                    self._citation(each, 0, len(answer.answer)) for each in answer.citations
                )
        for intervention in answer.interventions:
            yield pieces.Decision("guard", intervention)
        yield pieces.Outcome(
            answer.id, answer.refused, answer.probability, answer.in_scope, answer.written_by
        )
        tokens = self._context.record.tokens
        prompt, written = self._before
        yield pieces.Usage(
            tokens.prompt - prompt, tokens.cached - self._cached, tokens.written - written
        )
        yield pieces.Finish("refusal" if answer.refused else "stop")

    def _found(self, found: Sequence[Found]) -> Iterator[Piece]:
        """What the answer may rest on, once."""
        if self._passages or not found:
            return
        self._passages = True
        for each in found:
            place = each.passage.place
            yield pieces.Passage(
                place.source, place.start, place.end, each.passage.text,
                title=each.passage.title, page=place.page, score=each.score,
                origin=Origin("document", place.source),
            )  # fmt: skip

    def _statements(
        self, text: str, claims: Sequence[Claim], citations: Sequence[Citation]
    ) -> Iterator[Piece]:
        """What is new of a text, with the claims in it and what they rest on."""
        new, self._text = text[len(self._text) :], text
        if new:
            if not self._began:
                self._began = True
                self._context.record.first_at = self._context.record.first_at or time.monotonic()
                yield pieces.Status("writing")
            yield pieces.Text(new, origin=self._origin)
        for claim in claims[self._claims :]:
            yield pieces.Claim(
                claim.text, claim.start, claim.end, claim.citations, claim.support, claim.score
            )
            for number in claim.citations:
                yield self._citation(citations[number], claim.start, claim.end)
        self._claims = max(self._claims, len(claims))

    def _citation(self, cited: Citation, start: int, end: int) -> pieces.Citation:
        return pieces.Citation(
            cited.source, cited.start, cited.end, cited.text, title=cited.title, page=cited.page,
            answer_start=start, answer_end=end, origin=Origin("document", cited.source),
        )  # fmt: skip


def _looked_at(ended: asyncio.Future[Answer]) -> None:
    """What fails when nobody waits any more is no error that nobody looked at."""
    if not ended.cancelled():
        ended.exception()


def question_of(conversation: Conversation) -> tuple[str, list[Turn]]:
    """The last question, and the turns before it. Raises ConversationError."""
    for refused, part, reason in (
        (conversation.offered, "tools", "no tool is called for them"),
        (conversation.constraint is not None, "response_format", "they are sentences with sources"),
        (conversation.logprobs, "logprobs", "most of their words are the documents' own"),
        (conversation.choices > 1, "n", "there is one to each question; send it again for another"),
        (conversation.continue_final_message, "continue_final_message", "they begin anew"),
    ):
        if refused:
            raise ConversationError(
                f"answers from documents have no '{part}': {reason}. Leave it out", part=part
            )
    asked = [m for m in conversation.messages if m.role in ("user", "assistant")]
    if not asked or asked[-1].role != "user" or not asked[-1].text.strip():
        raise ConversationError("expected a question as the last message", part="messages")
    question = asked[-1].text.strip()
    if len(question) > LONGEST_QUESTION:
        raise ConversationError(
            f"a question has at most {LONGEST_QUESTION:,} characters. Got {len(question):,}",
            part="messages",
            code="context_length_exceeded",
        )
    turns: list[Turn] = []
    before = ""
    for message in asked[:-1]:
        if message.role == "user":
            before = message.text.strip()
        elif before:
            turns.append(Turn(before, message.text.strip()))
            before = ""
    return question, turns


def _ignored(system: Sequence[Message]) -> Piece:
    return pieces.Decision(
        "messages", "ignored", f"{len(system)} system: documents are answered from as they are"
    )
