"""Forgetting, end to end: a model that knows one language learns another."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from linnet.errors import ConfigError, StoppedError
from linnet.finetune import replay
from linnet.finetune.config import FinetuneConfig
from linnet.finetune.encoding import Example
from linnet.finetune.finetune import finetune
from linnet.finetune.packing import PackedBatches
from linnet.finetune.replay import document_examples, replay_need
from linnet.model import ModelConfig, Transformer, save_checkpoint
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer
from linnet.train import loop as loop_module
from linnet.train.objectives import next_token

pytestmark = pytest.mark.usefixtures("undrawn")

ALPHABETS = ("abcdefgh", "ijklmnop")


def sentences(which: int, count: int, seed: int) -> list[str]:
    """Texts of a language: each letter is followed by one of two that are its own."""
    generator = np.random.default_rng([seed, which])
    letters = ALPHABETS[which]
    texts = []
    for _ in range(count):
        place, text = int(generator.integers(8)), ""
        for _ in range(40):
            text += letters[place]
            place = (3 * place + 1 + int(generator.integers(2))) % 8
        texts.append(text)
    return texts


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on the first language, and rows of the second."""
    directory = tmp_path_factory.mktemp("base")
    both = [text for which in (0, 1) for text in sentences(which, 20, 0)]
    config = TokenizerConfig(kind="bpe", vocab_size=264)
    train_tokenizer(both, directory / "tokenizer", config, inputs={})
    tokenizer = load(directory / "tokenizer")
    shape = ModelConfig(
        family="llama", vocab_size=tokenizer.vocab_size, context=64, width=32, depth=2, heads=2,
        kv_heads=2, head_width=16, mlp_width=64, eos_id=tokenizer.end_of_text,
    )  # fmt: skip
    model = Transformer(shape).train()
    model.initialise(torch.Generator().manual_seed(1))
    examples = [
        example
        for text in sentences(0, 300, 1)
        for example in document_examples(
            [*tokenizer.encode(text), tokenizer.end_of_text], tokenizer, context=64, source=""
        )
    ]
    stream = PackedBatches(examples, rows=8, length=64, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(120):
        next_token(model, stream.next()).mean.backward()
        optimizer.step()
        optimizer.zero_grad()
    (directory / "model").mkdir()
    tokenizer.save(directory / "model")
    save_checkpoint(model, directory / "model")
    rows = [json.dumps({"text": text}) for text in sentences(1, 120, 2)]
    (directory / "rows.jsonl").write_text("\n".join(rows), encoding="utf-8")
    (directory / "general").mkdir()
    for number, text in enumerate(sentences(0, 60, 3)):
        (directory / "general" / f"{number:02}.txt").write_text(text, encoding="utf-8")
    return directory


def settings(**changes: object) -> FinetuneConfig:
    usual: dict[str, object] = {
        "method": "full", "lr": 3e-3, "threads": 1, "compile": "no", "dtype": "fp32",
        "batch_tokens": 512, "micro_tokens": 512, "context": 64, "steps": 40,
        "validation_interval": 10, "sample_interval": 1000, "general_tokens": 600,
        "replay_tokens": 1500, "sweep": False,
    }  # fmt: skip
    return FinetuneConfig(**(usual | changes))  # type: ignore[arg-type]


def rises(directory: Path) -> list[float]:
    lines = (directory / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [e["validation_forgetting"] for e in map(json.loads, lines) if "validation_loss" in e]


@pytest.mark.parametrize("general", ["general", ""])
def test_replay_prevents_most_of_the_forgetting(general: str, base: Path, tmp_path: Path) -> None:
    """With text that is given, and with what the base writes itself."""
    place = str(base / general) if general else ""
    rows = [base / "rows.jsonl"]
    found = {
        share: finetune(
            base / "model", rows, tmp_path / f"{share}", settings(replay=share, general=place)
        )
        for share in (0.0, 0.3)
    }
    without, with_replay = (rises(found[share].path) for share in (0.0, 0.3))
    assert without[0] == with_replay[0] == 0
    assert without[-1] > 0.5
    assert without[-1] > without[1]
    assert with_replay[-1] < 0.4 * without[-1]
    # What the run is for is not lost: nearly as much was gained.
    gains = {
        share: run.stats["base_bits_per_byte"] - run.stats["validation_bits_per_byte"]
        for share, run in found.items()
    }
    assert gains[0.3] > 0.8 * gains[0.0] > 0
    assert found[0.3].stats["general_text"] == (place or "text that the base model wrote")


def test_a_limit_ends_the_run_and_rolls_back(base: Path, tmp_path: Path) -> None:
    config = settings(validation_interval=2, max_forgetting=0.3, general=str(base / "general"))
    found = finetune(base / "model", [base / "rows.jsonl"], tmp_path / "out", config)
    seen = rises(found.path)
    assert found.stats["steps"] < 40
    assert seen[-1] > 0.3
    assert seen[-2] > 0.3
    assert 0 < found.stats["validation_forgetting"] <= 0.3
    kept = found.stats["best_step"] // 2
    assert kept > 0
    assert seen[kept] == pytest.approx(found.stats["validation_forgetting"], abs=1e-5)


def test_a_stopped_run_goes_on_with_the_same_text(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(replay=0.3, steps=12, validation_interval=3, max_forgetting=9.0)
    rows = [base / "rows.jsonl"]
    whole = finetune(base / "model", rows, tmp_path / "whole", config)
    with monkeypatch.context() as patch:
        original = loop_module.Loop._update

        def stops(self: loop_module.Loop, scale: float) -> float:
            if self.pace.step == 6:
                signal.raise_signal(signal.SIGINT)
            norm: float = original(self, scale)
            return norm

        patch.setattr(loop_module.Loop, "_update", stops)
        with pytest.raises(StoppedError):
            finetune(base / "model", rows, tmp_path / "resumed", config)
    with monkeypatch.context() as patch:
        patch.setattr(replay, "sample_replay", None)  # it is not sampled again
        resumed = finetune(base / "model", rows, tmp_path / "resumed", config)
    first, second = (load_file(run.path / "model.safetensors") for run in (whole, resumed))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert rises(whole.path) == rises(resumed.path)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_strengths_are_swept_and_drawn(method: str, base: Path, tmp_path: Path) -> None:
    config = settings(
        sweep=True, method=method, general=str(base / "general"), steps=20,
        lr=3e-3 if method == "full" else 5e-3,
    )  # fmt: skip
    found = finetune(base / "model", [base / "rows.jsonl"], tmp_path / "out", config)
    for name in ("strength.json", "strength.svg", "strength.png", "forgetting.svg"):
        assert (found.path / name).is_file()
    values = json.loads((found.path / "strength.json").read_text(encoding="utf-8"))
    by_strength = {trade["strength"]: trade for trade in values["trades"]}
    assert by_strength[0.0]["domain"] == pytest.approx(found.stats["base_bits_per_byte"], abs=1e-4)
    ours = by_strength[1.0]
    assert ours["domain"] == pytest.approx(found.stats["validation_bits_per_byte"], abs=1e-4)
    assert ours["forgetting"] == pytest.approx(found.stats["validation_forgetting"], abs=1e-4)
    assert found.stats["recommended_strength"] == values["recommended"]
    assert 0 < by_strength[0.5]["forgetting"] < ours["forgetting"]


def test_replay_needs_its_share_of_rows() -> None:
    tokenizer_free = [Example(np.zeros(11, np.uint32), np.arange(11) >= 6, "x") for _ in range(40)]
    config = settings(replay=0.2, steps=0, epochs=2.0, replay_tokens=10_000)
    # Two epochs train 400 tokens; a quarter as many again are a fifth of all.
    need = replay_need(tokenizer_free, config, length=50)
    assert (need.tokens, need.rows) == (100, 2.0)
    assert replay_need(tokenizer_free, settings(replay=0.0), length=50).tokens == 0
    assert replay_need(tokenizer_free, settings(replay=0.2), length=50).tokens == 1500


def test_a_limit_without_held_out_examples_is_refused(base: Path, tmp_path: Path) -> None:
    config = settings(max_forgetting=0.1, held_out=0.0)
    with pytest.raises(ConfigError, match="weighs general text against held-out examples"):
        finetune(base / "model", [base / "rows.jsonl"], tmp_path / "out", config)
