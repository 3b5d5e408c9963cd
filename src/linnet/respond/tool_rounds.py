"""An answer in rounds: tools of servers are called for the model, and it is asked again.

A responder around another. A result goes to the model as a tool's answer, as text of a bounded
size; an answer has a bounded number of rounds. A server that fails is told of (``Failure``), and
the answer goes on without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from linnet.respond.context import Context
from linnet.respond.conversation import ContextFullError, Conversation, Message
from linnet.respond.pieces import (
    Batch,
    Decision,
    Failure,
    Finish,
    Origin,
    Piece,
    Reasoning,
    Status,
    Text,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from linnet.respond.responder import Abilities, Batches, Responder
from linnet.respond.tool_servers import ServerTool, ToolServerError, ToolServers, cut_to

MOST_ROUNDS = 8
"""So often an answer calls tools; after that it is written without them."""
LONGEST_RESULT = 16_000


class ToolServersResponder:
    """Answers by another responder, and calls tools of servers for it where the call may.

    Calls of tools that the client brought are the client's own, as without this.
    """

    def __init__(self, inner: Responder, servers: ToolServers) -> None:
        self.inner = inner
        self.servers = servers

    @property
    def abilities(self) -> Abilities:
        """What the other can do."""
        return self.inner.abilities

    async def respond(self, conversation: Conversation, context: Context) -> Batches:
        """See :class:`Responder`."""
        tools: dict[str, ServerTool] = {}
        if (
            context.server_tools
            and self.inner.abilities.tools
            and conversation.tool_choice in ("auto", "required")
            and conversation.allowed is None
            and conversation.choices == 1
            and not conversation.continue_final_message
        ):
            found, failed = await self.servers.tools()
            if failed:
                yield [Failure(told, code="tool_server") for told in failed]
            taken = {tool.name for tool in conversation.tools}
            tools = {each.tool.name: each for each in found if each.tool.name not in taken}
        if not tools:
            async with contextlib.aclosing(self.inner.respond(conversation, context)) as batches:
                async for batch in batches:
                    yield batch
            return
        asked = conversation.replace(
            tools=(*conversation.tools, *(each.tool for each in tools.values()))
        )
        answer = _Rounds(tools)
        for number in range(MOST_ROUNDS + 1):
            if number == MOST_ROUNDS:
                asked = asked.replace(tool_choice="none")
                yield [Decision("tools", "left out", f"{MOST_ROUNDS} rounds of calls were made")]
            answer.begin()
            async for batch in self._round(asked, context, answer, first=number == 0):
                yield batch
            if number == MOST_ROUNDS or not answer.continues:
                yield answer.end()
                return
            calls = answer.calls
            outcomes = await asyncio.gather(*(self._call(tools[call.name], call) for call in calls))
            yield [piece for piece, _ in outcomes]
            asked = asked.replace(
                messages=(*asked.messages, answer.message(), *(told for _, told in outcomes)),
                tool_choice="auto",
            )

    async def _round(
        self, asked: Conversation, context: Context, answer: _Rounds, *, first: bool
    ) -> Batches:
        """One answer of the model; results that its context does not hold are left out."""
        try:
            async with contextlib.aclosing(self.inner.respond(asked, context)) as batches:
                async for batch in batches:
                    if kept := answer.read(batch):
                        yield kept
            return
        except ContextFullError:
            if first or answer.began:
                raise
        yield [Failure("the results of tools are too long for the model", code="tool_result")]
        without = asked.replace(messages=tuple(map(_without_result, asked.messages)))
        async with contextlib.aclosing(self.inner.respond(without, context)) as batches:
            async for batch in batches:
                if kept := answer.read(batch):
                    yield kept

    async def _call(self, tool: ServerTool, call: ToolCall) -> tuple[Piece, Message]:
        """What is told of a call, and its result as a message."""
        began = time.monotonic()
        origin = Origin("tool", f"{tool.server}/{tool.own_name}")
        piece: Piece
        try:
            text = cut_to(await self.servers.call(tool, call.arguments), self._longest)
            seconds = time.monotonic() - began
            piece = Decision(
                "tool", call.name, f"called at '{tool.server}', {seconds:.1f} s", origin=origin
            )
        except ToolServerError as error:
            text = cut_to(f"error: {error}", self._longest)
            piece = Failure(f"{call.name}: {cut_to(str(error), 300)}", code="tool", origin=origin)
        result = ToolResult(call.id, text, origin=origin)
        return piece, Message("tool", (result,), call.name, origin)

    @property
    def _longest(self) -> int:
        """Characters of a result: about half of what the model can take in."""
        context = self.inner.abilities.context
        return min(LONGEST_RESULT, 2 * context) if context else LONGEST_RESULT


class _Rounds:
    """What the rounds of one answer come to."""

    def __init__(self, tools: Mapping[str, ServerTool]) -> None:
        self.calls: list[ToolCall] = []
        self.began = False
        self._tools = tools
        self._usage: Usage | None = None
        self._shown = False
        self.begin()

    def begin(self) -> None:
        """Another round."""
        self.calls, self.began = [], False
        self._parts: list[Any] = []
        self._client_calls = False
        self._finish: Finish | None = None

    @property
    def continues(self) -> bool:
        """Whether tools are to be called, and the model asked again."""
        is_done = self._finish is None or self._finish.reason != "tool_calls"
        return bool(self.calls) and not self._client_calls and not is_done

    def read(self, batch: Batch) -> list[Piece]:
        """What of a batch is for whoever asked."""
        kept: list[Piece] = []
        for piece in batch:
            self.began = True
            match piece:
                case ToolCall() | ToolCallDelta() if piece.name in self._tools:
                    if isinstance(piece, ToolCall):
                        self.calls.append(piece)
                case Usage():
                    before = self._usage or Usage(0, 0, 0)
                    self._usage = Usage(
                        before.prompt + piece.prompt, before.cached + piece.cached,
                        before.written + piece.written,
                    )  # fmt: skip
                case Finish():
                    self._finish = piece
                case Status(state="writing") if self._shown:
                    pass
                case _:
                    self._shown = self._shown or isinstance(piece, Status)
                    if isinstance(piece, Text | Reasoning):
                        self._parts.append(piece)
                    self._client_calls = self._client_calls or isinstance(piece, ToolCall)
                    kept.append(piece)
        return kept

    def end(self) -> list[Piece]:
        """The counts of all rounds, and why the last one ended."""
        found: list[Piece] = []
        if self.calls:
            names = ", ".join(call.name for call in self.calls)
            why = "beside calls of the client's" if self._client_calls else "the answer has ended"
            found.append(Decision("tools", "not called", f"{names}: {why}"))
        if self._usage is not None:
            found.append(self._usage)
        reason = self._finish.reason if self._finish is not None else "stop"
        if reason == "tool_calls" and not self._client_calls:
            reason = "stop"
        return [*found, Finish(reason)]

    def message(self) -> Message:
        """The round as the model's turn."""
        text = "".join(part.text for part in self._parts if isinstance(part, Text)).strip()
        return Message("assistant", (*((Text(text),) if text else ()), *self.calls))


def _without_result(message: Message) -> Message:
    if message.role != "tool" or message.origin is None or message.origin.kind != "tool":
        return message
    told = "the result is too long"
    parts = tuple(
        replace(part, text=told) if isinstance(part, ToolResult) else part for part in message.parts
    )
    return replace(message, parts=parts)
