"""A model of this machine as a responder: conversations in its template, its tokens as pieces.

conversation -> chat template, tools, constraint -> requests of the engine
chunks of the engine -> text, calls of tools, usage, finish
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from linnet.errors import DataError, EngineError, LinnetError
from linnet.generate.engine import Chunk, Request
from linnet.respond.context import Context
from linnet.respond.conversation import (
    ContextFullError,
    Conversation,
    ConversationError,
    NoConversationError,
)
from linnet.respond.engine_requests import Requests, Work, repeated
from linnet.respond.fitting import require_fitting, texts_of, usual_answer
from linnet.respond.inbox import Inbox, Item
from linnet.respond.infill import Infill, find_infill
from linnet.respond.pieces import (
    Batch,
    Finish,
    Origin,
    Piece,
    Reasoning,
    Status,
    Text,
    TokenScore,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from linnet.respond.reasoning import OPENING as THOUGHT
from linnet.respond.reasoning import ReasoningReader
from linnet.respond.responder import Abilities, Batches
from linnet.respond.tool_calls import ToolReader
from linnet.respond.tools import (
    ToolFormat,
    as_functions,
    call_constraint,
    find_format,
    template_messages,
    tools_in_messages,
)
from linnet.tokenizer.chat import joined_text

if TYPE_CHECKING:
    from linnet.generate.engine import Engine

_OPENING_TOKENS = 16
"""The end of a prompt in which it can be seen that it begins a thought."""


def refusal_of(
    chat_prompt: Callable[[Sequence[Mapping[str, Any]]], object], name: str
) -> NoConversationError | None:
    """Why no conversation can be had with a model of which this makes prompts; None: it can."""
    try:
        chat_prompt([{"role": "user", "content": "a"}])
    except DataError:
        return None
    except EngineError:
        raise  # that is no property of the model
    except LinnetError as error:
        return NoConversationError(str(error), model=name)
    return None


class EngineResponder:
    """Answers with one engine, and one of its adapters where one is named."""

    def __init__(
        self,
        engine: Engine,
        *,
        name: str = "model",
        adapter: str | None = None,
        executor: Executor | None = None,
    ) -> None:
        """``executor``: threads that read prompts, which may take long; without them the event
        loop does, which is right where it has nothing else to do.
        """
        self.engine = engine
        self.name = name
        self.adapter = adapter
        self.executor = executor
        self._origin = Origin("model", name)

    @property
    def abilities(self) -> Abilities:
        """What it can do; ``tools`` means that it has a chat template."""
        return Abilities(self.name, self.engine.context, tools=self.refusal is None)

    @cached_property
    def refusal(self) -> NoConversationError | None:
        """Why no conversation can be had with the model; None: it can.

        A template that takes other conversations than the shortest is one that works.
        """
        return refusal_of(self.engine.chat_prompt, self.name)

    def require_conversation(self) -> None:
        """Raise NoConversationError where no conversation can be had."""
        if self.refusal is not None:
            raise NoConversationError(str(self.refusal), model=self.name)

    @cached_property
    def infill(self) -> Infill | None:
        """How the model fills in the middle of a text, if it can."""
        return find_infill(self.engine)

    def require_infill(self, part: str) -> Infill:
        """The same; raises ConversationError where it cannot, naming what asks for it."""
        if self.infill is None:
            raise ConversationError(
                f"'{part}' needs a model that fills in the middle, and the vocabulary of "
                f"'{self.name}' has no tokens for that; leave it out",
                part=part,
                code="no_infill",
            )
        return self.infill

    @cached_property
    def tools(self) -> ToolFormat:
        """How the model writes calls of tools."""
        return find_format(self.engine)

    def respond(self, conversation: Conversation, context: Context) -> Batches:
        """See :class:`Responder`."""
        streams = context.interval != math.inf
        return self.write(lambda: self.requests(conversation, streams=streams), context)

    async def write(self, prepare: Callable[[], Requests], context: Context) -> Batches:
        """Have the engine write what ``prepare`` gives; that is called where prompts are read.

        A choice is the place of a text among the requests.
        """
        loop = asyncio.get_running_loop()
        inbox = Inbox(loop)
        work = Work(self.engine, inbox, context)
        undo = context.on_cancel(work.cancel)
        complete = False
        try:
            if self.executor is None:
                wanted = work.begin(prepare)
            else:
                # Both together, as on the way to a thread a call may wait for all others.
                wanted = await loop.run_in_executor(self.executor, work.begin, prepare)
            pause = context.interval if context.interval == math.inf else 0.0
            texts = [_Written() for _ in wanted.texts]
            context.record.model = self.name
            while any(text.finish is None for text in texts):
                items = await inbox.take(pause=pause)
                pause = context.interval
                context.record.first_at = context.record.first_at or inbox.first_at
                errors = [item for _, item in items if not isinstance(item, Chunk)]
                if errors and not any(text.began for text in texts):
                    raise errors[-1]
                if batch := self._batch(items, wanted, texts, context):
                    yield batch
                if errors:
                    raise errors[-1]
            complete = True
        finally:
            undo()
            work.end(complete=complete)

    def requests(self, conversation: Conversation, *, streams: bool = False) -> Requests:
        """What a conversation asks of the engine; ``streams``: arguments are told as they come."""
        callable_ = conversation.callable
        tools = [tool.as_function() for tool in callable_]
        constraint = conversation.constraint
        prompt = self.prompt(conversation)
        several = conversation.parallel_tool_calls
        if tools:
            constraint = call_constraint(self.tools, conversation, tools)
            if conversation.demanded and self.tools.prefix:
                prompt += tuple(self.engine.tokenize(self.tools.prefix, special=True))
        size = self.engine.context
        if len(prompt) >= size:
            raise ContextFullError(len(prompt), size, part="messages")
        sampling = conversation.sampling
        if conversation.fill_context:
            most = min(sampling.max_tokens, usual_answer(len(prompt), size))
            sampling = dataclasses.replace(sampling, max_tokens=most)
        request = Request(
            prompt,
            sampling,
            logprobs=conversation.logprobs,
            adapter=self.adapter,
            top_logprobs=conversation.top_logprobs,
            constraint=constraint,
        )
        requests = repeated([request], conversation.choices)
        names = [tool.name for tool in callable_]
        custom = [tool.name for tool in callable_ if tool.custom]
        readers = [
            ToolReader(
                self.tools, names, demanded=conversation.demanded, several=several, custom=custom,
                streams=streams,
            )
            for _ in requests
            if names
        ]  # fmt: skip
        thoughts = []
        if conversation.separate_reasoning:
            before = self.engine.detokenize(prompt[-_OPENING_TOKENS:])
            within = before.rstrip().endswith(THOUGHT)
            thoughts = [ReasoningReader(within=within) for _ in requests]
        return Requests(requests, conversation.choices, readers, thoughts=thoughts)

    def prompt(self, conversation: Conversation) -> tuple[int, ...]:
        """A conversation as tokens, up to the answer.

        Raises ModelError where the model cannot converse, ConversationError and DataError for
        what is wrong with the conversation.
        """
        self.require_conversation()
        engine = self.engine
        variables = dict(conversation.template_variables)
        if conversation.continue_final_message:
            variables["continue_final_message"] = True
        elif not conversation.add_generation_prompt:
            variables["add_generation_prompt"] = False
        messages: Sequence[Mapping[str, Any]]
        messages = [as_functions(message.as_json()) for message in conversation.messages]
        tools: Sequence[Mapping[str, Any]] = [tool.as_function() for tool in conversation.offered]
        called = tools or any(m.get("tool_calls") or m["role"] == "tool" for m in messages)
        if called and not self.tools.native:
            messages = [{**m, "content": joined_text(m["content"])} for m in messages]
            messages, tools = tools_in_messages(messages, tools, system=self.tools.system), ()
        require_fitting(
            texts_of(messages, tools),
            engine.context,
            lambda text: len(engine.tokenize(text)),
            part="messages",
        )
        if tools:
            variables["tools"] = tools
        try:
            return engine.chat_prompt(template_messages(messages), **variables)
        except LinnetError as error:
            error.part = "messages"
            raise

    def _batch(
        self, items: Sequence[Item], wanted: Requests, texts: Sequence[_Written], context: Context
    ) -> Batch:
        """The pieces of what came, each choice's together."""
        chunks: dict[int, list[Chunk]] = {}
        for place, item in items:
            if isinstance(item, Chunk):
                chunks.setdefault(place, []).append(item)
        batch: list[Piece] = []
        for place, own in chunks.items():
            batch += self._pieces(place, own, wanted, texts[place], context)
        return batch

    def _pieces(
        self, place: int, chunks: list[Chunk], wanted: Requests, text: _Written, context: Context
    ) -> Iterator[Piece]:
        if not text.began:
            text.began = True
            yield Status("writing", choice=place)
        text.count(chunks, context, shared=place % wanted.choices != 0)
        words = "".join([chunk.text for chunk in chunks])
        finish: Any = chunks[-1].finish_reason
        thought = ""
        if wanted.thoughts:
            thought, words = wanted.thoughts[place].push(words)
            if finish is not None:
                last = wanted.thoughts[place].finish()
                thought, words = thought + last[0], words + last[1]
        reader = wanted.readers[place] if wanted.readers else None
        calls: list[ToolCall | ToolCallDelta] = []
        if reader is not None:
            words, calls = reader.push(words)
            if finish is not None:
                rest, more = reader.finish()
                words, calls = words + rest, calls + more
                if reader.called and finish == "stop":
                    finish = "tool_calls"
        scores = self._scores(chunks) if wanted.texts[place].logprobs else ()
        tokens = tuple([token for chunk in chunks for token in chunk.tokens])
        if thought:
            yield Reasoning(thought, choice=place, origin=self._origin)
        if words or tokens:
            yield Text(words, tokens, scores, choice=place, origin=self._origin)
        for call in calls:
            yield dataclasses.replace(call, choice=place, origin=self._origin)
        if finish is not None:
            text.finish = finish
            yield Usage(text.prompt, text.cached, text.written, choice=place)
            yield self._finish(finish, chunks[-1], choice=place)

    def _finish(self, reason: Any, last: Chunk, *, choice: int) -> Finish:
        """The end, with what ended it."""
        ending, score = last.ending, None
        if ending is not None and ending.logprob is not None:
            tops = tuple((self.engine.spelling(other), value) for other, value in ending.top or ())
            score = TokenScore(self.engine.spelling(ending.token), ending.logprob, tops)
        token = None if ending is None else ending.token
        return Finish(reason, last.stop, token, score, choice=choice)

    def _scores(self, chunks: Iterable[Chunk]) -> tuple[TokenScore, ...]:
        """Each token of the chunks with its probability and the likeliest beside it."""

        def spell(token: int) -> bytes:
            return self.engine.token_bytes(token)

        return tuple(
            TokenScore(
                spell(token),
                value,
                tuple(
                    (spell(other), likely)
                    for other, likely in (chunk.top_logprobs[place] if chunk.top_logprobs else ())
                ),
            )
            for chunk in chunks
            for place, (token, value) in enumerate(
                zip(chunk.tokens, chunk.logprobs or (), strict=False)
            )
        )


@dataclass
class _Written:
    """One text as far as it is written."""

    began: bool = False
    finish: str | None = None
    prompt: int = 0
    cached: int = 0
    written: int = 0

    def count(self, chunks: Iterable[Chunk], context: Context, *, shared: bool) -> None:
        """Take note of what came; ``shared``: its prompt was counted with another text."""
        record = context.record
        for chunk in chunks:
            self.written += len(chunk.tokens) + chunk.dropped
            record.tokens.written += len(chunk.tokens) + chunk.dropped
            if chunk.start is not None:
                record.queue_seconds = max(record.queue_seconds, chunk.start.queue_seconds)
                if not shared:
                    self.prompt, self.cached = chunk.start.prompt_tokens, chunk.start.cached_tokens
                    record.tokens.prompt += self.prompt
                    record.tokens.cached += self.cached
