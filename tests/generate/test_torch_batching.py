"""Many requests at once: they come and go at any step, and none changes another."""

import dataclasses
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import SHAPES, MakeModel

from linnet.errors import LinnetError, ModelError
from linnet.generate import (
    Chunk,
    Completion,
    Request,
    Sampling,
    kv_cache,
    torch_layers,
)
from linnet.generate import scheduler as scheduling
from linnet.generate.engines import EngineConfig, open_engine
from linnet.generate.torch_decoder import Decoder
from linnet.generate.torch_engine import TorchEngine
from linnet.model import load_checkpoint

GREEDY = Sampling(temperature=0, max_tokens=40)


def engine_of(path: Path, **options: int) -> TorchEngine:
    return TorchEngine(load_checkpoint(path), **options)


@pytest.fixture(scope="module")
def path(make_model: MakeModel) -> Path:
    return make_model("qwen3", context=256)


def requests_of(engine: TorchEngine, count: int) -> list[Request]:
    """Prompts and texts of many lengths."""
    random = torch.Generator().manual_seed(3)
    found = []
    for number in range(count):
        length = int(torch.randint(1, 90, (), generator=random))
        prompt = torch.randint(3, 300, (length,), generator=random).tolist()
        sampling = dataclasses.replace(GREEDY, max_tokens=3 + 11 * number % 50)
        found.append(Request(tuple(prompt), sampling, logprobs=True))
    return found


def without_logprobs(completion: Completion) -> Completion:
    return dataclasses.replace(completion, logprobs=None)


