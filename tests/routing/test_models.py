"""Models beyond this machine: their settings, further attempts, breakers, the fall-back order."""

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linnet import respond
from linnet.errors import ConfigError, LinnetError
from linnet.respond import (
    BudgetExceededError,
    CancelledCallError,
    Context,
    ConversationError,
    DeadlineError,
    Decision,
    Failure,
    Finish,
    RemoteError,
    Status,
    Text,
    TokenBudget,
    conversation,
)
from linnet.respond.prices import trillionths
from linnet.respond.responder import Abilities, Batches
from linnet.routing.budgets import BudgetConfig
from linnet.routing.ledger import open_ledger
from linnet.routing.models import ModelConfig, open_models
from linnet.routing.resilience import (
    CallLimit,
    CircuitBreaker,
    ResilientResponder,
)
from linnet.routing.settings import Routing, read_routing
from strangers import HEAD, PATIENCE, answer, delta, event, refusal, stranger

ASKED = conversation([{"role": "user", "content": "Is it raining?"}])
DOWN = RemoteError("far: cannot be reached", code="unreachable", repeatable=True)
BUSY = RemoteError("far: busy", code="refused", status=503, repeatable=True)
WRONG = RemoteError("far: no such model", code="refused", status=404)
BAD = RemoteError("far: what is this", code="refused", status=400)


def later(seconds: float) -> RemoteError:
    return RemoteError(
        "far: later", code="refused", status=429, repeatable=True, retry_after=seconds
    )


class Scripted:
    """Does what comes next in its script: fails, before or after a text, or answers with it."""

    def __init__(self, *script: LinnetError | str | tuple[str, LinnetError]) -> None:
        self.script = list(script)
        self.asked = 0
        self.abilities = Abilities("far", 100, "elsewhere")

    async def respond(self, conversation: respond.Conversation, context: Context) -> Batches:
        step = self.script[min(self.asked, len(self.script) - 1)]
        self.asked += 1
        yield [Decision("sampling", "left out top_k")]
        if isinstance(step, LinnetError):
            raise step
        if isinstance(step, tuple):
            yield [Status("writing"), Text(step[0])]
            raise step[1]
        yield [Status("writing"), Text(step)]
        yield [Finish("stop")]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def resilient(
    inner: Any, clock: Clock, *, retries: int = 2, failures: int = 99, parallel: int = 9
) -> ResilientResponder:
    breaker = CircuitBreaker(failures=failures, pause=30, clock=clock)
    return ResilientResponder(
        inner, retries=retries, breaker=breaker, limit=CallLimit(parallel), sleep=clock.sleep,
        clock=clock, jitter=lambda: 1.0,
    )  # fmt: skip


def ask(responder: Any, context: Context | None = None) -> tuple[str, list[Any]]:
    """What it answers, or why not; and the pieces."""
    pieces: list[Any] = []
    try:
        pieces.extend(respond.stream(responder, ASKED, context or Context(interval=0)))
    except LinnetError as error:
        return str(error), pieces
    return "".join(piece.text for piece in pieces if isinstance(piece, Text)), pieces


@pytest.mark.parametrize(
    ("script", "said", "slept"),
    [
        (["a"], "a", []),
        ([DOWN, "a"], "a", [0.5]),
        ([DOWN, BUSY, "a"], "a", [0.5, 1.0]),
        ([DOWN, DOWN, BUSY, "a"], "far: busy", [0.5, 1.0]),
        ([later(3), "a"], "a", [3.0]),
        ([later(0.1), "a"], "a", [0.5]),
        ([later(3600), "a"], "far: later", []),
        ([WRONG, "a"], "far: no such model", []),
        ([BAD, "a"], "far: what is this", []),
        ([("It", DOWN), "a"], "far: cannot be reached", []),
        ([DOWN, ("It", DOWN), "a"], "far: cannot be reached", [0.5]),
        ([BudgetExceededError("no more"), "a"], "no more", []),
        ([ConversationError("no"), "a"], "no", []),
    ],
)
def test_what_is_tried_again(script: list[Any], said: str, slept: list[float]) -> None:
    clock = Clock()
    inner = Scripted(*script)
    given, pieces = ask(resilient(inner, clock))
    assert (given, clock.slept) == (said, slept)
    assert inner.asked == len(slept) + 1
    failures = [piece for piece in pieces if isinstance(piece, Failure)]
    assert [failure.text for failure in failures] == [str(step) for step in script[: len(slept)]]
    assert all(failure.code in ("unreachable", "refused") for failure in failures)
    assert [piece.outcome for piece in pieces if isinstance(piece, Decision)] == ["left out top_k"]


