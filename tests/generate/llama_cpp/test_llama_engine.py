"""The engine on llama.cpp against the one on torch, on the same weights."""

import dataclasses
import itertools
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import MakeModel

import linnet
from linnet import runtime
from linnet.errors import ConfigError, LinnetError, ModelError
from linnet.generate import Request, Sampling
from linnet.generate.engine import Chunk
from linnet.generate.engines import EngineConfig, open_engine
from linnet.generate.llama_cpp import LlamaCppEngine, open_checkpoint, resources
from linnet.generate.torch_engine import TorchEngine
from linnet.llama_cpp import process as llama_cpp_process
from linnet.model import load_model
from linnet.model.adapter import save_adapter
from linnet.model.lora import adapter_parameters, add_adapter
from linnet.model.lora_config import LoRAConfig

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")

F32 = EngineConfig(precision="f32", threads=1, slots=4)
GREEDY = Sampling(temperature=0, max_tokens=20)
PROMPTS = ("Once upon a", "The fox met a naïve hen", "sang — tra")
NEAR_TIE = 1e-2


@pytest.fixture(scope="module")
def model(make_model: MakeModel) -> Path:
    return make_model("llama", context=256)


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[LlamaCppEngine]:
    opened = open_checkpoint(model, F32)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def exact(model: Path) -> TorchEngine:
    found = linnet.load(model, engine="torch").engine
    assert isinstance(found, TorchEngine)
    return found


def require_same(
    ours: TorchEngine, theirs: LlamaCppEngine, requests: Sequence[Request], *, atol: float = 5e-3
) -> None:
    """The same greedy tokens up to a near tie, and the same log-probabilities up to there."""
    for request, found in zip(requests, theirs.generate(requests), strict=True):
        wanted = ours.generate([request])[0]
        assert wanted.logprobs is not None
        assert found.logprobs is not None
        assert found.top_logprobs is not None
        for place, (token, other) in enumerate(itertools.zip_longest(wanted.tokens, found.tokens)):
            if token != other:
                best, second = found.top_logprobs[place][:2]
                assert best[1] - second[1] < NEAR_TIE, (place, found, wanted)
                break
            assert found.logprobs[place] == pytest.approx(wanted.logprobs[place], abs=atol)
        else:
            assert found.text == wanted.text
            assert found.finish_reason == wanted.finish_reason
            assert found.prompt_tokens == wanted.prompt_tokens


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "gemma2", "apertus"])
def test_agrees_with_torch(family: str, make_model: MakeModel) -> None:
    path = make_model(family)
    opened = open_checkpoint(path, F32)
    ours = linnet.load(path, engine="torch").engine
    assert isinstance(ours, TorchEngine)
    assert opened.context == ours.context
    requests = [Request(text, GREEDY, logprobs=True, top_logprobs=3) for text in PROMPTS]
    try:
        require_same(ours, opened, requests)
    finally:
        opened.close()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "arcee"])
def test_others_agree_with_torch(family: str, make_model: MakeModel) -> None:
    test_agrees_with_torch(family, make_model)


def test_what_llama_cpp_computes_otherwise_is_not_given_to_it(make_model: MakeModel) -> None:
    with pytest.raises(ModelError, match="use engine torch"):
        open_checkpoint(make_model("phi3"), F32)
    windowed = open_checkpoint(make_model("mistral"), F32)
    assert windowed.context == 9
    windowed.close()