@pytest.mark.parametrize("family", SHAPES)
def test_a_crowd_changes_no_text(
    family: str, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiny buckets and pieces, so that texts are read beside others and move on the way."""
    monkeypatch.setattr(kv_cache, "SMALLEST_BUCKET", 16)
    monkeypatch.setattr(scheduling, "PREFILL_BESIDE", 7)
    monkeypatch.setattr(scheduling, "PREFILL_TOKENS", 33)
    path = make_model(family, context=256)
    crowded, lonely = engine_of(path, rows=4), engine_of(path, rows=1, prefix_bytes=0)
    requests = requests_of(crowded, 10)
    together = crowded.generate(requests)
    for request, shared in zip(requests, together, strict=True):
        alone = lonely.generate([request])[0]
        assert without_logprobs(alone) == without_logprobs(shared)
        assert alone.logprobs == pytest.approx(shared.logprobs, abs=1e-4)


def test_threads_get_each_their_own_text(path: Path) -> None:
    engine = engine_of(path)
    requests = requests_of(engine, 12)
    expected = [one.text for one in engine_of(path, prefix_bytes=0).generate(requests)]
    found = [""] * len(requests)

    def read(place: int) -> None:
        found[place] = "".join(chunk.text for chunk in engine.stream(requests[place]))

    threads = [threading.Thread(target=read, args=(place,)) for place in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == expected


def test_open_streams_are_computed_together(path: Path) -> None:
    engine = engine_of(path)
    streams = [engine.stream(Request((7, number), GREEDY)) for number in range(5, 9)]
    for stream in streams:
        next(stream)
    assert engine._runner.running == 4
    assert [len([chunk for chunk in stream if chunk.tokens]) for stream in streams] == [39] * 4


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.002)
    return condition()


def test_a_closed_stream_frees_its_row(make_model: MakeModel) -> None:
    engine = engine_of(make_model("qwen3", context=4096), rows=1)
    long = Request((9,), dataclasses.replace(GREEDY, max_tokens=4000))
    closed, forgotten = engine.stream(long), engine.stream(long)
    next(closed)
    assert wait_for(lambda: bool(engine._runner.scheduler.decoding))
    begun = engine._runner.scheduler.decoding[0]
    closed.close()  # type: ignore[attr-defined]
    assert list(closed) == []
    next(forgotten)
    assert len(begun.tokens) < 4000
    assert wait_for(lambda: bool(engine._runner.scheduler.decoding))
    begun = engine._runner.scheduler.decoding[0]
    del forgotten
    gc.collect()
    assert wait_for(lambda: engine._runner.running + engine._runner.waiting == 0)
    assert len(begun.tokens) < 4000
    waiting = [engine.stream(long) for _ in range(3)]
    for stream in reversed(waiting):
        stream.close()  # type: ignore[attr-defined]
    assert engine.generate([Request((9,), GREEDY)])[0].finish_reason == "length"


def test_queue_time_is_told(path: Path) -> None:
    engine = engine_of(path, rows=1)
    first = engine.stream(Request((9,), dataclasses.replace(GREEDY, max_tokens=200)))
    second = engine.stream(Request((9, 8), GREEDY))
    chunks = list(first)
    waited = next(second).start
    assert chunks[0].start is not None
    assert waited is not None
    assert chunks[0].start.queue_seconds < waited.queue_seconds
    assert waited.prompt_tokens == 2
    assert all(chunk.start is None for chunk in [*chunks[1:], *second])


def test_memory_bounds_how_many_are_written_at_once(path: Path) -> None:
    engine = engine_of(path)
    request = Request(tuple(range(5, 55)), GREEDY)
    engine.generate([request])
    memory = engine._runner.memory
    assert memory is not None
    # Two texts of 90 tokens.
    engine._runner.scheduler.memory_bytes = 200 * memory.layout.bytes_per_token
    most = 0
    streams = [engine.stream(request) for _ in range(6)]
    for stream in streams:
        for _ in stream:
            most = max(most, engine._runner.running)
    assert most == 2


def test_pushed_chunks_are_those_of_the_stream(path: Path) -> None:
    engine = engine_of(path)
    request = Request((5, 6, 7), GREEDY, logprobs=True, top_logprobs=3)
    pushed: list[Chunk | LinnetError] = []
    ended = threading.Event()

    def deliver(what: Chunk | LinnetError) -> None:
        pushed.append(what)
        if isinstance(what, LinnetError) or what.finish_reason:
            ended.set()

    engine.submit(request, deliver)
    assert ended.wait(30)
    text = "".join(chunk.text for chunk in pushed if isinstance(chunk, Chunk))
    assert text == engine.generate([request])[0].text

    def broken(what: Chunk | LinnetError) -> None:
        raise RuntimeError("the receiver is gone")

    engine.submit(request, broken)
    assert engine.generate([request])[0].text == text


def test_a_crash_ends_what_runs_and_nothing_else(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(path)
    expected = engine.generate([Request((5, 6), GREEDY)])
    stream = engine.stream(Request((5, 6), dataclasses.replace(GREEDY, max_tokens=200)))
    next(stream)

    def crash(*_: object) -> torch.Tensor:
        raise RuntimeError("out of\nmemory")

    with monkeypatch.context() as patch:
        patch.setattr(engine._runner._decoder, "step", crash)
        with pytest.raises(ModelError, match=r"computing failed \(RuntimeError: out of memory\)"):
            list(stream)
    assert engine.generate([Request((5, 6), GREEDY)]) == expected


def test_a_closed_engine(path: Path) -> None:
    engine = engine_of(path)
    stream = engine.stream(Request((5, 6), dataclasses.replace(GREEDY, max_tokens=200)))
    next(stream)
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        list(stream)
    with pytest.raises(ModelError, match="closed"):
        engine.generate([Request((5, 6), GREEDY)])
    engine.close()


def test_an_engine_that_nobody_holds_ends_its_thread(path: Path) -> None:
    engine = engine_of(path)
    engine.generate([Request((5, 6), GREEDY)])
    thread = engine._runner._thread
    assert thread is not None
    assert thread.is_alive()
    del engine
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    text = "".join(chunk.text for chunk in engine_of(path).stream(Request((5, 6), GREEDY)))
    assert text


def test_training_goes_on_after_writing(path: Path) -> None:
    """Parameters become views of larger matrices; what they are does not change."""
    checkpoint = load_checkpoint(path)
    before = {name: value.clone() for name, value in checkpoint.model.state_dict().items()}
    TorchEngine(checkpoint).generate([Request((5, 6), GREEDY)])
    after = checkpoint.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    loss = checkpoint.model(torch.tensor([[5, 6, 7]])).square().mean()
    loss.backward()
    optimizer = torch.optim.SGD(checkpoint.model.parameters(), lr=0.1)
    optimizer.step()
    prompt, engine = (5, 6, 7), TorchEngine(checkpoint)
    logits = checkpoint.model(torch.tensor([prompt]))[0, -1].detach()
    told = engine.generate([Request(prompt, dataclasses.replace(GREEDY, max_tokens=1), True)])[0]
    assert told.tokens[0] == int(logits.argmax())
    assert told.logprobs == pytest.approx([float(logits.log_softmax(-1).max())], abs=1e-5)


def test_weights_that_were_trained_meanwhile_are_read_anew(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    engine = TorchEngine(checkpoint)
    request = Request(tuple(range(5, 60)), GREEDY)
    before = engine.generate([request])[0]
    optimizer = torch.optim.SGD(checkpoint.model.parameters(), lr=1.0)
    checkpoint.model(torch.tensor([request.prompt])).square().mean().backward()
    optimizer.step()
    after = engine.generate([request])[0]
    assert after.tokens == TorchEngine(checkpoint).generate([request])[0].tokens != before.tokens


def test_weights_that_are_not_copied_for_lack_of_memory(path: Path) -> None:
    checkpoint = load_checkpoint(path)
    engine = TorchEngine(checkpoint)
    engine._runner._make_decoder = lambda: Decoder(checkpoint.model, memory=0)
    requests = requests_of(engine, 4)
    assert [one.tokens for one in engine.generate(requests)] == [
        one.tokens for one in engine_of(path).generate(requests)
    ]
    decoder = engine._runner._decoder
    assert decoder is not None
    weights = decoder.layers[0].down.weights  # type: ignore[attr-defined]
    assert weights[0].data_ptr() == checkpoint.model.blocks[0].mlp.down.weight.data_ptr()


def test_weights_of_8_bits_say_nearly_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_layers, "WORTH_ROUNDING", 0)
    exact, rounded = engine_of(path), TorchEngine(load_checkpoint(path), int8=True)
    one = dataclasses.replace(GREEDY, max_tokens=1)
    requests = [
        Request(request.prompt, one, logprobs=True, top_logprobs=400)
        for request in requests_of(exact, 8)
    ]
    for ours, theirs in zip(rounded.generate(requests), exact.generate(requests), strict=True):
        assert ours.top_logprobs is not None
        assert theirs.top_logprobs is not None
        told, true = dict(ours.top_logprobs[0]), dict(theirs.top_logprobs[0])
        apart = torch.tensor([abs(told[token] - true[token]) for token in true])
        assert 1e-5 < apart.mean() < 0.15
    assert rounded.score(["The fox"]) == exact.score(["The fox"])
    opened = open_engine(path, EngineConfig(engine="torch", precision="int8"))
    told, true = (engine.generate(requests[:1])[0].logprobs for engine in (opened, exact))
    assert told != true
    assert told == pytest.approx(true, abs=0.5)
