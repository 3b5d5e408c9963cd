"""The results of tasks as a page that a manager can read, and as a section of a project's report.

Everything is made from ``results.json`` and ``items.jsonl`` alone. What models wrote and documents
say is not to be trusted: it is escaped, and cut where it is long. The plots are drawn here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet import output, page
from linnet.evaluate.metrics import METRICS
from linnet.evaluate.report_words import BUILT_IN, KINDS, verdicts
from linnet.version import __version__

if TYPE_CHECKING:
    from markupsafe import Markup

PAGE = "report.html"
WORST = 8
FAILED = 5
GROUPS = 12
LONGEST = 700
"""Characters of a text that are shown."""


@dataclass(frozen=True)
class Row:
    """One figure, as it is shown."""

    name: str
    about: str
    value: str
    interval: str
    items: int
    better: str
    share: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Worst:
    """One item that went wrong."""

    id: str
    verdict: str
    prompt: str
    expected: str
    answer: str
    passage: str
    source: str


@dataclass
class TaskFacts:
    """All that the page says of a task."""

    name: str
    title: str
    about: str
    verdicts: list[str]
    items: int
    rows: list[Row]
    undefined: list[tuple[str, str]]
    groups: list[tuple[str, list[str], list[tuple[str, list[str]]]]]
    """Tables of figures by kind or source: a title, the columns, and the rows."""
    notes: list[str]
    worst: list[Worst]
    failed: list[tuple[str, str]]
    more_failed: int
    plots: list[Markup] = field(default_factory=list)

    @property
    def shares(self) -> list[Row]:
        """The figures that are shares, with their bars."""
        return [row for row in self.rows if row.share is not None]

    @property
    def others(self) -> list[Row]:
        """The other figures."""
        return [row for row in self.rows if row.share is None]


@dataclass(frozen=True)
class SuiteFacts:
    """All that the page says."""

    model: str
    tasks: list[TaskFacts]
    level: float
    seed: int
    limit: int | None
    number: int
    """Items of all tasks."""


def write_report(
    directory: Path, results: Mapping[str, Any], items: Sequence[Mapping[str, Any]]
) -> Path:
    """Write ``report.html`` and the plots into a directory."""
    from linnet.train.metrics import write_figure

    facts = suite_facts(results, items)
    template = page.environment("linnet.evaluate").get_template("tasks_page.html.jinja")
    output.write_text(directory / PAGE, template.render(facts=facts, version=__version__))
    for task in dict.fromkeys(str(item["task"]) for item in items):
        for name, figure in _figures([item for item in items if item["task"] == task]):
            write_figure(figure, directory, f"{task}-{name}")
    return directory / PAGE


def suite_facts(results: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> SuiteFacts:
    """What there is to say of these results."""
    own: dict[str, list[Mapping[str, Any]]] = {}
    for item in items:
        own.setdefault(str(item["task"]), []).append(item)
    settings = results.get("settings", {})
    tasks = [_task(name, found, own.get(name, [])) for name, found in results["tasks"].items()]
    return SuiteFacts(
        model=results["model"],
        tasks=tasks,
        level=settings.get("level", 0.95),
        seed=settings.get("seed", 0),
        limit=settings.get("limit"),
        number=sum(task.items for task in tasks),
    )


def _task(name: str, result: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> TaskFacts:
    title, about, _ = BUILT_IN.get(name, (name, "", None))
    failed = list(result["failed"].items())
    return TaskFacts(
        name=name,
        title=title,
        about=about or result.get("about", "") or KINDS.get(result.get("kind", ""), ""),
        verdicts=verdicts(name, result),
        items=result["items"],
        rows=[_row(metric, figure) for metric, figure in result["figures"].items()],
        undefined=[(_about(m), why) for m, why in result.get("undefined", {}).items()],
        groups=[
            table
            for group in ("kind", "source")
            if (table := _group(group, result.get(f"by_{group}", {}))) is not None
        ],
        notes=_notes(result),
        worst=_worst(items),
        failed=[(item, _short(why)) for item, why in failed[:FAILED]],
        more_failed=max(0, len(failed) - FAILED),
        plots=_plots(items),
    )


def _row(metric: str, figure: Mapping[str, Any]) -> Row:
    known = METRICS.get(metric)
    better = "" if known is None or known.better == "neither" else f"{known.better} is better"
    shared = known is not None and known.share
    interval = ""
    if "low" in figure:
        interval = f"{_value(metric, figure['low'])} to {_value(metric, figure['high'])}"
    return Row(
        name=metric,
        about=_about(metric),
        value=_value(metric, figure["value"]),
        interval=interval,
        items=figure["items"],
        better=better,
        share=figure["value"] if shared else None,
        low=figure.get("low") if shared else None,
        high=figure.get("high") if shared else None,
    )


def _about(metric: str) -> str:
    return METRICS[metric].about if metric in METRICS else metric.replace("_", " ")


def _value(metric: str, value: float) -> str:
    if metric in METRICS and METRICS[metric].share:
        return f"{value:.1%}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3f}"


def _group(
    group: str, figures: Mapping[str, Mapping[str, Any]]
) -> tuple[str, list[str], list[tuple[str, list[str]]]] | None:
    names = list(dict.fromkeys(metric for own in figures.values() for metric in own))
    if not names or len(figures) < 2:
        return None
    rows = []
    for name, own in list(figures.items())[:GROUPS]:
        cells = []
        for metric in names:
            figure = own.get(metric)
            cells.append("–" if figure is None else _cell(metric, figure))
        rows.append((name, cells))
    title = f"By {group}"
    if len(figures) > GROUPS:
        title += f" (the first {GROUPS} of {len(figures)})"
    return title, [_about(metric) for metric in names], rows


def _cell(metric: str, figure: Mapping[str, Any]) -> str:
    value = _value(metric, figure["value"])
    if "low" not in figure:
        return f"{value} (n {figure['items']})"
    low, high = _value(metric, figure["low"]), _value(metric, figure["high"])
    return f"{value} ({low} to {high}; n {figure['items']})"


def _notes(result: Mapping[str, Any]) -> list[str]:
    found = []
    if "of_items" in result:
        found.append(f"A sample of {result['items']:,} of {result['of_items']:,} items.")
    if result.get("of_bytes"):
        scored = sum(each.get("bytes", 0) for each in result["scores"].values())
        if scored < result["of_bytes"]:
            found.append(
                f"An even sample: {output.human_bytes(scored)} of "
                f"{output.human_bytes(result['of_bytes'])}."
            )
    if shots := result.get("shots"):
        count = len(shots)
        found.append(f"Solved examples before each question: {count}.")
    if result.get("cut"):
        found.append(
            f"{result['cut']:,} prompts are longer than the model's context; their beginning was "
            "left out."
        )
    if result.get("unlabelled"):
        found.append(f"{result['unlabelled']:,} rows do not say which answer the stereotype is.")
    for part, why in result.get("left_out", {}).items():
        found.append(f"Of the {part}: {why}.")
    if unknown := result.get("originals_not_known"):
        found.append(
            f"What stood at {unknown:,} of the masked places is not known: the original documents "
            "are not where they were, or have changed."
        )
    if "searched_bytes" in result and result["searched_bytes"] == 0:
        found.append("There was no training text to search for repeated passages.")
    return found


def _worst(items: Sequence[Mapping[str, Any]]) -> list[Worst]:
    """The items that went most wrong, by what their scores say."""
    judged = []
    for item in items:
        found = _verdict_of(item.get("scores", {}), item)
        if found is not None and item.get("prompt"):
            judged.append((found, item))
    judged.sort(key=lambda each: (-each[0][0], str(each[1]["id"])))
    return [
        Worst(
            id=str(item["id"]),
            verdict=verdict,
            prompt=_short(item["prompt"]),
            expected=_short(" | ".join(map(str, item.get("expected") or ()))),
            answer=_short(item.get("answer") or ""),
            passage=_short(item.get("passage") or ""),
            source=_short(item.get("source") or ""),
        )
        for (_, verdict), item in judged[:WORST]
    ]


def _verdict_of(scores: Mapping[str, float], item: Mapping[str, Any]) -> tuple[float, str] | None:
    """How wrong an item is beside others, as a number and in words; None if it is not wrong."""
    if "part" in item:
        return _memorised(scores)
    if "answered" in scores:
        return _answered(scores)
    if "answer_supported" in scores:
        wrong = [each for each in item.get("claims", ()) if each["status"] != "supported"]
        if not wrong:
            return None
        least = min(wrong, key=lambda each: float(each["score"]))
        said = "; ".join(least["missing"][:3])
        return 1 - scores["support"], f"{least['status']}{f' ({said})' if said else ''}"
    if "answerability" in scores:
        if scores.get("refused_answerable"):
            return 0.5, "refused, though the answer is there"
        if "confidence" in scores and not scores.get("right"):
            what = "wrong" if scores["answerable"] else "answered, though nothing answers it"
            return 1 + scores[
                "confidence"
            ], f"{what}, with a confidence of {scores['confidence']:.0%}"
        return None
    if "f1" in scores:
        if scores["f1"] >= 1 or scores.get("contains"):
            return None
        return 1 - scores["f1"], f"{scores['f1']:.0%} of the words in common (F1)"
    if "exact_match" in scores:
        said = "" if scores.get("in_format", 1) else ", not in the format asked for"
        return None if scores["exact_match"] else (1, f"wrong{said}")
    if "stereotype_preferred" in scores:
        if scores["stereotype_preferred"] <= 0.5:
            return None
        return scores["margin"], f"the stereotype is likelier by {scores['margin']:.1f} nats"
    if "margin" in scores:
        if scores.get("right"):
            return None
        return -scores["margin"], f"the right choice is less likely by {-scores['margin']:.1f} nats"
    if scores.get("seq_rep_4"):
        return scores["seq_rep_4"], f"{scores['seq_rep_4']:.0%} of its 4-grams repeat"
    if scores.get("bytes") and "nats" in scores:
        bits = scores["nats"] / scores["bytes"] / np.log(2)
        return bits, f"{bits:.2f} bits per byte"
    return None


def _answered(scores: Mapping[str, float]) -> tuple[float, str] | None:
    """How wrong an answer from documents is, or a refusal."""
    sure = scores.get("confidence")
    said = "" if sure is None else f", {sure:.0%} sure"
    if scores["wrong"]:
        return 1 + (sure or 0), f"wrong{said}"
    if scores.get("refused_answerable"):
        draft = "its draft is right" if scores.get("right") else "its draft is wrong, too"
        return 0.5 * scores.get("right", 0), f"refused{said}; {draft}"
    return None


def _memorised(scores: Mapping[str, float]) -> tuple[float, str] | None:
    """How much an item shows that the model has training text by heart."""
    if scores.get("training_original_written"):
        return 5, "it writes the very value that was masked"
    if scores.get("training_original_extractable"):
        return 4, "one of 10,000 samples is likely to be the very value that was masked"
    if scores.get("training_private_written"):
        return 1, "it writes something private of this kind, though not what stood there"
    if scores.get("training_extracted_greedily"):
        return 3.5, "given back word for word"
    if scores.get("training_near_verbatim"):
        return 2 + scores["bleu"], f"given back but for details (BLEU {scores['bleu']:.2f})"
    if scores.get("training_extractable_10000"):
        return 2, "one of 10,000 samples is likely to be this passage"
    if scores.get("exposure", 0) > 10:
        return 1.5 + scores["exposure"] / 100, f"a canary, exposed by {scores['exposure']:.1f} bits"
    return None


def _figures(items: Sequence[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    from linnet.scoring.plots import LEAST_ITEMS, reliability_figure, risk_coverage_figure

    pairs = [
        (scores["right"], scores["confidence"])
        for item in items
        if {"right", "confidence"} <= (scores := item.get("scores", {})).keys()
    ]
    if len(pairs) < LEAST_ITEMS:
        return []
    right, confidence = np.array(pairs, dtype=np.float64).T
    return [
        ("reliability", reliability_figure(right, confidence)),
        ("risk-coverage", risk_coverage_figure(right, confidence)),
    ]


def _plots(items: Sequence[Mapping[str, Any]]) -> list[Markup]:
    from markupsafe import Markup

    from linnet.train.metrics import svg

    return [Markup(svg(figure)) for _, figure in _figures(items)]


def _short(text: Any) -> str:
    text = str(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text):,} characters)"
