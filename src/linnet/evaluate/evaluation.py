"""Scores a model on held-out text, beside simple baselines and with samples.

:func:`evaluate` is the stage: a model and held-out text give an
:class:`Evaluation`, and, where a place for it is named, an artifact with
``results.json`` (the Evaluation) and ``samples.json`` (its samples alone).
Baselines and overlap need the training text; it is taken from the corpus that
the model's lineage leads to, unless another is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import artifact, output
from linnet.card import refresh_evaluation
from linnet.config import from_mapping, read_json, to_mapping
from linnet.errors import ConfigError, DamagedError
from linnet.evaluate.config import EvaluateConfig
from linnet.evaluate.figures import Interval
from linnet.evaluate.suite import (
    choose,
    content_of,
    model_content,
    run_chosen,
    tasks_config,
    training_corpus,
)
from linnet.evaluate.task import Run, TaskResult
from linnet.evaluate.tasks import USUAL
from linnet.evaluate.tasks.samples import Sample
from linnet.progress import SILENT, Progress
from linnet.runtime import detect

if TYPE_CHECKING:
    from linnet.artifact import Artifact, Draft

KIND = "evaluation"
FORMAT = 1
RESULTS = "results.json"
SAMPLES = "samples.json"


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

    def measured() -> Evaluation:
        run = run_tasks(model, data, USUAL, config, corpus=corpus, progress=progress)
        return _evaluation(model, data, run)

    if out is None:
        evaluation = measured()
        refresh_evaluation(model, evaluation.to_json())
        return evaluation
    training = training_corpus(model, None if corpus is None else Path(corpus))
    inputs: dict[str, Artifact | str] = {"model": model_content(model), "data": content_of(data)}
    if training is not None:
        inputs["corpus"] = training

    def write(draft: Draft) -> None:
        plain = measured().to_json()
        output.write_json(draft.path / RESULTS, plain)
        output.write_json(draft.path / SAMPLES, plain["samples"])
        draft.stats.update({k: v for k, v in plain.items() if k != "samples"})
        refresh_evaluation(model, plain)

    artifact.make(out, write, kind=KIND, format=FORMAT, config=to_mapping(config), inputs=inputs)
    return read_evaluation(Path(out))


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


def run_tasks(
    model: Path | str,
    data: Path | str,
    names: Sequence[str] = USUAL,
    config: EvaluateConfig | None = None,
    *,
    corpus: Path | str | None = None,
    progress: Progress = SILENT,
) -> Run:
    """Put ``model`` to these tasks, and to those that they need; see :class:`Run` for the results.

    The model is opened once, by one engine, on the device and in the number format that
    ``config`` names. Otherwise as :func:`evaluate`. Raises ConfigError for a task that there is
    not.
    """
    model, data = artifact.within(model, "model"), artifact.within(data, "shards")
    training = training_corpus(model, None if corpus is None else Path(corpus))
    return run_chosen(
        model, data, choose(names), tasks_config(config), training=training, progress=progress
    )


def _evaluation(model: Path, data: Path, run: Run) -> Evaluation:
    """The results of the usual tasks in one record."""
    text, held_out = run.results["text"], run.held_out
    scored = [item.scores for item in text.items if item.error is None]
    return Evaluation(
        model=model.resolve().name,
        data=data.resolve().name,
        split=run.split,
        bits_per_byte=text.figures["bits_per_byte"].value,
        confidence_interval=text.figures["bits_per_byte"].interval,
        perplexity=text.figures["perplexity"].value,
        nats_per_token=text.figures["nats_per_token"].value,
        tokens=int(sum(scores["tokens"] for scores in scored)),
        bytes=int(sum(scores["bytes"] for scores in scored)),
        documents=len(scored),
        of_documents=held_out.of_documents,
        of_bytes=held_out.of_bytes,
        context=run.engine.context,
        device=detect(run.config.device, run.config.dtype).device,
        dtype=run.config.dtype,
        baselines=_baselines(run.results["baselines"]),
        samples=_samples(run.results["samples"], run.results["overlap"]),
        overlap_searched_bytes=run.results["overlap"].facts["searched_bytes"],
    )


def _baselines(found: TaskResult) -> Baselines | None:
    if not found.items:
        return None
    bits = {item.id: item.scores["bits_per_byte"] for item in found.items}
    return Baselines(bits_per_byte=bits, **found.facts)


def _samples(written: TaskResult, searched: TaskResult) -> tuple[Sample, ...]:
    """Samples with their overlaps."""
    overlaps = {item.id: item.detail for item in searched.items}
    samples = []
    for item in written.items:
        if item.error is None:
            own, real = overlaps.get(item.id, (None, None))
            samples.append(replace(item.detail[0], overlap=own, real_overlap=real))
    return tuple(samples)
