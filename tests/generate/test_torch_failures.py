"""What goes wrong while texts are computed: whoever waits for one is told, and the rest goes on."""

import dataclasses
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tiny_models import MakeModel

from linnet.errors import LinnetError, ModelError
from linnet.generate import Chunk, Request, Sampling, kv_cache
from linnet.generate import scheduler as scheduling
from linnet.generate.kv_cache import PromptCache
from linnet.generate.torch_engine import TorchEngine
from linnet.model import load_checkpoint

GREEDY = Sampling(temperature=0, max_tokens=20)
NO_MEMORY = r"computing failed \(RuntimeError: no memory left\)"


@pytest.fixture
def engine(make_model: MakeModel) -> TorchEngine:
    return TorchEngine(load_checkpoint(Path(make_model("qwen3", context=256))))


class Ending:
    """A submitted request's end, waited for no longer than a while."""

    def __init__(self, engine: TorchEngine, request: Request) -> None:
        self.error: LinnetError | None = None
        self.tokens: list[int] = []
        self._ended = threading.Event()
        engine.submit(request, self._take)

    def _take(self, what: Chunk | LinnetError) -> None:
        if isinstance(what, LinnetError):
            self.error = what
        else:
            self.tokens += what.tokens
        if isinstance(what, LinnetError) or what.finish_reason:
            self._ended.set()

    def reached(self) -> "Ending":
        assert self._ended.wait(20), "neither a text nor an error"
        return self


def strips_that_fail(lengths: Sequence[int]) -> Any:
    """Strips, for which there is no memory where a text has one of these lengths."""

    def make(layout: Any, capacity: int) -> PromptCache:
        if capacity in lengths:
            raise RuntimeError("no memory\nleft")
        return PromptCache(layout, capacity)

    return make


def test_a_text_without_memory_to_read_it_ends_alone(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = Request((5, 6), dataclasses.replace(GREEDY, max_tokens=200))
    expected = engine.generate([request])[0]
    monkeypatch.setattr(kv_cache, "PromptCache", strips_that_fail([7, 9]))
    beside = Ending(engine, request)
    failing = [Ending(engine, Request((9,) * length, GREEDY)) for length in (7, 9, 7)]
    for one in failing:
        error = one.reached().error
        assert isinstance(error, ModelError)
        assert str(error) == "computing failed (RuntimeError: no memory left)"
        assert one.tokens == []
    assert beside.reached().error is None
    assert beside.tokens == list(expected.tokens)
    assert engine._runner.running + engine._runner.waiting == 0
    monkeypatch.setattr(kv_cache, "PromptCache", PromptCache)
    assert engine.generate([Request((9,) * 7, GREEDY)])[0].tokens


def test_a_text_that_is_begun_again_without_memory(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two that begin alike is begun again when the first one's beginning is kept."""
    made: list[int] = []
    all_submitted = threading.Event()

    def make(layout: Any, capacity: int) -> PromptCache:
        assert all_submitted.wait(20)  # whoever comes later would find the beginning kept already
        made.append(capacity)
        if made.count(151) == 2:
            raise RuntimeError("no memory left")
        return PromptCache(layout, capacity)

    monkeypatch.setattr(scheduling, "PREFILL_TOKENS", 64)
    monkeypatch.setattr(kv_cache, "PromptCache", make)
    running = Ending(engine, Request((5,), dataclasses.replace(GREEDY, max_tokens=100)))
    first, second = (
        Ending(engine, Request((*range(5, 155), *more), GREEDY)) for more in ((), (160,))
    )
    all_submitted.set()
    assert first.reached().error is None
    assert isinstance(second.reached().error, ModelError)
    assert made.count(151) == 2
    assert running.reached().error is None


def test_a_decoder_that_cannot_be_made_fails_those_who_wait(engine: TorchEngine) -> None:
    make, tries = engine._runner._make_decoder, 0

    def fail() -> Any:
        nonlocal tries
        tries += 1
        raise RuntimeError("no memory left")

    engine._runner._make_decoder = fail
    for _ in range(2):
        endings = [Ending(engine, Request((5, 6), GREEDY)) for _ in range(3)]
        for one in endings:
            assert isinstance(one.reached().error, ModelError)
    with pytest.raises(ModelError, match=NO_MEMORY):
        engine.generate([Request((5, 6), GREEDY)])
    assert tries <= 7  # one for each request at most: it does not try on by itself
    time.sleep(0.05)
    assert tries <= 7
    assert engine._runner.waiting == 0
    engine._runner._make_decoder = make
    assert engine.generate([Request((5, 6), GREEDY)])[0].tokens


def test_shelves_that_cannot_be_made_fail_those_who_wait(
    engine: TorchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(kv_cache, "Buckets", None)
        error = Ending(engine, Request((5, 6), GREEDY)).reached().error
    assert "TypeError" in str(error)
    assert engine.generate([Request((5, 6), GREEDY)])[0].tokens