def test_nothing_is_tried_again_beyond_the_deadline() -> None:
    clock, inner = Clock(), Scripted(later(15), "a")
    context = Context(interval=0, deadline=time.monotonic() + 10)
    assert ask(resilient(inner, clock), context)[0] == "far: later"
    assert (inner.asked, clock.slept) == (1, [])


def test_pauses_grow_up_to_a_limit_and_differ() -> None:
    clock = Clock()
    ask(resilient(Scripted(DOWN), clock, retries=7))
    assert clock.slept == [0.5, 1, 2, 4, 8, 8, 8]
    far = ResilientResponder(
        Scripted(DOWN), retries=1, breaker=CircuitBreaker(failures=99, pause=1),
        limit=CallLimit(1), sleep=clock.sleep,
    )  # fmt: skip
    for _ in range(5):
        ask(far)
    last = clock.slept[-5:]
    assert len(set(last)) > 1
    assert all(0.25 <= pause <= 0.5 for pause in last)


def test_a_breaker_opens_and_one_call_tries_again() -> None:
    clock = Clock()
    inner = Scripted(*[DOWN] * 3, BUSY, "a", "a", BAD, BAD, BAD, "a")
    far = resilient(inner, clock, retries=0, failures=3)
    states = []
    for _ in range(3):
        ask(far)
        states.append(far.health.state)
    assert states == ["closed", "closed", "open"]
    said, pieces = ask(far)
    assert said == "far is not asked for now, as it failed 3 times in a row: far: cannot be reached"
    assert (inner.asked, pieces) == (3, [])
    clock.now += 29
    assert far.health.wait_seconds == pytest.approx(1)
    ask(far)
    assert inner.asked == 3
    clock.now += 1
    assert far.health.state == "half_open"
    assert ask(far)[0] == "far: busy"  # the one that tried
    assert (far.health.state, far.health.reason, inner.asked) == ("open", "far: busy", 4)
    clock.now += 30
    assert ask(far)[0] == "a"
    health = far.health
    assert (health.state, health.failures, health.reason, health.attempts, health.failed) == (
        "closed", 0, "", 5, 4
    )  # fmt: skip
    ask(far)
    for _ in range(3):  # the request's own fault
        ask(far)
    assert far.health.state == "closed"


def test_further_attempts_end_when_the_breaker_opens() -> None:
    clock, inner = Clock(), Scripted(DOWN)
    assert ask(resilient(inner, clock, retries=5, failures=2))[0] == "far: cannot be reached"
    assert inner.asked == 2


def test_who_tries_again_and_leaves_lets_the_next_one_try() -> None:
    clock = Clock()
    inner = Scripted(DOWN, "a", "a")
    far = resilient(inner, clock, retries=0, failures=1)
    ask(far)
    clock.now += 30
    batches = respond.stream(far, ASKED, Context(interval=0))
    next(batches)
    assert ask(far)[0].startswith("far is not asked for now")
    batches.close()
    assert far.health.state == "half_open"
    assert ask(far)[0] == "a"


class Held:
    """Answers when it is let."""

    def __init__(self) -> None:
        self.abilities = Abilities("far", 100)
        self.running = self.most = 0
        self.gates: list[asyncio.Event] = []

    async def respond(self, conversation: respond.Conversation, context: Context) -> Batches:
        gate = asyncio.Event()
        self.gates.append(gate)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await gate.wait()
            yield [Text("a"), Finish("stop")]
        finally:
            self.running -= 1


