"""``report.html``: one page that says what a model is, what it is made of and how good it is.

Each stage says what stands in its section (:mod:`linnet.stages`); here are the headline and where
everything came from. The page is one self-contained file: no script, no external resource, light
and dark by the reader's setting, narrow and wide. What a model wrote and what documents are called
is not to be trusted, so everything is escaped; only the curves, drawn here, go in as markup. A
part whose artifact is missing or cannot be read is left out. Nothing here loads torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from linnet import page, stages
from linnet.errors import ArtifactError, LinnetError
from linnet.output import human_bytes, write_text
from linnet.page import duration
from linnet.stages import ProjectConfig, Section, Workspace, evaluation, model
from linnet.stages.shards import split_facts
from linnet.version import __version__

if TYPE_CHECKING:
    from linnet.artifact import Artifact
    from linnet.evaluate import Evaluation
    from linnet.stages.evaluation import EvaluationFacts
    from linnet.stages.model import ModelFacts
    from linnet.stages.shards import SplitFacts

REPORT = "report.html"
TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class Origin:
    """One artifact of the lineage."""

    place: str
    created: str
    seconds: float
    content: str
    inputs: list[str]


@dataclass(frozen=True)
class Facts:
    """All that the report says."""

    name: str
    model: ModelFacts | None
    train: SplitFacts | None
    evaluation: EvaluationFacts | None
    training_seconds: float | None
    sections: list[Section]
    origins: list[Origin]


def write_report(project: Path) -> Path:
    """Write ``report.html`` into a project directory, from whatever stages are there."""
    project = Path(project)
    if not project.is_dir():
        raise ArtifactError(f"{project}: expected a project directory, but it does not exist")
    html = render(gather(project))
    write_text(project / REPORT, html)
    return project / REPORT


def gather(project: Path) -> Facts:
    """Read a project's directories."""
    workspace = Workspace(project, ProjectConfig(()))
    for stage in stages.STAGES:
        try:
            if (found := workspace.read(stage.name)) is not None:
                workspace.artifacts[stage.name] = found
        except LinnetError:
            continue
    sections = [
        section
        for stage in stages.STAGES
        if stage.report is not None and (section := stage.report(workspace)) is not None
    ]
    trained = workspace.artifacts.get("model")
    return Facts(
        name=project.resolve().name,
        model=model.facts(workspace),
        train=next((split for split in split_facts(workspace) if split.name == "train"), None),
        evaluation=evaluation.facts(workspace),
        training_seconds=trained.manifest.seconds if trained is not None else None,
        sections=sorted(sections, key=lambda section: section.place),
        origins=[_origin(found, project) for found in workspace.artifacts.values()],
    )


def render(facts: Facts) -> str:
    """The page as HTML."""
    environment = page.environment(
        "linnet.data", "linnet.evaluate", "linnet.stages", "linnet.report"
    )
    return environment.get_template(TEMPLATE).render(
        facts=facts, headline=headline(facts), figures=figures(facts), version=__version__
    )


def headline(facts: Facts) -> list[str]:
    """What the model is, and how good, in plain words."""
    if facts.model is None:
        return ["No model has been trained here yet; this page shows what there is so far."]
    source, train = "", facts.train
    if train is not None:
        source = f", trained on {train.documents:,} documents ({human_bytes(train.bytes)} of text)"
    took = f" in {duration(facts.training_seconds)}" if facts.training_seconds else ""
    size = _rounded(facts.model.parameters)
    sentences = [f"A language model of {size} parameters{source}{took}."]
    if facts.evaluation is not None:
        sentences.append(_quality(facts.evaluation))
    return sentences


def figures(facts: Facts) -> list[tuple[str, str]]:
    """The few numbers to remember."""
    found = []
    if facts.model is not None:
        found.append(("parameters", _rounded(facts.model.parameters)))
    if facts.evaluation is not None:
        bits = facts.evaluation.evaluation.bits_per_byte
        found.append(("bits per unseen byte", f"{bits:.2f}"))
    if facts.train is not None:
        found.append(("training text", human_bytes(facts.train.bytes)))
    if facts.training_seconds:
        found.append(("training time", duration(facts.training_seconds)))
    return found


def _quality(facts: EvaluationFacts) -> str:
    others = [bar for bar in facts.bars if not bar.is_model]
    bits = facts.evaluation.bits_per_byte
    sentence = (
        f"It needs {bits:.2f} bits for each byte of text it has not seen before, "
        f"{8 / bits:.1f} times less than plain storage"
    )
    if not others:
        return f"{sentence}."
    best = others[0]
    if best.bits_per_byte <= bits:
        return (
            f"{sentence}; but {best.name} needs only {best.bits_per_byte:.2f}, "
            "so more text or more training time is called for."
        )
    return (
        f"{sentence}. That is {1 - bits / best.bits_per_byte:.0%} less than the best simple method "
        f"({best.name}, {best.bits_per_byte:.2f}) manages with {_learnt_from(facts.evaluation)}."
    )


def _learnt_from(evaluation: Evaluation) -> str:
    baselines = evaluation.baselines
    if baselines is not None and baselines.training_bytes < baselines.of_bytes:
        return f"{human_bytes(baselines.training_bytes)} of that text"
    return "the same training text"


def _origin(found: Artifact, project: Path) -> Origin:
    manifest = found.manifest
    return Origin(
        place=found.path.relative_to(project).as_posix(),
        created=manifest.created.replace("T", " ").removesuffix("+00:00") + " UTC",
        seconds=manifest.seconds,
        content=found.content[:12],
        inputs=[
            f"{role} {entry.content[:8]}" if entry.path is None else role
            for role, entry in manifest.inputs.items()
        ],
    )


def _rounded(count: int) -> str:
    """``5243904`` as ``5.2 million``."""
    for size, name in ((1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return str(count)
