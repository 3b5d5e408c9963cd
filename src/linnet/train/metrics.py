"""The log of a run, ``metrics.jsonl``, and its curves, as SVG and PNG.

Each line of that file is one JSON object; two kinds matter here:

* training: ``step``, ``tokens``, ``seconds``, ``loss`` (nats per token) and more;
* validation: ``step``, ``seconds``, ``validation_loss``, ``validation_bits_per_byte``.

Others (samples, events) are passed over, and so is a last line that a killed
run left half written. Training losses are many and noisy: each is drawn pale,
and their running mean on top.

Drawn through matplotlib's object interface, which needs no display. The SVG takes the colour of the
text around it (``currentColor``), so it stands on light and dark pages alike.
"""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from linnet.config import parse_json
from linnet.output import make_directory, open_to_append, replacing, write_text

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = "metrics.jsonl"
INK = "#1b2733"  # replaced by currentColor in the SVG
TRAINING = "#3b7dd8"
VALIDATION = "#d9622b"
SMOOTHED_SHARE = 50  # the running mean spans this part of the curve
DRAWN_POINTS = 1500


class MetricsLog:
    """Appends to ``metrics.jsonl`` in a directory. Every entry has its ``step``."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / METRICS

    def write(self, entry: dict[str, Any]) -> None:
        """Add a line. A figure that is not a number is written as null, as JSON has none."""
        entry = {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in entry.items()
        }
        with open_to_append(self.path) as file:
            file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode("utf-8"))

    def clear(self) -> None:
        """Begin anew."""
        self.path.unlink(missing_ok=True)

    def cut(self, step: int) -> None:
        """Drop what was logged after the state of ``step`` was saved, and a half-written line."""
        if not self.path.is_file():
            return
        kept = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                if parse_json(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError, TypeError, IndexError):
                continue
        write_text(self.path, "".join(f"{line}\n" for line in kept))


@dataclass(frozen=True)
class Curves:
    """The series of one run; validation may be empty."""

    steps: list[int]
    losses: list[float]
    validation_steps: list[int]
    validation_losses: list[float]
    validation_bits: list[float]


def read_curves(metrics: Path) -> Curves:
    """Read ``metrics.jsonl``. Lines of other kinds and broken ones are passed over."""
    curves = Curves([], [], [], [], [])
    with metrics.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            entry = _parse(line)
            if "loss" in entry and math.isfinite(entry["loss"]):
                curves.steps.append(entry["step"])
                curves.losses.append(entry["loss"])
            elif "validation_loss" in entry:
                curves.validation_steps.append(entry["step"])
                curves.validation_losses.append(entry["validation_loss"])
                curves.validation_bits.append(entry.get("validation_bits_per_byte", math.nan))
    return curves


def load_plotting() -> None:
    """Import matplotlib, which takes seconds on a busy machine."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401


def plot_curves(metrics: Path, out: Path, *, of_tokens: bool = True) -> list[Path]:
    """Draw loss, perplexity and bits per byte into the directory ``out``.

    ``of_tokens``: whether the loss is that of tokens; any other has no perplexity. Returns the
    files written, none if the run has no losses yet.
    """
    curves = read_curves(metrics)
    if not curves.losses and not curves.validation_losses:
        return []
    make_directory(out)
    written = []
    for name, figure in (
        ("loss", loss_figure(curves, of_tokens=of_tokens)),
        ("perplexity", perplexity_figure(curves) if of_tokens else None),
        ("bits_per_byte", bits_figure(curves)),
    ):
        if figure is None:
            continue
        write_figure(figure, out, name)
        written += [out / f"{name}.svg", out / f"{name}.png"]
    return written


def loss_figure(curves: Curves, *, of_tokens: bool = True) -> Figure:
    """Loss by step, ``of_tokens`` in nats per token."""
    figure, axes = _frame("loss, nats per token" if of_tokens else "loss")
    _draw(axes, curves, scale=lambda loss: loss)
    return figure


def perplexity_figure(curves: Curves) -> Figure:
    """Perplexity per token by step, on a logarithmic scale."""
    figure, axes = _frame("perplexity per token")
    axes.set_yscale("log")
    _draw(axes, curves, scale=lambda loss: np.exp(np.minimum(loss, 50.0)))
    _plain_log_ticks(axes)
    return figure


def bits_figure(curves: Curves) -> Figure | None:
    """Bits per byte of held-out text by step; None if it was never measured."""
    if not np.isfinite(curves.validation_bits).any():
        return None
    figure, axes = _frame("bits per byte")
    axes.plot(curves.validation_steps, curves.validation_bits, **_validation_line())
    _label_end(axes, curves.validation_steps[-1], curves.validation_bits[-1])
    axes.set_xlim(0, 1.02 * curves.validation_steps[-1])
    axes.margins(y=0.12)
    return figure