def test_several_adapters_and_the_only_one(make_model: MakeModel, tmp_path: Path) -> None:
    base = make_model("gpt2", context=128)  # whose queries, keys and values are one tensor
    for seed, name, targets in ((1, "one", ("all-linear",)), (2, "two", ("c_attn", "c_proj"))):
        model = load_model(base)
        add_adapter(model, name, LoRAConfig(rank=3, targets=targets, rslora=seed == 2))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in adapter_parameters(model, name).values():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        (tmp_path / name).mkdir()
        save_adapter(model, name, tmp_path / name, base=base)
    beside = {"one": tmp_path / "one", "two": tmp_path / "two"}
    several, alone = (
        open_checkpoint(base, F32, adapters=beside),
        open_checkpoint(tmp_path / "one", F32),
    )
    ours = linnet.load(base, adapters=beside, engine="torch").engine
    assert isinstance(ours, TorchEngine)
    try:
        assert several.adapters == ("one", "two")
        asked = [
            Request(PROMPTS[0], GREEDY, logprobs=True, top_logprobs=2, adapter=adapter)
            for adapter in ("one", "two", "base", None)
        ]
        require_same(ours, several, asked)
        texts = [completion.text for completion in several.generate(asked)]
        assert len(set(texts)) == 3
        for place in (0, 1, 0, 2, 1):  # what was computed with another is not taken for it
            assert several.generate(asked[place : place + 1])[0].text == texts[place]
        only = Request(PROMPTS[0], GREEDY, logprobs=True, top_logprobs=2)
        merged = linnet.load(tmp_path / "one", engine="torch").engine
        assert isinstance(merged, TorchEngine)
        require_same(merged, alone, [only])
        assert alone.score(["The fox"])[0].logprobs == pytest.approx(
            merged.score(["The fox"])[0].logprobs, abs=1e-4
        )
        with pytest.raises(ModelError, match="no adapter 'three'; it has: one, two"):
            several.stream(Request("a", adapter="three"))
        with pytest.raises(ModelError, match="'default' is merged into the weights"):
            alone.stream(Request("a", adapter="base"))
    finally:
        several.close()
        alone.close()


def test_an_adapter_with_others_beside_it(make_model: MakeModel, tmp_path: Path) -> None:
    base = make_model("llama", context=128)
    for seed, name in ((1, "one"), (2, "two")):
        model = load_model(base)
        add_adapter(model, name, LoRAConfig(rank=2))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in adapter_parameters(model, name).values():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        (tmp_path / name).mkdir()
        save_adapter(model, name, tmp_path / name, base=base)
    opened = open_checkpoint(tmp_path / "one", F32, adapters={"two": tmp_path / "two"})
    ours = linnet.load(tmp_path / "one", adapters={"two": tmp_path / "two"}, engine="torch").engine
    assert isinstance(ours, TorchEngine)
    try:
        assert set(opened.adapters) == set(ours.adapters) == {"default", "two"}
        require_same(
            ours,
            opened,
            [
                Request(PROMPTS[0], GREEDY, logprobs=True, top_logprobs=2, adapter=adapter)
                for adapter in (None, "two", "base", "default")
            ],
        )
        found, wanted = opened.score(["The fox"])[0], ours.score(["The fox"])[0]
        assert found.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
    finally:
        opened.close()


def test_pieces_are_the_completion(engine: LlamaCppEngine) -> None:
    request = Request("Once upon a", Sampling(max_tokens=40, seed=3, min_p=0))
    whole = engine.generate([request])[0]
    chunks = list(engine.stream(request))
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert sum((chunk.tokens for chunk in chunks), ()) == whole.tokens
    assert engine.detokenize(whole.tokens) == whole.text.removeprefix(" ") or whole.text
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == whole.finish_reason
    assert chunks[0].start is not None
    assert chunks[0].start.prompt_tokens == whole.prompt_tokens
    assert all(chunk.start is None for chunk in chunks[1:])


def test_broken_characters_come_as_on_torch(engine: LlamaCppEngine, exact: TorchEngine) -> None:
    """llama.cpp keeps tokens back that end within a character; none may be missing."""
    lonely = exact.tokenizer.encode("—")[-1]
    bias = ((lonely, 100.0),)
    request = Request("The", Sampling(temperature=0, max_tokens=3, logit_bias=bias))
    found = engine.generate([request])[0]
    assert found.tokens == (lonely,) * 3
    assert found.text == exact.detokenize(found.tokens)
    assert found.finish_reason == "length"


