"""``linnet compress``: the smallest file of a model that keeps what its owner needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.compress.config import CompressConfig
from linnet.config import from_mapping

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=GroupedCommand)
@configured(CompressConfig)
def compress(
    model: Annotated[str, typer.Argument(help="A model directory, or a hub name: org/name.")],
    questions: Annotated[
        Path,
        typer.Argument(help="What 'linnet examples' made, or rows of prompts and completions."),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the file and the figures.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object and nothing else.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Write the smallest file of a model that keeps its quality on your questions.

    Many number formats are made and measured on the same questions; the table says what each
    keeps, how large and how fast it is. Stopped by Ctrl-C it goes on where it was.

    Example: linnet compress model examples --out small --keep 99%
    """
    config = from_mapping(CompressConfig, settings, where="command line")
    from linnet.compress.compress import PAGE, read_results
    from linnet.compress.compress import compress as compress_model

    made = compress_model(model, questions, out, config, progress=terminal_progress())
    found = read_results(made.path)
    if as_json:
        typer.echo(json.dumps(found))
        return
    from rich.table import Table

    from linnet.output import human_bytes

    table = Table(box=None, header_style="")
    for heading in ("format", "size", "kept", "at least", "tokens/s", f"x {config.streams}", ""):
        table.add_column(heading, justify="left" if heading in ("format", "") else "right")
    for each in found["candidates"]:
        loss, speed = each["loss"] or {}, each["speed"] or {}
        table.add_row(
            each["name"],
            human_bytes(each["bytes"]),
            f"{loss['kept']:.2%}" if loss else "",
            f"{loss['low']:.2%}" if loss else "",
            f"{speed['one']:.0f}" if speed else "",
            f"{speed['many']:.0f}" if speed else "",
            "taken" if each["name"] == found["choice"]["name"] else loss.get("verdict", ""),
        )
    terminal.print(table)
    terminal.print(f"{found['choice']['name']}: {found['choice']['reason']}", markup=False)
    terminal.print(f"page: {made.path / PAGE}", markup=False)
