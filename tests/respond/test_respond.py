"""Conversations in, pieces out: through one engine, and through responders around it."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from linnet import respond
from linnet.errors import ConfigError, DataError, EngineError, ModelError
from linnet.generate.engine import Chunk, Request, Start
from linnet.generate.sampling import Sampling
from linnet.respond import (
    Batches,
    CancelledCallError,
    Charge,
    Citation,
    Context,
    Conversation,
    Decision,
    EngineResponder,
    Failure,
    Finish,
    Message,
    Origin,
    Passage,
    Refusal,
    Text,
    TokenBudget,
    ToolResult,
    Usage,
    conversation,
)
from linnet.respond.inbox import Inbox

PATIENCE = 20.0
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather", "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}  # fmt: skip
ASKED = [{"role": "user", "content": "Is it raining in Ulm?"}]


def nothing(request: Request, deliver: Callable[[Any], None]) -> None:
    """Chunks are delivered by hand."""


class Scripted:
    """Tokens are characters; writes what it is told to, from a thread, at once or by hand."""

    adapters: Sequence[str] = ()
    precision = ""
    advice = None

    def __init__(
        self, answer: str | Callable[[str], str] = "It is.", *, context: int = 4000
    ) -> None:
        self.answer = answer if callable(answer) else lambda prompt: answer
        self.context = context
        self.requests: list[Request] = []
        self.delivers: list[Callable[[Any], None]] = []
        self.cancelled: list[int] = []
        self.write: Callable[[Request, Callable[[Any], None]], None] = self._write
        """What is done in a thread for each request."""

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        return [ord(character) for character in text]

    def detokenize(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))

    def token_bytes(self, token: int) -> bytes:
        return chr(token).encode()

    def chat_prompt(self, messages: Sequence[Mapping[str, Any]], **more: Any) -> tuple[int, ...]:
        lines = [f"<{m['role']}> {m['content']}" for m in messages]
        return tuple(map(ord, "\n".join(lines)))

    def submit(self, request: Request, deliver: Callable[[Any], None]) -> Callable[[], None]:
        place = len(self.requests)
        self.requests.append(request)
        self.delivers.append(deliver)
        threading.Thread(target=self.write, args=(request, deliver)).start()
        return lambda: self.cancelled.append(place)

    def _write(self, request: Request, deliver: Callable[[Any], None]) -> None:
        prompt = self.detokenize(request.prompt)  # type: ignore[arg-type]
        start: Start | None = Start(len(prompt), 1, 0.25)
        for character in self.answer(prompt)[: request.sampling.max_tokens]:
            deliver(Chunk(character, (ord(character),), start=start))
            start = None
        deliver(Chunk("", (), "stop", start=start))

    def stream(self, request: Request) -> Any:
        raise NotImplementedError

    generate = score = stream

    def close(self) -> None:
        pass


def responder(engine: Any) -> EngineResponder:
    return EngineResponder(engine, name="tiny")


# --- one engine ---------------------------------------------------------------------------------


def test_an_answer_in_pieces_and_whole() -> None:
    engine = Scripted("It is.")
    asked = conversation([{"role": "system", "content": "Be brief."}, *ASKED])
    (answer,) = respond.run(responder(engine), asked)
    prompt = "<system> Be brief.\n<user> Is it raining in Ulm?"
    assert engine.detokenize(engine.requests[0].prompt) == prompt  # type: ignore[arg-type]
    assert (answer.text, answer.finish_reason) == ("It is.", "stop")
    assert answer.tokens == tuple(map(ord, "It is."))
    assert answer.prompt_tokens == len(prompt)
    context = Context()
    pieces = list(respond.stream(responder(engine), asked, context))
    assert "".join(p.text for p in pieces if isinstance(p, Text)) == "It is."
    assert {p.origin for p in pieces if isinstance(p, Text)} == {Origin("model", "tiny")}
    assert isinstance(pieces[-1], Finish)
    assert pieces[-2] == Usage(prompt=len(prompt), cached=1, written=6)
    record = context.record
    assert (record.model, record.choices, record.queue_seconds) == ("tiny", 1, 0.25)
    assert (record.tokens.prompt, record.tokens.cached, record.tokens.written) == (
        len(prompt), 1, 6,
    )  # fmt: skip
    assert record.first_at is not None
    assert engine.cancelled == []  # what has ended is left alone


def test_several_answers_share_a_prompt_and_have_seeds_of_their_own() -> None:
    engine = Scripted("yes")
    context = Context(interval=float("inf"))
    asked = conversation(ASKED, sampling=Sampling(seed=7), choices=3)
    answers = respond.run(responder(engine), asked, context)
    assert [answer.text for answer in answers] == ["yes"] * 3
    assert [request.sampling.seed for request in engine.requests] == [7, 8, 9]
    assert context.record.tokens.prompt == len("<user> Is it raining in Ulm?")
    assert context.record.tokens.written == 9


def test_tools_are_shown_called_and_answered() -> None:
    def say(prompt: str) -> str:
        if "<tool_response>\ndry" in prompt:
            return "It is dry."
        return 'I look. <tool_call>{"name": "weather", "arguments": {"city": "Ulm"}}</tool_call>'

    engine = Scripted(say)
    asked = conversation(ASKED, [WEATHER])
    (answer,) = respond.run(responder(engine), asked)
    (call,) = answer.tool_calls
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "Ulm"})
    assert (answer.text, answer.finish_reason) == ("I look. ", "tool_calls")
    result = Message("tool", (ToolResult(call.id, "dry"),))
    more = asked.replace(messages=(*asked.messages, answer.message(), result))
    (answer,) = respond.run(responder(engine), more)
    assert (answer.text, answer.tool_calls) == ("It is dry.", ())
    for choice in ("required", "tool:weather"):
        respond.run(responder(engine), asked.replace(tool_choice=choice))
        assert engine.requests[-1].constraint is not None
    with pytest.raises(ConfigError, match="none of the tools") as raised:
        respond.run(responder(engine), asked.replace(tool_choice="tool:time"))
    assert raised.value.part == "tool_choice"


@pytest.mark.parametrize(
    "given",
    [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "system", "content": "", "name": "Ada"},
        {"role": "assistant", "content": "b", "reasoning_content": "hm"},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "dry", "tool_call_id": "c", "name": "weather"},
        {"role": "ipython", "content": "x", "weight": 0},
    ],
)  # fmt: skip
def test_messages_are_the_same_there_and_back(given: dict[str, Any]) -> None:
    assert Message.from_json(given).as_json() == given


@pytest.mark.parametrize(
    ("messages", "tools", "words"),
    [
        ([{"content": "a"}], (), "role and content"),
        (["a"], (), "role and content"),
        ([{"role": "user", "content": 3}], (), "text or parts"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], (), "cannot read"),
        ([{"role": "assistant", "tool_calls": [{"name": "f"}]}], (), "a function and its name"),
        (ASKED, ["weather"], "expected a tool as"),
        (ASKED, [{"function": {"name": "a", "parameters": []}}], "a JSON Schema"),
        (ASKED, [{"function": {"name": "a", "paramters": {}}}], "unknown key 'paramters'"),
    ],
)
def test_what_is_no_conversation_is_said(messages: Any, tools: Any, words: str) -> None:
    with pytest.raises(DataError, match=words):
        conversation(messages, tools)


@pytest.mark.parametrize(
    ("found", "words"),
    [({}, "a JSON list"), ([], "a JSON list"), ([{"function": {"name": "a"}}] * 2, "named 'a'")],
)
def test_a_file_of_tools_that_is_none(found: Any, words: str) -> None:
    with pytest.raises(DataError, match=rf"t\.json: .*{words}"):
        respond.tools_of(found, "t.json")


def test_a_model_that_cannot_converse_says_why() -> None:
    class Stopped(Scripted):
        def chat_prompt(self, messages: Any, **more: Any) -> tuple[int, ...]:
            raise ModelError("the chat template is stopped: it does not end")

    class Strict(Scripted):
        def chat_prompt(self, messages: Any, **more: Any) -> tuple[int, ...]:
            if messages[0]["role"] != "system":
                raise DataError("the chat template refuses: a system message comes first")
            return super().chat_prompt(messages, **more)

    with pytest.raises(ModelError, match="it does not end"):
        respond.run(responder(Stopped()), conversation(ASKED))
    with pytest.raises(DataError, match="comes first") as raised:
        respond.run(responder(Strict()), conversation(ASKED))
    assert raised.value.part == "messages"
    system = [{"role": "system", "content": "S"}, *ASKED]
    assert respond.run(responder(Strict()), conversation(system))[0].text == "It is."


# --- batches, wake-ups, cancelling --------------------------------------------------------------


def test_tokens_wake_nobody_while_the_reader_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread, and no wake-up of the event loop, for each token."""
    engine = Scripted()
    engine.write = nothing
    woken: list[str] = []
    plain = Inbox._wake

    def noted(inbox: Inbox) -> None:
        woken.append(threading.current_thread().name)
        plain(inbox)

    monkeypatch.setattr(Inbox, "_wake", noted)
    batches: list[int] = []

    async def read() -> None:
        context = Context(interval=3600.0)  # only the end of a text ends such a pause
        stack = Layer(Layer(responder(engine)))
        with context.running():
            async for batch in stack.respond(conversation(ASKED), context):
                batches.append(len(batch))

    async def main() -> None:
        work = asyncio.create_task(read())
        while not engine.delivers:
            await asyncio.sleep(0)
        (deliver,) = engine.delivers
        deliver(Chunk("a", (97,), start=Start(1, 0, 0.0)))
        while not batches:
            await asyncio.sleep(0)
        threads, woke = set(threading.enumerate()), len(woken)
        for _ in range(1000):
            deliver(Chunk("a", (97,)))
        await asyncio.sleep(0.01)
        assert set(threading.enumerate()) <= threads
        assert (len(woken), len(batches)) == (woke, 1)
        deliver(Chunk("", (), "stop"))
        await asyncio.wait_for(work, PATIENCE)

    asyncio.run(main())
    assert len(woken) <= 2  # for the first token and the end
    assert len(batches) == 2