def test_stop_strings_that_span_tokens(engine: LlamaCppEngine, exact: TorchEngine) -> None:
    plain = exact.generate([Request("Once upon a", GREEDY)])[0]
    stop = plain.text[4:9]
    sampling = Sampling(temperature=0, max_tokens=20, stop=(stop,))
    wanted = exact.generate([Request("Once upon a", sampling)])[0]
    found = engine.generate([Request("Once upon a", sampling)])[0]
    assert found == wanted
    assert found.text == plain.text[: plain.text.index(stop)]


def test_seeds_and_every_setting(engine: LlamaCppEngine) -> None:
    sampling = Sampling(
        max_tokens=24, temperature=1.3, top_n_sigma=3.0, top_k=40, top_p=0.95, min_p=0.01,
        typical_p=0.98, seed=5,
        repetition_penalty=1.1, frequency_penalty=0.3, presence_penalty=0.2,
    )  # fmt: skip
    first, again = (engine.generate([Request("The fox", sampling)])[0] for _ in range(2))
    assert first == again
    other = engine.generate([Request("The fox", linnet.config.replace(sampling, {"seed": 6}))])[0]
    assert other != first
    free = Request("The fox", Sampling(max_tokens=24, temperature=3, min_p=0))
    assert len({engine.generate([free])[0].text for _ in range(3)}) > 1


def test_top_n_sigma_is_the_same_filter(engine: LlamaCppEngine, exact: TorchEngine) -> None:
    """What either draws, hot, is of what its paper leaves; and of that nearly everything comes."""
    prompt = "The fox"
    everything = Request(prompt, Sampling(max_tokens=1), logprobs=True, top_logprobs=320)
    (top,) = exact.generate([everything])[0].top_logprobs or ()
    scores = dict(top)
    values = np.array(list(scores.values()))  # logits but for a constant
    kept = {token for token, s in scores.items() if s >= values.max() - 1.2 * values.std()}
    for each in (engine, exact):
        requests = [
            Request(
                prompt, Sampling(max_tokens=1, temperature=50, min_p=0, top_n_sigma=1.2, seed=n)
            )
            for n in range(100)
        ]
        drawn = {completion.tokens for completion in each.generate(requests)}
        assert {token for tokens in drawn for token in tokens} <= kept
        assert len(drawn) > len(kept) / 2


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0, max_tokens=30, repetition_penalty=1.4),
        Sampling(temperature=0, max_tokens=30, frequency_penalty=1.5),
        Sampling(temperature=0, max_tokens=30, logit_bias=((40, 8.0), (41, -100.0))),
        Sampling(temperature=2.0, max_tokens=30, top_k=1),
        Sampling(temperature=2.0, max_tokens=30, top_p=1e-6),
        Sampling(temperature=2.0, max_tokens=30, min_p=1.0),
        Sampling(temperature=2.0, max_tokens=30, min_p=0, top_n_sigma=1e-6),
    ],
    ids=["repetition", "frequency", "bias", "top_k", "top_p", "min_p", "top_n_sigma"],
)
def test_settings_mean_the_same(
    sampling: Sampling, engine: LlamaCppEngine, exact: TorchEngine
) -> None:
    """Where chance has no part; a prompt that the penalties must not count for frequency."""
    require_same(exact, engine, [Request("The fox the", sampling, logprobs=True, top_logprobs=2)])


def test_the_context_is_never_exceeded(engine: LlamaCppEngine, exact: TorchEngine) -> None:
    full = tuple(exact.tokenizer.encode("The fox met the hen. " * 60)[:255])
    found = engine.generate([Request(full, Sampling(max_tokens=50, temperature=0))])[0]
    assert (len(found.tokens), found.finish_reason) == (1, "length")
    with pytest.raises(ModelError, match="the prompt has 256 tokens, but the context holds 256"):
        engine.stream(Request((*full, 3)))
    with pytest.raises(ModelError, match="must be below 320"):
        engine.stream(Request((320,)))


