"""What is kept and when a run ends, for having forgotten too much."""

import json
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest

from linnet.errors import ConfigError
from linnet.finetune.config import ForgettingConfig
from linnet.finetune.forgetting import (
    ForgettingGuard,
    GeneralLoss,
    plot_forgetting,
)
from linnet.progress import Progress
from linnet.train.loop import Verdict
from linnet.train.validation import HeldOutLoss


def figures(loss: float, rise: float) -> dict[str, float]:
    return {"loss": loss, "general_bits_per_byte": 1 + rise, "forgetting": rise}


def kept(guard: ForgettingGuard, run: list[dict[str, float]]) -> tuple[int | None, int]:
    """What a loop would do: which validation is the best one, and how many there were."""
    best: dict[str, float] | None = None
    place = None
    for index, found in enumerate(run):
        verdict = guard.judge(found, best)
        if verdict.decision == "keep":
            best, place = found, index
        if verdict.decision == "stop":
            return place, index + 1
    return place, len(run)


BASE = figures(3.0, 0.0)


@pytest.mark.parametrize(
    ("run", "best", "validations"),
    [
        # Within the limit the lowest loss counts, whatever it costs.
        ([BASE, figures(2.0, 0.05), figures(1.5, 0.09), figures(1.6, 0.01)], 2, 4),
        # Lower, but beyond it: rolled back to the one within.
        ([BASE, figures(2.0, 0.05), figures(1.5, 0.2)], 1, 3),
        # Twice in a row beyond: over.
        ([BASE, figures(2.0, 0.05), figures(1.5, 0.2), figures(1.4, 0.3), BASE], 1, 4),
        # It came back within.
        ([BASE, figures(2.0, 0.2), figures(1.5, 0.05), figures(1.4, 0.3), figures(1.2, 0.1)], 4, 5),
        # None within: the one that forgot least, not the base.
        ([BASE, figures(2.0, 0.3), figures(1.5, 0.2), figures(1.4, 0.25)], 2, 4),
        # Worse than the base, and it forgot nothing: still what was trained.
        ([BASE, figures(3.5, 0.0001)], 1, 2),
    ],
)
def test_what_is_kept_under_a_limit(
    run: list[dict[str, float]], best: int, validations: int
) -> None:
    assert kept(ForgettingGuard(max_rise=0.1, patience=2), run) == (best, validations)


def test_without_a_limit_the_lowest_loss_is_kept_the_base_too() -> None:
    run = [BASE, figures(2.0, 5.0), figures(2.5, 0.0)]
    assert kept(ForgettingGuard(), run) == (1, 3)
    assert kept(ForgettingGuard(), [BASE, figures(3.1, 0.0)]) == (0, 2)
    without = [{"loss": 2.0}, {"loss": 1.0}]  # forgetting not measured
    assert kept(ForgettingGuard(), without) == (1, 2)


def test_a_resumed_run_decides_as_one_that_was_not(tmp_path: Path) -> None:
    run = [BASE, figures(2.0, 0.05), figures(1.5, 0.2), figures(1.4, 0.3)]
    whole = ForgettingGuard(max_rise=0.1, patience=2)
    assert kept(whole, run) == (1, 4)
    first = ForgettingGuard(max_rise=0.1, patience=2)
    assert kept(first, run[:3]) == (1, 3)
    notes = json.loads(json.dumps(first.notes))  # the loop's state is JSON
    second = ForgettingGuard(max_rise=0.1, patience=2, notes=notes)
    assert second.judge(run[3], run[1]).decision == "stop"
    assert second.notes == whole.notes


def test_the_gain_is_said_beside_the_cost() -> None:
    said: list[str] = []

    class Listening(Progress):
        def message(self, text: str) -> None:
            said.append(text)

    guard = ForgettingGuard(max_rise=0.1, patience=1, progress=Listening())
    kept(guard, [BASE, figures(2.0, 0.25)])
    assert said == [
        "  held-out 2.000 nats/token (-1.000), general text 1.250 bits/byte (+0.250)",
    ]
    verdict = guard.judge(figures(1.9, 0.5), figures(2.0, 0.25))
    assert verdict == Verdict("stop", "general text lost 0.500 bits per byte, the limit is 0.1")
    remark = guard.remark(figures(2.0, 0.25), 40)
    assert remark is not None
    assert "kept step 40, which forgot 0.250" in remark
    assert guard.remark(figures(2.0, 0.05), 40) is None


def test_the_rise_is_counted_from_the_first_measure_of_the_run() -> None:
    found = iter([1.0, 1.25, 1.5])

    class Measured(HeldOutLoss):
        def __call__(self, model: object) -> dict[str, float]:
            return {"loss": 9.0, "bits_per_byte": next(found)}

    text = Measured([], 1, "cpu")
    loss = GeneralLoss(text)
    call = partial(loss, None)  # type: ignore[arg-type]
    assert [call()["forgetting"], call()["forgetting"]] == [0.0, 0.25]
    resumed = GeneralLoss(text, json.loads(json.dumps(loss.notes)))
    assert resumed(None)["forgetting"] == 0.5  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"replay": 1.0}, "replay must be at least 0 and below 1"),
        ({"max_forgetting": 0.1, "general_tokens": 0}, "needs forgetting to be measured"),
        ({"replay": 0.1, "replay_tokens": 0}, "set replay_tokens above 0"),
        ({"max_forgetting": -1.0}, "max_forgetting must be 0 or more"),
        ({"forgetting_patience": 0}, "at least 1"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ForgettingConfig(**settings)  # type: ignore[arg-type]


def test_the_plot_shows_both_and_follows_the_page(tmp_path: Path) -> None:
    lines = [{"event": "started", "step": 0}]
    for step in range(0, 100, 10):
        lines.append(
            {
                "step": step,
                "validation_loss": 3 - step / 50,
                "validation_bits_per_byte": 1.5 - step / 100,
                "validation_forgetting": step / 400,
            }
        )
    metrics = tmp_path / "metrics.jsonl"
    text = "\n".join(json.dumps(line) for line in lines) + '\n{"step": 101, "val'
    metrics.write_text(text, encoding="utf-8")
    written = plot_forgetting(metrics, tmp_path / "plots", limit=0.2)
    assert [path.name for path in written] == ["forgetting.svg", "forgetting.png"]
    drawn = written[0].read_text(encoding="utf-8")
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert "currentColor" in drawn
    assert "limit 0.2" in drawn
    assert "0.600" in drawn
    assert "0.225" in drawn
    metrics.write_text('{"step": 1, "loss": 2.0}\n', encoding="utf-8")
    assert plot_forgetting(metrics, tmp_path / "none") == []
