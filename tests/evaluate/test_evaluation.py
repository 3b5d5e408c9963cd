"""The stage as a whole, on a tiny model of random weights."""

import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from linnet import artifact
from linnet.errors import ConfigError, DamagedError, ModelError
from linnet.evaluate import EvaluateConfig, evaluate, evaluate_tasks, read_evaluation
from linnet.evaluate.metrics import METRICS, Metric, mean
from linnet.evaluate.task import Example, Task
from linnet.evaluate.tasks import TASKS
from linnet.evaluate.tasks.samples import choose_prompts
from linnet.generate import Request, Sampling
from linnet.generate.engine import Continuation
from linnet.generate.torch_engine import TorchEngine
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


def test_tasks_are_chosen_by_name_and_bring_what_they_need(
    model: Path, stories: Path, tmp_path: Path
) -> None:
    whole = evaluate(model, stories, config=FAST)
    found = evaluate_tasks(model, stories, ["overlap", "text"], tmp_path / "out", FAST)
    assert list(found["tasks"]) == ["text", "samples", "overlap"]
    figure = found["tasks"]["text"]["figures"]["bits_per_byte"]
    assert figure["value"] == whole.bits_per_byte
    assert (figure["items"], figure["seed"], figure["level"]) == (3, 0, 0.95)
    interval = whole.confidence_interval
    assert interval is not None
    assert (figure["low"], figure["high"]) == (interval.low, interval.high)
    overlap = found["tasks"]["overlap"]
    assert overlap["figures"]["longest_overlap"]["value"] == 8
    assert overlap["searched_bytes"] == whole.overlap_searched_bytes > 0
    kept = json.loads((tmp_path / "out" / "results.json").read_text(encoding="utf-8"))
    assert kept == found
    with pytest.raises(ConfigError, match=r"one of text, baselines, samples, overlap, .*Got 'txt'"):
        evaluate_tasks(model, stories, ["txt"], config=FAST)


class Spelling(Task):
    """Whether what is written after a word is its first letter; one word cannot be asked."""

    name = "spelling"
    about = "spelling"
    metrics = ("mean_right",)

    def examples(self) -> Iterator[Example]:
        for word in ("fox", "hen", "x" * 99, "cat"):
            yield Example(word[:9], word)

    def prompts(self, example: Example) -> list[Request | Continuation]:
        request = Request(example.data, Sampling(max_tokens=1))
        end = self.run.engine.tokenizer.end_of_text
        return [request, Continuation((end,), self.run.engine.tokenize(example.data))]

    def scores(self, example: Example, answers: Any) -> dict[str, float]:
        written, likelihood = answers
        if example.data == "hen":
            raise ModelError("nobody knows")
        return {"right": written.text.startswith(" the fox"), "nats": likelihood.nats}


def test_a_task_and_a_metric_are_a_class_and_a_line(
    model: Path, stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails is named, and is in no figure."""
    submit = TorchEngine.submit

    def refusing(engine: Any, request: Any, deliver: Any) -> Any:
        if len(request.prompt) > 50:
            raise ModelError("too long")
        return submit(engine, request, deliver)

    monkeypatch.setattr(TorchEngine, "submit", refusing)
    monkeypatch.setitem(TASKS, "spelling", Spelling)
    mean_right = Metric("mean_right", "share that is right", ("right",), mean)
    monkeypatch.setitem(METRICS, "mean_right", mean_right)
    found = evaluate_tasks(model, stories, ["spelling"], config=FAST)["tasks"]["spelling"]
    assert found["failed"] == {"hen": "nobody knows", "xxxxxxxxx": "too long"}
    assert found["items"] == 4
    assert found["figures"]["mean_right"] == {
        "value": 1.0, "items": 2, "seed": 0, "low": 1.0, "high": 1.0, "level": 0.95,
    }  # fmt: skip


def test_a_model_is_loaded_once_in_the_format_asked_for(
    model: Path, stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    begin = TorchEngine.__init__

    def noted(engine: TorchEngine, *given: Any, **more: Any) -> None:
        begin(engine, *given, **more)
        opened.append(engine.precision)

    monkeypatch.setattr(TorchEngine, "__init__", noted)
    assert len(evaluate(model, stories, config=replace(FAST, dtype="bf16")).samples) == 2
    assert opened == ["bf16"]


def test_damaged_weights_give_an_error_and_never_a_figure(model: Path, stories: Path) -> None:
    damaged = stories.parent / "damaged"
    shutil.copytree(model, damaged)
    (damaged / "manifest.json").unlink()
    weights = load_file(damaged / "model.safetensors")
    weights["model.embed_tokens.weight"].fill_(torch.nan)
    save_file(weights, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"no item could be scored.*nats is not a number"):
        evaluate(damaged, stories, config=FAST)
