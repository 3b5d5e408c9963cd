"""Models that are opened when they are used: leases, memory, age, new versions, and all at once."""

import asyncio
import http.client
import itertools
import json
import random
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest
from scripted import Running, ScriptedEngine

from linnet.errors import ModelError
from linnet.serve import Catalog, ServeConfig, Served
from linnet.serve import streaming as streaming_module
from linnet.serve.catalog import Summary
from linnet.serve.errors import ApiError
from linnet.serve.keys import KeyLimits, add_key
from linnet.serve.pool import ModelSource, Pool, PoolSettings

PATIENCE = 20.0


class Model:
    """A made model: what opens it, and all that were opened."""

    def __init__(self, name: str, *, bytes: int = 10, pinned: bool = False) -> None:
        self.name = name
        self.version: Any = 1
        self.error: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.engines: list[ScriptedEngine] = []
        described = [Served(name, summary=Summary(is_chat=True, context=4000, bytes=bytes))]
        self.source = ModelSource(
            name, described, self.open, bytes=bytes, version=lambda: self.version, pinned=pinned
        )

    def open(self) -> Sequence[Served]:
        self.begun.set()
        assert self.gate.wait(PATIENCE)
        if self.error is not None:
            raise self.error
        version = self.version
        self.engines.append(Guarded(lambda prompt, _: f"{self.name} {version}: {prompt[-5:]}"))
        return [Served(self.name, self.engines[-1])]

    @property
    def closed(self) -> list[bool]:
        return [engine.closed for engine in self.engines]


class Guarded(ScriptedEngine):
    """Answers nothing once it was closed."""

    def begin(self, request: Any) -> Any:
        assert not self.closed
        return super().begin(request)


def pool_of(*models: Model, clock: Callable[[], float] | None = None, **settings: Any) -> Pool:
    """Time goes on by one whenever it is looked at, unless there is a clock."""
    clock = clock or itertools.count().__next__
    settings = {"memory": 10, "patience": 0.0, "look": 0.0, **settings}
    return Pool([model.source for model in models], PoolSettings(**settings), clock=clock)


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(PATIENCE):
            await work()

    asyncio.run(within())


