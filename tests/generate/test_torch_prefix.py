"""Beginnings that were computed before are used again, and change nothing."""

import dataclasses
import time
from pathlib import Path

import pytest
import torch
from tiny_models import MakeModel

from linnet.generate import Request, Sampling
from linnet.generate import scheduler as scheduling
from linnet.generate.engine import Start
from linnet.generate.kv_cache import PAGE, PrefixCache
from linnet.generate.torch_engine import TorchEngine
from linnet.model import load_checkpoint

GREEDY = Sampling(temperature=0, max_tokens=16)


def engine_of(path: Path, **options: int) -> TorchEngine:
    return TorchEngine(load_checkpoint(path), **options)


def started(engine: TorchEngine, request: Request) -> tuple[Start, tuple[int, ...]]:
    chunks = list(engine.stream(request))
    assert chunks[0].start is not None
    return chunks[0].start, sum((chunk.tokens for chunk in chunks), ())


def tokens_of(count: int, seed: int = 1) -> tuple[int, ...]:
    random = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(3, 300, (count,), generator=random).tolist())


@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3", "gemma2"])
def test_texts_with_a_cached_beginning_are_the_same(family: str, make_model: MakeModel) -> None:
    path = make_model(family, context=256)
    cached, plain = engine_of(path), engine_of(path, prefix_bytes=0)
    shared = tokens_of(100)
    for end in ((), (7, 9), tokens_of(40, 2), (7, 9, 11)):
        request = Request((*shared, *end), GREEDY, logprobs=True)
        first, again = cached.generate([request])[0], plain.generate([request])[0]
        assert first.tokens == again.tokens
        assert first.logprobs == pytest.approx(again.logprobs, abs=1e-4)
    start, _ = started(cached, Request((*shared, 5), GREEDY))
    assert start.cached_tokens == 3 * PAGE
    assert start.prompt_tokens == 101


def test_what_was_written_is_reused_too(make_model: MakeModel) -> None:
    """The next turn of a chat begins with the one before and its answer."""
    engine = engine_of(make_model("qwen3", context=256))
    prompt = tokens_of(20)
    _, answer = started(engine, Request(prompt, dataclasses.replace(GREEDY, max_tokens=80)))
    start, _ = started(engine, Request((*prompt, *answer, 5, 6), GREEDY))
    assert start.cached_tokens == 3 * PAGE  # the last token written was never read


@pytest.mark.parametrize("step", [64, 512])
def test_requests_at_once_share_their_beginning(
    step: int, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduling, "PREFILL_TOKENS", step)
    monkeypatch.setattr(scheduling, "PREFILL_BESIDE", step)
    path = make_model("llama", context=256)
    engine = engine_of(path)
    prompt = tokens_of(120)
    streams = [engine.stream(Request((*prompt, number), GREEDY)) for number in range(4, 10)]
    chunks = [list(stream) for stream in streams]
    cached = [own[0].start.cached_tokens if own[0].start else None for own in chunks]
    assert cached == [0] + [3 * PAGE] * 5
    alone = engine_of(path, prefix_bytes=0)
    for number, own in zip(range(4, 10), chunks, strict=True):
        text = alone.generate([Request((*prompt, number), GREEDY)])[0].text
        assert "".join(chunk.text for chunk in own) == text


def test_the_second_of_two_long_prompts_begins_at_once(make_model: MakeModel) -> None:
    engine = engine_of(make_model("llama", context=2048))
    prompt = tokens_of(1500)
    engine.generate([Request(tokens_of(40, 3), GREEDY)])
    seconds = []
    for end in (5, 6):
        began = time.perf_counter()
        stream = engine.stream(Request((*prompt, end), GREEDY))
        next(stream)
        seconds.append(time.perf_counter() - began)
        list(stream)
    assert seconds[1] < seconds[0] / 2  # a tenth where it is measured alone; see benchmarks


def test_pages_stay_within_their_memory() -> None:
    """Against a brute-force account: which prefixes were used last, by whole pages."""
    size = torch.zeros(2, PAGE, 2, 1, 4).nbytes
    cache = PrefixCache(5 * size)
    random = torch.Generator().manual_seed(4)
    used: list[tuple[str, tuple[int, ...]]] = []  # prefixes, the oldest first
    for turn in range(300):
        kind = "ab"[turn % 2]
        bits = torch.randint(0, 2, (3,), generator=random).tolist()
        tokens = [bit for bit in bits for _ in range(PAGE)]
        prefixes = [(kind, tuple(tokens[: end * PAGE])) for end in (3, 2, 1)]
        kept = torch.arange(3 * PAGE).float()[None, :, None, None, None].expand(2, -1, 2, 1, 4)
        if turn % 3:
            found = cache.find([*tokens, 9], kind)
            known = [prefix for prefix in prefixes if prefix in used]
            assert len(found) == len(known)
            for place, page in enumerate(found):
                assert torch.equal(page, kept[:, place * PAGE : (place + 1) * PAGE])
            used = [one for one in used if one not in known] + known
        else:
            cache.keep(tokens, kind, kept)
            used = ([one for one in used if one not in prefixes] + prefixes)[-5:]
        assert cache.bytes == len(used) * size <= cache.limit


def test_a_page_is_for_its_own_beginning_only() -> None:
    cache = PrefixCache(1 << 20)
    tokens = [1] * PAGE + [2] * PAGE + [3] * PAGE
    cache.keep(tokens, "base", torch.ones(1, len(tokens), 2, 1, 1))
    assert len(cache.find([*tokens, 4], "base")) == 3
    assert len(cache.find(tokens, "base")) == 2  # something must be left to compute
    assert cache.find([*tokens, 4], "adapter") == []
    assert len(cache.find([1] * PAGE + [3] * PAGE + [4], "base")) == 1
    assert cache.find([2] * PAGE + [3] * PAGE + [4], "base") == []
    nothing = PrefixCache(0)
    nothing.keep(tokens, "base", torch.ones(1, len(tokens), 2, 1, 1))
    assert nothing.find([*tokens, 4], "base") == []
