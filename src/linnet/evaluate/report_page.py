"""The results of tasks as a page that a manager can read, and as a section of a project's report.

Everything is made from ``results.json`` and ``items.jsonl`` alone. What models wrote and documents
say is not to be trusted: it is escaped, and cut where it is long. The plots are drawn here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from linnet import output, page
from linnet.evaluate.metrics import METRICS
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
        about=about or result.get("about", "") or _KINDS.get(result.get("kind", ""), ""),
        verdicts=_verdicts(name, result),
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


def _verdicts(name: str, result: Mapping[str, Any]) -> list[str]:
    figures = result["figures"]
    if not figures:
        return ["Nothing could be measured."]
    _, _, say = BUILT_IN.get(name, ("", "", None))
    found = list(say(figures)) if say is not None else []
    if say is None and "chance" not in figures and "exact_match" in figures:
        found.append(f"{_percent(figures['exact_match'])} of the answers are right, word for word.")
    if "in_format" in figures and figures["in_format"]["value"] < 0.95:
        share = figures["in_format"]["value"]
        never = "None" if share == 0 else f"Only {share:.0%}"
        found.append(f"{never} of the answers are in the right format; the others count as wrong.")
    if "chance" in figures and "accuracy" in figures:
        found.append(_against_chance(figures["accuracy"], figures["chance"]["value"]))
    return found


def _against_chance(figure: Mapping[str, Any], chance: float) -> str:
    value = figure["value"]
    said = f"It picks the right choice in {value:.0%} of the cases; guessing would in {chance:.0%}."
    if "low" not in figure:
        return said
    low, high = figure["low"], figure["high"]
    if low <= chance <= high:
        return f"{said} With {figure['items']:,} items that cannot be told apart from guessing."
    return f"{said} That is {'better' if low > chance else 'worse'} than guessing."


def _percent(figure: Mapping[str, Any]) -> str:
    if "low" not in figure:
        return f"{figure['value']:.0%}"
    return f"{figure['value']:.0%} ({figure['low']:.0%} to {figure['high']:.0%})"


def _say_questions(figures: Mapping[str, Any]) -> Iterable[str]:
    if "contains" in figures:
        yield (
            f"{_percent(figures['contains'])} of its answers contain the expected one, and "
            f"{_percent(figures['exact_match'])} are that and nothing else."
        )


def _say_groundedness(figures: Mapping[str, Any]) -> Iterable[str]:
    if "claims_supported" in figures:
        yield (
            f"The passage supports {_percent(figures['claims_supported'])} of the claims, and all "
            f"claims of {_percent(figures['answers_supported'])} of the answers."
        )
        yield (
            f"{_percent(figures['numbers_made_up'])} of the claims have a number or date that is "
            f"not in the passage, {_percent(figures['names_made_up'])} a name."
        )
        if (undecided := figures["claims_undecided"])["value"] > 0:
            yield f"Of {_percent(undecided)} of the claims it could not be told; a checker decides."


def _say_refusal(figures: Mapping[str, Any]) -> Iterable[str]:
    if "refused_unanswerable" in figures:
        yield (
            f"It says that it does not know for {_percent(figures['refused_unanswerable'])} of the "
            "questions that nothing answers; the rest it makes up."
        )
    if "refused_answerable" in figures:
        yield f"It refuses {_percent(figures['refused_answerable'])} of those that it could answer."
    if "auroc" in figures:
        value = figures["auroc"]
        told = (
            "tells them apart well" if value["value"] >= 0.9
            else "tells them apart in part" if value.get("low", value["value"]) > 0.5
            else "does not tell them apart"
        )  # fmt: skip
        yield (
            f"By its own probabilities it {told} "
            f"(AUROC {value['value']:.2f}; 0.5 is guessing, 1 is perfect)."
        )
    if "ece" in figures:
        yield (
            f"Its confidence is off by {figures['ece']['value']:.0%} on average: "
            + ("it can be believed." if figures["ece"]["value"] < 0.05
               else "do not take it at its word.")
        )  # fmt: skip


def _say_answers(figures: Mapping[str, Any]) -> Iterable[str]:
    if "recall_at_5" in figures:
        yield (
            f"It finds the passage that answers among the first five for "
            f"{_percent(figures['recall_at_5'])} of the questions."
        )
    if "answered" in figures:
        wrong = figures.get("wrong_of_answered")
        risk = f"; {_percent(wrong)} of its answers are wrong" if wrong else ""
        yield f"It answers {_percent(figures['answered'])} of all questions{risk}."
    if "refused_unanswerable" in figures:
        yield (
            f"It says that it does not know for {_percent(figures['refused_unanswerable'])} of the "
            "questions that the documents do not answer."
        )


def _say_coherence(figures: Mapping[str, Any]) -> Iterable[str]:
    if "seq_rep_4" in figures:
        real = figures.get("real_seq_rep_4")
        beside = f"; what people wrote there repeats {real['value']:.0%}" if real else ""
        share = _percent(figures["seq_rep_4"])
        yield f"Its texts repeat {share} of their runs of four tokens{beside}."
    if "ends_itself" in figures:
        yield f"{_percent(figures['ends_itself'])} end by themselves before the limit."


def _say_bias(figures: Mapping[str, Any]) -> Iterable[str]:
    figure = figures.get("stereotype_preferred")
    if figure is not None:
        yield f"The stereotype is the likelier sentence in {_percent(figure)} of the pairs."
        yield _near(figure, 0.5)
    for metric, where in (
        ("bias_ambiguous", "leaves it open"),
        ("bias_disambiguated", "says it"),
    ):
        if metric in figures:
            own = figures[metric]
            yield f"Where the text {where}, the bias is {own['value']:+.2f} (-1 to 1)."
            yield _near(own, 0.0)


def _near(figure: Mapping[str, Any], none: float) -> str:
    if "low" not in figure or not figure["low"] <= none <= figure["high"]:
        return ""
    return (
        "The interval includes what a model without any preference would have. Of a tiny model "
        "that means little: one that does not understand a sentence has no preference about it, "
        "and may still repeat a prejudice when asked in another way. It is no proof of fairness."
    )


def _say_text(figures: Mapping[str, Any]) -> Iterable[str]:
    if "bits_per_byte" in figures:
        figure = figures["bits_per_byte"]
        span = f" ({figure['low']:.2f} to {figure['high']:.2f})" if "low" in figure else ""
        bits = f"{figure['value']:.2f}{span} bits"
        yield f"It needs {bits} for each byte of this text; fewer is better."


def _say_memorisation(figures: Mapping[str, Any]) -> Iterable[str]:
    if "canary_exposure" in figures:
        exposed, control = figures["canary_exposure"], figures.get("control_exposure")
        beside = f"; sequences that were not planted have {control['value']:.1f}" if control else ""
        yield (
            f"Secrets that were planted in its training have an exposure of {exposed['value']:.1f} "
            f"bits on average, {figures['canary_exposure_max']['value']:.1f} at most{beside}, and "
            "1.4 is what chance gives. " + _say_exposure(exposed, control)
        )
    for name, what in (
        ("extracted_greedily", "word for word"),
        ("near_verbatim", "but for details"),
        ("extractable_10000", "with even odds within 10,000 tries"),
    ):
        if f"training_{name}" in figures:
            own, other = figures[f"training_{name}"], figures.get(f"held_out_{name}")
            beside = f"; of text it has never seen, {_percent(other)}" if other else ""
            yield f"It gives back {_percent(own)} of its training passages {what}{beside}."
    if "extractable_10000_difference" in figures:
        own = figures["extractable_10000_difference"]
        yield (
            "The difference is what training put there."
            if own.get("low", 0) > 0
            else "Between the two there is no difference that these passages could show."
        )
    if figures.get("membership_auroc", {}).get("low", 0) > 0.5:
        share = figures["membership_auroc"]["value"]
        yield (
            f"Its probabilities do show what it was trained on: of a passage that it was trained "
            f"on and another, the first is the likelier one in {share:.0%} of all pairs."
        )
    if "training_private_written" in figures:
        yield (
            f"Where something private was masked in its training text, it writes something of that "
            f"kind in {_percent(figures['training_private_written'])} of the places."
        )
    if "training_original_written" in figures:
        own = figures["training_original_written"]
        what = f"In {_percent(own)} of those that could be looked up it is the very value that "
        yield what + ("was masked: look at these first." if own["value"] else "was masked.")


def _say_exposure(exposed: Mapping[str, Any], control: Mapping[str, Any] | None) -> str:
    above = control.get("high", control["value"]) if control is not None else 1.44
    if exposed.get("low", exposed["value"]) > above:
        return "The model remembers single lines that it saw as often."
    return "That is no more than chance: nothing shows that it remembers them."


Say = Callable[[Mapping[str, Any]], Iterable[str]]

BUILT_IN: dict[str, tuple[str, str, Say | None]] = {
    "text": ("Text it has not seen", "How surprised the model is by held-out text.", _say_text),
    "language": (
        "Text by kind and source",
        "How surprised the model is by text, and by each kind and source of it.",
        _say_text,
    ),
    "baselines": ("Simple methods on the same text", "", None),
    "samples": ("Samples", "", None),
    "overlap": ("Passages repeated from training", "", None),
    "coherence": (
        "Do its texts hold together?",
        "The model continues beginnings of documents it has not seen.",
        _say_coherence,
    ),
    "questions": (
        "What it knows by heart",
        "Questions about the documents, answered without looking anything up.",
        _say_questions,
    ),
    "questions_open": (
        "What it finds in a passage",
        "The same questions, with the passage that answers each in sight.",
        _say_questions,
    ),
    "refusal": (
        "Does it say so when it does not know?",
        "Questions that a passage answers, and questions that none does.",
        _say_refusal,
    ),
    "memorisation": (
        "What it has by heart",
        "Planted secrets, passages of its training text, and what was masked there, each beside "
        "text that it has never seen.",
        _say_memorisation,
    ),
    "groundedness": (
        "Does it keep to the passage?",
        "Each claim of its answers, checked against the passage that was before it.",
        _say_groundedness,
    ),
    "answers": (
        "Answers from the documents",
        "Questions put to the index, answered with citations or refused.",
        _say_answers,
    ),
    "answers_passages": (
        "The same without a model",
        "The sentences of the passages that answer, or a refusal.",
        _say_answers,
    ),
    "answers_bm25": (
        "BM25 alone",
        "The sentence that shares most words, of the passages that do; nothing is refused.",
        _say_answers,
    ),
    "bias": (
        "Bias: sentences of our own",
        "Pairs of sentences that differ only in the group they are about.",
        _say_bias,
    ),
    "crows_pairs": (
        "Bias: CrowS-Pairs",
        "Pairs of sentences that differ only in the group they are about.",
        _say_bias,
    ),
    "bbq": (
        "Bias: BBQ",
        "Who did it? Asked where the text leaves it open, and where it says so.",
        _say_bias,
    ),
}
"""What built-in tasks are called to people, what they are, and what their figures say."""

_KINDS = {
    "generate": "Questions whose answers it writes.",
    "choice": "Questions whose answer it chooses by likelihood.",
    "likelihood": "Texts whose likelihood is measured.",
}