def test_a_shared_beginning_is_not_computed_again(engine: LlamaCppEngine) -> None:
    text = "The fox and the hen — friends at last — sat down, and they sang. " * 4
    sampling = Sampling(temperature=0, max_tokens=2)
    starts = []
    for ending in ("Once", "tra"):
        chunk, *_ = engine.stream(Request(text + ending, sampling))
        assert chunk.start is not None
        starts.append(chunk.start)
    assert starts[1].cached_tokens > 0.9 * starts[1].prompt_tokens


def test_more_texts_than_slots_wait_in_line(engine: LlamaCppEngine) -> None:
    requests = [
        Request("The fox", Sampling(max_tokens=30, temperature=0, logit_bias=((token, 4.0),)))
        for token in range(40, 52)
    ]
    assert len(requests) > engine.resources.slots
    alone = [engine.generate([request])[0].text for request in requests[:3]]
    together = [completion.text for completion in engine.generate(requests)]
    assert together[:3] == alone
    assert engine.dispatcher.running == engine.dispatcher.waiting == 0


def test_slots_may_share_their_context(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_SEPARATE", 0)
    monkeypatch.setattr(
        resources, "memory_bytes", lambda: 512 * 256 * 5
    )  # for 512 tokens of this model
    opened = open_checkpoint(model, F32)
    try:
        assert opened.resources.unified
        assert (opened.resources.total, opened.context) == (512, 256)
        sampling = Sampling(max_tokens=200, temperature=0, logit_bias=((0, -100.0),))
        requests = [Request((token, 60, 70), sampling) for token in range(40, 46)]
        found = opened.generate(requests)
        assert [len(completion.tokens) for completion in found] == [200] * 6
        assert opened.generate(requests[:1])[0].tokens[:20] == found[0].tokens[:20]
    finally:
        opened.close()


def test_conversations_are_kept_when_slots_are_few(model: Path) -> None:
    opened = open_checkpoint(model, EngineConfig(precision="f16", threads=1, slots=1))
    sampling = Sampling(temperature=0, max_tokens=2)
    texts = ["The fox and the hen sat down. " * 6, "Once upon a time, tra la la! " * 6]
    try:
        cached = []
        for text in (*texts, *texts):
            chunk, *_ = opened.stream(Request(text, sampling))
            assert chunk.start is not None
            cached.append(chunk.start.cached_tokens / chunk.start.prompt_tokens)
        assert max(cached[:2]) < 0.1
        assert min(cached[2:]) > 0.9
    finally:
        opened.close()


def test_a_text_that_nobody_wants_any_more_is_stopped(engine: LlamaCppEngine) -> None:
    never = Sampling(max_tokens=240, temperature=0, logit_bias=((0, -100.0),))
    streams = [engine.stream(Request("The fox", never)) for _ in range(engine.resources.slots + 2)]
    next(streams[0])
    for stream in streams:
        stream.close()  # type: ignore[attr-defined]
    started = time.monotonic()
    engine.generate([Request("The", Sampling(max_tokens=1))])
    assert time.monotonic() - started < 1.5
    assert engine.dispatcher.running == engine.dispatcher.waiting == 0


def test_a_rough_day(engine: LlamaCppEngine) -> None:
    """Many who ask at once, some of whom leave, ask nonsense, or fail to listen."""
    dice = random.Random(2)
    ended: queue.Queue[int] = queue.Queue()
    wanted = set()

    def listener(number: int, *, deaf: bool) -> Callable[[Chunk | LinnetError], None]:
        def deliver(piece: Chunk | LinnetError) -> None:
            if deaf:
                raise RuntimeError("nobody listens")
            if isinstance(piece, LinnetError) or piece.finish_reason is not None:
                ended.put(number)

        return deliver

    cancels = []
    for number in range(120):
        kind = dice.choice(("plain", "plain", "leaves", "deaf", "nonsense"))
        sampling = Sampling(max_tokens=dice.randrange(1, 30), seed=number)
        if kind == "nonsense":
            with pytest.raises(ModelError):
                engine.submit(Request((999,), sampling), listener(number, deaf=False))
            continue
        cancel = engine.submit(Request("The fox", sampling), listener(number, deaf=kind == "deaf"))
        if kind == "plain":
            wanted.add(number)
        elif kind == "leaves":
            cancels.append(cancel)
        if cancels and dice.random() < 0.3:
            cancels.pop()()
    for cancel in cancels:
        cancel()
    found = set()
    while not wanted <= found:
        found.add(ended.get(timeout=20))
    assert engine.generate([Request("The fox", GREEDY)])[0].tokens
    assert engine.dispatcher.running == engine.dispatcher.waiting == 0


def test_pieces_are_handed_over(engine: LlamaCppEngine) -> None:
    pieces: queue.Queue[Chunk | LinnetError] = queue.Queue()
    engine.submit(Request("The fox", GREEDY), pieces.put)
    found = []
    while not found or found[-1].finish_reason is None:
        piece = pieces.get(timeout=10)
        assert isinstance(piece, Chunk)
        found.append(piece)
    assert (
        "".join(chunk.text for chunk in found)
        == engine.generate([Request("The fox", GREEDY)])[0].text
    )

    def broken(piece: Chunk | LinnetError) -> None:
        raise RuntimeError("the receiver is gone")

    engine.submit(Request("The fox", GREEDY), broken)
    assert engine.generate([Request("The fox", GREEDY)])[0].text


def endless(opened: LlamaCppEngine, request: Request) -> None:
    while True:
        list(opened.stream(request))


def test_a_killed_process_is_started_again(model: Path) -> None:
    opened = open_checkpoint(model, F32)
    never = Sampling(max_tokens=240, temperature=0, logit_bias=((0, -100.0),))
    before = opened.generate([Request("The fox", GREEDY)])[0]
    streams = [opened.stream(Request("The fox", never)) for _ in range(2)]
    for stream in streams:
        next(stream)
    os.kill(opened.dispatcher.process().id, signal.SIGKILL)
    for stream in streams:
        with pytest.raises(ModelError, match="ended in the middle of a text"):
            list(stream)
    assert opened.generate([Request("The fox", GREEDY)])[0] == before
    place = opened.dispatcher.process().socket
    closing = threading.Timer(0.05, opened.close)
    closing.start()
    with pytest.raises(ModelError, match="closed"):
        endless(opened, Request("The fox", never))
    closing.join()
    assert not Path(place).parent.exists()
    with pytest.raises(ModelError, match="closed"):
        opened.stream(Request("The fox", never))


def test_nothing_is_left_of_a_program_that_was_killed(engine: LlamaCppEngine) -> None:
    program = (
        "import sys, time; from linnet.llama_cpp.process import *;"
        "p = LlamaCppProcess(LlamaCppSettings(sys.argv[1]));"
        "print(p.id, p.socket, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(engine.served.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        process, place = parent.stdout.readline().split()
        assert Path(place).parent.stat().st_mode & 0o077 == 0
        parent.kill()
    deadline = time.monotonic() + 10
    while Path(place).parent.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(place).parent.exists()
    time.sleep(0.1)
    state = Path(f"/proc/{process}/stat")
    assert not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z"


def test_without_unix_sockets_a_key_keeps_others_out(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_cpp_process, "HAS_UNIX_SOCKETS", False)
    opened = open_checkpoint(model, F32)
    try:
        assert opened.generate([Request("The fox", GREEDY)])[0].text
        process = opened.dispatcher.process()
        assert not process.socket
        process.key = "another"
        with pytest.raises(ModelError, match=r"[Kk]ey"):
            opened.generate([Request("The fox", GREEDY)])
    finally:
        opened.close()


def test_chat_prompts_and_tokens_are_linnets(engine: LlamaCppEngine, exact: TorchEngine) -> None:
    messages = [{"role": "user", "content": "sing <|im_end|> now"}]
    assert engine.chat_prompt(messages) == exact.chat_prompt(messages)
    text = "The fox <|endoftext|>"
    for special in (False, True):
        assert engine.tokenize(text, special=special) == exact.tokenize(text, special=special)
    assert engine.detokenize([0, 40, 41]) == exact.detokenize([0, 40, 41])


def test_scores_are_those_of_the_weights_that_are_served(
    model: Path, engine: LlamaCppEngine, exact: TorchEngine
) -> None:
    texts = ["The fox met a naïve hen.", "tra la la"]
    for found, wanted in zip(engine.score(texts), exact.score(texts), strict=True):
        assert found.tokens == wanted.tokens
        assert found.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
    rounded = open_checkpoint(model, EngineConfig(precision="q8_0", threads=1, slots=1))
    try:
        request = Request("The fox", GREEDY, logprobs=True, top_logprobs=2)
        require_same(rounded._scorer, rounded, [request], atol=0.4)
        plain, lossy = engine.score(texts)[0].logprobs, rounded.score(texts)[0].logprobs
        assert lossy == pytest.approx(plain, abs=0.5)
        assert lossy != pytest.approx(plain, abs=1e-3)
    finally:
        rounded.close()


def test_tokens_that_are_none_have_no_bias(engine: LlamaCppEngine, exact: TorchEngine) -> None:
    size = engine.served.vocab_size
    for each in (engine, exact):
        for token in (-1, size, 2**31):
            request = Request("The fox", Sampling(max_tokens=1, logit_bias=((token, 5.0),)))
            with pytest.raises(ConfigError, match=f"logit_bias must name tokens below {size}"):
                each.generate([request])
        assert each.generate([Request("a", Sampling(max_tokens=1, logit_bias=((size - 1, 0.5),)))])


def test_torch_is_exact_unless_asked(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "bf16_pays", lambda: True)
    for precision, name in (("auto", "f32"), ("bf16", "bf16"), ("int8", "int8")):
        opened = open_engine(model, EngineConfig(engine="torch", precision=precision))
        assert isinstance(opened, TorchEngine)
        assert opened.precision == name
        opened.close()


def test_drafts_change_no_text(model: Path, engine: LlamaCppEngine, make_model: MakeModel) -> None:
    text = "the fox met the hen; the fox met the hen; the fox"
    requests = [
        Request(text, Sampling(temperature=0, max_tokens=40)),
        Request(text, Sampling(temperature=0.6, max_tokens=40, seed=3, stop=("q",))),
        Request(text, Sampling(temperature=0, max_tokens=30, frequency_penalty=-2.0)),
        Request(text, Sampling(temperature=0, max_tokens=6), logprobs=True, top_logprobs=2),
    ]
    plain = engine.generate(requests)
    drafting = open_checkpoint(model, dataclasses.replace(F32, lookup="on", draft=str(model)))
    try:
        found = drafting.generate(requests)
    finally:
        drafting.close()
    for ours, theirs in zip(found, plain, strict=True):
        assert (ours.tokens, ours.text) == (theirs.tokens, theirs.text)
        assert ours.logprobs == (theirs.logprobs and pytest.approx(theirs.logprobs, abs=1e-3))
    with pytest.raises(ConfigError, match="no beams; use engine torch"):
        engine.generate([Request(text, Sampling(beams=2))])
    with pytest.raises(ModelError, match="expected"):
        open_checkpoint(model, dataclasses.replace(F32, draft="nowhere"))
