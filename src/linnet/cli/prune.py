"""``linnet prune``: a smaller model of the same family, distilled from what it was."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.compress.prune_config import PruneConfig
from linnet.config import from_mapping

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=GroupedCommand)
@configured(PruneConfig)
def prune(
    model: Annotated[str, typer.Argument(help="A model directory, or a hub name: org/name.")],
    text: Annotated[
        str, typer.Argument(help="Your text: a file, folder, corpus, shards, or rows.")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the smaller model.")],
    *,
    settings: dict[str, Any],
) -> None:
    """Take away what of a model matters least for your text, and distil the rest from the whole.

    Stopped by Ctrl-C or a crash it goes on where it was: run the same command again.

    Example: linnet prune model notes --out half --keep 0.5 --seconds 600
    """
    config = from_mapping(PruneConfig, settings, where="command line")
    from linnet.compress.prune import prune_model

    stats = prune_model(model, text, out, config, progress=terminal_progress()).stats
    said = f"{out}: {stats['parameters']:,} of {stats['of_parameters']:,} parameters"
    if "vocabulary" in stats:
        tokens = stats["vocabulary"]
        said += f"; {tokens['tokens']:,} of {tokens['of_tokens']:,} tokens"
        if tokens["uses_cut"]:
            share = tokens["uses_cut"] / tokens["uses"]
            said += f", {share:.1%} of the text's are cut into smaller ones"
    if "whole_loss" in stats:
        said += (
            f"; held-out text {stats['whole_loss']:.3f} nats per token whole, "
            f"{stats['pruned_loss']:.3f} pruned, {stats['validation_loss']:.3f} distilled"
        )
    terminal.print(said, markup=False)
