"""Plots of confidence: how far it can be believed, and what is gained by answering less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from linnet.scoring.calibration import Numbers, reliability, risk_coverage
from linnet.train.metrics import INK, TRAINING, VALIDATION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_ITEMS = 10
"""A plot of fewer would be read as if it said something."""

DRAWN_POINTS = 1000


def reliability_figure(right: Numbers, confidence: Numbers) -> Figure:
    """Accuracy by confidence, in bins of equal mass; calibrated is the diagonal."""
    figure, axes = _frame("Confidence against accuracy", "mean confidence", "share right")
    bins = reliability(right, confidence)
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=1, linestyle="--")
    axes.annotate(
        "can be believed", (0.99, 0.97), ha="right", va="top", fontsize=8, color=INK, alpha=0.7
    )
    accuracy = bins.accuracy
    spread = 1.96 * np.sqrt(np.maximum(accuracy * (1 - accuracy), 0) / bins.items)
    low, high = np.minimum(spread, accuracy), np.minimum(spread, 1 - accuracy)
    axes.errorbar(
        bins.confidence,
        accuracy,
        yerr=[np.maximum(low, 0), np.maximum(high, 0)],
        color=TRAINING,
        linewidth=1.6,
        elinewidth=0.9,
        marker="o",
        markersize=4.5,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    return figure


def risk_coverage_figure(right: Numbers, confidence: Numbers) -> Figure:
    """The share of wrong answers when only the most confident ones are given."""
    figure, axes = _frame("If it answered only when sure", "share answered", "share wrong of those")
    risks = risk_coverage(right, confidence)
    coverage = np.arange(1, len(risks) + 1) / len(risks)
    # The first few answers are one confident mistake or none, and would swing from 0 to 1.
    begin = min(len(risks) - 1, max(2, len(risks) // 50))
    thin = slice(begin, None, max(1, len(risks) // DRAWN_POINTS))
    axes.plot(coverage[thin], risks[thin], color=VALIDATION, linewidth=1.6)
    axes.axhline(risks[-1], color=INK, alpha=0.4, linewidth=1, linestyle="--")
    axes.annotate(
        f"all answered: {risks[-1]:.0%} wrong",
        (0.02, risks[-1]),
        textcoords="offset points",
        xytext=(0, 4),
        fontsize=8,
        color=INK,
        alpha=0.7,
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, min(1.05, max(0.1, 1.2 * float(risks[begin:].max()))))
    return figure


def _frame(title: str, across: str, up: str) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=11, fontweight="bold", color=INK)
    axes.set_xlabel(across, color=INK)
    axes.set_ylabel(up, color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["bottom", "left"]].set_color(INK)
    axes.grid(axis="y", color=INK, alpha=0.12, linewidth=0.6)
    axes.tick_params(length=3, color=INK, labelcolor=INK)
    return figure, axes
