"""``linnet index``: make documents searchable."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from linnet import artifact
from linnet.answers.encoding import ensure_encoder
from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import as_typed, terminal_progress
from linnet.cli.terminal import out as terminal
from linnet.config import changed, replace
from linnet.data import DataConfig
from linnet.errors import typed
from linnet.retrieval.embedding import embed_index
from linnet.retrieval.encoders import OWN, WEIGHTS
from linnet.retrieval.indexing import IndexConfig, make_index

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@dataclass(frozen=True)
class IndexCommandConfig(IndexConfig):
    """How documents are read, cut and told apart."""

    include: tuple[str, ...] = changed(DataConfig, "include", ())
    exclude: tuple[str, ...] = changed(DataConfig, "exclude", ())
    gitignore: bool = changed(DataConfig, "gitignore", False)
    text_columns: tuple[str, ...] = changed(DataConfig, "text_columns", ())
    template: str = changed(DataConfig, "template", "")
    html: Literal["main", "full"] = changed(DataConfig, "html", "main")
    ocr: Literal["none", "tesseract", "docling"] = changed(DataConfig, "ocr", "none")
    workers: int = changed(DataConfig, "workers", 0)
    file_timeout: float = changed(DataConfig, "file_timeout", 120.0)
    file_memory: int = changed(DataConfig, "file_memory", 2000)


_OF_INDEX = {field.name for field in fields(IndexConfig)}


@app.command(cls=GroupedCommand)
@configured(IndexCommandConfig)
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
    own = {name: settings.pop(name) for name in _OF_INDEX & settings.keys()}
    progress = terminal_progress()
    tuned = own.get("encoder") == OWN
    if tuned and not (artifact.within(out, "encoder") / WEIGHTS).is_file():
        own["encoder"] = ""  # it is searched by the best at hand until there is one
    made = make_index(
        documents, out, replace(IndexConfig(), own), data=replace(DataConfig(), settings),
        progress=progress,
    )  # fmt: skip
    if tuned and ensure_encoder(out, progress=progress).stats["kept"]:
        made = embed_index(out, OWN, progress=progress)
    stats = made.stats
    if as_json:
        typer.echo(json.dumps(stats, ensure_ascii=False))
        return
    terminal.print(
        f"{_amount(stats['documents'], 'document')}, {_amount(stats['passages'], 'passage')}; "
        "searched by "
        + (f"words, and by meaning with {stats['encoder']}" if stats["encoder"] else "words"),
        markup=False,
    )
    if stats["unread"]:
        terminal.print("could not be read:", markup=False)
        for reason, count in stats["unread_by_reason"].items():
            terminal.print(f"  {count:>9,}  {reason}", markup=False)
    terminal.print(f"search: {as_typed(f'linnet search {typed(str(out))} QUERY')}", markup=False)


def _amount(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
