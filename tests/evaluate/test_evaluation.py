"""The stage as a whole, on a tiny model of random weights."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from linnet import artifact
from linnet.errors import ConfigError, DamagedError, ModelError
from linnet.evaluate import EvaluateConfig, evaluate, read_evaluation
from linnet.evaluate.samples import choose_prompts
from linnet.model import load_checkpoint
from linnet.shards.writer import SplitWriter, write_description
from linnet.tokenizer import TokenizerConfig, load
from linnet.tokenizer import train as train_tokenizer

FAST = EvaluateConfig(device="cpu", resamples=50, samples=2, sample_tokens=4)


def write_shards(place: Path, tokenizer_directory: Path, texts: tuple[str, ...]) -> Path:
    tokenizer = load(tokenizer_directory)
    with artifact.create(place, kind="shards", format=1, config={}, inputs={}) as draft:
        with SplitWriter(
            draft.path, "test", vocab_size=tokenizer.vocab_size, shard_tokens=1000
        ) as writer:
            for text in texts:
                tokens = np.array([*tokenizer.encode(text), tokenizer.end_of_text], np.uint16)
                writer.append(tokens, len(text.encode()))
        write_description(
            draft.path,
            vocab_size=tokenizer.vocab_size,
            end_of_text=tokenizer.end_of_text,
            splits={"train": [], "validation": [], "test": writer.entries},
        )
        tokenizer.save(draft.path / "tokenizer")
    return place


def test_the_score_is_the_sum_of_each_tokens_surprise(
    texts: tuple[str, ...], model: Path, stories: Path
) -> None:
    result = evaluate(model, stories, config=FAST)
    checkpoint = load_checkpoint(model)
    end, nats, tokens = checkpoint.tokenizer.end_of_text, 0.0, 0
    for story in texts:
        target = [*checkpoint.tokenizer.encode(story), end]
        inputs = [end, *target[:-1]]
        stop = 0
        while stop < len(target):  # windows of 16 that move by 8, the last full
            first, stop = stop, min(len(target), stop + 8 if stop else 16)
            start = max(0, stop - 16)
            with torch.inference_mode():
                logits = checkpoint.model(torch.tensor([inputs[start:stop]]))[0]
            surprise = -torch.log_softmax(logits.double(), dim=-1)
            nats += sum(float(surprise[p - start, target[p]]) for p in range(first, stop))
        tokens += len(target)
    size = len("".join(texts).encode())
    assert (result.tokens, result.bytes, result.documents) == (tokens, size, 3)
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) / size, rel=1e-5)
    assert result.perplexity == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    assert result.confidence_interval is not None
    assert result.confidence_interval.low <= result.bits_per_byte <= result.confidence_interval.high


def test_shards_and_the_text_they_came_from_score_alike(
    texts: tuple[str, ...], model: Path, stories: Path, tmp_path: Path
) -> None:
    shards = write_shards(tmp_path / "shards", model, texts)
    of_shards, of_text = (evaluate(model, data, config=FAST) for data in (shards, stories))
    assert of_shards.split == "test"
    assert of_shards.bits_per_byte == pytest.approx(of_text.bits_per_byte, rel=1e-6)
    assert of_shards.baselines == of_text.baselines


def test_baselines_and_overlap_come_from_the_corpus_in_the_lineage(
    model: Path, stories: Path
) -> None:
    result = evaluate(model, stories, config=FAST)
    assert result.baselines is not None
    assert set(result.baselines.bits_per_byte) == {"unigram", "ngram", "xz"}
    assert result.baselines.training_bytes == len("the fox and the houndTale of")
    assert [sample.seed for sample in result.samples] == [0, 1]
    overlap = result.samples[0].overlap
    assert overlap is not None
    assert overlap.text == "the fox "
    assert overlap.words == 2


def test_a_sample_of_the_documents_is_said_to_be_one(
    texts: tuple[str, ...], model: Path, stories: Path
) -> None:
    from dataclasses import replace

    result = evaluate(model, stories, config=replace(FAST, max_bytes=70))
    assert (result.documents, result.of_documents) == (2, 3)
    assert result.bytes < result.of_bytes == len("".join(texts).encode())


def test_an_artifact_keeps_the_result_and_is_made_once(
    model: Path, stories: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "evaluation"
    result = evaluate(model, stories, out, FAST)
    assert read_evaluation(out) == result
    assert {place.manifest.kind for place in artifact.lineage(out)} >= {"evaluation", "model"}
    assert len(json.loads((out / "samples.json").read_text(encoding="utf-8"))) == 2
    monkeypatch.setattr("linnet.model.load_checkpoint", None)  # calling it would fail
    assert evaluate(model, stories, out, FAST) == result


def test_a_damaged_result_is_named(model: Path, stories: Path, tmp_path: Path) -> None:
    out = tmp_path / "evaluation"
    evaluate(model, stories, out, FAST)
    content = (out / "results.json").read_bytes()
    (out / "results.json").write_bytes(b"[" + content[1:])
    with pytest.raises(DamagedError, match=r"results\.json"):
        read_evaluation(out)


def test_shards_of_another_tokenizer_are_refused(
    texts: tuple[str, ...], model: Path, tmp_path: Path
) -> None:
    train_tokenizer(
        texts * 3, tmp_path / "other", TokenizerConfig(kind="bpe", vocab_size=270), inputs={}
    )
    shards = write_shards(tmp_path / "shards", tmp_path / "other", texts)
    with pytest.raises(ModelError, match="another tokenizer"):
        evaluate(model, shards, config=FAST)


@pytest.mark.parametrize(
    "setting", [{"max_bytes": 0}, {"level": 1.0}, {"samples": -1}, {"resamples": 0}]
)
def test_settings_that_cannot_work_are_refused(setting: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        EvaluateConfig(**setting)  # type: ignore[arg-type]


def test_prompts_are_beginnings_spread_over_the_documents() -> None:
    texts = [f"{n} two three four five six seven\neight" for n in range(10)] + ["x" * 500]
    prompts = choose_prompts(texts, 3)
    assert [prompt for prompt, _ in prompts] == [f"{n} two three four five six" for n in (0, 3, 7)]
    assert all(prompt + rest in texts for prompt, rest in prompts)
    assert len(choose_prompts(texts[-1:], 5)) == 1
    assert len(choose_prompts(texts[-1:], 5)[0][0]) == 60