class Layer:
    """Passes everything on."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.abilities = inner, inner.abilities

    async def respond(self, asked: Conversation, context: Context) -> Batches:
        async with contextlib.aclosing(self.inner.respond(asked, context)) as batches:
            async for batch in batches:
                yield batch


@pytest.mark.parametrize("how", ["another thread", "closing", "deadline"])
def test_cancelling_reaches_the_engine_at_once(how: str) -> None:
    engine = Scripted()
    engine.write = nothing
    context = Context(deadline=time.monotonic() + 0.05 if how == "deadline" else float("inf"))

    async def read(reading: asyncio.Event) -> None:
        with context.running():
            batches = Layer(responder(engine)).respond(conversation(ASKED), context)
            async with contextlib.aclosing(batches):
                reading.set()
                await anext(batches)

    async def main() -> None:
        reading = asyncio.Event()
        work = asyncio.create_task(read(reading))
        await reading.wait()
        while not engine.delivers:
            await asyncio.sleep(0)
        if how == "another thread":
            await asyncio.to_thread(context.cancel, EngineError("enough"))
            assert engine.cancelled == [0]  # not even the loop had a turn
        elif how == "closing":
            work.cancel()
        await asyncio.wait([work], timeout=PATIENCE)
        error = None if work.cancelled() else work.exception()
        assert {"another thread": EngineError, "closing": type(None),
                "deadline": respond.DeadlineError}[how] is type(error)  # fmt: skip

    asyncio.run(main())
    assert engine.cancelled == [0]


def test_what_is_cancelled_before_it_begins_is_not_begun() -> None:
    engine, context = Scripted(), Context()
    context.cancel()
    with pytest.raises(CancelledCallError):
        respond.run(responder(engine), conversation(ASKED), context)
    assert engine.requests == []
    called: list[int] = []
    context.on_cancel(lambda: called.append(1))
    assert called == [1]


def test_leaving_a_stream_cancels_it() -> None:
    engine = Scripted("a" * 50)
    engine.write = lambda request, deliver: deliver(Chunk("a", (97,)))
    stream = respond.stream(responder(engine), conversation(ASKED))
    next(stream)
    stream.close()
    assert engine.cancelled == [0]


def test_an_engine_that_fails_gives_what_was_there_first() -> None:
    engine = Scripted()

    def fail(request: Request, deliver: Callable[[Any], None]) -> None:
        deliver(Chunk("It ", (1, 2, 3)))
        deliver(EngineError("it died"))

    engine.write = fail
    stream = respond.stream(responder(engine), conversation(ASKED), Context(interval=float("inf")))
    answer = respond.Answer()

    def read() -> None:
        for piece in stream:
            answer.add(piece)

    with pytest.raises(EngineError, match="it died"):
        read()
    assert answer.text in ("", "It ")  # whatever was given out before it was known


def test_where_a_loop_runs_already() -> None:
    """As in a notebook."""

    async def main() -> str:
        return respond.run(responder(Scripted()), conversation(ASKED))[0].text

    assert asyncio.run(main()) == "It is."


def test_a_budget_holds_and_is_settled() -> None:
    prompt = len("<user> Is it raining in Ulm?")
    budget = TokenBudget(prompt + 100)
    asked = conversation(ASKED, sampling=Sampling(max_tokens=100))
    respond.run(responder(Scripted("It is.")), asked, Context(budget=budget))
    assert budget.left == 100 - len("It is.")
    engine = Scripted()
    with pytest.raises(ConfigError, match="the budget has 94 tokens left") as raised:
        respond.run(responder(engine), asked, Context(budget=budget))
    assert raised.value.code == "budget_exceeded"  # type: ignore[attr-defined]
    assert (engine.requests, budget.left) == ([], 94)
    many = TokenBudget(1000)
    settles = [many.reserve(Charge(60, 40)) for _ in range(10)]
    for settle in settles:
        settle(30, 0)
        settle(30, 0)  # once only
    assert many.left == 700


# --- responders around others -------------------------------------------------------------------

SHELF = {"birds.txt": "The robin sings in spring. The owl sings at night."}


class Retrieval:
    """Finds sentences that share a word with the question, puts them before it, and cites them."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.abilities = inner, inner.abilities

    async def respond(self, asked: Conversation, context: Context) -> Batches:
        found = await asyncio.to_thread(self._search, asked.messages[-1].text)
        if not found:
            yield [Failure("nothing was found", code="no_passage")]
        yield found
        told = Message("system", tuple(found) + tuple(Text(p.text) for p in found))
        changed = asked.replace(messages=(told, *asked.messages))
        async with contextlib.aclosing(self.inner.respond(changed, context)) as batches:
            async for batch in batches:
                for piece in batch:
                    if isinstance(piece, Finish):
                        yield [Citation(p.source, p.start, p.end, p.text, choice=piece.choice)
                               for p in found]  # fmt: skip
                    yield [piece]

    def _search(self, question: str) -> list[Passage]:
        wanted = {word.strip("?.").lower() for word in question.split()}
        found = []
        for source, text in SHELF.items():
            for sentence in text.split(". "):
                if wanted & set(sentence.rstrip(".").lower().split()[1:2]):
                    start = text.index(sentence)
                    found.append(
                        Passage(source, start, start + len(sentence), sentence,
                                tags=frozenset({"local-only"}))
                    )  # fmt: skip
        return found


