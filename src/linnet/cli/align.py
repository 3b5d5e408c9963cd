"""``linnet align``: a model and preferences or rewards in, one that follows them out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.align.config import AlignConfig
from linnet.cli.options import GroupedCommand, configured, recipe_table
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import from_mapping

if TYPE_CHECKING:
    from linnet.artifact import Artifact

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=GroupedCommand)
@configured(AlignConfig)
def align(
    model: Annotated[str, typer.Argument(help="A model directory, or a hub name: org/name.")],
    data: Annotated[
        list[str],
        typer.Argument(help="Examples, or files of rows (jsonl, json, csv, parquet, hf:NAME)."),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the result.")],
    config: Annotated[
        Path | None, typer.Option(help="A recipe: a TOML file with an [align] table.")
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Align a model with preferences, or with rewards of what it writes.

    DATA is what 'linnet examples' made, or rows: {"prompt": ..., "chosen": ..., "rejected": ...},
    for kto {"prompt": ..., "completion": ..., "label": true}, for grpo {"prompt": ...} and what
    rewards read. Stopped by Ctrl-C or a crash it goes on where it was.

    Example: linnet align model pairs.jsonl --out aligned --beta 0.1
    """
    recipe = recipe_table(config, "align") if config else {}
    where = f"{config} [align] and the command line" if config else "command line"
    run = from_mapping(AlignConfig, {**recipe, **settings}, where=where)
    from linnet.align.align import align as align_model

    _show(align_model(model, data, out, run, progress=terminal_progress()))


def _show(result: Artifact) -> None:
    from linnet.align.validation import standing

    stats = result.stats
    after = {
        name.removeprefix("validation_"): value
        for name, value in stats.items()
        if name.startswith("validation_") and isinstance(value, int | float)
    }
    said = f"; {standing(after)}" if "loss" in after else ""
    terminal.print(
        f"{result.path}: {stats['steps']:,} steps in {stats['seconds']:.0f} s{said}", markup=False
    )
