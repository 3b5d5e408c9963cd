import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from linnet.train.metrics import plot_curves, read_curves, running_mean


def write_metrics(path: Path, *, steps: int = 400, cut: bool = True) -> Path:
    generator = np.random.default_rng(0)
    lines = [{"event": "started", "step": 0}]
    for step in range(1, steps + 1):
        loss = 1.5 + 6 * math.exp(-step / 40) + generator.normal(0, 0.05)
        lines.append({"step": step, "tokens": step * 4096, "loss": loss, "lr": 0.02})
        if step % 50 == 0:
            lines.append(
                {"step": step, "validation_loss": loss + 0.1, "validation_bits_per_byte": loss / 2}
            )
            lines.append({"step": step, "sample": "Once upon a time \u2028 <b>"})
    text = "\n".join(json.dumps(line) for line in lines)
    path.write_text(text + ('\n{"step": 401, "los' if cut else "\n"), encoding="utf-8")
    return path


def test_curves_are_what_the_lines_say(tmp_path: Path) -> None:
    curves = read_curves(write_metrics(tmp_path / "metrics.jsonl"))
    assert curves.steps == list(range(1, 401))
    assert curves.validation_steps == list(range(50, 401, 50))
    assert len(curves.validation_bits) == 8


def test_pictures_are_well_formed_and_follow_the_page(tmp_path: Path) -> None:
    written = plot_curves(write_metrics(tmp_path / "metrics.jsonl"), tmp_path / "plots")
    assert sorted(p.name for p in written) == [
        "bits_per_byte.png",
        "bits_per_byte.svg",
        "loss.png",
        "loss.svg",
        "perplexity.png",
        "perplexity.svg",
    ]
    for path in written:
        if path.suffix == ".svg":
            text = path.read_text(encoding="utf-8")
            assert ElementTree.fromstring(text).tag.endswith("svg")
            assert "currentColor" in text
            assert "validation" in text or path.stem == "bits_per_byte"
        else:
            assert path.read_bytes().startswith(b"\x89PNG")


def test_a_loss_that_is_not_of_tokens_has_no_perplexity(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text("".join(f'{{"step": {n}, "loss": {1 / n}}}\n' for n in range(1, 9)))
    written = plot_curves(metrics, tmp_path / "plots", of_tokens=False)
    assert {path.stem for path in written} == {"loss"}
    assert "per token" not in (tmp_path / "plots" / "loss.svg").read_text()


def test_equal_metrics_give_equal_pictures(tmp_path: Path) -> None:
    metrics = write_metrics(tmp_path / "metrics.jsonl")
    first = {p.name: p.read_bytes() for p in plot_curves(metrics, tmp_path / "a")}
    second = {p.name: p.read_bytes() for p in plot_curves(metrics, tmp_path / "b")}
    assert first == second


def test_no_losses_yet_is_no_picture(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    metrics.write_text('{"step": 0, "event": "started"}\n{"ste', encoding="utf-8")
    assert plot_curves(metrics, tmp_path / "plots") == []


@pytest.mark.parametrize("steps", [1, 3])
def test_the_shortest_runs_draw_too(tmp_path: Path, steps: int) -> None:
    metrics = write_metrics(tmp_path / "metrics.jsonl", steps=steps)
    assert {p.name for p in plot_curves(metrics, tmp_path)} >= {"loss.svg", "perplexity.png"}


def test_running_mean_against_direct_means() -> None:
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0]
    direct = []
    for place in range(len(values)):
        reach = min(place, 2)
        window = values[place - reach : place + reach + 1]  # a slice ends with the list
        direct.append(sum(window) / len(window))
    assert running_mean(values, 4) == pytest.approx(direct)
