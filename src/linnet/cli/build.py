"""``linnet build``: files and folders in, a model, its evaluation and a report out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.cli.terminal import as_typed, terminal_progress
from linnet.cli.terminal import out as terminal
from linnet.config import show_duration
from linnet.errors import typed

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
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Pass over files and folders that match, now and in later builds: 'drafts/'.",
        ),
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
        settings=[*_excluding(out, exclude or []), *(settings or [])],
        replan=replan,
        retrain_tokenizer=retrain_tokenizer,
        progress=terminal_progress(),
    )
    show_build(made)


def _excluding(out: Path, patterns: list[str]) -> list[str]:
    """The setting that leaves these out, and what was left out before."""
    import json

    from linnet.project import Project
    from linnet.stages import CONFIG_FILE

    if not patterns:
        return []
    before = (
        Project.open(out).config.table("data").get("exclude", [])
        if (out / CONFIG_FILE).is_file()
        else []
    )
    every = list(dict.fromkeys([*before, *patterns]))
    return [f"data.exclude={json.dumps(every, ensure_ascii=False)}"]


def show_build(made: Build) -> None:
    """What was made and what to do next."""
    from linnet.evaluate.tasks.baselines import BASELINE_NAMES

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
    try_it = as_typed(f"linnet chat {typed(str(made.project.path))}")
    terminal.print(f"  try it: {try_it}", markup=False)
    terminal.print(f"  {as_typed(_counts(made))}", markup=False)


def _counts(made: Build) -> str:
    """How many documents and files went in, and how to see which did not."""
    from linnet import artifact

    corpus = artifact.read(made.project.stage("corpus"), kind="corpus")
    files, dropped = corpus.stats["files"], sum(corpus.stats["dropped"].values())
    counts = ", ".join(
        (
            f"{files['read']:,} file{'' if files['read'] == 1 else 's'} read",
            f"{files['skipped']:,} not read",
            f"{dropped:,} document{'' if dropped == 1 else 's'} dropped",
        )
    )
    shown = typed(str(made.project.path))
    which = f": linnet data list {shown} --dropped" if dropped or files["skipped"] else ""
    return counts + which
