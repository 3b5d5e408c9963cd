"""What a model forgets while it learns: measured, limited, drawn.

At every validation the loss on held-out *general* text is taken beside that on
the examples. Its rise over the base model's is the forgetting, in bits per byte.
Weights that forgot more than the limit are not kept, and when that goes on the
run ends; what it gives back is the best that stayed within.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from linnet.config import parse_json
from linnet.output import make_directory
from linnet.progress import SILENT, Progress
from linnet.train.loop import Verdict
from linnet.train.metrics import (
    INK,
    TRAINING,
    VALIDATION,
    blank_figure,
    style_axes,
    write_figure,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from linnet.model import Transformer
    from linnet.train.validation import HeldOutLoss

    Figures = Mapping[str, float]

FORGETTING = "forgetting"
"""The figure that a validation calls the rise over the base, in bits per byte."""


@dataclass
class GeneralLoss:
    """As a validator: the loss on general text that no training sees, and its rise.

    The first call finds the base's figure, which ``notes`` keep: the loop saves them.
    """

    text: HeldOutLoss
    notes: dict[str, Any] = field(default_factory=dict)

    def __call__(self, model: Transformer) -> dict[str, float]:
        """The figures of a model in evaluation mode, and their rise since the first call."""
        found = self.text(model)
        base = self.notes.setdefault("general_base", found["bits_per_byte"])
        named = {f"general_{name}": value for name, value in found.items()}
        return {**named, FORGETTING: found["bits_per_byte"] - base}


@dataclass
class ForgettingGuard:
    """Which weights a run keeps, and when it ends for having forgotten too much.

    Within ``max_rise`` (bits per byte; 0: no limit) the lowest domain loss is kept. While
    there is none within it, the one that forgot least. The base itself is kept only
    where there is no limit: with one, it would always be within. A loop takes :meth:`judge`.
    """

    max_rise: float = 0.0
    patience: int = 2
    progress: Progress = SILENT
    notes: dict[str, Any] = field(default_factory=dict)

    def decide(self, figures: Figures, best: Figures | None) -> Verdict:
        """``figures`` of this validation beside those of the one that is kept so far."""
        if not all(math.isfinite(value) for value in figures.values()):
            return Verdict("pass")  # not a number is never the best, and says nothing else
        over = self.is_over(figures)
        in_a_row = self.notes.get("over", 0) + 1 if over else 0
        self.notes["over"] = in_a_row
        if best is None or self._rank(figures) < self._rank(best):
            return Verdict("keep")
        if over and in_a_row >= self.patience:
            return Verdict(
                "stop",
                f"general text lost {figures[FORGETTING]:.3f} bits per byte, "
                f"the limit is {self.max_rise:g}",
            )
        return Verdict("pass")

    def judge(self, figures: Figures, best: Figures | None) -> Verdict:
        """The decision as a training loop asks for it; says what was gained and lost."""
        first = self.notes.setdefault("first", dict(figures))
        if FORGETTING in figures and first is not None and dict(figures) != first:
            self.progress.message(f"  {trade(first, figures)}")
        return self.decide(figures, best)

    def is_over(self, figures: Figures) -> bool:
        """Whether this validation found more forgetting than the limit."""
        return bool(self.max_rise) and figures.get(FORGETTING, 0.0) > self.max_rise

    def remark(self, best: Figures | None, step: int) -> str | None:
        """What the user should know of the weights that were kept; None where all is well."""
        if best is None or not self.is_over(best):
            return None
        return (
            f"no validated step stayed within --max-forgetting {self.max_rise:g}: kept step "
            f"{step}, which forgot {best[FORGETTING]:.3f} bits per byte; try --replay, a lower "
            "--lr, or a smaller strength (strength.svg)"
        )

    def _rank(self, figures: Figures) -> tuple[int, float]:
        rise = figures.get(FORGETTING, 0.0)
        if self.is_over(figures):
            return 1, rise
        untrained = bool(self.max_rise) and dict(figures) == self.notes.get("first")
        return (2, 0.0) if untrained else (0, figures["loss"])


def trade(first: Figures, now: Figures) -> str:
    """What was gained and what it cost: both in bits per byte where they are known."""
    name = "bits_per_byte" if "bits_per_byte" in now and "bits_per_byte" in first else "loss"
    unit = "bits/byte" if name == "bits_per_byte" else "nats/token"
    return (
        f"held-out {now[name]:.3f} {unit} ({now[name] - first[name]:+.3f}), "
        f"general text {now['general_bits_per_byte']:.3f} bits/byte ({now[FORGETTING]:+.3f})"
    )


def plot_forgetting(metrics: Path, out: Path, *, limit: float = 0.0) -> list[Path]:
    """Draw held-out loss and forgetting by step, from ``metrics.jsonl``, as SVG and PNG.

    Returns the files written: none where forgetting was not measured.
    """
    entries = _validations(metrics)
    if not entries:
        return []
    figure = _draw(entries, limit)
    make_directory(out)
    write_figure(figure, out, "forgetting")
    return [out / "forgetting.svg", out / "forgetting.png"]


def _validations(metrics: Path) -> list[dict[str, Any]]:
    found = []
    for line in metrics.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = parse_json(line)
        except ValueError:
            continue  # a last line that a kill left half written
        if isinstance(entry, dict) and "step" in entry and _is_whole(entry):
            found.append(entry)
    return found


def _is_whole(entry: Mapping[str, Any]) -> bool:
    """Whether a validation measured forgetting, and all its figures are numbers."""
    figures = [value for name, value in entry.items() if name.startswith("validation_")]
    return f"validation_{FORGETTING}" in entry and None not in figures


def _draw(entries: list[dict[str, Any]], limit: float) -> Any:
    in_bits = all("validation_bits_per_byte" in entry for entry in entries)
    domain = "validation_bits_per_byte" if in_bits else "validation_loss"
    titles = (
        f"held-out examples, {'bits per byte' if in_bits else 'nats per token'}",
        "forgetting: rise on general text, bits per byte",
    )
    figure = blank_figure(height=4.4)
    panels = figure.subplots(2, sharex=True)
    names = (domain, f"validation_{FORGETTING}")
    for axes, name, title, colour in zip(
        panels, names, titles, (TRAINING, VALIDATION), strict=True
    ):
        steps, values = [e["step"] for e in entries], [e[name] for e in entries]
        axes.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=3.5)
        axes.annotate(
            f"{values[-1]:.3f}", (steps[-1], values[-1]), textcoords="offset points",
            xytext=(0, 8), ha="right", color=colour, fontsize=9, fontweight="bold",
        )  # fmt: skip
        style_axes(axes, title)
        axes.margins(y=0.2)
    panels[1].axhline(0, color=INK, linewidth=0.8, alpha=0.5)
    if limit:
        panels[1].axhline(limit, color=VALIDATION, linewidth=1, linestyle="--")
        panels[1].annotate(
            f"limit {limit:g}", (0.01, limit), xycoords=("axes fraction", "data"),
            xytext=(0, 3), textcoords="offset points", color=VALIDATION, fontsize=8,
        )  # fmt: skip
    panels[1].set_xlabel("step", color=INK)
    panels[1].xaxis.set_major_formatter("{x:,.0f}")
    return figure