async def settled(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_one_is_opened_once_for_all_who_wait_and_the_oldest_makes_way() -> None:
    a, b, c = Model("a"), Model("b"), Model("c")

    async def work() -> None:
        pool = pool_of(a, b, c, memory=20)
        first, second = await asyncio.gather(pool.wait("a"), pool.wait("a"))
        assert len(a.engines) == 1
        assert first.model is second.model
        first.release()
        first.release()  # counts once
        (await pool.wait("b")).release()
        assert [each.name for each in pool.loaded()] == ["a", "b"]
        (await pool.wait("c")).release()  # b makes way, as a has a lease, though it is older
        assert (a.closed, b.closed, c.closed) == ([False], [True], [False])
        second.release()
        (await pool.wait("b")).release()
        assert (a.closed, c.closed) == ([False], [True])  # a was used later than c
        pool.close()
        assert a.closed == [True]

    run(work)


def test_what_is_in_use_takes_on_nothing_more_once_another_waits() -> None:
    a, b = Model("a"), Model("b")

    async def work() -> None:
        pool = pool_of(a, b)
        used = await pool.wait("a")
        other = asyncio.ensure_future(pool.wait("b"))
        await settled(lambda: not pool.is_loaded("a"))
        again = asyncio.ensure_future(pool.wait("a"))
        await asyncio.sleep(0)
        assert not other.done()
        assert a.closed == [False]
        used.release()
        lease = await other
        assert a.closed == [True]
        assert not again.done()
        lease.release()
        (await again).release()
        assert (len(a.engines), b.closed) == (2, [True])
        pool.close()

    run(work)


def test_one_for_which_nobody_waits_any_more_is_not_opened() -> None:
    a, b = Model("a"), Model("b")

    async def work() -> None:
        pool = pool_of(a, b)
        used = await pool.wait("a")
        leaver = asyncio.ensure_future(pool.wait("b"))
        await settled(lambda: not pool.is_loaded("a"))
        stayer = asyncio.ensure_future(pool.wait("a"))
        await asyncio.sleep(0)
        leaver.cancel()
        (await stayer).release()  # it answers again
        used.release()
        assert (len(a.engines), b.engines) == (1, [])
        assert a.closed == [False]
        pool.close()

    run(work)


def test_a_lease_that_comes_too_late_is_released() -> None:
    a, b = Model("a"), Model("b")

    async def work() -> None:
        pool = pool_of(a, b)
        leaver = asyncio.ensure_future(pool.wait("a"))
        loop = asyncio.get_running_loop()
        pool.on_open = lambda *_: loop.call_soon(leaver.cancel)  # type: ignore[assignment, return-value]
        with pytest.raises(asyncio.CancelledError):
            await leaver
        (await pool.wait("b")).release()
        assert a.closed == [True]
        pool.close()

    run(work)


def test_pinned_ones_stay_and_others_go_by_age_or_when_they_are_told_to() -> None:
    pinned, a, b = Model("pinned", pinned=True), Model("a"), Model("b")
    reasons: list[tuple[str, str]] = []

    async def work() -> None:
        now = [0.0]
        pool = pool_of(pinned, a, b, memory=20, keep_alive=300.0, clock=lambda: now[0])
        pool.on_close = lambda name, reason: reasons.append((name, reason))
        (await pool.wait("pinned")).release()
        (await pool.wait("a")).release()
        (await pool.wait("b")).release()
        assert reasons == [("a", "memory")]
        kept = {each.name: each.expires_at is None for each in pool.loaded()}
        assert kept == {"pinned": True, "b": False}
        now[0] = 301.0
        pool._expire()  # as its timer does
        await settled(lambda: len(reasons) == 2)
        assert reasons[-1] == ("b", "idle")
        lease = await pool.wait("a")
        pool.keep("a", 0)
        assert pool.is_loaded("a")
        lease.release()
        await settled(lambda: len(reasons) == 3)
        assert reasons[-1] == ("a", "asked")
        (await pool.wait("a")).release()
        pool.keep("a", -1)
        now[0] = 10_000.0
        pool._expire()
        assert pool.is_loaded("a")
        pool.keep("a", None)  # as the server has it, which is over
        await settled(lambda: len(reasons) == 4)
        assert pinned.closed == [False]
        pool.close()

    run(work)


def test_what_cannot_be_opened_refuses_by_name_and_is_tried_again_later() -> None:
    a, b = Model("a"), Model("b")
    a.error = ModelError("/secret/place/model.safetensors is damaged")

    async def refused(pool: Pool) -> ApiError:
        with pytest.raises(ApiError) as found:
            await pool.wait("a")
        return found.value

    async def work() -> None:
        now = [0.0]
        pool = pool_of(a, b, clock=lambda: now[0], retry=10.0)
        both = await asyncio.gather(refused(pool), refused(pool))
        for error in both:
            assert (error.status, error.code) == (503, "model_unavailable")
            assert error.message == (
                "The model 'a' cannot be opened now: model.safetensors is damaged."
            )
        (await pool.wait("b")).release()  # others can
        a.error, a.begun = None, threading.Event()
        now[0] = 6.0
        assert (await refused(pool)).retry_after == 4.0
        assert not a.begun.is_set()
        a.version = 2  # somebody repaired it
        (await pool.wait("a")).release()
        a.error = RuntimeError("a secret of the implementation")
        (await pool.wait("b")).release()
        assert "secret" not in (await refused(pool)).message
        a.error, now[0] = None, 20.0
        (await pool.wait("a")).release()
        pool.close()

    run(work)


def test_a_new_version_is_opened_beside_the_old_one_which_ends_what_it_began() -> None:
    a = Model("a")

    async def work() -> None:
        pool = pool_of(a, memory=20)
        old = await pool.wait("a")
        a.version = 2
        a.gate.clear()
        seen = pool.lease("a")
        assert seen is not None
        seen.release()
        await settled(lambda: len(pool._queue) == 1)
        meanwhile = pool.lease("a")  # nobody waits for the new one
        assert meanwhile is not None
        assert meanwhile.model is old.model
        a.gate.set()
        await settled(lambda: len(a.engines) == 2)
        await settled(lambda: not pool._queue)
        new = await pool.wait("a")
        assert new.model.engine is a.engines[1]
        assert a.closed == [False, False]
        meanwhile.release()
        assert a.closed == [False, False]
        old.release()
        await settled(lambda: a.closed == [True, False])
        a.error, a.version = ModelError("it is half copied"), 3
        broken = pool.lease("a")
        assert broken is not None
        broken.release()
        await settled(lambda: pool._by_name["a"].failed is not None)
        assert pool.lease("a") is not None  # the old version goes on
        assert len(a.engines) == 2
        pool.close()

    run(work)


def test_a_new_version_waits_for_the_old_one_where_memory_holds_one() -> None:
    a = Model("a")

    async def work() -> None:
        pool = pool_of(a)
        old = await pool.wait("a")
        a.version = 2
        seen = pool.lease("a")
        assert seen is not None
        seen.release()
        await settled(lambda: not pool.is_loaded("a"))
        waiting = asyncio.ensure_future(pool.wait("a"))
        await asyncio.sleep(0)
        assert len(a.engines) == 1
        old.release()
        lease = await waiting
        assert lease.model.engine is a.engines[1]
        assert a.closed == [True, False]
        pool.close()

    run(work)


def test_files_that_change_while_they_are_read_are_read_again() -> None:
    a = Model("a")
    versions = iter([1, 2, 2, 2])  # before and after the first time, and the second

    async def work() -> None:
        described = a.source.described
        source = ModelSource("a", described, a.open, bytes=10, version=lambda: next(versions, 2))
        pool = Pool([source], PoolSettings(look=0.0))
        (await pool.wait("a")).release()
        assert a.closed == [True, False]
        pool.close()

    run(work)


def server(*models: Model, settings: PoolSettings | None = None, **more: Any) -> Running:
    catalog = Catalog(
        sources=[model.source for model in models],
        settings=settings or PoolSettings(memory=10, patience=0.0, look=0.0),
    )
    return Running(catalog, ServeConfig(port=0, log="off", **more))


def ask(running: Running, model: str, words: str, *, stream: bool, key: str = "") -> Any:
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
    body = {"model": model, "messages": [{"role": "user", "content": words}], "stream": stream}
    headers = {"Content-Type": "application/json"} | (
        {"Authorization": f"Bearer {key}"} if key else {}
    )
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection.getresponse()


def text_of(events: str) -> str:
    parts = [json.loads(e[6:]) for e in events.split("\n\n") if e.startswith("data: {")]
    return "".join(part["choices"][0]["delta"].get("content", "") for part in parts)


def figures(running: Running) -> str:
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE)
    connection.request("GET", "/metrics")
    return connection.getresponse().read().decode()


