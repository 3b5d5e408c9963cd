"""``linnet examples export``: examples in the formats of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from linnet.cli.terminal import out as terminal
from linnet.errors import ConfigError
from linnet.examples.export import FORMATS, SPLITS, Format, export_examples
from linnet.examples.record import Split


def export(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Examples, or a project that has some.")
    ],
    out: Annotated[Path, typer.Option(help="A file, or a directory for a file of each split.")],
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")],
    split: Annotated[
        str,
        typer.Option(help="Only this split, or all; of a file train, of a directory all."),
    ] = "",
    book: Annotated[
        str,
        typer.Option(help="Training rows: closed, the question alone; open, after its passage."),
    ] = "closed",
    corpus: Annotated[
        Path | None, typer.Option(help="The corpus, where it is not where it was.")
    ] = None,
) -> None:
    """Write examples for other programs, as people decided about them.

    Example: linnet examples export questions --format squad --out squad
    """
    for name, value, choices in (
        ("--format", format, FORMATS),
        ("--split", split, ("", *SPLITS, "all")),
        ("--book", book, ("closed", "open")),
    ):
        if value not in choices:
            raise ConfigError(f"{name} is one of {', '.join(filter(None, choices))}. Got '{value}'")
    exported = export_examples(
        directory, out, format=cast("Format", format), split=cast("Split", split) or None,
        book=cast("Any", book), corpus=corpus,
    )  # fmt: skip
    for name, count in exported.files.items():
        where = out / name if out.is_dir() else out
        terminal.print(f"{where}: {count:,} examples", markup=False)
    for reason, count in exported.left_out.most_common():
        terminal.print(f"{count:,} left out: {reason}", markup=False)
