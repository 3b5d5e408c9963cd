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
    source: Annotated[  # 'questions' is a setting: how many
        Path,
        typer.Argument(
            metavar="QUESTIONS",
            help="What 'linnet examples' made, or rows of prompts and completions.",
        ),
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
    keeps, how large and how fast it is. Stopped by Ctrl-C it goes on where it was; with another
    --keep, --size or --speed nothing is measured again.

    Example: linnet compress model examples --out small --keep 99%
    """
    config = from_mapping(CompressConfig, settings, where="command line")
    from linnet.compress.compress import NoCandidateError, candidates_of
    from linnet.compress.compress import compress as compress_model
    from linnet.compress.report import PAGE, read_results

    refusal = None
    try:
        place = compress_model(model, source, out, config, progress=terminal_progress()).path
    except NoCandidateError as error:
        place, refusal = error.directory, error
    found = read_results(place)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        _show(found, config.streams)
        terminal.print(f"page: {place / PAGE}", markup=False)
    if refusal is not None:
        raise refusal
    kept = candidates_of(out)
    if not as_json and kept.is_dir():
        from linnet.output import human_bytes

        size = sum(file.stat().st_size for file in kept.rglob("*") if file.is_file())
        terminal.print(
            f"{kept} ({human_bytes(size)}) has all candidates, for another choice without "
            "measuring; delete it when you have chosen",
            markup=False,
        )


def _show(found: dict[str, Any], streams: int) -> None:
    """The table of all candidates, largest first, and what was taken."""
    from rich.table import Table

    from linnet.output import human_bytes

    chosen = (found["choice"] or {}).get("name")
    rows = found["candidates"]
    columns: dict[str, list[str]] = {
        "format": [each["name"] for each in rows],
        "size": [human_bytes(each["bytes"]) for each in rows],
        "kept": [f"{each['loss']['kept']:.2%}" if each["loss"] else "" for each in rows],
        "at least": [f"{each['loss']['low']:.2%}" if each["loss"] else "" for each in rows],
    }
    if any(each["speed"] for each in rows):
        speeds = [each["speed"] or {} for each in rows]
        columns |= {
            "tokens/s": [f"{one['one']:.0f}" if one else "" for one in speeds],
            f"x {streams}": [f"{one['many']:.0f}" if one else "" for one in speeds],
            "memory": [human_bytes(one["peak_bytes"]) if one.get("peak_bytes") else ""
                       for one in speeds],
        }  # fmt: skip
    columns[""] = [
        "taken" if each["name"] == chosen else (each["loss"] or {}).get("verdict", each["remark"])
        for each in rows
    ]
    table = Table(box=None, header_style="", padding=(0, 2, 0, 0))
    for heading in columns:
        left = heading in ("format", "")
        table.add_column(heading, justify="left" if left else "right", no_wrap=heading != "")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    terminal.print(table)
    if found["choice"]:
        terminal.print(f"{chosen}: {found['choice']['reason']}", markup=False)