class Guard:
    """Refuses what has to do with secrets, on the way in and on the way out."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.abilities = inner, inner.abilities

    async def respond(self, asked: Conversation, context: Context) -> Batches:
        if "secret" in asked.messages[-1].text:
            yield [Refusal("That stays here.", "secret"), Finish("refusal")]
            return
        async with contextlib.aclosing(self.inner.respond(asked, context)) as batches:
            async for batch in batches:
                if any(isinstance(piece, Text) and "secret" in piece.text for piece in batch):
                    yield [Refusal("That stays here.", "leak"), Finish("refusal")]
                    return
                yield batch


class Router:
    """Hard questions go to the larger model, unless something in them may not leave."""

    def __init__(self, small: Any, large: Any) -> None:
        self.small, self.large = small, large
        self.abilities = small.abilities

    async def respond(self, asked: Conversation, context: Context) -> Batches:
        tags = {tag for m in asked.messages for part in m.parts for tag in part.tags}
        hard = "why" in asked.messages[-1].text.lower()
        chosen = self.large if hard and "local-only" not in tags else self.small
        reason = "local-only" if "local-only" in tags else ("hard" if hard else "simple")
        yield [Decision("model", chosen.abilities.name, reason)]
        try:
            async for batch in chosen.respond(asked, context):
                yield batch
        except EngineError as error:
            yield [Failure(str(error), code="fallback")]
            async for batch in self.small.respond(asked, context):
                yield batch


def test_responders_compose() -> None:
    small = EngineResponder(Scripted(lambda p: f"small: {p.splitlines()[0]}"), name="small")  # type: ignore[arg-type]
    large = EngineResponder(Scripted("large"), name="large")  # type: ignore[arg-type]
    stack = Guard(Retrieval(Router(small, large)))

    def ask(question: str) -> tuple[respond.Answer, Context]:
        context = Context()
        answer = respond.Answer()
        asked = conversation([{"role": "user", "content": question}])
        for piece in respond.stream(stack, asked, context):
            answer.add(piece)
        return answer, context

    answer, context = ask("Why does the owl sing?")
    (passage,) = answer.passages
    assert SHELF[passage.source][passage.start : passage.end] == passage.text
    assert answer.text == f"small: <system> {passage.text}"  # it is there, and may not leave
    (citation,) = answer.citations
    assert (citation.source, citation.start, citation.end) == (
        passage.source, passage.start, passage.end,
    )  # fmt: skip
    assert [type(piece) for piece in context.record.noted] == [Passage, Decision, Citation]
    assert context.record.model == "small"
    assert isinstance(answer.pieces[-1], Finish)

    answer, context = ask("Why is the sky blue?")
    assert (answer.text, context.record.model) == ("large", "large")
    assert [piece.as_json() for piece in context.record.noted] == [
        {"type": "error", "text": "nothing was found", "code": "no_passage"},
        {"type": "decision", "subject": "model", "outcome": "large", "reason": "hard"},
    ]
    answer, _ = ask("Tell me a secret")
    assert (answer.refusal, answer.text, answer.finish_reason) == (
        "That stays here.",
        "",
        "refusal",
    )


def test_a_guard_that_ends_an_answer_stops_the_engine() -> None:
    engine = Scripted("a secret word, and much more")
    stack = Guard(responder(engine))
    answer = respond.run(stack, conversation(ASKED))[0]
    assert (answer.refusal, answer.text) == ("That stays here.", "")
    engine.write = lambda request, deliver: deliver(Chunk("secret", (1,)))
    stream = respond.stream(stack, conversation(ASKED))
    assert [type(piece) for piece in stream] == [Refusal, Finish]
    assert engine.cancelled[-1] == 1


def test_a_router_falls_back() -> None:
    class Dead(Scripted):
        def submit(self, request: Request, deliver: Any) -> Any:
            raise EngineError("no answer")

    stack = Router(responder(Scripted("small")), EngineResponder(Dead(), name="large"))  # type: ignore[arg-type]
    context = Context()
    pieces = list(
        respond.stream(stack, conversation([{"role": "user", "content": "why?"}]), context)
    )
    assert "".join(p.text for p in pieces if isinstance(p, Text)) == "small"
    assert [p.kind for p in context.record.noted] == ["decision", "error"]
