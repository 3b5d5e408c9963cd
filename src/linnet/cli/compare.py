"""``linnet compare``: runs of ``linnet evaluate`` side by side, or models on the same questions."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace
from linnet.errors import ConfigError
from linnet.evaluate.compare import (
    PAGE,
    CompareConfig,
    compare,
    shown,
    shown_change,
    shown_interval,
)
from linnet.evaluate.compare_config import NOBODY, PERSON, TERMINAL, ModelsConfig

if TYPE_CHECKING:
    from linnet.evaluate.compare import Comparison, RunComparison, TaskComparison

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=GroupedCommand)
@configured(ModelsConfig)
def run(
    compared: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN RUN... | MODEL MODEL...",
            help="What 'linnet evaluate MODEL --task NAME --out DIR' wrote; or with --questions "
            "models: directories, projects, GGUF files, indexes, names of routing.toml, each also "
            "as NAME=PLACE. The others are compared with the first.",
        ),
    ],
    questions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Put these questions to models: rows with 'question' and 'answer' or 'context', "
            "what 'linnet examples' made, or a task file (.yaml).",
        ),
    ] = None,
    routing: Annotated[
        Path | None,
        typer.Option(
            metavar="routing.toml",
            help="The models beyond this machine, what may leave and what it may cost.",
        ),
    ] = None,
    judge: Annotated[
        str,
        typer.Option(
            metavar="MODEL|person|terminal|none",
            help="Who says which answer is better: a model, or a person on a sheet in --out or "
            "here in the terminal. [default: none]",
            show_default=False,
        ),
    ] = NOBODY,
    writer: Annotated[
        str,
        typer.Option(
            "--model", help="The model that writes the answers of an index.", show_default=False
        ),
    ] = "",
    corpus: Annotated[
        Path | None,
        typer.Option(help="Where the passages of questions are, if they do not say themselves."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write comparison.html and comparison.json here; of models also outcomes.jsonl, "
            "and what was asked, so that the same command goes on from there."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Compare runs of the same tasks, or models on the same questions, with intervals.

    With --questions models are asked, otherwise runs are read.

    Example: linnet compare before-results after-results
    """
    if questions is not None:
        _models(compared, questions, routing, judge, writer, corpus, out, as_json, settings)
        return
    given = {"routing": routing, "judge": judge != NOBODY, "model": writer, "corpus": corpus}
    _require_no_option_of_models([*(name for name, value in given.items() if value), *settings])
    _runs(compared, out, as_json, settings)


def _require_no_option_of_models(given: list[str]) -> None:
    """Raise ConfigError where runs are compared, and an option says how to ask models."""
    known = {field.name for field in fields(CompareConfig)}
    of_models = [name for name in given if name not in known]
    if of_models:
        raise ConfigError(
            f"--{of_models[0].replace('_', '-')} is for models: name what they are asked with "
            "--questions FILE"
        )


def _runs(runs: list[str], out: Path | None, as_json: bool, settings: dict[str, Any]) -> None:
    found = compare(runs, out, replace(CompareConfig(), settings))
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
        return
    _show(found)
    if out is not None:
        terminal.print(f"page: {out / PAGE}", markup=False)


def _models(
    models: list[str],
    questions: Path,
    routing: Path | None,
    judge: str,
    writer: str,
    corpus: Path | None,
    out: Path | None,
    as_json: bool,
    settings: dict[str, Any],
) -> None:
    from linnet.cli.compare_models import decide, show_models
    from linnet.evaluate.compare_models import compare_models
    from linnet.evaluate.judging_people import SHEET

    if judge == TERMINAL and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError("--judge terminal needs a terminal; --judge person writes a sheet")
    found = compare_models(
        models, questions, out, replace(ModelsConfig(), settings), routing=routing, judge=judge,
        writer=writer, corpus=corpus, decide=decide if judge == TERMINAL else None,
        progress=terminal_progress(),
    )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(found.to_json(), ensure_ascii=False))
        return
    show_models(found)
    if out is not None:
        if found.waiting and judge == PERSON:
            terminal.print(
                f"{found.waiting:,} pairs of answers wait for a verdict: write 1, 2 or tie into "
                f"the last column of {out / SHEET}, and run this command again",
                markup=False,
            )
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
        table.add_column(Text(name), justify=justify, overflow="fold")  # type: ignore[arg-type]
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
