"""``linnet train``: encoded documents in, a model directory out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import GroupedCommand, configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import from_mapping, load_toml
from linnet.train.config import TrainConfig

if TYPE_CHECKING:
    from linnet.artifact import Artifact

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=GroupedCommand)
@configured(TrainConfig)
def train(
    shards: Annotated[Path, typer.Argument(help="Encoded documents, from linnet data encode.")],
    out: Annotated[Path, typer.Option(help="Directory for the model.")],
    config: Annotated[
        Path | None, typer.Option(help="A recipe: a TOML file with a [train] table.")
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Train a language model on encoded documents.

    Stopped by Ctrl-C or a crash it goes on where it was: run the same command again.

    Example: linnet train shards --out model --seconds 300
    """
    recipe = load_toml(config).get("train", {}) if config else {}
    where = f"{config} [train] and the command line" if config else "command line"
    run = from_mapping(TrainConfig, {**recipe, **settings}, where=where)
    from linnet.train import train as train_model

    _show(train_model(shards, out, run, progress=terminal_progress()))


def _show(model: Artifact) -> None:
    stats = model.stats
    held = stats.get("validation_bits_per_byte")
    quality = f", {held:.3f} bits per byte on validation text" if held is not None else ""
    guessed = stats.get("validation_accuracy")
    if guessed is not None:
        loss = stats["validation_loss"]
        quality = f", {guessed:.1%} of masked validation tokens guessed (loss {loss:.3f})"
    terminal.print(
        f"{model.path}: {stats['parameters']:,} parameters, {stats['steps']:,} steps, "
        f"{stats['epochs']} epochs in {stats['seconds']:.0f} s{quality}",
        markup=False,
    )