def test_many_requests_for_three_models_in_memory_for_one() -> None:
    """Nothing hangs, no answer is lost or is another model's, and one at a time is open."""
    models = {name: Model(name) for name in "abc"}
    open_now, most = [0], [0]
    lock = threading.Lock()

    def counted(model: Model) -> Model:
        opener = model.open

        def open_one() -> Sequence[Served]:
            found = opener()
            with lock:
                open_now[0] += 1
                most[0] = max(most[0], open_now[0])
            close = model.engines[-1].close

            def closing() -> None:
                with lock:
                    open_now[0] -= not model.engines[-1].closed
                close()

            model.engines[-1].close = closing  # type: ignore[method-assign]
            return found

        object.__setattr__(model.source, "open", open_one)
        return model

    running = server(*(counted(model) for model in models.values()))
    failures: list[str] = []
    made = random.Random(5)
    plans = [[(made.choice("abc"), made.random()) for _ in range(5)] for _ in range(12)]

    def talk(number: int, plan: list[tuple[str, float]]) -> None:
        try:
            for turn, (model, chance) in enumerate(plan):
                words = f"{number:02}-{turn:02}"
                answer = ask(running, model, words, stream=chance < 0.6)
                if chance < 0.2:  # leaves in the middle
                    answer.close()
                    continue
                body = answer.read().decode()
                text = (
                    text_of(body)
                    if chance < 0.6
                    else json.loads(body)["choices"][0]["message"]["content"]
                )
                if text != f"{model} 1: {words}":
                    failures.append(f"{words}: {answer.status} {body[-200:]}")
        except Exception as error:
            failures.append(repr(error))

    threads = [threading.Thread(target=talk, args=each) for each in enumerate(plans)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    said = figures(running)
    running.stop()
    assert failures == []
    assert most == [1]
    assert all(all(model.closed) and model.engines for model in models.values())
    opened = sum(len(model.engines) for model in models.values())
    seen = [
        float(line.split()[-1]) for line in said.splitlines() if "model_load_seconds_count" in line
    ]
    assert sum(seen) == opened
    assert 'linnet_model_closings_total{model="a",reason="memory"}' in said
    assert (
        sum("linnet_model_loaded{" in line and line.endswith(" 1.0") for line in said.splitlines())
        == 1
    )


def test_a_stream_lives_while_its_model_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_module, "SILENCE_SECONDS", 0.02)
    monkeypatch.setattr(streaming_module, "KEEP_ALIVE_SECONDS", 0.02)
    a, b = Model("a"), Model("b")
    a.gate.clear()
    b.gate.clear()
    b.error = ModelError("it is damaged")
    running = server(a, b, max_requests=2)
    try:
        answer = ask(running, "a:latest", "hello", stream=True)
        assert answer.read(22).decode() == ": waiting\n\n: waiting\n\n"
        broken = ask(running, "b", "hello", stream=True)
        assert broken.read(11)
        full = ask(running, "a", "hello", stream=False)  # two wait already
        assert (full.status, json.loads(full.read())["error"]["code"]) == (429, "queue_full")
        assert "linnet_waiting_for_models 2.0" in figures(running)
        a.gate.set()
        assert text_of(answer.read().decode()) == "a 1: hello"
        b.gate.set()
        rest = broken.read().decode()
        assert "The model 'b' cannot be opened now: it is damaged." in rest
        assert rest.endswith("data: [DONE]\n\n")
        plain = ask(running, "b", "hello", stream=False)
        assert (plain.status, plain.headers["retry-after"]) == (503, "10")
        assert running.server.service.doorkeeper.waiting == 0
    finally:
        running.stop()


