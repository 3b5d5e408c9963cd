"""The training loop: exact resume, limits that hold, checkpoints that others read."""

import json
import math
import os
import signal
import stat
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from linnet import artifact
from linnet.errors import (
    ArtifactError,
    BudgetError,
    ConfigError,
    DamagedError,
    DataError,
    ModelError,
    StoppedError,
    TrainingError,
)
from linnet.model import Transformer
from linnet.model.weights import Written, open_weights, write_weights
from linnet.progress import Progress
from linnet.runtime import Runtime
from linnet.shards import Shards
from linnet.shards.batches import Batch
from linnet.shards.encoding import encode_texts
from linnet.shards.writer import SplitWriter, write_description
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer
from linnet.train import TrainConfig, train
from linnet.train import loop as loop_module
from linnet.train import machine as machine_module
from linnet.train import state as state_module
from linnet.train.execution import compile_ahead
from linnet.train.metrics import load_plotting
from linnet.train.objectives import Loss, next_token
from linnet.train.validation import continue_text

pytestmark = pytest.mark.usefixtures("undrawn")

SMALL = {
    "width": 32,
    "depth": 2,
    "head_width": 16,
    "context": 32,
    "batch_tokens": 128,
    "threads": 1,
    "compile": "no",
    "dtype": "fp32",  # what is chosen is measured, and may differ from run to run
    "steps": 24,
    "validation_interval": 8,
}


def texts(count: int, seed: int) -> list[str]:
    words = "the cat sat on a mat and saw one small grey bird fly home over wet grass"
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(words.split(), 30)) + "." for _ in range(count)]


def make_shards(directory: Path, *, documents: int = 60) -> Path:
    tokenizer = directory / "tokenizer"
    config = TokenizerConfig(kind="bpe", vocab_size=320)
    train_tokenizer(texts(40, 0), tokenizer, config, inputs={})
    loaded = load(tokenizer)
    out = directory / "shards"
    entries = {}
    with artifact.create(out, kind="shards", format=1, config={}, inputs={}) as draft:
        for split, count in (("train", documents), ("validation", 12), ("test", 3)):
            size = loaded.vocab_size
            with SplitWriter(draft.path, split, vocab_size=size, shard_tokens=400) as writer:
                for encoded in encode_texts(texts(count, hash(split) % 7 + 1), loaded):
                    writer.append(encoded.ids, encoded.text_bytes)
            entries[split] = writer.entries
        write_description(draft.path, vocab_size=loaded.vocab_size, end_of_text=0, splits=entries)
        loaded.save(draft.path / "tokenizer")
    return out


