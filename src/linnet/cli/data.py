"""``linnet data``: documents in, a corpus out; a corpus in, tokens out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.artifact import human_bytes
from linnet.cli.encode import encode
from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import replace
from linnet.data import DataConfig
from linnet.data import prepare as prepare_corpus

if TYPE_CHECKING:
    from linnet.artifact import Artifact

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.callback()
def data() -> None:
    """Prepare documents and encode them as tokens."""


@app.command("prepare")
@configured(DataConfig)
def prepare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="Files and folders; python:library is Python's own documentation and source.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the corpus.")],
    *,
    settings: dict[str, Any],
) -> None:
    """Read documents, clean them, drop repeats, divide them into splits.

    Example: linnet data prepare ~/notes python:library --out corpus
    """
    config = replace(DataConfig(), settings)
    _show(prepare_corpus(sources, out, config, progress=terminal_progress()))


app.command("encode")(encode)


def _show(corpus: Artifact) -> None:
    from rich.table import Table

    stats = corpus.stats
    table = Table(box=None, pad_edge=False)
    for column in ("split", "documents", "text"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, count in stats["documents"].items():
        table.add_row(split, f"{count:,}", human_bytes(stats["bytes"][split]))
    terminal.print(table)
    terminal.print(
        f"files read: {stats['files']['read']:,}, skipped: {stats['files']['skipped']:,}"
    )
    for title, reasons in (("skipped", stats["skipped"]), ("dropped", stats["dropped"])):
        for reason, count in reasons.items():
            terminal.print(f"  {title} {count:,} x {reason}", markup=False)
    terminal.print(f"every file and reason: {corpus.path / 'report.json'}", markup=False)