async def turns(until: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if until():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


def test_so_many_calls_at_once() -> None:
    async def main() -> None:
        inner, clock = Held(), Clock()
        far = resilient(inner, clock, parallel=2)

        async def call(context: Context) -> list[Any]:
            with context.running():
                return [p async for b in far.respond(ASKED, context) for p in b]

        contexts = [Context() for _ in range(5)]
        tasks = []
        for context in contexts:
            tasks.append(asyncio.create_task(call(context)))
            await asyncio.sleep(0)
        await turns(lambda: len(inner.gates) == 2)
        contexts[2].cancel()  # one that waits
        contexts[0].cancel()  # one that runs
        await turns(lambda: len(inner.gates) == 3)
        for gate in inner.gates:
            gate.set()
        await turns(lambda: len(inner.gates) == 4)
        inner.gates[-1].set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        kinds = [type(each) for each in found]
        assert kinds == [CancelledCallError, list, CancelledCallError, list, list]
        assert inner.most == 2
        assert [p.state for p in found[4] if isinstance(p, Status)] == ["queued"]

    asyncio.run(main())


def test_calls_wait_for_those_of_other_event_loops() -> None:
    limit = CallLimit(1)
    order: list[int] = []
    inside, waiting, leave = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        async def hold() -> None:
            async with limit.taken():
                inside.set()
                await asyncio.to_thread(leave.wait, PATIENCE)
                order.append(1)

        asyncio.run(hold())

    def second() -> None:
        async def wait() -> None:
            task = asyncio.create_task(take())
            await asyncio.sleep(0)
            waiting.set()
            await task

        async def take() -> None:
            async with limit.taken():
                order.append(2)

        asyncio.run(wait())

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(PATIENCE)
    threads[1].start()
    assert waiting.wait(PATIENCE)
    leave.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert order == [1, 2]
    assert not limit.full


TOML = """
[models.one]
address = "{one}"
model = "m"
input = 1.0
output = 2.0

[models.two]
address = "{two}"
model = "n"
input = 0
output = 0
"""


def routing(tmp_path: Path, text: str) -> Routing:
    file = tmp_path / "routing.toml"
    file.write_text(text)
    return read_routing(file)


def test_from_the_file_to_the_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry that is charged for, a broken address, and who answers in the end."""
    monkeypatch.setattr("linnet.routing.resilience.FIRST_PAUSE", 0.001)
    broken = HEAD + event(delta(reasoning_content=""))
    with (
        stranger(answers=[broken, refusal("503 Busy"), answer("It is.")]) as one,
        stranger(answer("No.")) as two,
    ):
        models = open_models(routing(tmp_path, TOML.format(one=one.url, two=two.url)))
        assert list(models) == ["one", "two"]
        context = Context(interval=0, budget=TokenBudget(10_000))
        said, pieces = ask(models["one"], context)
        assert said == "It is."
        assert [p.code for p in pieces if isinstance(p, Failure)] == ["broken_off", "refused"]
        record = context.record
        assert (record.model, record.tokens.prompt, record.tokens.written) == ("one", 15 + 9, 5)
        assert record.cost == 24 * 10**6 + 5 * 2 * 10**6
        assert isinstance(context.budget, TokenBudget)
        assert context.budget.left == 10_000 - 24 - 5
        one.answers = [(refusal("401 No"),)]
        for _ in range(5):
            assert ask(models["one"])[0].endswith("answers with status 401")
        assert {name: health.state for name, health in models.health().items()} == {
            "one": "open", "two": "closed"
        }  # fmt: skip
        heard = len(one.requests)
        assert ask(models["one"])[0].startswith("one is not asked for now")
        assert len(one.requests) == heard
        context = Context(interval=0)
        assert ask(models["two"], context)[0] == "No."
        assert (context.record.model, context.record.cost) == ("two", 0)


def test_a_call_may_be_cancelled_while_it_waits_for_the_next_attempt() -> None:
    async def main() -> None:
        waits = asyncio.Event()

        async def sleep(seconds: float) -> None:
            waits.set()
            await asyncio.Event().wait()

        breaker = CircuitBreaker(failures=9, pause=1)
        far = ResilientResponder(
            Scripted(DOWN, "a"), retries=1, breaker=breaker, limit=CallLimit(1), sleep=sleep
        )
        context = Context()

        async def call() -> None:
            with context.running():
                async for _ in far.respond(ASKED, context):
                    pass

        task = asyncio.create_task(call())
        await waits.wait()
        context.cancel()
        with pytest.raises(CancelledCallError):
            await task
        assert (breaker.health.failures, far._limit.full) == (1, False)

    asyncio.run(main())


class Late:
    """Says nothing until the call has no more time."""

    abilities = Abilities("far", 100)

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock, self.seconds = clock, seconds

    async def respond(self, conversation: respond.Conversation, context: Context) -> Batches:
        self.clock.now += self.seconds
        context.cancel(DeadlineError("late"))
        await asyncio.Event().wait()
        yield []


@pytest.mark.parametrize(("seconds", "state"), [(60, "open"), (1, "closed")])
def test_who_hangs_is_left_alone(seconds: float, state: str) -> None:
    clock = Clock()
    far = resilient(Late(clock, seconds), clock, failures=1)
    assert ask(far)[0] == "late"
    assert far.health.state == state


def test_many_at_once_never_spend_more_than_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 64 calls some are answered, some break off, and some are refused: there is enough for a
    few at once, and not enough for all of them one after the other."""
    monkeypatch.setattr("linnet.routing.resilience.FIRST_PAUSE", 0.001)
    config = BudgetConfig(day=0.1)
    asked = replace(ASKED, sampling=replace(ASKED.sampling, max_tokens=32))
    ledger = open_ledger(tmp_path / "routing.toml", config)
    broken = HEAD + event(delta(content="It is."))
    with stranger(answers=[answer("It is."), broken, refusal("503 Busy")] * 8) as server:
        far = ModelConfig(
            address=server.url, model="m", input=100.0, output=200.0, retries=1, parallel=64
        )
        models = open_models(Routing(models={"far": far}, budget=config), ledger=ledger)
        contexts = [Context() for _ in range(64)]

        async def call(context: Context) -> None:
            with context.running():
                async for _ in models["far"].respond(asked, context):
                    pass

        async def main() -> list[Any]:
            return await asyncio.gather(*map(call, contexts), return_exceptions=True)

        found = asyncio.run(main())
    kinds = {type(each) for each in found}  # what breaks off is tried again, or refused then
    assert {type(None), BudgetExceededError} == kinds - {RemoteError}
    (total, *_) = ledger.spent()
    assert 0 < total.day.cost <= trillionths(0.1)
    assert total.day.cost == sum(context.record.cost for context in contexts)
    assert total.day.reserved == total.day.assumed == 0
    tokens = [context.record.tokens for context in contexts]
    assert total.day.tokens == sum(each.prompt + each.written for each in tokens)
    ledger.close()


def test_without_a_policy_nothing_leaves() -> None:
    with stranger(answer("It is.")) as server:
        far = ModelConfig(address=server.url, model="m", place="elsewhere")
        models = open_models(Routing(models={"far": far}))
        assert "the policy keeps this here" in ask(models["far"])[0]
        assert server.requests == []
        models = open_models(Routing(models={"far": far}), policy=lambda inner: inner)
        assert ask(models["far"])[0] == "It is."


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('address = ""', "needs its address"),
        ('address = "far.example.com"', "expected an address such as"),
        ('address = "ftp://far/v1"', "expected an address such as"),
        ('address = "http://u:p@far/v1"', "holds no key"),
        ('address = "http://127.0.0.1/v1"\nmodel = ""', "needs its model"),
        ("input = 1.0", "input is given, but not output"),
        ("output = 1.0", "output is given, but not input"),
        ("cached = 1.0", "input and output before cached"),
        ("input = -1.0\noutput = 1.0", "0 or more"),
        ("input = nan\noutput = 1.0", "finite"),
        ('input = "cheap"\noutput = 1.0', "input"),
        ("retries = 100", "between 0 and 10"),
        ("first_seconds = 0", "above 0"),
        ("answer_seconds = inf", "finite"),
        ('key_variable = "A"\nkey_file = "b"', "either key_variable or key_file"),
        ('limit_name = "max"', "max_tokens"),
        ('key_varable = "sk-1"', "unknown setting 'key_varable'; did you mean 'key_variable'?"),
    ],
)
def test_what_is_wrong_in_the_file(tmp_path: Path, text: str, words: str) -> None:
    given = {"address": '"https://far.example.com/v1"', "model": '"m"'}
    given = {name: value for name, value in given.items() if f"{name} = " not in text}
    lines = [f"{name} = {value}" for name, value in given.items()]
    with pytest.raises(ConfigError) as raised:
        routing(tmp_path, "\n".join(["[models.far]", *lines, text]))
    assert words in str(raised.value)
    assert "routing.toml: models: far: " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_price_that_is_not_known_is_not_one_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = '[models.far]\naddress = "https://far.example.com/v1"\nmodel = "m"\n'
    config = routing(tmp_path, far).models["far"]
    assert (config.priced, config.price.cost(5, 0, 5), config.runs) == (False, 0, "elsewhere")
    free = routing(tmp_path, far + "input = 0\noutput = 0.5").models["far"]
    assert (free.priced, free.price.cost(5, 5, 2)) == (True, 10**6)
    keyed = routing(tmp_path, far + 'key_variable = "FAR_KEY"')
    monkeypatch.delenv("FAR_KEY", raising=False)
    with pytest.raises(ConfigError, match="FAR_KEY must hold a key"):
        open_models(keyed)
    beside = far + 'key_file = "far.key"'
    with pytest.raises(ConfigError, match="expected a file with a key"):
        open_models(routing(tmp_path, beside))
    (tmp_path / "far.key").write_text("sk-1")
    (tmp_path / "far.key").chmod(0o600)
    assert list(open_models(routing(tmp_path, beside))) == ["far"]
