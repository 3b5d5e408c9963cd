"""``linnet export``: a model for other programs, and whether it is the same there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from linnet.cli.options import configured
from linnet.cli.terminal import out as terminal
from linnet.cli.terminal import terminal_progress
from linnet.config import from_mapping
from linnet.export.config import ExportConfig, PackedConfig

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    help="Write a model for other programs, or with fewer bits, and compare it there.",
)

Model = Annotated[Path, typer.Argument(help="A model directory, or an adapter.")]


@app.command()
@configured(ExportConfig)
def gguf(
    model: Model,
    out: Annotated[Path, typer.Option(help="The file to write, such as model.gguf.")],
    *,
    settings: dict[str, Any],
) -> None:
    """Write a GGUF file, which llama.cpp reads and all that is built on it.

    An adapter is merged into its base.

    Example: linnet export gguf model --out model.gguf --type q8_0
    """
    config = from_mapping(ExportConfig, settings, where="command line")
    from linnet.export.gguf import export_gguf
    from linnet.output import human_bytes

    file = export_gguf(model, out, config, progress=terminal_progress())
    terminal.print(f"{file}: {human_bytes(file.stat().st_size)}", markup=False)


@app.command()
@configured(PackedConfig)
def packed(
    model: Annotated[str, typer.Argument(help="A model directory, or a hub name: org/name.")],
    out: Annotated[Path, typer.Option(help="Directory for the model.")],
    *,
    settings: dict[str, Any],
) -> None:
    """Write a model directory with weights of 4 or 8 bits, for torch, transformers and vLLM.

    Rounding is fitted to your text where you give some (GPTQ, and columns scaled by what they
    matter): then it costs less. Here generate, chat, serve, evaluate and bench open it.

    Example: linnet export packed model --text notes --out model-int4
    """
    config = from_mapping(PackedConfig, settings, where="command line")
    from linnet.compress.packed import export_packed
    from linnet.output import human_bytes

    made = export_packed(model, out, config, progress=terminal_progress())
    size = sum(file.stat().st_size for file in made.path.glob("*.safetensors"))
    terminal.print(f"{made.path}: {human_bytes(size)}", markup=False)


@app.command()
@configured(ExportConfig)
def ollama(
    model: Model,
    out: Annotated[Path, typer.Option(help="Directory for the GGUF file and the Modelfile.")],
    *,
    settings: dict[str, Any],
) -> None:
    """Write what Ollama makes a model from: a GGUF file and a Modelfile.

    Example: linnet export ollama model --out for-ollama
    """
    config = from_mapping(ExportConfig, settings, where="command line")
    from linnet.export.ollama import export_ollama

    file = export_ollama(model, out, config, progress=terminal_progress())
    terminal.print(f"{file}: ollama create NAME -f {file}", markup=False)


@app.command()
def check(
    model: Model,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Compare by this prompt; may be given several times.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Continue each prompt by this many tokens.")
    ] = None,
    quantised: Annotated[
        str | None, typer.Option(help="Measure this GGUF format beside; empty for none.")
    ] = None,
) -> None:
    """Compare a model here with itself in transformers, merged, and in llama.cpp.

    Exits with status 1 when they differ by more than rounding.

    Example: linnet export check model
    """
    from rich.table import Table

    from linnet.roundtrip import CheckConfig
    from linnet.roundtrip import check as compare

    given = {"prompts": prompt or None, "max_tokens": max_tokens, "quantised": quantised}
    values = {key: value for key, value in given.items() if value is not None}
    config = from_mapping(CheckConfig, values, where="command line")
    comparisons = compare(model, config, progress=terminal_progress())
    table = Table(box=None, header_style="")
    for heading in ("where", "what", "", "how far"):
        table.add_column(heading)
    table.columns[-1].overflow = "fold"
    for found in comparisons:
        table.add_row(found.where, found.what, found.verdict, found.told if found.compared else "")
    terminal.print(table)
    for found in comparisons:
        if not found.compared:  # a line of its own: it ends in a command to copy
            terminal.print(found.told, soft_wrap=True, markup=False, highlight=False)
    if any(found.failed for found in comparisons):
        from linnet.roundtrip import require_same

        require_same(comparisons)
