"""``linnet finetune``: a model and examples in, an adapted model or an adapter out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from linnet.cli.options import GroupedCommand, configured, recipe_table
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import from_mapping
from linnet.errors import ConfigError
from linnet.finetune.config import FinetuneConfig

if TYPE_CHECKING:
    from linnet.artifact import Artifact

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command(cls=GroupedCommand)
@configured(FinetuneConfig)
def finetune(
    model: Annotated[str, typer.Argument(help="A model directory, or a hub name: org/name.")],
    data: Annotated[
        list[str], typer.Argument(help="Rows (jsonl, json, csv, parquet, hf:NAME) or a corpus.")
    ],
    out: Annotated[Path | None, typer.Option(help="Directory for the result.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="A recipe: a TOML file with a [finetune] table.")
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show examples as the model sees them; train nothing.")
    ] = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Adapt a model to examples, wholly (--method full) or by an adapter (lora).

    Rows are {"messages": [...]}, {"prompt": ..., "completion": ...} or {"text": ...}.
    Stopped by Ctrl-C or a crash it goes on where it was: run the same command again.

    Example: linnet finetune model questions.jsonl --out tuned --epochs 2
    """
    recipe = recipe_table(config, "finetune") if config else {}
    where = f"{config} [finetune] and the command line" if config else "command line"
    run = from_mapping(FinetuneConfig, {**recipe, **settings}, where=where)
    if preview:
        from linnet.finetune.finetune import preview_examples

        terminal.print(preview_examples(model, data, run, progress=terminal_progress()))
        return
    if out is None:
        raise ConfigError("expected --out DIR, where the result goes (or --preview)")
    from linnet.finetune.finetune import finetune as finetune_model

    _show(finetune_model(model, data, out, run, progress=terminal_progress()))


def _show(result: Artifact) -> None:
    stats = result.stats
    found = (
        f"{result.path}: {stats['trained_parameters']:,} of {stats['parameters']:,} parameters "
        f"trained, {stats['steps']:,} steps in {stats['seconds']:.0f} s"
    )
    for name, unit in (("bits_per_byte", "bits per byte"), ("loss", "nats per token")):
        if f"validation_{name}" in stats:
            before, after = stats[f"base_{name}"], stats[f"validation_{name}"]
            found += f"; held-out examples {before:.3f} -> {after:.3f} {unit}"
            break
    if "validation_forgetting" in stats:
        found += f"; general text {stats['validation_forgetting']:+.3f} bits per byte"
    terminal.print(found, markup=False)