def lines(model: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen3", "arcee", "apertus"])
def test_learns_and_saves_a_checkpoint_that_transformers_reads(
    family: str, shards: Path, tmp_path: Path
) -> None:
    transformers = pytest.importorskip("transformers")
    found = train(shards, tmp_path / "model", TrainConfig(**SMALL, family=family))
    losses = [entry["validation_loss"] for entry in lines(found.path) if "validation_loss" in entry]
    assert losses[-1] < math.log(Shards.open(shards).vocab_size) - 1
    assert found.stats["steps"] == 24
    model = transformers.AutoModelForCausalLM.from_pretrained(found.path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(found.path)
    ids = tokenizer("the cat sat", return_tensors="pt").input_ids
    from linnet.model import load_model

    with torch.inference_mode():
        torch.testing.assert_close(
            load_model(found.path)(ids), model(ids).logits, atol=1e-4, rtol=1e-4
        )
    assert model.config.eos_token_id == tokenizer.eos_token_id == 0


def stop_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask to stop as Ctrl-C would, once ``step`` steps are done."""
    original = loop_module.Loop._step

    def counted(self: object, task: object) -> None:
        original(self, task)  # type: ignore[arg-type]
        if self.pace.step == step:  # type: ignore[attr-defined]
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(loop_module.Loop, "_step", counted)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw", "family": "gpt2", "dropout": 0.2},
        {"micro_rows": 2, "schedule": "cosine", "warmup": 0.1, "tied": True},
    ],
)
def test_a_stopped_run_ends_with_the_same_weights(
    changes: dict[str, object], shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(**(SMALL | changes))
    whole = train(shards, tmp_path / "whole", config)
    with monkeypatch.context() as patch:
        stop_at(11, patch)
        with pytest.raises(StoppedError, match=r"step 11 of 24.*same command"):
            train(shards, tmp_path / "resumed", config)
    assert not (tmp_path / "resumed").exists()
    resumed = train(shards, tmp_path / "resumed", config)
    assert_same_weights(whole.path, resumed.path)
    assert [e["loss"] for e in lines(whole.path) if "loss" in e] == [
        e["loss"] for e in lines(resumed.path) if "loss" in e
    ]
    assert whole.content == resumed.content


SCRIPT = """
import json, sys
from pathlib import Path
from linnet.train import TrainConfig, train
train(Path(sys.argv[1]), Path(sys.argv[2]), TrainConfig(**json.loads(sys.argv[3])))
"""


def test_a_killed_run_ends_with_the_same_weights(shards: Path, tmp_path: Path) -> None:
    settings = SMALL | {"steps": 150, "save_seconds": 0.05}
    config = TrainConfig(**settings)
    command = [sys.executable, "-c", SCRIPT, str(shards)]
    killed = subprocess.Popen([*command, str(tmp_path / "killed"), json.dumps(settings)])
    state = tmp_path / ".killed.partial" / "state" / "state.safetensors"
    while not state.exists() and killed.poll() is None:
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    assert state.exists(), "the run ended before it could be killed"
    assert not (tmp_path / "killed").exists()
    resumed = train(shards, tmp_path / "killed", config)
    whole = train(shards, tmp_path / "whole", config)
    assert_same_weights(whole.path, resumed.path)


def test_the_best_weights_are_kept(shards: Path, tmp_path: Path) -> None:
    """Whatever so high a rate does, the best is kept, and patience ends the run."""
    config = TrainConfig(
        **(SMALL | {"steps": 60, "validation_interval": 3, "decay": 0.0, "matrix_lr": 0.5}),
        patience=4,
    )
    found = train(shards, tmp_path / "model", config)
    losses = {e["step"]: e["validation_loss"] for e in lines(found.path) if "validation_loss" in e}
    best = min(losses, key=lambda step: losses[step])
    assert found.stats["best_step"] == best
    assert found.stats["steps"] == min(60, best + 4 * 3)


def test_a_time_limit_sets_the_steps(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_module, "FINISH_SECONDS", 0.5)
    load_plotting()  # or the first import would take most of the time
    config = TrainConfig(**(SMALL | {"steps": 0, "seconds": 4.0, "validation_interval": 0}))
    found = train(shards, tmp_path / "model", config)
    rates = [entry["lr"] for entry in lines(found.path) if "lr" in entry]
    assert found.stats["steps"] > 3  # as many as a busy machine takes
    assert rates[0] == max(rates)
    assert 0 < min(rates) == rates[-1] < 0.7 * max(rates), "busy or not, it comes down"
    with pytest.raises(BudgetError, match="too short"):
        train(shards, tmp_path / "none", TrainConfig(**(SMALL | {"steps": 0, "seconds": 0.001})))


def test_a_bit_that_changed_in_a_saved_state_is_noticed(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is; and the message says what happens then."""
    file = tmp_path / "state.safetensors"
    tensors = {"a": torch.randn(3, 4), "b.c": torch.arange(3), "h": torch.ones(2).half()}
    state_module.write_tensors(file, tensors, {"step": 3})
    whole = file.read_bytes()
    assert {k: v.tolist() for k, v in state_module.read_tensors(file)} == {
        k: v.tolist() for k, v in tensors.items()
    }
    for bit in range(0, 8 * len(whole), 3):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        with pytest.raises(DamagedError, match=r"to start this run anew"):
            dict(state_module.read_tensors(file), numbers=state_module.read_numbers(file))
    with monkeypatch.context() as patch:
        stop_at(5, patch)
        with pytest.raises(StoppedError):
            train(shards, tmp_path / "model", TrainConfig(**SMALL))
    saved = tmp_path / ".model.partial" / "state" / "state.safetensors"
    changed = bytearray(saved.read_bytes())
    changed[-1000] ^= 4
    saved.write_bytes(changed)
    with pytest.raises(DamagedError, match=r"tensors changed since.*delete .*\.model\.partial to"):
        train(shards, tmp_path / "model", TrainConfig(**SMALL))


def test_weights_are_written_as_the_library_does_and_may_be_read_as_the_umask_says(
    tmp_path: Path,
) -> None:
    tensors = {"b": torch.randn(3, 4), "a": torch.ones(2), "h": torch.zeros(2, 1).bfloat16()}
    written = [Written(name, (value,), value.dtype) for name, value in tensors.items()]
    file = tmp_path / "model.safetensors"
    for umask, mode in ((0o022, 0o644), (0o007, 0o660), (0o077, 0o600)):
        before = os.umask(umask)
        try:
            write_weights(written, tmp_path)
            state_module.write_tensors(tmp_path / "state", tensors, {})
        finally:
            os.umask(before)
        assert stat.S_IMODE(file.stat().st_mode) == mode
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == mode
    assert file.read_bytes() == save(tensors, {"format": "pt"})


def test_weights_that_may_not_be_read_are_named_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_weights([Written("a", (torch.ones(2),), torch.float32)], tmp_path)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read everything
    with pytest.raises(ModelError, match=r"model\.safetensors may not be read by this user"):
        open_weights(tmp_path)


def test_too_little_text_and_damaged_shards(tmp_path: Path) -> None:
    few = make_shards(tmp_path, documents=1)
    with pytest.raises(DataError, match="at least 65 tokens"):
        train(few, tmp_path / "model", TrainConfig(**(SMALL | {"context": 64})))
    file = next(few.glob("train-*.bin"))
    file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(ArtifactError, match=r"train-00000\.bin.*again"):
        train(few, tmp_path / "model", TrainConfig(**SMALL))
    assert not (tmp_path / "model").exists()


def test_short_rows_come_first(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tokens, in rows of a quarter of the context for three quarters of the run."""
    shapes: list[tuple[int, ...]] = []
    tokens: list[list[int]] = []

    def noted(model: Transformer, batch: Batch) -> Loss:
        if model.training:
            shapes.append(tuple(batch.tokens.shape))
            tokens.append(batch.tokens.flatten().tolist())
            assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
        return next_token(model, batch)

    changes = SMALL | {"steps": 8, "short_rows": 0.75, "short_length": 8}
    train(shards, tmp_path / "short", TrainConfig(**changes), objective=noted)
    assert shapes == [(16, 8)] * 6 + [(4, 32)] * 2
    read = tokens.copy()
    tokens.clear()
    train(shards, tmp_path / "whole", TrainConfig(**(SMALL | {"steps": 8})), objective=noted)
    assert tokens == read
    for wrong in ({"short_rows": 1.5}, {"short_rows": 0.5, "short_length": 5}):
        with pytest.raises(ConfigError, match="short_"):
            TrainConfig(**(SMALL | wrong))


def test_a_model_that_does_not_fit_is_refused_before_it_is_made(
    shards: Path, tmp_path: Path
) -> None:
    config = TrainConfig(**(SMALL | {"width": 1 << 20}))
    with pytest.raises(ConfigError, match=r"width 1048576, .* of memory to train, .* smaller ones"):
        train(shards, tmp_path / "model", config)


def test_weights_that_are_no_numbers_after_the_last_step_fail(shards: Path, tmp_path: Path) -> None:
    """The only loss that was seen is finite."""
    config = TrainConfig(**(SMALL | {"steps": 1, "matrix_lr": 1e38, "optimizer": "adamw"}))
    with pytest.raises(TrainingError, match=r"step 1 weights are no longer numbers.*--matrix-lr"):
        train(shards, tmp_path / "model", config)
    assert not (tmp_path / "model").exists()


def test_scores_that_are_no_numbers_end_a_sample() -> None:
    model = Transformer(TrainConfig(**SMALL).model(64, end_of_text=0, pad=None)).eval()
    with torch.no_grad():
        model.embedding.weight.fill_(math.nan)
    generator = torch.Generator()
    assert continue_text(model, [1, 2], stop_ids=(0,), generator=generator) == []


def test_weights_too_large_to_compute_with_fail(shards: Path, tmp_path: Path) -> None:
    """They are numbers, and so is the only loss that was seen; what they compute is none."""
    config = TrainConfig(**(SMALL | {"steps": 1, "matrix_lr": 1e38}))
    with pytest.raises(TrainingError, match=r"the validation loss is no number.*--matrix-lr"):
        train(shards, tmp_path / "model", config)
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("seconds", "cost", "pays"),
    [(50, 25.0, False), (80, 36.7, False), (80, 5.0, True), (300, 36.7, True), (300, 120.0, False)],
)
def test_compiling_has_to_be_worth_its_time(
    seconds: float, cost: float, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("linnet.runtime.has_compiler", lambda: True)
    monkeypatch.setattr(machine_module, "compile_seconds", lambda: cost)
    machine = Runtime("cpu", "fp32", 2)
    timed = TrainConfig(seconds=seconds)
    assert machine_module.should_compile(timed, machine) is pays
    for chosen, expected in (("yes", True), ("no", False)):
        assert machine_module.should_compile(replace(timed, compile=chosen), machine) is expected  # type: ignore[arg-type]


def test_what_is_measured_does_not_decide_over_a_run_by_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("linnet.runtime.has_compiler", lambda: True)
    monkeypatch.setattr(machine_module, "compile_seconds", lambda: pytest.fail("measured"))
    machine = Runtime("cpu", "fp32", 2)
    found = [machine_module.should_compile(TrainConfig(steps=n), machine) for n in (10, 100_000)]
    assert found == [False, True]
    assert not machine_module.should_compile(TrainConfig(steps=100_000, seconds=60), machine)


@pytest.mark.parametrize("recompute", [False, True])
def test_where_compiling_fails_training_goes_on_without(recompute: bool) -> None:
    """The backward pass fails, as with half a file in torch's cache: torch does not fall back."""
    model = Transformer(TrainConfig(**SMALL).model(64, end_of_text=0, pad=None)).train()
    ids = torch.arange(32).view(1, 32)
    before = model(ids)

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, gradient: torch.Tensor) -> torch.Tensor:
            raise ImportError("main.so: file too short")

    class Heard(Progress):
        said = ""

        def warn(self, text: str) -> None:
            self.said = text

    for block in model.blocks:
        plain = block.forward
        broken = lambda x, *rest, plain=plain, **named: Broken.apply(plain(x, *rest, **named))  # noqa: E731
        block._compiled_call_impl = broken
        if recompute:
            block.forward = broken
    random, heard = torch.get_rng_state(), Heard()
    assert not compile_ahead(model, rows=2, length=32, progress=heard)
    assert "compiling failed" in heard.said
    assert "file too short" in heard.said
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(model(ids), before)
    model(ids).sum().backward()


@pytest.mark.slow
def test_a_compiled_run_resumes_exactly(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(**(SMALL | {"compile": "yes", "dtype": "bf16"}))
    whole = train(shards, tmp_path / "whole", config)
    with monkeypatch.context() as patch:
        stop_at(7, patch)
        with pytest.raises(StoppedError):
            train(shards, tmp_path / "resumed", config)
    assert_same_weights(whole.path, train(shards, tmp_path / "resumed", config).path)
