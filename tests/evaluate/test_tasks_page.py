"""The page about tasks: what it says, that nothing in it is markup of a stranger, and its plots."""

import json
from pathlib import Path
from typing import Any

import pytest

from linnet.evaluate.report_page import suite_facts, write_report

EVIL = "<script>alert('x')</script>\x07"


def refusals(count: int) -> list[dict[str, Any]]:
    return [
        {
            "task": "refusal", "id": f"q{n}", "prompt": f"{EVIL} {n}", "answer": EVIL,
            "expected": ["yes"], "passage": "p" * 5000, "source": "a.txt",
            "scores": {"answerable": 1.0, "answerability": 0.5, "right": float(n % 3 > 0),
                       "confidence": n / count},
        }
        for n in range(count)
    ]  # fmt: skip


def figure(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "items": 30, "seed": 0, "level": 0.95}


def page(place: Path, tasks: dict[str, Any], items: list[dict[str, Any]]) -> str:
    results = {"model": EVIL, "tasks": tasks, "settings": {"limit": 5}}
    return write_report(place, results, items).read_text("utf-8")


def test_what_strangers_wrote_is_escaped_and_cut(tmp_path: Path) -> None:
    failed = {f"i{n}": EVIL for n in range(9)}
    own = {"items": 39, "failed": failed, "figures": {"ece": figure(0.2, 0.1, 0.3)}, "scores": {},
           "undefined": {"auroc": "all items are of one class"}}  # fmt: skip
    text = page(tmp_path, {"refusal": own, f"own{EVIL}": own}, refusals(30))
    assert "<script" not in text
    assert "\x07" not in text
    assert "ppp … (5,000 characters)" in text
    assert "and 4 more" in text
    assert "all items are of one class" in text
    assert "wrong, with a confidence of 90%" in text
    assert text.index("confidence of 90%") < text.index("confidence of 80%")
    assert text.count("<svg") == 2
    names = {"refusal-reliability", "refusal-risk-coverage"}
    assert {file.stem for file in tmp_path.glob("*.png")} == names


def test_few_answers_have_no_plot_and_nothing_has_a_page(tmp_path: Path) -> None:
    own = {"items": 5, "failed": {}, "figures": {}, "scores": {}}
    assert "<svg" not in page(tmp_path, {"refusal": own}, refusals(5))
    assert "No task has been run yet" in page(tmp_path, {}, [])
    assert not list(tmp_path.glob("*.png"))


@pytest.mark.parametrize(
    ("task", "figures", "said"),
    [
        ("bias", {"stereotype_preferred": figure(0.55, 0.45, 0.64)}, "no proof of fairness"),
        ("questions", {"accuracy": figure(0.3, 0.2, 0.4), "chance": figure(0.25, 0.25, 0.25)},
         "cannot be told apart from guessing"),
        ("questions", {"accuracy": figure(0.5, 0.4, 0.6), "chance": figure(0.25, 0.25, 0.25)},
         "better than guessing"),
        ("mine", {"exact_match": figure(0.5, 0.4, 0.6), "in_format": figure(0, 0, 0.1)},
         "None of the answers are in the right format"),
        ("refusal", {"refused_unanswerable": figure(0.1, 0, 0.2)}, "the rest it makes up"),
    ],
)  # fmt: skip
def test_figures_are_said_in_words(task: str, figures: Any, said: str) -> None:
    own = {"items": 30, "failed": {}, "figures": figures, "scores": {}}
    facts = suite_facts({"model": "m", "tasks": {task: own}}, [])
    assert said in " ".join(facts.tasks[0].verdicts)
    biased = {"stereotype_preferred": figure(0.7, 0.6, 0.8)}
    facts = suite_facts({"model": "m", "tasks": {"bias": {**own, "figures": biased}}}, [])
    assert "no proof" not in " ".join(facts.tasks[0].verdicts)


def test_results_as_they_are_kept_make_the_same_page(tmp_path: Path) -> None:
    own = {"items": 30, "failed": {}, "figures": {"ece": figure(0.2, 0.1, 0.3)}, "scores": {}}
    first = page(tmp_path, {"refusal": own}, refusals(30))
    again = json.loads(json.dumps(refusals(30)))
    assert page(tmp_path, {"refusal": own}, again) == first