def test_loading_a_model_is_answered_in_the_stream_that_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clients of Ollama load a model by asking nothing, and stream unless they say otherwise."""
    monkeypatch.setattr(streaming_module, "SILENCE_SECONDS", 0.02)
    for path, body in (("generate", {}), ("chat", {"messages": []})):
        a = Model("a")
        a.gate.clear()
        running = server(a)
        try:
            place = urlsplit(running.url)
            connection = http.client.HTTPConnection(
                place.hostname or "", place.port, timeout=PATIENCE
            )
            connection.request("POST", f"/api/{path}", json.dumps({"model": "a", **body}))
            answer = connection.getresponse()  # it has begun
            a.gate.set()
            lines = [json.loads(line) for line in answer.read().splitlines()]
            assert [line["done"] for line in lines[:-1]] == [False] * (len(lines) - 1)
            assert (len(lines) > 1, lines[-1]["done_reason"]) == (True, "load"), lines
        finally:
            running.stop()


def test_what_is_said_of_models_that_are_not_open() -> None:
    a, b = Model("a"), Model("b")
    running = server(a, b)
    try:
        assert ask(running, "a", "x", stream=False).read()
        place = urlsplit(running.url)

        def got(path: str, **headers: str) -> Any:
            connection = http.client.HTTPConnection(
                place.hostname or "", place.port, timeout=PATIENCE
            )
            connection.request("GET", path, headers=headers)
            return json.loads(connection.getresponse().read())

        cards = {card["id"]: card["linnet"] for card in got("/v1/models")["data"]}
        assert {name: card["loaded"] for name, card in cards.items()} == {"a": True, "b": False}
        assert cards["b"] == {**cards["a"], "loaded": False}
        assert got("/v1/models/b")["linnet"] == cards["b"]
        theirs = got("/v1/models", **{"anthropic-version": "2023-06-01"})
        assert [card["max_input_tokens"] for card in theirs["data"]] == [4000, 4000]
        assert [card["name"] for card in got("/api/tags")["models"]] == ["a:latest", "b:latest"]
        assert [card["name"] for card in got("/api/ps")["models"]] == ["a:latest"]
        assert not b.engines
    finally:
        running.stop()


def test_one_key_does_not_take_all_the_places_to_wait(tmp_path: Any) -> None:
    a = Model("a")
    a.gate.clear()
    file = tmp_path / "keys.json"
    key = add_key(file, "few", KeyLimits(concurrent=1))
    running = server(a, keys=file)
    try:
        got: list[Any] = []
        first = threading.Thread(
            target=lambda: got.append(ask(running, "a", "x", stream=False, key=key).status)
        )
        first.start()
        assert a.begun.wait(PATIENCE)
        assert ask(running, "a", "x", stream=False, key=key).status == 429
        a.gate.set()
        first.join(PATIENCE)
        assert got == [200]
    finally:
        running.stop()


def test_stopping_while_a_model_is_opened() -> None:
    a = Model("a")
    a.gate.clear()
    running = server(a, grace=0.1)
    got: list[Any] = []

    def talk() -> None:
        answer = ask(running, "a", "hello", stream=False)
        got.append((answer.status, json.loads(answer.read())["error"]["code"]))

    client = threading.Thread(target=talk)
    client.start()
    assert a.begun.wait(PATIENCE)
    running.stop()
    client.join(PATIENCE)
    assert got == [(503, "stopping")]
    a.gate.set()  # what arrives now is closed at once
    running.server.catalog.pool._executor.shutdown(wait=True)
    assert a.closed == [True]
