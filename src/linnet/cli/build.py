"""``linnet build``: files and folders in, a model, its evaluation and a report out."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.cli.terminal import as_typed, terminal_progress
from linnet.cli.terminal import out as terminal
from linnet.config import show_duration

if TYPE_CHECKING:
    from linnet.pipeline import Build

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def build(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PATH...",
            help="Files and folders; python:library is Python's own documentation and source. "
            "Not needed to build a project again.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory of the project.")] = Path("model"),
    budget: Annotated[
        str | None,
        typer.Option(help="Time for the whole build: 1m, 5m, 1h30m. [default: 5m]"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="TABLE.KEY=VALUE",
            help='Such as train.width=128; a list: \'data.include=["*.md", "*.txt"]\'.',
        ),
    ] = None,
    replan: Annotated[bool, typer.Option("--replan", help="Make the plan again.")] = False,
    retrain_tokenizer: Annotated[
        bool, typer.Option("--retrain-tokenizer", help="Train the tokenizer again.")
    ] = False,
) -> None:
    """Turn files and folders into a model: every stage, within a time budget.

    Run it again after documents or settings change: only what depends on them is
    made again. Interrupted, it carries on.

    Example: linnet build ~/notes --out notes-model --budget 10m
    """
    from linnet.pipeline import build as build_model

    made = build_model(
        paths or [],
        out,
        budget=budget,
        settings=settings or [],
        replan=replan,
        retrain_tokenizer=retrain_tokenizer,
        progress=terminal_progress(),
    )
    show_build(made)


def show_build(made: Build) -> None:
    """What was made and what to do next."""
    from linnet.evaluate.baselines import BASELINE_NAMES

    evaluation = made.evaluation
    terminal.print(f"\nbuilt in {show_duration(made.seconds)}: {made.model}", markup=False)
    known = evaluation.baselines.bits_per_byte if evaluation.baselines else {}
    beside = ", ".join(f"{BASELINE_NAMES[name]} {bits:.2f}" for name, bits in known.items())
    beside = f"  (beside it: {beside})" if beside else ""
    terminal.print(
        f"  {evaluation.bits_per_byte:.3f} bits per byte on held-out text" + beside,
        markup=False,
    )
    terminal.print(f"  report: {made.report}", markup=False)
    try_it = as_typed(f"linnet chat {shlex.quote(str(made.project.path))}")
    terminal.print(f"  try it: {try_it}", markup=False)
