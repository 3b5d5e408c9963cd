"""``linnet merge``: an adapter goes into the weights of its base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import from_mapping
from linnet.model.lora_config import MergeConfig

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
@configured(MergeConfig)
def merge(
    adapter: Annotated[Path, typer.Argument(help="An adapter, from linnet finetune or PEFT.")],
    out: Annotated[Path, typer.Option(help="Directory for the merged model.")],
    base: Annotated[
        str | None,
        typer.Option(help="Where the base is, if not where the adapter says: directory or name."),
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Write an adapter's base with the adapter in its weights: an ordinary model directory.

    Computed in fp32, however the base is stored. Other tools can load the result.

    Example: linnet merge medical-adapter --out medical-model
    """
    config = from_mapping(MergeConfig, settings, where="command line")
    from linnet.model.merging import merge_adapter

    model = merge_adapter(adapter, out, config, base=base, progress=terminal_progress())
    terminal.print(f"{model.path}: {model.stats['parameters']:,} parameters", markup=False)
