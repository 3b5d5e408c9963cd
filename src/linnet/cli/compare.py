"""``linnet compare``: runs of ``linnet evaluate`` side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.config import replace
from linnet.evaluate.compare import (
    PAGE,
    CompareConfig,
    compare,
    shown,
    shown_change,
    shown_interval,
)

if TYPE_CHECKING:
    from linnet.evaluate.compare import Comparison, RunComparison, TaskComparison

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
@configured(CompareConfig)
def run(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN RUN...",
            help="What 'linnet evaluate MODEL --task NAME --out DIR' wrote; the others are "
            "compared with the first.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write comparison.html and comparison.json here.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Compare runs of the same tasks: differences with intervals, and what got worse.

    Example: linnet compare before-results after-results
    """
    found = compare(runs, out, replace(CompareConfig(), settings))
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
        return
    _show(found)
    if out is not None:
        terminal.print(f"page: {out / PAGE}", markup=False)


def _show(found: Comparison) -> None:
    for each in found.runs:
        terminal.print(f"{each.second} beside {each.first}", markup=False, style="bold")
        for task in each.tasks:
            _show_task(each, task)
        if each.missing:
            terminal.print(f"only one of them has: {', '.join(each.missing)}", markup=False)
        if each.settings:
            terminal.print(f"run differently: {'; '.join(each.settings)}", markup=False)


def _show_task(run: RunComparison, task: TaskComparison) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (
        (task.task, "left"), (run.first, "right"), (run.second, "right"),
        ("difference", "right"), ("interval", "right"), ("verdict", "left"),
    ):  # fmt: skip
        table.add_column(Text(name), justify=justify)  # type: ignore[arg-type]
    for each in task.differences:
        verdict: str = each.verdict or ""
        if each.items_needed is not None:
            verdict += f" (about {each.items_needed:,} would tell)"
        table.add_row(
            each.metric, shown(each.first, each), shown(each.second, each),
            shown_change(each.difference, each), shown_interval(each), verdict,
        )  # fmt: skip
    terminal.print(table)
    left_out = task.changed + task.only_first + task.only_second
    counts = f"{task.items:,} item{'' if task.items == 1 else 's'} in both"
    if left_out:
        counts += f", {left_out:,} left out"
    if task.score is not None:
        counts += f"; {task.better:,} better, {task.worse:,} worse by {task.score}"
    terminal.print(counts, markup=False, style="dim")
    for item in task.examples:
        terminal.print(
            f"  worse: {item.id} ({item.first:.3g}, then {item.second:.3g}) "
            f"{item.prompt[:100]!r}: {item.first_answer[:80]!r}, then {item.second_answer[:80]!r}",
            markup=False,
        )
