"""``report.html``: one page that says what a model is, what it is made of and how good it is.

The page is one self-contained file: no script, no external resource, light and
dark by the reader's setting, narrow and wide. What a model wrote and what
documents are called is not to be trusted, so everything is escaped; only the
curves, drawn here, go in as markup.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from linnet import page
from linnet.artifact import human_bytes, write_text
from linnet.errors import ArtifactError
from linnet.evaluate.report_facts import Facts, gather
from linnet.page import duration
from linnet.version import __version__

if TYPE_CHECKING:
    from linnet.evaluate.evaluation import Evaluation
    from linnet.evaluate.samples import Sample

REPORT = "report.html"
TEMPLATE = "report.html.jinja"
MARKED_CHARACTERS = 30  # shorter shared passages are everybody's phrases


def write_report(project: Path) -> Path:
    """Write ``report.html`` into a project directory, from whatever stages are there."""
    project = Path(project)
    if not project.is_dir():
        raise ArtifactError(f"{project}: expected a project directory, but it does not exist")
    html = render(gather(project))
    write_text(project / REPORT, html)
    return project / REPORT


def render(facts: Facts) -> str:
    """The page as HTML."""
    from markupsafe import Markup

    environment = page.environment("linnet.data", "linnet.evaluate")
    return environment.get_template(TEMPLATE).render(
        facts=facts,
        headline=headline(facts),
        figures=figures(facts),
        samples=_marked_samples(facts.evaluation),
        overlap=overlap_sentence(facts.evaluation),
        marked_characters=MARKED_CHARACTERS,
        curves=[Markup(curve) for curve in facts.curves],
        version=__version__,
    )


def headline(facts: Facts) -> list[str]:
    """What the model is, and how good, in plain words."""
    sentences = []
    if facts.model is None:
        return ["No model has been trained here yet; this page shows what there is so far."]
    source = ""
    train = next((split for split in facts.splits if split.name == "train"), None)
    if train is not None:
        source = f", trained on {train.documents:,} documents ({human_bytes(train.bytes)} of text)"
    seconds = facts.training_seconds
    took = f" in {duration(seconds)}" if seconds else ""
    sentences.append(
        f"A language model of {_rounded(facts.model.parameters)} parameters{source}{took}."
    )
    if facts.bars:
        sentences.append(_quality(facts))
    return sentences


def figures(facts: Facts) -> list[tuple[str, str]]:
    """The few numbers to remember."""
    found = []
    if facts.model is not None:
        found.append(("parameters", _rounded(facts.model.parameters)))
    if facts.evaluation is not None:
        found.append(("bits per unseen byte", f"{facts.evaluation.bits_per_byte:.2f}"))
    train = next((split for split in facts.splits if split.name == "train"), None)
    if train is not None:
        found.append(("training text", human_bytes(train.bytes)))
    if facts.training_seconds:
        found.append(("training time", duration(facts.training_seconds)))
    return found


def overlap_sentence(evaluation: Evaluation | None) -> str | None:
    """What the longest shared passages say about copying."""
    samples = evaluation.samples if evaluation is not None else ()
    own = [s.overlap.characters for s in samples if s.overlap is not None]
    real = [s.real_overlap.characters for s in samples if s.real_overlap is not None]
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


def _quality(facts: Facts) -> str:
    others = [bar for bar in facts.bars if not bar.is_model]
    model = next(bar for bar in facts.bars if bar.is_model)
    sentence = (
        f"It needs {model.bits_per_byte:.2f} bits for each byte of text it has not seen before, "
        f"{8 / model.bits_per_byte:.1f} times less than plain storage"
    )
    if not others:
        return f"{sentence}."
    best = others[0]
    if best.bits_per_byte <= model.bits_per_byte:
        return (
            f"{sentence}; but {best.name} needs only {best.bits_per_byte:.2f}, "
            "so more text or more training time is called for."
        )
    saved = 1 - model.bits_per_byte / best.bits_per_byte
    return (
        f"{sentence}. That is {saved:.0%} less than the best simple method "
        f"({best.name}, {best.bits_per_byte:.2f}) manages with {_learnt_from(facts.evaluation)}."
    )


def _learnt_from(evaluation: Evaluation | None) -> str:
    baselines = evaluation.baselines if evaluation is not None else None
    if baselines is not None and baselines.training_bytes < baselines.of_bytes:
        return f"{human_bytes(baselines.training_bytes)} of that text"
    return "the same training text"


def _marked_samples(evaluation: Evaluation | None) -> list[tuple[Sample, str, str, str]]:
    """Each sample with its continuation in three parts: before, within and after the passage."""
    marked = []
    for sample in evaluation.samples if evaluation is not None else ():
        before, shared, after = sample.text, "", ""
        passage = sample.overlap
        if passage is not None and passage.characters >= MARKED_CHARACTERS:
            before, shared, after = sample.text.partition(passage.text)
        marked.append((sample, before, shared, after))
    return marked


def _rounded(count: int) -> str:
    """``5243904`` as ``5.2 million``."""
    for size, name in ((1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return str(count)
