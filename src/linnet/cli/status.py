"""``linnet status``: each stage of a project, what it was made from, what is stale."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from linnet.cli.terminal import as_typed
from linnet.cli.terminal import out as terminal
from linnet.errors import typed

if TYPE_CHECKING:
    from linnet.project import StageStatus

app = typer.Typer(rich_markup_mode=None, add_completion=False)

COLOURS = {
    "current": "green",
    "kept": "green",
    "stale": "yellow",
    "unfinished": "yellow",
    "missing": "dim",
    "damaged": "red",
}


@app.command()
def status(
    project: Annotated[Path, typer.Argument(help="A directory made by linnet build.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show each stage of a project: what it was made from, what is stale.

    Example: linnet status notes-model
    """
    from linnet.project import Project

    opened = Project.open(project)
    stages = opened.status()
    if as_json:
        typer.echo(json.dumps([_plain(stage) for stage in stages]))
        return
    _show(stages)
    if any(stage.state not in ("current", "kept") for stage in stages):
        command = as_typed(f"linnet build --out {typed(str(project))}")
        terminal.print(f"bring it up to date: {command}", markup=False)


def _show(stages: list[StageStatus]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("stage", "state", "made from", "when (UTC)", "what"):
        table.add_column(heading, overflow="fold")
    for stage in stages:
        made = stage.artifact
        table.add_row(
            stage.name,
            Text(stage.state, style=COLOURS[stage.state]),
            Text(", ".join(Path(name).name or name for name in stage.upstream)),
            made.manifest.created[:16].replace("T", " ") if made else "",
            stage.summary,
        )
    terminal.print(table)
    for stage in stages:
        if stage.reason:
            terminal.print(f"{stage.name} {stage.state}: {stage.reason}", markup=False)


def _plain(stage: StageStatus) -> dict[str, object]:
    made = stage.artifact
    return {
        "name": stage.name,
        "state": stage.state,
        "reason": stage.reason,
        "made_from": list(stage.upstream),
        "content": made.content if made else None,
        "inputs": {r: e.content for r, e in made.manifest.inputs.items()} if made else {},
        "created": made.manifest.created if made else None,
        "seconds": made.manifest.seconds if made else None,
    }
