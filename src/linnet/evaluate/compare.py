"""Runs side by side: what changed from one to the other, item by item.

The runs are what ``linnet evaluate --task ... --out DIR`` (or ``--harness``) wrote; the others are
compared with the first. Two models are put to the same items, so their scores are
paired: the interval of a difference is the percentile bootstrap over items, each drawn with its
scores of both (Efron and Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter 16), which
is far narrower than the difference of two intervals.

A verdict is given by a margin that is stated beforehand: the loss that one is willing to call
none. "Better" and "worse" mean that the whole interval lies on one side of zero; "the same" that it
lies within the margin; "not worse" that it lies above the loss of one margin (non-inferiority).
Otherwise the items do not tell, and the number of them that would is estimated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from linnet import output, page
from linnet.config import Config, option, to_mapping
from linnet.errors import ConfigError, DataError
from linnet.evaluate.figures import DRAWS_AT_ONCE
from linnet.evaluate.metrics import METRICS, Metric, Numbers, mean
from linnet.evaluate.suite import read_items, read_results
from linnet.version import __version__

RESULTS = "comparison.json"
PAGE = "comparison.html"
LEAST_ITEMS = 20
"""With fewer, resampling them says too little about others to call anything better or worse."""
POWER = 1.43
"""Times half an interval of 95 % that a difference must have for four of five samples to show it:
(1.96 + 0.84) / 1.96."""
LONGEST = 700  # characters of a text that are shown

Verdict: TypeAlias = Literal["better", "worse", "the same", "not worse", "not clear"]
Scores: TypeAlias = Mapping[str, float]


@dataclass(frozen=True)
class CompareConfig(Config):
    """How runs are compared."""

    margin: float = option(
        0.02,
        "the loss that counts as none: of shares in points, of other figures as a share of the "
        "first run's",
        above=0,
        below=1,
    )
    level: float = option(0.95, "confidence level of the intervals", above=0, below=1)
    resamples: int = option(2000, "resamplings of the items behind an interval", least=100)
    seed: int = option(0, "seed of the resampling", least=0)
    worst: int = option(5, "items of each task to show that got worse", least=0)


@dataclass(frozen=True)
class Difference:
    """One figure of two runs."""

    metric: str
    about: str
    first: float
    second: float
    """Both over the items that both runs scored."""
    difference: float
    """The second less the first."""
    low: float | None
    high: float | None
    """Of the difference; None where too few items have it."""
    items: int
    better: Literal["lower", "higher", "neither"]
    margin: float
    """In the units of the figure."""
    verdict: Verdict | None
    """Of the second beside the first; None of figures of which neither more nor less is better."""
    items_needed: int | None = None
    """Where it is not clear: about how many items would tell."""
    share: bool = False


@dataclass(frozen=True)
class ItemChange:
    """An item that the second run did worse."""

    id: str
    score: str
    first: float
    second: float
    prompt: str
    expected: str
    first_answer: str
    second_answer: str
    source: str


@dataclass(frozen=True)
class TaskComparison:
    """One task of two runs."""

    task: str
    differences: tuple[Difference, ...]
    items: int
    """That both runs scored."""
    only_first: int
    only_second: int
    changed: int
    """Items of the same name that ask another thing, show another passage or choices, or expect
    another answer: left out."""
    worse: int
    better: int
    """Items that the second run did worse and better, by the score in ``score``."""
    score: str | None
    examples: tuple[ItemChange, ...]


@dataclass(frozen=True)
class RunComparison:
    """A run beside the first."""

    first: str
    second: str
    tasks: tuple[TaskComparison, ...]
    missing: tuple[str, ...]
    """Tasks that only one of them has."""
    settings: tuple[str, ...] = ()
    """What differs in how they were run."""


@dataclass(frozen=True)
class Comparison:
    """Several runs beside the first."""

    runs: tuple[RunComparison, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return dict(to_mapping(self))


@dataclass(frozen=True)
class _Read:
    name: str
    results: Mapping[str, Any]
    items: Mapping[str, Mapping[str, Mapping[str, Any]]]
    """By task and id."""


def compare(
    runs: Sequence[Path | str],
    out: Path | str | None = None,
    config: CompareConfig | None = None,
) -> Comparison:
    """Compare runs with the first of them.

    With ``out``, ``comparison.json`` and ``comparison.html`` are written there. Raises ConfigError
    for fewer than two runs, ArtifactError for a directory that holds none, DataError where no task
    is common to two of them.
    """
    config = config or CompareConfig()
    if len(runs) < 2:
        raise ConfigError(f"expected at least two runs to compare. Got {len(runs)}")
    first, *others = _named([_read(Path(run)) for run in runs])
    found = Comparison(
        tuple(_compared(first, second, config) for second in others), to_mapping(config)
    )
    if out is not None:
        directory = Path(out)
        output.check_output_directory(directory, allowed=(RESULTS,))
        output.make_directory(directory)
        output.write_json(directory / RESULTS, found.to_json())
        template = page.environment("linnet.evaluate").get_template("comparison.html.jinja")
        text = template.render(
            comparison=found,
            value=shown,
            change=shown_change,
            interval=shown_interval,
            version=__version__,
        )
        output.write_text(directory / PAGE, text)
    return found


def _read(path: Path) -> _Read:
    results = read_results(path)
    items: dict[str, dict[str, Mapping[str, Any]]] = {}
    for item in read_items(path):
        items.setdefault(str(item["task"]), {})[str(item["id"])] = item
    return _Read(str(results.get("model", path.name)), results, items)


def _named(runs: list[_Read]) -> list[_Read]:
    """Runs of the same model are told apart by number."""
    names = [run.name for run in runs]
    return [
        _Read(f"{run.name} ({place})", run.results, run.items) if names.count(run.name) > 1 else run
        for place, run in enumerate(runs, 1)
    ]


def _compared(first: _Read, second: _Read, config: CompareConfig) -> RunComparison:
    ours, theirs = first.results["tasks"], second.results["tasks"]
    common = [name for name in ours if name in theirs]
    if not common:
        raise DataError(
            f"{first.name} and {second.name} have no task in common: {', '.join(ours)} and "
            f"{', '.join(theirs)}; run the same tasks on both"
        )
    return RunComparison(
        first.name,
        second.name,
        tuple(_task(name, first, second, config) for name in common),
        tuple(sorted(set(ours) ^ set(theirs))),
        tuple(_different_settings(first.results, second.results)),
    )


def _different_settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    ours, theirs = first.get("settings") or {}, second.get("settings") or {}
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            yield f"{name}: {ours.get(name)} and {theirs.get(name)}"


def _task(name: str, first: _Read, second: _Read, config: CompareConfig) -> TaskComparison:
    own, other = first.items.get(name, {}), second.items.get(name, {})
    both = [id for id in own if id in other]
    same = [id for id in both if _asks_the_same(own[id], other[id])]
    scored = [id for id in same if own[id].get("scores") and other[id].get("scores")]
    before = [own[id]["scores"] for id in scored]
    after = [other[id]["scores"] for id in scored]
    result = first.results["tasks"][name]
    metrics = [
        _metric(metric, result)
        for metric in result["figures"]
        if metric in second.results["tasks"][name]["figures"]
    ]
    differences = tuple(
        found
        for metric in metrics
        if (found := difference_of(metric, before, after, config)) is not None
    )
    ranked = _ranked(metrics, before, after, scored)
    score, changes = ranked if ranked is not None else (None, [])
    worse = [(change, id) for change, id in changes if change < 0]
    return TaskComparison(
        task=name,
        differences=differences,
        items=len(scored),
        only_first=len(own) - len(both),
        only_second=len(other) - len(both),
        changed=len(both) - len(same),
        worse=len(worse),
        better=sum(change > 0 for change, _ in changes),
        score=score,
        examples=tuple(
            _item(id, str(score), own[id], other[id]) for _, id in worse[: config.worst]
        ),
    )


def _asks_the_same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return all(
        first.get(name) == second.get(name) for name in ("prompt", "passage", "expected", "choices")
    )


def _metric(name: str, result: Mapping[str, Any]) -> Metric:
    """A metric of ours, or one that a task brought along, which is a mean over items."""
    known = METRICS.get(name)
    if known is not None:
        return known
    better = (result.get("better") or {}).get(name, "higher")
    return Metric(name, name.replace("_", " "), (name,), mean, better)


def difference_of(
    metric: Metric, before: Sequence[Scores], after: Sequence[Scores], config: CompareConfig
) -> Difference | None:
    """One figure of the same items in two runs; None where they have no such figure."""
    having = [
        (one, two)
        for one, two in zip(before, after, strict=True)
        if all(name in one and name in two for name in metric.columns)
    ]
    if not having:
        return None
    columns = [
        [np.array([pair[side][name] for pair in having]) for name in metric.columns]
        for side in (0, 1)
    ]
    first, second = (float(metric.figure(*own)) for own in columns)
    if not (math.isfinite(first) and math.isfinite(second)):
        return None
    low, high = _interval(metric, columns, config) if len(having) > 1 else (None, None)
    share = metric.share or metric.compares
    margin = config.margin * (1.0 if share else abs(first))
    sign = {"higher": 1, "lower": -1, "neither": 0}[metric.better]
    verdict, needed = None, None
    if sign:
        few = len(having) < LEAST_ITEMS
        verdict = "not clear" if few else _verdict(low, high, sign, margin)
    if verdict == "not clear" and low is not None and high is not None and margin > 0:
        # The width shrinks with the root of the number. It must fit below the margin, or so far
        # below the difference that others like these show it four times out of five.
        half, apart = (high - low) / 2, abs(second - first)
        grown = half / margin
        if apart:
            grown = min(grown, POWER * half / apart)
        needed = max(LEAST_ITEMS, math.ceil(len(having) * max(1.0, grown) ** 2))
    return Difference(
        metric.name, metric.about, first, second, second - first, low, high, len(having),
        metric.better, margin, verdict, needed, share,
    )  # fmt: skip


def _verdict(low: float | None, high: float | None, sign: int, margin: float) -> Verdict:
    if low is None or high is None:
        return "not clear"
    least, most = (low, high) if sign > 0 else (-high, -low)
    if least == most == 0:
        return "the same"
    if least > 0:
        return "better"
    if most < 0:
        return "worse"
    if -margin < least and most < margin:
        return "the same"
    return "not worse" if least > -margin else "not clear"


def _interval(
    metric: Metric, columns: Sequence[Sequence[Numbers]], config: CompareConfig
) -> tuple[float | None, float | None]:
    count = len(columns[0][0])
    generator = np.random.default_rng(config.seed)
    found = []
    at_once = max(1, DRAWS_AT_ONCE // count)
    for done in range(0, config.resamples, at_once):
        drawn = generator.integers(count, size=(min(at_once, config.resamples - done), count))
        first, second = (metric.figure(*(column[drawn] for column in own)) for own in columns)
        found.append(second - first)
    values = np.concatenate(found)
    values = values[np.isfinite(values)]
    if 2 * len(values) < config.resamples:
        return None, None
    tail = (1 - config.level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _ranked(
    metrics: Sequence[Metric],
    before: Sequence[Scores],
    after: Sequence[Scores],
    ids: Sequence[str],
) -> tuple[str, list[tuple[float, str]]] | None:
    """The change of each item, worst first, by the first metric that is one score of an item."""
    for metric in metrics:
        if metric.better == "neither":
            continue
        sign = 1 if metric.better == "higher" else -1
        changes = []
        for one, two, id in zip(before, after, ids, strict=True):
            if all(name in one and name in two for name in metric.columns):
                values = [
                    float(metric.figure(*(np.array([each[name]]) for name in metric.columns)))
                    for each in (one, two)
                ]
                if all(map(math.isfinite, values)):
                    changes.append((sign * (values[1] - values[0]), id))
        if changes and (len(metric.columns) == 1 or metric.name == "bits_per_byte"):
            return metric.name, sorted(changes)
    return None


def _item(id: str, score: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> ItemChange:
    metric = METRICS.get(score) or Metric(score, score, (score,), mean)
    values = [
        float(metric.figure(*(np.array([each["scores"][name]]) for name in metric.columns)))
        for each in (first, second)
    ]
    expected = first.get("expected") or ()
    return ItemChange(
        id=id,
        score=score,
        first=values[0],
        second=values[1],
        prompt=shortened(first.get("prompt")),
        expected=shortened(
            expected if isinstance(expected, str) else " | ".join(map(str, expected))
        ),
        first_answer=shortened(first.get("answer")),
        second_answer=shortened(second.get("answer")),
        source=shortened(first.get("source")),
    )


def shortened(text: object) -> str:
    """A text as far as it is shown."""
    said = text if isinstance(text, str) else "" if text is None else json.dumps(text)
    return said if len(said) <= LONGEST else said[:LONGEST] + " …"


def shown(value: float, difference: Difference) -> str:
    """A figure as people read it."""
    return f"{value:.1%}" if difference.share else f"{value:.4g}"


def shown_interval(difference: Difference) -> str:
    """The interval of a difference as people read it; empty where there is none."""
    low, high = difference.low, difference.high
    if low is None or high is None:
        return ""
    if difference.share:
        return f"{100 * low:+.1f} to {100 * high:+.1f}"
    return f"{low:+.3g} to {high:+.3g}"


def shown_change(value: float, difference: Difference) -> str:
    """A difference as people read it, in points where the figure is a share."""
    return f"{100 * value:+.1f} points" if difference.share else f"{value:+.3g}"
