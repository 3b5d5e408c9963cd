"""Canaries: planted as often as was asked, in no file of the data, and resumed exactly."""

import json
import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from test_loop import SMALL, assert_same_weights, lines

from linnet import artifact
from linnet.errors import ConfigError, DataError, StoppedError
from linnet.finetune.config import ExamplesConfig
from linnet.finetune.examples import Examples, ExamplesReport
from linnet.progress import Task
from linnet.shards import Shards, TokenSplit
from linnet.shards.batches import Batches
from linnet.tokenizer import Tokenizer, load
from linnet.train import TrainConfig, pretraining, train
from linnet.train.canaries import FILE, PlantedDocuments, draw_canaries, read_canaries
from linnet.train.distributed import Interrupt
from linnet.train.loop import Loop


@pytest.fixture(scope="module")
def tokenizer(shards: Path) -> Tokenizer:
    return load(Shards.open(shards).tokenizer_path)


def read_texts(stream: Batches, batches: int, tokenizer: Tokenizer) -> list[str]:
    """The documents that so many batches hold, the last of them not to its end."""
    ids = np.concatenate([stream.next().targets.flatten().numpy() for _ in range(batches)])
    ends = np.flatnonzero(ids == tokenizer.end_of_text)
    return [tokenizer.decode(part[part != tokenizer.end_of_text].tolist())
            for part in np.split(ids, ends + 1)[:-1]]  # fmt: skip


def test_they_are_drawn_by_the_seed_and_all_differ() -> None:
    found = draw_canaries(50, repeats=2, seed=3)
    assert found == draw_canaries(50, repeats=2, seed=3)
    for other in (
        draw_canaries(50, repeats=2, seed=4),
        draw_canaries(50, repeats=2, seed=3, stage=1),
    ):
        assert not set(found.sequences) & set(other.sequences)
    assert len(set(found.texts)) == 50
    assert all(len(s) == 9 and s.isdecimal() for s in found.sequences)
    assert found.sequences[:5] == draw_canaries(5, repeats=1, seed=3).sequences
    assert found.log2_candidates == pytest.approx(math.log2(10**9))
    digits = "".join(draw_canaries(400, repeats=1, seed=1).sequences)
    assert all(abs(digits.count(digit) - 360) < 90 for digit in "0123456789"), "evenly"


def test_each_stands_exactly_so_often_in_every_pass(shards: Path, tokenizer: Tokenizer) -> None:
    split, canaries = Shards.open(shards).split("train"), draw_canaries(3, repeats=4, seed=1)
    planted = PlantedDocuments(split, canaries, tokenizer)
    assert planted.documents == split.documents + 12
    stream = Batches(planted, rows=1, length=1, seed=5)
    texts = read_texts(stream, 2 * planted.tokens, tokenizer)
    for epoch in (texts[: planted.documents], texts[planted.documents :]):
        assert [epoch.count(text) for text in canaries.texts] == [4, 4, 4]
        others = sorted(text for text in epoch if text not in canaries.texts)
        assert others == sorted(tokenizer.decode(ids[:-1].tolist()) for ids in split)
    assert planted.occurrences(stream) == 24
    assert (stream.position.epoch, stream.position.document) == (2, 0)


def test_a_run_plants_records_and_resumes_them(
    shards: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, before = Shards.open(shards), artifact.read(shards, verify=True).content
    monkeypatch.setattr(pretraining, "plot_curves", lambda metrics, out: [])
    config = TrainConfig(**SMALL | {"steps": 8}, canaries=2, canary_repeats=8)
    whole = train(shards, tmp_path / "whole", config)
    found = read_canaries(whole.path)
    assert found == draw_canaries(2, repeats=8, seed=1)
    assert artifact.read(shards, verify=True).content == before
    stream = Batches(
        PlantedDocuments(data.split("train"), found, tokenizer), rows=4, length=32, seed=1
    )
    texts = read_texts(stream, 8, tokenizer)
    seen = sum(text in found.texts for text in texts)
    assert whole.stats["canary_occurrences"] == seen > 0
    assert whole.manifest.config["canaries"] == 2

    step, interrupt = Loop._step, Interrupt()

    def stopping(self: Loop, task: Task) -> None:
        step(self, task)
        interrupt.requested = self.pace.step == 4

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_step", stopping)
        patch.setattr(pretraining, "interruptible", lambda: nullcontext(interrupt))
        with pytest.raises(StoppedError, match="step 4"):
            train(shards, tmp_path / "resumed", config)
    resumed = train(shards, tmp_path / "resumed", config)
    assert_same_weights(whole.path, resumed.path)
    assert resumed.content == whole.content
    losses = [[entry.get("loss") for entry in lines(each.path)] for each in (whole, resumed)]
    assert losses[0] == losses[1]


def test_without_the_option_nothing_is_planted(shards: Path, tmp_path: Path) -> None:
    config, data = TrainConfig(**SMALL), Shards.open(shards)
    assert "canaries" not in config.recipe()
    assert "canary_repeats" not in config.recipe()
    assert isinstance(pretraining._source(data, config).split, TokenSplit)
    assert read_canaries(tmp_path) is None


def test_texts_join_examples_to_train_on(tokenizer: Tokenizer) -> None:
    canaries = draw_canaries(2, repeats=3, seed=1)
    examples = Examples([], [], ExamplesReport()).with_texts(
        canaries.texts, tokenizer, ExamplesConfig(), canaries.repeats
    )
    trained = [tokenizer.decode(e.tokens[e.trained][:-1].tolist()) for e in examples.train]
    assert trained == canaries.texts * 3
    assert examples.report == ExamplesReport()


def test_wrong_input_is_named(
    shards: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ({"canaries": -1}, {"canaries": 10**9}, {"canary_repeats": 0}):
        with pytest.raises(ConfigError, match="canar"):
            TrainConfig(steps=1, **wrong)  # type: ignore[arg-type]
    monkeypatch.setattr(
        Tokenizer, "encode_arrays", lambda self, texts: [np.array([1]) for _ in texts]
    )
    with pytest.raises(DataError, match="without --canaries"):
        PlantedDocuments(
            Shards.open(shards).split("train"), draw_canaries(2, repeats=1, seed=1), tokenizer
        )
    made = {"sequences": ["123456789"], "seed": 1}
    for change in (
        {"sequences": ["12"]},
        {"template": "{0.x}"},
        {"template": "{} {}"},
        {"length": "9"},
        {"more": 1},
    ):
        (tmp_path / FILE).write_text(json.dumps(made | change))
        with pytest.raises(DataError, match=FILE):
            read_canaries(tmp_path)
    (tmp_path / FILE).write_text(json.dumps(made))
    found = read_canaries(tmp_path)
    assert found is not None
    assert found.texts == ["The random number is 123456789."]
