"""The evaluation: how good the model is at held-out text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from linnet.card import Table
from linnet.card.facts import evaluation_figures
from linnet.config import to_mapping
from linnet.data.report_page import corpus_facts
from linnet.errors import LinnetError
from linnet.evaluate import EvaluateConfig, evaluate, read_evaluation
from linnet.evaluate.tasks.baselines import BASELINE_NAMES
from linnet.stages.stage import Section, Stage, Workspace

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.evaluate import Evaluation
    from linnet.evaluate.tasks.samples import Sample

MARKED_CHARACTERS = 30  # shorter shared passages are everybody's phrases


@dataclass(frozen=True)
class Bar:
    """One score in the picture; ``low`` and ``high`` bound the model's."""

    name: str
    bits_per_byte: float
    is_model: bool = False
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class EvaluationFacts:
    """The scores among the baselines, and the samples with what they repeat."""

    evaluation: Evaluation
    bars: list[Bar]
    samples: list[tuple[Sample, str, str, str]]
    """Each with its continuation in three parts: before, within and after a repeated passage."""
    overlap: str | None
    marked_characters: int = MARKED_CHARACTERS


def read(workspace: Workspace) -> Evaluation | None:
    """The evaluation, None where there is none or it cannot be read."""
    try:
        return read_evaluation(workspace.directory("evaluation"))
    except LinnetError:
        return None


def facts(workspace: Workspace) -> EvaluationFacts | None:
    found = read(workspace)
    if found is None:
        return None
    return EvaluationFacts(found, _bars(found), _marked_samples(found), overlap_sentence(found))


def overlap_sentence(evaluation: Evaluation) -> str | None:
    """What the longest shared passages say about copying."""
    own = [s.overlap.characters for s in evaluation.samples if s.overlap is not None]
    real = [s.real_overlap.characters for s in evaluation.samples if s.real_overlap is not None]
    if not own or not real:
        return None
    sentence = (
        f"The longest passage that a sample shares with the training text has {max(own)} "
        f"characters. What people really wrote in these places shares up to {max(real)}"
    )
    if max(own) > 2 * max(real):
        return f"{sentence}: the model repeats long passages of its training text, so it copies."
    if max(own) > 1.25 * max(real):
        return f"{sentence}: the model repeats somewhat more of its training text than people do."
    return f"{sentence}, so these samples show no copying beyond common phrases."


def configure(workspace: Workspace) -> EvaluateConfig | None:
    """Settings that fit the time the plan leaves for it; None before there is a plan."""
    if (plan := workspace.plan) is None:
        return None
    seconds = plan.seconds["evaluate"]
    fitting = {
        "max_bytes": int(max(50_000, min(4_000_000, 12_000 * seconds))),
        "baseline_bytes": int(max(200_000, min(4_000_000, 100_000 * seconds))),
        "overlap_bytes": int(max(5_000_000, min(500_000_000, 1_000_000 * seconds))),
    }
    return workspace.configure(EvaluateConfig, "evaluate", fitting)


def _settings(workspace: Workspace) -> Mapping[str, Any] | None:
    config = configure(workspace)
    return None if config is None else to_mapping(config)


def _make(workspace: Workspace) -> Artifact:
    model, shards = (workspace.artifacts[name].path for name in ("model", "shards"))
    out = workspace.directory("evaluation")
    evaluate(model, shards, out, configure(workspace), progress=workspace.progress)
    made = workspace.read("evaluation")
    assert made is not None
    return made


def _summary(made: Artifact) -> str:
    bits = made.stats.get("bits_per_byte")
    return f"{bits:.3f} bits per byte on test text" if bits is not None else "done"


def _report(workspace: Workspace) -> Section:
    corpus = corpus_facts(workspace.directory("corpus"))
    shown = {
        "scored": facts(workspace),
        "warnings": corpus.warnings if corpus is not None else [],
    }
    return Section(template="quality.html.jinja", facts=shown, place=1)


def _card(made: Artifact) -> Table:
    return Table("On held-out text", evaluation_figures(read_evaluation(made.path).to_json()))


def _bars(evaluation: Evaluation) -> list[Bar]:
    """The model among the baselines, the best first."""
    interval = evaluation.confidence_interval
    low, high = (interval.low, interval.high) if interval is not None else (None, None)
    found = [Bar("this model", evaluation.bits_per_byte, is_model=True, low=low, high=high)]
    if evaluation.baselines is not None:
        found += [
            Bar(BASELINE_NAMES.get(name, name), score)
            for name, score in evaluation.baselines.bits_per_byte.items()
        ]
    return sorted(found, key=lambda bar: bar.bits_per_byte)


def _marked_samples(evaluation: Evaluation) -> list[tuple[Sample, str, str, str]]:
    marked = []
    for sample in evaluation.samples:
        before, shared, after = sample.text, "", ""
        passage = sample.overlap
        if passage is not None and passage.characters >= MARKED_CHARACTERS:
            before, shared, after = sample.text.partition(passage.text)
        marked.append((sample, before, shared, after))
    return marked


STAGE = Stage(
    name="evaluation",
    make=_make,
    summary=_summary,
    inputs={"model": "model", "data": "shards", "corpus": "corpus"},
    table="evaluate",
    config=EvaluateConfig,
    settings=_settings,
    report=_report,
    card=_card,
)
