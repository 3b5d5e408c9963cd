"""Runs side by side, against a paired bootstrap written out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from linnet import artifact
from linnet.cli.compare import app
from linnet.errors import ArtifactError, ConfigError, DataError, OutputError
from linnet.evaluate.compare import CompareConfig, compare
from linnet.evaluate.figures import measure
from linnet.evaluate.metrics import METRICS
from linnet.evaluate.suite import FORMAT, KIND, write_results


def write_run(
    place: Path, scores: Sequence[dict[str, float]], *metrics: str, task: str = "questions",
    model: str = "m", **more: Any,
) -> Path:  # fmt: skip
    """A run of one task with these scores."""
    rows = [
        {"task": task, "id": str(number), "scores": each, "prompt": f"Question {number}?",
         "expected": ["yes"], "answer": f"{model} says {number}", **more.get(f"item{number}", {})}
        for number, each in enumerate(scores)
    ]  # fmt: skip
    figures = {name: measure(METRICS[name], scores).to_json() for name in metrics}
    results = {
        "model": model, "data": None, "settings": {"seed": 0},
        "tasks": {task: {"items": len(rows), "failed": {}, "figures": figures,
                         "scores": {row["id"]: row["scores"] for row in rows}}},
    }  # fmt: skip
    with artifact.create(
        place, kind=KIND, format=FORMAT, config={"of": place.name}, inputs={}
    ) as d:
        write_results(d, results, rows)
    return place


def draws(seed: int, count: int, share: float) -> list[float]:
    return [float(x < share) for x in np.random.default_rng(seed).random(count)]


def test_the_interval_is_that_of_pairs(tmp_path: Path) -> None:
    first, second = draws(0, 60, 0.5), draws(1, 60, 0.7)
    runs = [
        write_run(tmp_path / name, [{"exact_match": x} for x in own], "exact_match", model=name)
        for name, own in (("a", first), ("b", second))
    ]
    config = CompareConfig(resamples=500, seed=3)
    (found,) = compare(runs, config=config).runs[0].tasks[0].differences
    drawn = np.random.default_rng(3).integers(60, size=(500, 60))
    expected = [np.mean([second[i] - first[i] for i in row]) for row in drawn]
    low, high = np.quantile(expected, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.difference == pytest.approx(np.mean(second) - np.mean(first))
    # Narrower than that of independent samples, where the two go together.
    close = [x if i % 10 else 1 - x for i, x in enumerate(first)]
    near = write_run(tmp_path / "c", [{"exact_match": x} for x in close], "exact_match")
    (paired,) = compare([runs[0], near], config=config).runs[0].tasks[0].differences
    assert paired.low is not None
    assert paired.high is not None
    assert paired.high - paired.low < 0.6 * (found.high - found.low)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("first", "second", "metric", "margin", "verdict"),
    [
        ([0.0] * 40, [1.0] * 30 + [0.0] * 10, "exact_match", 0.02, "better"),
        ([1.0] * 30 + [0.0] * 10, [0.0] * 40, "exact_match", 0.02, "worse"),
        ([1.0] * 40, [1.0] * 40, "exact_match", 0.02, "the same"),
        ([1.0, 0.0] * 200, [1.0, 0.0] * 198 + [0.0, 0.0, 0.0, 1.0], "exact_match", 0.05,
         "the same"),
        ([1.0, 0.0] * 20, [0.0, 1.0] * 20, "exact_match", 0.02, "not clear"),
        ([0.0] * 5, [1.0] * 5, "exact_match", 0.02, "not clear"),  # too few to say
    ],
)  # fmt: skip
def test_verdicts_follow_the_margin(
    first: list[float], second: list[float], metric: str, margin: float, verdict: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    runs = [
        write_run(tmp_path / name, [{metric: x} for x in own], metric)
        for name, own in (("a", first), ("b", second))
    ]
    (found,) = compare(runs, config=CompareConfig(margin)).runs[0].tasks[0].differences
    assert found.verdict == verdict
    assert (found.items_needed is not None) == (verdict == "not clear")
    if verdict == "not clear":
        assert found.items_needed is not None
        assert found.items_needed > len(first)


def test_so_many_items_as_are_named_do_tell(tmp_path: Path) -> None:
    """Four of five samples of that size show a difference that this one only has."""
    changes = [1.0] * 16 + [-1.0] * 10 + [0.0] * 14
    runs = [
        write_run(tmp_path / name, [{"exact_match": x} for x in own], "exact_match")
        for name, own in (("a", [max(0.0, -x) for x in changes]),
                          ("b", [max(0.0, x) for x in changes]))
    ]  # fmt: skip
    (found,) = compare(runs).runs[0].tasks[0].differences
    assert found.verdict == "not clear"
    assert found.items_needed is not None
    drawn = np.random.default_rng(1).choice(changes, size=(1000, found.items_needed))
    half = 1.96 * drawn.std(-1) / np.sqrt(found.items_needed)
    assert np.mean(drawn.mean(-1) > half) == pytest.approx(0.8, abs=0.06)


def test_less_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    runs = [
        write_run(
            tmp_path / name,
            [{"nats": cost * (i + 1), "bytes": 10.0 * (i + 1), "tokens": 3.0} for i in range(30)],
            "bits_per_byte", "perplexity",
        )
        for name, cost in (("a", 5.0), ("b", 4.0))
    ]  # fmt: skip
    task = compare(runs).runs[0].tasks[0]
    assert [each.verdict for each in task.differences] == ["better", "better"]
    assert task.differences[0].difference == pytest.approx(-0.1 / np.log(2))
    assert (task.better, task.worse, task.score) == (30, 0, "bits_per_byte")


def test_what_got_worse_is_shown_and_other_items_are_left_out(tmp_path: Path) -> None:
    first = [{"f1": x} for x in (1.0, 1.0, 0.5, 0.2, 1.0)]
    second = [{"f1": x} for x in (0.9, 0.0, 0.5, 0.9, 0.0)]
    changed = {"item4": {"expected": ["no"]}}
    runs = [
        write_run(tmp_path / "a", first, "f1", model="<a>"),
        write_run(tmp_path / "b", [*second, {"f1": 1.0}], "f1", model="b", **changed),
    ]
    out = tmp_path / "out"
    task = compare(runs, out, CompareConfig(worst=1)).runs[0].tasks[0]
    assert (task.items, task.changed, task.only_second) == (4, 1, 1)
    assert (task.worse, task.better) == (2, 1)
    (worst,) = task.examples
    assert (worst.id, worst.first, worst.second) == ("1", 1.0, 0.0)
    assert (worst.first_answer, worst.second_answer) == ("<a> says 1", "b says 1")
    assert json.loads((out / "comparison.json").read_text())["runs"][0]["second"] == "b"
    shown = (out / "comparison.html").read_text("utf-8")
    assert "&lt;a&gt; says 1" in shown
    assert "<a>" not in shown
    with pytest.raises(OutputError, match="linnet did not write"):
        compare(runs, tmp_path)


@pytest.mark.parametrize("what", ["passage", "choices"])
def test_items_put_with_something_else_are_not_compared(what: str, tmp_path: Path) -> None:
    scores = [{"f1": 1.0}] * 3
    other = {"item1": {what: ["another"]}}
    runs = [
        write_run(tmp_path / "a", scores, "f1"),
        write_run(tmp_path / "b", scores, "f1", **other),
    ]
    (task,) = compare(runs).runs[0].tasks
    assert (task.items, task.changed) == (2, 1)


def test_the_command_and_what_it_refuses(tmp_path: Path) -> None:
    one = write_run(tmp_path / "a", [{"f1": 0.5}] * 3, "f1")
    other = write_run(tmp_path / "b", [{"f1": 0.5}] * 3, "f1", task="refusal")
    result = CliRunner().invoke(app, [str(one), str(one), "--out", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "not clear" in result.stdout
    assert "m (1)" in result.stdout
    plain = CliRunner().invoke(app, [str(one), str(one), "--json"])
    assert json.loads(plain.stdout)["runs"][0]["tasks"][0]["items"] == 3
    with pytest.raises(ConfigError, match="at least two"):
        compare([one])
    with pytest.raises(DataError, match="no task in common"):
        compare([one, other])
    with pytest.raises(ArtifactError):
        compare([one, tmp_path / "none"])


def test_the_margin_of_a_difference_of_shares_is_in_points(tmp_path: Path) -> None:
    """Not a share of the first difference, which is near zero where nothing was memorised."""
    metric = "near_verbatim_difference"
    runs = [
        write_run(
            tmp_path / name,
            [{"trained": float(n % 2), "near_verbatim": float(n < some)} for n in range(60)],
            metric, model=name,
        )
        for name, some in (("one", 3), ("two", 4))
    ]  # fmt: skip
    (found,) = compare(runs, config=CompareConfig(margin=0.05)).runs[0].tasks[0].differences
    assert found.margin == 0.05
    assert found.share


def test_the_verdict_is_seen_on_a_small_screen(tmp_path: Path, chromium: Any) -> None:
    runs = [
        write_run(tmp_path / name, [{"exact_match": x}] * 40, "exact_match", model=name * 12)
        for name, x in (("a", 0.0), ("b", 1.0))
    ]
    compare(runs, tmp_path / "out")
    page = chromium.new_page(viewport={"width": 360, "height": 700})
    page.goto((tmp_path / "out" / "comparison.html").as_uri())
    place = page.get_by_role("cell", name="better", exact=True).bounding_box()
    page.close()
    assert place is not None
    assert place["x"] + place["width"] <= 360
