"""The training loop: exact resume, limits that hold, checkpoints that others read."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from linnet import artifact
from linnet.errors import ArtifactError, BudgetError, DataError, StoppedError
from linnet.shards import Shards
from linnet.shards.encoding import encode_texts
from linnet.shards.writer import SplitWriter, write_description
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer
from linnet.train import TrainConfig, train
from linnet.train import loop as loop_module

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


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("data"))


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
            os.kill(os.getpid(), signal.SIGINT)

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
    config = TrainConfig(**(SMALL | {"steps": 0, "seconds": 4.0, "validation_interval": 0}))
    found = train(shards, tmp_path / "model", config)
    rates = [entry["lr"] for entry in lines(found.path) if "lr" in entry]
    assert found.stats["steps"] > 20
    assert rates[0] == max(rates)
    assert rates[-1] < 0.3 * max(rates), "the rate reaches its end when the time is up"
    with pytest.raises(BudgetError, match="too short"):
        train(shards, tmp_path / "none", TrainConfig(**(SMALL | {"steps": 0, "seconds": 0.001})))


def test_too_little_text_and_damaged_shards(tmp_path: Path) -> None:
    few = make_shards(tmp_path, documents=1)
    with pytest.raises(DataError, match="at least 65 tokens"):
        train(few, tmp_path / "model", TrainConfig(**(SMALL | {"context": 64})))
    file = next(few.glob("train-*.bin"))
    file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(ArtifactError, match=r"train-00000\.bin.*again"):
        train(few, tmp_path / "model", TrainConfig(**SMALL))
    assert not (tmp_path / "model").exists()


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
