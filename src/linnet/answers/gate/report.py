"""The figures of a gate as a page for people, and in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet import output, page
from linnet.answers.gate.features import FEATURES
from linnet.answers.gate.trials import Trial
from linnet.version import __version__

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "report.html"
WORST = 12

ORIGINS = {
    "generated": "questions made of the documents",
    "people": "people's questions",
    "feedback": "questions that people rated",
}
KINDS = {
    "answerable": "that the documents answer",
    "withheld": "whose answer was withheld",
    "near_miss": "that the documents nearly answer",
    "off_topic": "off the subject",
    "unanswerable": "that the documents do not answer",
    "rated": "rated by people",
}


def write_report(directory: Path, found: Mapping[str, Any], trials: Sequence[Trial]) -> None:
    """Write the page into a directory."""
    output.write_text(directory / PAGE, page_of(found, trials))


def page_of(found: Mapping[str, Any], trials: Sequence[Trial]) -> str:
    """The page."""
    from markupsafe import Markup

    from linnet.train.metrics import svg

    template = page.environment("linnet.answers.gate").get_template("report.html.jinja")
    return template.render(
        found=found,
        said=said(found),
        sets=[(ORIGINS.get(name, name), own) for name, own in found["questions"].items()],
        kinds=KINDS,
        plots=[Markup(svg(figure)) for figure in _figures(found, trials)],
        worst=worst(trials),
        features=[
            (FEATURES[name].about if name in FEATURES else name, weight)
            for name, weight in found["features"].items()
            if weight > 0
        ],
        version=__version__,
    )


def said(found: Mapping[str, Any]) -> list[str]:
    """What is promised, of which questions, and what came of it, in words."""
    return list(_said(found))


def _said(found: Mapping[str, Any]) -> Iterator[str]:
    promise = found["promise"]
    of = ORIGINS[promise["of"]]
    kinds = ", ".join(f"{n:,} {KINDS.get(kind, kind)}" for kind, n in promise["kinds"].items())
    count = (
        f"Of {promise['questions']:,} questions that it had not seen ({kinds}) "
        f"{promise['answered']:,} were answered, {promise['wrong']:,} of them wrongly."
    )
    sure = f"{promise['confidence']:.0%}"
    if promise["kept"]:
        yield (
            f"At most {promise['rate']:.1%} of the questions it answers are answered wrongly, "
            f"with {sure} confidence, for questions like these: {of}. {count}"
        )
    elif promise["threshold"] is not None:
        yield (
            f"It cannot be promised that at most {promise['wanted']:.1%} of the answers are wrong. "
            f"The best that can, with {sure} confidence, for {of}: at most {promise['rate']:.1%}. "
            f"{count}"
        )
    else:
        yield (
            f"Nothing can be promised for {of}, so every question is answered with what was found "
            f"nearest and nothing else. {count}"
        )
    for origin, own in found["questions"].items():
        if own["coverage"] is not None:
            error = own["error"]
            wrong = f"{_percent(error)} of its answers are wrong" if error else "no answer"
            also = "" if origin == promise["of"] else " (the promise is not for these)"
            yield (
                f"Of {ORIGINS.get(origin, origin)}{also} it answers {_percent(own['coverage'])} "
                f"of those that the documents answer; {wrong}."
            )


def _percent(share: Mapping[str, Any]) -> str:
    return (
        f"{share['value']:.1%} ({share['low']:.1%} to {share['high']:.1%}, "
        f"{share['part']:,} of {share['whole']:,})"
    )


def worst(trials: Sequence[Trial]) -> list[Trial]:
    """The surest mistakes, of questions that it did not learn from."""
    wrong = [trial for trial in trials if trial.part == "calibrate" and not trial.right]
    return sorted(wrong, key=lambda trial: (-trial.probability, trial.id))[:WORST]


def _figures(found: Mapping[str, Any], trials: Sequence[Trial]) -> list[Figure]:
    from linnet.scoring.plots import LEAST_ITEMS, reliability_figure, risk_coverage_figure

    own = [
        trial
        for trial in trials
        if trial.part == "calibrate" and trial.origin in (found["promise"]["of"], "feedback")
    ]
    if len(own) < LEAST_ITEMS:
        return []
    right = np.array([trial.right for trial in own], dtype=np.float64)
    scores = np.array([trial.probability for trial in own])
    return [reliability_figure(right, scores), risk_coverage_figure(right, scores)]