def blank_figure(*, height: float) -> Figure:
    """A figure of the usual width, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def style_axes(axes: Axes, title: str, *, size: int = 10, grid: Literal["y", "both"] = "y") -> None:
    """The look that all figures share."""
    axes.set_title(title, loc="left", fontsize=size, fontweight="bold", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(INK)
    axes.grid(axis=grid, color=INK, alpha=0.12, linewidth=0.6)
    axes.tick_params(length=3, color=INK, labelcolor=INK)


def svg(figure: Figure) -> str:
    """The figure as SVG, its ink taken from the page around it."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    # Text stays text: small files, searchable, and set in the page's typeface.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "linnet"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    drawn = buffer.getvalue().replace(INK, "currentColor")
    return drawn[drawn.index("<svg") :]


def write_figure(figure: Figure, out: Path, name: str) -> None:
    """Write a figure as SVG and PNG."""
    write_text(out / f"{name}.svg", svg(figure))
    with replacing(out / f"{name}.png") as neighbour:
        figure.savefig(neighbour, format="png", dpi=200, facecolor="white")


def running_mean(values: list[float], span: int) -> np.ndarray:
    """The mean over up to ``span`` values around each.

    The window narrows evenly toward the start, where losses fall steeply, and on
    its right side only toward the end, where a narrow one would show noise.
    """
    sums = np.concatenate(([0.0], np.cumsum(np.asarray(values, dtype=np.float64))))
    places = np.arange(len(values))
    left = np.minimum(places, span // 2)
    right = np.minimum(left, len(values) - 1 - places)
    means: np.ndarray = (sums[places + right + 1] - sums[places - left]) / (left + right + 1)
    return means


def _draw(axes: Axes, curves: Curves, *, scale: Any) -> None:
    """Training losses, their running mean and the validation losses."""
    if curves.losses:
        steps, raw = np.asarray(curves.steps), scale(np.asarray(curves.losses))
        smooth = scale(running_mean(curves.losses, max(1, len(curves.losses) // SMOOTHED_SHARE)))
        thin = slice(None, None, max(1, len(steps) // DRAWN_POINTS))
        axes.plot(steps[thin], raw[thin], color=TRAINING, alpha=0.25, linewidth=0.7)
        axes.plot(steps[thin], smooth[thin], color=TRAINING, linewidth=1.6, label="training")
        # An untrained model's first losses would press the rest of the curve flat.
        settled = smooth[len(smooth) // 50 :]
        low, high = float(raw.min()), float(settled.max())
        # Losses of alignment may be below zero, or always nothing.
        spare = 0.05 * max(abs(low), abs(high)) or 1.0
        axes.set_ylim(low - spare if low <= 0 else low * 0.95, high + spare)
    if curves.validation_losses:
        values = scale(np.asarray(curves.validation_losses))
        axes.plot(curves.validation_steps, values, label="validation", **_validation_line())
        _label_end(axes, curves.validation_steps[-1], float(values[-1]))
    axes.set_xlim(0, 1.02 * max([*curves.steps[-1:], *curves.validation_steps[-1:]]))
    axes.legend(frameon=False, loc="upper right", labelcolor=INK)


def _frame(title: str) -> tuple[Figure, Axes]:
    figure = blank_figure(height=3.1)
    axes = figure.add_subplot()
    style_axes(axes, title, size=11)
    axes.set_xlabel("step", color=INK)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    return figure, axes


def _validation_line() -> dict[str, Any]:
    return {"color": VALIDATION, "linewidth": 1.6, "marker": "o", "markersize": 3.5}


def _label_end(axes: Axes, step: float, value: float) -> None:
    """The last value, written at the end of its line."""
    axes.annotate(
        f"{value:.2f}" if value < 100 else f"{value:,.0f}",
        (step, value),
        textcoords="offset points",
        xytext=(0, 9),
        ha="right",
        color=VALIDATION,
        fontsize=9,
        fontweight="bold",
    )


def _plain_log_ticks(axes: Axes) -> None:
    """``20`` rather than ``2 x 10^1``."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _parse(line: str) -> dict[str, Any]:
    try:
        entry = parse_json(line)
    except ValueError:
        return {}
    if not isinstance(entry, dict) or not _is_number(entry.get("step")):
        return {}
    return {key: value for key, value in entry.items() if _is_number(value)}


def _is_number(value: Any) -> bool:
    """Whether it can be drawn (a wide integer could not be made a float)."""
    return isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 64)
