"""What a compression shows: figures of all candidates, a page and a plot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from linnet import page
from linnet.compress.candidates import Candidate
from linnet.compress.choice import Choice, pareto
from linnet.compress.config import CompressConfig
from linnet.config import to_mapping
from linnet.errors import DataError
from linnet.output import human_bytes, write_json, write_text
from linnet.train.metrics import (
    INK,
    TRAINING,
    VALIDATION,
    blank_figure,
    style_axes,
    svg,
    write_figure,
)
from linnet.version import __version__

RESULTS, PAGE, PLOT = "results.json", "report.html", "candidates"
_SHOWN = 3.0
"""Losses beyond so many times what was asked for are drawn at the lower edge."""


@dataclass(frozen=True)
class Compression:
    """All candidates, and which was taken or why none was."""

    model: str
    full: Candidate
    candidates: Sequence[Candidate]
    choice: Choice | None
    refusal: str
    config: CompressConfig
    questions: int

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that was taken."""
        name = self.choice.name if self.choice else ""
        return next((each for each in self.candidates if each.name == name), None)


def write_report(directory: Path, found: Compression) -> None:
    """Write figures, page and plot."""
    write_json(
        directory / RESULTS,
        {
            "version": __version__,
            "settings": to_mapping(found.config),
            "questions": found.questions,
            "choice": asdict(found.choice) if found.choice else None,
            "refusal": found.refusal,
            "candidates": [asdict(each) for each in (found.full, *found.candidates)],
        },
    )
    figure = draw(found)
    if figure is not None:
        write_figure(figure, directory, PLOT)
    template = page.environment("linnet.compress").get_template("report.html.jinja")
    text = template.render(
        found=found, config=found.config, chosen=found.chosen,
        front=[each.name for each in pareto(found.candidates)],
        timed=any(each.speed for each in found.candidates), human_bytes=human_bytes,
        plot=Markup(svg(figure)) if figure is not None else "", version=__version__,
    )  # fmt: skip
    write_text(directory / PAGE, text)


def draw(found: Compression) -> Any:
    """Quality against size, with intervals; what nothing is smaller and better than is joined.
    None where nothing was measured."""
    shown = [(each, each.loss) for each in found.candidates if each.loss is not None]
    if not shown:
        return None
    figure = blank_figure(height=5.2)
    axes = figure.subplots()
    name = found.choice.name if found.choice else ""
    colours = {True: VALIDATION, False: TRAINING}
    for each, loss in shown:
        axes.errorbar(
            [each.bytes / 1e6], [100 * loss.kept],
            yerr=[[100 * (loss.kept - loss.low)], [100 * (loss.high - loss.kept)]], fmt="o",
            color=colours[each.name == name], elinewidth=1, markersize=4,
        )  # fmt: skip
    front = pareto([each for each, _ in shown])
    axes.plot(
        [each.bytes / 1e6 for each in front],
        [100 * each.loss.kept for each in front if each.loss],
        color=TRAINING, linewidth=1, alpha=0.5,
    )  # fmt: skip
    # Those that lose much would press the others into a line.
    floor = 100 * (1 - _SHOWN * (1 - found.config.kept))
    inside = [100 * loss.low for _, loss in shown if 100 * loss.kept >= floor]
    bottom = min([floor, *inside]) if min(100 * loss.kept for _, loss in shown) < floor else None
    if bottom is not None:
        top = max(100 * loss.high for _, loss in shown)
        axes.set_ylim(bottom - 0.1 * (top - bottom), top + 0.05 * (top - bottom))
    axes.axhline(100 * found.config.kept, color=VALIDATION, linewidth=1, linestyle="--")
    axes.annotate(
        f"{found.config.keep} to keep", (1, 100 * found.config.kept),
        xycoords=("axes fraction", "data"), textcoords="offset points", xytext=(0, 3), fontsize=8,
        color=VALIDATION, ha="right",
    )  # fmt: skip
    _name(axes, [each for each, _ in shown], front, name)
    style_axes(axes, "likelihood of right answers that is kept, % for each token")
    axes.set_xlabel("size of the file, MB", color=INK)
    return figure


def _name(axes: Any, shown: Sequence[Candidate], front: Sequence[Candidate], chosen: str) -> None:
    """Names beside points: that of what was taken, those of the front as far as none is in the way,
    and at the lower edge those of what is further below."""
    least = axes.get_ylim()[0]
    taken: list[tuple[float, float]] = []
    for each in sorted(shown, key=lambda each: (each.name != chosen, -each.bytes)):
        kept = 100 * each.loss.kept if each.loss else 0.0
        is_chosen, is_below = each.name == chosen, kept < least
        if not (is_chosen or is_below or each in front):
            continue  # the table has them all
        x, y = axes.transData.transform((each.bytes / 1e6, max(kept, least)))
        scale = axes.figure.dpi / 72
        wide, high = (9, 90) if is_below else (6.0 * len(each.name), 11)
        if any(abs(x - a) < wide * scale and abs(y - b) < high * scale for a, b in taken):
            continue
        taken.append((x, y))
        axes.annotate(
            f"{each.name} {kept:.1f}% \u2193" if is_below else each.name,
            (each.bytes / 1e6, max(kept, least)), textcoords="offset points",
            xytext=(-3, 4) if is_below else (6, -11), rotation=90 if is_below else 0, fontsize=8,
            color=VALIDATION if is_chosen else INK, fontweight="bold" if is_chosen else "normal",
        )  # fmt: skip


def read_results(directory: Path) -> dict[str, Any]:
    """What :func:`write_report` wrote. Raises DataError."""
    try:
        found: dict[str, Any] = json.loads((directory / RESULTS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{directory}: expected results of linnet compress ({error})") from None
    return found
