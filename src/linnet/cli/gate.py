"""``linnet gate``: when an index answers, and when it says that it does not know."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer

from linnet.answers import Assistant
from linnet.answers.gate import (
    GateConfig,
    changed_since,
    fit_gate,
    read_gate_results,
    read_trials,
)
from linnet.answers.opening import identity_of, open_writer
from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace

app = typer.Typer(rich_markup_mode=None, add_completion=False)

_SHOWN = 3
_LONGEST = 300  # characters of a text


@app.command()
@configured(GateConfig)
def fit(
    index: Annotated[Path, typer.Argument(help="A directory from 'linnet index'.")],
    people: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.jsonl",
            help="Questions that people asked, with 'source' and 'start' and 'end', or 'quote'.",
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="The model that writes the answers; passages answer if left out."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Fit the gate of an index to its examples, so that few of its answers are wrong.

    Example: linnet gate fit notes-index
    """
    config = replace(GateConfig(), settings)
    progress = terminal_progress()
    if model is None:
        fit_gate(index, config, people=people, progress=progress)
    else:
        with closing(open_writer(str(model), place=index, progress=progress)) as writer:
            fit_gate(
                index,
                config,
                people=people,
                over=lambda searched: Assistant(searched, writer=writer),
                written_by=identity_of(str(model)),
                progress=progress,
            )
    _show(index, as_json)


@app.command()
def report(
    index: Annotated[Path, typer.Argument(help="A directory from 'linnet index'.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object.")
    ] = False,
) -> None:
    """Show what the gate of an index promises, what it answers, and its surest mistakes.

    Example: linnet gate report notes-index
    """
    _show(index, as_json)


def _show(index: Path, as_json: bool) -> None:
    from linnet.answers.gate.report import PAGE, said, worst
    from linnet.artifact import within

    found = read_gate_results(index)
    if as_json:
        typer.echo(json.dumps(found, ensure_ascii=False))
        return
    for sentence in said(found):
        terminal.print(sentence, markup=False)
    for name, own in found["questions"].items():
        figures = {
            "right from wrong drafts": own["auroc"],
            "off-topic questions": own["auroc_in_scope"],
            "withheld ones": own.get("auroc_withheld"),
        }
        told = ", ".join(f"{what} {v:.3f}" for what, v in figures.items() if v is not None)
        if told:
            terminal.print(f"{name}, told apart (AUROC): {told}", markup=False)
    if changed := changed_since(index):
        terminal.print(
            f"Since it was fitted {', '.join(changed)} changed: fit it again for the promise to "
            "hold.",
            markup=False,
        )
    for note in found["notes"]:
        terminal.print(note, markup=False)
    for trial in worst(list(read_trials(index)))[:_SHOWN]:
        cited = " ".join(trial.cited.split())[:_LONGEST]
        terminal.print(f"a mistake, {trial.probability:.0%} sure: {trial.question[:_LONGEST]}",
                       markup=False)  # fmt: skip
        terminal.print(f"    {cited}", markup=False)
    terminal.print(f"report: {within(index, 'gate') / PAGE}", markup=False)
