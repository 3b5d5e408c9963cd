"""``linnet index``: make documents searchable."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import as_typed, terminal_progress
from linnet.cli.terminal import out as terminal
from linnet.config import replace
from linnet.retrieval.indexing import IndexConfig, make_index

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(cls=GroupedCommand)
@configured(IndexConfig)
def index(
    documents: Annotated[
        list[str],
        typer.Argument(
            metavar="DOCS...", help="Files, folders, addresses; or a corpus, or a project."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the index.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures as one JSON object.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Make documents searchable; run again it does what has changed.

    Example: linnet index ~/notes --out notes-index
    """
    config = replace(IndexConfig(), settings)
    made = make_index(documents, out, config, progress=terminal_progress())
    stats = made.stats
    if as_json:
        typer.echo(json.dumps(stats, ensure_ascii=False))
        return
    terminal.print(
        f"{stats['documents']:,} documents, {stats['passages']:,} passages", markup=False
    )
    if stats["unread"]:
        terminal.print("could not be read:", markup=False)
        for reason, count in stats["unread_by_reason"].items():
            terminal.print(f"  {count:>9,}  {reason}", markup=False)
    terminal.print(f"search: {as_typed(f'linnet search {out} QUERY')}", markup=False)
