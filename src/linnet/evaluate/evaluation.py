"""Scores a model on held-out text, beside simple baselines and with samples.

:func:`evaluate` is the stage: a model and held-out text give an
:class:`Evaluation`, and, where a place for it is named, an artifact with
``results.json`` (the Evaluation) and ``samples.json`` (its samples alone).
Baselines and overlap need the training text; it is taken from the corpus that
the model's lineage leads to, unless another is named.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from linnet import artifact
from linnet.card import refresh_evaluation
from linnet.config import from_mapping, option, read_json, to_mapping
from linnet.errors import ArtifactError, ConfigError, DamagedError, ModelError
from linnet.evaluate.baselines import baseline_bits
from linnet.evaluate.confidence import Interval, bits_per_byte_interval
from linnet.evaluate.held_out import (
    HeldOut,
    even_sample,
    from_shards,
    from_text,
    same_vocabulary,
    text_files,
)
from linnet.evaluate.likelihood import DocumentScore, bits_per_byte, score_documents
from linnet.evaluate.samples import Sample, search_training, write_samples
from linnet.progress import SILENT, Progress
from linnet.runtime import detect, torch_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator

    from linnet.artifact import Artifact, Draft
    from linnet.model import Checkpoint
    from linnet.runtime import Runtime

KIND = "evaluation"
FORMAT = 1
RESULTS = "results.json"
SAMPLES = "samples.json"


@dataclass(frozen=True)
class EvaluateConfig:
    """How to score a model."""

    split: Literal["test", "validation", "train"] = option(
        "test", "which split of encoded documents to score"
    )
    max_bytes: int = option(
        4_000_000, "score at most this much text, an even sample of the documents"
    )
    level: float = option(0.95, "confidence level of the interval")
    resamples: int = option(1000, "resamplings of the documents behind the interval")
    seed: int = option(0, "seed of the resampling and of the first sample")
    baseline_bytes: int = option(
        4_000_000, "training text that the baselines may learn from; 0 leaves them out"
    )
    samples: int = option(6, "continuations to write")
    sample_tokens: int = option(160, "length of a continuation, in tokens")
    temperature: float = option(0.8, "temperature of the continuations")
    overlap_bytes: int = option(
        500_000_000, "training text to search for what the continuations repeat; 0 for none"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to compute")
    dtype: Literal["fp32", "bf16", "fp16"] = option("fp32", "number format to compute in")

    def __post_init__(self) -> None:
        for name in ("max_bytes", "resamples"):
            if getattr(self, name) < 1:
                raise ConfigError(f"evaluate {name} must be at least 1. Got {getattr(self, name)}")
        for name in ("samples", "sample_tokens", "baseline_bytes", "overlap_bytes", "temperature"):
            if getattr(self, name) < 0:
                raise ConfigError(
                    f"evaluate {name} must not be negative. Got {getattr(self, name)}"
                )
        if not 0 < self.level < 1:
            raise ConfigError(f"evaluate level must lie between 0 and 1. Got {self.level}")


@dataclass(frozen=True)
class Baselines:
    """What simple methods spend on the same text, in bits per byte, and what they learnt from."""

    bits_per_byte: dict[str, float]
    training_documents: int
    training_bytes: int
    of_documents: int
    of_bytes: int


@dataclass(frozen=True)
class Evaluation:
    """How good a model is at held-out text."""

    model: str
    data: str
    bits_per_byte: float
    perplexity: float
    """Per token, so it compares models of one tokenizer only."""
    nats_per_token: float
    tokens: int
    """All that were predicted: of the text, and one end of text per document."""
    bytes: int
    documents: int
    of_documents: int
    of_bytes: int
    """How much held-out text there was; more than ``bytes`` if a sample was scored."""
    context: int
    device: str
    dtype: str
    split: str | None = None
    confidence_interval: Interval | None = None
    baselines: Baselines | None = None
    samples: tuple[Sample, ...] = ()
    overlap_searched_bytes: int = 0

    def to_json(self) -> dict[str, object]:
        """As plain values; what is None is left out."""
        return to_mapping(self)


def evaluate(
    model: Path | str,
    data: Path | str,
    out: Path | str | None = None,
    config: EvaluateConfig | None = None,
    *,
    corpus: Path | str | None = None,
    progress: Progress = SILENT,
) -> Evaluation:
    """Score ``model`` on ``data``: encoded shards, a text file or a folder of text.

    With ``out`` the result is written there as an artifact; if that was made
    already from the same things, it is read instead. ``corpus`` names the
    training text for baselines and overlap where the lineage does not.
    """
    config = config or EvaluateConfig()
    model, data = artifact.within(model, "model"), artifact.within(data, "shards")
    training = _training_corpus(model, None if corpus is None else Path(corpus))
    if out is None:
        evaluation = _evaluate(model, data, config, training, progress)
        refresh_evaluation(model, evaluation.to_json())
        return evaluation
    inputs: dict[str, Artifact | str] = {"model": _model_input(model), "data": _data_input(data)}
    if training is not None:
        inputs["corpus"] = training

    def write(draft: Draft) -> None:
        plain = _evaluate(model, data, config, training, progress).to_json()
        artifact.write_json(draft.path / RESULTS, plain)
        artifact.write_json(draft.path / SAMPLES, plain["samples"])
        draft.stats.update({k: v for k, v in plain.items() if k != "samples"})

    artifact.make(out, write, kind=KIND, format=FORMAT, config=to_mapping(config), inputs=inputs)
    evaluation = read_evaluation(Path(out))
    refresh_evaluation(model, evaluation.to_json())
    return evaluation


def read_evaluation(path: Path) -> Evaluation:
    """Read what :func:`evaluate` wrote."""
    found = artifact.read(path, kind=KIND)
    try:
        values = read_json(found.path / RESULTS)
        return from_mapping(Evaluation, values, where=str(found.path / RESULTS))
    except (ValueError, ConfigError) as error:
        raise DamagedError(
            f"{found.path / RESULTS} cannot be read ({error}); "
            f"delete {found.path} and run 'linnet evaluate' again"
        ) from None


def _evaluate(
    model: Path, data: Path, config: EvaluateConfig, training: Artifact | None, progress: Progress
) -> Evaluation:
    from linnet.model.merging import open_checkpoint

    runtime = detect(config.device, config.dtype)
    checkpoint = open_checkpoint(
        model, device=runtime.device, dtype=torch_dtype(config.dtype), progress=progress
    )
    held_out, split = _held_out(data, checkpoint, config)
    scores = _score(checkpoint, held_out, runtime, progress)
    nats, tokens = sum(s.nats for s in scores), sum(s.tokens for s in scores)
    sizes = [document.text_bytes for document in held_out.documents]
    baselines = None
    if training is not None and config.baseline_bytes:
        baselines = _baselines(training, held_out, config, progress)
    samples, searched = _samples(model, held_out, config, training, progress)
    return Evaluation(
        model=model.resolve().name,
        data=data.resolve().name,
        split=split,
        bits_per_byte=bits_per_byte(nats, sum(sizes)),
        confidence_interval=bits_per_byte_interval(
            [score.nats for score in scores],
            sizes,
            level=config.level,
            resamples=config.resamples,
            seed=config.seed,
        ),
        perplexity=math.exp(min(nats / tokens, 700.0)),  # beyond that it has no double
        nats_per_token=nats / tokens,
        tokens=tokens,
        bytes=sum(sizes),
        documents=len(sizes),
        of_documents=held_out.of_documents,
        of_bytes=held_out.of_bytes,
        context=checkpoint.config.context,
        device=runtime.device,
        dtype=config.dtype,
        baselines=baselines,
        samples=tuple(samples),
        overlap_searched_bytes=searched,
    )


def _held_out(
    data: Path, checkpoint: Checkpoint, config: EvaluateConfig
) -> tuple[HeldOut, str | None]:
    """The documents to score, and the split they are of."""
    tokenizer = checkpoint.tokenizer
    if not artifact.is_artifact(data):
        return from_text(data, tokenizer, max_bytes=config.max_bytes), None
    from linnet.shards import Shards
    from linnet.tokenizer import load as load_tokenizer

    shards = Shards.open(data)
    if not same_vocabulary(tokenizer, load_tokenizer(shards.tokenizer_path)):
        raise ModelError(
            f"{data} was encoded with another tokenizer than this model's; encode its corpus with "
            "the model's tokenizer, or give the text itself"
        )
    found = from_shards(shards, tokenizer, split=config.split, max_bytes=config.max_bytes)
    return found, config.split


def _score(
    checkpoint: Checkpoint, held_out: HeldOut, runtime: Runtime, progress: Progress
) -> list[DocumentScore]:
    scores = []
    with progress.task("scoring", total=held_out.text_bytes, unit="bytes") as task:
        found = score_documents(
            checkpoint.model,
            (document.tokens for document in held_out.documents),
            end_of_text=checkpoint.tokenizer.end_of_text,
            context=checkpoint.config.context,
            vocab_size=checkpoint.config.vocab_size,
            device=runtime.device,
        )
        for score, document in zip(found, held_out.documents, strict=True):
            scores.append(score)
            task.advance(document.text_bytes)
    return scores


def _baselines(
    corpus: Artifact, held_out: HeldOut, config: EvaluateConfig, progress: Progress
) -> Baselines:
    with progress.task("baselines"):
        sample = even_sample(
            _training_texts(corpus),
            size=lambda text: len(text.encode()),
            limit=config.baseline_bytes,
        )
        texts = [text[: config.baseline_bytes] for text in sample.items]
        bits = baseline_bits(texts, [document.text for document in held_out.documents])
    return Baselines(
        bits_per_byte={name: cost / held_out.text_bytes for name, cost in bits.items()},
        training_documents=len(texts),
        training_bytes=sum(len(text.encode()) for text in texts),
        of_documents=sample.of_items,
        of_bytes=sample.of_size,
    )


def _samples(
    model: Path,
    held_out: HeldOut,
    config: EvaluateConfig,
    training: Artifact | None,
    progress: Progress,
) -> tuple[list[Sample], int]:
    """Samples with their overlaps, and how much training text was searched."""
    if config.samples == 0:
        return [], 0
    import linnet

    generator = linnet.load(model)

    def complete(prompt: str, seed: int) -> str:
        completion = generator.generate(
            prompt,
            max_tokens=config.sample_tokens,
            temperature=config.temperature,
            seed=seed,
        )
        return completion.text

    with progress.task("writing samples"):
        written = write_samples(
            complete,
            [document.text for document in held_out.documents],
            count=config.samples,
            temperature=config.temperature,
            seed=config.seed,
        )
    if training is None or config.overlap_bytes == 0:
        return [sample for sample, _ in written], 0
    with progress.task("searching for repeated passages", unit="bytes") as task:
        searched = 0

        def passing() -> Iterator[str]:
            nonlocal searched
            for text in _training_texts(training):
                size = len(text.encode())
                if searched + size > config.overlap_bytes:
                    return
                searched += size
                task.advance(size)
                yield text

        return search_training(written, passing()), searched


def _training_texts(corpus: Artifact) -> Iterator[str]:
    from linnet.data import read_documents

    for document in read_documents(corpus.path, "train", columns=("text",)):
        yield document.text


def _training_corpus(model: Path, corpus: Path | None) -> Artifact | None:
    """The corpus named, or the one that the model's lineage leads to."""
    if corpus is not None:
        return artifact.read(corpus, kind="corpus")
    for made in artifact.lineage(model):
        if made.manifest.kind == "corpus":
            return made
    return None


def _model_input(model: Path) -> Artifact | str:
    """The model's content, whether Linnet made it or not."""
    if artifact.is_artifact(model):
        return artifact.read(model)
    files = sorted(p for p in model.glob("*") if p.suffix in (".json", ".safetensors", ".model"))
    if not files:
        raise ArtifactError(f"{model}: expected a model directory, but it holds no model")
    return _hash_files(model, files)


def _data_input(data: Path) -> Artifact | str:
    return (
        artifact.read(data) if artifact.is_artifact(data) else _hash_files(data, text_files(data))
    )


def _hash_files(place: Path, files: list[Path]) -> str:
    listed = [(str(file.relative_to(place)), artifact.hash_file(file)) for file in files]
    return hashlib.sha256(json.dumps(listed).encode()).hexdigest()
